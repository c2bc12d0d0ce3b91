"""The help of `sophia` alone, kept between calls: declaring every operation costs 0.2 s each time.

The kept text is used only while the program's files are those it was made from.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import sophia_tui
from sophia_tui.i18n import get_language
from sophia_tui.paths import cache_folder

_PACKAGE = Path(sophia_tui.__file__).parent
#: What the text is made from: the declarations, the grammar, the catalogue.
_SOURCES = ("services/*.py", "cli/*.py", "locale/*/*/*.mo")


def help_text() -> str:
    """The kept text, or a new one, which is then kept where that is possible."""
    kept = cache_folder() / f"help-{get_language()}-{_fingerprint()}.txt"
    try:
        return kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = _made()
    temporary = kept.with_suffix(f".{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in kept.parent.glob(f"help-{get_language()}-*.txt"):
            old.unlink(missing_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, kept)
    except OSError:  # help that can't be kept is help all the same
        with contextlib.suppress(OSError):
            temporary.unlink()
    return text


def _made() -> str:
    from sophia_tui.cli.command import overview

    return overview()


def _fingerprint() -> str:
    seen = hashlib.sha256(sophia_tui.__version__.encode())
    for pattern in _SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            state = path.stat()
            seen.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    return seen.hexdigest()[:24]
