r"""Reads most lines of training data many times as fast as `blocks.read_block`, with its results.

Lines of the usual layout of chats are told by one pattern, many at a time (`layouts`). A line that
is plainly a good one of another common form is decoded straight into a typed struct, and one that
is plainly an object is parsed fast and converted as all are. Every other goes to the slow reader,
which is the authority. What is looked for, since msgspec would let it through:

- a key that stands twice: each key and each text has two quotes that are not escaped. Where there
  are more of them than what was decoded accounts for, something was there twice;
- NUL written as `\u0000`, texts of white space alone, special tokens: looked for in the texts.

msgspec itself refuses what else is no JSON, halves of surrogate pairs and invalid UTF-8; numbers
that it may read otherwise than Python go to the slow reader.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Literal, overload

import msgspec
import numpy
import re2
import xxhash

from sophia_tui.datasets import formats
from sophia_tui.datasets.blocks import Block, BlockRow, Run, Shape, listed, read_block, roles_of
from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.layouts import LATIN, USUAL, Layout, Places
from sophia_tui.datasets.reader import MAX_LINE_BYTES, Note, delimiters
from sophia_tui.domain.datasets import Example, Message, Pair

_Role = Literal["system", "developer", "user", "assistant"]
_DEEPEST = 50
_EXACT = 2.0**53
#: Role, type and value of a weight that says what its absence does.
_WEIGHTED = ("assistant", int, 1)

#: The roles of a line, its texts, and how many quotes it is written with that are not escaped.
Said = tuple[tuple[str, ...], Sequence[str], int]
#: The form of a row, its roles and characters.
_Told = tuple[str, tuple[str, ...], int]


class _Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: _Role
    content: str
    weight: Any = None


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
        weights = [
            (turn.role, type(turn.weight), turn.weight) for turn in turns if turn.weight is not None
        ]
        if weights and any(each != _WEIGHTED for each in weights):
            return None
        quotes = 2 + 8 * len(turns) + 2 * len(weights)
        return roles, [turn.content for turn in turns], quotes

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
    if isinstance(value, float):  # a whole number of many digits comes as one, too
        return 0 if abs(value) < _EXACT else None
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


_Made = BlockRow | tuple[int, bytes, Said] | tuple[int, slice]


class _Rows(Sequence[BlockRow]):
    """Rows in the order of their lines, made when they are asked for: a row, or its line, raw bytes
    and what they say, or the line of a row of the layout and where it lies."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.made: list[_Made] = []

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
            if len(row) == 2:
                line, raw = row[0], self._data[row[1]]
                known = _LANES[0][1](raw)
                assert known is not None  # the layout's pattern matched
            else:
                line, raw, known = row
            row = self.made[place] = BlockRow(line, raw, said=known[:2])
        return row


class FastReader:
    """Reads block after block, and keeps nothing of them.

    `layout` is the one that most lines are expected to have, and what fingerprints are made of.
    Without `keep` the blocks have no rows, only what is counted of them.
    """

    def __init__(self, layout: Layout = USUAL, keep: bool = True) -> None:
        self._layout = layout
        self._keep = keep
        self._unasked = 0
        self._form, self._said = _LANES[0]

    def read(self, data: bytes) -> Block:
        """The same block as `read_block` makes, and fingerprints of its rows."""
        returns = data.count(b"\r") if data.endswith(b"\r\n") else 0
        if returns and returns == data.count(b"\n") == data.count(b"\r\n"):
            return _with_returns(self._read(data.replace(b"\r\n", b"\n")), data)
        return self._read(data)

    def _read(self, data: bytes) -> Block:
        block = Block(data, rows=_Rows(data))
        match = self._layout.pattern.match
        at = number = good = skip = failed = 0
        token = token_at(data, 0)
        told: list[_Told] = []
        places = self._places(data)
        if places:
            good = len(data)
        while at < len(data):
            if at >= good and not skip and SHORT_RUN <= len(data) - at <= MAX_LINE_BYTES:
                found = match(data, at)
                good = found.end() if found else at
                failed = 0 if found else min(2 * failed + 1, _MOST_SKIPPED)
                skip = failed
            if token < at:
                token = token_at(data, at)
            end = good if token >= good else data.rfind(b"\n", at, token) + 1
            if end >= at + SHORT_RUN:
                whole = places if end - at == len(data) else None
                number += self._run(block, number, at, data[at:end], whole)
            else:
                end = data.find(b"\n", at) + 1 or len(data)
                number += 1
                skip = max(skip - 1, 0)
                raw = data[at:end].removesuffix(b"\n")
                if row := self._line(block, number, at, raw, token < end):
                    told.append(row)
            at = end
        block.lines = number
        _count(block.shape, told)
        return block

    def _places(self, data: bytes) -> Places | None:
        """Of a block that is of the layout as a whole. After one that is not, the next few are not
        asked."""
        if self._unasked:
            self._unasked -= 1
            return None
        if not SHORT_RUN <= len(data) <= MAX_LINE_BYTES:
            return None
        found = self._layout.places(data)
        self._unasked = 0 if found else _BLOCKS_UNASKED
        return found

    def _run(self, block: Block, before: int, at: int, data: bytes, places: Places | None) -> int:
        """Lines that the layout's pattern matches; `before` is how many the block has before.
        Returns how many they are."""
        places = places or Places.of(data)
        ends = places.ends
        self._layout.survey(places, block.shape)
        starts, stops = [0, *(ends[:-1] + 1).tolist()], ends.tolist()
        view = memoryview(data)  # so that nothing is copied
        lines = [view[start:stop] for start, stop in zip(starts, stops, strict=True)]
        keys = numpy.fromiter(map(xxhash.xxh3_64_intdigest, lines), numpy.uint64, len(lines))
        block.prints.runs.append(Run(keys, before + 1, at, ends))
        if self._keep:
            numbers = range(before + 1, before + 1 + len(lines))
            begin = [at + start for start in starts] if at else starts
            stop = [at + each for each in stops] if at else stops
            _made(block).extend(zip(numbers, map(slice, begin, stop), strict=True))
        return len(lines)

    def _line(
        self, block: Block, number: int, at: int, raw: bytes, suspicious: bool
    ) -> _Told | None:
        """What is to be counted of one line; None where it is no row, or was read slowly."""
        line = raw.removesuffix(b"\r")
        if len(line) > MAX_LINE_BYTES:
            self._slowly(block, number, at, raw)
            return None
        said = self._say(line)
        if said is None or not _sound(line, said, suspicious):
            record = _parsed(line)
            if record is None:
                self._slowly(block, number, at, raw)
                return None
            if line is not raw:
                _note(block, "crlf", number)
            return self._converted(block, number, at, line, record)
        roles, texts, _quotes = said
        if line is not raw:
            _note(block, "crlf", number)
        self._print(block, number, at, self._layout.write(roles, texts))
        if self._keep:
            _made(block).append((number, line, said))
        return self._form, roles, sum(map(len, texts))

    def _converted(
        self, block: Block, number: int, at: int, line: bytes, record: dict[str, Any]
    ) -> _Told | None:
        try:
            example = formats.convert(record, lambda code: _note(block, code, number))
        except Unusable as unusable:
            block.unusable.append((number, unusable.problem))
            return None
        self._print(block, number, at, self._canonical(example))
        row = BlockRow(number, line, example)
        if self._keep:
            _made(block).append(row)
        return str(formats.form_of(record)), roles_of(example), sum(map(len, row.texts))

    def _say(self, line: bytes) -> Said | None:
        """What a line of a known form says; the form of the line before is tried first."""
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

    def _slowly(self, block: Block, number: int, at: int, raw: bytes) -> None:
        """Read one line as the authority does, and add what it says to the block."""
        read = read_block(raw + b"\n")
        block.shape.merge(read.shape)
        for _line, problem in read.unusable:
            block.unusable.append((number, problem))
        for code, note in read.notes.items():
            for _line in note.lines:
                _note(block, code, number)
        for row in read.rows:
            self._print(block, number, at, self._canonical(row.example))
            if self._keep:
                _made(block).append(BlockRow(number, row.raw, row.example))

    def _print(self, block: Block, number: int, at: int, canonical: bytes) -> None:
        block.prints.keys.append(xxhash.xxh3_64_intdigest(canonical))
        block.prints.lines.append(number)
        block.prints.offsets.append(at)

    def _canonical(self, example: Example | Pair) -> bytes:
        """The line of the layout where that can say it, else the canonical one."""
        plain = type(example) is Example and _EXAMPLE_MORE(example) == _NO_MORE[0]
        if plain and all(_MESSAGE_MORE(each) == _NO_MORE[1] for each in example.messages):
            roles = [message.role for message in example.messages]
            return self._layout.write(roles, [message.content for message in example.messages])
        return formats.encode(example)


_MOST_SKIPPED = 255
_BLOCKS_UNASKED = 7
# what a chat has besides roles and texts: where it is nothing, the layout can say it
_EXAMPLE_MORE = attrgetter(*[each.name for each in fields(Example) if each.name != "messages"])
_MESSAGE_MORE = attrgetter(
    *[each.name for each in fields(Message) if each.name not in ("role", "content")]
)
_NO_MORE = (_EXAMPLE_MORE(Example(())), _MESSAGE_MORE(Message("", "")))
#: Bytes of lines that are read faster one by one.
SHORT_RUN = 1 << 14


def _made(block: Block) -> list[_Made]:
    assert isinstance(block.rows, _Rows)  # `read` made them
    return block.rows.made


def _note(block: Block, code: str, number: int) -> None:
    block.notes.setdefault(code, Note(listed=None)).add(number)


#: What a line must hold for a layout to be tried on it.
_SIGNS = {"chat": b'"messages"', "question_answer": b'"question"', "instruction": b'"instruction"'}


def _count(shape: Shape, told: list[_Told]) -> None:
    """Forms, roles and characters of rows, many at once."""
    shape.forms.update([form for form, _roles, _size in told])
    shape.characters.update([size for _form, _roles, size in told])
    for roles, count in Counter([roles for _form, roles, _size in told]).items():
        shape.turns[len(roles)] += count
        shape.roles[listed(roles)] += count


def _with_returns(block: Block, data: bytes) -> Block:
    """The block of lines that all end with CRLF, read without: each line begins one byte further on
    for each line before it."""
    block.data = data
    prints = block.prints
    prints.offsets = [at + line - 1 for at, line in zip(prints.offsets, prints.lines, strict=True)]
    prints.runs = [
        Run(
            run.keys,
            run.first,
            run.start + run.first - 1,
            run.ends + 1 + numpy.arange(len(run.ends)),
        )
        for run in prints.runs
    ]
    block.notes["crlf"] = Note(block.lines, list(range(1, block.lines + 1)), None)
    return block


def _sound(line: bytes, said: Said, suspicious: bool) -> bool:
    """Whether what the structs let through is not in a line of which this was decoded; it is
    `suspicious` where it may hold a special token."""
    _roles, texts, quotes = said
    if not all(texts) or any(map(str.isspace, texts)):
        return False
    if line.count(b'"') != quotes and delimiters(line) != quotes:
        return False
    if suspicious or b"\\u" in line:
        return not any(map(formats.is_special, texts))
    return True


def _parsed(line: bytes) -> dict[str, Any] | None:
    """What is on a line that plainly is an object of JSON; None where that is to be looked at."""
    try:
        record = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    quotes = _quotes(record, 0)
    if quotes is None or (line.count(b'"') != quotes and delimiters(line) != quotes):
        return None
    return record


_decode = msgspec.json.Decoder().decode


_TOKEN = re2.compile(
    rb"<(?:\||\\u|\xef|\\?/?s>|(?:start|end)_of_turn>|bos>|eos>|pad>|unk>|<\\?/?SYS>)", LATIN
)


_INST = re2.compile(rb"INST\]", LATIN)


def token_at(data: bytes, at: int) -> int:
    """Where the next special token may be; the length of the data where there is none."""
    found = _TOKEN.search(data, at)
    place: int = found.start() if found else len(data)
    inst = _INST.search(data, at, place)
    return inst.start() if inst else place
