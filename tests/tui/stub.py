"""Throw-away services with data in memory, so that screens are tested without a database.

Everything goes through the real Dispatcher; only what it calls is a stand-in. All times are fixed.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr

from sophia_tui.domain.context import Context, Face, Progress, Role
from sophia_tui.domain.models import AuditEntry, Changes
from sophia_tui.domain.operations import Danger, Input, NoInput, Output
from sophia_tui.errors import NotFoundError, SophiaError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.services.catalogue import SERVICES, registry
from sophia_tui.services.job_curves import CurvePoint, CurveRequest, CurveView, SeriesView
from sophia_tui.services.jobs import JobsPage
from sophia_tui.services.lists import ListPage, arranged
from sophia_tui.services.operations import Dispatcher, Registry, operation
from sophia_tui.services.overview import (
    HappenedView,
    NextView,
    OverviewRequest,
    OverviewView,
    RunningView,
    UsedModelView,
)
from sophia_tui.services.stages import StageView
from sophia_tui.services.views import (
    EventList,
    EventView,
    JobList,
    JobReference,
    JobView,
    LogView,
    ModelList,
    ModelView,
    Page,
)
from sophia_tui.tui.app import prepare_terminal

prepare_terminal()

NOW = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)
HOSTILE = "[red]x[/red] \x1b[31mESC\x1b]52;c;AAAA\x07 \u202eback [@click=app.quit]q[/]"


class World:
    """What the stand-ins answer with; `trouble` is raised instead, `block` holds every answer."""

    def __init__(self) -> None:
        self.overview = empty_overview()
        self.jobs: list[JobView] = []
        self.events: list[EventView] = []
        self.log: list[str] = []
        self.models: list[ModelView] = []
        self.trouble: SophiaError | None = None
        self.block = asyncio.Event()
        self.block.set()
        self.calls: list[str] = []
        self.got: Any = None
        self.entries: list[AuditEntry] = []
        #: What other people did meanwhile.
        self.others: list[AuditEntry] = []
        self.now = NOW
        #: Answers of the real operations, for apps made with `whole`.
        self.answers: dict[str, Any] = {}
        #: The context of the last call of each of them.
        self.contexts: dict[str, Context] = {}

    async def answer(self, name: str) -> None:
        self.calls.append(name)
        await self.block.wait()
        if self.trouble is not None:
            raise self.trouble


def database_gone() -> UnavailableError:
    return UnavailableError(
        "S001", "The database does not answer.", "Connection refused.", "Start it again."
    )


def looked_through(found: Any, request: Any) -> Any:
    """A list as its operation gives it: what matches, in the order that is wanted, cut."""
    if not isinstance(request, ListPage):
        return found
    page = arranged(
        found.items,
        request.wanted(),
        lambda each: each.model_dump(mode="json").values(),
        {name: attrgetter(name) for name in request.sorts},
    )
    counts = {"total": page.total, "unfiltered": page.unfiltered}
    return found.model_copy(update={"items": page.items, **counts})


class EventsAfter(JobReference):
    after: int = 0
    before: int | None = None
    newest: bool = False
    limit: int = 500
    kind: list[str] = Field(default_factory=list)
    match: str | None = None


class LastLines(JobReference):
    lines: int = 100
    before: int | None = None
    after: int | None = None
    match: str | None = None


def pages_of(events: list[EventView], request: Any) -> EventList:
    """The events of one job by pages, as the real operation gives them."""
    end = request.before or 2**31
    known = [each for each in events if request.after < each.number < end]
    found = [
        each
        for each in known
        if (not request.kind or each.kind in request.kind)
        and (request.match or "").casefold() in f"{each.kind} {each.data}".casefold()
    ]
    backwards = request.newest or request.before is not None
    kept = found[-request.limit :] if backwards else found[: request.limit]
    more = len(kept) < len(found)
    looked = kept if more else known
    return EventList(
        job=request.job,
        items=kept,
        first=looked[0].number if looked else None,
        last=looked[-1].number if looked else None,
        more=more,
        backwards=backwards,
    )


def log_of(lines: list[str], request: Any) -> LogView:
    """A log by pages; here each line counts as one byte."""
    end = len(lines) if request.before is None else request.before
    known = list(enumerate(lines[:end]))[request.after or 0 :]
    found = [(at, line) for at, line in known if (request.match or "") in line]
    kept = found[-request.lines :]
    start = kept[0][0] if len(kept) < len(found) else request.after or 0
    return LogView(
        job=request.job,
        path="/runs/log.txt",
        lines=[line for _at, line in kept],
        start=start,
        end=end,
        size=len(lines),
    )


def curve_of(events: list[EventView], request: Any) -> CurveView:
    """Each metric as a point of its own."""
    series = []
    for name in request.series:
        told = [each for each in events if each.kind == "metric" and name in each.data]
        points = [
            CurvePoint(
                step=each.data["step"],
                value=each.data[name],
                low=each.data[name],
                high=each.data[name],
                count=1,
                seconds=float(each.number),
            )
            for each in told
        ]
        best = min(points, key=lambda each: each.low, default=None)
        series.append(
            SeriesView(
                name=name,
                events=len(points),
                last=points[-1].value if points else None,
                best=best.low if best else None,
                best_step=best.step if best else None,
                points=points,
            )
        )
    last = events[-1].number if events else 0
    return CurveView(job=request.job, total_steps=500, last_event=last, series=series)


class OverviewStub:
    def __init__(self, world: World) -> None:
        self.world = world

    @operation("overview.show", "Show where the loop stands.")
    async def show(self, context: Context, request: OverviewRequest) -> OverviewView:
        await self.world.answer("overview.show")
        return self.world.overview

    @operation("models.list", "List the models.")
    async def models(self, context: Context, request: Page) -> ModelList:
        await self.world.answer("models.list")
        return ModelList(items=self.world.models)


class JobsStub:
    def __init__(self, world: World) -> None:
        self.world = world

    @operation("jobs.list", "List jobs, newest first.")
    async def page(self, context: Context, request: JobsPage) -> JobList:
        await self.world.answer("jobs.list")
        listed: JobList = looked_through(JobList(items=self.world.jobs), request)
        return listed

    @operation("jobs.show", "Show one job.", target="job", positional=("job",))
    async def show(self, context: Context, request: JobReference) -> JobView:
        await self.world.answer("jobs.show")
        for each in self.world.jobs:
            if each.id == request.job:
                return each
        raise NotFoundError("J404", "There is no such job.")

    @operation("jobs.events", "Show what a job told.", target="job", positional=("job",))
    async def events(self, context: Context, request: EventsAfter) -> EventList:
        await self.world.answer("jobs.events")
        return pages_of(self.world.events, request)

    @operation("jobs.log", "Show the end of a job's log.", target="job", positional=("job",))
    async def log(self, context: Context, request: LastLines) -> LogView:
        await self.world.answer("jobs.log")
        return log_of(self.world.log, request)

    @operation("jobs.curve", "Show figures of a job.", target="job", positional=("job",))
    async def curve(self, context: Context, request: CurveRequest) -> CurveView:
        await self.world.answer("jobs.curve")
        return curve_of(self.world.events, request)

    @operation(
        "jobs.cancel",
        "Stop a job for good.",
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
        target="job",
        positional=("job",),
    )
    async def cancel(self, context: Context, request: JobReference) -> JobView:
        self.world.got = request
        return await self.show(context, request)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(Input):
    """One field of each kind."""

    name: str = Field(description="A name.")
    count: int = Field(default=3, ge=1, le=9, description="How many.")
    ratio: float | None = Field(default=None, gt=0, description="A ratio.")
    since: datetime | None = Field(default=None, description="From when.")
    words: list[str] = Field(default_factory=list, description="Some words.")
    colour: Colour = Field(default=Colour.RED, description="A colour.")
    shape: Literal["round", "square"] | None = Field(default=None, description="A shape.")
    loud: bool = Field(default=False, description="Loud or not.")
    token: SecretStr | None = Field(default=None, description="A secret.")


class Done(Output):
    text: str = Field(title="Text")
    lines: list[str] = Field(default_factory=list, title="Lines")


class ThingsStub:
    def __init__(self, world: World) -> None:
        self.world = world

    @operation("things.make", "Make a thing.", role=Role.OPERATOR, writes=True, dry_run=True)
    async def make(self, context: Context, request: Everything) -> Done:
        self.world.got = request
        await self.world.answer("things.make")
        context.progress(Progress("making", 1, 3, "things"))
        context.cancel.check()
        text = "would make" if context.dry_run else "made"
        return Done(text=f"{text} {request.name}", lines=[HOSTILE])

    @operation(
        "things.drop",
        "Drop a thing.",
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        target="name",
        positional=("name",),
    )
    async def drop(self, context: Context, request: Everything) -> Done:
        self.world.got = request
        return Done(text=f"dropped {request.name}")

    @operation("things.count", "Count the things.")
    async def count(self, context: Context, request: NoInput) -> Done:
        return Done(text="three")


class Answering:
    """Stands for a real service: each operation of its gives the world's answer."""

    def __init__(self, world: World, kind: type) -> None:
        self._world = world
        self._names = {each.method: each.name for each in registry() if each.service is kind}

    def __getattr__(self, method: str) -> Any:
        name = self._names[method]

        async def handler(context: Context, request: Any) -> Any:
            self._world.contexts[name] = context
            await self._world.answer(name)
            self._world.got = request
            context.cancel.check()
            found = self._world.answers.get(name)
            if name == "overview.show":
                return self._world.overview
            if found is None:
                raise NotFoundError("U404", f"The stub has no answer to {name}.")
            return looked_through(found(request) if callable(found) else found, request)

        return handler


class StubHouse:
    """The wiring the dispatcher needs, without a database."""

    class _Clock:
        def __init__(self, world: World) -> None:
            self.world = world

        def now(self) -> datetime:
            return self.world.now

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = self._Clock(world)

    async def service(self, kind: type) -> Any:
        return Answering(self.world, kind) if kind in SERVICES else kind(self.world)

    async def audit(self, entry: AuditEntry) -> None:
        self.world.entries.append(entry)

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes:
        """What other people did, of the world's `others`; its number is how many there are."""
        number = len(self.world.others)
        first = number if after is None else max(0, number + after if after < 0 else after)
        found = [
            each
            for each in self.world.others[first:]
            if each.operation in operations and target in (None, each.target)
        ]
        return Changes(number, tuple(reversed(found)))

    def training_allowed(self) -> bool:
        return True


def make_app(world: World, folder: Path | None = None, **options: Any) -> Any:
    """A SophiaApp over the stand-ins; `whole`: every real operation, answered by the world."""
    from sophia_tui.tui.console import SophiaApp

    role = options.pop("role", Role.ADMIN)
    readonly = options.pop("readonly", False)
    language = options.pop("language", "en")
    whole = options.pop("whole", False)
    found = registry() if whole else Registry([OverviewStub, JobsStub, ThingsStub])
    app = SophiaApp(
        Dispatcher(found, StubHouse(world)),
        Context("ana", Face.CONSOLE, role, language=language, readonly=readonly),
        paths=Paths(folder) if folder else None,
        language=language,
        clock=lambda: world.now,
        **options,
    )
    app.log_path = "/data/logs/sophia.log"
    return app


def empty_overview() -> OverviewView:
    stages = [
        StageView(stage="collect", health="empty", figure="no files"),
        StageView(stage="prepare", health="empty", figure="no version"),
        StageView(stage="train", health="empty", figure="no job"),
        StageView(stage="evaluate", health="empty", figure="no scores"),
        StageView(stage="promote", health="empty", figure="nothing yet"),
        StageView(stage="monitor", health="unknown", figure="nothing yet", detail="measured"),
    ]
    return OverviewView(
        stages=stages,
        running=[],
        models=[],
        lately=[],
        next=NextView(text="Make the first thing.", operation="things.make", request={"name": "a"}),
        store_milliseconds=3.0,
    )


def full_overview() -> OverviewView:
    ago = NOW - timedelta(hours=3)
    return OverviewView(
        stages=[
            StageView(stage="collect", health="ok", figure="3 files", detail="1.2 MB", at=ago),
            StageView(
                stage="prepare",
                health="attention",
                figure="8,112 rows",
                detail="31 rejected",
                at=ago,
                blocked="Files in FINETUNE_DIR are newer than the version.",
            ),
            StageView(stage="train", health="ok", figure="62 %", detail="running"),
            StageView(stage="evaluate", health="ok", figure="12.0 > 6.1", detail="perplexity"),
            StageView(stage="promote", health="ok", figure="sophia-v6", at=NOW - timedelta(days=2)),
            StageView(stage="monitor", health="unknown", figure="nothing yet", detail="measured"),
        ],
        running=[
            RunningView(
                job="ftjob-7f2a9c0d1e2f",
                kind="train",
                about="ground@0f3a5c9b1d2e",
                status="running",
                step=310,
                total_steps=500,
                steps_per_minute=10.5,
                seconds_left=1090.0,
                loss=1.31,
                losses=[3.0, 2.6, 2.0, 1.7, 1.5, 1.4, 1.35, 1.31],
            )
        ],
        models=[
            UsedModelView(model="sophia-v6", kind="adapter", used_as=["GEN_MODEL"]),
            UsedModelView(
                model="gpt-4o-mini",
                kind="hosted",
                used_as=["EXPANSION_MODEL"],
                ends=NOW + timedelta(days=54),
            ),
        ],
        lately=[
            HappenedView(at=ago, text="training ftjob-6c10: succeeded", health="ok"),
            HappenedView(at=ago, text="promotion of sophia-v6: done", health="ok"),
        ],
        next=NextView(
            text="Watch job ftjob-7f2a9c0d1e2f.",
            operation="jobs.show",
            request={"job": "ftjob-7f2a9c0d1e2f"},
        ),
        store_milliseconds=3.0,
    )


def job(identifier: str, status: str = "running", **changes: Any) -> JobView:
    given = {
        "id": identifier,
        "kind": "train",
        "status": status,
        "base": "SmolLM2-135M",
        "dataset": "ground@0f3a5c9b1d2e",
        "step": 310,
        "total_steps": 500,
        "loss": 1.31,
        "seconds_left": 1090.0,
        "created_by": "ana",
        "created_at": NOW - timedelta(hours=1),
        "run_folder": "/runs/x",
    }
    return JobView(**{**given, **changes})


def some_events() -> list[EventView]:
    found = [EventView(number=1, at=NOW, kind="state", data={"state": "running"})]
    for number in range(2, 14):
        at = NOW + timedelta(seconds=5 * number)
        data: dict[str, Any] = {"step": number * 20, "loss": 3.0 / number, "learning_rate": 2e-4}
        found.append(EventView(number=number, at=at, kind="metric", data=data))
    return found


def full_world() -> World:
    world = World()
    world.overview = full_overview()
    world.jobs = [job("ftjob-7f2a9c0d1e2f"), job("ftjob-6c10aa00bb11", "succeeded", step=500)]
    world.events = some_events()
    world.log = ["loading the base", "step 310 of 500"]
    world.models = [ModelView(id="sophia-v6", kind="adapter", base="SmolLM2-135M", created_at=NOW)]
    return world
