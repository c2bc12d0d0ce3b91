"""The export of qa_cache beside `psql \\copy` of a query that builds the same JSON, in one run.

    python -m tests.benchmarks.export_benchmark [--rows 1000000] [--rounds 3]

Ours is the whole of `collect.run` in a fresh process: JSON, provenance, manifest, hash and fsync.
psql's is one command with the rows in the same order; a second one without any order is shown too.
Exits with 1 where ours is slower than psql in the same order, or takes more than 150 MB.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from sophia_tui.store import embedded_program
from sophia_tui.store.embedded import EmbeddedServer

MEGABYTES = 150
# a cache as it grows: rows in the order of their time, and the index of the samples' schema
FILL = """
CREATE TABLE qa_cache (qhash text PRIMARY KEY, question text, answer text, citations jsonb,
                       created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO qa_cache
SELECT md5(i::text),
       'Pergunta nº ' || i || ': como troco a "encomenda" ' || md5((i * 7)::text) || '?',
       'Resposta ' || i || E': abra o chamado\\nem C:\\\\temp. ' || repeat(md5(i::text), 4),
       jsonb_build_array(jsonb_build_object('doc_id', i %% 1000, 'title', 'Manual "' || (i %% 50)
                                            || '"', 'score', 0.81)),
       now() - interval '29 days' * (1 - i / %s.0)
FROM generate_series(1, %s) i;
CREATE INDEX qa_cache_created_at ON qa_cache (created_at);
"""

SAME_JSON = (
    "SELECT json_build_object('question', question, 'answer', answer, 'citations', citations)"
    " FROM qa_cache WHERE created_at >= now() - interval '30 days' AND created_at < now()"
)
ORDER = ' ORDER BY created_at, qhash COLLATE "C"'


@dataclass(frozen=True)
class Measured:
    """Wall-clock seconds and the process's largest resident memory in MB."""

    seconds: float
    megabytes: float


def measure(command: list[str], environment: dict[str, str]) -> Measured:
    """Run one process to its end."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{command[0]} ended with {process.returncode}")
    return Measured(seconds, usage.ru_maxrss / 1024)


async def collect(folder: str) -> None:
    """Ours, in the fresh process."""
    from sophia_tui.domain.context import Context, Face, Role
    from sophia_tui.paths import Paths
    from sophia_tui.services.collect import CollectRequest, CollectService
    from sophia_tui.settings import load
    from sophia_tui.store.source import open_source

    class Clock:
        def now(self) -> datetime:
            return datetime.now(UTC)

    settings = load({"DATABASE_URL": os.environ["DATABASE_URL"], "FINETUNE_DIR": folder})
    service = CollectService(lambda: open_source(settings, Paths(Path(folder))), settings, Clock())
    context = Context("benchmark", Face.CLI, Role.OPERATOR)
    await service.run(context, CollectRequest(what=["qa_cache"]))


def same(ours: Path, theirs: Path, every: int) -> int:
    """How many lines are the same JSON; raises where one is not."""
    compared = 0
    with ours.open("rb") as left, theirs.open("rb") as right:
        for number, (one, two) in enumerate(zip(left, right, strict=True)):
            if number % every == 0:
                unescaped = two.replace(b"\\\\", b"\\")  # what COPY's text form doubled
                assert json.loads(one) == json.loads(unescaped), f"line {number + 1} differs"
                compared += 1
    return compared


def run(rows: int, rounds: int, folder: Path, url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (FILL % (rows, rows)).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE qa_cache")
        connection.execute("CHECKPOINT")
    psql = embedded_program.packaged().path("psql")
    if not Path(psql).exists():
        psql = shutil.which("psql") or "psql"
    environment = {**os.environ, "DATABASE_URL": url, "LC_ALL": "C.UTF-8"}
    base = [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c"]
    copy = "\\copy ({}) TO '{}'"
    contenders = {
        "ours": [sys.executable, "-m", "tests.benchmarks.export_benchmark", "--ours", str(folder)],
        "psql": [*base, copy.format(SAME_JSON + ORDER, folder / "psql.jsonl")],
        "psql, no order": [*base, copy.format(SAME_JSON, folder / "psql-unordered.jsonl")],
    }
    found: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _round in range(rounds):
        for name, command in contenders.items():
            found[name].append(measure(command, environment))
    compared = same(folder / "qa_cache.jsonl", folder / "psql.jsonl", max(1, rows // 50_000))
    return report(rows, found, compared, (folder / "qa_cache.jsonl").stat().st_size)


def report(rows: int, found: dict[str, list[Measured]], compared: int, size: int) -> int:
    """Print the table; 1 where the target is missed."""
    medians = {name: statistics.median(m.seconds for m in each) for name, each in found.items()}
    print(f"{rows} rows, {size / 1e6:.0f} MB, {os.cpu_count()} cores; {compared} lines compared")
    for name, each in found.items():
        times = ", ".join(f"{one.seconds:.2f}" for one in each)
        peak = max(one.megabytes for one in each)
        ratio = medians["ours"] / medians[name]
        print(
            f"{name:16} {medians[name]:7.2f} s  ({times})  {peak:5.0f} MB"
            f"  {rows / medians[name]:9.0f} rows/s  ours/this {ratio:.2f}"
        )
    ratio = medians["ours"] / medians["psql"]
    peak = max(one.megabytes for one in found["ours"])
    good = ratio <= 1.0 and peak <= MEGABYTES
    print(f"ratio {ratio:.2f} (target 1.00), peak {peak:.0f} MB (target {MEGABYTES})")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        asyncio.run(collect(given.ours))
        return 0
    folder = Path(tempfile.mkdtemp(prefix="sophia-bench-"))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # root's server account passes through
    server = EmbeddedServer(folder / "postgres")
    server.start()
    try:
        (folder / "out").mkdir()
        return run(given.rows, given.rounds, folder / "out", server.url())
    finally:
        server.halt()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
