"""Prints how well and how fast near-duplicates are found, beside rensa alone in the same run, and
how many planted contradictions are found and none of them taken for a duplicate.

python tests/benchmarks/near_benchmark.py [rows, default 100000] [--peers PYTHON]

PYTHON is of an environment with datasketch. rensa and datasketch run as is usual: 3-word shingles,
128 permutations, 16 bands, every candidate of one bucket taken, and taken only from an estimated
similarity of 0.7 on. Each contender runs in a process of its own, on the same texts.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.benchmarks.near_truth import Truth, contradicting_truth, near_truth

if TYPE_CHECKING:
    from sophia_tui.datasets.contradictions import Asked, Contradiction

PERMUTATIONS, BANDS, SIMILAR = 128, 16, 0.7
CONTRADICTIONS = 2_000

#: Groups of places in the texts.
Groups = list[list[int]]


@dataclass(frozen=True)
class Found:
    seconds: float
    peak_mb: float
    before_mb: float
    groups: Groups


@dataclass(frozen=True)
class Score:
    """`recall`: of the records edited from another one, those that stand in its group. `precision`:
    of the records that would be dropped, those that mean what the kept one means."""

    recall: float
    precision: float
    by_kind: dict[str, float]


def score(truth: Truth, groups: Groups) -> Score:
    group_of = {place: number for number, group in enumerate(groups) for place in group}
    origin: dict[int, int] = {}
    for place, record in enumerate(truth.records):
        if record.kind in ("base", "sibling"):
            origin[record.meaning] = place
    for place, record in enumerate(truth.records):
        origin.setdefault(record.meaning, place)
    found: Counter[str] = Counter()
    planted: Counter[str] = Counter()
    for place, record in enumerate(truth.records):
        home = origin[record.meaning]
        if place != home:
            planted[record.kind] += 1
            found[record.kind] += group_of.get(place, -1) == group_of.get(home, -2)
    dropped = right = 0
    for kept, *others in groups:
        dropped += len(others)
        meant = truth.records[kept].meaning
        right += sum(truth.records[other].meaning == meant for other in others)
    return Score(
        found.total() / max(1, planted.total()),
        right / max(1, dropped),
        {kind: found[kind] / planted[kind] for kind in sorted(planted)},
    )


def ours(texts: list[str]) -> Groups:
    from sophia_tui.datasets.near import THRESHOLD, find_near

    found = find_near(enumerate(texts), THRESHOLD)
    return [[cluster.kept, *cluster.others] for cluster in found]


def _shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))]


def rensa(texts: list[str]) -> Groups:
    return _rensa(texts, 0.0)


def rensa_checked(texts: list[str]) -> Groups:
    return _rensa(texts, SIMILAR)


def _rensa(texts: list[str], least: float) -> Groups:
    from rensa import RMinHash, RMinHashLSH

    hashes = []
    for start in range(0, len(texts), 2_000):
        sets = [_shingles(text) for text in texts[start : start + 2_000]]
        hashes += RMinHash.from_token_sets(sets, PERMUTATIONS, 42)
    index = RMinHashLSH(SIMILAR, PERMUTATIONS, BANDS)
    index.insert_many(hashes)
    return _grouped(
        len(texts),
        lambda place: [
            other
            for other in index.query(hashes[place])
            if other > place and (not least or hashes[place].jaccard(hashes[other]) >= least)
        ],
    )


def datasketch(texts: list[str]) -> Groups:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, PERMUTATIONS // BANDS))
    hashes = []
    for place, text in enumerate(texts):
        one = MinHash(num_perm=PERMUTATIONS)
        one.update_batch([shingle.encode() for shingle in _shingles(text)])
        hashes.append(one)
        index.insert(place, one)
    return _grouped(
        len(texts),
        lambda place: [
            other
            for other in index.query(hashes[place])
            if other > place and hashes[place].jaccard(hashes[other]) >= SIMILAR
        ],
    )


def _grouped(count: int, near: Callable[[int], list[int]]) -> Groups:
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for place in range(count):
        for other in near(place):
            parent[root(other)] = root(place)
    groups: dict[int, list[int]] = {}
    for place in range(count):
        groups.setdefault(root(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


CONTENDERS: dict[str, Callable[[list[str]], Groups]] = {
    "ours": ours,
    "rensa": rensa,
    "rensa, similar": rensa_checked,
    "datasketch": datasketch,
}


def measure(name: str, rows: int) -> Found:
    texts = [record.text for record in near_truth(rows).records]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    groups = CONTENDERS[name](texts)
    seconds = time.perf_counter() - started
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    helpers = 2 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Found(seconds, (own + helpers) / 1024, before / 1024, groups)


def _measured(name: str, rows: int, python: str) -> Found:
    with tempfile.NamedTemporaryFile("r") as answer:
        command = [python, __file__, str(rows), "--contender", name, "--answer", answer.name]
        subprocess.run(command, check=True)
        return Found(**json.load(answer))


def contradicting(rows: "list[Asked]") -> "list[Contradiction]":
    """As the product finds them."""
    from sophia_tui.datasets.contradictions import find_contradictions
    from sophia_tui.datasets.near import find_near

    questions = find_near((each.row, each.question) for each in rows)
    return find_contradictions(questions, {each.row: each for each in rows})


def contradictions() -> str:
    from sophia_tui.datasets.contradictions import Asked
    from sophia_tui.datasets.near import find_near

    truth = contradicting_truth(CONTRADICTIONS)
    records = truth.records
    planted = {(min(pair), max(pair)) for pair in truth.contradicting}
    listed = contradicting([Asked(n, each.question, each.answer) for n, each in enumerate(records)])
    found = {(each.first, each.second) for each in listed}
    agreeing = sum(records[one].meaning == records[two].meaning for one, two in found)
    dropped = 0
    for cluster in find_near((n, each.text) for n, each in enumerate(records)):
        inside = {cluster.kept, *cluster.others}
        dropped += sum(one in inside and two in inside for one, two in planted)
    return (
        f"contradictions: {len(planted)} planted, {len(found & planted) / len(planted):.4f} found, "
        f"{dropped} dropped; {len(found)} listed, {agreeing} of them say the same"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=100_000)
    parser.add_argument("--peers", default="")
    parser.add_argument("--contender", default="", help=argparse.SUPPRESS)
    parser.add_argument("--answer", default="", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        Path(asked.answer).write_text(json.dumps(asdict(measure(asked.contender, asked.rows))))
        return
    truth = near_truth(asked.rows)
    contenders = [(name, sys.executable) for name in ("ours", "rensa", "rensa, similar", "ours")]
    if asked.peers:
        contenders.append(("datasketch", asked.peers))
    rates: dict[str, list[float]] = {}
    for name, python in contenders:
        found = _measured(name, asked.rows, python)
        got = score(truth, found.groups)
        print(
            f"{name:15} {asked.rows / found.seconds:10,.0f} rows/s  recall {got.recall:.4f}  "
            f"precision {got.precision:.4f}  peak {found.peak_mb:,.0f} MB "
            f"({found.before_mb:,.0f} before)",
            flush=True,
        )
        rates.setdefault(name, []).append(asked.rows / found.seconds)
        if name == "ours":
            print(" " * 16 + ", ".join(f"{kind} {of:.3f}" for kind, of in got.by_kind.items()))
    mine = max(rates.pop("ours"))
    for name, [rate] in rates.items():
        print(f"ours, the better of two: {mine / rate:.2f} times as fast as {name}")
    print(contradictions())


if __name__ == "__main__":
    main()
