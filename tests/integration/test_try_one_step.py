"""One step on request, with the real program and a real tiny base: figures, and no model; and a
training that is refused in its first seconds for lines that teach nothing."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.services.train import TrainRequest, TrainService
from sophia_tui.settings import Settings
from sophia_tui.worker.reconcile import Reconciler
from tests.finetune.tiny_model import build_tiny_model, chat, pairs
from tests.integration.test_train_before import CONTEXT, MUTE, written
from tests.integration.worker_house import SystemClock


class House:
    """A desk where trainings are asked for, and a worker's rounds."""

    def __init__(self, store: Store, settings: Settings, paths: Paths) -> None:
        self.store = store
        launcher = LocalLauncher(paths, settings)
        self.worker = Reconciler(
            "w:1:1", launcher.machine, launcher, paths, settings, SystemClock()
        )
        self.train = TrainService(store, settings, paths, SystemClock(), self._nobody)

    async def _nobody(self) -> None: ...

    async def ended(self, **request: Any) -> Job:
        """The job once it succeeded or failed."""
        view = await self.train.start(CONTEXT, TrainRequest.model_validate(request))
        return await self._until(view.id, lambda job: job.state in ("succeeded", "failed"))

    async def _until(self, job_id: str, met: Callable[[Job], bool]) -> Job:
        async with asyncio.timeout(240):
            while True:
                await self.worker.round(self.store)
                job = await self.store.jobs.get(job_id)
                assert job is not None
                if met(job):
                    return job
                await asyncio.sleep(0.1)


@pytest.fixture
def house(store: Store, settings: Settings, paths: Paths) -> House:
    return House(store, settings, paths)


async def test_a_try_tells_seconds_memory_and_the_time_of_the_whole_and_makes_no_model(
    house: House, tmp_path: Path
) -> None:
    base = build_tiny_model(tmp_path / "base")
    await house.store.datasets.add(written(tmp_path / "whole", [chat(*pair) for pair in pairs()]))
    history = tmp_path / "history.jsonl"
    job = await house.ended(
        base=str(base), recipe="default", try_one_step=True, threads=1, history=str(history)
    )
    assert job.state == "succeeded", job.error
    assert job.is_try and job.resulting_model is None
    assert await house.store.models.page() == []
    result = job.result or {}
    assert result["step_seconds"] > 0 and result["memory_bytes"] > 100_000_000
    # 2 epochs of 8 examples, at most 16 in a step
    assert result["planned_steps"] == 2
    assert result["whole_seconds"] >= result["step_seconds"]
    assert not history.exists()


async def test_without_a_look_before_the_run_itself_refuses_with_the_lines(
    house: House, tmp_path: Path
) -> None:
    base = build_tiny_model(tmp_path / "base")
    rows = [*(chat(*pair) for pair in pairs()), MUTE]
    await house.store.datasets.add(written(tmp_path / "mute", rows))
    history = str(tmp_path / "history.jsonl")
    job = await house.ended(base=str(base), max_steps=1, threads=1, history=history)
    assert job.state == "failed" and job.error is not None
    assert "9" in f"{job.error['what']} {job.error['why']}"
    assert job.step in (None, 0)
