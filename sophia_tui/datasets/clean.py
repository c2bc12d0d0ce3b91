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


class _Chat(msgspec.Struct):
    messages: list[_Turn]


_BESIDES = ("metadata", "citations", "id", "doc_id", "conversation_id", "category", "language")
#: What stands beside question and answer without a note.
_ANSWERED = frozenset({"metadata", "citations"})
_KNOWN = msgspec.json.Decoder(_Known)
_ENCODER = msgspec.json.Encoder()
_ODD_ESCAPE = re.compile(rb"\\u(?:0022|0000|[dD][89a-fA-F])")
_DEEP = 200


class Item:
    """One usable row while the steps look at it. `raw` is its line as it was read."""

    __slots__ = ("_example", "_row", "_turns", "besides", "changed", "notes", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.notes: tuple[str, ...] = ()
        self.changed = False
        self.besides: dict[str, Any] | None = None
        self._turns: list[_Turn] | None = None
        self._example: Example | Pair | None = None
        self._row: bytes | None = None

    @property
    def example(self) -> Example | Pair:
        if self._example is None:
            assert self._turns is not None  # one of both is always there
            turns = (Message(each.role, each.content, each.weight) for each in self._turns)
            self._example = Example(tuple(turns))
        return self._example

    @example.setter
    def example(self, changed: Example | Pair) -> None:
        self._example, self._turns, self._row = changed, None, None
        self.changed = True

    @property
    def row(self) -> bytes:
        """The canonical line as it is now."""
        if self._row is None:
            if self._turns is not None:
                self._row = _ENCODER.encode(_Chat(self._turns))
            else:
                self._row = formats.encode(self.example)
        return self._row

    @property
    def form(self) -> str:
        return PAIRS if self._turns is None and isinstance(self._example, Pair) else CHAT

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """Role and text of every turn; of a pair both answers besides."""
        if self._turns is not None:
            for turn in self._turns:
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


def read_fast(raw: bytes) -> Item | None:
    """A line in one of the plain, common shapes; None where only the strict reader can tell.

    What the strict reader refuses is never taken: every quotation mark is accounted for, so that no
    key occurs twice.
    """
    escaped = b"\\u" in raw
    if (escaped and _ODD_ESCAPE.search(raw)) or raw.endswith(b"\r"):
        return None
    try:
        known = _KNOWN.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    turns = known.messages
    if turns is UNSET:
        if known.question is UNSET or known.answer is UNSET:
            return None
        turns = [_Turn("user", known.question), _Turn("assistant", known.answer)]
        quotes = 8
    elif known.question is UNSET and known.answer is UNSET:
        quotes = 2 + 8 * len(turns)
    else:
        return None
    texts = [turn.content for turn in turns]
    if not texts or not all(texts) or any(map(str.isspace, texts)):
        return None
    if (escaped or b"<" in raw or b"INST]" in raw) and any(map(_is_special, texts)):
        return None
    if turns[-1].role != "assistant":
        return None
    if b"weight" in raw:
        weights = _weighed(turns)
        if weights is None:
            return None
        quotes += 2 * weights
    item = Item(raw)
    item._turns = turns
    standing = _delimiters(raw)
    if quotes != standing:
        if raw.count(b"{") + raw.count(b"[") > _DEEP + len(turns):
            return None
        besides = {name: value for name in _BESIDES if (value := getattr(known, name)) is not UNSET}
        if quotes + _quotes(besides) != standing:
            return None
        item.besides = besides
        if known.messages is not UNSET or not besides.keys() <= _ANSWERED:
            item.notes = ("record_fields",)
    return item


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
