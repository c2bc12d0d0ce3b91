"""A source in the shapes met in the field, collect on it, and the slow, obvious reference."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.paths import Paths
from sophia_tui.services.collect import CollectRequest, CollectResult, CollectService
from sophia_tui.settings import load
from sophia_tui.store.source import open_source

NOW = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
ZONE = ZoneInfo("America/Sao_Paulo")
START = NOW - timedelta(days=30)
BIG = 'uma resposta "longa" \\ com\ttudo\n' * 65_000  # 2 MB

HOSTILE = (
    "aspas \"duplas\" e 'simples'",
    "barra \\ invertida \\\\ dupla \\n falsa \\u0000 e \\\\u0000",
    "fim em barra \\",
    "linha\nnova\r\ncom\ttab\v\f\b",
    "emoji 👩‍👩‍👧‍👦 e bandeira 🇧🇷",
    "direita \u202eתוהו\u202c \u200f fim",
    "\x1b[31mvermelho\x1b[0m \x1b]0;título\x07",
    "\x01\x02\x1f\x7f\x80\x9f controles",
    "separadores \u2028 \u2029 e \ufeff marca",
    '{"question": "json", "answer": [1, 2]}',
    "\\.",
    "\\N",
    BIG,
)


class FixedClock:
    def now(self) -> datetime:
        return NOW


@dataclass(frozen=True)
class Variant:
    """How the owner's tables are shaped. `after` is SQL run when they are filled."""

    name: str
    schema: str = "public"
    ids: str = "text"  # type of qhash
    docs: str = "integer"  # type of docs.id
    citations: str = "jsonb"
    time: str = "timestamptz"
    partitioned: bool = False
    after: tuple[str, ...] = field(default_factory=tuple)
    role: str | None = None


def _views(relation: str) -> tuple[str, ...]:
    tables = ("docs", "qa_cache", "feedback", "conversations", "messages")
    statements = ["CREATE SCHEMA kept"]
    for table in tables:
        statements.append(f"ALTER TABLE public.{table} SET SCHEMA kept")
        statements.append(f"CREATE {relation} public.{table} AS SELECT * FROM kept.{table}")
    return tuple(statements)


VARIANTS = (
    Variant("plain"),
    Variant("other_schema", schema='Sophia "RAG"'),
    Variant("views", after=_views("VIEW")),
    Variant("materialized_views", after=_views("MATERIALIZED VIEW")),
    Variant("uuid_ids", ids="uuid", docs="uuid"),
    Variant("integer_ids", ids="bigint", docs="bigint"),
    Variant("uuid_documents_text_hash", docs="uuid"),
    Variant("char_ids", ids="character(36)", docs="varchar(40)"),
    Variant("json_citations", citations="json"),
    Variant("text_citations", citations="text"),
    Variant("varchar_citations", citations="varchar"),
    Variant("text_array_citations", citations="text[]"),
    Variant("integer_array_citations", citations="integer[]"),
    Variant("no_citations", citations=""),
    Variant("timestamp_without_zone", time="timestamp"),
    Variant("dates", time="date"),
    Variant("partitioned", partitioned=True),
    Variant(
        "select_only",
        after=(
            "GRANT USAGE ON SCHEMA public TO {role}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
        ),
        role="reader",
    ),
    Variant(
        "column_rights",
        after=(
            "GRANT SELECT (id, content) ON docs TO {role}",
            "GRANT SELECT (qhash, question, answer, citations, created_at) ON qa_cache TO {role}",
            "GRANT SELECT (query_hash, doc_id, signal, created_at) ON feedback TO {role}",
            "GRANT SELECT (id, channel, status) ON conversations TO {role}",
            "GRANT SELECT (id, conversation_id, content, sender_type, created_at) ON messages"
            " TO {role}",
        ),
        role="columns",
    ),
)


def key_of(kind: str, number: int) -> Any:
    """The id number `number` in a column of type `kind`."""
    if kind == "uuid":
        return f"00000000-0000-4000-8000-{number:012d}"
    if kind in ("bigint", "integer"):
        return number
    return f"k{number:04d}"


def citations_of(kind: str, number: int) -> Any:
    """What is stored for a row, as a parameter."""
    value = [{"doc_id": number, "title": 'Manual "A" \\ B\nC', "score": 0.5, "é": None}]
    if number % 7 == 0:
        return None
    if kind == "json":
        return json.dumps(value, indent=1)  # type json keeps line ends and blanks
    if kind.endswith("[]"):
        return [number, 2] if kind == "integer[]" else ['um "dois"', "três\n", "NULL", "\\"]
    return json.dumps(value)


def _time(kind: str, moment: datetime) -> Any:
    if kind == "timestamptz":
        return moment
    local = moment.astimezone(ZONE).replace(tzinfo=None)
    return local.date() if kind == "date" else local


def fill(url: str, variant: Variant) -> None:
    """Make the owner's tables in the variant's shape: good rows, dirt, and both window edges."""
    space = psycopg.sql.Identifier(variant.schema).as_string(None)
    with psycopg.connect(url, autocommit=True) as connection:
        run = connection.execute
        run(f"CREATE SCHEMA IF NOT EXISTS {space}".encode())
        run(f"SET search_path = {space}".encode())
        run(f"CREATE TABLE docs (id {variant.docs} PRIMARY KEY, content text, title text)".encode())
        cited = f"citations {variant.citations}," if variant.citations else ""
        tail = "PARTITION BY RANGE (created_at)" if variant.partitioned else ""
        run(
            f"CREATE TABLE qa_cache (qhash {variant.ids}, question text, answer text, {cited}"
            f" created_at {variant.time}) {tail}".encode()
        )
        if variant.partitioned:
            run(
                b"CREATE TABLE qa_old PARTITION OF qa_cache"
                b" FOR VALUES FROM (MINVALUE) TO ('2026-11-01')"
            )
            run(b"CREATE TABLE qa_new PARTITION OF qa_cache DEFAULT")
        run(
            "CREATE TABLE feedback (id bigint GENERATED ALWAYS AS IDENTITY,"
            f" query_hash {variant.ids}, doc_id {variant.docs}, signal smallint,"
            f" created_at {variant.time})".encode()
        )
        run(
            b"CREATE TABLE conversations"
            b" (id integer, customer_id integer, channel text, status text)"
        )
        run(
            f"CREATE TABLE messages (id bigint, conversation_id integer, content text,"
            f" sender_type text, created_at {variant.time})".encode()
        )
        _fill_pairs(connection, variant)
        _fill_talks(connection, variant)
        for statement in variant.after:
            run(statement.format(role=variant.role and role_of(url, variant)).encode())


def role_of(url: str, variant: Variant) -> str:
    """The role's name: roles belong to the server, so it bears the database's name."""
    database = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    return f"{variant.role}_{database}"


def _fill_pairs(connection: psycopg.Connection, variant: Variant) -> None:
    moments = [START, START - timedelta(microseconds=1), NOW, NOW - timedelta(microseconds=1)]
    moments += [NOW - timedelta(hours=7 * number) for number in range(1, 60)]
    texts = [*HOSTILE[:-1], None, "", " \t\n", "\u00a0\u200b", BIG]
    columns = "qhash, question, answer, created_at" + (", citations" if variant.citations else "")
    cast = f", %s::{variant.citations}" if variant.citations else ""
    for number, moment in enumerate(moments, start=1):
        answer = texts[number % len(texts)]
        question = None if number % 29 == 0 else HOSTILE[number % (len(HOSTILE) - 1)]
        values = [key_of(variant.ids, number), question, answer, _time(variant.time, moment)]
        if variant.citations:
            values.append(citations_of(variant.citations, number))
        connection.execute(
            f"INSERT INTO qa_cache ({columns}) VALUES (%s, %s, %s, %s{cast})".encode(), values
        )
    for number in range(1, 21):
        content = None if number == 5 else HOSTILE[number % (len(HOSTILE) - 1)]
        connection.execute(
            "INSERT INTO docs VALUES (%s, %s, 'title')", [key_of(variant.docs, number), content]
        )
    for number in range(1, 90):
        connection.execute(
            "INSERT INTO feedback (query_hash, doc_id, signal, created_at) VALUES (%s, %s, %s, %s)",
            [
                key_of(variant.ids, number),  # those above 63 dangle
                key_of(variant.docs, number % 23),  # 0, 21 and 22 dangle
                [1, -1, 1, 0, 1, None][number % 6],
                _time(variant.time, NOW - timedelta(days=number)),
            ],
        )


TALKS: tuple[tuple[str, str, list[tuple[str, str | None]]], ...] = (
    ("whatsapp", "closed", [("customer", 'oi \\ "tudo"\n?'), ("bot", "tudo 👍"), ("bot", "sim")]),
    ("site", "Resolved ", [("Customer", HOSTILE[5]), ("ASSISTANT", HOSTILE[6])]),
    ("site", "open", [("customer", "a"), ("assistant", "b")]),  # idle for long
    ("site", "open", [("customer", "a"), ("assistant", "b"), ("customer", "c")]),
    ("site", "closed", [("customer", "a"), ("robot\x1b[2J", "b")]),
    ("site", "closed", [("customer", "a"), ("assistant", None)]),
    ("site", "closed", [("customer", "a"), ("customer", "b")]),
    ("site", "closed", []),
    ("whatsapp", "fechada", [("cliente", "x"), ("atendente", BIG)]),
)


def _fill_talks(connection: psycopg.Connection, variant: Variant) -> None:
    number = 0
    for talk, (channel, status, messages) in enumerate(TALKS, start=1):
        connection.execute(
            "INSERT INTO conversations VALUES (%s, 1, %s, %s)", [talk, channel, status]
        )
        for sender, content in messages:
            number += 1
            moment = NOW - timedelta(days=10) + timedelta(minutes=number // 3)
            connection.execute(
                "INSERT INTO messages VALUES (%s, %s, %s, %s, %s)",
                [number, talk, content, sender, _time(variant.time, moment)],
            )
    connection.execute(
        "INSERT INTO messages VALUES (9001, 777, 'x', 'customer', %s)",
        [_time(variant.time, NOW - timedelta(days=3))],
    )


def settings_for(url: str, folder: Path, **more: str) -> Any:
    return load({"DATABASE_URL": url, "FINETUNE_DIR": str(folder), **more})


async def collect(
    url: str,
    folder: Path,
    dry_run: bool = False,
    cancel: CancelSignal | None = None,
    progress: Callable[[Progress], None] | None = None,
    settings: dict[str, str] | None = None,
    **request: Any,
) -> CollectResult:
    """collect.run as a face calls it."""
    chosen = settings_for(url, folder, **(settings or {}))
    service = CollectService(
        lambda: open_source(chosen, Paths(folder / "data")), chosen, FixedClock()
    )
    context = Context(
        "tester",
        Face.CLI,
        Role.OPERATOR,
        dry_run=dry_run,
        cancel=cancel or CancelSignal(),
        progress=progress or (lambda _progress: None),
    )
    return await service.run(context, CollectRequest(**request))


def lines_of(path: Path) -> list[Any]:
    """The file as JSON Lines, strictly: each line one document, the last one ended."""
    content = path.read_bytes()
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line) for line in content.decode("utf-8").split("\n")[:-1]]


def _present(text: str | None) -> bool:
    return text is not None and text.strip(" \t\r\n\v\f\u00a0\u200b\x1c\x1d\x1e\x1f\x85") != ""


def _inside(value: Any, start: datetime, end: datetime) -> bool:
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=ZONE)
    else:
        assert isinstance(value, date)
        moment = datetime(value.year, value.month, value.day, tzinfo=ZONE)
    return start <= moment < end


def reference_pairs(url: str, variant: Variant) -> list[Any]:
    """Export A, by plain rows and Python."""
    space = psycopg.sql.Identifier(variant.schema).as_string(None)
    with psycopg.connect(url) as connection:
        cited = "citations" if variant.citations else "NULL"
        rows = connection.execute(
            f"SELECT qhash, question, answer, {cited}, created_at FROM {space}.qa_cache".encode()
        ).fetchall()
    kept = [row for row in rows if _inside(row[4], START, NOW)]
    kept = [row for row in kept if _present(row[1]) and _present(row[2])]
    kept.sort(key=lambda row: (row[4], row[0] if isinstance(row[0], int) else str(row[0]).encode()))
    return [
        json.loads(json.dumps({"question": row[1], "answer": row[2], "citations": row[3]}))
        for row in kept
    ]


def reference_feedback(url: str, variant: Variant) -> list[Any]:
    """Export B, by plain rows and Python."""
    space = psycopg.sql.Identifier(variant.schema).as_string(None)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"SELECT f.created_at, f.id, q.question, d.content, f.doc_id FROM {space}.feedback f"
            f" JOIN {space}.qa_cache q ON q.qhash = f.query_hash"
            f" JOIN {space}.docs d ON d.id = f.doc_id WHERE f.signal = 1".encode()
        ).fetchall()
    rows = sorted(row for row in rows if _present(row[2]) and _present(row[3]))
    return [
        {
            "question": row[2],
            "answer": row[3],
            "metadata": {
                "doc_id": row[4] if isinstance(row[4], int) else str(row[4]),
                "signal": 1,
            },
        }
        for row in rows
    ]
