"""A worker that is told to end: what is under way may end, and no longer than a bound."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from sophia_tui.domain.jobs import Schedule
from sophia_tui.worker import calendar as calendars
from sophia_tui.worker.calendar import Calendar


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 26, tzinfo=UTC)


class Schedules:
    """One schedule that is due; how each one ended."""

    def __init__(self) -> None:
        self.due = [
            Schedule(
                "s1", "collect.run", {}, "0 3 * * *", "UTC", "ana", Clock().now(), Clock().now()
            )
        ]
        self.ended: list[str] = []

    async def any_enabled(self) -> bool:
        return True

    async def forsaken(self, _seconds: float) -> list[Schedule]:
        return []

    async def begin_due(self, *_given: Any) -> Schedule | None:
        return self.due.pop() if self.due else None

    async def end(self, _id: str, _worker: str, outcome: str, _result: object) -> None:
        self.ended.append(outcome)


class Store:
    def __init__(self) -> None:
        self.schedules = Schedules()


class Done(BaseModel):
    pass


async def begun(seconds: float) -> tuple[Calendar, Store]:
    async def perform(_operation: str, _request: Mapping[str, Any], _actor: str) -> BaseModel:
        await asyncio.sleep(seconds)
        return Done()

    store, calendar = Store(), Calendar("w", perform, Clock())
    assert await calendar.round(store)  # type: ignore[arg-type]
    return calendar, store


async def test_a_schedule_under_way_ends_before_the_worker_does() -> None:
    calendar, store = await begun(0.05)
    await calendar.close()
    assert store.schedules.ended == ["done"]


async def test_one_that_takes_too_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "DRAIN_SECONDS", 0.05)
    calendar, store = await begun(3600)
    await calendar.close()
    assert store.schedules.ended == []  # the next worker tells it as cut off
