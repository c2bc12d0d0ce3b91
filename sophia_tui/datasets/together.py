"""The steps that look at all rows together, once exact duplicates are gone: near-duplicates, and
the balance of categories. Both go over the rows in the order of a version, so that what they find
does not depend on files or processes.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets import grouping
from sophia_tui.datasets.codes import Problem
from sophia_tui.datasets.dedupe import HEAD, Head, PartReader
from sophia_tui.datasets.rejections import Rejections
from sophia_tui.datasets.split import placer
from sophia_tui.datasets.steps import Balance, NearDuplicates, category
from sophia_tui.datasets.tasks import Tell
from sophia_tui.datasets.worker import Work, kept_heads, kept_path
from sophia_tui.errors import DataError
from sophia_tui.i18n import _

_MB = 1_000_000


class _Said(msgspec.Struct):
    content: str | list[Any] | None = None


class _Row(msgspec.Struct):
    messages: list[_Said]
    chosen: list[_Said] = []
    rejected: list[_Said] = []


_ROWS = msgspec.json.Decoder(_Row)


class NearSearch:
    def __init__(self, work: Work, step: NearDuplicates, progress: Tell) -> None:
        self._work = work
        self._folder = Path(work.scratch)
        self._step = step
        self._progress = progress

    def run(self, rejections: Rejections, drop: bool) -> int:
        """Reject all but the one that is kept of each cluster; or only bind them together, so that
        they stand on one side. Returns how many were rejected.

        Raises DataError D548 where the search takes more memory than it may.
        """
        from sophia_tui.datasets import near

        self._check_memory(near.memory_needed)
        threshold = self._step.threshold or near.THRESHOLD
        kept_of: dict[int, int] = {}
        for cluster in near.find_near(self._texts(), threshold, self._progress):
            for other in cluster.others:
                kept_of[other] = cluster.kept
        kept = self._heads(set(kept_of.values()))
        if not drop:
            self._bind(kept_of, kept)
            return 0
        return _leave(self._work, rejections, self._step.NAME, self._judge(kept_of, kept))

    def _judge(
        self, kept_of: dict[int, int], kept: dict[int, Head]
    ) -> Callable[[int, Head], Problem | None]:
        def problem(number: int, head: Head) -> Problem | None:
            first = kept_of.get(number)
            if first is None:
                return None
            at = kept[first]
            name = self._work.names[at.file]
            return Problem("near_duplicate", {"first_file": name, "first_line": at.line})

        return problem

    def _check_memory(self, needed: Callable[[int, int], int]) -> None:
        rows = size = 0
        for part in range(self._work.parts):
            for head in kept_heads(self._folder, part):
                rows += 1
                size += head.length
        most = needed(rows, size) // _MB + 1
        if most > self._step.memory_mb:
            raise DataError(
                "D548",
                _("The search for near-duplicates would take about {size} MB of memory.").format(
                    size=most
                ),
                _("It may take {limit} MB; the data has {rows} rows.").format(
                    limit=self._step.memory_mb, rows=rows
                ),
                _("Allow it with --step near_duplicates:memory_mb={size}, or leave it out.").format(
                    size=most
                ),
            )

    def _numbered(self) -> Iterator[tuple[int, int, Head]]:
        number = 0
        for part in range(self._work.parts):
            for head in kept_heads(self._folder, part):
                yield number, part, head
                number += 1

    def _texts(self) -> Iterator[tuple[int, str]]:
        number = 0
        for part in range(self._work.parts):
            with PartReader(self._folder, part, self._work.spools) as reader:
                for head in kept_heads(self._folder, part):
                    yield number, _text(reader.row(head))
                    number += 1

    def _heads(self, wanted: set[int]) -> dict[int, Head]:
        return {number: head for number, _part, head in self._numbered() if number in wanted}

    def _bind(self, kept_of: dict[int, int], kept: dict[int, Head]) -> None:
        bonds = grouping.Bonds(self._folder, 0)
        for number, _part, head in self._numbered():
            if number in kept_of:
                place = kept[kept_of[number]].place
                bonds.add(place, place)
                bonds.add(head.place, place)
        bonds.flush()


def _text(row: bytes) -> str:
    """All that is said in a row, turn by turn, a line each."""
    found = _ROWS.decode(row)
    said = [*found.messages, *found.chosen, *found.rejected]
    return "\n".join(_content(each.content) for each in said)


def _content(content: str | list[Any] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part.get("type") == "text")
    return content or ""


def balance(work: Work, step: Balance, rejections: Rejections) -> int:
    """Reject what a category has above its cap, chosen by seed. Returns how many."""
    folder = Path(work.scratch)
    counts: Counter[int] = Counter()
    for part in range(work.parts):
        counts.update(head.kind for head in kept_heads(folder, part))
    caps = _caps(step, counts)
    ranks = {kind: array("Q") for kind, count in counts.items() if count > caps.get(kind, count)}
    for part in range(work.parts):
        for head in kept_heads(folder, part):
            if head.kind in ranks:
                ranks[head.kind].append(_rank(work.seed, head))
    last = {kind: sorted(found)[caps[kind] - 1] for kind, found in ranks.items()}

    def problem(_number: int, head: Head) -> Problem | None:
        bound = last.get(head.kind)
        if bound is None or _rank(work.seed, head) <= bound:
            return None
        return Problem("balance")

    return _leave(work, rejections, step.NAME, problem)


def _caps(step: Balance, counts: Counter[int]) -> dict[int, int]:
    """The most rows of each category. By weights: as many rows of all as can be in their ratio;
    categories without a weight stay whole."""
    if step.cap is not None:
        return dict.fromkeys(counts, step.cap)
    weights = {category(name): weight for name, weight in step.weights.items()}
    there = {kind: weight for kind, weight in weights.items() if counts[kind]}
    if not there:
        return {}
    unit = min(counts[kind] / weight for kind, weight in there.items())
    return {kind: max(1, int(unit * weight + 1e-9)) for kind, weight in there.items()}


def _rank(seed: int, head: Head) -> int:
    return int.from_bytes(placer(seed)(head.digest), "big")


def _leave(
    work: Work,
    rejections: Rejections,
    step: str,
    problem: Callable[[int, Head], Problem | None],
) -> int:
    """Reject the rows with a problem, told of each row's number in the order of a version."""
    folder = Path(work.scratch)
    number = rejected = 0
    for part in range(work.parts):
        stay: list[bytes] = []
        with PartReader(folder, part, work.spools) as reader:
            for head in kept_heads(folder, part):
                found = problem(number, head)
                number += 1
                if found is None:
                    stay.append(HEAD.pack(*head))
                    continue
                rejected += 1
                source = reader.source(head)
                rejections.add(head.file, head.line, found, head.digest, source, step)
        kept_path(folder, part).write_bytes(b"".join(stay))
    return rejected
