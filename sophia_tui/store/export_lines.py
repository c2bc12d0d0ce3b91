"""Makes JSON Lines and their provenance from columns of raw UTF-8, a batch at a time.

What is done per row in Python is what limits the export, so whole batches are joined, encoded by
one call, and split again; msgspec does the escaping, so the JSON is true whatever a text holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import methodcaller
from typing import Any, AnyStr

import msgspec
import xxhash

from sophia_tui.i18n import N_, _
from sophia_tui.store.export_shapes import NULL, Column, KeyPart

encode = msgspec.json.Encoder().encode

#: Why a row can't be used; the keys are stable words.
REASONS = {
    "no_question": N_("The question is missing or blank."),
    "no_answer": N_("The answer is missing or blank."),
    "no_document_text": N_("The document has no text."),
    "no_time": N_("The time of creation is missing, so the row can't be placed in a period."),
    "dangling_question": N_("The feedback's query_hash names no row of qa_cache."),
    "dangling_document": N_("The feedback's doc_id names no row of docs."),
    "unknown_signal": N_("The signal is missing or no number."),
    "encoding": N_("The text is not valid UTF-8."),
    "dangling_conversation": N_("Messages name a conversation that does not exist."),
    "no_messages": N_("The conversation has no message."),
    "no_content": N_("A message of the conversation has no text."),
    "unknown_sender": N_("A message has a sender_type that no setting names."),
    "no_assistant": N_("The assistant wrote nothing in the conversation."),
}

# a zero can't be in a Postgres text, so it parts texts; encoded it looks like this
_PART = b"\\u0000"
_BLANKS = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
_strip = methodcaller("lstrip", bytes(sorted(set(_BLANKS.encode()))))


def bodies(values: Column) -> list[bytes]:
    """The insides of the JSON strings of UTF-8 texts. Raises UnicodeDecodeError."""
    whole = b"\0".join(values)
    encoded = encode(whole.decode())
    if len(encoded) == len(whole) + 2 + (len(_PART) - 1) * (len(values) - 1):
        return values  # nothing but the zeros between them had to be escaped
    found = encoded[1:-1].split(_PART)
    if len(found) != len(values):  # a text spells that very sequence, or there is no value
        return [encode(value.decode())[1:-1] for value in values]
    return found


def strings(values: Column) -> list[bytes]:
    """JSON strings; null for NULL. Raises UnicodeDecodeError."""
    if NULL not in values:
        return [b'"%b"' % body for body in bodies(values)]
    return [b"null" if value == NULL else encode(value.decode()) for value in values]


def numbers(values: Column) -> list[bytes]:
    """JSON numbers; null for NULL, and a string for what JSON has no number for (NaN)."""
    if not b"".join(values).translate(None, b"0123456789-."):
        return values
    return [
        b"null" if value == NULL else value if value[-1:].isdigit() else b'"%b"' % value
        for value in values
    ]


def raw_json(values: Column) -> list[bytes]:
    """Values that are JSON already, each on one line; null for NULL. Raises UnicodeDecodeError."""
    found = values
    if NULL in values:
        found = [b"null" if value == NULL else value for value in values]
    whole = b"".join(found)
    whole.decode()
    if b"\n" in whole or b"\r" in whole:  # type json keeps the blanks between its tokens
        found = [each.replace(b"\n", b" ").replace(b"\r", b" ") for each in found]
    return found


def is_blank(value: bytes) -> bool:
    """NULL, or nothing but white space and marks without width."""
    if value == NULL:
        return True
    return not _strip(value) and not value.decode(errors="replace").strip(_BLANKS)


def blanks(values: Column) -> list[int]:
    """The places of the blank ones."""
    if NULL not in values and b"" not in map(_strip, values):
        return []
    return [place for place, value in enumerate(values) if is_blank(value)]


def undecodable(columns: Sequence[Column]) -> list[int]:
    """The rows in which a value is not valid UTF-8."""
    found = []
    for place, row in enumerate(zip(*columns, strict=True)):
        try:
            b"\0".join(value for value in row if value != NULL).decode()
        except UnicodeDecodeError:
            found.append(place)
    return found


def without(columns: Sequence[Column], places: Iterable[int]) -> list[Column]:
    """The columns less some rows."""
    left_out = set(places)
    kept = [place not in left_out for place in range(len(columns[0]))]
    return [list(compress(column, kept)) for column in columns]


def _woven(count: int, blank: AnyStr, *pieces: AnyStr | list[AnyStr]) -> list[AnyStr]:
    width = len(pieces)
    woven = [blank] * (count * width)
    for place, piece in enumerate(pieces):
        woven[place::width] = piece if isinstance(piece, list) else [piece] * count
    return woven


def weave(count: int, *pieces: bytes | list[bytes]) -> bytes:
    """For each of `count` rows the pieces in turn: a column's value, or the same bytes always."""
    return b"".join(_woven(count, b"", *pieces))


@dataclass(frozen=True)
class Keys:
    """How rows of one table are named in provenance and in lists of rejected rows."""

    table: str
    parts: tuple[KeyPart, ...]

    def provenance(self, first: int, block: bytes, keys: Sequence[Column]) -> bytes:
        """One line for each line of `block`, whose first line has the number `first`."""
        lines = block.split(b"\n")
        lines.pop()
        if not (count := len(lines)):
            return b""
        pieces: list[str | list[str]] = [
            '{"line":',
            list(map(str, range(first, first + count))),
            ',"hash":"',
            list(map(xxhash.xxh3_128_hexdigest, lines)),
            f'","table":{encode(self.table).decode()},"key":{{',
        ]
        for place, (part, column) in enumerate(zip(self.parts, keys, strict=True)):
            name = f"{',' if place else ''}{encode(part.name).decode()}:"
            if part.number or NULL in column:
                values = numbers(column) if part.number else strings(column)
                pieces += [name, b"\n".join(values).decode().split("\n")]
            else:
                inside = b"\n".join(bodies(column)).decode().split("\n")
                pieces += [f'{name}"', inside, '"']
        return "".join(_woven(count, "", *pieces, "}}\n")).encode()

    def rejected(self, row: Sequence[bytes], code: str, detail: str = "") -> bytes:
        """One line of the list of rejected rows: the key and the reason, never the text."""
        key: dict[str, Any] = {}
        for part, value in zip(self.parts, row, strict=True):
            if part.number and value.lstrip(b"-").isdigit():
                key[part.name] = int(value)
            else:
                shown = value.decode(errors="backslashreplace")
                key[part.name] = None if value == NULL else shown
        reason = " ".join(filter(None, (_(REASONS[code]), detail)))
        return encode({"table": self.table, "key": key, "code": code, "reason": reason}) + b"\n"
