"""Which side each group of rows falls on: bonds between groups, and the cuts, in flat memory.

A row stands with its place in its head. Rows that have something else in common than their question
are bound by pairs of places, written while cleaning; groups so bound get one place before the split
is planned.
"""

import mmap
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sophia_tui.datasets.split import TEST, TRAIN, VALID, Split, cut


@dataclass(frozen=True)
class Cuts:
    """Where each stratum is cut. `across` are groups with rows of several strata: their place, and
    the one stratum that counts for all of it."""

    by_stratum: dict[int, Split] = field(default_factory=dict)
    rest: Split = field(default_factory=lambda: Split(-1, -1))
    across: dict[int, int] = field(default_factory=dict)

    def side(self, place: int, stratum: int) -> str:
        if self.across:
            stratum = self.across.get(place, stratum)
        return self.by_stratum.get(stratum, self.rest).side(place)

    def sides(self) -> Callable[[int, int], str]:
        """What tells the side of a place and stratum, as `side` does."""
        if self.across or self.by_stratum:
            return self.side
        valid, test = self.rest.valid, self.rest.test

        def side(place: int, stratum: int) -> str:
            return TRAIN if place > test else VALID if place <= valid else TEST

        return side


class Planner:
    """Takes groups with rising places; holds some twenty bytes for each."""

    def __init__(self) -> None:
        self._order = array("Q")
        self._sizes = array("L")
        self._strata = array("L")
        self._across: dict[int, int] = {}

    def add_places(self, places: Iterable[int]) -> None:
        """Places of the rows of the next groups, in any order, where there are no strata."""
        sizes = Counter(places)
        order = sorted(sizes)
        self._order.extend(order)
        self._sizes.extend(map(sizes.__getitem__, order))

    def add(self, rows: Iterable[tuple[int, int]]) -> None:
        """Place and stratum of the rows of the next groups, in any order."""
        groups: dict[int, tuple[int, int]] = {}
        for place, stratum in rows:
            known = groups.get(place)
            if known is None:
                groups[place] = (1, stratum)
            else:
                size, first = known
                if first != stratum:
                    first = self._across[place] = min(first, stratum)
                groups[place] = (size + 1, first)
        for place in sorted(groups):
            size, stratum = groups[place]
            self._order.append(place)
            self._sizes.append(size)
            if stratum or self._strata:
                self._strata.extend([0] * (len(self._order) - 1 - len(self._strata)))
                self._strata.append(stratum)

    def plan(self, shares: tuple[float, float, float]) -> Cuts:
        """Strata of which nothing would be held out are cut together."""
        if not self._strata:
            return Cuts(rest=cut(self._order, self._sizes, shares))
        self._strata.extend([0] * (len(self._order) - len(self._strata)))
        totals: dict[int, int] = {}
        for stratum, size in zip(self._strata, self._sizes, strict=True):
            totals[stratum] = totals.get(stratum, 0) + size
        least = min(share for share in shares[1:] if share) if shares[1] else 0
        large = {each for each, total in totals.items() if round(total * least / 100) >= 1}
        cuts = {each: self._cut({each}, shares) for each in sorted(large)}
        return Cuts(cuts, self._cut(set(totals) - large, shares), self._across)

    def _cut(self, strata: set[int], shares: tuple[float, float, float]) -> Split:
        order, sizes = array("Q"), array("Q")
        for place, size, stratum in zip(self._order, self._sizes, self._strata, strict=True):
            if stratum in strata:
                order.append(place)
                sizes.append(size)
        return cut(order, sizes, shares)


class Joined:
    """Looks up the one place of groups that are bound to each other, in a file of pairs."""

    def __init__(self, folder: Path) -> None:
        self._places: memoryview | None = None
        self._roots: memoryview | None = None
        path = joined_path(folder)
        if path.exists():
            with path.open("rb") as stream:
                mapped = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            half = len(mapped) // 2
            self._places, self._roots = mapped[:half].cast("Q"), mapped[half:].cast("Q")

    def __bool__(self) -> bool:
        return self._places is not None

    def root_of(self, place: bytes) -> bytes:
        """The same for a place as heads hold it."""
        return self.root(int.from_bytes(place, "big")).to_bytes(8, "big")

    def root(self, place: int) -> int:
        if self._places is None or self._roots is None:
            return place
        at = bisect_left(self._places, place)
        if at < len(self._places) and self._places[at] == place:
            return self._roots[at]
        return place


def joined_path(folder: Path) -> Path:
    return folder / "joined"


class Bonds:
    """What rows have in common besides their own place, as pairs: the row's place, and that of
    something else that other rows may have, too. Written in buckets by the second."""

    def __init__(self, folder: Path, spool: int) -> None:
        self._folder = folder
        self._spool = spool
        self._buckets: dict[int, array[int]] = {}
        self._waiting = 0

    def add(self, place: int, other: int) -> None:
        bucket = self._buckets.setdefault(other >> _BUCKET_SHIFT, array("Q"))
        bucket.extend((place, other))
        self._waiting += 1
        if self._waiting >= _KEPT_BACK:
            self.flush()

    def flush(self) -> None:
        """Write what was added so far. Raises OSError (disk full)."""
        for number, bucket in self._buckets.items():
            with _bonds_path(self._folder, number, self._spool).open("ab") as stream:
                stream.write(bucket.tobytes())
        self._buckets.clear()
        self._waiting = 0


#: Bonds are written in 64 buckets; so many are kept back.
_BUCKET_SHIFT = 58
_KEPT_BACK = 200_000


def _bonds_path(folder: Path, bucket: int, spool: int) -> Path:
    return folder / f"bonds-{bucket:02}-{spool}"


def _edges(folder: Path, spools: int) -> "array[int]":
    """Pairs of places of rows that have something in common; what only one place has is no bond."""
    edges = array("Q")
    for bucket in range(1 << (64 - _BUCKET_SHIFT)):
        firsts: dict[int, int] = {}
        for spool in range(spools):
            path = _bonds_path(folder, bucket, spool)
            if not path.exists():
                continue
            pairs = array("Q", path.read_bytes())
            for place, other in zip(pairs[::2], pairs[1::2], strict=True):
                first = firsts.setdefault(other, place)
                if first != place:
                    edges.extend((first, place))
    return edges


def join(folder: Path, spools: int) -> bool:
    """Find the groups that hang together by the bonds that were written, for `Joined`. Whether
    there are any. The least place of those that hang together is the place of all."""
    ends = _edges(folder, spools)
    if not ends:
        return False
    places = array("Q", sorted(set(ends)))
    above = array("L", range(len(places)))

    def top(at: int) -> int:
        while above[at] != at:
            above[at] = above[above[at]]
            at = above[at]
        return at

    for at in range(0, len(ends), 2):
        one, other = (top(bisect_left(places, ends[at + end])) for end in (0, 1))
        if one != other:
            above[max(one, other)] = min(one, other)
    roots = array("Q", (places[top(at)] for at in range(len(places))))
    joined_path(folder).write_bytes(places.tobytes() + roots.tobytes())
    return True
