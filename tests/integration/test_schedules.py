"""Schedules: what people make and change, and that each due time is run exactly once."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from sophia_tui.cli.output import render
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Claimer
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, NotFoundError, RefusedError, SophiaError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.catalogue import registry
from sophia_tui.services.schedules import (
    AddRequest,
    ChangeRequest,
    ScheduleList,
    ScheduleReference,
    SchedulesPage,
    SchedulesService,
    ScheduleView,
    SeenSchedule,
    following,
)
from sophia_tui.settings import Settings, load
from sophia_tui.wiring import House
from sophia_tui.worker.calendar import Calendar
from tests.integration.worker_house import SmallHouse, SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR, confirmed=True)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("every", "zone", "after", "due"),
    [
        ("weekly", "America/Sao_Paulo", "2026-11-25T12:00-03:00", "2026-11-30T03:00-03:00"),
        ("monthly", "UTC", "2026-12-01T03:00Z", "2027-01-01T03:00Z"),
        ("quarterly", "UTC", "2026-11-25T12:00Z", "2027-01-01T03:00Z"),
        ("*/15 8-9 * * 1-5", "UTC", "2026-11-27T09:45Z", "2026-11-30T08:00Z"),
        # the hour that summer time leaves out is caught up right after it
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00+01:00", "2027-03-28T03:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00"),
        # the one that comes twice counts once
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
    ],
)
def test_the_next_time_by_the_clock_of_the_zone(
    every: str, zone: str, after: str, due: str
) -> None:
    found = following(every, zone, moment(after))
    assert found is not None and found.astimezone(UTC) == moment(due).astimezone(UTC)


class Desk:
    def __init__(self, store: Store, paths: Paths, more: Mapping[str, str]) -> None:
        self.store = store
        self.settings = load({"FINETUNE_DIR": "/town/finetune", **more})
        self.woken = 0
        self.service = SchedulesService(store, registry(), self.settings, SystemClock(), self._wake)
        self.house = SmallHouse(self.settings, paths, opened=store)

    async def _wake(self) -> None:
        self.woken += 1

    async def add(self, operation: str = "prepare.run", **more: Any) -> ScheduleView:
        return await self.service.add(CONTEXT, AddRequest(operation=operation, **more))

    async def due(self, name: str, at: datetime | None = None) -> None:
        """Its time has come."""
        schedule = await self.store.schedules.get(name)
        assert schedule is not None
        past = at or datetime.now(UTC) - timedelta(minutes=1)
        await self.store.schedules.update(name, schedule.version, next_at=past)

    def calendar(self, worker: str = "w:1:1", perform: Any = None) -> Calendar:
        return Calendar(worker, perform or self.house.perform, SystemClock())

    async def kept(self, *calendars: Calendar) -> None:
        """One look of each worker, and the end of what it began."""
        await asyncio.gather(*(each.round(self.store) for each in calendars))
        for _each in range(500):
            if not any([await each.round(self.store) for each in calendars]):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it did not end")

    async def shown(self, name: str) -> ScheduleView:
        found = await self.service.page(CONTEXT, SchedulesPage())
        return next(each for each in found.items if each.name == name)


@pytest.fixture
def desk(store: Store, paths: Paths) -> Desk:
    return Desk(store, paths, {})


async def test_a_schedule_has_sensible_defaults_and_whole_paths(desk: Desk) -> None:
    made = await desk.add(options=["name=town", "seed=7"])
    assert (made.name, made.every, made.timezone) == ("prepare-run", "weekly", "America/Sao_Paulo")
    assert sorted(made.options) == ["folder=/town/finetune", "name=town", "seed=7"]
    assert made.next_at is not None and made.next_at > datetime.now(UTC) and desk.woken == 1
    training = await desk.add("train.start", options=["dataset=town", "base=org/model"])
    assert (training.every, training.created_by) == ("monthly", "maria")
    assert training.dataset == "town"


async def test_a_training_by_the_calendar_says_which_data_set_it_takes(desk: Desk) -> None:
    made = await desk.add("train.start", options=["base=org/model"])
    assert made.dataset is not None and "there is none yet" in made.dataset
    for name, digit in (("town", "a"), ("upload-rooms", "b")):
        await desk.store.datasets.add(DatasetVersion(name, digit * 64, "/nowhere", {}))
    told = (await desk.service.change(CONTEXT, ChangeRequest(schedule=made.name))).dataset
    assert told is not None and told.endswith("now town@aaaaaaaaaaaa")


@pytest.mark.parametrize(
    ("typed", "name"),
    [("prepare", "prepare.run"), ("train", "train.start"), ("train start", "train.start")],
)
async def test_an_operation_may_be_named_as_commands_are(desk: Desk, typed: str, name: str) -> None:
    given = ["dataset=town", "base=org/model"] if name == "train.start" else []
    assert (await desk.add(typed, options=given)).operation == name


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"operation": "nothing.there"}, "SOPHIA-U404"),
        ({"operation": "jobs.list"}, "SOPHIA-J594"),
        ({"operation": "promote.run"}, "SOPHIA-J594"),
        ({"operation": "schedules.add"}, "SOPHIA-J594"),
        ({"timezone": "Nowhere/Else"}, "SOPHIA-J595"),
        ({"every": "often"}, "SOPHIA-J597"),
        ({"every": "0 0 30 2 *"}, "SOPHIA-J597"),
        ({"options": ["seed"]}, "SOPHIA-J598"),
        ({"options": ["colour=red"]}, "SOPHIA-J598"),
        ({"options": ["seed=many"]}, "SOPHIA-U422"),
    ],
)
async def test_what_can_not_run_is_refused_at_once(
    desk: Desk, request_: dict[str, Any], code: str
) -> None:
    with pytest.raises(SophiaError) as refused:
        await desk.add(**request_)
    assert refused.value.code == code and await desk.store.schedules.page() == []


async def test_who_may_not_train_by_hand_may_not_by_the_calendar(desk: Desk) -> None:
    asked = AddRequest(operation="train.start")
    over_http = replace(CONTEXT, face=Face.API)
    with pytest.raises(RefusedError) as refused:
        await desk.service.add(over_http, asked)
    assert refused.value.code == "SOPHIA-R451"
    with pytest.raises(RefusedError):
        await desk.service.add(replace(CONTEXT, role=Role.VIEWER), asked)


async def test_the_second_of_two_people_is_told(desk: Desk) -> None:
    seen = await desk.add()
    await desk.service.change(
        CONTEXT, ChangeRequest(schedule=seen.name, every="monthly", seen_version=seen.version)
    )
    late = ChangeRequest(schedule=seen.name, runs="off", seen_version=seen.version)
    with pytest.raises(ConflictError) as conflict:
        await desk.service.change(CONTEXT, late)
    assert conflict.value.code == "SOPHIA-J592"
    kept = await desk.shown(seen.name)
    assert (kept.every, kept.enabled, kept.version) == ("monthly", True, 2)


async def test_who_made_a_schedule_stays_beside_who_changed_it(desk: Desk) -> None:
    """It runs as who changed it: nobody borrows another person's rights by a change."""
    made = await desk.add()
    assert (made.created_by, made.changed_by) == ("maria", None)
    change = ChangeRequest(schedule=made.name, every="monthly")
    await desk.service.change(replace(CONTEXT, actor="rui"), change)
    await desk.service.run_now(replace(CONTEXT, actor="ana"), ScheduleReference(schedule=made.name))
    kept = await desk.shown(made.name)
    assert (kept.created_by, kept.changed_by) == ("maria", "rui")
    told = render(ScheduleList(items=[kept]), plain=True)
    assert "Created by: maria\nChanged by: rui\n" in told and "Version: 3" in told
    assert "Version: 1" in render(ScheduleList(items=[made]), plain=True)
    await desk.kept(desk.calendar())
    assert [actor for _operation, _request, actor in desk.house.performed] == ["rui"]


async def test_a_removed_schedule_is_gone_and_a_name_is_given_once(desk: Desk) -> None:
    made = await desk.add()
    with pytest.raises(ConflictError) as twice:
        await desk.add()
    assert twice.value.code == "SOPHIA-J591"
    await desk.service.remove(CONTEXT, SeenSchedule(schedule=made.name))
    with pytest.raises(NotFoundError):
        await desk.service.remove(CONTEXT, SeenSchedule(schedule=made.name))


async def test_many_workers_run_a_due_time_once_and_missed_times_once(desk: Desk) -> None:
    await desk.add(every="* * * * *", options=["name=town"])
    await desk.due("prepare-run", datetime.now(UTC) - timedelta(days=3))
    await desk.kept(*(desk.calendar(f"w:{n}:1") for n in range(8)))
    ((operation, request, actor),) = desk.house.performed
    assert (operation, request["name"], actor) == ("prepare.run", "town", "maria")
    kept = await desk.shown("prepare-run")
    assert kept.outcome == "done" and kept.job == "ftjob-000000000001"
    assert kept.next_at is not None and kept.next_at > datetime.now(UTC)


async def test_what_is_switched_off_or_not_due_does_not_run(desk: Desk) -> None:
    await desk.add(enabled=False)
    await desk.due("prepare-run")
    await desk.add("train.start")
    calendar = desk.calendar()
    await desk.kept(calendar)
    assert desk.house.performed == [] and calendar.waits
    with pytest.raises(UsageError) as refused:
        await desk.service.run_now(CONTEXT, ScheduleReference(schedule="prepare-run"))
    assert refused.value.code == "SOPHIA-J596"


async def test_run_now_runs_once_and_the_rule_goes_on(desk: Desk) -> None:
    made = await desk.add(every="0 3 1 1 *")
    await desk.service.run_now(CONTEXT, ScheduleReference(schedule=made.name))
    await desk.kept(desk.calendar())
    await desk.kept(desk.calendar("w:2:1"))
    kept = await desk.shown(made.name)
    assert len(desk.house.performed) == 1 and kept.next_at == made.next_at


async def test_a_failure_is_shown_and_it_goes_on_next_time(desk: Desk) -> None:
    async def fails(operation: str, request: Mapping[str, Any], actor: str) -> BaseModel:
        raise NotFoundError("J420", "There is no data set.", remedy="Make one.")

    await desk.add("train.start")
    await desk.due("train-start")
    await desk.kept(desk.calendar(perform=fails))
    kept = await desk.shown("train-start")
    assert kept.outcome == "failed" and kept.error is not None
    assert kept.error["code"] == "SOPHIA-J420" and kept.next_at is not None
    await desk.due("train-start")
    await desk.kept(desk.calendar())
    kept = await desk.shown("train-start")
    assert (kept.outcome, kept.error) == ("done", None)


async def test_what_a_dead_worker_began_is_shown_as_cut_off(desk: Desk) -> None:
    async def hangs(operation: str, request: Mapping[str, Any], actor: str) -> BaseModel:
        await asyncio.Event().wait()
        raise AssertionError

    await desk.add()
    await desk.due("prepare-run")
    dying = desk.calendar("w:dying:1", hangs)
    await desk.store.jobs.beat(Claimer("w:dying:1", "w"), 1)
    assert await dying.round(desk.store)
    await desk.kept(desk.calendar("w:2:1"))
    assert (await desk.shown("prepare-run")).outcome == "running"
    await dying.close()
    await desk.store.jobs.forget_worker("w:dying:1")
    await desk.kept(desk.calendar("w:3:1"))
    kept = await desk.shown("prepare-run")
    assert kept.outcome == "failed" and kept.error is not None
    assert kept.error["code"] == "SOPHIA-J593"


async def test_it_runs_through_the_services_as_its_maker_and_is_audited(
    store: Store, store_url: str, settings: Settings, paths: Paths
) -> None:
    """The real house: the maker's role of today counts, and the audit names them."""
    environment = {
        "SOPHIA_STORE_URL": store_url,
        "SOPHIA_DATA_DIR": str(paths.data),
        "SOPHIA_ROLES": "maria=operator,*=viewer",
    }
    house = House(environment)
    try:
        with pytest.raises(NotFoundError):
            await house.perform("train.start", {"base": "org/model"}, "maria")
        with pytest.raises(RefusedError) as refused:
            await house.perform("train.start", {}, "who-lost-the-right")
        assert refused.value.code == "SOPHIA-R403"
        with pytest.raises(RefusedError) as over_http:
            await house.perform("train.start", {}, "api:admin")
        assert over_http.value.code == "SOPHIA-R451"
        entries = [
            (each.actor, each.face, each.operation, each.outcome)
            for each in await store.audit.page()
        ]
        assert entries[::-1] == [
            ("maria", "worker", "train.start", "failed"),
            ("who-lost-the-right", "worker", "train.start", "refused"),
            ("api:admin", "api", "train.start", "refused"),
        ]
    finally:
        await house.close()
