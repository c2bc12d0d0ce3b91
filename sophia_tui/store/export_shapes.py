"""What the reader of the source and the process that writes the lines tell each other. Light."""

import struct

import msgspec

#: A column's value where the row has NULL: no UTF-8 text has this byte.
NULL = b"\xff"
#: Between values: no Postgres text can hold it.
PART = b"\0"

Column = list[bytes]

#: A message to the process: its kind, the columns of a row (of ROWS), and how many bytes follow.
HEAD = struct.Struct("!cHQ")
BEGIN, ROWS, FINISH = b"B", b"R", b"F"


class KeyPart(msgspec.Struct, frozen=True):
    """One column of a row's key; `number` says that it is a JSON number."""

    name: str
    number: bool


class Pairing(msgspec.Struct, frozen=True, tag="pairs"):
    """Question and answer with a third value, which stands between `before` and `after`.

    `third` says what it is: `json`, `string` or `number`. `no_answer` is the code of a row without
    an answer.
    """

    third: str
    before: str
    after: str
    no_answer: str


class Chatting(msgspec.Struct, frozen=True, tag="chats"):
    """Messages of conversations; the words of sender_type for each role, in lower case."""

    assistants: list[str]
    customers: list[str]


class Shape(msgspec.Struct, frozen=True):
    """What the rows of one export are, and what is to be made of them."""

    table: str
    key: tuple[KeyPart, ...]
    lines: Pairing | Chatting


class Begin(msgspec.Struct, frozen=True):
    """One export. Without `files` (data, provenance, rejected; to be overwritten) only count."""

    shape: Shape
    language: str
    files: tuple[str, str, str] | None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """One export is on disk."""

    exported: int
    rejected_by: dict[str, int]
    bytes_written: int
    sha256: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The disk refused; `number` is errno's."""

    number: int
    file: int


def columns_of(values: bytes, count: int) -> list[Column]:
    """The values of each column of a batch, in which NULL stands for NULL."""
    parted = values.split(PART)
    return [parted[place::count] for place in range(count)]
