"""Collect: what the assistant was asked and how it answered, from the source into FINETUNE_DIR."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, NoInput, Output
from sophia_tui.domain.protocols import (
    Clock,
    ColumnReport,
    ConversationFilter,
    ExportRequest,
    ExportResult,
    Source,
    TableReport,
)
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from sophia_tui.settings import Settings


class CollectRequest(Input):
    """What is not given comes from the settings."""

    what: list[Literal["qa_cache", "feedback_pairs", "conversations"]] = Field(
        default_factory=list,
        description=N_("Which exports: qa_cache, feedback_pairs, conversations; default all."),
    )
    window_days: int | None = Field(
        default=None,
        ge=1,
        le=36500,
        description=N_("How many days back, up to now; default SOPHIA_WINDOW_DAYS."),
    )
    since: datetime | None = Field(
        default=None, description=N_("The period's start, in place of the window, e.g. 2026-11-01.")
    )
    until: datetime | None = Field(
        default=None, description=N_("The period's end, which is not part of it; default now.")
    )
    channels: list[str] = Field(
        default_factory=list, description=N_("Only conversations of these channels.")
    )
    closed_statuses: list[str] = Field(
        default_factory=list, description=N_("Conversation statuses that mean complete.")
    )
    idle_hours: float | None = Field(
        default=None,
        ge=0,
        le=876000,
        description=N_("Idle hours after which what the assistant ended is complete; 0: never."),
    )
    minimum_rating: float | None = Field(
        default=None, ge=1, le=5, description=N_("Only conversations rated so or better.")
    )
    folder: str | None = Field(
        default=None, description=N_("Where to write, in place of FINETUNE_DIR.")
    )


class ExportView(Output):
    """One export. rows_read = exported + rejected."""

    name: str = Field(title=N_("Export"))
    available: bool = Field(title=N_("Available"))
    rows_read: int = Field(title=N_("Rows read"))
    exported: int = Field(title=N_("Exported"))
    rejected: int = Field(title=N_("Rejected"))
    rejected_by: dict[str, int] = Field(title=N_("Rejected by reason"))
    bytes_written: int = Field(title=N_("Bytes"))
    problem: str = Field(default="", title=N_("Problem"))
    table: str | None = Field(default=None, title=N_("Table"))
    file: str | None = Field(default=None, title=N_("File"))
    rejected_file: str | None = Field(default=None, title=N_("List of rejected rows"))
    assumed_zone: str | None = Field(default=None, title=N_("Time zone assumed"))
    rows_after: int | None = Field(default=None, title=N_("Rows after the period"))

    @classmethod
    def of(cls, result: ExportResult) -> "ExportView":
        return cls(
            name=result.name,
            available=result.available,
            rows_read=result.counts.rows_read,
            exported=result.counts.exported,
            rejected=result.counts.rejected,
            rejected_by=dict(result.counts.rejected_by),
            bytes_written=result.counts.bytes_written,
            problem=result.problem,
            table=result.table,
            file=result.file,
            rejected_file=result.rejected_file if result.counts.rejected else None,
            assumed_zone=result.assumed_zone,
            rows_after=result.rows_after,
        )


class CollectResult(Output):
    as_is: ClassVar[frozenset[str]] = frozenset({"start", "end"})  # in the zone that is shown

    start: datetime = Field(title=N_("From"))
    end: datetime = Field(title=N_("Until"))
    zone: str = Field(title=N_("Time zone"))
    folder: str = Field(title=N_("Folder"))
    written: bool = Field(title=N_("Written"))
    items: list[ExportView] = Field(title=N_("Exports"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))


class ColumnView(Output):
    column: str = Field(title=N_("Column"))
    found: str | None = Field(default=None, title=N_("Type"))
    required: bool = Field(title=N_("Needed"))
    usable: bool = Field(title=N_("Usable"))
    problem: str = Field(default="", title=N_("Problem"))

    @classmethod
    def of(cls, report: ColumnReport) -> "ColumnView":
        return cls(
            column=report.column,
            found=report.found,
            required=report.required,
            usable=report.usable,
            problem=report.problem,
        )


class TableView(Output):
    table: str = Field(title=N_("Table"))
    found: str | None = Field(default=None, title=N_("Found as"))
    kind: str | None = Field(default=None, title=N_("Kind"))
    usable: bool = Field(title=N_("Usable"))
    rows_estimate: int | None = Field(default=None, title=N_("Rows, about"))
    problem: str = Field(default="", title=N_("Problem"))
    note: str = Field(default="", title=N_("Note"))
    columns: list[ColumnView] = Field(default_factory=list, title=N_("Columns"))

    @classmethod
    def of(cls, report: TableReport) -> "TableView":
        return cls(
            table=report.table,
            found=report.found,
            kind=report.kind,
            usable=report.usable,
            rows_estimate=report.rows_estimate,
            problem=report.problem,
            note=report.note,
            columns=[ColumnView.of(each) for each in report.columns],
        )


class SourceReport(Output):
    items: list[TableView] = Field(title=N_("Tables"))


class CollectService:
    """Reads the source; writes only into FINETUNE_DIR."""

    def __init__(
        self, open_source: Callable[[], Awaitable[Source]], settings: "Settings", clock: Clock
    ) -> None:
        self._open_source = open_source
        self._settings = settings
        self._clock = clock

    @operation(
        "collect.run",
        N_("Collect questions, feedback and conversations from the source into FINETUNE_DIR."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        positional=("what",),
    )
    async def run(self, context: Context, request: CollectRequest) -> CollectResult:
        """Raises UsageError D121 for the period, and what Source.export does."""
        from zoneinfo import ZoneInfo

        from sophia_tui.settings import words

        zone = ZoneInfo(self._settings.timezone)
        start, end, now = self._period(request, zone)
        folder = self._folder(request)
        source = await self._open_source()
        results = await source.export(
            ExportRequest(
                what=tuple(request.what),
                folder=None if context.dry_run else str(folder),
                start=start,
                end=end,
                now=now,
                zone=zone.key,
                conversations=self._filter(request, start, end),
                assistant_senders=frozenset(words(self._settings.assistant_senders)),
                customer_senders=frozenset(words(self._settings.customer_senders)),
            ),
            context,
        )
        return CollectResult(
            start=start,
            end=end,
            zone=zone.key,
            folder=str(folder),
            written=not context.dry_run,
            items=[ExportView.of(each) for each in results],
            notes=[_zone_note(each) for each in results if each.assumed_zone],
        )

    @operation("source.inspect", N_("Show what was found in the source, column by column."))
    async def inspect(self, context: Context, request: NoInput) -> SourceReport:
        """What fits, what does not, and what to do about it."""
        source = await self._open_source()
        return SourceReport(items=[TableView.of(each) for each in await source.inspect()])

    def _period(
        self, request: CollectRequest, zone: "ZoneInfo"
    ) -> tuple[datetime, datetime, datetime]:
        """Half-open, in the zone; days back keep the time of day, as `now() - '30 days'` does."""
        now = self._clock.now().astimezone(zone)
        end = _in_zone(request.until, zone) or now
        days = request.window_days or self._settings.window_days
        start = _in_zone(request.since, zone) or end - timedelta(days=days)
        if start >= end:
            raise UsageError(
                "D121",
                _("The period ends before it begins."),
                _("From {start} until {end}.").format(start=start, end=end),
                _("Correct --since and --until."),
            )
        return start, end, now

    def _folder(self, request: CollectRequest) -> Path:
        if request.folder is None:
            return self._settings.finetune_folder
        return (self._settings.root / Path(request.folder).expanduser()).absolute()

    def _filter(
        self, request: CollectRequest, start: datetime, end: datetime
    ) -> ConversationFilter:
        from sophia_tui.settings import words

        statuses = request.closed_statuses or words(self._settings.closed_statuses)
        idle = self._settings.idle_hours if request.idle_hours is None else request.idle_hours
        return ConversationFilter(
            start=start,
            end=end,
            channels=tuple(each.lower() for each in request.channels),
            closed_statuses=tuple(each.lower() for each in statuses),
            idle_hours=idle or None,
            minimum_rating=request.minimum_rating,
        )


def _zone_note(result: ExportResult) -> str:
    """Which zone was assumed, how to change it, and what that may have left out."""
    from sophia_tui.textsafe import visible

    told = _(
        "{column} has no time zone: its times were read as {zone}. If they are of another,"
        " set SOPHIA_TIMEZONE."
    ).format(column=visible(result.time_column or result.name), zone=result.assumed_zone)
    if not result.rows_after:
        return told
    count = result.rows_after
    left_out = ngettext(
        "{count} row lies after the period's end and was left out.",
        "{count} rows lie after the period's end and were left out.",
        count,
    )
    return f"{told} {left_out.format(count=number(count))}"


def _in_zone(moment: datetime | None, zone: "ZoneInfo") -> datetime | None:
    """A time without zone is one of the settings' zone."""
    if moment is None:
        return None
    return moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
