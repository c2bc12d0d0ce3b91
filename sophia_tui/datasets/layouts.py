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
UTF8 = (
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
SEEN_UTF8 = (
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

    def places(self, lines: bytes) -> "Places | None":
        """Where things lie in whole lines that the pattern matches as a whole, several times as
        fast as by the pattern; None where one of them may not be of this layout.

        All quotes that are not escaped are those of the markup: there are as many as it has.
        """
        gap, opening = self.space, b'{"messages":' + self.space + b"["
        if self.ascii or not (lines.startswith(opening) and lines.endswith(b'"}]}\n')):
            return None
        written = numpy.frombuffer(lines, numpy.uint8)
        ends = numpy.flatnonzero(written == _LF)
        if numpy.count_nonzero(written < _SPACE) != len(ends) or not _is_utf8(lines):
            return None
        found = Places(written, ends, *_backslashes(written), _turns(written))
        starts, turns = numpy.concatenate(([0], ends[:-1] + 1)), found.turns
        first = written[turns - 1] == _BRACKET
        if (
            numpy.count_nonzero(first) != len(ends)
            or not numpy.array_equal(turns[first], starts + len(opening))
            or turns[-1] + len(b'{"role":"' + gap) >= len(written)
            or not _stands(written, starts, opening)
            or not _stands(written, ends - len(b'"}]}'), b'"}]}\n')
            or not _stands(written, turns[~first] - len(b'"},' + gap), b'"},' + gap)
        ):
            return None
        roles = found.roles(gap)
        texts = turns.copy()
        for number, role in enumerate(_ROLES):
            head = b'{"role":%b"%b",%b"content":%b"' % (gap, role.encode(), gap, gap)
            mine = roles == number
            if not _stands(written, turns[mine], head):
                return None
            texts[mine] += len(head)
        last = numpy.append(first[1:], True)
        closing = numpy.empty_like(turns)
        closing[last] = ends - len(b'"}]}')
        closing[~last] = turns[~first] - len(b'"},' + gap)
        quotes = numpy.count_nonzero(written == _QUOTE) - found.escaped_quotes
        begin = written[texts]
        good = (
            quotes == 2 * len(ends) + 8 * len(turns)
            and (closing > texts).all()
            and (written[closing - 1] != _BACKSLASH).all()
            and (_SEEN_FIRST[begin] | (begin == _BACKSLASH) & _TWICE[written[texts + 1]]).all()
            and (roles[last] == _ROLES.index("assistant")).all()
            and found.escapes_are_short
        )
        return found if good else None

    def survey(self, places: "Places", shape: Shape) -> None:
        """Count roles, turns and characters of lines that the pattern matches."""
        ends, turns = places.ends, places.turns
        roles = places.roles(self.space)
        rows = numpy.searchsorted(ends, turns)
        counts = numpy.bincount(rows, minlength=len(ends))
        within = numpy.arange(len(turns)) - (numpy.cumsum(counts) - counts)[rows]
        _count_roles(shape, rows, roles, within, counts)
        gap = len(self.space)
        markup = len(b'{"messages":[]}') + counts * len(b'{"role":"","content":""},') - 1
        markup += gap * (4 * counts) + numpy.bincount(rows, _LENGTHS[roles]).astype(numpy.int64)
        sizes = numpy.diff(ends, prepend=-1) - 1 - markup - self._longer(places)
        values, found = numpy.unique(sizes, return_counts=True)
        shape.characters.update(dict(zip(values.tolist(), found.tolist(), strict=True)))
        shape.forms["chat"] += len(ends)

    def _longer(self, found: "Places") -> Any:
        """By how many bytes each line is longer than its characters."""
        written, ends = found.written, found.ends
        longer = numpy.zeros(len(ends), numpy.int64)
        if not self.ascii:
            following = (written.view(numpy.int8) < -64).view(numpy.uint8)  # bytes 0x80 to 0xbf
            starts = numpy.concatenate(([0], ends[:-1] + 1))
            longer += numpy.add.reduceat(following, starts, dtype=numpy.uint32)
        lengths, beyond = found.lengths, found.beyond
        if not len(lengths):
            return longer
        excess = (lengths + 1) // 2
        if self.ascii:
            units = (lengths % 2 == 1) & (written[beyond] == _U)
            excess += 4 * units
            high = units & (written[beyond + 1] == _D)
            excess += high & numpy.isin(written[beyond + 2], _HIGH)
        rows = numpy.searchsorted(ends, beyond)
        return longer + numpy.bincount(rows, excess, len(ends)).astype(numpy.int64)


@dataclass(frozen=True)
class Places:
    """Where in whole lines their ends lie and their turns begin; the lengths of all runs of
    backslashes, and what lies beyond each."""

    written: "numpy.ndarray[Any, Any]"
    ends: "numpy.ndarray[Any, Any]"
    lengths: "numpy.ndarray[Any, Any]"
    beyond: "numpy.ndarray[Any, Any]"
    turns: "numpy.ndarray[Any, Any]"

    @classmethod
    def of(cls, lines: bytes) -> "Places":
        """Those of lines that the pattern of a layout matches."""
        written = numpy.frombuffer(lines, numpy.uint8)
        ends = numpy.flatnonzero(written == _LF)
        return cls(written, ends, *_backslashes(written), _turns(written))

    def roles(self, gap: bytes) -> Any:
        """The number of each turn's role, told by its first letter."""
        return _NUMBERS[self.written[self.turns + len(b'{"role":"' + gap)]]

    @property
    def _escaped(self) -> Any:
        return self.written[self.beyond[self.lengths % 2 == 1]]

    @property
    def escaped_quotes(self) -> int:
        return int(numpy.count_nonzero(self._escaped == _QUOTE))

    @property
    def escapes_are_short(self) -> bool:
        return bool(_SHORT_SIGNS[self._escaped].all())


def _backslashes(written: "numpy.ndarray[Any, Any]") -> tuple[Any, Any]:
    slashes = numpy.flatnonzero(written == _BACKSLASH)
    firsts = numpy.flatnonzero(numpy.diff(slashes, prepend=-2) > 1)
    lengths = numpy.diff(firsts, append=len(slashes))
    return lengths, slashes[firsts] + lengths


def _turns(written: "numpy.ndarray[Any, Any]") -> Any:
    """No text holds a quote that is not escaped."""
    braces = numpy.flatnonzero(written == _BRACE)
    turns = braces[written[braces + 2] == _R]
    return turns[written[turns + 1] == _QUOTE]


def _stands(
    written: "numpy.ndarray[Any, Any]", places: "numpy.ndarray[Any, Any]", what: bytes
) -> bool:
    """Whether it stands at each of the places, which have as many bytes after them."""
    if not len(places):
        return True
    size = next(each for each in (8, 4, 2, 1) if each <= len(what))
    if places[0] < 0 or places[-1] + len(what) > len(written):
        return False
    # numbers of so many bytes that begin at any byte
    windows: numpy.ndarray[Any, Any] = numpy.ndarray(
        len(written) - size + 1, f"<u{size}", written.data, strides=(1,)
    )
    return all(
        bool((windows[places + at] == int.from_bytes(what[at : at + size], "little")).all())
        for at in (*range(0, len(what) - size, size), len(what) - size)
    )


def _is_utf8(lines: bytes) -> bool:
    try:
        lines.decode()
    except UnicodeDecodeError:
        return False
    return True


_LF, _SPACE, _QUOTE, _BACKSLASH, _BRACE, _BRACKET = b'\n "\\{['
_R, _U, _D = b"rud"
_HIGH = numpy.frombuffer(b"89ab", numpy.uint8)
_NUMBERS = numpy.zeros(256, numpy.int64)
for _number, _role in enumerate(_ROLES):
    _NUMBERS[ord(_role[0])] = _number


def _among(signs: bytes) -> "numpy.ndarray[Any, Any]":
    told = numpy.zeros(256, bool)
    told[list(signs)] = True
    return told


_SHORT_SIGNS, _TWICE = _among(b'"bfnrt'), _among(b'"\\')
# what _SEEN_UTF8 begins with, but for a backslash
_SEEN_FIRST = _among(
    bytes((*range(0x21, 0x7F), *range(0xC3, 0xE0), *range(0xE4, 0xED), 0xF0)).translate(
        None, b'"\\'
    )
)
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
    seen, more = (_SEEN_ASCII, _ESCAPED + b"|" + _PAIR) if layout.ascii else (SEEN_UTF8, UTF8)
    text = rb"(?:" + seen + rb")(?:[ !#-\[\]-\x7e]|" + _SHORT + rb"|" + more + rb")*"
    if not layout.ascii:
        text = text.replace(rb"\]-\x7e]|" + _SHORT, rb"\]-\x7f]|" + _SHORT)

    return re2.compile(rb"(?:" + chat_row(gap, text) + rb")+", LATIN)


def chat_row(gap: bytes, text: bytes) -> bytes:
    """What matches the line of a chat, its end included; `gap` follows commas and colons, `text` is
    what matches each text."""

    def turn(roles: bytes) -> bytes:
        role = b'"role":' + gap + b'"(?:' + roles + b')"'
        return rb"\{" + role + b"," + gap + b'"content":' + gap + b'"' + text + rb'"\}'

    every = turn("|".join(_ROLES).encode())
    row = rb'\{"messages":' + gap + rb"\[(?:" + every + b"," + gap + b")*"
    return row + turn(b"assistant") + rb"\]\}\n"


def _latin() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    return options


#: For patterns of bytes, which need not be UTF-8.
LATIN = _latin()
