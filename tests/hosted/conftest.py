"""A whole house for hosted jobs: a provider on loopback, a store, a data set of 60 questions."""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2._transports import default as transports

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.services.jobs import JobsService
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.services.prices import Prices
from sophia_tui.services.train import TrainRequest, TrainService
from sophia_tui.services.views import JobView
from sophia_tui.settings import Settings, load
from sophia_tui.worker.hosted import HostedKeeper
from tests.hosted.provider import KEY, Provider
from tests.integration.worker_house import SmallHouse, SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.ADMIN, confirmed=True)


@pytest.fixture(scope="session", autouse=True)
def certificates_are_read_once() -> Iterator[None]:
    """Every client of a provider reads the machine's certificates, several times a test; those on
    loopback look at none of them."""
    with pytest.MonkeyPatch.context() as patched:
        read = functools.cache(transports.create_ssl_context)
        patched.setattr(transports, "create_ssl_context", read)
        yield


def write_questions(folder: Path, count: int = 60) -> Path:
    """`count` question/answer lines, as a person has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "questions.jsonl").write_text(
        "".join(
            json.dumps({"question": f"What is room {n} for?", "answer": f"For guest {n * 7}."})
            + "\n"
            for n in range(count)
        )
    )
    return folder


class Bench:
    """One worker's keeper, driven round by round, and the services beside it."""

    def __init__(self, store: Store, settings: Settings, paths: Paths) -> None:
        self.store, self.settings, self.paths = store, settings, paths
        self.house = SmallHouse(settings, paths, opened=store)
        self.woken = 0
        self.prices: Callable[[], Prices] = self.house.prices
        clock = SystemClock()
        self.train = TrainService(
            store,
            settings,
            paths,
            clock,
            self._wake,
            lambda: self.prices(),
            open_trainer=self.house.trainer,
        )
        self.jobs = JobsService(
            store, settings, paths, clock, self._wake, open_trainer=self.house.trainer
        )
        self.keeper = self.become("worker-1")

    async def _wake(self) -> None:
        self.woken += 1

    def become(self, name: str) -> HostedKeeper:
        """Another worker process with no memory."""
        host = self.house.machine.host
        self.keeper = HostedKeeper(
            f"{host}:{name}",
            host,
            self.house.trainer,
            lambda: self.prices(),
            self.settings,
            SystemClock(),
        )
        self.keeper._submitter.settle_seconds = 0.2
        return self.keeper

    async def prepare(self, count: int = 60, **more: Any) -> str:
        folder = write_questions(self.paths.data / "finetune", count)
        service = PrepareService(self.store.datasets, self.settings, self.paths, SystemClock())
        made = await service.run(CONTEXT, PrepareInput(folder=str(folder), **more))
        return made.dataset.id

    async def start(self, base: str = "gpt-4o-mini", **more: Any) -> JobView:
        return await self.train.start(CONTEXT, TrainRequest(base=base, **more))

    async def job(self, job_id: str) -> Job:
        found = await self.store.jobs.get(job_id)
        assert found is not None
        return found

    async def until(self, job_id: str, true: Callable[[Job], bool]) -> Job:
        for _each in range(600):
            await self.keeper.round(self.store)
            job = await self.job(job_id)
            if true(job):
                return job
            await asyncio.sleep(0.02)
        raise AssertionError(f"the job stays {job.state}: {job.error}")

    async def rounds_until(self, job_id: str, *states: str) -> Job:
        return await self.until(job_id, lambda job: job.state in states)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def hosted_settings(store_url: str, provider: Provider, tmp_path: Path) -> Settings:
    return load(
        {
            "SOPHIA_STORE_URL": store_url,
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_KEY": KEY,
            "SOPHIA_PROVIDER_POLL_SECONDS": "0.05",
            "FINETUNE_HISTORY": str(tmp_path / "history.jsonl"),
        }
    )


@pytest.fixture
async def bench(store: Store, hosted_settings: Settings, paths: Paths) -> AsyncIterator[Bench]:
    made = Bench(store, hosted_settings, paths)
    yield made
    await made.keeper.close()
