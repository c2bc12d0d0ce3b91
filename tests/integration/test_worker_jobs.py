"""What the worker does with a job: start it, watch it, end it, stop it, take it up again."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Claimer, Job, JobState
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, InternalError, NotFoundError
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.jobs import (
    EventsRequest,
    JobsPage,
    JobsService,
    LogRequest,
    ResumeRequest,
    WatchRequest,
)
from sophia_tui.services.views import JobReference
from sophia_tui.settings import Settings
from sophia_tui.worker.reconcile import Reconciler
from tests.integration.worker_house import SmallHouse, SystemClock, new_job

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.ADMIN, confirmed=True)


class Bench:
    """One worker's reconciler, driven round by round, and the service beside it."""

    def __init__(self, store: Store, settings: Settings, paths: Paths) -> None:
        self.store = store
        self.settings = settings
        self.paths = paths
        self.woken = 0
        self.become("worker-1")
        self.jobs = JobsService(store, settings, paths, SystemClock(), self._wake)

    async def _wake(self) -> None:
        self.woken += 1

    def become(self, name: str, machine: ThisMachine | None = None) -> Reconciler:
        """Another worker process with no memory, maybe after a reboot."""
        self.house = SmallHouse(self.settings, self.paths, machine)
        self.machine = self.house.machine
        self.launcher = self.house.launcher()
        self.worker_id = f"{self.machine.host}:{name}"
        self.reconciler = Reconciler(
            self.worker_id, self.machine, self.launcher, self.paths, self.settings, SystemClock()
        )
        return self.reconciler

    async def job(self, job_id: str) -> Job:
        found = await self.store.jobs.get(job_id)
        assert found is not None
        return found

    async def rounds_until(self, job_id: str, *wanted: str) -> Job:
        return await self.until(job_id, lambda job: job.state in wanted)

    async def until(self, job_id: str, true: Callable[[Job], bool]) -> Job:
        for _each in range(600):
            await self.reconciler.round(self.store)
            job = await self.job(job_id)
            if true(job):
                return job
            await asyncio.sleep(0.02)
        raise AssertionError(f"the job stays {job.state}: {job.error}")

    async def add(self, *arguments: object, **more: object) -> Job:
        job = new_job(*arguments, **more)  # type: ignore[arg-type]
        await self.store.jobs.add(job)
        return job

    async def kill_run(self, job_id: str, number: int = signal.SIGKILL) -> None:
        identity = (await self.job(job_id)).identity
        assert identity is not None and self.launcher.signal(identity, number)
        while self.launcher.alive(identity):
            await asyncio.sleep(0.01)

    async def assert_events_are_whole(self, job_id: str) -> list[schema.RunEvent]:
        """The store's events have no gap and no repeat, and equal the file's."""
        job = await self.job(job_id)
        stored = await self.store.jobs.events(job_id, limit=5000)
        assert [each.number for each in stored] == list(range(1, len(stored) + 1))
        written = run_folder.all_events(job.run_folder or "")
        assert [(e.number, e.at, e.kind, e.data) for e in stored] == [
            (e.number, e.at, e.kind, e.data) for e in written
        ]
        assert job.last_event == len(stored)
        return written


@pytest.fixture
async def bench(store: Store, settings: Settings, paths: Paths) -> AsyncIterator[Bench]:
    bench = Bench(store, settings, paths)
    yield bench
    for job in await store.jobs.page():
        living = run_folder.living_identity(job, ThisMachine.here())
        if living is not None:
            ThisMachine.here().signal(living, signal.SIGKILL)


async def test_a_training_that_succeeds_becomes_a_model_and_a_line_in_the_history(
    bench: Bench, tmp_path: Path
) -> None:
    history = tmp_path / "new" / "history.jsonl"
    job = await bench.add(request={"history_file": str(history)}, files=("a.jsonl",))
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert done.state == "succeeded" and done.error is None
    assert (done.step, done.total_steps, done.loss, done.seconds_left) == (4, 4, 0.25, None)
    assert done.result is not None and done.result["steps"] == 4
    assert done.result["perplexity"] == pytest.approx(1.6487, abs=1e-4)
    model = await bench.store.models.get(done.resulting_model or "")
    assert model is not None
    assert (model.job_id, model.dataset, model.base) == (job.id, job.dataset, job.base)
    assert model.path is not None and (Path(model.path) / "adapter_config.json").is_file()
    line = json.loads(history.read_text())
    assert line["kind"] == "job" and line["id"] == job.id and line["files"] == ["a.jsonl"]
    assert line["resulting_model"] == model.id
    await bench.assert_events_are_whole(job.id)
    assert (Path(done.run_folder or "").stat().st_mode & 0o777) == 0o700


async def test_a_worker_that_dies_while_it_ends_a_job_leaves_nothing_twice(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = tmp_path / "history.jsonl"
    job = await bench.add(steps=2, request={"history_file": str(history)})
    real = bench.store.jobs.update

    async def dies(job_id: str, version: int | None = None, **changes: object) -> Job:
        if changes.get("state") == "succeeded":
            raise KeyboardInterrupt  # as if killed right before the last write
        return await real(job_id, version, **changes)

    monkeypatch.setattr(bench.store.jobs, "update", dies)
    with pytest.raises(KeyboardInterrupt):
        await bench.rounds_until(job.id, "succeeded")
    monkeypatch.setattr(bench.store.jobs, "update", real)
    bench.become("worker-2")
    await bench.rounds_until(job.id, "succeeded")
    assert len(await bench.store.models.page()) == 1
    assert len(history.read_text().splitlines()) == 1


async def test_a_run_that_fails_says_why(bench: Bench) -> None:
    job = await bench.add("fail")
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.error is not None
    assert failed.error["code"] == "FINETUNE-404"
    assert failed.error["what"] == "The training diverged."
    assert failed.error["remedy"] == "Lower the rate."
    await bench.assert_events_are_whole(job.id)


async def test_a_killed_run_goes_on_from_its_last_good_checkpoint(bench: Bench) -> None:
    job = await bench.add(steps=30)
    await bench.until(job.id, lambda job: (job.step or 0) >= 3)
    await bench.kill_run(job.id)
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert (done.state, done.resumes) == ("succeeded", 1)
    events = await bench.assert_events_are_whole(job.id)
    resumed = [e.data["resumed_from_step"] for e in events if e.data.get("state") == "running"]
    assert len(resumed) == 2 and resumed[1] >= 3


async def test_a_run_that_a_shutdown_stopped_is_resumed_and_not_left_paused(bench: Bench) -> None:
    job = await bench.add(steps=30)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    await bench.kill_run(job.id, signal.SIGTERM)
    done = await bench.rounds_until(job.id, "succeeded", "paused", "failed")
    assert (done.state, done.resumes) == ("succeeded", 1)
    await bench.assert_events_are_whole(job.id)


async def test_a_run_that_vanishes_too_often_fails_with_a_way_out(bench: Bench) -> None:
    job = await bench.add("crash", steps=100, pace=0.001)
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.resumes == bench.settings.maximum_resumes
    assert failed.error is not None and failed.error["code"] == "SOPHIA-J505"
    assert f"sophia jobs log {job.id}" in failed.error["remedy"]
    await bench.assert_events_are_whole(job.id)


async def test_a_failed_job_that_a_person_resumes_has_all_its_own_resumes_again(
    bench: Bench,
) -> None:
    job = await bench.add("crash", steps=8, pace=0.001)
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.state == "failed" and failed.step == 4  # one step for each of four attempts
    view = await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    assert (view.status, view.resumes, view.error) == ("queued", 4, None)
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert (done.state, done.resumes) == ("succeeded", 7)
    await bench.assert_events_are_whole(job.id)


async def test_a_new_worker_adopts_what_runs(bench: Bench) -> None:
    job = await bench.add(steps=25)
    running = await bench.rounds_until(job.id, "running")
    await asyncio.sleep(0.1)  # the run tells more while no worker is there
    bench.become("worker-2")
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert (done.state, done.resumes) == ("succeeded", 0)
    assert done.started_at == running.started_at
    await bench.assert_events_are_whole(job.id)


async def test_a_run_that_ended_without_a_worker_is_finished_by_the_next(bench: Bench) -> None:
    job = await bench.add(steps=5)
    running = await bench.rounds_until(job.id, "running")
    assert running.identity is not None
    while bench.launcher.alive(running.identity):
        await asyncio.sleep(0.02)
    bench.become("worker-2")
    await bench.reconciler.round(bench.store)
    assert (await bench.job(job.id)).state == "succeeded"
    await bench.assert_events_are_whole(job.id)


async def test_a_run_whose_worker_died_before_it_could_note_the_process_is_found(
    bench: Bench,
) -> None:
    job = await bench.add(steps=40)
    running = await bench.until(job.id, lambda job: (job.step or 0) >= 1)
    await bench.store.jobs.update(job.id, identity=None, state=JobState.VALIDATING.value)
    bench.become("worker-2")
    await bench.reconciler.round(bench.store)
    found = await bench.job(job.id)
    assert found.identity == running.identity and found.state == "running"


async def test_after_a_reboot_a_job_is_shown_interrupted_and_then_resumed(bench: Bench) -> None:
    job = await bench.add(steps=40)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    await bench.kill_run(job.id)  # the reboot takes the process with it
    rebooted = replace(ThisMachine.here(), boot_id=lambda: "a-new-boot")
    eyes = JobsService(
        bench.store, bench.settings, bench.paths, SystemClock(), bench._wake, rebooted
    )
    await bench.store.jobs.beat(Claimer(bench.worker_id, rebooted.host), os.getpid())
    assert (await bench.job(job.id)).state == "running"  # the store has not heard of it
    assert (await eyes.show(CONTEXT, JobReference(job=job.id))).status == "interrupted"
    listed = await eyes.page(CONTEXT, JobsPage(state=JobState.INTERRUPTED))
    assert [each.id for each in listed.items] == [job.id]
    assert (await eyes.page(CONTEXT, JobsPage(state=JobState.RUNNING))).items == []
    bench.become("worker-after-reboot", rebooted)
    going_on = await bench.until(job.id, lambda job: job.resumes == 1)
    assert going_on.identity is not None and going_on.identity.boot_id == "a-new-boot"


async def test_without_process_and_without_worker_a_job_is_shown_interrupted(bench: Bench) -> None:
    job = await bench.add(steps=40)
    await bench.rounds_until(job.id, "running")
    reference = JobReference(job=job.id)
    assert (await bench.jobs.show(CONTEXT, reference)).status == "running"
    await bench.kill_run(job.id)
    assert (await bench.jobs.show(CONTEXT, reference)).status == "interrupted"
    await bench.store.jobs.beat(Claimer(bench.worker_id, bench.machine.host), os.getpid())
    assert (await bench.jobs.show(CONTEXT, reference)).status == "running"


@pytest.fixture
def embedded(bench: Bench) -> Bench:
    """The service as it is where nothing is set, with no service manager for the worker."""
    chosen = bench.settings.model_copy(update={"store_url": None})
    bench.jobs = JobsService(bench.store, chosen, bench.paths, SystemClock(), bench._wake)
    return bench


LOOKS = {
    "list": lambda bench, context, job: bench.jobs.page(context, JobsPage()),
    "show": lambda bench, context, job: bench.jobs.show(context, JobReference(job=job)),
    "events": lambda bench, context, job: bench.jobs.events(context, EventsRequest(job=job)),
}


@pytest.mark.parametrize("look", LOOKS)
async def test_who_looks_at_a_job_that_waits_brings_the_worker_back(
    embedded: Bench, look: str
) -> None:
    job = await embedded.add()
    await LOOKS[look](embedded, CONTEXT, job.id)
    await LOOKS[look](embedded, CONTEXT, job.id)  # a worker that dies at once is not started again
    assert embedded.woken == 1


@pytest.mark.parametrize(
    "context",
    [
        replace(CONTEXT, readonly=True),
        replace(CONTEXT, role=Role.VIEWER),
        replace(CONTEXT, face=Face.API),  # ALLOW_FINETUNE is not set
    ],
)
async def test_who_may_only_look_starts_nothing(embedded: Bench, context: Context) -> None:
    job = await embedded.add()
    for look in LOOKS.values():
        await look(embedded, context, job.id)
    assert embedded.woken == 0


async def test_looking_at_jobs_that_are_done_or_elsewhere_starts_nothing(embedded: Bench) -> None:
    await embedded.add(worker_id="another-machine:1:abc")
    await embedded.add(provider="openai", worker_id="another-machine:1:abc")
    ended = await embedded.add()
    await embedded.jobs.cancel(CONTEXT, JobReference(job=ended.id))
    await embedded.jobs.page(CONTEXT, JobsPage())
    assert embedded.woken == 0


@pytest.mark.parametrize("state", ["queued", "running", "warming_up"])
async def test_looking_at_a_hosted_job_starts_a_worker_whatever_its_state_is_called(
    embedded: Bench, state: str
) -> None:
    await embedded.add(provider="openai", state=state)
    await embedded.jobs.page(CONTEXT, JobsPage())
    assert embedded.woken == 1


async def test_looking_goes_on_where_no_worker_can_be_started(embedded: Bench) -> None:
    async def broken() -> None:
        raise FileNotFoundError("python")

    jobs = JobsService(
        embedded.store,
        embedded.settings.model_copy(update={"store_url": None}),
        embedded.paths,
        SystemClock(),
        broken,
    )
    job = await embedded.add()
    assert (await jobs.show(CONTEXT, JobReference(job=job.id))).status == "queued"


async def test_cancel_stops_a_run_for_good(bench: Bench, tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    job = await bench.add(steps=500, request={"history_file": str(history)})
    await bench.rounds_until(job.id, "running")
    await bench.jobs.cancel(CONTEXT, JobReference(job=job.id))
    done = await bench.rounds_until(job.id, "cancelled", "failed", "succeeded")
    assert done.state == "cancelled" and done.wanted is None and done.finished_at is not None
    assert json.loads(history.read_text())["kind"] == "job_cancelled"
    events = await bench.assert_events_are_whole(job.id)
    assert events[-1].data["state"] == "cancelled"
    with pytest.raises(ConflictError) as caught:
        await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    assert caught.value.code == "SOPHIA-J410"


async def test_a_queued_job_is_cancelled_without_a_worker(bench: Bench) -> None:
    job = await bench.add()
    view = await bench.jobs.cancel(CONTEXT, JobReference(job=job.id))
    assert view.status == "cancelled"
    assert not await bench.reconciler.round(bench.store)


async def test_pause_and_resume_keep_the_work_done(bench: Bench) -> None:
    job = await bench.add(steps=40)
    await bench.until(job.id, lambda job: (job.step or 0) >= 3)
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    paused = await bench.rounds_until(job.id, "paused", "succeeded", "failed")
    assert paused.state == "paused"
    for _each in range(3):  # it stays so
        assert not await bench.reconciler.round(bench.store)
    view = await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    assert view.status == "queued"
    done = await bench.rounds_until(job.id, "succeeded", "failed", "paused")
    assert (done.state, done.resumes) == ("succeeded", 1)
    events = await bench.assert_events_are_whole(job.id)
    resumed = [e.data["resumed_from_step"] for e in events if e.data.get("state") == "running"]
    assert resumed[1] >= 3


async def test_the_shown_resumes_are_never_forgotten(bench: Bench) -> None:
    job = await bench.add(steps=60)
    await bench.until(job.id, lambda job: (job.step or 0) >= 2)
    await bench.kill_run(job.id)
    await bench.until(job.id, lambda job: job.state == "running" and job.resumes == 1)
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    await bench.rounds_until(job.id, "paused")
    assert (await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))).resumes == 2


async def test_a_job_that_never_ran_is_not_counted_as_resumed(bench: Bench) -> None:
    job = await bench.add()
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    assert (await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))).resumes == 0


async def test_two_workers_claim_one_job_once(bench: Bench) -> None:
    job = await bench.add(steps=3)
    first, second = bench.reconciler, bench.become("worker-2")
    await asyncio.gather(first.round(bench.store), second.round(bench.store))
    await bench.rounds_until(job.id, "succeeded", "failed")
    events = await bench.assert_events_are_whole(job.id)
    assert [e.data["state"] for e in events if e.kind == "state"].count("starting") == 1


async def test_a_resumed_job_goes_on_where_its_run_folder_is(bench: Bench) -> None:
    job = await bench.add(steps=40)
    await bench.until(job.id, lambda job: (job.step or 0) >= 1)
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    await bench.rounds_until(job.id, "paused")
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    assert await bench.store.jobs.claim(Claimer("elsewhere:1", "another-host")) is None
    assert (await bench.rounds_until(job.id, "succeeded", "failed")).state == "succeeded"


async def test_what_the_store_can_not_be_told_does_not_keep_other_jobs_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect with one job is that job's trouble."""
    broken, other = await bench.add(steps=2), await bench.add(steps=2)
    real = bench.store.jobs.append_events

    async def fails(job_id: str, *rest: Any) -> int:
        if job_id == broken.id:
            raise InternalError("S099", "a defect")
        return await real(job_id, *rest)

    monkeypatch.setattr(bench.store.jobs, "append_events", fails)
    assert (await bench.rounds_until(other.id, "succeeded", "failed")).state == "succeeded"
    monkeypatch.setattr(bench.store.jobs, "append_events", real)
    assert (await bench.rounds_until(broken.id, "succeeded", "failed")).state == "succeeded"


async def test_one_run_at_a_time(bench: Bench) -> None:
    first = await bench.add(steps=15)
    second = await bench.add(steps=2)
    for _each in range(600):
        await bench.reconciler.round(bench.store)
        states = [(await bench.job(each.id)).state for each in (first, second)]
        if states[0] == "succeeded":
            break
        assert states[1] == "queued"
        await asyncio.sleep(0.02)
    assert (await bench.rounds_until(second.id, "succeeded", "failed")).state == "succeeded"


async def test_a_run_folder_that_is_gone_is_a_clear_failure(bench: Bench) -> None:
    job = await bench.add(steps=500)
    running = await bench.rounds_until(job.id, "running")
    await bench.kill_run(job.id)
    shutil.rmtree(running.run_folder or "")
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.error is not None and failed.error["code"] == "SOPHIA-J503"


async def test_a_run_folder_that_can_not_be_written_is_a_clear_failure(bench: Bench) -> None:
    bench.paths.data.mkdir(parents=True)
    bench.paths.runs.write_text("a file where the folder of runs should be")
    job = await bench.add()
    failed = await bench.rounds_until(job.id, "failed", "succeeded")
    assert failed.error is not None and failed.error["code"] == "SOPHIA-J504"


async def test_events_that_a_power_cut_took_from_the_file_are_written_back(bench: Bench) -> None:
    job = await bench.add(steps=40)
    running = await bench.until(job.id, lambda job: (job.step or 0) >= 4)
    await bench.kill_run(job.id)
    path = Path(running.run_folder or "") / schema.EVENTS_FILE
    whole = path.read_bytes()
    kept = whole[: whole.index(b"\n", len(whole) // 2) + 1]
    path.write_bytes(kept + b"\0" * 50)  # what the disk had not got, and what it makes of it
    assert running.last_event > kept.count(b"\n")
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert done.state == "succeeded"
    await bench.assert_events_are_whole(job.id)


async def test_a_history_that_can_not_be_written_does_not_undo_the_model(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    job = await bench.add(steps=2, request={"history_file": str(tmp_path / "file" / "h.jsonl")})
    done = await bench.rounds_until(job.id, "succeeded", "failed")
    assert done.state == "succeeded" and done.resulting_model is not None
    assert done.result is not None and done.result["history_problem"]["code"] == "SOPHIA-S101"


async def test_the_log_is_shown_harmless(bench: Bench) -> None:
    job = await bench.add("fail")
    failed = await bench.rounds_until(job.id, "failed")
    with (Path(failed.run_folder or "") / schema.LOG_FILE).open("a") as log:
        log.write("before \x1b[2J after\n")
    shown = await bench.jobs.log(CONTEXT, LogRequest(job=job.id, lines=1))
    assert shown.lines == ["before \u241b[2J after"]


async def test_events_are_given_page_by_page(bench: Bench) -> None:
    job = await bench.add(steps=5)
    await bench.rounds_until(job.id, "succeeded")
    found = await bench.jobs.events(CONTEXT, EventsRequest(job=job.id, after=2, limit=3))
    assert [each.number for each in found.items] == [3, 4, 5]


async def test_watch_follows_a_job_to_its_end(bench: Bench) -> None:
    job = await bench.add(steps=20)
    seen: list[int] = []
    context = replace(CONTEXT, progress=lambda progress: seen.append(progress.done))
    watching = asyncio.ensure_future(bench.jobs.watch(context, WatchRequest(job=job.id)))
    await bench.rounds_until(job.id, "succeeded")
    view = await asyncio.wait_for(watching, 20)
    assert view.status == "succeeded" and seen == sorted(seen) and seen[-1] == 20
    assert bench.woken > 0  # nobody beat: it asked for a worker


async def test_watch_ends_by_its_timeout_and_on_request(bench: Bench) -> None:
    job = await bench.add()
    request = WatchRequest(job=job.id, timeout_seconds=0.1)
    assert (await bench.jobs.watch(CONTEXT, request)).status == "queued"
    context = replace(CONTEXT)
    context.cancel.request()
    view = await bench.jobs.watch(context, WatchRequest(job=job.id))
    assert view.status == "queued"


@pytest.mark.parametrize("verb", ["show", "cancel", "pause", "resume"])
async def test_an_unknown_job_is_not_found(bench: Bench, verb: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await getattr(bench.jobs, verb)(CONTEXT, JobReference(job="ftjob-nothere"))
    assert caught.value.code == "SOPHIA-J404"
