"""Room on the disk, looked at before a job that writes a model is queued."""

import shutil
from pathlib import Path

from sophia_tui.errors import SetupError
from sophia_tui.i18n import _
from sophia_tui.services.disk_use import shown_size

#: As finetune.room has it: the run looks once more, with exact figures.
_SPARE = 64 << 20


def require_room(folder: Path, needed: int, what: str) -> None:
    """Raises SetupError M520 where `needed` bytes are not free on the disk of `folder`."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise SetupError(
            "M520",
            _("The disk has no room for {what}.").format(what=what),
            _("About {needed} are needed and {free} are free under {path}.").format(
                needed=shown_size(needed + _SPARE), free=shown_size(free), path=folder
            ),
            _(
                "Nothing was changed. Free room there (`sophia setup prune`), or let "
                "SOPHIA_DATA_DIR name a folder on a larger disk."
            ),
            needed_bytes=needed + _SPARE,
            free_bytes=free,
            setting="SOPHIA_DATA_DIR",
        )


def bytes_of_weights(model: str, bits: float) -> int:
    """What the weights of a base (folder, GGUF file, hub id) take at so many bits a number; 0 where
    its size is not known."""
    from finetune.estimates import UnknownShape
    from sophia_tui.services.estimates import shape_of

    try:
        return int(shape_of(model).parameters * bits / 8)
    except UnknownShape:
        return 0
