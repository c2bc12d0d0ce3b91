"""Feedback by day equals plain rows and Python, for every shape of table met in the field."""

from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.feedback import FeedbackReport
from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store.source import open_source
from tests.integration import collect_support as support
from tests.integration.collect_support import NOW, ZONE, Variant
from tests.integration.test_collect_variants import source as source  # the fixture of all variants

SINCE = NOW - timedelta(days=20)


async def count(url: str, zone: str = ZONE.key) -> FeedbackReport:
    found = await open_source(load({"DATABASE_URL": url}), Paths(Path("/nonexistent")))
    return await found.feedback_by_day(SINCE, NOW, zone)


def by_plain_rows(url: str, variant: Variant) -> list[tuple[date, int, int, int]]:
    space = psycopg.sql.Identifier(variant.schema).as_string(None)
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"SELECT created_at, signal FROM {space}.feedback".encode()
        ).fetchall()
    counted: Counter[tuple[date, str]] = Counter()
    for at, signal in rows:
        if not isinstance(at, datetime):
            at = datetime(at.year, at.month, at.day, tzinfo=ZONE)
        at = at.astimezone(ZONE) if at.tzinfo else at.replace(tzinfo=ZONE)
        if SINCE <= at < NOW:
            counted[at.date(), {1: "positive", -1: "negative"}.get(signal, "other")] += 1
    return [
        (day, *(counted[day, word] for word in ("positive", "negative", "other")))
        for day in sorted({day for day, _word in counted})
    ]


async def test_it_is_counted_alike_in_every_shape(source: tuple[str, str, Variant]) -> None:
    url, administrator, variant = source
    report = await count(url)
    found = [(each.day, each.positive, each.negative, each.other) for each in report.days]
    assert (report.problem, report.undated) == ("", 0)
    assert found == by_plain_rows(administrator, variant)
    assert len(found) >= 19
    assert report.assumed_zone == (None if variant.time == "timestamptz" else ZONE.key)


def make(url: str, columns: str, *values: tuple[Any, ...]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE public.feedback ({columns})".encode())
        for row in values:
            signs = ", ".join(["%s"] * len(row))
            connection.execute(f"INSERT INTO public.feedback VALUES ({signs})".encode(), row)


HOUR_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "positive", "negative", "other"),
    [
        ("boolean", [True], [False], [None]),
        ("text", ["1", " +1 ", "TRUE", "t"], ["-1", "-0.5", "False"], ["0", "-0", "good", "", "2"]),
        ("numeric", [1], [-1, "-0.01"], [0, 2, None, "NaN"]),
        ("double precision", [1.0], [-3.5], [0.0, 0.99, None, "NaN"]),
        ("varchar(8)", ["1.0"], ["f"], ["up"]),
    ],
)
async def test_signals_of_every_type_are_understood(
    postgres_url: str, kind: str, positive: list[Any], negative: list[Any], other: list[Any]
) -> None:
    signals = [*positive, *negative, *other]
    make(postgres_url, f"signal {kind}, created_at timestamptz", *((s, HOUR_AGO) for s in signals))
    (day,) = (await count(postgres_url)).days
    assert (day.positive, day.negative, day.other) == (len(positive), len(negative), len(other))


async def test_the_period_is_half_open_and_days_are_of_the_zone(postgres_url: str) -> None:
    midnight = datetime(2026, 11, 20, tzinfo=ZONE)
    tick = timedelta(microseconds=1)
    moments = [SINCE - tick, SINCE, midnight - tick, midnight, NOW - tick, NOW, None]
    make(postgres_url, "signal integer, created_at timestamptz", *((1, at) for at in moments))
    report = await count(postgres_url)
    assert [(each.day, each.positive) for each in report.days] == [
        (SINCE.astimezone(ZONE).date(), 1),
        (date(2026, 11, 19), 1),
        (date(2026, 11, 20), 1),
        (date(2026, 11, 21), 1),
    ]
    assert report.undated == 1
    in_utc = await count(postgres_url, "UTC")
    assert [each.positive for each in in_utc.days] == [1, 2, 1]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("signal integer", "created_at: It is missing"),
        ("signal integer, created_at text", "created_at: Type text is no time."),
        ("signal jsonb, created_at timestamptz", "signal: Type jsonb does not fit"),
        ("created_at timestamptz", "signal: It is missing"),
    ],
)
async def test_what_hinders_is_named(postgres_url: str, columns: str, told: str) -> None:
    make(postgres_url, columns)
    report = await count(postgres_url)
    assert report.days == () and told in report.problem


async def test_a_missing_table_is_said(postgres_url: str) -> None:
    assert "feedback: It was not found." in (await count(postgres_url)).problem


async def test_a_missing_right_is_said(postgres_url: str) -> None:
    support.fill(postgres_url, Variant("plain"))
    role = support.role_of(postgres_url, Variant("blind", role="blind"))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
        connection.execute(f"GRANT SELECT (signal) ON public.feedback TO {role}".encode())
    try:
        url = psycopg.conninfo.make_conninfo(postgres_url, user=role, password="x")
        assert "GRANT SELECT (created_at)" in (await count(url)).problem
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())
