"""One row on its way through the steps: read fast where that is certain, else by the strict reader
that is the authority; changed or turned away by each step; made a canonical line at the end.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.reader import Line
from sophia_tui.domain.datasets import CHAT, PAIRS, Example, Message, Pair


class _Turn(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str
    weight: Literal[0, 1] | None = None


class _Known(msgspec.Struct, forbid_unknown_fields=True):
    """A line that can be read fast; what it has besides its text tells where it belongs."""

    messages: list[_Turn] | UnsetType = UNSET
    question: str | UnsetType = UNSET
    answer: str | UnsetType = UNSET
    metadata: Any = UNSET
    citations: Any = UNSET
    id: Any = UNSET
    doc_id: Any = UNSET
    conversation_id: Any = UNSET
    category: Any = UNSET
    language: Any = UNSET


class _Chat(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Turn]


_BESIDES = ("metadata", "citations", "id", "doc_id", "conversation_id", "category", "language")
#: What stands beside question and answer without a note.
_ANSWERED = frozenset({"metadata", "citations"})
_KNOWN = msgspec.json.Decoder(_Known)
_BARE = msgspec.json.Decoder(_Chat)
_ENCODER = msgspec.json.Encoder()
_ODD_ESCAPE = re.compile(rb"\\u(?:0022|0000|[dD][89a-fA-F])")
_DEEP = 200


class Item:
    """One usable row while the steps look at it. `raw` is its line as it was read; `suspect` says
    that it may hold personal data. `turns` are there until the row is changed."""

    __slots__ = (
        "_example",
        "_row",
        "besides",
        "changed",
        "notes",
        "quotes",
        "raw",
        "suspect",
        "turns",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.notes: tuple[str, ...] = ()
        self.changed = False
        self.besides: dict[str, Any] | None = None
        self.quotes = 0
        self.suspect = True
        self.turns: list[_Turn] | None = None
        self._example: Example | Pair | None = None
        self._row: bytes | None = None

    @property
    def example(self) -> Example | Pair:
        if self._example is None:
            assert self.turns is not None  # one of both is always there
            turns = (Message(each.role, each.content, each.weight) for each in self.turns)
            self._example = Example(tuple(turns))
        return self._example

    @example.setter
    def example(self, changed: Example | Pair) -> None:
        self._example, self.turns, self._row = changed, None, None
        self.changed = True

    @property
    def row(self) -> bytes:
        """The canonical line as it is now."""
        if self._row is None:
            if self.turns is not None:
                self._row = _ENCODER.encode(_Chat(self.turns))
            else:
                self._row = formats.encode(self.example)
        return self._row

    @property
    def form(self) -> str:
        return PAIRS if self.turns is None and isinstance(self._example, Pair) else CHAT

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """Role and text of every turn; of a pair both answers besides."""
        if self.turns is not None:
            for turn in self.turns:
                yield turn.role, turn.content
            return
        for message in self.example.messages:
            yield message.role, message.content
        if isinstance(self._example, Pair):
            yield "assistant", self._example.chosen.content
            yield "assistant", self._example.rejected.content

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change every text. Raises Unusable where nothing, or what may not stand, is left."""
        example = self.example
        place = 0

        def changed(message: Message) -> Message:
            nonlocal place
            place += 1
            if not message.content:
                return message
            parts = tuple(
                {**part, "text": change(part["text"])} if part["type"] == "text" else part
                for part in message.parts
            )
            text = change(message.content)
            if parts:  # content says again what the parts say
                text = "\n".join(part["text"] for part in parts if part["type"] == "text")
            if text == message.content:
                return message
            if not text.strip():
                raise Unusable("no_content", message=place)
            formats.refuse_special(text, place)
            return replace(message, content=text, parts=parts)

        messages = tuple(changed(each) for each in example.messages)
        if isinstance(example, Pair):
            chosen, rejected = changed(example.chosen), changed(example.rejected)
            if chosen.content == rejected.content:
                raise Unusable("pair_same")
            now: Example | Pair = replace(
                example, messages=messages, chosen=chosen, rejected=rejected
            )
        else:
            now = replace(example, messages=messages)
        if now != example:
            self.example = now


class FastReader:
    """Reads lines in one of the plain, common shapes, block by block; remembers which shape the
    last line had, and nothing else.

    What the strict reader refuses is never taken: every quotation mark is accounted for, so that no
    key occurs twice. They are counted for a block at once, and line by line only where that does
    not come out even.
    """

    def __init__(self) -> None:
        self._bare = True

    def read(self, block: bytes, lines: list[bytes]) -> list["Item | None"]:
        """For each line of the block its row, or None where only the strict reader can tell."""
        escaped = b"\\u" in block
        special = escaped or b"<" in block or b"INST]" in block
        weighted = b"weight" in block
        returns = b"\r" in block
        items: list[Item | None] = []
        slow: list[bytes] = []
        expected = 0
        for raw in lines:
            item = None
            if not (escaped and _ODD_ESCAPE.search(raw)) and not (returns and raw.endswith(b"\r")):
                item = self._shaped(raw)
            if item is not None and not _usable(item, special, weighted):
                item = None
            items.append(item)
            if item is None:
                slow.append(raw)
            else:
                expected += item.quotes
        if _delimiters(block) - sum(map(_delimiters, slow)) != expected:
            return [
                item if item is not None and _delimiters(raw) == item.quotes else None
                for raw, item in zip(lines, items, strict=True)
            ]
        return items

    def _shaped(self, raw: bytes) -> "Item | None":
        try:
            if self._bare:
                turns = _BARE.decode(raw).messages
                return _item(raw, turns, 2 + 8 * len(turns), None)
        except msgspec.ValidationError:
            self._bare = False
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return None
        try:
            known = _KNOWN.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            return None
        besides = {name: value for name in _BESIDES if (value := getattr(known, name)) is not UNSET}
        if besides and raw.count(b"{") + raw.count(b"[") > _DEEP:
            return None
        more = _quotes(besides) if besides else 0
        if known.messages is not UNSET:
            if known.question is not UNSET or known.answer is not UNSET:
                return None
            self._bare = not besides
            item = _item(raw, known.messages, 2 + 8 * len(known.messages) + more, besides or None)
            item.notes = ("record_fields",) if besides else ()
            return item
        if known.question is UNSET or known.answer is UNSET:
            return None
        turns = [_Turn("user", known.question), _Turn("assistant", known.answer)]
        item = _item(raw, turns, 8 + more, besides or None)
        item.notes = () if besides.keys() <= _ANSWERED else ("record_fields",)
        return item


def _item(raw: bytes, turns: list[_Turn], quotes: int, besides: dict[str, Any] | None) -> "Item":
    item = Item(raw)
    item.turns = turns
    item.quotes = quotes
    item.besides = besides
    return item


def _usable(item: "Item", special: bool, weighted: bool) -> bool:
    """Whether the texts and roles are such that nothing is wrong with them."""
    turns = item.turns
    if not turns or turns[-1].role != "assistant":
        return False
    texts = [turn.content for turn in turns]
    if not all(texts) or any(map(str.isspace, texts)):
        return False
    if special and any(map(_is_special, texts)):
        return False
    if weighted:
        weights = _weighed(turns)
        if weights is None:
            return False
        item.quotes += 2 * weights
    return True


def plain_item(row: bytes) -> Item:
    """A row of which it is known that it is plain and canonical (see `plain`)."""
    return _item(row, _BARE.decode(row).messages, 0, None)


def _weighed(turns: list[_Turn]) -> int | None:
    """How many turns have a weight, where they may; None where one may not, or none is learnt."""
    weights = 0
    learnt = False
    for turn in turns:
        if turn.weight is not None:
            weights += 1
            if turn.role != "assistant":
                return None
            if turn.weight == 1:
                turn.weight = None
        learnt = learnt or (turn.role == "assistant" and turn.weight != 0)
    return weights if learnt else None


def _delimiters(raw: bytes) -> int:
    """Quotation marks that are not escaped."""
    if b"\\" not in raw:
        return raw.count(b'"')
    raw = raw.replace(b"\\\\", b"")
    return raw.count(b'"') - raw.count(b'\\"')


def _is_special(text: str) -> bool:
    try:
        formats.refuse_special(text, 1)
    except Unusable:
        return True
    return False


def _quotes(value: Any) -> int:
    """How many quotation marks that are not escaped the JSON of a value needs."""
    if isinstance(value, str):
        return 2
    if isinstance(value, dict):
        return sum(_quotes(key) + _quotes(each) for key, each in value.items())
    if isinstance(value, list):
        return sum(map(_quotes, value))
    return 0


def read_strict(line: Line, note: Callable[[str], None]) -> Item:
    """The row that the strict reader found. Raises Unusable."""
    if line.value is None:
        problem = line.problem or Problem("json")
        raise Unusable(problem.code, **problem.details)
    item = Item(line.raw)
    notes: list[str] = []

    def heard(code: str) -> None:
        notes.append(code)
        note(code)

    item._example = formats.convert(line.value, heard)
    item.notes = tuple(notes)
    item.besides = line.value
    return item
