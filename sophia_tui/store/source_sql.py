"""The queries that collect sends to the source, built for the tables as they were found.

The server sends plain columns and the client makes the JSON: building it on the server costs twice
the time there (1.2 s against 0.55 s for 200,000 rows), and so both sides work at once. A row comes
as one binary value, its columns parted by a zero byte, which no Postgres text can hold: so a client
written in Python parts a whole batch by one call, where columns with lengths of their own cost it
0.6 microseconds more for each row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from psycopg import sql

from sophia_tui.domain.protocols import ExportRequest
from sophia_tui.store.export_shapes import KeyPart
from sophia_tui.store.source_columns import FoundColumn, FoundTable, Kind
from sophia_tui.store.source_tables import Tables

#: Goes into manifests; to be raised whenever a query here means something else than before.
QUERY_VERSION = 1


@dataclass(frozen=True)
class Query:
    """A query of one column, in which lie those of the key, then the payload's."""

    text: bytes
    table: str
    key: tuple[KeyPart, ...]
    columns: int


def _text(expression: sql.Composable) -> sql.Composed:
    return sql.SQL("{}::text").format(expression)


def of_column(alias: str, column: FoundColumn) -> sql.Identifier:
    """The column by its table's alias."""
    return sql.Identifier(alias, column.name)


def _key(table: FoundTable, names: tuple[str, ...]) -> tuple[KeyPart, ...]:
    return tuple(KeyPart(name, table.columns[name].kind is Kind.NUMBER) for name in names)


def _order(alias: str, column: FoundColumn) -> sql.Composable:
    """An order that is the same on every server, whatever its collation."""
    if column.kind in (Kind.NUMBER, Kind.UUID):
        return of_column(alias, column)
    return sql.SQL('{}::text COLLATE "C"').format(of_column(alias, column))


def moment(column: FoundColumn, at: datetime, zone: str) -> sql.Composed:
    """A literal to compare a time column with; times without zone are read in `zone`."""
    if column.kind is Kind.ZONED:
        return sql.SQL("{}::timestamptz").format(sql.Literal(at.isoformat()))
    local = at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    return sql.SQL("{}::timestamp").format(sql.Literal(local.isoformat()))


def instant(alias: str, column: FoundColumn, zone: str) -> sql.Composable:
    """The column as an instant."""
    if column.kind is Kind.ZONED:
        return of_column(alias, column)
    return sql.SQL("({}::timestamp AT TIME ZONE {})").format(
        of_column(alias, column), sql.Literal(zone)
    )


def _row(*columns: tuple[sql.Composable, bool]) -> sql.Composed:
    """The columns (text, and whether it may be NULL) as one value; see source_rows."""
    parts = [
        sql.SQL("coalesce(pg_catalog.textsend({}), '\\xff'::bytea)").format(text)
        if nullable
        else sql.SQL("pg_catalog.textsend({})").format(text)
        for text, nullable in columns
    ]
    return sql.SQL(" || '\\x00'::bytea || ").join(parts)


def _bytes(query: sql.Composable) -> bytes:
    return query.as_string(None).encode("utf-8")


def json_text(alias: str, column: FoundColumn | None) -> sql.Composed:
    """A column's value as JSON text: a string for text types, the value itself for all others."""
    if column is None:
        return sql.SQL("NULL::text").format()
    if column.kind in (Kind.JSON, Kind.JSONB, Kind.TEXT):
        return _text(of_column(alias, column))  # text is made a JSON string by the client
    return _text(sql.SQL("pg_catalog.to_json({})").format(of_column(alias, column)))


def qa_cache(tables: Tables, request: ExportRequest) -> Query:
    """Columns: qhash | question, answer, citations, and what hinders where something can."""
    table = tables.get("qa_cache")
    assert table is not None
    columns = table.columns
    created = columns["created_at"]
    window = sql.SQL("{created} >= {start} AND {created} < {end}").format(
        created=of_column("q", created),
        start=moment(created, request.start, request.zone),
        end=moment(created, request.end, request.zone),
    )
    hindrance: list[tuple[sql.Composable, bool]] = []
    if not created.not_null:  # a row without a time can't be placed: it is listed
        missing = sql.SQL("CASE WHEN {} IS NULL THEN 'no_time' END").format(of_column("q", created))
        hindrance.append((missing, True))
        window = sql.SQL("({}) OR {} IS NULL").format(window, of_column("q", created))
    citations = columns["citations"] if table.usable("citations") else None
    texts = ("qhash", "question", "answer")
    query = sql.SQL(
        "SELECT {row} FROM {table} q WHERE {window} ORDER BY {created}, {order}"
    ).format(
        row=_row(
            *((_text(of_column("q", columns[name])), not columns[name].not_null) for name in texts),
            (json_text("q", citations), True),
            *hindrance,
        ),
        created=of_column("q", created),
        table=table.sql,
        window=window,
        order=_order("q", columns["qhash"]),
    )
    return Query(_bytes(query), table.label, _key(table, ("qhash",)), 4 + len(hindrance))


def _equal(left: str, one: FoundColumn, right: str, two: FoundColumn) -> sql.Composed:
    """A comparison of two key columns whose types may differ (uuid kept as text, say)."""
    form = "lower({}::text) = lower({}::text)"
    if one.kind is two.kind:
        plain = one.kind is not Kind.TEXT or one.type == two.type
        form = "{} = {}" if plain else "{}::text = {}::text"
    return sql.SQL(form).format(of_column(left, one), of_column(right, two))


def signal_marks(alias: str, column: FoundColumn) -> tuple[sql.Composable, sql.Composable]:
    """Whether a signal is positive, and whether it is negative (below zero, or false); what is
    neither may be NULL in both."""
    signal = of_column(alias, column)
    if column.kind is Kind.BOOLEAN:
        return signal, sql.SQL("NOT {}").format(signal)
    if column.kind is Kind.TEXT:
        word = sql.SQL("lower(btrim({}::text))").format(signal)
        positive = sql.SQL("{} IN ('1', '+1', '1.0', 'true', 't')").format(word)
        below = sql.SQL("({word} IN ('false', 'f') OR ({word} ~ {form} AND {word} ~ '[1-9]'))")
        return positive, below.format(word=word, form=sql.Literal("^-[0-9]+([.][0-9]+)?$"))
    return sql.SQL("{} = 1").format(signal), sql.SQL("{} < 0").format(signal)


def _signal(column: FoundColumn) -> tuple[sql.Composable, sql.Composable]:
    """Whether a feedback is positive, and whether its signal can't be understood."""
    signal = of_column("f", column)
    positive, _negative = signal_marks("f", column)
    if column.kind is Kind.TEXT:
        word = sql.SQL("lower(btrim({}::text))").format(signal)
        unknown = sql.SQL(
            "({word} IS NULL OR {word} !~ '^([+-]?[0-9]+([.][0-9]+)?|t|f|true|false)$')"
        ).format(word=word)
        return positive, unknown
    return positive, sql.SQL("{} IS NULL").format(signal)


def time_without_zone(name: str, tables: Tables) -> tuple[FoundTable, FoundColumn] | None:
    """The table and column that the export's period is judged by, where that has no zone."""
    table = tables.get({"qa_cache": "qa_cache", "conversations": "messages"}.get(name, ""))
    column = table.columns.get("created_at") if table else None
    if table is None or column is None or column.kind not in (Kind.LOCAL, Kind.DATE):
        return None
    return table, column


def count_after(name: str, table: FoundTable, column: FoundColumn, request: ExportRequest) -> bytes:
    """How many rows (of conversations: how many of those) have a time after the period's end."""
    talks = name == "conversations"
    end = request.conversations.end if talks else request.end
    counted = (
        sql.SQL("DISTINCT {}").format(table.columns["conversation_id"].sql)
        if talks
        else sql.SQL("*")
    )
    query = sql.SQL("SELECT count({counted}) FROM {table} q WHERE {column} >= {end}").format(
        counted=counted,
        table=table.sql,
        column=of_column("q", column),
        end=moment(column, end, request.zone),
    )
    return _bytes(query)


def feedback_pairs(tables: Tables) -> Query:
    """Columns: key | question, content, doc_id as text, what hinders."""
    feedback, cache, docs = (tables.get(name) for name in ("feedback", "qa_cache", "docs"))
    assert feedback is not None and cache is not None and docs is not None
    names = ("id",) if feedback.usable("id") else ("query_hash", "doc_id")
    columns = feedback.columns
    positive, unknown = _signal(columns["signal"])
    order: list[sql.Composable] = [
        of_column("f", columns[name]) if name == "created_at" else _order("f", columns[name])
        for name in (("created_at",) if feedback.usable("created_at") else ()) + names
    ]
    hindrance = sql.SQL(
        "CASE WHEN {unknown} THEN 'unknown_signal' WHEN {qhash} IS NULL THEN 'dangling_question'"
        " WHEN {id} IS NULL THEN 'dangling_document' END"
    ).format(
        unknown=unknown,
        qhash=of_column("q", cache.columns["qhash"]),
        id=of_column("d", docs.columns["id"]),
    )
    query = sql.SQL(
        "SELECT {row} FROM {feedback} f LEFT JOIN {cache} q ON {same_question}"
        " LEFT JOIN {docs} d ON {same_doc}"
        " WHERE {positive} OR {unknown} ORDER BY {order}"
    ).format(
        row=_row(
            *((_text(of_column("f", columns[name])), True) for name in names),
            (_text(of_column("q", cache.columns["question"])), True),
            (_text(of_column("d", docs.columns["content"])), True),
            (_text(of_column("f", columns["doc_id"])), True),
            (hindrance, True),
        ),
        unknown=unknown,
        positive=positive,
        feedback=feedback.sql,
        cache=cache.sql,
        docs=docs.sql,
        same_question=_equal("f", columns["query_hash"], "q", cache.columns["qhash"]),
        same_doc=_equal("f", columns["doc_id"], "d", docs.columns["id"]),
        order=sql.SQL(", ").join(order),
    )
    return Query(_bytes(query), feedback.label, _key(feedback, names), len(names) + 4)


def _word_in(text: sql.Composable, words: Iterable[str]) -> sql.Composed:
    return sql.SQL("lower(btrim({})) = ANY({}::text[])").format(
        text, sql.Literal(sorted(word.strip().lower() for word in words))
    )


def _channel(request: ExportRequest, talks: FoundTable) -> sql.Composed:
    if not request.conversations.channels:
        return sql.SQL("true").format()
    return _word_in(_text(of_column("c", talks.columns["channel"])), request.conversations.channels)


def _closed(request: ExportRequest, status: sql.Composable) -> sql.Composed:
    return _word_in(status, request.conversations.closed_statuses)


def _complete(request: ExportRequest, status: sql.Composable) -> sql.Composed:
    """Closed by status, or ended by the assistant and idle for the set time."""
    wanted = request.conversations
    closed = _closed(request, status)
    if not wanted.idle_hours:
        return closed
    return sql.SQL(
        "({closed} OR ({assistant}"
        " AND e.ended <= {now}::timestamptz - make_interval(secs => {seconds})))"
    ).format(
        closed=closed,
        assistant=_word_in(sql.Identifier("e", "sender"), request.assistant_senders),
        now=sql.Literal(request.now.isoformat()),
        seconds=sql.Literal(float(wanted.idle_hours) * 3600),
    )


def conversations(tables: Tables, request: ExportRequest) -> Query:
    """Columns: conversation's id | message's id, sender, content, what hinders.

    A conversation belongs to the period in which its last message was written. One row a message,
    in the order of the conversations' ends, and inside a conversation of time and id.
    """
    talks, messages = tables.get("conversations"), tables.get("messages")
    assert talks is not None and messages is not None
    wanted, columns = request.conversations, messages.columns
    talk, message = talks.columns["id"], columns["conversation_id"]
    sender = _text(of_column("m", columns["sender_type"]))
    hindrance = sql.SQL(
        "CASE WHEN {} IS NULL THEN 'dangling_conversation' WHEN {} IS NULL THEN 'no_time' END"
    ).format(of_column("c", talk), of_column("m", columns["created_at"]))
    query = sql.SQL(_CONVERSATIONS).format(
        row=_row(
            (_text(of_column("e", message)), True),
            (_text(of_column("m", columns["id"])), True),
            (sender, True),
            (_text(of_column("m", columns["content"])), True),
            (hindrance, True),
        ),
        sender=sender,
        own_id=of_column("c", talk),
        own_conversation=of_column("m", message),
        time=of_column("m", columns["created_at"]),
        ended=instant("m", columns["created_at"], request.zone),
        message_order=_order("m", columns["id"]),
        messages=messages.sql,
        talks=talks.sql,
        same=_equal("c", talk, "e", message),
        same_message=sql.SQL("{} = {}").format(of_column("m", message), of_column("e", message)),
        start=sql.Literal(wanted.start.isoformat()),
        end=sql.Literal(wanted.end.isoformat()),
        complete=_complete(request, _text(of_column("c", talks.columns["status"]))),
        channel=_channel(request, talks),
        order=_order("e", message),
    )
    key = (KeyPart("id", talk.kind is Kind.NUMBER and message.kind is Kind.NUMBER),)
    return Query(_bytes(query), talks.label, key, 5)


def empty_conversations(tables: Tables, request: ExportRequest) -> Query:
    """Closed conversations without any message: they have no time, so each is only listed."""
    talks, messages = tables.get("conversations"), tables.get("messages")
    assert talks is not None and messages is not None
    talk, message = talks.columns["id"], messages.columns["conversation_id"]
    query = sql.SQL(
        "SELECT {row} FROM {talks} c"
        " WHERE {closed} AND {channel}"
        " AND NOT EXISTS (SELECT FROM {messages} m WHERE {same}) ORDER BY {order}"
    ).format(
        row=_row(
            (_text(of_column("c", talk)), True),
            *((sql.SQL("NULL::text"), True),) * 3,
            (sql.SQL("'no_messages'::text"), False),
        ),
        talks=talks.sql,
        closed=_closed(request, _text(of_column("c", talks.columns["status"]))),
        channel=_channel(request, talks),
        messages=messages.sql,
        same=_equal("c", talk, "m", message),
        order=_order("c", talk),
    )
    return Query(_bytes(query), talks.label, _key(talks, ("id",)), 5)


_CONVERSATIONS = """
WITH e AS (
    SELECT DISTINCT ON ({own_conversation}) {own_conversation},
           {ended} AS ended, {sender} AS sender
    FROM {messages} m WHERE {own_conversation} IS NOT NULL
    ORDER BY {own_conversation}, {time} DESC NULLS LAST, {message_order} DESC
)
SELECT {row}
FROM e LEFT JOIN {talks} c ON {same}
JOIN {messages} m ON {same_message}
WHERE ((e.ended >= {start}::timestamptz AND e.ended < {end}::timestamptz) OR e.ended IS NULL)
  AND ({own_id} IS NULL OR ({complete} AND {channel}))
ORDER BY e.ended, {order}, {time}, {message_order}
"""
