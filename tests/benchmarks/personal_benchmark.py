"""How much planted personal data is found, how much of clean text is altered, and how fast.

    python -m tests.benchmarks.personal_benchmark [--count 2000] [--peers PYTHON]

Planted values and look-alikes come from planted_texts, which knows nothing of Sophia's patterns. A
value counts as found when no letter and no digit of it would stay. `named` is the share that was
also called by its kind. PYTHON is one that has presidio-analyzer.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
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
    """As redaction finds them: until nothing is left to be found would need the text changed."""
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


@dataclass
class _Side:
    """What one of the compared finds in each text, and how long it took for all."""

    find: Callable[[list[str]], list[Spans]]
    seconds: float = 0.0


def _ours(texts: list[str]) -> list[Spans]:
    return [ours(text) for text in texts]


class _Presidio:
    def __init__(self, python: str) -> None:
        self.python = python
        self.recognisers: list[str] = []
        self.seconds = 0.0

    def __call__(self, texts: list[str]) -> list[Spans]:
        script = Path(__file__).with_name("presidio_peer.py")
        done = subprocess.run(
            [self.python, str(script)],
            input=json.dumps(texts),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        told = json.loads(done.stdout)
        self.recognisers, self.seconds = told["recognisers"], told["seconds"]
        return [[(start, end, "") for start, end in each] for each in told["spans"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers", help="a Python that has presidio-analyzer")
    parser.add_argument("--missed", type=int, default=0, help="show so many of each kind")
    options = parser.parse_args()
    count, seed = options.count, options.seed
    planted = {kind: planted_texts.planted(kind, count, seed) for kind in planted_texts.KINDS}
    alike = {
        kind: planted_texts.look_alikes(kind, count // 4, seed)
        for kind in planted_texts.LOOK_ALIKES
    }
    clean = planted_texts.clean(count * 5, seed)
    texts = [each.text for group in planted.values() for each in group]
    texts += [text for group in alike.values() for text in group] + clean
    _ours(texts[:: max(1, len(texts) // 200)])  # imports are not counted
    started = time.perf_counter()
    found = _ours(texts)
    took = time.perf_counter() - started
    peer = _Presidio(options.peers) if options.peers else None
    theirs = peer(texts) if peer else None

    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts):,} texts, {size:,} bytes, seed {seed}\n")
    print(f"{'planted':12} {'values':>7} {'found':>8} {'named':>8} {'goal':>6}   presidio")
    place = 0
    for kind, group in planted.items():
        here = slice(place, place := place + len(group))
        rate, missed = recall(group, found[here])
        goal = 0.99 if kind in planted_texts.CHECKED else 0.97
        other = f"{recall(group, theirs[here])[0].found:8.4f}" if theirs else ""
        print(f"{kind:12} {count:7,} {rate.found:8.4f} {rate.named:8.4f} {goal:6} {other}")
        _show(missed, options.missed)
    print(f"\n{'not planted':12} {'texts':>7} {'altered':>8} {'goal':>15}   presidio")
    first = place
    for kind, group in (*alike.items(), ("clean", clean)):
        here = slice(place, place := place + len(group))
        if kind == "clean":
            _line("look-alikes", first, here.start, found, theirs)
        _line(kind, here.start, here.stop, found, theirs, "0.005" if kind == "clean" else "")
        hits = [(t, s) for t, s in zip(group, found[here], strict=True) if s]
        for text, spans in hits[: options.missed]:
            print("     ", Counter(k for *_p, k in spans), repr(text))
    print(f"\nours: {took:.2f} s, {len(texts) / took:,.0f} texts/s")
    if peer:
        print(f"presidio: {peer.seconds:.2f} s, {len(texts) / peer.seconds:,.0f} texts/s,")
        print(f"  without a language model; ran {', '.join(peer.recognisers)}")


def _line(
    name: str, start: int, stop: int, found: list[Spans], theirs: list[Spans] | None, goal: str = ""
) -> None:
    other = f"{altered(theirs[start:stop]):8.4f}" if theirs else ""
    print(f"{name:12} {stop - start:7,} {altered(found[start:stop]):8.4f} {goal:>15} {other}")


def _show(missed: list[Planted], most: int) -> None:
    for each in missed[:most]:
        print("     ", [each.text[start:end] for start, end in each.spans], repr(each.text))


if __name__ == "__main__":
    sys.exit(main())
