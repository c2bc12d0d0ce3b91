"""The figures of a training over its steps, thinned to as many points as a screen can show."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.jobs import Bucket, Cut, Job, JobEvent
from sophia_tui.domain.operations import Output
from sophia_tui.domain.passages import Passage, Table
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_, _
from sophia_tui.services.views import JobReference

#: What a curve is asked for where nothing is said: both losses.
LOSSES = ("loss", "eval_loss")
#: Figures that a curve of their own is offered for, where a job tells them.
SERIES = (
    *LOSSES,
    "learning_rate",
    "tokens_per_second",
    "memory_bytes",
    "gpu_memory_bytes",
    "kept",
    "grad_norm",
)
_STATES = 500
_NEWEST = 100  # events, of which one tells a step


class CurveRequest(JobReference):
    series: list[str] = Field(
        default_factory=lambda: list(LOSSES),
        min_length=1,
        max_length=20,
        description=N_("A figure of the metric events, e.g. learning_rate; may be repeated."),
    )
    points: int = Field(
        default=300, ge=2, le=5000, description=N_("How many points of each figure at most.")
    )


class CurvePoint(Output):
    """A figure at a step, or the mean of `count` events of some steps that end there. `seconds` is
    the time at work until then, stops left out."""

    step: float = Field(title=N_("Step"))
    value: float = Field(title=N_("Mean"))
    low: float = Field(title=N_("Lowest"))
    high: float = Field(title=N_("Highest"))
    count: int = Field(title=N_("Events"))
    seconds: float = Field(title=N_("Seconds at work"))


class SeriesView(Output):
    """One figure over the steps; `best` is the lowest value, at `best_step`."""

    name: str = Field(title=N_("Name"))
    events: int = Field(title=N_("Events"))
    last: float | None = Field(default=None, title=N_("Last"))
    best: float | None = Field(default=None, title=N_("Lowest"))
    best_step: float | None = Field(default=None, title=N_("At step"))
    points: list[CurvePoint] = Field(title=N_("Points"))


class CurveView(Output):
    """`last_event` is the number of the newest event that is in it."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"last_event"})

    job: str = Field(title=N_("Job"))
    total_steps: int | None = Field(default=None, title=N_("Steps"))
    last_event: int = Field(default=0, title=N_("Events"))
    series: list[SeriesView] = Field(title=N_("Figures"))

    def passages(self, name: str) -> list[Passage] | None:
        """A table for each figure."""
        if name != "series":
            return None
        titles = (_("Step"), _("Mean"), _("Lowest"), _("Highest"), _("Events"))
        return [
            Passage(
                each.name,
                (
                    Table(
                        titles,
                        tuple(
                            (round(point.step), point.value, point.low, point.high, point.count)
                            for point in each.points
                        ),
                    ),
                ),
            )
            for each in self.series
            if each.points
        ]


async def curve_of(store: Store, job: Job, series: Sequence[str], points: int) -> CurveView:
    """Each figure in at most so many points, whatever number of events told it."""
    cuts, stops = await _attempts(store, job)
    width = max(1.0, (await _last_step(store, job) + 1) / points)
    names = list(dict.fromkeys(series))
    by_name = {name: await store.jobs.curve(job.id, name, width, cuts) for name in names}
    begun = job.started_at or job.created_at
    first = await store.jobs.events(job.id, 0, 1)
    if first:
        begun = first[0].at
    return CurveView(
        job=job.id,
        total_steps=job.total_steps,
        last_event=max([job.last_event, *(each[-1].number for each in by_name.values() if each)]),
        series=[_series(name, several, begun, stops) for name, several in by_name.items()],
    )


def _series(
    name: str, found: Sequence[Bucket], begun: datetime, stops: Sequence[tuple[int, float]]
) -> SeriesView:
    lowest = min(found, key=lambda each: (each.low, each.low_step), default=None)
    return SeriesView(
        name=name,
        events=sum(each.count for each in found),
        last=found[-1].mean if found else None,
        best=lowest.low if lowest else None,
        best_step=lowest.low_step if lowest else None,
        points=[
            CurvePoint(
                step=each.last,
                value=each.mean,
                low=each.low,
                high=each.high,
                count=each.count,
                seconds=_worked(each, begun, stops),
            )
            for each in found
        ],
    )


def _worked(each: Bucket, begun: datetime, stops: Iterable[tuple[int, float]]) -> float:
    stopped = sum(seconds for number, seconds in stops if number <= each.number)
    return round(max(0.0, (each.at - begun).total_seconds() - stopped), 1)


async def _last_step(store: Store, job: Job) -> float:
    """How far it is. The job's own number may be behind what its events tell, or of an attempt that
    began anew; so many points the more would a curve have."""
    told = await store.trainings.events_before(job.id, None, _NEWEST)
    steps = (_step(each.data.get("step")) for each in told if each.kind in ("metric", "progress"))
    return max(float(job.step or 0), next(steps, 0.0))


async def _attempts(store: Store, job: Job) -> tuple[list[Cut], list[tuple[int, float]]]:
    """From which steps later attempts went on, and how long nothing ran before each of them."""
    told = await store.trainings.events_before(job.id, None, _STATES, ["state"])
    cuts: list[Cut] = []
    stops: list[tuple[int, float]] = []
    starting: JobEvent | None = None
    begun = False
    for event in reversed(told):
        state = event.data.get("state")
        if state == "starting":
            if begun:
                before = await store.trainings.events_before(job.id, event.number, 1)
                gap = event.at - before[0].at if before else timedelta()
                stops.append((event.number, gap.total_seconds()))
            starting, begun = event, True
        elif state == "running" and starting is not None:
            step = event.data.get("resumed_from_step")
            if starting is not told[-1] or step:
                cuts.append(Cut(starting.number, _step(step)))
            starting = None
    return cuts, stops


def _step(value: object) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable and 0 <= value < 1e15 else 0.0  # type: ignore[operator,arg-type]
