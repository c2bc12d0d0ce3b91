r"""Reads most lines of training data many times as fast as `blocks.read_block`, with its results.

A line that is plainly a good one of a common layout is decoded straight into a typed struct; every
other goes to the slow reader, which is the authority. What the structs would let through:

- a key that stands twice: each key and each text has two quotes that are not escaped. Where there
  are more of them than what was decoded accounts for, something was there twice;
- NUL written as `\u0000`, texts of white space alone, special tokens: looked for in the texts.

msgspec itself refuses what else is no JSON, halves of surrogate pairs and invalid UTF-8 in texts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, overload

import msgspec

from sophia_tui.datasets import formats
from sophia_tui.datasets.blocks import Block, BlockRow, Shape, listed, read_block
from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.reader import MAX_LINE_BYTES, Note
from sophia_tui.domain.datasets import Example, Message, Pair

_Role = Literal["system", "developer", "user", "assistant"]
_DEEPEST = 50

Said = tuple[tuple[str, ...], Sequence[str], int]


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: _Role
    content: str


class _Chat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Turn]


class _Answered(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str
    citations: Any = msgspec.UNSET
    metadata: Any = msgspec.UNSET


class _Instructed(msgspec.Struct, forbid_unknown_fields=True):
    instruction: str
    output: str
    input: str | msgspec.UnsetType | None = msgspec.UNSET


_ASKED = ("user", "assistant")


def _chat(decode: Callable[[bytes], _Chat]) -> Callable[[bytes], Said | None]:
    def said(raw: bytes) -> Said | None:
        turns = decode(raw).messages
        roles = tuple([turn.role for turn in turns])
        if not roles or roles[-1] != "assistant":
            return None
        return roles, [turn.content for turn in turns], 2 + 8 * len(turns)

    return said


def _answered(decode: Callable[[bytes], _Answered]) -> Callable[[bytes], Said | None]:
    def said(raw: bytes) -> Said | None:
        row = decode(raw)
        quotes = 8
        for beside in (row.citations, row.metadata):
            if beside is not msgspec.UNSET:
                inside = _quotes(beside, 0)
                if inside is None:
                    return None
                quotes += 2 + inside
        return _ASKED, (row.question, row.answer), quotes

    return said


def _instructed(decode: Callable[[bytes], _Instructed]) -> Callable[[bytes], Said | None]:
    def said(raw: bytes) -> Said | None:
        row = decode(raw)
        asked, quotes = row.instruction, 8
        if row.input is not msgspec.UNSET:
            quotes += 2 if row.input is None else 4
            if row.input and not row.input.isspace():
                if asked.isspace() or not asked:
                    return None
                asked = f"{asked}\n\n{row.input}"
        return _ASKED, (asked, row.output), quotes

    return said


def _quotes(value: Any, depth: int) -> int | None:
    """How many quotes a value is written with; None where the slow reader must look at it."""
    if isinstance(value, str):
        return 2
    if isinstance(value, float):
        return 0 if abs(value) < float("inf") else None
    if not isinstance(value, dict | list):
        return 0
    if depth > _DEEPEST:
        return None
    total, inside = 0, iter(value)
    if isinstance(value, dict):
        total, inside = 2 * len(value), iter(value.values())
    for each in inside:
        found = _quotes(each, depth + 1)
        if found is None:
            return None
        total += found
    return total


_LANES: tuple[tuple[str, Callable[[bytes], Said | None]], ...] = (
    ("chat", _chat(msgspec.json.Decoder(_Chat).decode)),
    ("question_answer", _answered(msgspec.json.Decoder(_Answered).decode)),
    ("instruction", _instructed(msgspec.json.Decoder(_Instructed).decode)),
)


class _Rows(Sequence[BlockRow]):
    """Rows in the order of their lines, made when they are asked for."""

    def __init__(self) -> None:
        self.made: list[BlockRow | tuple[int, bytes, tuple[str, ...], Sequence[str]]] = []

    def __len__(self) -> int:
        return len(self.made)

    def __iter__(self) -> Iterator[BlockRow]:
        for place in range(len(self.made)):
            yield self[place]

    @overload
    def __getitem__(self, place: int) -> BlockRow: ...
    @overload
    def __getitem__(self, place: slice) -> list[BlockRow]: ...
    def __getitem__(self, place: int | slice) -> BlockRow | list[BlockRow]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self.made)))]
        row = self.made[place]
        if isinstance(row, tuple):
            line, raw, roles, texts = row
            row = self.made[place] = BlockRow(line, raw, said=(roles, texts))
        return row


class FastReader:
    """Reads block after block; remembers which layout the last line had, and nothing else.

    Without `keep` the blocks have no rows, only what is counted of them.
    """

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self._form, self._said = _LANES[0]

    def read(self, data: bytes) -> Block:
        """The same block as `read_block` makes, and fingerprints of its rows."""
        return self._read(data, careful=False) or self._read(data, careful=True) or Block(data)

    def _read(self, data: bytes, careful: bool) -> Block | None:
        """None where more quotes stand than should: then each line must be looked at carefully."""
        rows = _Rows()
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        block = Block(data, len(lines), rows)
        returns, escapes = b"\r" in data, b"\\u" in data
        special = escapes or b"<" in data or b"INST]" in data
        limit = MAX_LINE_BYTES if len(data) > MAX_LINE_BYTES else None
        keys, numbers, offsets = block.prints.keys, block.prints.lines, block.prints.offsets
        orders: list[tuple[str, ...]] = []
        sizes: list[int] = []
        forms: list[str] = []
        slow: list[bytes] = []
        offset = number = expected = 0
        for raw in lines:
            number += 1
            at, offset = offset, offset + len(raw) + 1
            line = raw[:-1] if returns and raw.endswith(b"\r") else raw
            said = None if limit and len(line) > limit else self._say(line)
            if (
                said is None
                or not all(said[1])
                or any(map(str.isspace, said[1]))
                or (escapes and b"\\u0000" in line)
                or (special and _holds_special(said[1]))
                or (careful and _delimiters(line) != said[2])
            ):
                slow.append(raw)
                self._slowly(block, rows, number, at, raw)
                continue
            roles, texts, quotes = said
            expected += quotes
            keys.append(hash((roles, *texts)))
            numbers.append(number)
            offsets.append(at)
            orders.append(roles)
            forms.append(self._form)
            sizes.append(sum(map(len, texts)))
            if line is not raw:
                block.notes.setdefault("crlf", Note(listed=None)).add(number)
            if self._keep:
                rows.made.append((number, line, roles, texts))
        if not careful and not _as_many(data, slow, expected):
            return None
        _count(block.shape, forms, orders, sizes)
        return block

    def _say(self, line: bytes) -> Said | None:
        """What a line of a known layout says; the layout of the line before is tried first."""
        try:
            return self._said(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            for form, said in _LANES:
                if said is not self._said and _SIGNS[form] in line:
                    try:
                        found = said(line)
                    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                        continue
                    self._form, self._said = form, said
                    return found
        return None

    def _slowly(self, block: Block, rows: _Rows, number: int, at: int, raw: bytes) -> None:
        """Read one line as the authority does, and add what it says to the block."""
        read = read_block(raw + b"\n")
        block.shape.merge(read.shape)
        for _line, problem in read.unusable:
            block.unusable.append((number, problem))
        for code, note in read.notes.items():
            kept = block.notes.setdefault(code, Note(listed=None))
            for _line in note.lines:
                kept.add(number)
        for row in read.rows:
            block.prints.keys.append(key_of(row.example))
            block.prints.lines.append(number)
            block.prints.offsets.append(at)
            if self._keep:
                rows.made.append(BlockRow(number, row.raw, row.example))


#: What a line must hold for a layout to be tried on it.
_SIGNS = {"chat": b'"messages"', "question_answer": b'"question"', "instruction": b'"instruction"'}


def key_of(example: Example | Pair) -> int:
    """The fingerprint of a row: the same for all rows with the same canonical line, in this process
    and those forked from it (Python's hashes differ from run to run)."""
    messages = example.messages
    roles = tuple(message.role for message in messages)
    texts = tuple(message.content for message in messages)
    if example == Example(tuple(map(Message, roles, texts))):
        return hash((roles, *texts))
    return hash(formats.encode(example))


def _count(shape: Shape, forms: list[str], orders: list[tuple[str, ...]], sizes: list[int]) -> None:
    shape.forms.update(forms)
    shape.characters.update(sizes)
    for roles, count in Counter(orders).items():
        shape.roles[listed(roles)] += count
        shape.turns[len(roles)] += count


def _holds_special(texts: Iterable[str]) -> bool:
    for text in texts:
        try:
            formats.refuse_special(text, 0)
        except Unusable:
            return True
    return False


def _as_many(data: bytes, slow: list[bytes], expected: int) -> bool:
    """Whether there are as many quotes as expected, apart from the lines that were read slowly."""
    if data.count(b'"') - sum(each.count(b'"') for each in slow) == expected:
        return True
    return _delimiters(data) - sum(map(_delimiters, slow)) == expected


def _delimiters(data: bytes) -> int:
    """Quotes that are not escaped."""
    if b"\\" not in data:
        return data.count(b'"')
    data = data.replace(b"\\\\", b"")
    return data.count(b'"') - data.count(b'\\"')
