"""The seeded split: which examples are learnt from, which are held out.

A group is every example with the same first question (white space, case and Unicode forms put
aside), so that a question never lies on both sides. Groups stand in the order of a hash of seed and
question; the first are held out until the wanted number of examples is reached. So the split
depends on the examples and the seed alone, not on files, order or machine.
"""

import hashlib
import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from sophia_tui.domain.datasets import SourceRow
from sophia_tui.errors import DataError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

VERSION = 2

#: What may be asked for, as percent of train, valid and test.
SHARES: dict[str, tuple[int, int, int]] = {
    "80/20": (80, 20, 0),
    "90/10": (90, 10, 0),
    "80/10/10": (80, 10, 10),
    "100/0": (100, 0, 0),
}

#: How far from 100 the parts may lie that were written with decimals.
_ROUNDING = 1e-6
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?")

#: What examples may have in common to stand on one side; `near` is known only after a search.
KEYS = ("question", "conversation", "document", "example")
NEAR = "near"
_FIELDS = {
    "conversation": ("conversation_id", "conversation"),
    "document": ("doc_id", "document_id"),
    "example": ("variation_of", "id"),
}


def shares_of(text: str) -> tuple[float, float, float]:
    """Percents of train, valid and test from `80/20`, `80/10/10` or any two or three parts that
    make 100. Raises DataError D542."""
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(_NUMBER.fullmatch(part) for part in parts):
        raise _no_ratio(text)
    numbers = [float(part) for part in parts] + [0.0] * (3 - len(parts))
    if numbers[0] <= 0 or (numbers[2] and not numbers[1]):
        raise _no_ratio(text)
    if abs((total := sum(numbers)) - 100) > _ROUNDING:
        why = _("Its parts are percent and make {total}, not 100.")
        raise _no_ratio(text, why.format(total=f"{total:.10g}"))
    train, valid, test = numbers
    return train, valid, test


def _no_ratio(text: str, why: str = "") -> DataError:
    return DataError(
        "D542",
        _("{text} is no split.").format(text=visible(text)),
        why
        or _(
            "A split has two or three parts, for training, validation and test, the first above 0."
        ),
        _("Write it like 80/20, 80/10/10 or 70/15/15."),
    )


TRAIN, VALID, TEST = "train", "valid", "test"


def question_of(texts: Iterable[tuple[str, str]]) -> str:
    """What rows of one group have in common, by roles and texts (a pair's answers come last): the
    first user message, else all there is."""
    said = []
    for role, text in texts:
        if role == "user":
            return plain(text)
        said.append(text)
    return plain("\n".join(said))


def ids_of(besides: dict[str, Any], kinds: Iterable[str]) -> list[str]:
    """What else binds a row to others, by what stands beside its text or in its metadata."""
    metadata = besides.get("metadata")
    found = []
    for kind in kinds:
        for field in _FIELDS.get(kind, ()):
            value = besides.get(field)
            if value is None and isinstance(metadata, dict):
                value = metadata.get(field)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                found.append(f"\0{kind}\0{value}")
                break
    return found


def ids_of_source(row: SourceRow, kinds: Iterable[str]) -> list[str]:
    """The same, by the database row that a row was made of."""
    if "conversation" in kinds and row.table.rpartition(".")[2] == "conversations":
        found = row.key.get("id")
        if isinstance(found, str | int):
            return [f"\0conversation\0{found}"]
    return []


def plain(text: str) -> str:
    """A question without case, white space and Unicode forms."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def place_of(seed: int, group: str) -> int:
    """The group's place in the order, 0 to 2**64 - 1."""
    digest = hashlib.blake2b(group.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big")


def placer(seed: int) -> Callable[[bytes], bytes]:
    """The same place, as the eight bytes of a big-endian number, of a group in UTF-8."""
    keyed = hashlib.blake2b(digest_size=8, key=str(seed).encode())

    def place(group: bytes) -> bytes:
        digest = keyed.copy()
        digest.update(group)
        return digest.digest()

    return place


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


def plan(places: Iterable[int], shares: tuple[float, float, float]) -> Split:
    """Where to cut. `places` has one entry for each kept example; see `cut`."""
    groups = Counter(places)
    order = sorted(groups)
    return cut(order, [groups[place] for place in order], shares)


def cut(order: Sequence[int], sizes: Sequence[int], shares: tuple[float, float, float]) -> Split:
    """Where to cut groups, given by their places in rising order and how many examples each has;
    `shares` are percents.

    With two groups or more there is at least one example in valid and one in train; with three, one
    in test too where a share of it is asked for. One group alone is all for training, and so is
    everything where nothing is asked to be held out.
    """
    if not shares[1]:
        return Split(-1, -1)
    ends = array("Q", accumulate(sizes))
    total = ends[-1] if ends else 0
    wanted = [shares[1]] + ([shares[2]] if shares[2] else [])
    bounds: list[int] = []
    taken = 0
    for number, share in enumerate(wanted):
        latest = len(ends) - (len(wanted) - number)  # a group for each later part, one to train on
        taken = _cut(ends, taken, round(total * share / 100), latest)
        bounds.append(order[taken - 1] if taken else -1)
    return Split(bounds[0], bounds[-1])


def _cut(ends: "array[int]", start: int, wanted: int, latest: int) -> int:
    """How many groups lie before the cut: such that it is nearest to `wanted` examples after the
    first `start` groups, at least one group further on where enough groups stay behind."""
    if latest <= start:
        return start
    target = (ends[start - 1] if start else 0) + max(1, wanted)
    above = min(bisect_left(ends, target) + 1, latest)
    below = above - 1
    before = ends[below - 1] if below else 0
    nearest = below if target - before < ends[above - 1] - target else above
    return min(max(nearest, start + 1), latest)
