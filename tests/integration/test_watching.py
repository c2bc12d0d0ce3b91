"""Following a job: every event once, on each face, over a cut; the figures and the cost so far."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.jobs import JobEvent
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.services.jobs import JobsService, WatchRequest
from sophia_tui.services.views import EventView, JobReference
from sophia_tui.settings import load
from sophia_tui.wiring import House
from tests.api.server import serving
from tests.integration.worker_house import SystemClock, new_job

TOKEN = "a-token-for-this-test"


async def _wake() -> None:
    """Nobody works here."""


def service(store: Store, paths: Paths, **settings: str) -> JobsService:
    return JobsService(store, load(settings), paths, SystemClock(), _wake)


async def a_job(store: Store, state: str = "running", events: int = 3) -> str:
    """A job with a state event, metrics a minute apart, and nobody who runs it."""
    job = replace(
        new_job(), state=state, worker_id="elsewhere:1:a", heartbeat_at=SystemClock().now()
    )
    await store.jobs.add(job)
    await tell(store, job.id, 1, events)
    return job.id


async def tell(store: Store, job_id: str, first: int, count: int) -> None:
    begin = SystemClock().now() - timedelta(hours=1)
    told = [
        JobEvent(
            job_id,
            number,
            begin + timedelta(minutes=number),
            "metric",
            {
                "step": number,
                "loss": 1 / number,
                "learning_rate": 2e-4,
                "kept": 80 + number,
                "kept_total": 100,
                "tokens_per_second": 150.5,
                "memory_bytes": 10**9,
            },
        )
        for number in range(first, first + count)
    ]
    await store.jobs.append_events(job_id, told, 100 * (first + count))


def context(told: list[Any], cancel: CancelSignal | None = None) -> Context:
    return Context(
        actor="maria",
        face=Face.CLI,
        role=Role.VIEWER,
        tell=told.append,
        cancel=cancel or CancelSignal(),
    )


async def test_each_event_is_told_once_and_then_the_job(store: Store, paths: Paths) -> None:
    job_id = await a_job(store)
    told: list[EventView] = []
    watching = asyncio.create_task(
        service(store, paths).watch(context(told), WatchRequest(job=job_id))
    )
    while len(told) < 3:
        await asyncio.sleep(0.01)
    await tell(store, job_id, 4, 2)
    await store.jobs.update(job_id, state="succeeded")
    ended = await watching
    assert [each.number for each in told] == [1, 2, 3, 4, 5]
    assert (ended.status, ended.exit_code()) == ("succeeded", 0)


async def test_a_job_that_still_goes_on_when_the_time_is_over_is_no_failure(
    store: Store, paths: Paths
) -> None:
    job_id = await a_job(store, "running", 1)
    seen = await service(store, paths).watch(
        context([]), WatchRequest(job=job_id, timeout_seconds=0.05)
    )
    assert (seen.status == "succeeded", seen.exit_code()) == (False, 0)


@pytest.mark.parametrize("wish", ["cancel", "pause"])
async def test_a_wish_to_a_running_job_is_seen_at_once(
    store: Store, paths: Paths, wish: str
) -> None:
    jobs, reference = service(store, paths), JobReference(job=await a_job(store))
    asked = await getattr(jobs, wish)(context([]), reference)
    assert (asked.wanted, (await jobs.show(context([]), reference)).wanted) == (wish, wish)


@pytest.mark.parametrize("state", ["failed", "cancelled", "paused"])
async def test_a_job_that_did_not_make_it_is_a_failure(
    store: Store, paths: Paths, state: str
) -> None:
    job_id = await a_job(store, state, 1)
    assert (await service(store, paths).watch(context([]), WatchRequest(job=job_id))).exit_code()


async def test_who_comes_back_gets_what_is_new(store: Store, paths: Paths) -> None:
    job_id = await a_job(store, "failed", 5)
    told: list[EventView] = []
    ended = await service(store, paths).watch(context(told), WatchRequest(job=job_id, after=3))
    assert [each.number for each in told] == [4, 5] and ended.exit_code() == 1


async def test_the_newest_figures_stand_in_the_job(store: Store, paths: Paths) -> None:
    job_id = await a_job(store, events=4)
    await store.jobs.append_events(
        job_id,
        [JobEvent(job_id, 5, SystemClock().now(), "metric", {"kept": 70, "loss": "NaN"})],
        900,
    )
    shown = await service(store, paths).show(context([]), JobReference(job=job_id))
    assert (shown.kept, shown.kept_total, shown.tokens_per_second) == (70, 100, 150.5)
    assert (shown.learning_rate, shown.memory_bytes) == (2e-4, 10**9)
    assert shown.cost_usd is None  # no price of the machine is set


async def test_the_cost_so_far_counts_the_time_at_work(store: Store, paths: Paths) -> None:
    """Three minutes, then an hour in which nobody worked, then one minute more."""
    job_id = await a_job(store, "paused", 4)
    events = await store.jobs.events(job_id)
    later = events[-1].at + timedelta(hours=1)
    more = [
        JobEvent(job_id, 5, later, "state", {"state": "starting"}),
        JobEvent(job_id, 6, later + timedelta(minutes=1), "metric", {"loss": 0.5}),
    ]
    await store.jobs.append_events(job_id, more, 900)
    asked = service(store, paths, SOPHIA_MACHINE_USD_PER_HOUR="3")
    shown = await asked.show(context([]), JobReference(job=job_id))
    assert (shown.seconds_running, shown.cost_usd) == (240.0, 0.2)


async def test_the_cost_of_a_job_stands_from_its_end_on(store: Store, paths: Paths) -> None:
    """What it cost then: no later price counts, and a job that had none shows none."""
    dear = service(store, paths, SOPHIA_MACHINE_USD_PER_HOUR="3")
    for asked, cost in ((dear, 0.15), (service(store, paths), None)):
        job_id = await a_job(store, "paused", 4)
        confirmed = replace(context([]), confirmed=True)
        await asked.cancel(confirmed, JobReference(job=job_id))
        dearer = service(store, paths, SOPHIA_MACHINE_USD_PER_HOUR="30")
        assert (await dearer.show(context([]), JobReference(job=job_id))).cost_usd == cost


@pytest.fixture
def house(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    environment = {
        "SOPHIA_STORE_URL": store_url,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "FINETUNE_TOKEN": TOKEN,
    }
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sophia_tui.worker.spawn.ensure_worker", lambda *_given: None)
    return House(environment)


@pytest.fixture
def url(house: House) -> Iterator[str]:
    with serving(house) as address:
        yield f"{address}/api/v1/jobs/watch"


def stream(
    url: str, job_id: str, headers: dict[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """The server-sent events of a watch, as dicts of their fields."""
    given = {"x-admin-token": TOKEN, "accept": "text/event-stream", **(headers or {})}
    with httpx.stream(
        "GET", url, params={"job": job_id}, headers=given, timeout=60, trust_env=False
    ) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        found: dict[str, Any] = {}
        for line in answer.iter_lines():
            if not line and found:
                yield found
                found = {}
            name, _sign, value = line.partition(": ")
            if name in ("event", "id", "data"):
                found[name] = json.loads(value) if name == "data" else value


async def test_server_sent_events_go_on_where_a_client_was_cut_off(store: Store, url: str) -> None:
    job_id = await a_job(store)
    loop = asyncio.get_running_loop()
    seen: list[dict[str, Any]] = []

    def first_two() -> None:
        for each in stream(url, job_id):
            seen.append(each)
            if len(seen) == 2:
                return

    await loop.run_in_executor(None, first_two)
    assert [(each["event"], each["id"]) for each in seen] == [("event", "1"), ("event", "2")]
    await store.jobs.update(job_id, state="succeeded")
    rest = await loop.run_in_executor(
        None, lambda: list(stream(url, job_id, {"last-event-id": seen[-1]["id"]}))
    )
    assert [each["event"] for each in rest] == ["event", "result"]
    assert rest[0]["data"]["number"] == 3 and rest[1]["data"]["status"] == "succeeded"


async def test_an_unknown_job_is_an_error_event(store: Store, url: str) -> None:
    found = await asyncio.to_thread(lambda: list(stream(url, "ftjob-nowhere")))
    assert [each["event"] for each in found] == ["error"]
    assert found[0]["data"]["error"]["code"] == "SOPHIA-J404"


async def test_the_command_line_says_one_object_a_line_and_ends_as_the_job_did(
    store: Store, house: House
) -> None:
    job_id = await a_job(store, "failed", 2)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sophia_tui.cli.main", "jobs", "watch", job_id, "--json"],
        env={**os.environ, **house.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    *events, job = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["number"] for each in events] == [1, 2]
    assert (job["id"], job["status"], done.returncode) == (job_id, "failed", 1)
