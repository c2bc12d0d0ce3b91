"""How much planted personal data is found, how much of clean text is altered, and how fast.

    python -m tests.benchmarks.personal_benchmark [--count 2000] [--peers PYTHON]

Planted values and look-alikes come from planted_texts, which knows nothing of Sophia's patterns. A
value counts as found when no letter and no digit of it would stay. `named` is the share that was
also called by its kind. PYTHON is one that has presidio-analyzer.
"""

import argparse
import itertools
import json
import random
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import planted_texts
from tests.benchmarks.planted_texts import Planted

#: The kinds of ours that name what was planted.
NAMES = {"address": {"address", "cep"}}
Spans = list[tuple[int, int, str]]


@dataclass(frozen=True)
class Recall:
    found: float
    named: float


def ours(text: str) -> Spans:
    """What Sophia finds at first sight; a redaction looks again at what is left."""
    from sophia_tui.datasets.personal import find

    return [(each.start, each.end, each.kind.value) for each in find(text)]


def recall(planted: list[Planted], spans: list[Spans]) -> tuple[Recall, list[Planted]]:
    """The share found, and those that were not."""
    missed = [each for each, found in zip(planted, spans, strict=True) if not _gone(each, found)]
    named = sum(
        _gone(each, [one for one in found if one[2] in NAMES.get(each.kind, {each.kind})])
        for each, found in zip(planted, spans, strict=True)
    )
    return Recall(1 - len(missed) / len(planted), named / len(planted)), missed


def _gone(planted: Planted, found: Spans) -> bool:
    return all(
        any(start <= place < end for start, end, _kind in found)
        for first, last in planted.spans
        for place in range(first, last)
        if planted.text[place].isalnum()
    )


def altered(spans: list[Spans]) -> float:
    return sum(bool(each) for each in spans) / len(spans)


# --- the report ---


class _Presidio:
    """What presidio finds: all of it, and what it is more or less sure of."""

    SURE = 0.4

    def __init__(self, python: str, texts: list[str]) -> None:
        done = subprocess.run(
            [python, str(Path(__file__).with_name("presidio_peer.py"))],
            input=json.dumps(texts),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        told = json.loads(done.stdout)
        self.recognisers: list[str] = told["recognisers"]
        self.seconds: float = told["seconds"]
        self.columns = [
            [
                [(start, end, "") for start, end, score in each if score >= least]
                for each in told["spans"]
            ]
            for least in (0, self.SURE)
        ]


class _Table:
    """Ours, and beside it the peer's columns."""

    def __init__(self, ours: list[Spans], peer: _Presidio | None) -> None:
        self.ours = ours
        self.columns = peer.columns if peer else []

    def planted(self, kind: str, group: list[Planted], first: int) -> list[Planted]:
        here = slice(first, first + len(group))
        rate, missed = recall(group, self.ours[here])
        goal = 0.99 if kind in planted_texts.CHECKED else 0.97
        others = "".join(f"{recall(group, each[here])[0].found:10.4f}" for each in self.columns)
        print(f"{kind:12} {len(group):7,} {rate.found:8.4f} {rate.named:8.4f} {goal:6} {others}")
        return missed

    def clean(self, name: str, first: int, last: int, goal: str = "") -> None:
        others = "".join(f"{altered(each[first:last]):10.4f}" for each in self.columns)
        ours = altered(self.ours[first:last])
        print(f"{name:12} {last - first:7,} {ours:8.4f} {goal:>15} {others}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="values of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", metavar="PYTHON", help="one that has presidio-analyzer")
    parser.add_argument("--missed", type=int, default=0, help="show so many of each kind")
    options = parser.parse_args()
    count, seed, shown = options.count, options.seed, options.missed
    planted = {kind: planted_texts.planted(kind, count, seed) for kind in planted_texts.KINDS}
    alike = {
        kind: planted_texts.look_alikes(kind, count // 4, seed)
        for kind in planted_texts.LOOK_ALIKES
    }
    clean = planted_texts.clean(count * 5, seed)
    texts = [each.text for group in planted.values() for each in group]
    with_values = len(texts)
    texts += [text for group in alike.values() for text in group] + clean
    for text in texts[:: max(1, len(texts) // 200)]:  # imports are not counted
        ours(text)
    started = time.perf_counter(), time.process_time()
    found = [ours(text) for text in texts]
    took, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    peer = _Presidio(options.peers, texts) if options.peers else None
    table = _Table(found, peer)

    print(
        f"{len(texts):,} texts, {sum(len(text.encode()) for text in texts):,} bytes, seed {seed}\n"
    )
    beside = f"  presidio  sure ({_Presidio.SURE})" if peer else ""
    print(f"{'planted':12} {'values':>7} {'found':>8} {'named':>8} {'goal':>6} {beside}")
    place = 0
    for kind, group in planted.items():
        for each in table.planted(kind, group, place)[:shown]:
            print("     ", [each.text[start:end] for start, end in each.spans], repr(each.text))
        place += len(group)
    print(f"\n{'not planted':12} {'texts':>7} {'altered':>8} {'goal':>15} {beside}")
    for kind, texts_of in alike.items():
        table.clean(kind, place, place + len(texts_of))
        place += len(texts_of)
    table.clean("look-alikes", with_values, place)
    table.clean("clean", place, len(texts), "0.005")
    odd = [text for text, spans in zip(texts, found, strict=True) if spans][with_values:]
    for text in odd[: shown * 10]:
        print("     ", repr(text))

    values = len(planted) * count
    print(
        f"\nours: {took:.2f} s, {len(texts) / took:,.0f} texts/s, {values / took:,.0f} values/s",
        end="",
    )
    print(f" ({busy:.2f} s of processor time)")
    if peer:
        print(f"presidio: {peer.seconds:.2f} s, {len(texts) / peer.seconds:,.0f} texts/s,", end="")
        print(f" {values / peer.seconds:,.0f} values/s; without a language model, its recognisers")
        print(f"  {', '.join(peer.recognisers)}")
        print(f"ours: {peer.seconds / took:.1f} times as fast")
    _measure_gate(clean, [each.text for group in planted.values() for each in group])


def _measure_gate(clean: list[str], planted: list[str], rows: int = 60_000) -> None:
    """The gate alone, and an inspection's probe, on JSON lines of which 1 in 20 holds something."""
    from sophia_tui.datasets.fast import FastReader
    from sophia_tui.datasets.personal_gate import suspects
    from sophia_tui.datasets.personal_probe import PERSONAL, PersonalProbe

    rng = random.Random(1)
    lines = []
    for number in range(rows):
        said = rng.choices(clean, k=6) + ([rng.choice(planted)] if number % 20 == 0 else [])
        row = {"question": said[0], "answer": "\n".join(said[1:])}
        lines.append(json.dumps(row, ensure_ascii=False).encode())
    size = 2 << 20
    data = b"\n".join(lines)
    cuts = [0]
    while cuts[-1] < len(data):
        cuts.append(data.find(b"\n", cuts[-1] + size) + 1 or len(data))
    reader = FastReader()
    blocks = [reader.read(data[start:end]) for start, end in itertools.pairwise(cuts)]
    probe = PersonalProbe(PERSONAL)
    for name, look in (("gate", lambda b: list(suspects(b.data))), ("gate and probe", probe.look)):
        started = time.perf_counter(), time.process_time()
        held = sum(len(look(block)) for block in blocks)
        took, busy = time.perf_counter() - started[0], time.process_time() - started[1]
        print(
            f"{name}: {len(data) / took / 1e6:,.0f} MB/s, {len(data) / busy / 1e6:,.0f} MB for a",
            end="",
        )
        print(f" second of processor time; {held:,} of {rows:,} rows")


if __name__ == "__main__":
    main()
