r"""How chat lines are laid out by the usual writers, and what can be told of such lines without
taking them apart.

A layout is known by one regular expression of bytes that holds for whole lines: keys once and in
their order, roles that are known, valid UTF-8, texts that begin with something to see, and the
assistant last. All that such a line says lies in its bytes in one way only: two lines of one layout
say the same exactly where their bytes are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any

import numpy
import re2

from sophia_tui.datasets.blocks import LISTED_ROLES, MORE, Shape

_ROLES = ("system", "developer", "user", "assistant")

_SHORT = rb'\\["\\bfnrt]'
_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
    rb"|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_PAIR = rb"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"
# what json.dumps escapes: no NUL, which nothing may hold, and nothing that has a short form
_ESCAPED = (
    rb"\\u(?:000[1-7bef]|001[0-9a-f]|007f|00[89a-f][0-9a-f]|0[1-9a-f][0-9a-f]{2}"
    rb"|[1-9abcef][0-9a-f]{3}|d[0-7][0-9a-f]{2})"
)
# white space outside ASCII begins with other bytes, and other escapes
_SEEN = rb'[!#-\[\]-\x7e]|\\["\\]'
_SEEN_UTF8 = (
    _SEEN + rb"|[\xc3-\xdf][\x80-\xbf]|[\xe4-\xec][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2}"
)
_SEEN_ASCII = _SEEN + rb"|\\u00[c-f][0-9a-f]|\\u[4-9][0-9a-f]{3}|" + _PAIR


@dataclass(frozen=True)
class Layout:
    """`space` follows commas and colons; `ascii`: all else is escaped."""

    space: bytes = b" "
    ascii: bool = False

    @property
    def pattern(self) -> Any:
        """Matches as many lines as are of this layout, from the place where it is tried on."""
        return _pattern(self)

    def write(self, roles: Sequence[str], texts: Sequence[str]) -> bytes:
        """The line of this layout that says this, without its end."""
        quoted = encode_basestring_ascii if self.ascii else encode_basestring
        gap = self.space.decode()
        turns = [
            f'{{"role":{gap}"{role}",{gap}"content":{gap}{quoted(text)}}}'
            for role, text in zip(roles, texts, strict=True)
        ]
        return f'{{"messages":{gap}[{f",{gap}".join(turns)}]}}'.encode()

    def survey(self, lines: bytes, ends: "numpy.ndarray[Any, Any]", shape: Shape) -> None:
        """Count roles, turns and characters of lines that the pattern matches; `ends` are where
        their line ends lie."""
        written = numpy.frombuffer(lines, numpy.uint8)
        braces = numpy.flatnonzero(written == _BRACE)
        turns = braces[written[braces + 2] == _R]  # no text holds a quote that is not escaped
        turns = turns[written[turns + 1] == _QUOTE]
        roles = _NUMBERS[written[turns + len(b'{"role":"') + len(self.space)]]
        rows = numpy.searchsorted(ends, turns)
        counts = numpy.bincount(rows, minlength=len(ends))
        places = numpy.arange(len(turns)) - (numpy.cumsum(counts) - counts)[rows]
        _count_roles(shape, rows, roles, places, counts)
        gap = len(self.space)
        markup = len(b'{"messages":[]}') + counts * len(b'{"role":"","content":""},') - 1
        markup += gap * (4 * counts) + numpy.bincount(rows, _LENGTHS[roles]).astype(numpy.int64)
        sizes = numpy.diff(ends, prepend=-1) - 1 - markup - self._longer(written, ends)
        values, found = numpy.unique(sizes, return_counts=True)
        shape.characters.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
        shape.forms["chat"] += len(ends)

    def _longer(self, written: "numpy.ndarray[Any, Any]", ends: "numpy.ndarray[Any, Any]") -> Any:
        """By how many bytes each line is longer than its characters."""
        longer = numpy.zeros(len(ends), numpy.int64)
        if not self.ascii:
            following = (written.view(numpy.int8) < -64).view(numpy.uint8)  # bytes 0x80 to 0xbf
            starts = numpy.concatenate(([0], ends[:-1] + 1))
            longer += numpy.add.reduceat(following, starts, dtype=numpy.uint32)
        slashes = numpy.flatnonzero(written == _BACKSLASH)
        if not len(slashes):
            return longer
        firsts = numpy.flatnonzero(numpy.diff(slashes, prepend=-2) > 1)
        lengths = numpy.diff(firsts, append=len(slashes))
        beyond = slashes[firsts] + lengths
        excess = (lengths + 1) // 2
        if self.ascii:
            units = (lengths % 2 == 1) & (written[beyond] == _U)
            excess += 4 * units
            high = units & (written[beyond + 1] == _D)
            excess += high & numpy.isin(written[beyond + 2], _HIGH)
        rows = numpy.searchsorted(ends, beyond)
        return longer + numpy.bincount(rows, excess, len(ends)).astype(numpy.int64)


_QUOTE, _BACKSLASH, _BRACE = b'"\\{'
_R, _U, _D = b"rud"
_HIGH = numpy.frombuffer(b"89ab", numpy.uint8)
_NUMBERS = numpy.zeros(256, numpy.int64)
for _number, _role in enumerate(_ROLES):
    _NUMBERS[ord(_role[0])] = _number
_LENGTHS = numpy.array([len(role) for role in _ROLES])


def _count_roles(shape: Shape, rows: Any, roles: Any, places: Any, counts: Any) -> None:
    """Orders of roles are numbers of base four, beside how many turns there are of them."""
    told = places < LISTED_ROLES
    orders = numpy.bincount(rows[told], roles[told] << (2 * places[told])).astype(numpy.int64)
    kinds = counts << (2 * LISTED_ROLES) | orders
    found, times = numpy.unique(kinds, return_counts=True)
    for kind, count in zip(found.tolist(), times.tolist(), strict=True):
        turns = kind >> (2 * LISTED_ROLES)
        order = [_ROLES[kind >> (2 * place) & 3] for place in range(min(turns, LISTED_ROLES))]
        shape.turns[turns] += count
        shape.roles[(*order, *([MORE] if turns > LISTED_ROLES else []))] += count


def layout_of(beginning: bytes) -> Layout:
    """The layout that a file probably has."""
    spaced = b'": ' in beginning
    return Layout(b" " if spaced else b"", beginning.isascii() and b"\\u" in beginning)


#: What `json.dumps` writes with ensure_ascii=False.
USUAL = Layout()


@cache
def _pattern(layout: Layout) -> Any:
    gap = layout.space
    seen, more = (_SEEN_ASCII, _ESCAPED + b"|" + _PAIR) if layout.ascii else (_SEEN_UTF8, _UTF8)
    text = rb"(?:" + seen + rb")(?:[ !#-\[\]-\x7e]|" + _SHORT + rb"|" + more + rb")*"
    if not layout.ascii:
        text = text.replace(rb"\]-\x7e]|" + _SHORT, rb"\]-\x7f]|" + _SHORT)

    def turn(roles: bytes) -> bytes:
        return (
            rb'\{"role":'
            + gap
            + rb'"(?:'
            + roles
            + rb')",'
            + gap
            + rb'"content":'
            + gap
            + rb'"'
            + text
            + rb'"\}'
        )

    every = b"|".join(role.encode() for role in _ROLES)
    row = (
        rb'\{"messages":'
        + gap
        + rb"\[(?:"
        + turn(every)
        + rb","
        + gap
        + rb")*"
        + turn(b"assistant")
        + rb"\]\}\n"
    )
    return re2.compile(rb"(?:" + row + rb")+", LATIN)


def _latin() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    return options


#: For patterns of bytes, which need not be UTF-8.
LATIN = _latin()
