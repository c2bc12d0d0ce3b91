r"""The lane for lines that are plainly good: told many at a time by one pattern of bytes, and made
canonical lines without being taken apart.

Plain is a chat, or a question and its answer, laid out by one of the usual writers with nothing
besides, whose texts begin with something to see and hold no `\u` and no special token. What else
there is goes the long way, which is the authority: both ways lead to the same bytes.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import ne
from typing import Any

import re2

from sophia_tui.datasets import split
from sophia_tui.datasets.fast import SHORT_RUN, token_at
from sophia_tui.datasets.layouts import LATIN, SEEN_UTF8, UTF8, chat_row
from sophia_tui.datasets.ranges import lines_of
from sophia_tui.datasets.reader import MAX_LINE_BYTES

#: Lines that are passed over once none was plain where it was tried.
_MOST_SKIPPED = 8
_USER = b'{"role":"user","content":"'
_ANSWER = b'"},{"role":"assistant","content":"'


@dataclass(frozen=True)
class Writer:
    """How lines of one layout look: the beginning by which they are told, what matches one of them
    around its texts, and what is to be replaced, in this order, to make them canonical.

    What is replaced holds a quote that opens a text or a key behind something else than a
    backslash, so no text can hold it.
    """

    begins: bytes
    row: bytes
    replaced: tuple[tuple[bytes, bytes], ...]


def _chats(gap: bytes) -> Writer:
    begins = b'{"messages":' + gap + b'[{"role":' + gap + b'"'
    return Writer(
        begins,
        chat_row(gap, b"TEXT"),
        (
            (begins, b'{"messages":[{"role":"'),
            (b'"},' + gap + b'{"role":' + gap + b'"', b'"},{"role":"'),
            (b'",' + gap + b'"content":' + gap + b'"', b'","content":"'),
        )
        if gap
        else (),
    )


def _answers(gap: bytes) -> Writer:
    begins = b'{"question":' + gap + b'"'
    between = b'",' + gap + b'"answer":' + gap + b'"'
    return Writer(
        begins,
        rb"\{" + begins[1:] + b"TEXT" + between + rb'TEXT"\}\n',
        (
            (begins, b'{"messages":[' + _USER),
            (between, _ANSWER),
            (b'"}\n', b'"}]}\n'),
        ),
    )


_WRITERS = tuple(writer(gap) for writer in (_chats, _answers) for gap in (b" ", b""))

#: Characters outside ASCII that normalising leaves as they are, wherever they stand: letters and
#: signs of Latin-1 and Latin Extended-A, dashes, quotes and the like, the euro, emoji.
_SETTLED = (
    rb"\xc2[\xa1-\xac\xae-\xbf]|[\xc3-\xc5][\x80-\xbf]|\xe2\x80[\x90-\xa7\xb0-\xbf]|\xe2\x82\xac"
    rb"|\xf0\x9f[\x80-\xbf]{2}"
)
_TEXT = rb"(?:%b)(?:[ !#-\[\]-\x7e]|%b|\\[%b]|%b)*"
_ANY = _TEXT % (SEEN_UTF8 + b"|" + _SETTLED, rb"\x7f", rb'"\\bfnrt', UTF8)
_TO_NORMALISE = _TEXT % (rb'[!#-\[\]-~]|\\"|' + _SETTLED, rb"~", rb'"nt', _SETTLED)


@cache
def _pattern(writer: Writer, normalise: bool) -> Any:
    text = _TO_NORMALISE if normalise else _ANY
    return re2.compile(b"(?:" + writer.row.replace(b"TEXT", text) + b")+", LATIN)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some whole lines of a block as they are written, and where they are plain as canonical ones;
    `rows` are those without line ends, `changed` is how many of them normalising changed."""

    written: bytes
    canonical: bytes | None = None
    rows: Sequence[bytes] = ()
    changed: int = 0


class PlainLane:
    """Takes blocks apart into what is plain and what is not; with `normalise` plain lines come out
    normalised, as `steps.normalised` does it with their texts."""

    def __init__(self, normalise: bool) -> None:
        self._normalise = normalise

    def stretches(self, block: bytes) -> Iterator[Stretch]:
        """All lines of the block in their order."""
        size = len(block)
        at = begun = skip = failed = 0
        token = token_at(block, 0)
        while at < size:
            end, writer = at, None
            if not skip and SHORT_RUN <= size - at <= MAX_LINE_BYTES:
                writer = _writer(block, at)
            if writer:
                found = _pattern(writer, self._normalise).match(block, at)
                end = found.end() if found else at
                if token < at:
                    token = token_at(block, at)
                if token < end:
                    end = block.rfind(b"\n", at, token) + 1 or at
            if end > at and writer:
                if begun < at:
                    yield Stretch(block[begun:at])
                yield self._plain(block[at:end], writer)
                at = begun = end
                failed = 0
            elif writer or not skip:
                failed = min(failed + 1, _MOST_SKIPPED)
                skip = failed
            if at < size:  # the line that is not plain
                at = block.find(b"\n", at) + 1 or size
                skip = max(skip - 1, 0)
        if begun < size:
            yield Stretch(block[begun:])

    def _plain(self, lines: bytes, writer: Writer) -> Stretch:
        canonical = lines
        for written, wanted in writer.replaced:
            canonical = canonical.replace(written, wanted)
        if not self._normalise:
            return Stretch(lines, canonical, lines_of(canonical))
        settled = _settled(canonical)
        if settled is None:
            return Stretch(lines)
        rows, changed = lines_of(settled), 0
        if settled is not canonical:
            changed = sum(map(ne, lines_of(canonical), rows))
        return Stretch(lines, settled, rows, changed)


def _writer(block: bytes, at: int) -> Writer | None:
    for writer in _WRITERS:
        if block.startswith(writer.begins, at):
            return writer
    return None


_ODD = re2.compile(rb'(?: |\\t)(?:\\n|"\})|\\n"\}|\\n\\n\\n\\n', LATIN)
_EVEN = {blank + before: before for blank in (b" ", rb"\t") for before in (rb"\n", b'"}')} | {
    rb'\n"}': b'"}',
    rb"\n\n\n\n": rb"\n\n\n",
}
#: How often what is odd may be sought, and how far before the place where it was last found.
_MOST_SOUGHT, _BACK = 24, 16


def _settled(rows: bytes) -> bytes | None:
    """Without white space at the ends of lines and texts, and with three line feeds at most in a
    row; None where there is so much of it that taking the texts apart is faster.

    A text holds no backslash but those of `\"`, `\n` and `\t`, and ends where a quote without one
    stands before a brace.
    """
    at = 0
    for _time in range(_MOST_SOUGHT):
        found = _ODD.search(rows, at)
        if not found:
            return rows
        odd = found.group()
        rows = rows.replace(odd, _EVEN[odd])
        at = max(found.start() - _BACK, 0)
    return None


# --- the first question ---

#: Bytes of texts whose case and Unicode form are told byte by byte: ASCII, and letters that are
#: written with C3 but for the sharp s, which is two letters without its case.
_EASY = bytes(
    [*range(0x20, 0x5C), *range(0x5D, 0x80), *range(0x80, 0x9F), *range(0xA0, 0xC0), 0xC3]
)
_LOWER = bytes(
    each + 0x20 if 0x41 <= each <= 0x5A or (0x80 <= each <= 0x9E and each != 0x97) else each
    for each in range(256)
)


def question_of(row: bytes) -> bytes | None:
    """What `split.question_of` says of a plain canonical line; None where it must be asked."""
    start = row.find(_USER) + len(_USER)
    if start < len(_USER):
        return None
    end = row.find(b'"}', start)
    text = row[start:end]
    if b"\\" in text:
        if rb"\\" in row:
            return None
        while row[end - 1] == _BACKSLASH:
            end = row.find(b'"}', end + 1)
        text = row[start:end].replace(rb"\"", b'"')
        if b"\\" in text:
            if rb"\b" in text:
                return None
            text = _BLANK.sub(b" ", text)
    if text.translate(None, _EASY):
        return split.plain(text.decode()).encode()
    text = text.translate(_LOWER)
    if b"  " in text or text[0] == _SPACE or text[-1] == _SPACE:
        return b" ".join(text.split())
    return text


_SPACE, _BACKSLASH = b" \\"
_BLANK = re.compile(rb"\\[ntrf]")
