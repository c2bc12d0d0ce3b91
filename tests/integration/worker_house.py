"""A small house for tests of the worker: real store, real launcher, a chosen run program.

`python -m tests.integration.worker_house` is a worker in a process of its own; its environment says
the rest.
"""

import asyncio
import os
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from finetune.schema import Recipe, RunSpec
from sophia_tui.domain.context import Face
from sophia_tui.domain.hosted import HostedTrainer
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.notifications import Messenger
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths, data_folder
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.providers.machine import ThisMachine, read_boot_id
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.prices import Prices, load_prices
from sophia_tui.services.views import JobReference
from sophia_tui.settings import Settings, load

STAND_IN = Path(__file__).with_name("worker_stand_in.py")
ROOT = STAND_IN.parents[2]


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class SmallHouse:
    """What the worker asks of the wiring."""

    def __init__(
        self,
        settings: Settings,
        paths: Paths,
        machine: ThisMachine | None = None,
        program: tuple[str, ...] = (sys.executable, str(STAND_IN)),
        opened: Store | None = None,
    ) -> None:
        self.settings = settings
        self.paths = paths
        self.clock = SystemClock()
        self.machine = machine or ThisMachine.here()
        self._program = program
        self._store = opened
        #: What was asked for by the calendar.
        self.performed: list[tuple[str, dict[str, Any], str]] = []
        #: Faces whose start was to end promotions that were cut off.
        self.mended: list[Face] = []

    async def store(self) -> Store:
        if self._store is None:
            from sophia_tui.store.own import open_store

            self._store = await open_store(self.settings, self.paths)
        return self._store

    def trainer(self, base_url: str | None) -> HostedTrainer:
        from sophia_tui.providers.openai_jobs import OpenAITrainer
        from sophia_tui.services.train_hosted import key_for

        return OpenAITrainer(base_url, key_for(self.settings, base_url))

    def prices(self) -> Prices:
        return load_prices(self.settings, self.paths)

    async def perform(self, operation: str, request: Mapping[str, Any], actor: str) -> BaseModel:
        self.performed.append((operation, dict(request), actor))
        return JobReference(job=f"ftjob-{len(self.performed):012d}")

    async def mend(self, face: Face) -> None:
        self.mended.append(face)

    def messenger(self) -> Messenger:
        from sophia_tui.providers.messenger import LiveMessenger

        return LiveMessenger(self.settings)

    def calendar(self) -> CalendarService:
        from sophia_tui.providers.model_list import list_models

        return CalendarService(
            self.store, self.settings, self.clock, self.prices, ManagedEnv(), list_models
        )

    def launcher(self) -> LocalLauncher:
        launcher = LocalLauncher(self.paths, self.settings, self.machine)
        launcher.program = self._program
        return launcher


def new_job(behaviour: str = "steady", steps: int = 4, pace: float = 0.02, **more: Any) -> Job:
    """A queued training by the stand-in; `pace` is seconds a step."""
    job_id = f"ftjob-{uuid.uuid4().hex[:12]}"
    run = RunSpec(
        job_id=job_id,
        base=f"stand-in:{behaviour}",
        recipe=Recipe(max_steps=steps, learning_rate=pace),
    )
    request = {"run": run.model_dump(mode="json"), **more.pop("request", {})}
    return Job(
        id=job_id,
        kind=JobKind.TRAIN,
        state=more.pop("state", JobState.QUEUED.value),
        base=run.base,
        dataset="town@0123456789ab",
        request=request,
        created_by="maria",
        created_at=datetime.now(UTC),
        **more,
    )


def worker_environment(paths: Paths, more: Mapping[str, str]) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    return {**kept, "SOPHIA_DATA_DIR": str(paths.data), "PYTHONPATH": str(ROOT), **more}


async def main() -> int:
    from sophia_tui.worker.main import run

    settings = load(os.environ)
    boot = os.environ.get("TEST_BOOT_ID")
    machine = ThisMachine(ThisMachine.here().host, (lambda: boot) if boot else read_boot_id)
    house = SmallHouse(settings, Paths(data_folder()), machine)
    if "TEST_SILENCE" in os.environ:  # sooner than people are made to wait
        from sophia_tui.worker import guard, reconcile

        reconcile.WORKER_SECONDS = float(os.environ["TEST_SILENCE"])  # type: ignore[misc]
        guard._RIPE_SECONDS = guard._LOOK_SECONDS = 1.0
    idle = float(os.environ["TEST_IDLE"]) if "TEST_IDLE" in os.environ else None
    try:
        return await run(house, idle, "--background" in sys.argv, machine)
    finally:
        if house._store is not None:  # a pool that is left open may outlive its loop's end
            await house._store.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
