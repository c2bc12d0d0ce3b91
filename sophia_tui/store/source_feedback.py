"""Counts the source's feedback by day, for the table as it was found."""

from datetime import datetime

import psycopg
from psycopg import sql

from sophia_tui.domain.feedback import FeedbackDay, FeedbackReport
from sophia_tui.i18n import _
from sophia_tui.store.source_columns import FoundColumn, FoundTable, Kind
from sophia_tui.store.source_sql import moment, of_column, signal_marks
from sophia_tui.store.source_tables import Tables
from sophia_tui.textsafe import visible

NEEDED = ("signal", "created_at")


async def feedback_by_day(
    connection: psycopg.AsyncConnection,
    tables: Tables,
    since: datetime,
    until: datetime,
    zone: str,
) -> FeedbackReport:
    """By day of `zone`; times without zone are read in it. Raises psycopg.Error."""
    table = tables.get("feedback")
    problem = _hindrance(tables, table)
    if problem or table is None:
        return FeedbackReport(problem=problem)
    created = table.columns["created_at"]
    cursor = await connection.execute(_query(table, since, until, zone))
    days, undated = [], 0
    for day, positive, negative, other in await cursor.fetchall():
        if day is None:
            undated = positive + negative + other
        else:
            days.append(FeedbackDay(day, positive, negative, other))
    return FeedbackReport(
        days=tuple(days),
        undated=undated,
        table=visible(table.label),
        time_column=visible(f"{table.label}.{created.name}"),
        assumed_zone=None if created.kind is Kind.ZONED else zone,
    )


def _hindrance(tables: Tables, table: FoundTable | None) -> str:
    """Why it can't be counted; empty where it can. Other columns than NEEDED are nobody's need."""
    report = tables.report("feedback")
    if table is None or not report.readable:
        return f"feedback: {report.problem}"
    told = {each.column: each.problem for each in report.columns}
    reasons = []
    for name in NEEDED:
        if not table.usable(name):
            reason = told.get(name) or _no_time(table.columns.get(name))
            reasons.append(f"feedback.{name}: {reason}")
    return " ".join(reasons)


def _no_time(column: FoundColumn | None) -> str:
    """`created_at` of feedback is needed by this count alone, so the report has no words for it."""
    if column is None:
        return _("It is missing, so nobody knows on which day the feedback was given.")
    if not column.readable:
        return _("This role has no right to read it: GRANT SELECT ({column}).").format(
            column=column.name
        )
    return _("Type {type} is no time.").format(type=visible(column.type))


def _query(table: FoundTable, since: datetime, until: datetime, zone: str) -> sql.Composed:
    created = table.columns["created_at"]
    at = of_column("f", created)
    day = sql.SQL("{}::date").format(at)
    if created.kind is Kind.ZONED:
        day = sql.SQL("({} AT TIME ZONE {})::date").format(at, sql.Literal(zone))
    positive, negative = signal_marks("f", table.columns["signal"])
    return sql.SQL(
        "SELECT {day}, count(*) FILTER (WHERE {positive}), count(*) FILTER (WHERE {negative}),"
        " count(*) FILTER (WHERE ({positive} OR {negative}) IS NOT TRUE)"
        " FROM {table} f WHERE ({at} >= {since} AND {at} < {until}) OR {at} IS NULL"
        " GROUP BY 1 ORDER BY 1"
    ).format(
        day=day,
        positive=positive,
        negative=negative,
        table=table.sql,
        at=at,
        since=moment(created, since, zone),
        until=moment(created, until, zone),
    )
