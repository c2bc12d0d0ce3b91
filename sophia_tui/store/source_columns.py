"""The owner's tables as we look for them: which columns, of which kinds, needed for what.

Types differ from place to place; a `Kind` is what we make of a type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from psycopg import sql


class Kind(StrEnum):
    """What a column's type means to us."""

    NUMBER = "number"  # smallint, integer, bigint, numeric: a JSON number as it stands
    FLOAT = "float"
    UUID = "uuid"
    TEXT = "text"  # text, varchar, char, citext, name, enums
    BOOLEAN = "boolean"
    JSON = "json"
    JSONB = "jsonb"
    ZONED = "timestamptz"
    LOCAL = "timestamp"
    DATE = "date"
    OTHER = "other"  # arrays, composites, hstore …


IDENTIFIER = frozenset({Kind.NUMBER, Kind.UUID, Kind.TEXT})
TEXT = frozenset({Kind.TEXT})
TIME = frozenset({Kind.ZONED, Kind.LOCAL, Kind.DATE})
SIGNAL = frozenset({Kind.NUMBER, Kind.FLOAT, Kind.BOOLEAN, Kind.TEXT})
ANYTHING = frozenset(Kind)

_BY_NAME = {
    "int2": Kind.NUMBER,
    "int4": Kind.NUMBER,
    "int8": Kind.NUMBER,
    "numeric": Kind.NUMBER,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "uuid": Kind.UUID,
    "bool": Kind.BOOLEAN,
    "json": Kind.JSON,
    "jsonb": Kind.JSONB,
    "timestamptz": Kind.ZONED,
    "timestamp": Kind.LOCAL,
    "date": Kind.DATE,
}


def kind_of(name: str, category: str) -> Kind:
    """The kind of a type by its catalogue name and category (domains: of their base type)."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    return Kind.TEXT if category in ("S", "E") else Kind.OTHER


@dataclass(frozen=True)
class Wanted:
    """A column that we look for."""

    kinds: frozenset[Kind]
    required: bool = True


_ID = Wanted(IDENTIFIER)
_OPTIONAL = Wanted(ANYTHING, required=False)
_OPTIONAL_TIME = Wanted(TIME, required=False)

#: Every table of the owner's that Sophia knows, by name.
TABLES: Mapping[str, Mapping[str, Wanted]] = {
    "docs": {"id": _ID, "content": Wanted(TEXT)},
    "qa_cache": {
        "qhash": _ID,
        "question": Wanted(TEXT),
        "answer": Wanted(TEXT),
        "citations": _OPTIONAL,
        "created_at": Wanted(TIME),
    },
    "feedback": {
        "query_hash": _ID,
        "doc_id": _ID,
        "signal": Wanted(SIGNAL),
        "id": Wanted(IDENTIFIER, required=False),
        "created_at": _OPTIONAL_TIME,
    },
    "customers": {
        "id": _ID,
        **dict.fromkeys(("name", "email", "phone", "source", "status"), _OPTIONAL),
    },
    "conversations": {
        "id": _ID,
        "channel": Wanted(TEXT),
        "status": Wanted(TEXT),
        **dict.fromkeys(("customer_id", "subject", "session_id"), _OPTIONAL),
    },
    "messages": {
        "id": _ID,
        "conversation_id": _ID,
        "content": Wanted(TEXT),
        "sender_type": Wanted(TEXT),
        "created_at": Wanted(TIME),
        "sender_id": _OPTIONAL,
    },
}

#: Tables that belong together: they are looked for in one schema first.
GROUPS = (("docs", "qa_cache", "feedback"), ("customers", "conversations", "messages"))

#: Which tables each export needs; the first is the one that its rows are counted by.
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "qa_cache": ("qa_cache",),
    "feedback_pairs": ("feedback", "qa_cache", "docs"),
    "conversations": ("conversations", "messages"),
}

#: Columns of those tables that a certain export does without.
NOT_NEEDED: Mapping[str, frozenset[tuple[str, str]]] = {
    "feedback_pairs": frozenset({("qa_cache", "answer"), ("qa_cache", "created_at")}),
}


@dataclass(frozen=True)
class FoundColumn:
    """A column as the catalogue has it. `type` is what Postgres calls it."""

    name: str
    type: str
    kind: Kind
    not_null: bool
    readable: bool

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.name)


@dataclass(frozen=True)
class FoundTable:
    """A table, view or the like as the catalogue has it."""

    schema: str
    name: str
    relation: str  # relkind: r, v, m, p, f
    schema_usable: bool
    rows_estimate: int | None
    row_security: bool
    columns: Mapping[str, FoundColumn] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def usable(self, column: str) -> bool:
        """Whether the column is there, may be read and has a type that fits."""
        found = self.columns.get(column)
        wanted = TABLES[self.name].get(column)
        return bool(found and found.readable and (wanted is None or found.kind in wanted.kinds))
