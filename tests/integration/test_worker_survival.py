"""What survives what: kill -9 of worker, run and database; a second worker; a worker that ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from finetune.schema import RunSpec
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.providers.machine import ThisMachine, start_time
from sophia_tui.services.evaluate import EvaluateRequest, EvaluateService
from sophia_tui.services.evaluations import EvaluationReference, EvaluationsService
from sophia_tui.services.prices import load_prices
from sophia_tui.services.train import TrainRequest, TrainService
from sophia_tui.settings import Settings, load
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.worker.lock import WorkerLock, is_held, lock_path
from sophia_tui.worker.reconcile import Reconciler
from sophia_tui.worker.spawn import ensure_worker
from tests.finetune.tiny_model import build_dataset, build_tiny_model
from tests.integration.worker_house import SystemClock, new_job, worker_environment

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)
WORKER = (sys.executable, "-m", "tests.integration.worker_house", "--background")


def worker_pid(paths: Paths) -> int:
    return int(lock_path(paths).read_text().strip() or 0)


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


async def until(store: Store, job_id: str, true: Callable[[Job], bool]) -> Job:
    """Ask until it is so, also while the database is away."""
    deadline = time.monotonic() + 40
    job = None
    while time.monotonic() < deadline:
        try:
            job = await store.jobs.get(job_id)
        except UnavailableError:
            await asyncio.sleep(0.1)
            continue
        if job is not None and true(job):
            return job
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not happen: {job}")


async def assert_events_are_whole(store: Store, job: Job) -> None:
    stored = await store.jobs.events(job.id, limit=5000)
    assert [each.number for each in stored] == list(range(1, len(stored) + 1))
    assert [(e.number, e.at, e.kind, e.data) for e in stored] == [
        (e.number, e.at, e.kind, e.data) for e in run_folder.all_events(job.run_folder or "")
    ]


def kill_worker(paths: Paths, number: int = signal.SIGKILL) -> None:
    os.kill(worker_pid(paths), number)
    wait_until(lambda: not is_held(paths))


@pytest.fixture
def tidy(reachable: Path) -> Iterator[Paths]:
    """Paths whose worker and runs are killed in the end."""
    paths = Paths(reachable / "data")
    paths.data.mkdir(mode=0o711)
    yield paths
    if is_held(paths):
        kill_worker(paths)
    machine = ThisMachine.here()
    for folder in paths.runs.glob("*"):
        beat = run_folder.heartbeat(folder)
        if beat is not None:
            machine.signal(machine.identity(beat.pid, beat.pid_start_time), signal.SIGKILL)


@pytest.fixture
async def embedded(tidy: Paths) -> AsyncIterator[Store]:
    """A store in an embedded server of its own, which may be killed."""
    from sophia_tui.store.own import open_store

    opened = await open_store(load({}), tidy)
    yield opened
    await opened.close()
    EmbeddedServer(tidy.postgres).halt()


async def test_a_job_outlives_kill_9_of_worker_postmaster_and_run(
    embedded: Store, tidy: Paths
) -> None:
    environment = worker_environment(tidy, {})
    machine = ThisMachine.here()
    job = new_job(steps=300, pace=0.03)
    await embedded.jobs.add(job)
    assert ensure_worker(tidy, environment, command=WORKER)
    running = await until(embedded, job.id, lambda job: (job.step or 0) >= 3)
    assert running.identity is not None

    kill_worker(tidy)
    assert machine.alive(running.identity)
    assert ensure_worker(tidy, environment, command=WORKER)
    step = running.step or 0
    adopted = await until(embedded, job.id, lambda job: (job.step or 0) >= step + 20)
    assert adopted.identity == running.identity

    server = EmbeddedServer(tidy.postgres)
    postmaster = server.look().pid
    assert postmaster is not None
    os.kill(postmaster, signal.SIGKILL)
    step = adopted.step or 0
    goes_on = await until(embedded, job.id, lambda job: (job.step or 0) >= step + 20)
    assert goes_on.identity == running.identity and goes_on.resumes == 0
    assert server.look().pid != postmaster

    machine.signal(running.identity, signal.SIGKILL)
    done = await until(embedded, job.id, lambda job: job.state in ("succeeded", "failed"))
    assert (done.state, done.resumes, done.step) == ("succeeded", 1, 300)
    await assert_events_are_whole(embedded, done)


async def test_the_workers_clean_end_ends_no_run(store: Store, store_url: str, tidy: Paths) -> None:
    environment = worker_environment(tidy, {"SOPHIA_STORE_URL": store_url})
    job = new_job(steps=500, pace=0.03)
    await store.jobs.add(job)
    assert ensure_worker(tidy, environment, command=WORKER)
    running = await until(store, job.id, lambda job: job.state == "running")
    kill_worker(tidy, signal.SIGTERM)
    assert running.identity is not None and ThisMachine.here().alive(running.identity)
    assert await store.jobs.living_workers(60) == []
    assert "ends" in (tidy.logs / "worker.log").read_text().splitlines()[-1]


async def test_only_one_worker_works_in_a_data_folder(
    store: Store, store_url: str, tidy: Paths
) -> None:
    environment = worker_environment(tidy, {"SOPHIA_STORE_URL": store_url})
    lock = WorkerLock(tidy)
    assert lock.take() and not WorkerLock(tidy).take()
    assert not ensure_worker(tidy, environment, command=WORKER)
    finished = subprocess.run([*WORKER], env=environment, timeout=30, check=False)
    assert finished.returncode == 0  # in the background it goes at once
    stand_by = subprocess.Popen([*WORKER[:-1]], env=environment, stderr=subprocess.DEVNULL)
    try:
        job = new_job(steps=2)
        await store.jobs.add(job)
        wait_until(lambda: "standing by" in (tidy.logs / "worker.log").read_text())
        lock.release()  # the first one ends: the one that stood by takes over
        await until(store, job.id, lambda job: job.state == "succeeded")
    finally:
        stand_by.terminate()
        assert stand_by.wait(20) == 0


async def test_a_worker_elsewhere_serves_and_one_that_was_killed_does_not(
    store_url: str, tidy: Paths
) -> None:
    environment = worker_environment(tidy, {"SOPHIA_STORE_URL": store_url})
    here = ThisMachine.here().host
    elsewhere = [{"id": "w", "host": "another-host", "pid": 1}]
    assert not ensure_worker(tidy, environment, elsewhere, WORKER)
    other_folder = [{"id": "w", "host": here, "pid": os.getpid()}]
    assert not ensure_worker(tidy, environment, other_folder, WORKER)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert ensure_worker(tidy, environment, [{"id": "w", "host": here, "pid": gone.pid}], WORKER)
    wait_until(lambda: is_held(tidy) and worker_pid(tidy) > 0)


async def test_a_worker_without_work_ends_when_told_so(store_url: str, tidy: Paths) -> None:
    environment = worker_environment(tidy, {"SOPHIA_STORE_URL": store_url, "TEST_IDLE": "0.3"})
    finished = subprocess.run([*WORKER], env=environment, timeout=30, check=False)
    assert finished.returncode == 0 and not is_held(tidy)


async def test_a_worker_is_nobodys_child_and_no_secret_is_on_its_command_line(
    store_url: str, tidy: Paths
) -> None:
    environment = worker_environment(tidy, {"SOPHIA_STORE_URL": store_url})
    assert ensure_worker(tidy, environment, command=WORKER)
    wait_until(lambda: is_held(tidy) and worker_pid(tidy) > 0)
    pid = worker_pid(tidy)
    assert start_time(pid) is not None
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert store_url not in Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.long  # everyday: the short chaos, and the demo, which evaluates what it trained
@pytest.mark.filterwarnings("ignore")  # torch and peft warn about their own insides
async def test_the_real_program_trains_is_killed_goes_on_and_is_evaluated(
    store: Store, settings: Settings, tidy: Paths, tmp_path: Path
) -> None:
    """The whole of it with torch: a model of 0.8 million parameters made on the spot."""
    base, folder = build_tiny_model(tmp_path / "base"), build_dataset(tmp_path / "version")
    version = DatasetVersion("town", "cd" * 32, str(folder), {"train": 16, "valid": 4})
    await store.datasets.add(version)
    launcher = LocalLauncher(tidy, settings)
    worker = Reconciler("w:1:1", launcher.machine, launcher, tidy, settings, SystemClock())

    async def nobody() -> None: ...

    training = TrainService(store, settings, tidy, SystemClock(), nobody)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "batch_size: 4\ngradient_accumulation: 1\nmax_steps: 60\nlearning_rate: 5.0e-3\n"
        "sequence_length: 64\nsave_steps: 5\nlogging_steps: 5\nscheduler: constant\n"
    )
    asked = TrainRequest(base=str(base), recipe=str(recipe), threads=1)
    job_id = (await training.start(CONTEXT, asked)).id
    await _rounds(store, worker, job_id, lambda job: _checkpoints(job) >= 2)
    identity = (await store.jobs.get(job_id)).identity  # type: ignore[union-attr]
    assert identity is not None and launcher.signal(identity, signal.SIGKILL)
    done = await _rounds(store, worker, job_id, lambda job: job.state in ("succeeded", "failed"))
    assert (done.state, done.resumes, done.step) == ("succeeded", 1, 60), done.error
    await assert_events_are_whole(store, done)
    evaluating = EvaluateService(store, settings, tidy, SystemClock(), nobody)
    model = done.resulting_model or ""
    question = "What is Brovik famous for?"
    questions = tmp_path / "facts.jsonl"
    questions.write_text(
        '{"id": "1", "question": "What is Brovik famous for?", "accepted": ["lanterns"]}\n'
    )
    request = EvaluateRequest(
        model=model, prompts=[question], questions=[str(questions)], text_sample=2
    )
    queued = await evaluating.run(CONTEXT, request)
    scored = await _rounds(
        store, worker, queued.id, lambda job: job.state in ("succeeded", "failed")
    )
    assert scored.state == "succeeded", scored.error
    kept = EvaluationsService(
        store, settings, tidy, lambda: load_prices(settings, tidy), SystemClock()
    )
    view = await kept.show(CONTEXT, EvaluationReference(model=model, answers=True))
    assert view == await kept.show(CONTEXT, EvaluationReference(model=queued.id, answers=True))
    assert [each.after_verdict for each in view.graded_answers] == ["right"]
    assert {"bleu", "similarity", "latency_median"} <= {row.measure for row in view.rows}
    assert view.after is not None and view.after.perplexity < view.before.perplexity
    assert view.loss_difference_high is not None and view.loss_difference_high < 0
    assert [each.prompt for each in view.answers] == [question]
    assert view.answers[0].before != view.answers[0].after


def _checkpoints(job: Job) -> int:
    return len(list(Path(job.run_folder or "/nowhere").glob("checkpoints/*/checkpoint.json")))


async def _rounds(
    store: Store, worker: Reconciler, job_id: str, true: Callable[[Job], bool]
) -> Job:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        await worker.round(store)
        job = await store.jobs.get(job_id)
        assert job is not None
        if true(job):
            return job
        await asyncio.sleep(0.1)
    raise AssertionError(f"it did not happen: {job}")


def test_a_run_specification_survives_the_queue(tmp_path: Path) -> None:
    """What stands in the job's row is what the program reads."""
    from finetune.schema import load_run_spec, write_run_spec

    asked = new_job(steps=7).request["run"]
    write_run_spec(tmp_path, RunSpec.model_validate(asked))
    assert load_run_spec(tmp_path).model_dump(mode="json") == asked
