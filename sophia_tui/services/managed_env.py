"""Managed env files of other services: read, planned, compared and replaced whole."""

import difflib
import hashlib
import os
import re
import stat
from collections.abc import Collection
from pathlib import Path

from sophia_tui import envfile
from sophia_tui.domain.models import FileChange
from sophia_tui.errors import ConflictError, NotFoundError, PromotionError
from sophia_tui.files import whole_file
from sophia_tui.i18n import _


def changed_lines(before: str, after: str) -> tuple[str, ...]:
    """The changed assignments alone: the lines around them may hold secrets."""
    old, new = ([line.raw.rstrip("\r") for line in envfile.parse(text)] for text in (before, after))
    found = difflib.unified_diff(old, new, n=0, lineterm="")
    return tuple(line for line in found if line[0] in "-+" and line[:3] not in ("---", "+++"))


def read_env(path: Path) -> str:
    """A managed env file's text. Raises NotFoundError P406 or PromotionError P009, P011."""
    try:
        # a pipe would be waited for without end, and a device replaced by a file
        if not stat.S_ISREG(path.stat().st_mode):
            raise PromotionError(
                "P011",
                _("{path} is not a regular file.").format(path=path),
                _("A folder, a device or a pipe can't be an env file."),
                _("Correct SOPHIA_MANAGED_ENV_FILES or --env-file."),
            )
        # bytes are kept: a file with CRLF ends keeps them
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            "P406",
            _("The env file {path} does not exist.").format(path=path),
            remedy=_("Correct SOPHIA_MANAGED_ENV_FILES or --env-file."),
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise PromotionError(
            "P009",
            _("The env file {path} can't be read.").format(path=path),
            getattr(problem, "strerror", None) or type(problem).__name__,
            _("Check its owner, its mode and its encoding (UTF-8)."),
        ) from problem


def write_env(change: FileChange) -> None:
    """Write one planned change. Raises ConflictError P005 where the file is not as planned."""
    path = Path(change.path)
    content = path.read_bytes()
    if content_hash(content) != change.before_hash:
        raise ConflictError(
            "P005",
            _("{path} was changed by somebody else just now.").format(path=change.path),
            remedy=_("Look at the plan again, then promote."),
        )
    replace_env(path, _new_content(content.decode("utf-8"), change.after, change.restores))


def replace_env(path: Path, content: bytes) -> None:
    """Replace a file whole; owner, mode, access list and link stay. Raises SetupError S101."""
    real = Path(os.path.realpath(path))
    # a rename would silently replace a read-only file, and root passes every access check
    if not (os.access(real, os.W_OK) and real.stat().st_mode & 0o222):
        raise PromotionError(
            "P010",
            _("The env file {path} is read-only.").format(path=path),
            _("Its owner did not mean it to be changed."),
            _("Give the user of Sophia the right to write it."),
        )
    kept = [name for name in os.listxattr(real) if name.startswith(("system.posix_acl", "user."))]
    attributes = {name: os.getxattr(real, name) for name in kept}
    with whole_file(real, like=real.stat()) as stream:
        stream.write(content)
        for name, value in attributes.items():
            os.setxattr(stream.fileno(), name, value)


def planned(
    path: Path,
    text: str,
    before: dict[str, str | None],
    after: dict[str, str | None],
    restores: str | None = None,
) -> FileChange:
    """The change of one file whose text is `text`."""
    new = _new_content(text, after, restores)
    return FileChange(
        path=str(path),
        before=before,
        after=after,
        before_hash=content_hash(text.encode("utf-8")),
        after_hash=content_hash(new),
        diff=changed_lines(text, new.decode("utf-8")),
        restores=restores,
    )


def _new_content(text: str, after: dict[str, str | None], restores: str | None) -> bytes:
    if restores is not None:
        return Path(restores).read_bytes()
    return envfile.change(text, after).encode("utf-8")


def refers_to(value: str, keys: Collection[str]) -> bool:
    """Whether a value only names another key (`${GEN_MODEL}`), and so follows it by itself."""
    found = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))", value)
    return found is not None and (found.group(1) or found.group(2)) in keys


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
