"""How fast the queue is with a thousand jobs in it: listing, claiming, and a peer beside it.

`python -m tests.benchmarks.queue_benchmark [JOBS] [PYTHON]`; PYTHON is one that has procrastinate
3.10.0, in an environment of its own. Figures are for people; listing has a budget (exit 1 above).
"""

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psycopg

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Claimer
from sophia_tui.paths import Paths
from sophia_tui.services.jobs import JobsPage, JobsService
from sophia_tui.services.queue import MoveRequest, QueueService
from sophia_tui.services.views import Page
from sophia_tui.settings import load
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.own import open_store
from tests.conftest import reachable_folder
from tests.integration.worker_house import SystemClock, new_job

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)
BUDGET_MILLISECONDS = 100.0
PEER = """
import asyncio, json, sys, time
import procrastinate
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[1]))
@app.task(name="nothing")
async def nothing(): pass
async def main():
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        number = int(sys.argv[2])
        began = time.perf_counter()
        for _each in range(number):
            await nothing.defer_async()
        put = time.perf_counter() - began
        began = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=1, install_signal_handlers=False)
        print(json.dumps({"put": number / put, "taken": number / (time.perf_counter() - began)}))
asyncio.run(main())
"""


async def milliseconds(act: Callable[[], Awaitable[Any]], times: int = 15) -> float:
    await act()
    found = []
    for _each in range(times):
        began = time.perf_counter()
        await act()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


async def ours(place: Path, number: int) -> float:
    """Prints our figures; the slowest listing in milliseconds."""
    settings = load({})
    store = await open_store(settings, Paths(place / "data"))

    async def nobody() -> None: ...

    jobs = JobsService(store, settings, Paths(place / "data"), SystemClock(), nobody)
    queue = QueueService(store, settings, SystemClock(), nobody)
    made = [new_job() for _each in range(number)]
    began = time.perf_counter()
    for job in made:
        await store.jobs.add(job)
    put = number / (time.perf_counter() - began)
    worker = Claimer("here:1:a", "here", "/data", ("training",), number)
    await store.jobs.beat(worker, 1)
    listings = {
        "jobs.list, 100": lambda: jobs.page(CONTEXT, JobsPage()),
        "jobs.list, 500": lambda: jobs.page(CONTEXT, JobsPage(limit=500)),
        "jobs.queue, 100": lambda: queue.queue(CONTEXT, Page()),
        "jobs.queue, 500": lambda: queue.queue(CONTEXT, Page(limit=500)),
    }
    slowest = 0.0
    for name, act in listings.items():
        found = await milliseconds(act)
        slowest = max(slowest, found)
        print(f"{name:<34}{found:8.1f} ms")
    last = made[-1].id
    for name, to in (("last to first", "first"), ("first to last", "last")):
        found = await milliseconds(
            lambda to=to: queue.move(CONTEXT, MoveRequest(job=last, to=to)), times=1
        )
        print(f"{'jobs.move, ' + name:<34}{found:8.1f} ms")
    began = time.perf_counter()
    for _each in range(number):
        assert await store.jobs.claim(worker) is not None
    taken = number / (time.perf_counter() - began)
    print(f"{'put, ours':<34}{put:8.0f} /s\n{'claimed, ours':<34}{taken:8.0f} /s")
    await store.close()
    return slowest


def peer(server: EmbeddedServer, python: str, number: int) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE peer")
    done = subprocess.run(
        [python, "-c", PEER, server.url("peer"), str(number)], capture_output=True, text=True
    )
    if done.returncode:
        print(f"procrastinate: not measured ({done.stderr.strip().splitlines()[-1]})")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{'put, procrastinate':<34}{found['put']:8.0f} /s")
    print(f"{'performed (no-op), procrastinate':<34}{found['taken']:8.0f} /s")


def main() -> int:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    place = reachable_folder()
    (place / "data").mkdir(mode=0o711)
    server = EmbeddedServer(Paths(place / "data").postgres)
    try:
        slowest = asyncio.run(ours(place, number))
        if len(sys.argv) > 2:
            peer(server, sys.argv[2], number)
    finally:
        server.halt()
        shutil.rmtree(place)
    return int(slowest > BUDGET_MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
