"""Jobs in the own store: the queue, the events, the versions, the wake-up."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from sophia_tui.domain.jobs import Claimer, Job, JobEvent, JobKind, JobState, RunIdentity
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, InternalError, NotFoundError
from sophia_tui.store.connection import Database
from sophia_tui.store.own_jobs import PostgresJobs

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def job(number: int = 1, **changes) -> Job:
    made = Job(
        id=f"ftjob-{number}",
        kind=JobKind.TRAIN,
        state=JobState.QUEUED,
        base="base",
        dataset="sample@0123456789ab",
        request={"rank": 16, "text": "ação\0\ud800"},
        created_by="ana",
        created_at=NOW,
        files=("/data/a.jsonl",),
    )
    return replace(made, **changes)


def events(job_id: str, *numbers: int) -> list[JobEvent]:
    return [JobEvent(job_id, number, NOW, "metric", {"loss": 1.5}) for number in numbers]


async def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    identity = RunIdentity("host", "boot", 4242, 987654321)
    made = job(
        request={"rank": 16},
        identity=identity,
        started_at=NOW,
        error={"code": "X"},
        result={"loss": 1.0},
        model_id="sophia-v1",
        loss=0.5,
        total_steps=60,
    )
    await store.jobs.add(made)
    assert await store.jobs.get("ftjob-1") == replace(made, queue="training")


async def test_text_that_postgres_refuses_is_made_storable(store: Store) -> None:
    await store.jobs.add(job(result={"loss": float("nan")}))
    found = await store.jobs.get("ftjob-1")
    assert found.request["text"] == "ação\ufffd?"
    assert found.result == {"loss": "NaN"}


async def test_a_provider_s_own_id_finds_the_job(store: Store) -> None:
    await store.jobs.add(job(provider="openai", provider_job_id="ftjob-theirs"))
    assert (await store.jobs.get("ftjob-theirs")).id == "ftjob-1"


async def test_page_is_newest_first_and_filtered_by_state_and_kind(store: Store) -> None:
    await store.jobs.add(job(1))
    await store.jobs.add(job(2, state=JobState.DRAFT))
    await store.jobs.add(job(3, kind=JobKind.EVALUATE))
    assert [each.id for each in await store.jobs.page()] == ["ftjob-3", "ftjob-2", "ftjob-1"]
    assert [each.id for each in await store.jobs.page(states=["draft"])] == ["ftjob-2"]
    assert [each.id for each in await store.jobs.page(kinds=["evaluate"])] == ["ftjob-3"]
    assert [each.id for each in await store.jobs.page(limit=1, offset=1)] == ["ftjob-2"]
    assert await store.jobs.counts() == {"draft": 1, "queued": 2}


async def test_two_workers_never_claim_the_same_job(store: Store, store_url: str) -> None:
    for number in range(20):
        await store.jobs.add(job(number))

    async def url() -> str:
        return store_url

    other = Database(url)
    second = PostgresJobs(other)

    async def work(jobs, name: str) -> list[str]:
        taken = []
        while claimed := await jobs.claim(Claimer(name, "host")):
            taken.append(claimed.id)
        return taken

    both = await asyncio.gather(
        *(work(jobs, f"{jobs}-{n}") for jobs in (store.jobs, second) for n in range(3))
    )
    await other.close()
    taken = [each for one in both for each in one]
    assert len(taken) == len(set(taken)) == 20


async def test_claim_takes_the_oldest_and_makes_it_adoptable_for_that_host(store: Store) -> None:
    await store.jobs.add(job(1))
    await store.jobs.add(job(2))
    claimed = await store.jobs.claim(Claimer("worker", "here"))
    assert (claimed.id, claimed.state, claimed.worker_id) == ("ftjob-1", "validating", "worker")
    assert [each.id for each in await store.jobs.adoptable("here")] == ["ftjob-1"]
    assert await store.jobs.adoptable("elsewhere") == []


async def test_a_provider_s_unknown_word_is_treated_as_running(store: Store) -> None:
    identity = RunIdentity("here", "boot", 1, 2)
    await store.jobs.add(job(1, state="warming_gpus", identity=identity))
    assert [each.id for each in await store.jobs.adoptable("here")] == ["ftjob-1"]


async def test_the_second_of_two_persons_is_told_who_was_faster(store: Store) -> None:
    await store.jobs.add(job())
    await store.jobs.update("ftjob-1", version=1, dataset="other@0123456789ab")
    with pytest.raises(ConflictError) as caught:
        await store.jobs.update("ftjob-1", version=1, dataset="third@0123456789ab")
    assert caught.value.code == "SOPHIA-J409"


async def test_progress_moves_no_version(store: Store) -> None:
    await store.jobs.add(job())
    changed = await store.jobs.update("ftjob-1", step=3, loss=0.7, heartbeat_at=NOW)
    assert (changed.step, changed.version) == (3, 1)
    changed = await store.jobs.update("ftjob-1", state=JobState.RUNNING)
    assert changed.version == 2


async def test_identity_is_set_and_forgotten(store: Store) -> None:
    await store.jobs.add(job())
    identity = RunIdentity("host", "boot", 1, 2)
    assert (await store.jobs.update("ftjob-1", identity=identity)).identity == identity
    assert (await store.jobs.update("ftjob-1", identity=None)).identity is None


async def test_unknown_job_and_unknown_column_are_named(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.jobs.update("ftjob-9", step=1)
    with pytest.raises(InternalError):
        await store.jobs.update("ftjob-9", nonsense=1)


async def test_a_wish_is_noted_unless_the_job_has_ended(store: Store) -> None:
    await store.jobs.add(job())
    assert (await store.jobs.request("ftjob-1", "cancel")).wanted == "cancel"
    await store.jobs.update("ftjob-1", state=JobState.CANCELLED, wanted=None)
    with pytest.raises(ConflictError) as caught:
        await store.jobs.request("ftjob-1", "pause")
    assert caught.value.code == "SOPHIA-J410"
    with pytest.raises(NotFoundError):
        await store.jobs.request("ftjob-9", "pause")


async def test_events_are_copied_once_and_move_the_job_along(store: Store) -> None:
    await store.jobs.add(job())
    assert await store.jobs.append_events("ftjob-1", events("ftjob-1", 1, 2, 3), 300) == 3
    assert await store.jobs.append_events("ftjob-1", events("ftjob-1", 2, 3, 4), 400) == 1
    assert await store.jobs.append_events("ftjob-1", events("ftjob-1", 1, 2), 200) == 0
    found = await store.jobs.events("ftjob-1")
    assert [each.number for each in found] == [1, 2, 3, 4]
    assert found[0] == events("ftjob-1", 1)[0]
    assert [e.number for e in await store.jobs.events("ftjob-1", after=1, limit=2)] == [2, 3]
    current = await store.jobs.get("ftjob-1")
    assert (current.last_event, current.event_offset) == (4, 400)


@pytest.mark.parametrize("numbers", [(2,), (1, 3), (2, 1), (1, 1), (0, 1)])
async def test_events_with_a_gap_or_out_of_order_are_refused_whole(
    store: Store, numbers: tuple[int, ...]
) -> None:
    await store.jobs.add(job())
    with pytest.raises(InternalError) as caught:
        await store.jobs.append_events("ftjob-1", events("ftjob-1", *numbers), 100)
    assert caught.value.code == "SOPHIA-S090"
    assert await store.jobs.events("ftjob-1") == []
    assert (await store.jobs.get("ftjob-1")).event_offset == 0


async def test_two_copiers_at_once_leave_no_gap_and_no_repeat(store: Store) -> None:
    await store.jobs.add(job())
    batches = [events("ftjob-1", *range(1, last + 1)) for last in range(1, 21)]
    added = await asyncio.gather(
        *(store.jobs.append_events("ftjob-1", each, len(each)) for each in batches)
    )
    assert sum(added) == 20
    found = await store.jobs.events("ftjob-1")
    assert [each.number for each in found] == list(range(1, 21))


async def test_living_workers_are_those_that_were_seen(store: Store) -> None:
    await store.jobs.beat(Claimer("worker", "host"), 1)
    await store.jobs.beat(Claimer("worker", "host"), 2)
    living = await store.jobs.living_workers(60)
    assert [(each["id"], each["pid"]) for each in living] == [("worker", 2)]
    assert await store.jobs.living_workers(0) == []
    await store.jobs.forget_worker("worker")
    assert await store.jobs.living_workers(60) == []


async def test_queueing_wakes_a_waiting_worker(store: Store) -> None:
    assert await store.jobs.wait_for_wakeup(0.05) is False
    waiting = asyncio.create_task(store.jobs.wait_for_wakeup(60))
    await asyncio.sleep(0.05)
    await store.jobs.add(job())
    assert await asyncio.wait_for(waiting, 30) is True


async def test_waiting_outlives_a_lost_connection(store: Store, store_url: str) -> None:
    await store.jobs.wait_for_wakeup(0.05)
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await store.jobs.wait_for_wakeup(0.05) is False
    waiting = asyncio.create_task(store.jobs.wait_for_wakeup(60))
    await asyncio.sleep(0.05)
    await store.jobs.add(job())
    assert await asyncio.wait_for(waiting, 30) is True
