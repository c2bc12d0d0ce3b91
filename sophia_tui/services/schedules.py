"""Schedules: operations that run by the calendar, as who made the schedule or changed it last.

The worker keeps them. A due time is taken once; times that went by while no worker lived are made
up for by one run.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Schedule
from sophia_tui.domain.operations import Danger, Input, Operation, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import JobError, NotFoundError, RefusedError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.fields import is_list
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.views import Listing
from sophia_tui.validation import where_and_what

if TYPE_CHECKING:
    from sophia_tui.services.operations import Registry
    from sophia_tui.settings import Settings

#: What the words stand for, in the time zone of the schedule: at three in the night.
WORDS = {"weekly": "0 3 * * 1", "monthly": "0 3 1 * *", "quarterly": "0 3 1 1,4,7,10 *"}
#: How often an operation runs where nothing else is said.
_USUAL = {"train.start": "monthly", "finetune.run": "monthly"}
#: Operations that people call by their subject alone; of others that is `run`, as in commands.
_SHORT = {"train": "train.start", "adaptive": "adaptive.start"}
#: Whose operations make no sense by the calendar.
_NEVER = frozenset({"schedules", "settings", "store", "samples", "demo", "serve"})
_FURTHEST = timedelta(days=366 * 5)


def following(every: str, timezone: str, after: datetime) -> datetime | None:
    """The first time after `after` in that zone; None where there is none within five years.

    An hour that summer time leaves out is caught up right after it; one that comes twice counts
    once. Raises ValueError for what is no rule.
    """
    from zoneinfo import ZoneInfo

    from cronsim import CronSim, CronSimError

    local = after.astimezone(ZoneInfo(timezone))
    try:
        found = next(CronSim(WORDS.get(every, every), local))
    except CronSimError as problem:
        raise ValueError(str(problem)) from problem
    except StopIteration:
        return None
    return found if found - local < _FURTHEST else None


#: What cronsim says of five fields that it can't use.
_CRON_WORDS = {
    "Wrong number of fields": N_("It has not five fields."),
    "Bad minute": N_("The field of the minute is wrong."),
    "Bad hour": N_("The field of the hour is wrong."),
    "Bad day-of-month": N_("The field of the day of the month is wrong."),
    "Bad month": N_("The field of the month is wrong."),
    "Bad day-of-week": N_("The field of the day of the week is wrong."),
}


def outcome_of(answer: BaseModel) -> dict[str, Any]:
    """What is kept of an operation's answer: the job or data set that it made."""
    plain = answer.model_dump(mode="json")
    names = ("id", "job", "status", "dataset", "resulting_model", "counts")
    return {name: plain[name] for name in names if plain.get(name) is not None}


def was_cut_off(schedule: Schedule) -> dict[str, Any]:
    """The error of a run whose worker died in the middle."""
    return JobError(
        "J593",
        _("The run of schedule {name} was cut off.").format(name=schedule.id),
        _("Its worker ended before the operation did; nobody knows how far it came."),
        _("See what is there, then `sophia schedules run-now {name}`.").format(name=schedule.id),
    ).as_dict()


class ScheduleReference(Input):
    schedule: str = Field(description=N_("The schedule's name."))


class AddRequest(Input):
    operation: str = Field(description=N_("What is to run, e.g. prepare or train.start."))
    every: str | None = Field(
        default=None,
        description=N_(
            "weekly, monthly, quarterly, or five cron fields (minute hour day month weekday); "
            "default: weekly, for trainings monthly."
        ),
    )
    options: list[str] = Field(
        default_factory=list,
        description=N_("The operation's options as name=value, e.g. name=town; may be repeated."),
    )
    timezone: str | None = Field(
        default=None, description=N_("The time zone of the rule; default SOPHIA_TIMEZONE.")
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description=N_("The schedule's name; default: the operation's."),
    )
    enabled: bool = Field(default=True, description=N_("Whether it runs."))


class SeenSchedule(ScheduleReference):
    seen_version: int | None = Field(
        default=None,
        ge=1,
        le=2147483647,
        description=N_("The version that you saw: if another person was faster, you are told."),
    )


class ChangeRequest(SeenSchedule):
    every: str | None = Field(
        default=None, description=N_("weekly, monthly, quarterly, or five cron fields.")
    )
    options: list[str] | None = Field(
        default=None, description=N_("The operation's options as name=value, all of them anew.")
    )
    timezone: str | None = Field(default=None, description=N_("The time zone of the rule."))
    runs: Literal["on", "off"] | None = Field(default=None, description=N_("Switch it on or off."))


class ScheduleView(Output):
    """One schedule: what, when, as whom, and how it went."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "name",
        "operation",
        "every",
        "enabled",
        "next_at",
        "last_at",
        "outcome",
        "job",
        "created_by",
        "changed_by",
    )

    name: str = Field(title=N_("Schedule"))
    operation: str = Field(title=N_("Operation"))
    every: str = Field(title=N_("Every"))
    timezone: str = Field(title=N_("Time zone"))
    options: list[str] = Field(default_factory=list, title=N_("Options"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    enabled: bool = Field(title=N_("Runs"))
    next_at: datetime | None = Field(default=None, title=N_("Next"))
    last_at: datetime | None = Field(default=None, title=N_("Last"))
    outcome: str | None = Field(default=None, title=N_("Outcome"))
    job: str | None = Field(default=None, title=N_("Job"))
    result: dict[str, Any] | None = Field(default=None, title=N_("Result"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))
    created_by: str = Field(title=N_("Created by"))
    changed_by: str | None = Field(default=None, title=N_("Changed by"))
    created_at: datetime = Field(title=N_("Created"))
    version: int = Field(title=N_("Version"))

    @classmethod
    def of(cls, schedule: Schedule) -> "ScheduleView":
        kept = dict(schedule.last_result or {})
        error = kept.pop("error", None)
        job = kept.get("job") or kept.get("id")
        return cls(
            name=schedule.id,
            operation=schedule.operation,
            every=schedule.every,
            timezone=schedule.timezone,
            options=as_options(schedule.request),
            enabled=schedule.enabled,
            next_at=schedule.next_at if schedule.enabled else None,
            last_at=schedule.last_at,
            outcome=schedule.last_outcome,
            job=str(job) if job and str(job).startswith("ftjob-") else None,
            result=kept or None,
            error=error,
            created_by=schedule.created_by,
            changed_by=schedule.changed_by,
            created_at=schedule.created_at,
            version=schedule.version,
        )


class SchedulesPage(ListPage):
    sorts = (
        "created_at",
        "name",
        "operation",
        "every",
        "next_at",
        "last_at",
        "outcome",
        "created_by",
    )


class ScheduleList(Listing):
    items: list[ScheduleView] = Field(title=N_("Schedules"))


class SchedulesService:
    """Makes, changes and shows schedules."""

    def __init__(
        self,
        store: Store,
        registry: "Registry",
        settings: "Settings",
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._wake = wake

    @operation("schedules.list", N_("List what runs by the calendar."))
    async def page(self, context: Context, request: SchedulesPage) -> ScheduleList:
        found = await self._store.schedules.listed(request.wanted())
        return ScheduleList(
            items=[ScheduleView.of(each) for each in found],
            total=found.total,
            unfiltered=found.unfiltered,
        )

    @operation(
        "schedules.add",
        N_("Let an operation run by the calendar: prepare weekly, train monthly, say."),
        role=Role.OPERATOR,
        writes=True,
        target="operation",
        positional=("operation",),
    )
    async def add(self, context: Context, request: AddRequest) -> ScheduleView:
        """Raises NotFoundError U404, UsageError J594, J595, U422, RefusedError R403, R451,
        ConflictError J591."""
        chosen = self._allowed(context, request.operation)
        every = request.every or _USUAL.get(chosen.name, "weekly")
        zone = _zone(request.timezone or self._settings.timezone)
        now = self._clock.now()
        schedule = Schedule(
            id=request.name or chosen.name.replace(".", "-"),
            operation=chosen.name,
            request=self._request(chosen, request.options),
            every=every,
            timezone=zone,
            created_by=context.actor,
            created_at=now,
            enabled=request.enabled,
            next_at=_next(every, zone, now),
        )
        await self._store.schedules.add(schedule)
        await self._wake()
        return await self._view(schedule)

    @operation(
        "schedules.change",
        N_("Change when a schedule runs, with which options, or whether."),
        role=Role.OPERATOR,
        writes=True,
        target="schedule",
        positional=("schedule",),
    )
    async def change(self, context: Context, request: ChangeRequest) -> ScheduleView:
        """Who changes a schedule becomes the one as whom it runs. Raises as `add`, and
        NotFoundError J590, ConflictError J592."""
        schedule = await self._get(request.schedule)
        chosen = self._allowed(context, schedule.operation)
        changes: dict[str, Any] = {"changed_by": context.actor}
        every, zone = request.every or schedule.every, _zone(request.timezone or schedule.timezone)
        changes |= {"every": every, "timezone": zone}
        if request.options is not None:
            changes["request"] = self._request(chosen, request.options)
        if request.runs is not None:
            changes["enabled"] = request.runs == "on"
        changes["next_at"] = _next(every, zone, self._clock.now())
        changed = await self._store.schedules.update(
            schedule.id, request.seen_version or schedule.version, **changes
        )
        await self._wake()
        return await self._view(changed)

    @operation(
        "schedules.remove",
        N_("Remove a schedule; what it made stays."),
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
        target="schedule",
        positional=("schedule",),
    )
    async def remove(self, context: Context, request: SeenSchedule) -> ScheduleView:
        """Raises NotFoundError J590, ConflictError J592."""
        schedule = await self._get(request.schedule)
        await self._store.schedules.remove(schedule.id, request.seen_version or schedule.version)
        return ScheduleView.of(schedule)

    @operation(
        "schedules.run-now",
        N_("Let a schedule run once at once; its next time stays as it is."),
        role=Role.OPERATOR,
        writes=True,
        target="schedule",
        positional=("schedule",),
    )
    async def run_now(self, context: Context, request: ScheduleReference) -> ScheduleView:
        """The worker performs it, as `Schedule.runs_as`. Raises NotFoundError J590, UsageError
        J596 for one that is switched off, ConflictError J592."""
        schedule = await self._get(request.schedule)
        self._allowed(context, schedule.operation)
        if not schedule.enabled:
            raise UsageError(
                "J596",
                _("Schedule {name} is switched off.").format(name=schedule.id),
                remedy=_("Switch it on: `sophia schedules change {name} --runs on`.").format(
                    name=schedule.id
                ),
            )
        due = await self._store.schedules.update(
            schedule.id, schedule.version, next_at=self._clock.now()
        )
        await self._wake()
        return ScheduleView.of(due)

    async def _view(self, schedule: Schedule) -> ScheduleView:
        """With the data set that a training would take."""
        view = ScheduleView.of(schedule)
        if schedule.operation != "train.start":
            return view
        named = schedule.request.get("dataset")
        told = str(named) if named else await self._newest()
        return view.model_copy(update={"dataset": told})

    async def _newest(self) -> str:
        newest = await self._store.datasets.newest_prepared()
        if newest is None:
            return _("the newest prepared when it runs; there is none yet")
        return _("the newest prepared when it runs; now {dataset}").format(dataset=newest.id)

    async def _get(self, name: str) -> Schedule:
        found = await self._store.schedules.get(name)
        if found is None:
            raise NotFoundError(
                "J590",
                _("There is no schedule {name}.").format(name=textsafe.visible(name)),
                remedy=_("`sophia schedules list` lists them."),
            )
        return found

    def _request(self, chosen: Operation, options: list[str]) -> dict[str, Any]:
        """The request to keep; paths are made absolute, for the worker stands elsewhere."""
        kept = _request_of(chosen, options)
        fields, root = chosen.input.model_fields, self._settings.root
        if "folder" in fields:
            given = kept.get("folder")
            kept["folder"] = str(
                root / Path(given).expanduser() if given else self._settings.finetune_folder
            )
        base = kept.get("base") or self._settings.finetune_base
        if "base" in fields and base and (root / Path(base).expanduser()).exists():
            kept["base"] = str((root / Path(base).expanduser()).absolute())
        if "history" in fields and not kept.get("history"):
            kept["history"] = str(self._settings.history_file)
        return kept

    def _allowed(self, context: Context, name: str) -> Operation:
        """The operation, where this person may have it by the calendar."""
        name = ".".join(name.split())  # as on the command line
        chosen = self._registry.get(_SHORT.get(name, name if "." in name else f"{name}.run"))
        if chosen.subject in _NEVER or chosen.danger is not Danger.NONE or not _acts(chosen):
            raise UsageError(
                "J594",
                _("{name} can't run by the calendar.").format(name=chosen.name),
                _("It only looks, asks for a person's word, or belongs to the set-up."),
                _("Choose one like collect.run, prepare.run, train.start or evaluate.run."),
            )
        if not context.role.allows(chosen.role):
            raise RefusedError(
                "R403",
                _("{name} is not allowed for you.").format(name=chosen.name),
                _("It needs the role {needed}; yours is {role}.").format(
                    needed=chosen.role.value, role=context.role.value
                ),
            )
        if chosen.trains and context.face is Face.API and not self._settings.allow_finetune:
            raise RefusedError(
                "R451",
                _("Training over HTTP is switched off."),
                _("ALLOW_FINETUNE is not true."),
                _("Set ALLOW_FINETUNE=true in Sophia's .env and restart the API."),
            )
        return chosen


def _acts(chosen: Operation) -> bool:
    return chosen.writes or chosen.name == "collect.run"


def _zone(text: str) -> str:
    """Raises UsageError J595."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text.strip()).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            "J595",
            _("There is no time zone {name}.").format(name=textsafe.visible(text)),
            remedy=_("Name one like America/Sao_Paulo or UTC."),
        ) from None


def _next(every: str, timezone: str, now: datetime) -> datetime:
    """Raises UsageError J597."""
    try:
        found = following(every, timezone, now)
    except ValueError as problem:
        why = _(_CRON_WORDS.get(str(problem), "")) or textsafe.visible(str(problem))
    else:
        if found is not None:
            return found
        why = _("It names no time in the next five years.")
    raise UsageError(
        "J597",
        _("{rule} can't be used as a rule.").format(rule=textsafe.visible(every)),
        why,
        _("Write weekly, monthly, quarterly, or five cron fields such as 30 2 * * 1-5."),
    )


def as_options(request: Mapping[str, Any]) -> list[str]:
    """A request as name=value."""
    found = []
    for name, value in request.items():
        for each in value if isinstance(value, list) else [value]:
            text = str(each).lower() if isinstance(each, bool) else str(each)
            found.append(f"{name}={text}")
    return found


def _request_of(chosen: Operation, options: list[str]) -> dict[str, Any]:
    """The request that name=value say, checked by the operation's own input. Raises UsageError
    J598, U422."""
    plain: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        info = chosen.input.model_fields.get(name)
        if not sign or info is None:
            raise UsageError(
                "J598",
                _("{option} is no option of {name}.").format(
                    option=textsafe.visible(option), name=chosen.name
                ),
                remedy=_("Write name=value; the names are: {names}.").format(
                    names=", ".join(chosen.input.model_fields)
                ),
            )
        if is_list(info):
            plain.setdefault(name, []).append(value.strip())
        else:
            plain[name] = value.strip()
    try:
        checked = chosen.input.model_validate(plain)
    except ValidationError as problem:
        raise UsageError(
            "U422",
            _("The request for {name} is not valid.").format(name=chosen.name),
            where_and_what(problem.errors(include_input=False, include_url=False)),
            _("See `{command} --help`.").format(command=chosen.command),
        ) from None
    return checked.model_dump(mode="json", exclude_unset=True)
