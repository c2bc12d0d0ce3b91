"""The queue as people see and change it: order, reasons, starting times, capabilities."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Claimer, Job, JobKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, NotFoundError, UsageError
from sophia_tui.services.queue import MoveRequest, QueueService, QueueView
from sophia_tui.services.views import Page
from sophia_tui.services.waiting import reason, told
from sophia_tui.settings import Settings
from tests.integration.worker_house import SystemClock, new_job

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)
WORKER = Claimer("here:1:a", "here", "/data", ("training", "evaluation"), 1)


class Desk:
    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.service = QueueService(store, settings, SystemClock(), self._wake)

    async def _wake(self) -> None: ...

    async def add(self, number: int, **more: Any) -> list[str]:
        made = [new_job(**more) for _each in range(number)]
        for job in made:
            await self.store.jobs.add(job)
        return [job.id for job in made]

    async def seen(self, **page: Any) -> QueueView:
        return await self.service.queue(CONTEXT, Page(**page))

    async def order(self) -> list[str]:
        return [each.id for each in (await self.seen()).items]

    async def move(self, job: str, **where: Any) -> int:
        return (await self.service.move(CONTEXT, MoveRequest(job=job, **where))).position


@pytest.fixture
def desk(store: Store, settings: Settings) -> Desk:
    return Desk(store, settings)


async def test_a_job_is_moved_to_any_place_and_is_claimed_there(desk: Desk) -> None:
    a, b, c, d = await desk.add(4)
    assert await desk.order() == [a, b, c, d]
    assert await desk.move(d, to="first") == 1
    assert await desk.order() == [d, a, b, c]
    assert await desk.move(a, to="last") == 4
    assert await desk.move(c, to="up") == 2
    assert await desk.order() == [d, c, b, a]
    assert await desk.move(d, to="down") == 2
    assert await desk.move(a, before=c) == 1
    assert await desk.move(c, after=b) == 4
    assert await desk.order() == [a, d, b, c]
    assert await desk.move(c, position=2) == 2
    assert await desk.move(a, position=99) == 4
    assert await desk.order() == [c, d, b, a]
    claimed = [await desk.store.jobs.claim(replace(WORKER, slots=9)) for _each in range(4)]
    assert [job.id for job in claimed if job] == [c, d, b, a]


async def test_a_job_that_is_first_already_stays(desk: Desk) -> None:
    a, b = await desk.add(2)
    assert await desk.move(a, to="up") == 1
    assert await desk.move(b, to="down") == 2
    assert await desk.order() == [a, b]


async def test_only_what_waits_is_moved_and_to_one_place(desk: Desk) -> None:
    (a,) = await desk.add(1)
    (done,) = await desk.add(1, state="succeeded")
    for wrong in ({}, {"to": "first", "position": 2}):
        with pytest.raises(UsageError) as refused:
            await desk.move(a, **wrong)
        assert refused.value.code == "SOPHIA-J599"
    for job, where in (("nothing", {"to": "last"}), (a, {"after": "nothing"})):
        with pytest.raises(NotFoundError) as unknown:
            await desk.move(job, **where)
        assert unknown.value.code == "SOPHIA-J404"
    for job, where in ((done, {"to": "first"}), (a, {"before": done})):
        with pytest.raises(ConflictError) as conflict:
            await desk.move(job, **where)
        assert conflict.value.code == "SOPHIA-J589"


async def test_moves_at_the_same_time_lose_no_job(desk: Desk) -> None:
    jobs = await desk.add(12)
    moves = [desk.move(job, position=number) for number, job in enumerate(reversed(jobs), 1)]
    claims = [desk.store.jobs.claim(replace(WORKER, slots=99)) for _each in range(4)]
    done = await asyncio.gather(*moves, *claims, return_exceptions=True)
    assert all(not isinstance(each, Exception) or isinstance(each, ConflictError) for each in done)
    claimed = [each.id for each in done if isinstance(each, Job)]
    assert sorted(claimed + await desk.order()) == sorted(jobs)


async def test_the_queue_says_why_each_job_waits(desk: Desk) -> None:
    await desk.add(1, queue="own-name")
    assert (await desk.seen()).items[0].waiting["code"] == "SOPHIA-J584"  # type: ignore[index]
    await desk.store.jobs.beat(WORKER, 1)
    await desk.add(1)
    await desk.add(1, not_before=datetime.now(UTC) + timedelta(hours=1))
    await desk.add(1, run_folder="/data/runs/x", folder="/elsewhere")
    seen = await desk.seen()
    assert [each.waiting["code"] for each in seen.items if each.waiting] == [
        "SOPHIA-J584",
        "SOPHIA-J583",
        "SOPHIA-J586",
        "SOPHIA-J588",
    ]
    assert [each.id for each in seen.workers] == [WORKER.worker_id] and seen.queued == 4
    until = "2026-11-25T12:00:00-03:00"
    await desk.store.jobs.beat(WORKER, 1, reason("SOPHIA-J580", until=until))
    quiet = (await desk.seen()).items[1]
    assert quiet.waiting is not None and "12:00" in quiet.waiting["why"]
    assert quiet.waits_for == "quiet hours"
    await desk.store.jobs.beat(replace(WORKER, worker_id="other", host="there"), 1)
    assert (await desk.seen()).items[1].waiting["code"] == "SOPHIA-J583"  # type: ignore[index]


async def test_starting_times_are_told_as_far_as_they_are_known(desk: Desk) -> None:
    now = datetime.now(UTC)
    await desk.store.jobs.beat(WORKER, 1)
    await desk.add(1, state="succeeded", started_at=now - timedelta(hours=2), finished_at=now)
    await desk.add(1, state="running", seconds_left=600.0, slot=0)
    await desk.add(2)
    strange = replace(new_job(), base="never-trained")
    await desk.store.jobs.add(strange)
    await desk.add(1)
    starts = [each.starts_at for each in (await desk.seen()).items]
    assert [each is not None for each in starts] == [True, True, True, False]
    waits = [round((each - now).total_seconds(), -2) for each in starts if each]
    assert waits == [600, 7800, 15000]


async def test_a_job_is_claimed_only_by_a_worker_that_serves_its_queue(desk: Desk) -> None:
    (gpu,) = await desk.add(1, queue="gpu")
    evaluation = replace(new_job(), kind=JobKind.EVALUATE)
    await desk.store.jobs.add(evaluation)
    only = replace(WORKER, queues=("evaluation",), slots=5)
    assert (await desk.store.jobs.claim(only)).id == evaluation.id  # type: ignore[union-attr]
    assert await desk.store.jobs.claim(only) is None
    able = replace(WORKER, queues=("gpu",), slots=5, host="there")
    assert (await desk.store.jobs.claim(able)).id == gpu  # type: ignore[union-attr]


async def test_slots_are_shared_by_the_workers_of_a_machine(desk: Desk) -> None:
    await desk.add(20)
    workers = [
        replace(WORKER, worker_id=f"here:{n}:x", folder=f"/data{n}", slots=3) for n in range(6)
    ]
    claims = [desk.store.jobs.claim(each) for each in workers for _twice in range(2)]
    found = [job for job in await asyncio.gather(*claims) if job]
    assert sorted(job.slot for job in found if job.slot is not None) == [0, 1, 2]
    elsewhere = await desk.store.jobs.claim(replace(WORKER, host="there", slots=1))
    assert elsewhere is not None and elsewhere.slot == 0
    freed = found[1]
    await desk.store.jobs.update(freed.id, state="succeeded")
    again = await desk.store.jobs.claim(workers[5])
    assert again is not None and again.slot == freed.slot
    gone = replace(workers[0], gone=(found[0].id,))
    dead = await desk.store.jobs.claim(gone)
    assert dead is not None and dead.slot == found[0].slot


async def test_what_was_begun_goes_on_in_its_folder_alone(desk: Desk, tmp_path: Path) -> None:
    (begun,) = await desk.add(1, run_folder=str(tmp_path))
    job = await desk.store.jobs.get(begun)
    assert job is not None
    await desk.store.jobs.take_over(job, WORKER)
    other = replace(WORKER, folder="/other", slots=9)
    assert await desk.store.jobs.claim(other) is None
    assert (await desk.store.jobs.claim(WORKER)) is not None


def test_a_reason_is_told_in_the_language_of_its_reader() -> None:
    from sophia_tui.i18n import set_language

    kept = reason("SOPHIA-J581", free=12, floor=1024, folder="/data")
    assert kept["code"] == "SOPHIA-J581" and "12 MB" in kept["why"]
    set_language("pt_BR")
    try:
        found = told(kept)
        assert found is not None and "12 MB estão livres" in found["why"]
    finally:
        set_language("en")
