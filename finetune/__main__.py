"""Entry of `python -m finetune`; the commands themselves live in `finetune.cli`."""

import sys

from finetune.cli import main

if __name__ == "__main__":
    sys.exit(main(own_process=True))
