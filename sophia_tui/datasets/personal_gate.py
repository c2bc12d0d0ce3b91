"""The gate: one pass of a linear automaton over bytes, which says what is worth a closer look.

It never says no to anything that `personal.find` finds in a text of the line; it is asked of the
raw bytes of JSON lines as they come, whose texts may be escaped, or of texts in UTF-8.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from sophia_tui.datasets import secrets
from sophia_tui.datasets.personal_documents import IBAN_LENGTHS

# What may stand between two digits: signs, a backslash (of an escape), the bytes of a variant sign.
_SIGN = rb"[ ./()\\-]"
_VARIANT = rb"\xc2\xa0|\xe2[\x80\x88][\x80-\xbf]|\xe3\x80\x80|\\{1,4}u[0-9A-Fa-f]{4}"
_GAP = rb"(?:" + _SIGN[:-1] + rb"]|" + _VARIANT + rb")"


def _upto(most: int) -> bytes:
    return _GAP + b"{0,%d}" % most


def _any_case(word: str) -> bytes:
    return "".join(f"[{each.lower()}{each.upper()}]" for each in word).encode()


_D, _X = rb"[0-9]", rb"[0-9A-Za-z]"
_HEX = rb"[0-9A-Fa-f]"
_IN_FOURS = _D + rb"{4}" + _upto(3) + _D + rb"{4}"
_IN_THREES = _D + rb"{3}" + _upto(3) + _D + rb"{3}" + _upto(3) + _D + rb"{3}"
_SLASH = rb"(?:[/-]|" + _VARIANT + rb")"
_RG_WORD = b"|".join(
    (
        rb"(?:\A|[^A-Za-z]|\\[a-z])[rR]\.?[gG]",
        _any_case("identid"),
        _any_case("id card"),
        _any_case("registro ger"),
    )
)

#: What a text holds in which a finder of this name finds anything.
PARTS: dict[str, tuple[bytes, ...]] = {
    "secrets": (secrets.MARKS,),
    "passwords": (rb"@",),
    "emails": (rb"@",),
    "pixes": (
        _HEX + rb"{8}" + _GAP + _HEX + rb"{4}" + _GAP + _HEX + rb"{4}" + _GAP,
        rb"[bB][rR]\.[gG][oO][vV]\.[bB][cC][bB]",
    ),
    "ibans": (
        rb"(?:" + rb"|".join(map(_any_case, IBAN_LENGTHS)) + rb")" + _D + rb"{2}" + _upto(1) + _X,
    ),
    "cnpjs": (
        _IN_FOURS,
        _IN_THREES,
        _D + rb"{3}" + _upto(3) + rb"/" + _upto(1) + _D + rb"{4}",
    ),
    "lettered_cnpjs": (
        # across its slash or hyphen, with spaces, in one piece
        _X + rb"{3}" + _upto(2) + _SLASH + _upto(1) + _X + rb"{4}" + _upto(3) + _D + rb"{2}",
        _X + rb"{2}" + _GAP + (_X + rb"{3}" + _GAP) * 2 + _X + rb"{4}" + _GAP + _D + rb"{2}",
        rb"(?:[0-9A-Z]{12}|[0-9a-z]{12})" + _upto(1) + _D + rb"{2}",
    ),
    "cpfs": (_IN_THREES,),
    "cards": (_IN_FOURS, _IN_THREES),
    "rgs": (rb"(?:" + _RG_WORD + rb")[^\n]{0,120}?" + _D + rb"[^\n]?" + _D,),
    "paulista_rgs": (
        _D + rb"{2}" + _GAP + _D + rb"{3}" + _GAP + _D + rb"{3}" + _GAP + rb"[0-9Xx]",
    ),
    "ips": (
        _D + rb"\." + _D + rb"{1,3}\." + _D + rb"{1,3}\." + _D,
        rb"::" + _HEX + rb"|" + _HEX + rb":(?::|(?:" + _HEX + rb"{1,4}:){2,})",
    ),
    "addresses": (
        _IN_FOURS,
        _D + rb"{5}" + _GAP + _D + rb"{3}",
        _D + rb"{2}\." + _D + rb"{3}" + _upto(1) + _D + rb"{3}",
    ),
    "phones": (_IN_FOURS, _IN_THREES, rb"(?:\+ ?|00)[1-9](?:" + _upto(2) + _D + rb"){6}"),
}
_EACH = tuple(dict.fromkeys(part for parts in PARTS.values() for part in parts))
#: Full-width forms, also as escapes; and ASCII that is written as an escape. Only in raw bytes.
_ESCAPED = (rb"\xef\xbc", rb"\\u(?:[fF]{2}0|00[2-7])")


def _options() -> Any:
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 24 << 20
    options.never_capture = True
    options.log_errors = False
    return options


@cache
def _automaton() -> Any:
    import re2

    return re2.compile(b"|".join(b"(?:" + part + b")" for part in (*_EACH, *_ESCAPED)), _options())


@cache
def _set() -> Any:
    import re2

    each = re2.Set.SearchSet(_options())
    for part in _EACH:
        each.Add(part)
    each.Compile()
    return each


_NAMES = tuple(frozenset(name for name, parts in PARTS.items() if part in parts) for part in _EACH)


def worth(text: str) -> frozenset[str]:
    """The names of the finders that may find something in the text."""
    # in a block a line feed ends a row; within a text it is white space like any other
    found = _set().Match(text.encode("utf-8", "replace").replace(b"\n", b" "))
    return frozenset().union(*(_NAMES[place] for place in found or ()))


def may_hold(row: bytes) -> bool:
    """Whether a line or a text (UTF-8) is worth a look. False is certain, True is not."""
    return _automaton().search(row.replace(b"\n", b" ")) is not None


def suspects(data: bytes) -> Iterator[tuple[int, int, int]]:
    """The lines of a block that are worth a look: number from 1, first byte, end without LF."""
    search = _automaton().search
    number, counted, place = 1, 0, 0
    while found := search(data, place):
        at = found.start()
        start = data.rfind(b"\n", 0, at) + 1
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        number += data.count(b"\n", counted, start)
        counted = start
        yield number, start, end
        place = end + 1
        if place > len(data):
            return
