"""Monitor over a real store and source: what is counted, since when, and what is not known."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.feedback import FeedbackReport
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import ServedRequest
from sophia_tui.errors import UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services import monitor
from sophia_tui.services.monitor import MonitorRequest, MonitorService, MonitorView
from sophia_tui.settings import Settings, load
from sophia_tui.store.source import open_source
from tests import seeded

NOW = seeded.NOW  # 12:00 in São Paulo
LOOKING = Context("ana", Face.CONSOLE, Role.VIEWER)


class Clock:
    def now(self) -> datetime:
        return NOW


async def no_source() -> Any:
    raise UnavailableError("D105", "The source can't be reached.", "Refused.", "Check the host.")


async def hanging() -> Any:
    await asyncio.sleep(3600)


def service(store: Store, settings: Settings, source: Any = no_source) -> MonitorService:
    return MonitorService(store, source, settings, Clock())


async def look(made: MonitorService, **request: Any) -> MonitorView:
    return await made.show(LOOKING, MonitorRequest(**request))


async def test_traffic_is_shown_by_model_and_over_time(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    await seeded.fill(store, tmp_path / "seed", NOW)
    view = await look(service(store, settings), hours=24)
    assert [each.model for each in view.models] == ["(unknown name)", "sophia-v2"]
    unknown, known = view.models
    assert (unknown.requests, unknown.errors, unknown.seconds_p95) == (4, 4, None)
    assert (known.requests, known.errors, known.error_rate) == (236, 6, 0.0254)
    assert known.seconds_p50 is not None and 0.8 < known.seconds_p50 < 1.2
    assert known.first_token_seconds_p50 is not None and known.prompt_tokens > 0
    assert (view.requests, view.errors, view.error_rate) == (240, 10, 0.0417)
    assert view.bucket_seconds == 1800
    points = [each for each in view.series if each.model == "sophia-v2"]
    assert sum(each.requests for each in points) == 236
    assert len({each.start for each in points}) == len(points) <= 49
    assert [each.name for each in view.deployments] == ["sophia-v2"]
    assert view.alerts == [
        "sophia-v2: 2.5 % of the requests failed; the target is below 1 %.",
        "1.7 % of the requests asked for a name that is not served.",
    ]


async def test_one_model_can_be_asked_for(store: Store, settings: Settings, tmp_path: Path) -> None:
    await seeded.fill(store, tmp_path / "seed", NOW)
    view = await look(service(store, settings), hours=1, model="sophia-v2")
    assert [each.model for each in view.models] == ["sophia-v2"]
    assert view.requests == 10
    assert "takes longer than" in view.alerts[0]


async def test_nothing_served_is_no_zero(store: Store, settings: Settings) -> None:
    view = await look(service(store, settings))
    assert (view.requests, view.errors, view.error_rate, view.counted_since) == (None,) * 4
    assert view.models == view.series == view.alerts == []
    assert "sophia serve model" in view.note


async def test_counting_says_since_when(store: Store, settings: Settings) -> None:
    first = NOW - timedelta(hours=3)
    await store.traffic.add([ServedRequest(first, "sophia-v1", 200, 1.0)])
    made = service(store, settings)
    view = await look(made, hours=24)
    assert (view.requests, view.counted_since) == (1, first)
    assert "before that nothing is known" in view.note
    view = await look(made, hours=2)
    assert (view.requests, view.errors, view.note) == (0, 0, "")  # known, and nobody asked
    view = await look(made, since=NOW - timedelta(days=2), until=NOW - timedelta(days=1))
    assert view.requests is None
    assert "before the first request" in view.note


@pytest.mark.parametrize(
    ("request_", "since", "bucket"),
    [
        ({}, datetime(2026, 11, 19, 3, tzinfo=UTC), 10_800),
        ({"days": 1}, datetime(2026, 11, 25, 3, tzinfo=UTC), 900),
        ({"hours": 1}, NOW - timedelta(hours=1), 60),
        ({"days": 365}, datetime(2025, 11, 26, 3, tzinfo=UTC), 604_800),
        ({"since": datetime(2026, 11, 24)}, datetime(2026, 11, 24, 3, tzinfo=UTC), 3600),
    ],
)
async def test_periods_are_of_the_settings_zone_and_choose_their_bucket(
    store: Store, settings: Settings, request_: dict[str, Any], since: datetime, bucket: int
) -> None:
    view = await look(service(store, settings), **request_)
    assert (view.since, view.until, view.bucket_seconds) == (since, NOW, bucket)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"hours": 1, "days": 1}, "M470"),
        ({"days": 1, "since": NOW}, "M470"),
        ({"since": NOW}, "M471"),
        ({"since": NOW, "until": NOW - timedelta(days=1)}, "M471"),
    ],
)
async def test_a_period_that_is_none_is_refused(
    store: Store, settings: Settings, request_: dict[str, Any], code: str
) -> None:
    with pytest.raises(UsageError) as refused:
        await look(service(store, settings), **request_)
    assert refused.value.code == f"SOPHIA-{code}"


async def test_feedback_of_the_source_is_counted_by_day(
    store: Store, settings: Settings, postgres_url: str, paths: Paths
) -> None:
    seeded.fill_source(postgres_url, NOW)
    chosen = load({"DATABASE_URL": postgres_url})
    view = await look(service(store, settings, lambda: open_source(chosen, paths)), days=2)
    found = view.documents
    assert (found.state, found.table, found.undated) == ("counted", "public.feedback", 0)
    assert found.assumed_zone is None
    # one each four hours back from 12:00; each fifth, counted from now, is a zero
    assert [(each.day, each.positive, each.negative, each.other) for each in found.days] == [
        (date(2026, 11, 24), 5, 0, 1),
        (date(2026, 11, 25), 3, 0, 0),
    ]
    assert (found.positive, found.other, found.satisfaction) == (8, 1, 0.8889)


async def test_a_source_without_feedback_is_missing_and_not_zero(
    store: Store, settings: Settings, postgres_url: str, paths: Paths
) -> None:
    chosen = load({"DATABASE_URL": postgres_url})
    found = (await look(service(store, settings, lambda: open_source(chosen, paths)))).documents
    assert (found.state, found.positive, found.satisfaction) == ("missing", None, None)
    assert "not found" in found.cause


async def test_an_unreachable_source_takes_only_its_part_away(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    await seeded.fill(store, tmp_path / "seed", NOW)
    view = await look(service(store, settings))
    assert (view.documents.state, view.documents.code) == ("unreachable", "SOPHIA-D105")
    assert "Refused. Check the host." in view.documents.cause
    assert view.documents.positive is None
    assert view.requests == 280


async def test_a_source_that_hangs_is_given_up(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "SOURCE_PATIENCE", 0.05)
    found = (await look(service(store, settings, hanging))).documents
    assert found.state == "unreachable" and "did not answer" in found.cause


async def test_the_source_is_asked_once_in_a_while_for_the_same_period(
    store: Store, settings: Settings
) -> None:
    asked = []

    class Counting:
        async def feedback_by_day(self, *given: Any) -> FeedbackReport:
            asked.append(given)
            return FeedbackReport()

    async def counting() -> Any:
        return Counting()

    made = service(store, settings, counting)
    await look(made)
    await look(made)
    assert len(asked) == 1
    await look(made, days=1)
    assert len(asked) == 2


async def test_reactions_and_ratings_of_conversations_are_counted_apart(
    store: Store, settings: Settings, store_url: str
) -> None:
    made = service(store, settings)
    found = (await look(made)).conversations
    assert (found.state, found.positive, found.satisfaction) == ("empty", None, None)
    with psycopg.connect(store_url, autocommit=True) as connection:
        reaction = "INSERT INTO sophia.message_reactions (message_id, reaction, created_at)"
        rating = "INSERT INTO sophia.conversation_ratings (conversation_id, rating, created_at)"
        night = datetime(2026, 11, 25, 2, 59, tzinfo=UTC)  # still the 24th in São Paulo
        for word, at in (("up", night), ("down", NOW - timedelta(hours=1)), ("up", NOW)):
            connection.execute(f"{reaction} VALUES (%s, %s, %s)".encode(), [str(at), word, at])
        for stars in (5, 4, 3, 1):
            at = NOW - timedelta(hours=2)
            connection.execute(f"{rating} VALUES ('7', %s, %s)".encode(), [stars, at])
    found = (await look(made)).conversations
    assert (found.state, found.counted_since) == ("counted", night)
    assert [(each.day, each.positive, each.negative, each.other) for each in found.days] == [
        (date(2026, 11, 24), 1, 0, 0),
        (date(2026, 11, 25), 2, 2, 1),
    ]
    assert found.satisfaction == 0.5


async def test_what_is_not_measured_says_so(store: Store, settings: Settings) -> None:
    view = await look(service(store, settings))
    names = {each.name for each in view.not_yet}
    assert {"response_time", "resolution", "tone", "drift", "cost_per_conversation"} <= names
    assert all(each.text.endswith(".") for each in view.not_yet)
    assert all(each.label and "_" not in each.label for each in view.not_yet)
