"""Prints how fast a data set is cleaned and split, and in how much memory: MB/s, processor seconds
(which count on a busy machine), and the peak of all processes together.

python -m tests.benchmarks.prepare_benchmark [megabytes, default 1000] [processes, default all]
"""

import os
import resource
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from sophia_tui.datasets.pipeline import Request, prepare
from tests.benchmarks.datasets_benchmark import ROWS_A_GIGABYTE, memory_of, write_rows

_SAMPLE_SECONDS = 0.1


class Memory:
    """The most MB that this process and those below it held at once, shared pages counted once."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_unused: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, memory_of(os.getpid()))


def _processor_seconds() -> float:
    """Of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        data, scratch = Path(folder, "data"), Path(folder, "scratch")
        data.mkdir()
        scratch.mkdir()
        rows = megabytes * ROWS_A_GIGABYTE // 1000
        size = write_rows(data / "rows.jsonl", rows)
        stages: dict[str, float] = {}
        before = _processor_seconds()
        started = time.perf_counter()

        def tell(stage: str, done: int, total: int | None) -> None:
            stages[stage] = time.perf_counter() - started

        with Memory() as memory:
            report = prepare(
                Request(
                    folder=str(data),
                    scratch=str(scratch),
                    name="benchmark",
                    created_at=datetime.now(UTC),
                    target=str(Path(folder, "datasets")),
                    processes=processes,
                ),
                tell,
            )
        seconds = time.perf_counter() - started
        worked = _processor_seconds() - before
    counts = report.manifest["counts"]
    print(
        f"{rows:,} rows, {size / 1e6:,.0f} MB in {seconds:.1f} s: {size / seconds / 1e6:.0f} MB/s"
    )
    print(f"{worked:.1f} processor seconds: {size / worked / 1e6:.0f} MB for each")
    print(f"{rows / seconds:,.0f} rows/s, peak of all processes {memory.peak:.0f} MB")
    print("ended after: " + ", ".join(f"{stage} {at:.1f} s" for stage, at in stages.items()))
    print(f"{report.manifest['sum']}; {report.manifest['redactions']}; train {counts['train']:,}")


if __name__ == "__main__":
    main()
