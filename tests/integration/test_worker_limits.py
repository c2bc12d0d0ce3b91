"""Several runs at once, and what stops them: quiet hours, floors, memory, silence, lost workers."""

import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.jobs import Claimer, Job
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.providers import resources, run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.jobs import ResumeRequest
from sophia_tui.services.views import JobReference
from sophia_tui.settings import Settings
from sophia_tui.worker import guard
from tests.integration.test_worker_jobs import CONTEXT, Bench
from tests.integration.worker_house import new_job


@pytest.fixture
async def bench(store: Store, settings: Settings, paths: Paths) -> AsyncIterator[Bench]:
    bench = Bench(store, settings, paths)
    yield bench
    for job in await store.jobs.page():
        living = run_folder.living_identity(job, ThisMachine.here())
        if living is not None:
            bench.launcher.signal(living, signal.SIGKILL)


def chosen(bench: Bench, **settings: Any) -> None:
    """The worker's settings from now on."""
    bench.reconciler.settings = bench.reconciler.settings.model_copy(update=settings)


async def of_state(bench: Bench, state: str) -> list[Job]:
    return await bench.store.jobs.page(states=[state])


async def test_as_many_runs_as_slots_each_with_its_own_gpus(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[str, ...]] = []
    launch = bench.launcher.launch

    async def noted(verb: str, folder: str, gpus: Any = (), memory_bytes: Any = None) -> Any:
        launched.append(tuple(gpus))
        return await launch(verb, folder, gpus, memory_bytes)

    monkeypatch.setattr(bench.launcher, "launch", noted)
    bench.reconciler._starter.gpus = ("0", "1", "2")
    jobs = [await bench.add(steps=200, pace=0.05) for _each in range(5)]
    await bench.until(jobs[2].id, lambda job: job.identity is not None)
    assert sorted(launched) == [("0",), ("1",), ("2",)]
    assert len(await of_state(bench, "queued")) == 2
    await bench.jobs.cancel(CONTEXT, JobReference(job=jobs[1].id))
    await bench.until(jobs[3].id, lambda job: job.identity is not None)
    assert launched[3] == ("1",)
    chosen(bench, training_slots="1")
    assert bench.reconciler.slots == 1


async def test_in_quiet_hours_a_training_pauses_and_goes_on_by_itself(bench: Bench) -> None:
    job = await bench.add(steps=60)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    other = await bench.add(steps=2)
    always = "00:00-12:00,12:00-24:00"
    chosen(bench, quiet_hours=always)
    paused = await bench.rounds_until(job.id, "paused")
    assert paused.waiting is not None and paused.waiting["code"] == "SOPHIA-J580"
    events = await bench.store.jobs.events(job.id)
    reason = next(each.data["reason"] for each in events if each.data.get("state") == "paused")
    assert "quiet hours" in reason and "SOPHIA_QUIET_HOURS" in reason
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "paused"
    assert (await bench.job(other.id)).state == "queued"
    chosen(bench, quiet_hours="")
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert (done.state, done.waiting, done.resumes - done.resumes_forgiven) == (
        "succeeded",
        None,
        0,
    )


async def test_a_person_lets_a_training_go_on_in_quiet_hours(bench: Bench) -> None:
    chosen(bench, quiet_hours="00:00-12:00,12:00-24:00")
    job = await bench.add(steps=3)
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "queued"
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "queued"
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id, now=True))
    assert (await bench.rounds_until(job.id, "succeeded", "failed")).state == "succeeded"


async def test_what_a_person_pauses_stays_so(bench: Bench) -> None:
    job = await bench.add(steps=500)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    chosen(bench, quiet_hours="00:00-12:00,12:00-24:00")
    await bench.rounds_until(job.id, "paused")
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    chosen(bench, quiet_hours="")
    for _each in range(3):
        await bench.reconciler.round(bench.store)
    kept = await bench.job(job.id)
    assert (kept.state, kept.waiting) == ("paused", None)


async def test_below_a_floor_nothing_starts_and_trainings_pause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 5000 << 20
    monkeypatch.setattr(resources, "free_disk", lambda folder: free)
    job = await bench.add(steps=60)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    free = 1000 << 20
    paused = await bench.rounds_until(job.id, "paused")
    assert paused.waiting is not None and paused.waiting["code"] == "SOPHIA-J581"
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id, now=True))  # a floor is a floor
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "queued"
    free = 1100 << 20  # above it, but not by a quarter
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "queued"
    free = 2000 << 20
    assert (await bench.rounds_until(job.id, "succeeded", "failed")).state == "succeeded"


async def test_a_cancelled_job_waits_for_nothing_and_says_who_stopped_it(bench: Bench) -> None:
    job = await bench.add(steps=60)
    await bench.until(job.id, lambda job: (job.step or 0) >= 1)
    chosen(bench, quiet_hours="00:00-12:00,12:00-24:00")
    await bench.rounds_until(job.id, "paused")
    ended = await bench.jobs.cancel(CONTEXT, JobReference(job=job.id))
    assert (ended.status, ended.waiting) == ("cancelled", None)
    await bench.jobs.cancel(CONTEXT, JobReference(job=job.id))
    told = [each.data for each in await bench.store.jobs.events(job.id) if each.kind == "state"]
    assert told[-1] == {"state": "cancelled", "reason": f"asked by {CONTEXT.actor}"}
    assert [each["state"] for each in told].count("cancelled") == 1


async def test_a_run_that_dies_before_its_first_checkpoint_begins_anew(
    bench: Bench,
) -> None:
    job = await bench.add("unsaved", steps=60)
    first = await bench.until(job.id, lambda job: (job.step or 0) >= 10)
    assert await bench.store.jobs.figures(job.id)
    await bench.kill_run(job.id)
    anew = await bench.until(
        job.id, lambda job: job.resumes == 1 and (job.step or 0) < (first.step or 0)
    )
    assert anew.state in ("validating", "running")
    events = await bench.store.jobs.events(job.id)
    died = next(each for each in events if each.data.get("reason") == "run_died")
    later = next(each for each in events if each.number > died.number and each.kind == "state")
    assert later.data["state"] == "starting" and later.number == died.number + 1
    assert "begins anew" in died.data["message"] and "killed" in died.data["message"]
    assert (await bench.rounds_until(job.id, "succeeded", "failed")).state == "succeeded"
    await bench.assert_events_are_whole(job.id)


async def test_where_memory_is_short_one_run_after_the_other_gives_way_and_rests(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1 << 40
    monkeypatch.setattr(resources, "available_memory", lambda: free)
    chosen(bench, training_slots="2")
    older, newer = await bench.add(steps=500), await bench.add(steps=500)
    await bench.until(newer.id, lambda job: (job.step or 0) >= 1)
    free = 1 << 20
    rests = await bench.rounds_until(newer.id, "paused")
    assert (await bench.job(older.id)).state == "running"
    free = 1 << 40
    await bench.reconciler.round(bench.store)
    assert (await bench.job(newer.id)).state == "paused"  # it may be the one that took it
    assert rests.not_before is not None and rests.not_before > datetime.now(UTC)
    await bench.store.jobs.update(newer.id, not_before=datetime.now(UTC) - timedelta(seconds=1))
    await bench.rounds_until(newer.id, "running")


async def test_a_run_that_takes_too_much_memory_ends_with_the_remedy(bench: Bench) -> None:
    job = await bench.add(steps=500)
    await bench.until(job.id, lambda job: (job.step or 0) >= 1)
    chosen(bench, training_memory_limit="1M")
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.error is not None and failed.error["code"] == "SOPHIA-J587"
    assert "SOPHIA_TRAINING_MEMORY_LIMIT" in failed.error["why"] and failed.error["remedy"]
    chosen(bench, training_memory_limit="off")
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    await bench.until(
        job.id, lambda job: job.state == "running" and (job.step or 0) > (failed.step or 0)
    )


async def test_a_run_that_stands_still_is_noticed_marked_and_goes_on_to_its_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, its process lives and its heartbeat does not."""
    assert bench.settings.stalled_seconds < 30  # the default is kept by time, not by a test's wait
    chosen(bench, stalled_seconds=2, maximum_resumes=1)
    job = await bench.add(steps=100_000)
    running = await bench.until(job.id, lambda job: (job.step or 0) >= 3)
    states: list[str] = []
    update = bench.store.jobs.update

    async def noted(job_id: str, version: int | None = None, **changes: Any) -> Job:
        states.append(str(changes.get("state", "")))
        return await update(job_id, version, **changes)

    monkeypatch.setattr(bench.store.jobs, "update", noted)
    assert running.identity and bench.launcher.signal(running.identity, signal.SIGSTOP)
    again = await bench.until(job.id, lambda job: job.resumes == 1 and job.state == "running")
    assert "interrupted" in states and again.identity != running.identity
    assert not bench.launcher.alive(running.identity)
    on = await bench.until(job.id, lambda job: (job.step or 0) > (running.step or 0))
    assert on.identity and bench.launcher.signal(on.identity, signal.SIGSTOP)
    failed = await bench.rounds_until(job.id, "failed")
    assert failed.error is not None and failed.error["code"] == "SOPHIA-J505"
    assert "jobs resume" in failed.error["remedy"]


async def test_a_job_whose_files_are_elsewhere_is_left_to_who_has_them(
    bench: Bench, tmp_path: Path
) -> None:
    made = new_job(steps=2)
    made.request["run"]["dataset_path"] = str(tmp_path / "of-another-machine")
    await bench.store.jobs.add(made)
    other = await bench.add(steps=2)
    assert (await bench.rounds_until(other.id, "succeeded", "failed")).state == "succeeded"
    waits = await bench.job(made.id)
    assert waits.state == "queued" and waits.waiting is not None
    assert waits.waiting["code"] == "SOPHIA-J585" and str(tmp_path) in waits.waiting["why"]
    (tmp_path / "of-another-machine").mkdir()
    bench.reconciler._out_of_reach.clear()
    assert (await bench.rounds_until(made.id, "succeeded", "failed")).state == "succeeded"


async def test_jobs_of_a_folder_without_a_worker_are_taken_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its run lives on, and later is cut off: both go on under the worker of another folder."""
    monkeypatch.setattr(guard, "_RIPE_SECONDS", 0.1)
    monkeypatch.setattr(guard, "_LOOK_SECONDS", 0.0)
    job = await bench.add(steps=400)
    running = await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    owner = Claimer(bench.worker_id, bench.machine.host, str(bench.paths.data))
    await bench.store.jobs.beat(owner, 1)
    bench.paths = Paths(tmp_path / "other")
    bench.become("of-another-folder")
    for _each in range(5):
        await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).folder == owner.folder  # its worker lives
    await bench.store.jobs.forget_worker(owner.worker_id)
    taken = await bench.until(job.id, lambda job: job.folder == str(bench.paths.data))
    assert taken.identity == running.identity and taken.run_folder == running.run_folder
    await bench.kill_run(job.id)
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert (done.state, done.resumes) == ("succeeded", 1)
    await bench.assert_events_are_whole(job.id)


async def test_a_folder_out_of_reach_is_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(guard, "_RIPE_SECONDS", 0.0)
    monkeypatch.setattr(guard, "_LOOK_SECONDS", 0.0)
    elsewhere = replace(
        new_job(state="interrupted"), run_folder=str(tmp_path / "not-mounted"), folder="/theirs"
    )
    await bench.store.jobs.add(elsewhere)
    job = await bench.job(elsewhere.id)
    await bench.store.jobs.take_over(job, Claimer("there:1:1", "there", "/theirs"))
    for _each in range(5):
        await bench.reconciler.round(bench.store)
    assert (await bench.job(elsewhere.id)).folder == "/theirs"
