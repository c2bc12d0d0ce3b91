"""Which file is meant: one as it stands, else by its name in FINETUNE_DIR; from afar by that alone.

Who asks gives the codes of its errors.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sophia_tui.domain.context import Context
from sophia_tui.errors import NotFoundError, RefusedError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.sources import Selection
    from sophia_tui.settings import Settings


def named_file(folder: Path, name: str, code: str = "D505", remedy: str = "") -> Path:
    """The file that somebody from afar names, who may name nothing but what lies in `folder`, and
    nothing hidden (a .env may lie there). It need not exist.

    Raises RefusedError of this code.
    """
    path = folder / name
    whole = "\0" not in name and Path(name).name == name and not name.startswith(".")
    if not whole or path.is_dir() or path.resolve().parent != folder.resolve():
        raise RefusedError(
            code,
            _("Over HTTP a file is named by its name in FINETUNE_DIR."),
            _("A path would open any file of the server."),
            remedy or _("Send the file to POST /v1/files."),
        )
    return path


def existing(text: str, tries: Iterable[Path], code: str) -> Path:
    """The first of these that is a file or folder, absolute. Raises NotFoundError of this code."""
    found = next((each for each in tries if each.exists()), None)
    if found is None:
        raise NotFoundError(
            code,
            _("There is no file or folder {path}.").format(path=visible(text)),
            remedy=_("Correct the path; a name alone is looked for in FINETUNE_DIR, too."),
        )
    return found.absolute()


def as_given(context: Context, folder: Path, text: str, code: str, remedy: str = "") -> Path | None:
    """The file that is meant, absolute; None where there is none. Raises RefusedError of this code
    from afar."""
    given = Path(text).expanduser()
    tries = [given, folder / given]
    if context.from_afar:
        tries = [named_file(folder, text, code, remedy)]
    found = next((each for each in tries if each.is_file()), None)
    return found.absolute() if found else None


def chosen_files(
    context: Context,
    settings: "Settings",
    path: str | None,
    files: Sequence[str],
    refused: str,
    missing: str,
) -> "Selection":
    """The data files of a file or folder, of FINETUNE_DIR by default; where files are named,
    nothing counts as passed over.

    Raises RefusedError of the code `refused`, NotFoundError of the code `missing`, and what
    `sources.select` raises.
    """
    from sophia_tui.datasets.sources import Selection, select

    folder = settings.finetune_folder
    if path is not None and context.from_afar:
        files = [named_file(folder, path, refused).name]
    elif path is not None:
        given = Path(path).expanduser()
        folder = existing(path, (given, folder / given), missing)
        if not folder.is_dir():
            return Selection((folder,), ())
    found = select(folder, files, settings.history_file)
    return Selection(found.files, () if files else found.passed)
