"""Prints how fast files of training data are inspected and cleaned, and in how much memory.

python tests/benchmarks/datasets_benchmark.py [--rows 881993] [--growth 0.1 1 10] [--of structure]
    [--peers PYTHON]

Makes chats in Portuguese and English (881,993 rows are 1.0 GB) in a temporary folder. Each
contender is a process of its own, timed from its start to its end; its memory is that of all its
processes together (PSS, looked at 20 times a second). On a machine that others use, too, compare
the seconds of the processors. The peers are asked for the same verdict on
structure (roles, texts that are not blank, the assistant last) and exact duplicates, jq for the
structure alone; below each stands how many times as fast ours is at the structure. PYTHON is one
that has `datasets` and `polars`. `--growth` are sizes in GB for ours alone, `--of` what is done
with them.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROWS_A_GIGABYTE = 881_993
GOALS = {"structure": 600, "personal": 250, "everything": 50, "clean": 120}
_TEXT = """pedido entrega prazo queijo troca nota caixa frete leite café não você quando segunda
feira às horário atendimento endereço devolução garantia the order was shipped on monday and should
arrive within five working days please keep your receipt if anything is missing"""
_JQ = """select(((.messages | type) != "array") or (.messages | length == 0)
  or (.messages[-1].role != "assistant")
  or any(.messages[]; (.role | IN("system", "user", "assistant") | not)
    or ((.content | type) != "string") or (.content | test("\\\\S") | not)))"""


@dataclass(frozen=True)
class Figures:
    """Wall clock, seconds of all processors together, MB of memory, and what was printed."""

    seconds: float
    worked: float
    peak: float
    told: str


def write_rows(path: Path, rows: int) -> int:
    """About 1,134 bytes a row; 1 in 50 is a duplicate, 1 in 40 has personal data. Returns bytes."""
    chance = random.Random(42)
    said = [" ".join(chance.choices(_TEXT.split(), k=chance.randint(8, 18))) for _ in range(20_000)]
    said += [f'"{each}"\n' for each in said[:1000]]
    pool = [json.dumps(f"{each.capitalize()}. ", ensure_ascii=False)[1:-1] for each in said]
    system = '{"messages": [{"role": "system", "content": "Você atende a loja. '
    turn = '{"role": "user", "content": "'
    answer = '"}, {"role": "assistant", "content": "'
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            parts = chance.choices(pool, k=10)
            if number % 40 == 1:
                parts[3] += (
                    f"CPF 529.982.247-25, ana{number}@example.com, (35) 98{number % 10**7:07}."
                )
            asked = "".join(parts[:3])
            first = f"{turn}{asked}{number}?{answer}{''.join(parts[3:6])}"
            second = f'"}}, {turn}{parts[6]}{answer}{"".join(parts[7:])}'
            row = f'{system}{parts[0]}"}}, {first}{second}"}}]}}\n'
            if number % 50 or not number:
                last = row
            stream.write(last)
    return path.stat().st_size


def processes_of(root: int) -> list[int]:
    """The process and all below it."""
    found = [root]
    for process in found:
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        except OSError:
            continue
        found += map(int, children)
    return found


def memory_of(root: int) -> float:
    """MB of all processes together, what they share counted once."""
    total = 0
    for process in processes_of(root):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def run(command: list[str], folder: Path) -> Figures:
    started, worked = time.perf_counter(), worked_by_children()
    environment = {**os.environ, "HF_HOME": str(folder), "PYTHONPATH": str(HERE.parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=folder)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory_of(process.pid))
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    assert process.stdout is not None  # asked for above
    told = process.stdout.read().decode().strip()
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Figures(seconds, worked_by_children() - worked, peak, told)


def worked_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(what: str, path: Path) -> list[str]:
    return [sys.executable, str(HERE / "datasets_contender.py"), what, str(path)]


def show(name: str, size: int, figures: Figures, goal: int = 0) -> float:
    rate = size / 1e6 / figures.seconds
    wanted = f", goal {goal}" if goal else ""
    print(
        f"{name:22}{rate:8.0f} MB/s{wanted:12}{figures.seconds:8.1f} s"
        f"{figures.worked:8.1f} cpu s{figures.peak:8.0f} MB  "
        f"{figures.told}",
        flush=True,
    )
    return rate


def compare(folder: Path, rows: int, peers: str | None) -> None:
    path = folder / "rows.jsonl"
    size = write_rows(path, rows)
    print(f"{rows:,} rows, {size / 1e6:,.0f} MB, {len(os.sched_getaffinity(0))} cores")
    rates = {}
    for what, goal in GOALS.items():
        rates[what] = show(f"ours: {what}", size, run(ours(what, path), folder), goal)
    peer = str(HERE / "datasets_peer.py")
    others = {"json, line by line": [sys.executable, peer, "json", str(path)]}
    if peers:
        others |= {name: [peers, peer, name, str(path)] for name in ("datasets", "polars")}
    if jq := shutil.which("jq"):
        others["jq, structure alone"] = [jq, "-c", _JQ, str(path)]
    for name, command in others.items():
        rate = show(name, size, run(command, folder))
        print(f"  ours, structure: {rates['structure'] / rate:.1f} times as fast")


def grow(folder: Path, sizes: list[float], works: list[str]) -> None:
    """The same on files of several sizes: the rate should not fall, nor the memory rise."""
    for gigabytes in sizes:
        path = folder / "grown.jsonl"
        size = write_rows(path, int(gigabytes * ROWS_A_GIGABYTE))
        for what in works:
            show(f"{what}, {gigabytes} GB", size, run(ours(what, path), folder), GOALS[what])
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS_A_GIGABYTE)
    parser.add_argument("--growth", type=float, nargs="*", default=[])
    parser.add_argument("--of", nargs="+", choices=GOALS, default=list(GOALS))
    parser.add_argument("--peers")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="datasets-") as folder:
        if asked.rows:
            compare(Path(folder), asked.rows, asked.peers)
        grow(Path(folder), asked.growth, asked.of)


if __name__ == "__main__":
    main()
