"""Operations in the background: a job does them, in a process that is nobody's child."""

import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Face, Progress
from sophia_tui.domain.jobs import JobKind, JobState
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import RefusedError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.providers import run_folder
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.settings import Settings
from sophia_tui.wiring import House
from sophia_tui.worker.detached import Teller
from tests.integration.test_worker_jobs import Bench


class HouseWithoutWorker(House):
    """The test's own rounds are the worker."""

    async def wake(self) -> None:
        """Nobody is started."""


@pytest.fixture
async def bench(
    store: Store,
    settings: Settings,
    paths: Paths,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bench]:
    monkeypatch.setenv("SOPHIA_STORE_URL", store_url)
    monkeypatch.setenv("SOPHIA_ROLES", "*=admin")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    bench = Bench(store, settings, paths)
    yield bench
    for job in await store.jobs.page():
        living = run_folder.living_identity(job, ThisMachine.here())
        if living is not None:
            ThisMachine.here().signal(living, signal.SIGKILL)


@pytest.fixture
async def house(bench: Bench) -> AsyncIterator[House]:
    house = HouseWithoutWorker({**os.environ, "SOPHIA_DATA_DIR": str(bench.paths.data)})
    yield house
    await house.close()


def rows(folder: Path, count: int) -> Path:
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as stream:
        for number in range(count):
            stream.write(
                json.dumps({"question": f"What is {number}?", "answer": "A thing."}) + "\n"
            )
    return folder


async def detach(house: House, request: dict[str, Any], operation: str = "prepare.run") -> Any:
    context = house.context(Face.CLI, detach=True, confirmed=True)
    return await house.dispatcher.call(operation, request, context)


async def test_a_job_prepares_and_tells_what_came_of_it(
    bench: Bench, house: House, tmp_path: Path
) -> None:
    folder = rows(tmp_path / "raw", 12)
    view = await detach(house, {"folder": str(folder)})
    assert (view.kind, view.base, view.status) == ("data", "prepare.run", "queued")
    job = await bench.rounds_until(view.id, "succeeded", "failed")
    assert job.state == JobState.SUCCEEDED, job.error
    assert job.result is not None and job.result["sum"] == "12 = 12 + 0"
    [version] = await bench.store.datasets.page(10, 0)
    assert version.created_by == house.actor
    output = json.loads((Path(job.run_folder or "") / "output.json").read_text())
    assert output["dataset"]["id"] == version.id
    entries = await bench.store.audit.page(10, 0)
    assert [(each.operation, each.outcome) for each in entries] == [
        ("prepare.run", "done"),
        ("prepare.run", "queued"),
    ]


async def test_what_goes_wrong_is_the_jobs_error(
    bench: Bench, house: House, tmp_path: Path
) -> None:
    view = await detach(house, {"folder": str(tmp_path / "nowhere")})
    job = await bench.rounds_until(view.id, "succeeded", "failed")
    assert job.state == JobState.FAILED
    assert job.error is not None and job.error["code"] == "SOPHIA-D301"


async def test_it_is_cancelled_without_a_trace(bench: Bench, house: House, tmp_path: Path) -> None:
    folder = rows(tmp_path / "raw", 150_000)
    view = await detach(house, {"folder": str(folder)})
    await bench.rounds_until(view.id, "running")
    job = await bench.job(view.id)
    await bench.store.jobs.update(job.id, version=job.version, wanted="cancel")
    job = await bench.rounds_until(view.id, "cancelled", "succeeded")
    assert job.state == JobState.CANCELLED
    left = [each for each in bench.paths.datasets.rglob("*") if not each.name.endswith(".lock")]
    assert left == []


async def test_killed_it_is_done_again_from_the_start(
    bench: Bench, house: House, tmp_path: Path
) -> None:
    folder = rows(tmp_path / "raw", 60_000)
    view = await detach(house, {"folder": str(folder)})
    job = await bench.until(view.id, lambda job: job.state == JobState.RUNNING)
    assert job.identity is not None
    os.kill(job.identity.pid, signal.SIGKILL)
    job = await bench.rounds_until(view.id, "succeeded", "failed")
    assert (job.state, job.resumes) == (JobState.SUCCEEDED, 1)
    assert job.result is not None and job.result["sum"] == "60000 = 60000 + 0"


async def test_it_waits_for_no_training(bench: Bench, house: House, tmp_path: Path) -> None:
    training = await bench.add(steps=1000, pace=0.05)
    await bench.rounds_until(training.id, "running")
    view = await detach(house, {"folder": str(rows(tmp_path / "raw", 12))})
    job = await bench.rounds_until(view.id, "succeeded")
    assert job.slot is None and job.kind is JobKind.DATA
    assert (await bench.job(training.id)).state == JobState.RUNNING


async def test_what_is_short_or_dry_does_not_go_into_the_background(house: House) -> None:
    with pytest.raises(UsageError, match="background"):
        await detach(house, {}, "jobs.list")
    context = house.context(Face.CLI, detach=True, dry_run=True)
    with pytest.raises(UsageError, match="background"):
        await house.dispatcher.call("prepare.run", {}, context)


async def test_standard_input_and_read_only_mode_keep_an_operation_in_the_foreground(
    house: House,
) -> None:
    with pytest.raises(UsageError, match="Standard input"):
        await detach(house, {"path": "-"}, "prepare.inspect")
    context = replace(house.context(Face.CLI, detach=True), readonly=True)
    with pytest.raises(RefusedError, match="read-only"):
        await house.dispatcher.call("prepare.inspect", {}, context)


def test_progress_is_told_once_a_second_with_rate_and_time_left() -> None:
    told: list[dict[str, Any]] = []
    clock = iter((0.0, 0.4, 2.0, 2.1, 3.0))
    tell = Teller(told.append, lambda: next(clock))
    megabyte = 1_000_000
    for done in (0, 10, 100, 150):
        tell(Progress("Reading", done * megabyte, 300 * megabyte, "bytes"))
    assert [each["step"] for each in told] == [0, 100]
    assert told[-1]["unit"] == "MB"
    assert (told[-1]["rate"], told[-1]["seconds_left"]) == (50.0, 4.0)
    tell.finish()
    assert (told[-1]["step"], told[-1]["seconds_left"]) == (300, 0.0)
