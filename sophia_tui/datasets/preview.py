"""Shows on a seeded sample what each step of a recipe would do: which texts change and how, and
which rows would leave. Nothing is written, and personal data is masked.
"""

from dataclasses import asdict, dataclass, field
from heapq import nsmallest
from typing import Any

from sophia_tui.datasets.clean import Item
from sophia_tui.datasets.codes import Problem, Unusable
from sophia_tui.datasets.personal import find
from sophia_tui.datasets.pipeline import Preparation, Request
from sophia_tui.datasets.ranges import Range
from sophia_tui.datasets.reader import MAX_LINE_BYTES
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.worker import Worker

_MASK = "•"
#: Characters of a text that are shown, around the first difference.
_SHOWN = 400
_BEFORE = 80


@dataclass
class Change:
    """A text that a step changes; `turn` counts from 1."""

    file: str
    line: int
    turn: int
    role: str
    before: str
    after: str


@dataclass
class Leaving:
    """A row that a step turns away. `text` is the beginning of what is said in it."""

    file: str
    line: int
    code: str
    details: dict[str, Any]
    text: str


@dataclass
class StepPreview:
    step: str
    settings: dict[str, Any]
    rows: int = 0
    changed: int = 0
    leave: int = 0
    changes: list[Change] = field(default_factory=list)
    leaving: list[Leaving] = field(default_factory=list)


@dataclass
class Preview:
    """`rows` were looked at, `stay` of them would stay. `of_all` are steps that can't be told from
    a sample, since they look at all rows together."""

    rows: int
    stay: int
    steps: list[StepPreview]
    of_all: list[str]


class PreviewTask(Task):
    """`most` rows are looked at, `shown` changes and leaving rows told of each step."""

    request: Request
    most: int
    shown: int

    def run(self, tell: Tell) -> Any:
        return asdict(preview(self.request, self.most, self.shown, tell))


def preview(request: Request, most: int, shown: int, tell: Tell) -> Preview:
    """Raises DataError D301 to D306, D542 to D547."""
    preparation = Preparation(request, tell)
    rows = _sampled(preparation, most, tell)
    steps = [
        StepPreview("read", {}),
        StepPreview("convert", {}),
        *(
            StepPreview(each.NAME, each.recorded())
            for each in preparation.recipe
            if not each.OF_ALL
        ),
    ]
    look = _Looker(preparation, steps, shown)
    for job in rows:
        look.at(job)
    of_all = [each.NAME for each in preparation.recipe if each.OF_ALL]
    return Preview(len(rows), look.stay, [each for each in steps if each.rows], of_all)


def _sampled(preparation: Preparation, most: int, tell: Tell) -> list[Range]:
    """The lines of the sample, each a range of its own, by file and line."""
    found: list[tuple[int, int, int, int]] = []
    jobs: list[Range] = []
    done = 0

    def ranges() -> Any:
        for cutter in preparation.cutters():
            for each in cutter.ranges():
                jobs.append(each)
                yield each

    for number, lines in enumerate(preparation.deal(ranges(), "sample", most)):
        job = jobs[number]
        found = nsmallest(most, [*found, *((rank, job.file, *at) for rank, *at in lines)])
        done += job.end - job.start
        tell("preview", done, preparation.bytes_total)
    by_place = sorted((file, line, start) for _rank, file, line, start in found)
    return [
        Range(file, start, _end(preparation, file, start), line, (0, 0))
        for file, line, start in by_place
    ]


def _end(preparation: Preparation, file: int, start: int) -> int:
    with open(preparation.work.sources[file].path, "rb") as stream:
        stream.seek(start)
        return start + len(stream.readline(MAX_LINE_BYTES + 2))


class _Looker:
    def __init__(self, preparation: Preparation, steps: list[StepPreview], shown: int) -> None:
        self._work = preparation.work
        self._worker = Worker(preparation.work, 0, "preview")
        self._steps = {step.step: step for step in steps[:2]}
        self._looks = list(zip(steps[2:], preparation.work.looks, strict=True))
        self._shown = shown
        self.stay = 0

    def at(self, job: Range) -> None:
        """Take the one line of a range through the steps."""
        for line, item, problem in self._worker.look(job):
            if item is None:
                assert problem is not None
                step = self._steps[problem[0]]
                step.rows += 1
                self._leaves(step, job, line.number, problem[1], "")
                return
            if self._through(item, job, line.number):
                self.stay += 1

    def _through(self, item: Item, job: Range, line: int) -> bool:
        for step, (_name, look) in self._looks:
            step.rows += 1
            before = list(item.texts)
            try:
                look(item)
            except Unusable as unusable:
                said = "\n".join(text for _role, text in before)
                self._leaves(step, job, line, unusable.problem, said)
                return False
            self._compare(step, job, line, before, item)
        return True

    def _leaves(
        self, step: StepPreview, job: Range, line: int, problem: Problem, said: str
    ) -> None:
        step.leave += 1
        if len(step.leaving) < self._shown:
            name = self._work.names[job.file]
            text = _excerpt(masked(said), 0)
            step.leaving.append(Leaving(name, line, problem.code, dict(problem.details), text))

    def _compare(
        self,
        step: StepPreview,
        job: Range,
        line: int,
        before: list[tuple[str, str]],
        item: Item,
    ) -> None:
        changed = False
        for turn, ((role, was), (_same, now)) in enumerate(
            zip(before, item.texts, strict=True), start=1
        ):
            if was == now:
                continue
            changed = True
            if len(step.changes) < self._shown:
                name = self._work.names[job.file]
                cut = max(0, _first_difference(was, now) - _BEFORE)
                step.changes.append(
                    Change(
                        name,
                        line,
                        turn,
                        role,
                        _excerpt(masked(was), cut),
                        _excerpt(masked(now), cut),
                    )
                )
        step.changed += changed


def _excerpt(text: str, begin: int) -> str:
    """A part of a text, with a sign on the sides where it was cut."""
    end = begin + _SHOWN
    return ("… " if begin else "") + text[begin:end] + (" …" if len(text) > end else "")


def _first_difference(one: str, other: str) -> int:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


def masked(text: str) -> str:
    """The text with a sign in place of each character of personal data."""
    parts: list[str] = []
    place = 0
    for each in find(text):
        parts += (text[place : each.start], _MASK * (each.end - each.start))
        place = each.end
    return "".join(parts) + text[place:]
