"""How lists feel in a store with almost nothing and in one with years in it, beside each other.

python tests/benchmarks/lists_benchmark.py [runs, default 5]

Two databases of one embedded server. Small: 12 rows of each kind. Large: 10,000 jobs, one of them
with 100,000 events and the others with 100,000 together, 100,000 entries in the log, 2,000 data set
versions and 2,000 models. In each the console over the real services, 80x24: milliseconds from a
key to the screen that it leads to, medians of all runs, and the ratio of the two.
"""

import asyncio
import contextlib
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from sophia_tui.domain.context import Face
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.migrate import migrate
from sophia_tui.tui import keys
from sophia_tui.tui.app import SophiaApp
from sophia_tui.wiring import House

RUNS = 5
PATIENCE_SECONDS = 120.0
#: Seconds between two looks whether the screen is there.
TICK = 0.001
BUSY = "ftjob-000001"
SCREENS = ("jobs", "datasets", "models", "audit")
FILL = """
INSERT INTO sophia.jobs (id, kind, state, base, dataset, request, created_by, created_at,
    started_at, finished_at, step, total_steps, loss)
SELECT 'ftjob-' || lpad(n::text, 6, '0'), 'train',
    (ARRAY['succeeded', 'failed', 'cancelled'])[n % 3 + 1],
    'SmolLM2-135M-Instruct', 'town@' || lpad(to_hex(n % 50), 12, '0'),
    jsonb_build_object('recipe', repeat('x', 400)), (ARRAY['ana', 'maria', 'joao'])[n % 3 + 1],
    now() - n * interval '1 minute', now(), now(), n % 300, 300, 1.0 / n
FROM generate_series(1, {jobs}) AS n;
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
SELECT 'ftjob-000001', n, now(), 'metric', jsonb_build_object('step', n, 'loss', 3.0 / n)
FROM generate_series(1, {events}) AS n;
INSERT INTO sophia.job_events (job_id, number, at, kind, data)
SELECT 'ftjob-' || lpad((2 + n % ({jobs} - 1))::text, 6, '0'), n, now(), 'metric',
    jsonb_build_object('step', n, 'loss', 3.0 / n)
FROM generate_series(1, {events}) AS n;
UPDATE sophia.jobs AS j SET last_event = coalesce(
    (SELECT max(number) FROM sophia.job_events AS e WHERE e.job_id = j.id), 0);
INSERT INTO sophia.audit (at, actor, face, role, operation, target, request, outcome)
SELECT now() - n * interval '1 second', (ARRAY['ana', 'maria', 'joao'])[n % 3 + 1], 'cli', 'admin',
    'jobs.cancel', 'ftjob-' || lpad((n % 10000)::text, 6, '0'), '{{}}', 'done'
FROM generate_series(1, {entries}) AS n;
INSERT INTO sophia.dataset_versions (name, hash, folder, counts, manifest, created_by, created_at)
SELECT 'town' || n % 20, lpad(to_hex(n), 12, '0'), '/data/' || n,
    '{{"rows_in": 10, "rows_kept": 9, "rows_rejected": 1}}',
    jsonb_build_object('files', '{{}}'::jsonb, 'steps', '[]'::jsonb, 'told', repeat('y', 2000)),
    'ana', now() - n * interval '1 hour'
FROM generate_series(1, {versions}) AS n;
INSERT INTO sophia.models (id, kind, base, job_id, dataset, created_at, evaluation)
SELECT 'sophia-v' || n, 'adapter', 'SmolLM2-135M-Instruct', NULL,
    'town1@' || lpad(to_hex(n), 12, '0'), now() - n * interval '1 hour', NULL
FROM generate_series(1, {versions}) AS n;
ANALYZE;
"""
SIZES = {
    "small": {"jobs": 12, "events": 12, "entries": 12, "versions": 12},
    "large": {"jobs": 10_000, "events": 100_000, "entries": 100_000, "versions": 2_000},
}


def filled(server: EmbeddedServer, name: str) -> str:
    """A database of that size; its address."""
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE lists_{name}")
    url = server.url(f"lists_{name}")
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FILL.format(**SIZES[name]).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
    return url


@contextlib.asynccontextmanager
async def console(url: str, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """The app over the real house, after its first paint."""
    house = House(
        {
            "SOPHIA_STORE_URL": url,
            "SOPHIA_DATA_DIR": str(folder / "data"),
            "FINETUNE_DIR": str(folder / "finetune"),
        },
        readonly=True,  # nobody's worker is woken
    )
    app = SophiaApp(house.dispatcher, lambda **given: house.context(Face.CONSOLE, **given))
    try:
        async with app.run_test(size=(80, 24)) as pilot:
            await reached(lambda: app.painted.is_set() and app.screen.state == "full")
            yield app, pilot
    finally:
        await house.close()


async def reached(condition: Callable[[], bool]) -> None:
    """Wait for it. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(TICK)


async def timed(pilot: Any, key: str, condition: Callable[[], bool]) -> float:
    """Milliseconds from the key to what it leads to, drawn."""
    started = time.perf_counter()
    await pilot.press(key)
    await reached(condition)
    await pilot.pause()
    return 1000 * (time.perf_counter() - started)


def digit(name: str) -> str:
    return next(each.key for each in keys.SCREENS if each.target == f"screen.{name}")


async def measured(url: str, folder: Path) -> dict[str, float]:
    """One run through all lists."""
    found: dict[str, float] = {}
    async with console(url, folder) as (app, pilot):
        for name in SCREENS:
            gc.collect()
            found |= {f"{name}: {what}": taken for what, taken in await of_one(app, pilot, name)}
        await pilot.press(digit("jobs"))
        jobs = app.screen
        await pilot.press("slash", *"failed")
        found["jobs: filter"] = await timed(pilot, "enter", lambda: jobs._looked_for == "failed")
        await pilot.press("escape")
        await reached(lambda: jobs._looked_for == "" and BUSY in jobs.rows)
        jobs.table.move_cursor(list(jobs.rows).index(BUSY))
        opened = await timed(pilot, "enter", lambda: jobs.told_of == BUSY)
        found["jobs: open the busy one"] = opened
    return found


async def of_one(app: Any, pilot: Any, name: str) -> list[tuple[str, float]]:
    """What one list takes."""

    def there() -> bool:
        screen = app.screen
        return getattr(screen, "name_of_screen", "") == name and screen.state == "full"

    found = [("open", await timed(pilot, digit(name), there))]
    screen, steps = app.screen, []
    for place in range(1, 9):
        steps.append(await timed(pilot, "down", partial(_is_at, screen, place)))
    found.append(("cursor", statistics.median(steps)))
    good = screen._good_at
    found.append(("look again", await timed(pilot, "r", lambda: screen._good_at != good)))
    await pilot.press("equals_sign")
    found.append(
        ("sort", await timed(pilot, "2", lambda: bool(screen._sort) and _is_at(screen, 0)))
    )
    return found


def _is_at(screen: Any, place: int) -> bool:
    return bool(screen.table.cursor_row == place)


async def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o711)  # root's server account passes through
        server = EmbeddedServer(folder / "postgres")
        server.start()
        try:
            urls = {name: filled(server, name) for name in SIZES}
            found: dict[str, list[dict[str, float]]] = {name: [] for name in SIZES}
            for run in range(runs + 1):
                for name, url in urls.items():
                    taken = await measured(url, folder / name)
                    if run:  # the first one imports what it needs
                        found[name].append(taken)
            report(found)
        finally:
            server.halt()


def report(found: dict[str, list[dict[str, float]]]) -> None:
    print(f"{'milliseconds':<28}{'small':>9}{'large':>9}{'ratio':>8}")
    for name in found["small"][0]:
        small, large = (
            statistics.median(each[name] for each in found[size]) for size in ("small", "large")
        )
        print(f"{name:<28}{small:>9.1f}{large:>9.1f}{large / small:>8.2f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
