"""Prints how fast a data set is cleaned and split, and in how much memory: MB/s, processor seconds
(which count on a busy machine), and the peak of all processes together.

python -m tests.benchmarks.prepare_benchmark [megabytes, default 1000] [processes, default all]
"""

import json
import os
import random
import resource
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from sophia_tui.datasets.pipeline import Request, prepare

WORDS = [
    "pedido",
    "entrega",
    "prazo",
    "queijo",
    "troca",
    "nota",
    "caixa",
    "frete",
    "leite",
    "café",
    "não",
    "está",
    "você",
    "região",
    "the",
    "order",
    "of",
    "this",
    "cheese",
    "can",
    "be",
    "changed",
    "within",
    "days",
    "after",
    "delivery",
    "please",
    "tell",
    "us",
]
_SAMPLE_SECONDS = 0.1


def write_rows(path: Path, megabytes: int) -> int:
    """Chats of about 1,134 bytes: 1 in 40 holds personal data, 1 in 50 is a duplicate. Returns how
    many."""
    chance = random.Random(42)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(10, 45))) for _ in range(5000)]
    rows = 0
    line = ""
    with path.open("w", encoding="utf-8") as stream:
        while stream.tell() < megabytes * 1_000_000:
            for _number in range(1000):
                if rows % 50 or not rows:
                    line = json.dumps({"messages": _chat(chance, texts, rows)}, ensure_ascii=False)
                stream.write(line + "\n")
                rows += 1
    return rows


def _chat(chance: random.Random, texts: list[str], number: int) -> list[dict[str, str]]:
    said = [chance.choice(texts) for _ in range(6)]
    said[0] += f" {number}?"
    if number % 40 == 0:
        said[1] += f" CPF 529.982.247-25, ligue (35) 9{number % 10000:04}-0101"
    if number % 3 == 0:
        said[3] += '\nDisse "sim".'
    turns = [
        {"role": ("user", "assistant")[place % 2], "content": text}
        for place, text in enumerate(said)
    ]
    return [{"role": "system", "content": "Você responde pela loja."}, *turns]


class Memory:
    """The most that this process and those below it held at once, shared pages counted once."""

    def __init__(self) -> None:
        self.peak = 0
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
            total = 0
            me = psutil.Process(os.getpid())
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


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
        rows = write_rows(data / "rows.jsonl", megabytes)
        size = (data / "rows.jsonl").stat().st_size
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
    print(f"{rows / seconds:,.0f} rows/s, peak of all processes {memory.peak / 2**20:.0f} MB")
    print(f"{worked:.1f} processor seconds: {size / worked / 1e6:.0f} MB for each")
    print("ended after: " + ", ".join(f"{stage} {at:.1f} s" for stage, at in stages.items()))
    print(f"{report.manifest['sum']}; {report.manifest['redactions']}; train {counts['train']:,}")


if __name__ == "__main__":
    main()
