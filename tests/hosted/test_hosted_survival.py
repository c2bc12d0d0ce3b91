"""A worker process that is killed in the middle of a hosted job: nothing is lost, nothing twice."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from sophia_tui.domain.jobs import Job
from sophia_tui.worker.lock import is_held, lock_path
from tests.hosted.conftest import Bench
from tests.hosted.provider import KEY, Provider
from tests.integration.worker_house import ROOT, worker_environment

WORKER = (sys.executable, "-m", "tests.integration.worker_house")


@pytest.fixture
def environment(bench: Bench, provider: Provider, store_url: str) -> dict[str, str]:
    more = {
        "SOPHIA_STORE_URL": store_url,
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_KEY": KEY,
        "SOPHIA_PROVIDER_POLL_SECONDS": "0.05",
    }
    return worker_environment(bench.paths, more)


@pytest.fixture
def workers(environment: dict[str, str]) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            WORKER, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started.append(process)
        return process

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
        each.wait()


async def until(bench: Bench, job_id: str, true: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = await bench.job(job_id)
        if true(job):
            return job
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not happen: {await bench.job(job_id)}")


def kill(bench: Bench, worker: subprocess.Popen[bytes]) -> None:
    assert int(lock_path(bench.paths).read_text()) == worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert not is_held(bench.paths)


@pytest.mark.long  # in one process: test_another_worker_goes_on_where_the_first_one_died
async def test_kill_9_in_the_middle_of_a_hosted_job(
    bench: Bench, provider: Provider, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    provider.statuses = ["validating_files", "running", "running", "running", "succeeded"]
    await bench.prepare()
    asked = await bench.start()
    first = workers()
    await until(bench, asked.id, lambda job: job.provider_job_id is not None)
    provider.held.set()
    before = await until(bench, asked.id, lambda job: job.last_event >= 1)
    kill(bench, first)

    provider.held.clear()
    workers()
    job = await until(bench, asked.id, lambda job: job.state in ("succeeded", "failed"))
    assert (job.state, job.provider_job_id) == ("succeeded", before.provider_job_id)
    assert provider.count("create") == 1 and len(provider.jobs) == 1
    events = await bench.store.jobs.events(job.id)
    assert [each.number for each in events] == list(range(1, len(events) + 1))
    theirs = [each.data["provider_event"] for each in events if "provider_event" in each.data]
    assert theirs == [each["id"] for each in provider.events[str(job.provider_job_id)]]


async def test_kill_9_while_the_create_is_under_way(
    bench: Bench, provider: Provider, workers: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """The provider has the job, and our worker dies before it hears of it."""
    await bench.prepare()
    asked = await bench.start()
    first = workers()
    dead: list[int] = []

    def dies(answer: object) -> object:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        dead.append(first.pid)
        return answer

    provider.faults["create"] = [dies]
    await until(bench, asked.id, lambda job: bool(dead))
    assert (await bench.job(asked.id)).provider_job_id is None
    workers()
    job = await until(bench, asked.id, lambda job: job.state in ("succeeded", "failed"))
    assert job.state == "succeeded"
    assert provider.count("create") == 1 and list(provider.jobs) == [job.provider_job_id]
