"""The seeded split: which examples are learnt from, which are held out.

A group is every example with the same first question (white space, case and Unicode forms put
aside), so that a question never lies on both sides. Groups stand in the order of a hash of seed and
question; the first are held out until the wanted number of examples is reached. So the split
depends on the examples and the seed alone, not on files, order or machine.
"""

import hashlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from sophia_tui.domain.datasets import Example, Pair

VERSION = 1

#: What may be asked for, as percent of train, valid and test.
SHARES: dict[str, tuple[int, int, int]] = {
    "80/20": (80, 20, 0),
    "90/10": (90, 10, 0),
    "80/10/10": (80, 10, 10),
    "100/0": (100, 0, 0),
}

TRAIN, VALID, TEST = "train", "valid", "test"


def group_key(example: Example | Pair) -> str:
    """What examples of one group have in common: the first user message, else all there is."""
    for message in example.messages:
        if message.role == "user":
            return _plain(message.content)
    return _plain("\n".join(message.content for message in example.messages))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def place_of(seed: int, group: str) -> int:
    """The group's place in the order, 0 to 2**64 - 1."""
    digest = hashlib.blake2b(group.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big")


#: Where examples stand whose side was said: the validation file's, and the others'.
HELD_OUT, LEARNT = 0, 1


@dataclass(frozen=True)
class Split:
    """Places up to `valid` are held out for validation, from there up to `test` for the test."""

    valid: int
    test: int

    def side(self, place: int) -> str:
        if place <= self.valid:
            return VALID
        return TEST if place <= self.test else TRAIN


def plan(places: Iterable[int], shares: tuple[int, int, int]) -> Split:
    """Where to cut. `places` has one entry for each kept example, `shares` are percents.

    With two groups or more there is at least one example in valid and one in train; with three, one
    in test too where a share of it is asked for. One group alone is all for training, and so is
    everything where nothing is asked to be held out.
    """
    if not shares[1]:
        return Split(-1, -1)
    ordered = sorted(places)
    wanted = [shares[1]] + ([shares[2]] if shares[2] else [])
    cuts: list[int] = []
    start = 0
    for number, share in enumerate(wanted):
        groups_kept_back = len(wanted) - number  # one for each later part, and one to train on
        end = _cut(ordered, start, round(len(ordered) * share / 100), groups_kept_back)
        cuts.append(end)
        start = end
    bounds = [ordered[cut - 1] if cut else -1 for cut in cuts]
    return Split(bounds[0], bounds[-1])


def _cut(ordered: list[int], start: int, wanted: int, groups_kept_back: int) -> int:
    """The index nearest to start + wanted at which one group ends, at least one group further on
    where enough groups stay behind."""
    latest = len(ordered)
    for _group in range(groups_kept_back):
        latest = _group_start(ordered, latest)
    first = _group_end(ordered, start)
    if first > latest or latest <= start:
        return start
    target = start + max(1, wanted)
    above = _group_end(ordered, min(target, latest) - 1)
    below = _group_start(ordered, above)
    nearest = below if target - below < above - target else above
    return min(max(nearest, first), latest)


def _group_end(ordered: list[int], index: int) -> int:
    """The index after the last example of the group that stands at `index`."""
    end = index
    while end < len(ordered) and ordered[end] == ordered[index]:
        end += 1
    return end


def _group_start(ordered: list[int], end: int) -> int:
    """The index of the first example of the group that ends before `end`."""
    start = end
    while start > 0 and ordered[start - 1] == ordered[end - 1]:
        start -= 1
    return start
