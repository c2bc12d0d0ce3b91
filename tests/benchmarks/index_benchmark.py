"""Prints how fast a large file is looked into: first page, index, jumps, search; beside wc, sed and
grep in the same run.

python tests/benchmarks/index_benchmark.py [MB, default 1000] [folder for the file]
"""

import asyncio
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sophia_tui.datasets import index
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.paths import Paths
from sophia_tui.services.browse import BrowseService
from sophia_tui.services.browse_views import BrowseInput, SearchInput

WORDS = ("pedido", "entrega", "prazo", "queijo", "troca", "nota", "caixa", "frete", "leite", "ação")
NEEDLE = "agulha no palheiro"


def write_rows(path: Path, megabytes: int) -> int:
    """Chat rows of about 1.1 kB; a needle in the last but one. Returns the number of lines."""
    chance = random.Random(42)
    block, lines = [], 0
    for _each in range(2000):
        asked, said = (" ".join(chance.choices(WORDS, k=k)) for k in (30, 130))
        row = {
            "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
        }
        block.append(json.dumps(row, ensure_ascii=False))
    body = ("\n".join(block) + "\n").encode()
    with path.open("wb") as stream:
        while stream.tell() < megabytes * 1_000_000:
            stream.write(body)
            lines += len(block)
        stream.write(f'{{"question": "{NEEDLE}", "answer": "x"}}\n{block[0]}\n'.encode())
    return lines + 2


class _Settings:
    def __init__(self, folder: Path) -> None:
        self.finetune_folder = folder


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def _no_store() -> Any:
    raise RuntimeError("no version is asked for")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def tool(*words: str) -> tuple[float, bytes]:
    """The seconds that a shell tool takes, and what it says."""
    seconds, done = timed(lambda: subprocess.run(words, capture_output=True, check=True))
    return seconds, done.stdout


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        path = Path(folder, "rows.jsonl")
        lines = write_rows(path, megabytes)
        size = path.stat().st_size / 1e6
        print(f"{size:,.0f} MB, {lines:,} lines")
        asyncio.run(measure(path, lines, size, Path(folder)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MB here, {children:.0f} MB in the largest process started")


async def measure(path: Path, lines: int, size: float, folder: Path) -> None:
    paths = Paths(folder / "data")
    service = BrowseService(_no_store, _Settings(folder), paths, _Clock())  # type: ignore[arg-type]
    context = Context(actor="benchmark", face=Face.CLI, role=Role.ADMIN)
    chance = random.Random(1)

    async def browse(**asked: Any) -> tuple[float, Any]:
        started = time.perf_counter()
        page = await service.browse(context, BrowseInput(file=str(path), **asked))
        return time.perf_counter() - started, page

    seconds, page = await browse(count=500)
    print(f"first page, 500 rows, no index: {seconds * 1000:.1f} ms")
    seconds, page = await browse(line=lines * 3 // 4, count=50)
    print(f"estimated place, no index: {seconds * 1000:.1f} ms, said to be exact: {page.exact}")

    seconds, _page = await browse(line=lines, count=1, exact=True)
    [kept] = paths.indexes.iterdir()
    built = f"{seconds:.2f} s, {size / seconds:,.0f} MB/s, {kept.stat().st_size / 1024:.0f} KiB"
    counted, told = tool("wc", "-l", str(path))
    assert int(told.split()[0]) == lines
    print(f"index with its process: {built}; wc -l: {counted:.2f} s, {size / counted:,.0f} MB/s")
    print(f"  ours: {counted / seconds:.2f} times as fast")

    wanted = [chance.randrange(1, lines - 50) for _each in range(100)]
    jumps = [(await browse(line=line, count=50))[0] * 1000 for line in wanted]
    print(f"jump, 50 rows: median {statistics.median(jumps):.1f} ms, worst {max(jumps):.1f} ms")
    with path.open("rb") as stream:
        found = index.load(paths.indexes, path, index.stamp_of(stream))
        assert found is not None
        place = found.place(stream, wanted[0])
        assert place is not None
        stream.seek(place.at)
        line = stream.readline()
    seconds, told = tool("sed", "-n", f"{wanted[0]}p;{wanted[0]}q", str(path))
    assert told == line
    print(f"sed -n {wanted[0]}p: {seconds * 1000:,.0f} ms")
    print(f"  ours, a jump: {seconds * 1000 / statistics.median(jumps):,.1f} times as fast")

    await searches(service, context, path, size)


async def searches(service: BrowseService, context: Context, path: Path, size: float) -> None:
    for name, asked, words in (
        ("text", {"text": NEEDLE, "match_case": True}, ("-c", "-F", NEEDLE)),
        ("text, any case", {"text": NEEDLE.upper()}, ("-c", "-i", "-F", NEEDLE.upper())),
        ("pattern", {"text": r"agulha \w+ palh[aeiou]+ro", "regex": True, "match_case": True},
         ("-c", "-E", r"agulha \w+ palh[aeiou]+ro")),
    ):  # fmt: skip
        started = time.perf_counter()
        found = await service.search(context, SearchInput(file=str(path), **asked))  # type: ignore[arg-type]
        ours = time.perf_counter() - started
        assert len(found.items) == 1
        theirs, told = tool("grep", *words, str(path))
        assert int(told) == 1
        print(f"{name}: {size / ours:,.0f} MB/s; grep {' '.join(words[:-1])}: {size / theirs:,.0f}")
        print(f"  ours: {theirs / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
