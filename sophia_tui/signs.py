"""Whether a terminal is to get ASCII signs alone, and how it gets them."""

import codecs
import io
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from sophia_tui.textsafe import plain_sign

_YES = ("1", "true", "yes", "on")
_PLAIN = ("C", "POSIX")
#: The environment as it was when this process began.
_BEGUN_WITH = Path("/proc/self/environ")


def wants_plain_signs(environment: Mapping[str, str], begun_with: Path = _BEGUN_WITH) -> bool:
    """Whether SOPHIA_ASCII says so, or a locale C or POSIX that somebody chose, read as text.

    In such a locale Python turns to UTF-8 by itself and says so in LC_CTYPE, which therefore counts
    only where it was there from the beginning.
    """
    if environment.get("SOPHIA_ASCII", "").strip().lower() in _YES:
        return True
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = environment.get(name, "")
        if value and not (name == "LC_CTYPE" and _put_by_python(value, begun_with)):
            return value in _PLAIN
    return False


def _put_by_python(value: str, begun_with: Path) -> bool:
    if value not in ("C.UTF-8", "C.utf8", "UTF-8"):
        return False
    try:
        return f"LC_CTYPE={value}".encode() not in begun_with.read_bytes().split(b"\0")
    except OSError:
        return False


def sign_plainly(stream: object) -> None:
    """From here on the stream writes signs that are no letters as ASCII; letters stay letters."""
    if not isinstance(stream, io.TextIOWrapper):
        return
    before = stream.encoding

    def plainly(problem: UnicodeError) -> tuple[bytes, int]:
        assert isinstance(problem, UnicodeEncodeError)
        lost = problem.object[problem.start : problem.end]
        return b"".join(_written(each, before) for each in lost), problem.end

    name = f"sophia_signs_{before}"
    codecs.register_error(name, plainly)
    stream.reconfigure(encoding="ascii", errors=name)


def _written(sign: str, encoding: str) -> bytes:
    """A letter that the terminal can't show becomes the nearest one that it can."""
    sign = plain_sign(sign)
    try:
        return sign.encode(encoding)
    except UnicodeEncodeError:
        nearest = unicodedata.normalize("NFKD", sign)[0]
        return nearest.encode() if nearest.isascii() else b"?"
