"""All work on weights, a program of its own: `python -m finetune train|evaluate|generate FOLDER`.

It knows no database and no screen; what goes in and out is written in `finetune.schema`.
"""
