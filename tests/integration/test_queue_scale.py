"""Many jobs and more than one worker, killed at random: no job is lost and none is run twice."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.schema import Recipe, RunSpec
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.worker.lock import is_held, lock_path
from tests.finetune.helpers import QUICK
from tests.finetune.tiny_model import build_dataset, build_tiny_model
from tests.integration.worker_house import new_job, worker_environment
from tests.integration.worker_stand_in import STARTS

WORKER = (sys.executable, "-m", "tests.integration.worker_house")


class Crew:
    """Workers as processes of their own, each with its data folder."""

    def __init__(self, store: Store, store_url: str, place: Path, **environment: str) -> None:
        self.store = store
        self._place = place
        self._environment = {"SOPHIA_STORE_URL": store_url, **environment}
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def paths(self, name: str) -> Paths:
        return Paths(self._place / name)

    def start(self, name: str) -> None:
        paths = self.paths(name)
        paths.data.mkdir(mode=0o711, exist_ok=True)
        self.workers[name] = subprocess.Popen(
            WORKER,
            env=worker_environment(paths, self._environment),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self, name: str) -> None:
        self.workers[name].kill()
        self.workers[name].wait()

    def starts(self) -> Counter[str]:
        """How many processes trained each job."""
        lines: list[str] = []
        for file in self._place.glob(f"*/{STARTS}"):
            lines += file.read_text().splitlines()
        assert len(lines) == len(set(lines))
        return Counter(line.split()[0] for line in lines)

    async def until(self, true: Callable[[dict[str, int]], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not true(counts := await self.store.jobs.counts()):
            assert time.monotonic() < deadline, f"it did not happen: {counts}"
            await asyncio.sleep(0.2)

    def end(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()
        machine = ThisMachine.here()
        for folder in self._place.glob("*/runs/*"):
            beat = run_folder.heartbeat(folder)
            if beat is not None:
                machine.signal(machine.identity(beat.pid, beat.pid_start_time), signal.SIGKILL)


@pytest.fixture
def make_crew(store: Store, store_url: str, reachable: Path) -> Iterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def make(**environment: str) -> Crew:
        crews.append(Crew(store, store_url, reachable, **environment))
        return crews[-1]

    yield make
    for crew in crews:
        crew.end()


def most_at_once(jobs: list[Job]) -> int:
    """The greatest number of jobs that had a process at one time, as their rows tell."""
    moments: list[tuple[Any, int]] = []
    for job in jobs:
        assert job.started_at is not None and job.finished_at is not None
        moments += [(job.started_at, 1), (job.finished_at, -1)]
    running = most = 0
    for _at, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


async def drained(
    crew: Crew, jobs: list[Job], at_once: int, seed: int, seconds: float
) -> list[Job]:
    """The worker is killed (-9) at random while it works; then all jobs as they ended."""
    for job in jobs:
        await crew.store.jobs.add(job)
    chance = random.Random(seed)
    crew.start("house")
    done = 0
    while done < len(jobs) * 0.9:
        goal = done + chance.randint(1, max(2, len(jobs) // 4))
        wanted = min(goal, len(jobs))

        def reached(counts: dict[str, int], wanted: int = wanted) -> bool:
            return counts.get("succeeded", 0) + counts.get("failed", 0) >= wanted

        await crew.until(reached, seconds)
        done = wanted
        crew.kill("house")
        crew.start("house")
    await crew.until(lambda counts: counts.get("succeeded", 0) == len(jobs), seconds)
    ended: list[Job] = []
    while page := await crew.store.jobs.page(500, len(ended)):
        ended += page
    assert sorted(job.id for job in ended) == sorted(job.id for job in jobs)
    # a worker that dies while it starts one leaves it to the next; it is the starts that count
    assert sum(job.resumes for job in ended) <= len(jobs) // 4
    assert most_at_once(ended) <= at_once
    assert len({job.resulting_model for job in ended}) == len(jobs)
    return ended


async def test_sixty_jobs_six_at_once_with_a_worker_that_is_killed(
    make_crew: Callable[..., Crew],
) -> None:
    crew = make_crew(SOPHIA_TRAINING_SLOTS="6")
    jobs = [new_job("count", steps=2, pace=0.01) for _each in range(60)]
    ended = await drained(crew, jobs, 6, seed=5, seconds=300)
    assert crew.starts() == Counter(job.id for job in jobs)
    assert most_at_once(ended) > 1


@pytest.mark.long
async def test_a_thousand_jobs_twenty_at_once_and_four_in_earnest(
    make_crew: Callable[..., Crew], tmp_path: Path
) -> None:
    crew = make_crew(SOPHIA_TRAINING_SLOTS="20")
    jobs = [new_job("count", steps=2, pace=0.01) for _each in range(1000)]
    base, data = build_tiny_model(tmp_path / "base"), build_dataset(tmp_path / "version")
    for number in (100, 300, 600, 900):
        run = RunSpec(
            job_id=jobs[number].id,
            base=str(base),
            dataset_path=str(data),
            recipe=Recipe.model_validate({**QUICK, "max_steps": 4}),
            threads=1,
        )
        jobs[number] = replace(
            jobs[number], base=run.base, request={"run": run.model_dump(mode="json")}
        )
    ended = await drained(crew, jobs, 20, seed=7, seconds=1800)
    counted = crew.starts()
    assert set(counted.values()) == {1} and len(counted) == 996
    real = [job for job in ended if job.base == str(base)]
    assert len(real) == 4 and all((job.result or {}).get("eval_loss") for job in real)


@pytest.mark.long  # in one process: test_jobs_of_a_folder_without_a_worker_are_taken_over
async def test_two_workers_with_separate_folders_share_the_queue_and_one_is_killed(
    make_crew: Callable[..., Crew],
) -> None:
    crew = make_crew(SOPHIA_TRAINING_SLOTS="4", TEST_SILENCE="7")
    jobs = [new_job("count", steps=3, pace=0.05) for _each in range(18)]
    long = [new_job("count", steps=400, pace=0.05) for _each in range(2)]
    for job in [*jobs[:12], *long, *jobs[12:]]:
        await crew.store.jobs.add(job)
    crew.start("one")
    crew.start("two")

    async def folder_of(job: Job) -> str | None:
        found = await crew.store.jobs.get(job.id)
        return found.folder if found and (found.step or 0) >= 2 else None

    deadline = time.monotonic() + 200
    while (mine := await folder_of(long[0])) is None or (await folder_of(long[1])) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    dying = Path(mine).name
    other = "two" if dying == "one" else "one"
    cut = await crew.store.jobs.get(long[0].id)
    assert cut is not None and cut.identity is not None and cut.run_folder is not None
    crew.kill(dying)
    os.kill(cut.identity.pid, signal.SIGKILL)  # and one of its runs with it
    await crew.until(lambda counts: counts.get("succeeded", 0) == 20, 300)
    after = await crew.store.jobs.get(long[0].id)
    assert after is not None and after.resumes == 1 and after.run_folder == cut.run_folder
    assert after.folder == str(crew.paths(other).data)
    counted = crew.starts()
    assert counted.pop(long[0].id) == 2 and set(counted.values()) == {1} and len(counted) == 19
    folders = {Path(job.run_folder or "").parts[-3] for job in await crew.store.jobs.page()}
    assert folders == {"one", "two"}  # both did some
    assert not is_held(crew.paths(dying)) and lock_path(crew.paths(other)).exists()
