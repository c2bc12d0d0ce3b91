"""Managed env files of other services: read, planned, compared and replaced whole."""

import hashlib
import os
from pathlib import Path

from sophia_tui import envfile
from sophia_tui.domain.models import FileChange
from sophia_tui.errors import ConflictError, NotFoundError, PromotionError
from sophia_tui.files import whole_file
from sophia_tui.i18n import _


def diff_lines(change: FileChange) -> list[str]:
    """The changed assignments alone: the lines around them may hold secrets."""
    lines = []
    for key in change.after:
        before, after = change.before.get(key), change.after[key]
        if before is not None:
            lines.append(f"-{key}={before}")
        if after is not None:
            lines.append(f"+{key}={after}")
    return lines


def read_env(path: Path) -> str:
    """A managed env file's text. Raises NotFoundError P406 or PromotionError P009."""
    try:
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
    replace_env(path, envfile.change(content.decode("utf-8"), change.after).encode("utf-8"))


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
    path: Path, text: str, before: dict[str, str | None], after: dict[str, str | None]
) -> FileChange:
    return FileChange(
        path=str(path),
        before=before,
        after=after,
        before_hash=content_hash(text.encode("utf-8")),
        after_hash=content_hash(envfile.change(text, after).encode("utf-8")),
    )


def content_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
