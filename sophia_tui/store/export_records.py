"""Turns batches of source rows into what is written: pairs (exports A and B) and chats (C)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sophia_tui.i18n import _
from sophia_tui.store.export_lines import (
    Keys,
    blanks,
    bodies,
    encode,
    is_blank,
    undecodable,
    weave,
    without,
)
from sophia_tui.store.export_shapes import NULL, Column
from sophia_tui.textsafe import visible

SHOWN_CHARACTERS = 40  # of a sender_type that no setting names


@dataclass(frozen=True)
class Piece:
    """What one batch adds to the data, to the provenance and to the list of rejected rows."""

    data: bytes = b""
    provenance: bytes = b""
    rejected: bytes = b""


@dataclass
class Tally:
    """rows_read = exported + rejected, always."""

    exported: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, code: str) -> None:
        self.rejected[code] = self.rejected.get(code, 0) + 1


class Pairs:
    """Question and answer with a third value. Columns: key …, question, answer, third, and
    what hinders, which may be left out.

    `before` and `after` stand around the third value, which `third` makes JSON. `no_answer` is the
    code for a blank answer.
    """

    def __init__(
        self,
        keys: Keys,
        third: Callable[[Column], list[bytes]],
        before: bytes,
        after: bytes,
        no_answer: str,
    ) -> None:
        self._keys = keys
        self._third = third
        self._before, self._after = before, after + b"}\n"
        self._no_answer = no_answer
        self.tally = Tally()

    def feed(self, columns: list[Column], write: bool) -> Piece:
        """`write` False only counts."""
        rejected = b""
        if len(columns) < len(self._keys.parts) + 4:
            columns = [*columns, [NULL] * len(columns[0])]
        if codes := self._unusable(columns):
            rejected = self._reject(columns, codes)
            columns = without(columns, list(codes))
        try:
            data, notes = self._written(columns)
        except UnicodeDecodeError:
            codes = dict.fromkeys(undecodable(columns), "encoding")
            rejected += self._reject(columns, codes)
            columns = without(columns, list(codes))
            data, notes = self._written(columns)
        self.tally.exported += len(columns[0])
        return Piece(data, notes, rejected) if write else Piece()

    def finish(self, write: bool) -> Piece:
        """Nothing is held back."""
        return Piece()

    def _unusable(self, columns: list[Column]) -> dict[int, str]:
        """Why which rows can't be used; what the database said of a row comes first."""
        question, answer, _third, hindrance = columns[-4:]
        codes: dict[int, str] = {}
        if hindrance.count(NULL) != len(hindrance):
            codes = {place: code.decode() for place, code in enumerate(hindrance) if code != NULL}
        for column, code in ((question, "no_question"), (answer, self._no_answer)):
            for place in blanks(column):
                codes.setdefault(place, code)
        return codes

    def _reject(self, columns: list[Column], codes: Mapping[int, str]) -> bytes:
        keys = columns[: len(self._keys.parts)]
        lines = []
        for place, code in sorted(codes.items()):
            self.tally.reject(code)
            lines.append(self._keys.rejected([column[place] for column in keys], code))
        return b"".join(lines)

    def _written(self, columns: list[Column]) -> tuple[bytes, bytes]:
        """The lines and their provenance. Raises UnicodeDecodeError."""
        lines = self._lines(columns)
        keys = columns[: len(self._keys.parts)]
        return lines, self._keys.provenance(self.tally.exported + 1, lines, keys)

    def _lines(self, columns: list[Column]) -> bytes:
        question, answer, third, _hindrance = columns[-4:]
        return weave(
            len(question),
            b'{"question":"',
            bodies(question),
            b'","answer":"',
            bodies(answer),
            b'",' + self._before,
            self._third(third),
            self._after,
        )


@dataclass
class _Chat:
    """The conversation whose messages are arriving."""

    key: bytes
    messages: list[dict[str, str]] = field(default_factory=list)
    code: str = ""
    detail: str = ""

    def refuse(self, code: str, detail: str = "") -> None:
        if not self.code:
            self.code, self.detail = code, detail


class Chats:
    """Conversations as chats. Columns: conversation, message, sender, content, hindrance.

    A conversation's messages arrive one after the other; one conversation is held in memory.
    """

    def __init__(self, keys: Keys, assistants: frozenset[str], customers: frozenset[str]) -> None:
        self._keys = keys
        self._roles = dict.fromkeys(customers, "user") | dict.fromkeys(assistants, "assistant")
        self._open: _Chat | None = None
        self.tally = Tally()

    def feed(self, columns: list[Column], write: bool) -> Piece:
        """`write` False only counts."""
        done = []
        for key, message, sender, content, hindrance in zip(*columns, strict=True):
            if self._open is None or self._open.key != key:
                if self._open is not None:
                    done.append(self._open)
                self._open = _Chat(key)
            self._add(self._open, message, sender, content, hindrance)
        return self._written(done, write)

    def finish(self, write: bool) -> Piece:
        """The last conversation, which only the end of the rows completes."""
        last, self._open = self._open, None
        return self._written([last] if last else [], write)

    def _add(
        self,
        chat: _Chat,
        message: bytes,
        sender: bytes,
        content: bytes,
        hindrance: bytes,
    ) -> None:
        if hindrance != NULL:
            chat.refuse(hindrance.decode())
        if chat.code:
            return
        word = "" if sender == NULL else sender.decode(errors="replace").strip()
        role = self._roles.get(word.lower())
        which = _("Message {id}.").format(id=visible(message.decode(errors="replace")))
        if role is None:
            shown = visible(word[:SHOWN_CHARACTERS])
            chat.refuse("unknown_sender", f"{which} sender_type: {shown!r}")
        elif is_blank(content):
            chat.refuse("no_content", which)
        else:
            try:
                chat.messages.append({"role": role, "content": content.decode()})
            except UnicodeDecodeError:
                chat.refuse("encoding", which)

    def _written(self, chats: list[_Chat], write: bool) -> Piece:
        data, good, rejected = [], [], []
        for chat in chats:
            if undecodable([[chat.key]]):
                chat.refuse("encoding")
            if not chat.code and all(each["role"] != "assistant" for each in chat.messages):
                chat.refuse("no_assistant")
            if chat.code:
                self.tally.reject(chat.code)
                rejected.append(self._keys.rejected([chat.key], chat.code, chat.detail))
            else:
                good.append(chat.key)
                if write:
                    data.append(encode({"messages": chat.messages}) + b"\n")
        first = self.tally.exported + 1
        self.tally.exported += len(good)
        if not write:
            return Piece()
        block = b"".join(data)
        return Piece(block, self._keys.provenance(first, block, [good]), b"".join(rejected))
