"""Monitor: what served models did in a period, and how people judged the answers, by day.

A figure stands here only where something was counted; what can't be measured yet says so.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.feedback import FeedbackDay, FeedbackReport
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Source, Store
from sophia_tui.domain.serving import Deployment, TrafficSummary
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.services import monitor_words
from sophia_tui.services.operations import operation
from sophia_tui.services.quality import Quality, Targets

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sophia_tui.settings import Settings

DEFAULT_DAYS = 7
MOST_BUCKETS = 60
#: From a minute to a week.
BUCKETS = (60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400, 604_800)
SOURCE_PATIENCE = 8.0  # seconds
SOURCE_SECONDS = 30.0  # how long an answer of the source counts as fresh

State = Literal["counted", "empty", "missing", "unreachable"]


class MonitorRequest(Input):
    """One of hours, days, since; by default the last seven days."""

    hours: float | None = Field(
        default=None, gt=0, le=876_000, description=N_("The last so many hours, up to now.")
    )
    days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description=N_("Today and the days before it, so many in all; default 7."),
    )
    since: datetime | None = Field(
        default=None, description=N_("The period's start, e.g. 2026-11-01.")
    )
    until: datetime | None = Field(
        default=None, description=N_("The period's end, which is not part of it; default now.")
    )
    model: str | None = Field(
        default=None, description=N_("Only requests for the model of this name.")
    )


class TrafficView(Output):
    """Requests for one model. Times are of good answers; `errors` are answers from 400 on."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "model",
        "requests",
        "errors",
        "error_rate",
        "seconds_p50",
        "seconds_p95",
        "first_token_seconds_p50",
        "prompt_tokens",
        "completion_tokens",
    )

    model: str = Field(title=N_("Model"))
    requests: int = Field(title=N_("Requests"))
    errors: int = Field(title=N_("Errors"))
    error_rate: float | None = Field(default=None, title=N_("Errors, share"))
    prompt_tokens: int = Field(title=N_("Tokens in"))
    completion_tokens: int = Field(title=N_("Tokens out"))
    seconds_mean: float | None = Field(default=None, title=N_("Seconds, mean"))
    seconds_p50: float | None = Field(default=None, title=N_("Seconds, half"))
    seconds_p95: float | None = Field(default=None, title=N_("Seconds, 95 %"))
    first_token_seconds_p50: float | None = Field(default=None, title=N_("First token, half"))

    @classmethod
    def figures(cls, found: TrafficSummary) -> dict[str, object]:
        """The fields that a summary gives; times are rounded to milliseconds."""
        rate = found.errors / found.requests if found.requests else None
        return {
            "model": found.model or _("(unknown name)"),
            "requests": found.requests,
            "errors": found.errors,
            "error_rate": None if rate is None else round(rate, 4),
            "prompt_tokens": found.prompt_tokens,
            "completion_tokens": found.completion_tokens,
            "seconds_mean": _rounded(found.seconds_mean),
            "seconds_p50": _rounded(found.seconds_p50),
            "seconds_p95": _rounded(found.seconds_p95),
            "first_token_seconds_p50": _rounded(found.first_token_seconds_p50),
        }


class TrafficPoint(TrafficView):
    """The same over one bucket of time. Buckets without a request are left out: none came."""

    table_columns: ClassVar[tuple[str, ...]] = ("start", *TrafficView.table_columns[:7])

    start: datetime = Field(title=N_("From"))


class LivingView(Output):
    """A deployment that has not ended."""

    table_columns: ClassVar[tuple[str, ...]] = ("name", "model", "state", "ready_at", "checked_at")

    id: str = Field(title=N_("Deployment"))
    name: str = Field(title=N_("Name"))
    model: str = Field(title=N_("Model"))
    engine: str = Field(title=N_("Engine"))
    state: str = Field(title=N_("State"))
    ready_at: datetime | None = Field(default=None, title=N_("Ready since"))
    checked_at: datetime | None = Field(default=None, title=N_("Last answer"))
    restarts: int = Field(default=0, title=N_("Times restarted"))

    @classmethod
    def of(cls, found: Deployment) -> "LivingView":
        return cls(
            id=found.id,
            name=found.name,
            model=found.model_id,
            engine=found.engine,
            state=found.state.value,
            ready_at=found.ready_at,
            checked_at=found.checked_at,
            restarts=found.restarts,
        )


class FeedbackDayView(Output):
    day: date = Field(title=N_("Day"))
    positive: int = Field(title=N_("Positive"))
    negative: int = Field(title=N_("Negative"))
    other: int = Field(title=N_("Neither"))
    satisfaction: float | None = Field(default=None, title=N_("Satisfaction"))


class FeedbackView(Output):
    """Signals on one kind of thing. Without `state` counted there are no figures, and `cause` says
    why. satisfaction = positive / all; `days` are those that have signals."""

    state: State = Field(title=N_("State"))
    cause: str = Field(default="", title=N_("Cause"))
    code: str | None = Field(default=None, title=N_("Code"))
    table: str | None = Field(default=None, title=N_("Table"))
    counted_since: datetime | None = Field(default=None, title=N_("Counted since"))
    positive: int | None = Field(default=None, title=N_("Positive"))
    negative: int | None = Field(default=None, title=N_("Negative"))
    other: int | None = Field(default=None, title=N_("Neither"))
    undated: int | None = Field(default=None, title=N_("Without a day"))
    satisfaction: float | None = Field(default=None, title=N_("Satisfaction"))
    assumed_zone: str | None = Field(default=None, title=N_("Time zone assumed"))
    days: list[FeedbackDayView] = Field(default_factory=list, title=N_("By day"))


class NotYetView(Output):
    """Something that this version does not measure."""

    table_columns: ClassVar[tuple[str, ...]] = ("label", "text")
    machine_only: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = Field(title=N_("Name"))
    label: str = Field(default="", title=N_("What"))
    text: str = Field(title=N_("Why"))


class MonitorView(Output):
    as_is: ClassVar[frozenset[str]] = frozenset({"since", "until"})  # in the zone that is shown

    since: datetime = Field(title=N_("From"))
    until: datetime = Field(title=N_("Until"))
    zone: str = Field(title=N_("Time zone"))
    alerts: list[str] = Field(title=N_("Misses its target"))
    target_latency_seconds: float = Field(title=N_("Target: seconds, 95 %"))
    target_error_rate: float = Field(title=N_("Target: errors, share"))
    counted_since: datetime | None = Field(default=None, title=N_("Counted since"))
    requests: int | None = Field(default=None, title=N_("Requests"))
    errors: int | None = Field(default=None, title=N_("Errors"))
    error_rate: float | None = Field(default=None, title=N_("Errors, share"))
    note: str = Field(default="", title=N_("Note"))
    models: list[TrafficView] = Field(title=N_("By model"))
    bucket_seconds: int = Field(title=N_("Seconds a point"))
    series: list[TrafficPoint] = Field(title=N_("Over time"))
    deployments: list[LivingView] = Field(title=N_("Served now"))
    documents: FeedbackView = Field(title=N_("Feedback on documents"))
    conversations: FeedbackView = Field(title=N_("Feedback on conversations"))
    not_yet: list[NotYetView] = Field(title=N_("Not measured yet"))


@dataclass(frozen=True)
class _Period:
    """Half-open, in the zone of the settings."""

    since: datetime
    until: datetime
    zone: str

    @property
    def bucket_seconds(self) -> int:
        """The finest bucket of which the period has no more than MOST_BUCKETS."""
        seconds = (self.until - self.since).total_seconds()
        return next((each for each in BUCKETS if seconds <= each * MOST_BUCKETS), BUCKETS[-1])


@dataclass(frozen=True)
class _Known:
    """The source's last answer; `at` is monotonic."""

    asked: tuple[MonitorRequest, date, str]
    at: float
    view: FeedbackView


class MonitorService:
    """Reads figures; neither a slow nor a dead source holds them up for long."""

    def __init__(
        self,
        store: Store,
        open_source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        clock: Clock,
    ) -> None:
        self._store = store
        self._open_source = open_source
        self._settings = settings
        self._clock = clock
        self._known: _Known | None = None

    @operation(
        "monitor.show",
        N_("Show what served models did in a period, and how people judged the answers."),
    )
    async def show(self, context: Context, request: MonitorRequest) -> MonitorView:
        """Raises UsageError M470, M471 for the period, UnavailableError for our own store."""
        from zoneinfo import ZoneInfo

        period = self._period(request, ZoneInfo(self._settings.timezone))
        targets = Targets.of(self._settings)
        totals = await self._store.traffic.totals(period.since, period.until, request.model)
        series = await self._store.traffic.summary(
            period.since, period.until, period.bucket_seconds, request.model
        )
        counted_since = await self._store.traffic.first_at()
        living = await self._store.deployments.page(living=True)
        quality = Quality.of(totals)
        counted = counted_since is not None and counted_since < period.until
        rate, unmeasured = quality.error_rate, monitor_words.not_yet()
        return MonitorView(
            since=period.since,
            until=period.until,
            zone=period.zone,
            alerts=monitor_words.alerts(totals, targets),
            target_latency_seconds=targets.latency_seconds,
            target_error_rate=targets.error_rate,
            counted_since=counted_since,
            requests=quality.requests if counted else None,
            errors=quality.errors if counted else None,
            error_rate=None if rate is None else round(rate, 4),
            note=monitor_words.note(counted_since, period.since, period.until, bool(living)),
            models=[TrafficView.model_validate(TrafficView.figures(each)) for each in totals],
            bucket_seconds=period.bucket_seconds,
            series=[_point(each) for each in series],
            deployments=[LivingView.of(each) for each in living],
            documents=await self._documents(request, period),
            conversations=await self._conversations(period),
            not_yet=[
                NotYetView(name=name, label=label, text=text)
                for name, (label, text) in unmeasured.items()
            ],
        )

    def _period(self, request: MonitorRequest, zone: "ZoneInfo") -> _Period:
        lengths = [request.hours, request.days, request.since]
        if sum(each is not None for each in lengths) > 1:
            raise UsageError(
                "M470",
                _("Only one of hours, days and since can say when the period begins."),
                remedy=_("Leave the others out."),
            )
        until = _in_zone(request.until, zone) or self._clock.now().astimezone(zone)
        if request.since is not None:
            since = _in_zone(request.since, zone)
            assert since is not None
        elif request.hours is not None:
            since = until - timedelta(hours=request.hours)
        else:
            days = request.days or DEFAULT_DAYS
            first = (until - timedelta(microseconds=1)).date() - timedelta(days=days - 1)
            since = datetime(first.year, first.month, first.day, tzinfo=zone)
        if since >= until:
            raise UsageError(
                "M471",
                _("The period ends before it begins."),
                _("From {start} until {end}.").format(start=since, end=until),
                _("Correct --since and --until."),
            )
        return _Period(since, until, zone.key)

    async def _documents(self, request: MonitorRequest, period: _Period) -> FeedbackView:
        """The source's feedback; asked anew at most every SOURCE_SECONDS for the same period."""
        asked = (request, period.until.date(), get_language())
        known = self._known
        if known and known.asked == asked and time.monotonic() - known.at < SOURCE_SECONDS:
            return known.view
        view = await self._ask_source(period)
        self._known = _Known(asked, time.monotonic(), view)
        return view

    async def _ask_source(self, period: _Period) -> FeedbackView:
        import asyncio

        try:
            async with asyncio.timeout(SOURCE_PATIENCE):
                source = await self._open_source()
                found = await source.feedback_by_day(period.since, period.until, period.zone)
        except TimeoutError:
            cause = _("The source did not answer within {seconds} s.")
            return FeedbackView(
                state="unreachable", cause=cause.format(seconds=round(SOURCE_PATIENCE))
            )
        except SophiaError as problem:
            cause = " ".join(filter(None, (problem.what, problem.why, problem.remedy)))
            return FeedbackView(state="unreachable", cause=cause, code=problem.code)
        if found.problem:
            return FeedbackView(state="missing", cause=found.problem)
        return _counted(found)

    async def _conversations(self, period: _Period) -> FeedbackView:
        first = await self._store.feedback.first_at()
        if first is None or first >= period.until:
            return FeedbackView(
                state="empty",
                cause=_("No reaction and no rating of a conversation has reached Sophia."),
                counted_since=first,
            )
        days = await self._store.feedback.by_day(period.since, period.until, period.zone)
        view = _counted(FeedbackReport(tuple(days)))
        return view.model_copy(update={"counted_since": first, "undated": None})


def _counted(found: FeedbackReport) -> FeedbackView:
    positive = sum(each.positive for each in found.days)
    negative = sum(each.negative for each in found.days)
    other = sum(each.other for each in found.days)
    return FeedbackView(
        state="counted",
        table=found.table,
        positive=positive,
        negative=negative,
        other=other,
        undated=found.undated,
        satisfaction=_share(positive, positive + negative + other),
        assumed_zone=found.assumed_zone,
        days=[_day(each) for each in found.days],
    )


def _day(found: FeedbackDay) -> FeedbackDayView:
    whole = found.positive + found.negative + found.other
    return FeedbackDayView(
        day=found.day,
        positive=found.positive,
        negative=found.negative,
        other=found.other,
        satisfaction=_share(found.positive, whole),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _point(found: TrafficSummary) -> TrafficPoint:
    return TrafficPoint.model_validate({**TrafficView.figures(found), "start": found.start})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _in_zone(moment: datetime | None, zone: "ZoneInfo") -> datetime | None:
    """A time without zone is one of the settings' zone."""
    if moment is None:
        return None
    return moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
