"""Overview: where the loop stands, stage by stage, what runs, and the next sensible step."""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Face
from sophia_tui.domain.jobs import Job, JobEvent, JobState
from sophia_tui.domain.models import Promotion, PromotionState
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Source, Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.paths import Paths
from sophia_tui.services import stages
from sophia_tui.services.calendar_looks import CalendarLook, EndingModelView, endings, way_out
from sophia_tui.services.calendar_rules import moment_of
from sophia_tui.services.calendar_views import CalendarView, UnreadFile
from sophia_tui.services.fields import equivalent
from sophia_tui.services.job_states import Caretaker, JobEyes
from sophia_tui.services.operations import operation
from sophia_tui.services.promotion_record import NO_MODEL
from sophia_tui.services.promotion_recovery import cut_off_note
from sophia_tui.services.quality import Quality, Targets
from sophia_tui.services.stages import Health, StageView, Standing, Step
from sophia_tui.services.views import KIND_WORDS, JobView

if TYPE_CHECKING:
    import asyncio

    from sophia_tui.settings import Settings

SOURCE_SECONDS = 10.0  # how long an answer about the source counts as fresh
SOURCE_PATIENCE = 1.5  # seconds that the first look waits for the source; later ones wait for none
SOURCE_TIMEOUT = 5.0
_LOSSES = 24
_RUNNING = 5
_LATELY = 5
_EVALUATIONS = 2  # of the newest; one of a base alone has no figure to show
_LATELY_PERIOD = timedelta(hours=24)
#: So long a console is answered with the last picture where nothing was written since: as long as
#: what changes outside of the store (files, the time of day) may wait.
UNCHANGED_SECONDS = 10.0
_RATE_EVENTS = 20  # of the newest that tell a step
ALERT_SECONDS = 60.0  # how long the figures of a person's absence count as fresh
_LONGEST_ABSENCE = timedelta(days=7)  # whose traffic is looked at


class OverviewRequest(Input):
    since: datetime | None = Field(
        default=None, description=N_("Tell what happened after this time; default 24 hours ago.")
    )


class RunningView(Output):
    job: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    about: str = Field(title=N_("Of"))
    status: str = Field(title=N_("State"))
    step: int | None = Field(default=None, title=N_("Step"))
    total_steps: int | None = Field(default=None, title=N_("Steps"))
    steps_per_minute: float | None = Field(default=None, title=N_("Steps a minute"))
    seconds_left: float | None = Field(default=None, title=N_("Seconds left"))
    loss: float | None = Field(default=None, title=N_("Loss"))
    losses: list[float] = Field(default_factory=list, title=N_("Losses"))


class UsedModelView(Output):
    """`ends` is the first day without it: midnight UTC, shown as that and not as the evening
    before."""

    as_is: ClassVar[frozenset[str]] = frozenset({"ends"})

    model: str = Field(title=N_("Model"))
    kind: str = Field(title=N_("Kind"))
    used_as: list[str] = Field(default_factory=list, title=N_("Used as"))
    served_as: list[str] = Field(default_factory=list, title=N_("Served as"))
    ends: datetime | None = Field(default=None, title=N_("Ends"))


class HappenedView(Output):
    at: datetime = Field(title=N_("Time"))
    text: str = Field(title=N_("What"))
    health: Health = Field(title=N_("State"))


class NextView(Output):
    """`operation` is the name to call, or None where there is nothing to do but look; `command` is
    what a person types for the same."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"operation", "request"})

    text: str = Field(title=N_("What"))
    command: str = Field(default="", title=N_("Command"))
    operation: str | None = Field(default=None, title=N_("Operation"))
    request: dict[str, Any] = Field(default_factory=dict, title=N_("With"))


class OverviewView(Output):
    stages: list[StageView] = Field(title=N_("Stages"))
    running: list[RunningView] = Field(title=N_("Open jobs"))
    models: list[UsedModelView] = Field(title=N_("Models"))
    endings: list[EndingModelView] = Field(default_factory=list, title=N_("Models that end"))
    unread: list[UnreadFile] = Field(default_factory=list, title=N_("Env files that can't be read"))
    since: datetime | None = Field(default=None, title=N_("Lately means since"))
    lately: list[HappenedView] = Field(title=N_("Lately"))
    happened: int = Field(default=0, title=N_("Happened in all"))
    by_others: int = Field(default=0, title=N_("Changes by others"))
    next: NextView = Field(title=N_("Next"))
    store_milliseconds: float = Field(title=N_("Store, milliseconds"))


class OverviewService:
    """Reads the store and asks the source; neither a slow nor a dead source holds it up."""

    def __init__(
        self,
        store: Store,
        open_source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]] | None = None,
        calendar: Callable[[], Awaitable[CalendarView]] | None = None,
        half_done: Callable[[], Awaitable[Promotion | None]] | None = None,
    ) -> None:
        self._half_done = half_done
        self._calendar = CalendarLook(calendar) if calendar else None
        self._store = store
        self._settings = settings
        self._clock = clock
        self._eyes = JobEyes(store, settings, clock)
        self._care = (
            Caretaker(wake, settings, self._eyes.machine, store.schedules) if wake else None
        )
        self._source = SourceLook(open_source)
        self._absence = _AbsenceLook(store)
        #: What was asked last, when, and what was answered.
        self._kept: tuple[tuple[Any, ...], float, OverviewView] | None = None

    @operation("overview.show", N_("Show where the loop stands and the next sensible step."))
    async def show(self, context: Context, request: OverviewRequest) -> OverviewView:
        """A console looks every other second, mostly at what it has shown already: where nothing
        was written meanwhile, one question to the store is all that a look costs."""
        moment, milliseconds = await self._store.moment()
        source = await self._source.look(configured=self._settings.database_url is not None)
        asked = (moment, source, request.since, context.actor, context.role, get_language())
        if context.face is Face.CONSOLE and self._kept is not None:
            of, at, view = self._kept
            if of == asked and time.monotonic() - at < UNCHANGED_SECONDS:
                return view.model_copy(update={"store_milliseconds": round(milliseconds, 1)})
        view = await self._look(context, request, source, milliseconds)
        self._kept = (asked, time.monotonic(), view)
        return view

    async def _look(
        self,
        context: Context,
        request: OverviewRequest,
        source: stages.SourceState,
        milliseconds: float,
    ) -> OverviewView:
        jobs = await self._store.jobs.page(limit=50)
        if self._care:
            await self._care.look_after(context, jobs)
        views = {each.id: each for each in await self._eyes.views(jobs)}
        promotions = tuple(await self._store.promotions.page(limit=20))
        calendar = await self._calendar.look() if self._calendar else None
        standing = Standing(
            now=self._clock.now(),
            source=source,
            collected=stages.collected_files(
                self._settings.finetune_folder, self._settings.history_file
            ),
            dataset=await self._store.datasets.newest_prepared(),
            jobs=tuple((each, views[each.id].status) for each in jobs),
            models=tuple(await self._store.models.page(limit=20)),
            evaluations=tuple(await self._store.evaluations.page(limit=_EVALUATIONS)),
            promotions=promotions,
            uses=_uses(self._settings.managed_files, promotions),
            base=self._settings.finetune_base,
            served=await self._served(),
        )
        ends = endings(calendar) if calendar else []
        since = self._aware(request.since or standing.now - _LATELY_PERIOD)
        happened = _lately(standing, since) + await self._of_serving(standing, since)
        happened.sort(key=lambda each: each.at, reverse=True)
        meanwhile = await self._store.audit.happened_since(since, context.actor)
        return OverviewView(
            stages=stages.all_stages(standing),
            running=[await self._running(job, views[job.id]) for job in _living(standing)],
            models=_models(standing, calendar),
            endings=ends,
            unread=calendar.unread if calendar else [],
            since=since,
            lately=happened[:_LATELY],
            happened=len(happened),
            by_others=sum(each.count for each in meanwhile if each.what == "changed"),
            next=_next(
                await self._repair() or _off_what_is_gone(ends) or stages.next_step(standing)
            ),
            store_milliseconds=round(milliseconds, 1),
        )

    async def _repair(self) -> Step | None:
        """A promotion that was cut off goes before all else: files and units may disagree."""
        left = await self._half_done() if self._half_done else None
        return Step(cut_off_note(left), "promote.repair") if left else None

    async def _served(self) -> stages.Served:
        now = self._clock.now()
        living = tuple(await self._store.deployments.page(limit=20, living=True))
        for hours in (1, 24):
            traffic = await self._store.traffic.totals(now - timedelta(hours=hours), now)
            if traffic:
                break
        return stages.Served(Targets.of(self._settings), living, hours, tuple(traffic))

    async def _of_serving(self, standing: Standing, since: datetime) -> list[HappenedView]:
        """Engines that failed, and the targets that answers missed, since a person left."""
        served = await self._store.deployments.page(limit=20)
        found = [each for each in map(_failed_engine, served) if each and each.at >= since]
        targets = Targets.of(self._settings)
        told = _("Meanwhile: {what}")
        for each in await self._absence.complaints(since, standing.now, targets):
            text = told.format(what=each)
            found.append(HappenedView(at=standing.now, text=text, health="attention"))
        return found

    def _aware(self, at: datetime) -> datetime:
        """A time without zone is read in the zone of the settings."""
        if at.tzinfo:
            return at
        from zoneinfo import ZoneInfo

        return at.replace(tzinfo=ZoneInfo(self._settings.timezone))

    async def _running(self, job: Job, view: JobView) -> RunningView:
        found = await self._store.jobs.events(job.id, after=max(0, job.last_event - 300), limit=300)
        losses = [
            float(each.data["loss"])
            for each in found
            if each.kind == "metric" and isinstance(each.data.get("loss"), int | float)
        ]
        return RunningView(
            job=job.id,
            kind=job.kind.value,
            about=job.dataset or job.model_id or job.base,
            status=view.status,
            step=job.step,
            total_steps=job.total_steps,
            steps_per_minute=steps_per_minute(found) if view.status == JobState.RUNNING else None,
            seconds_left=job.seconds_left,
            loss=job.loss,
            losses=losses[-_LOSSES:],
        )


def steps_per_minute(events: Sequence[JobEvent]) -> float | None:
    """How fast a run goes now: by the newest events that tell a step, none from before it was
    paused or taken up again; None where two of them are missing."""
    told: list[JobEvent] = []
    for each in reversed(events):
        if each.kind == "state" or len(told) == _RATE_EVENTS:
            break
        if isinstance(each.data.get("step"), int):
            told.append(each)
    if not told:
        return None
    newest, oldest = told[0], told[-1]
    seconds = (newest.at - oldest.at).total_seconds()
    steps = newest.data["step"] - oldest.data["step"]
    return round(60 * steps / seconds, 2) if seconds > 0 and steps > 0 else None


class _AbsenceLook:
    """What served models missed while a person was away; asked anew once a minute at most."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[datetime, str], tuple[float, list[str]]] = {}

    async def complaints(self, since: datetime, now: datetime, targets: Targets) -> list[str]:
        """Of the last hour Overview's last stage tells: a shorter absence has none of its own."""
        begin = max(since, now - _LONGEST_ABSENCE)
        if now - begin <= timedelta(hours=1):
            return []
        key = (since, get_language())
        at, found = self._known.get(key, (float("-inf"), []))
        if time.monotonic() - at >= ALERT_SECONDS:
            traffic = await self._store.traffic.totals(begin, now)
            found = Quality.of(traffic).complaints(targets)
            self._known = {key: (time.monotonic(), found)}
        return found


class SourceLook:
    """What is known of the source: asked in the background, kept for some seconds."""

    def __init__(self, open_source: Callable[[], Awaitable[Source]]) -> None:
        self._open = open_source
        self._known: stages.SourceState | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def look(self, configured: bool) -> stages.SourceState:
        """The last answer; a fresh one is asked for where that is older than 10 s."""
        import asyncio

        fresh = time.monotonic() - self._asked_at < SOURCE_SECONDS
        if not fresh and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())
        if self._known is None and self._asking is not None:
            await asyncio.wait({self._asking}, timeout=SOURCE_PATIENCE)
        return self._known or stages.SourceState(configured=configured, reached=None)

    async def _ask(self) -> None:
        import asyncio

        try:
            async with asyncio.timeout(SOURCE_TIMEOUT):
                tables = await (await self._open()).inspect()
        except SophiaError as problem:
            self._known = stages.SourceState(True, False, problem=problem)
        except TimeoutError:
            self._known = stages.SourceState(True, False)
        else:
            usable = tuple(each.table for each in tables if each.usable)
            self._known = stages.SourceState(True, True, usable=usable)
        self._asked_at = time.monotonic()


def _living(standing: Standing) -> list[Job]:
    shown = [
        job
        for job, state in standing.foremost
        if state not in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.DRAFT)
    ]
    return shown[:_RUNNING]


def _models(standing: Standing, calendar: CalendarView | None) -> list[UsedModelView]:
    """What production names comes first, then what is served, then the newest. A date of the
    calendar goes before the one that was noted when a model was made."""
    ends = {
        each.model: moment_of(each.ends)
        for each in (calendar.items if calendar else ())
        if each.ends and each.use == "asked"
    }
    known = {each.id: each for each in standing.models}
    living = standing.served.living if standing.served else ()
    served: dict[str, list[str]] = {}
    for deployment in living:
        served.setdefault(deployment.model_id, []).append(deployment.name)
    names = list(dict.fromkeys([*standing.uses, *served, *known]))[:_RUNNING]
    return [
        UsedModelView(
            model=name,
            kind=known[name].kind.value if name in known else _("not from here"),
            used_as=list(standing.uses.get(name, ())),
            served_as=served.get(name, []),
            ends=ends.get(name) or (known[name].shutdown_at if name in known else None),
        )
        for name in names
    ]


def _uses(managed: Sequence[Path], promotions: Sequence[Promotion]) -> dict[str, list[str]]:
    """What env files of production name; of those that only the root helper may read, what the
    newest promotion in force wrote."""
    found = stages.used_models(_env_files(managed, promotions))
    told: set[tuple[str, str]] = set()
    for each in promotions:
        if each.state is not PromotionState.DONE:
            continue
        for change in each.changes:
            if not _out_of_reach(Path(change.path)):
                continue
            for key, value in change.after.items():
                if (change.path, key) not in told and value and key.endswith("_MODEL"):
                    found.setdefault(value, [])
                    found[value] += [key] if key not in found[value] else []
                told.add((change.path, key))
    return found


def _out_of_reach(path: Path) -> bool:
    """Whether the file may be there and we may not read it."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(path, os.R_OK)


def _env_files(managed: Sequence[Path], promotions: Sequence[Promotion]) -> list[Path]:
    """The managed env files, and those that a promotion in force was told to write."""
    written = [
        Path(change.path)
        for each in promotions
        if each.state is PromotionState.DONE
        for change in each.changes
    ]
    return list(dict.fromkeys([*managed, *written]))


def _lately(standing: Standing, since: datetime) -> list[HappenedView]:
    found = []
    for job, state in standing.jobs:
        if job.finished_at and job.finished_at >= since:
            kind = _("trial") if job.is_try else _(KIND_WORDS[job.kind.value])
            text = _("{kind} {job}: {state}").format(kind=kind, job=job.id, state=_(state))
            health: Health = "ok" if state == JobState.SUCCEEDED else "problem"
            found.append(HappenedView(at=job.finished_at, text=text, health=health))
    for each in standing.promotions:
        at = each.finished_at or each.created_at
        if at >= since:
            named = _("promotion of {model}: {state}")
            if each.model_id == NO_MODEL:
                named = _("way back to where no model was named: {state}")
            elif each.rolls_back is not None:
                named = _("way back to {model}: {state}")
            text = named.format(model=each.model_id, state=_(each.state.value))
            happy: Health = "ok" if each.state == "done" else "attention"
            found.append(HappenedView(at=at, text=text, health=happy))
    return found


def _failed_engine(deployment: Deployment) -> HappenedView | None:
    if deployment.state is not DeploymentState.FAILED:
        return None
    text = _("serving {model}: {state}").format(
        model=deployment.model_id, state=_(deployment.state.value)
    )
    at = deployment.stopped_at or deployment.created_at
    return HappenedView(at=at, text=text, health="problem")


def _off_what_is_gone(ends: Sequence[EndingModelView]) -> Step | None:
    """Production names a model that answers no more: that goes before all else."""
    for each in ends:
        way = way_out(each) if each.severity == "error" else None
        if way is not None:
            return Step(each.told, *way)
    return None


def _next(step: Step) -> NextView:
    from sophia_tui.services.catalogue import registry  # it lists this service, too

    command = equivalent(registry().get(step.operation), step.request) if step.operation else ""
    return NextView(
        text=step.text, command=command, operation=step.operation, request=dict(step.request)
    )
