"""A data folder for the console's benchmarks: an embedded store with a life behind it, one job
that runs on, and, where asked for, ten thousand jobs and a hundred thousand events."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from sophia_tui.wiring import House
from tests import seeded

JOBS, EVENTS = 10_000, 100_000
#: The running job has so many of the events; the rest is spread over the others.
_OF_ONE = 50_000
_MANY_JOBS = """
INSERT INTO sophia.jobs (id, kind, state, base, dataset, request, created_by, created_at,
    started_at, finished_at, step, total_steps, loss, run_folder)
SELECT 'ftjob-many' || lpad(n::text, 8, '0'), kind, state, base, dataset, request, created_by,
    now() - interval '1 day' - n * interval '1 minute', started_at, finished_at, step, total_steps,
    loss, run_folder
FROM sophia.jobs, generate_series(1, %(jobs)s) AS n WHERE id = %(model)s
"""
_MANY_EVENTS = """
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
SELECT 'ftjob-many' || lpad((1 + n %% %(jobs)s)::text, 8, '0'), 1 + n / %(jobs)s, now(), 'metric',
    jsonb_build_object('step', 10 * (1 + n / %(jobs)s), 'loss', 4 - n / %(jobs)s * 0.2)
FROM generate_series(0, %(events)s - 1) AS n
"""
_LONG_RUN = """
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
SELECT id, last_event + n, now() - interval '20 minutes' + n * interval '20 milliseconds',
    'metric', jsonb_build_object('step', 180 + n, 'loss', 1.7 + 0.2 * sin(n / 50.0))
FROM sophia.jobs, generate_series(1, %(events)s) AS n WHERE id = %(job)s;
UPDATE sophia.jobs SET last_event = last_event + %(events)s, step = 180 + %(events)s,
    total_steps = 120000 WHERE id = %(job)s
"""
_TICK = """
WITH job AS (
    UPDATE sophia.jobs SET last_event = last_event + 1, heartbeat_at = now(), step = step + 1,
        loss = 1.7 + 0.2 * sin(step / 7.0), seconds_left = greatest(1, seconds_left - 1)
    WHERE id = %(job)s RETURNING *
)
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
SELECT id, last_event, now(), 'metric', jsonb_build_object('step', step, 'loss', loss,
    'learning_rate', 0.0002) FROM job
"""


class World:
    """`environment` is what a console of this folder starts with; `address` the store's."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)  # root's server account has to pass through
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            "SOPHIA_DATA_DIR": str(folder / "data"),
            "FINETUNE_DIR": str(folder / "finetune"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
        }
        self.address = ""
        self._over = threading.Event()

    def forget(self) -> None:
        """What consoles remember here is gone, as on a first day; nothing asks about it then."""
        for kept in (self.folder / "data" / "state").rglob("console.json"):
            kept.write_text('{"screen": "overview"}')

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "sophia_tui.cli.main"]

    def sophia(self, *words: str) -> str:
        """What a verb of the command line answers. Raises CalledProcessError."""
        command = [*self.command, *words]
        done = subprocess.run(
            command, check=True, env=self.environment, text=True, capture_output=True
        )
        return done.stdout

    def fill(self, big: bool) -> None:
        self.sophia("samples", "load")
        self.sophia("collect")
        self.sophia("prepare")
        asyncio.run(self._seed())
        with psycopg.connect(self.address, autocommit=True) as database:
            # nobody is there to take it, and a console need not start a worker for it
            database.execute("DELETE FROM sophia.jobs WHERE state = 'queued'")
            if big:
                model = {"model": seeded.SUCCEEDED, "jobs": JOBS, "events": EVENTS - _OF_ONE}
                database.execute(_MANY_JOBS, model)
                database.execute(_MANY_EVENTS, model)
                for statement in _LONG_RUN.split(";"):
                    database.execute(statement, {"job": seeded.RUNNING, "events": _OF_ONE})
                database.execute("ANALYZE sophia.jobs, sophia.job_events")

    async def _seed(self) -> None:
        house = House(self.environment)
        try:
            (self.folder / "life").mkdir()
            await seeded.fill(await house.store(), self.folder / "life", datetime.now(UTC))
            from sophia_tui.store.embedded import EmbeddedServer

            self.address = EmbeddedServer(house.paths.postgres).url()
        finally:
            await house.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """One job tells a metric each second, as a training does."""
        self._over.clear()
        writer = threading.Thread(target=self._write)
        writer.start()
        try:
            yield
        finally:
            self._over.set()
            writer.join()

    def _write(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as database:
            while not self._over.wait(1.0):
                database.execute(_TICK, {"job": seeded.RUNNING})

    def server(self) -> int:
        """The process of the store's server."""
        return int(json.loads(self.sophia("store", "status", "--json"))["pid"])

    def close(self) -> None:
        """End what the consoles have started: the worker that looks after open jobs, the store."""
        if self.address:
            with psycopg.connect(self.address) as database:
                for (pid,) in database.execute("SELECT pid FROM sophia.workers").fetchall():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
                        _wait_for(pid)
        self.sophia("store", "stop", "--yes")


def _wait_for(pid: int, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)


#: Settings of the person who measures that would change what is measured.
_OURS = ("DATABASE_URL", "SOPHIA_STORE_URL", "PYTHONDONTWRITEBYTECODE", "NO_COLOR", "COLORTERM")
