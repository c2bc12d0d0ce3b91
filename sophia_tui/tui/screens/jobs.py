"""Jobs: the list, and one job with progress, loss, events and log. Two panes from 100 columns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.views import EventView, JobView, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.table import MOST_ROWS, Row, TableScreen
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp

_EVENTS_KEPT = 500
_LOG_LINES = 200
Part = str | tuple[str, str]


class JobsScreen(TableScreen):
    """Follows the selected job while its pane is open; enter opens it, esc goes back."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "jobs.tcss"]
    scopes: tuple[str, ...] = ("table", "jobs")
    name_of_screen = "jobs"

    def __init__(self, sophia: "SophiaApp") -> None:
        super().__init__(sophia)
        self.opened: str | None = sophia.state.watched
        self.events: list[EventView] = []
        self.lines: list[str] | None = None
        self.show_log = False
        self._of: str | None = None

    def heading(self) -> str:
        return _("Jobs")

    def body(self) -> Iterable[Widget]:
        with Horizontal(classes="body"):
            with Vertical(id="list"):
                yield from super().body()
            with Vertical(id="detail"):
                yield Plate(id="job")
                with VerticalScroll(id="told"):
                    yield Plate(id="lines")

    def columns(self) -> Sequence[tuple[str, int]]:
        wide = max(0, min(28, self.size.width - 68)) if self.size.width < 100 else 0
        shape = [(_("Job"), 18), (_("State"), 11), (_("step"), 9)]
        if self.size.width < 100:
            shape += [(_("left"), 9), (_("loss"), 6), (_("of"), max(10, wide))]
        return shape

    def to_rows(self, data: list[JobView]) -> list[Row]:
        return [Row(each.id, self._cells(each), each) for each in data]

    def _cells(self, job: JobView) -> tuple[str, ...]:
        step = f"{job.step}/{job.total_steps or '?'}" if job.step is not None else ""
        cells = (job.id, words.state_word(job.status), step)
        if self.size.width >= 100:
            return cells
        loss = "" if job.loss is None else number(job.loss, 2)
        return (
            *cells,
            _left(job),
            loss,
            job.dataset or job.model or job.base,
        )

    async def fetch(self) -> list[JobView]:
        found: Any = await self.sophia.call("jobs.list", {"limit": MOST_ROWS})
        jobs: list[JobView] = list(found.items)
        if self.opened or self.size.width >= 100:
            wanted = self.opened or (jobs[0].id if jobs else None)
            if wanted is not None:
                await self._fetch_told(wanted)
        return jobs

    async def _fetch_told(self, job: str) -> None:
        if job != self._of:
            self._of, self.events, self.lines = job, [], None
        after = self.events[-1].number if self.events else 0
        try:
            told: Any = await self.sophia.call(
                "jobs.events", {"job": job, "after": after, "limit": _EVENTS_KEPT}
            )
            if told.items:
                self.events = [*self.events, *told.items][-_EVENTS_KEPT:]
            if self.show_log:
                log: Any = await self.sophia.call("jobs.log", {"job": job, "lines": _LOG_LINES})
                self.lines = list(log.lines)
        except SophiaError as problem:
            if problem.exit_code != 4:  # a job that is not there any more is no trouble of the list
                raise
            self.opened = None

    def draw(self) -> None:
        super().draw()
        self.set_class(self.opened is not None, "-detail")
        self._draw_detail()

    def drawn(self) -> None:
        if self.opened and self.opened in self.rows and self.selected_key != self.opened:
            self.table.move_cursor(row=list(self.rows).index(self.opened))

    def _draw_detail(self) -> None:
        job = next((each for each in self.data or () if each.id == self._of), None)
        plate, lines = self.query_one("#job", Plate), self.query_one("#lines", Plate)
        if job is None or self.state == "loading":
            plate.draw("")
            lines.draw("")
            return
        width = self.query_one("#detail").size.width or self.size.width
        plate.draw(job_text(job, self.events, width, self.sophia.glyphs, self.show_log))
        scroll = self.query_one("#told", VerticalScroll)
        at_end = scroll.scroll_y >= scroll.max_scroll_y - 1
        fresh = log_text(self.lines) if self.show_log else events_text(self.events)
        if lines.draw(fresh) and at_end:
            scroll.scroll_end(animate=False)

    def open_row(self, row: Row) -> None:
        self.follow(row.key)
        self.query_one("#told", VerticalScroll).focus()

    def follow(self, job: str | None) -> None:
        """Open the pane of a job, or close it with None."""
        self.opened = job
        self.sophia.state.watched = job
        self.sophia.remember()
        if self.is_mounted and self.data is not None:
            self.draw()
        self.refresh_now()

    def on_data_table_row_highlighted(self, event: "DataTable.RowHighlighted") -> None:
        # beside the list the pane follows the cursor; alone it stays with the opened job
        key = self.selected_key
        if self.size.width >= 100 and key and key != self.opened and self.table.has_focus:
            self.follow(key)

    def act(self, name: str) -> bool:
        if name == "log":
            self.show_log = not self.show_log
            if self.opened is None and self.selected_key:
                self.opened = self.selected_key
            self._draw_all()
            self.refresh_now()
            return True
        if name == "back" and self.opened:
            self.follow(None)
            self.table.focus()
            return True
        return super().act(name)

    def prefill(self, operation: str) -> dict[str, Any]:
        job = self.opened or self.selected_key
        declared = self.sophia.dispatcher.registry.get(operation)
        return {"job": job} if job and "job" in declared.input.model_fields else {}


def job_text(
    job: JobView, events: Sequence[EventView], width: int, glyphs: words.Glyphs, log: bool
) -> Content:
    """What one job is and how far: some lines above its events or its log."""
    parts: list[Part] = [(visible(job.id), "bold"), "  "]
    parts += [(words.state_word(job.status), words.state_style(job.status))]
    about = " ".join(
        each for each in (worded("kind", job.kind), job.dataset or "", job.model or "") if each
    )
    parts += [f"  {visible(about)}\n", (_("Base"), "dim"), f" {visible(job.base)}\n"]
    if job.step is not None and job.total_steps:
        bar = glyphs.bar(job.step, job.total_steps, max(10, min(30, width - 45)))
        percent = 100 * job.step // job.total_steps
        parts.append(f"{bar} {number(job.step)}/{number(job.total_steps)}  {percent} %")
        rate = _rate(job, events)
        left = _left(job)
        if rate:
            parts.append("  " + _("{rate} steps/min").format(rate=number(rate, 1)))
        if left:
            parts.append("  " + _("{time} left").format(time=left))
        parts.append("\n")
    losses = [value for value in map(_loss, events) if value is not None]
    if losses:
        spark = glyphs.sparkline(losses[-max(10, min(40, width - 30)) :])
        parts += [(_("loss"), "dim"), f" {number(losses[0], 2)} ", (spark, "$accent")]
        parts.append(f" {number(losses[-1], 2)}\n")
    if job.resulting_model:
        parts += [(_("Model"), "dim"), f" {visible(job.resulting_model)}\n"]
    content = Content.assemble(*parts)
    if job.error:
        content += error_text(_as_error(job.error), job.run_folder or "") + "\n"
    shown = _("Log") if log else _("Events")
    return content + Content.assemble("\n", (shown, "bold"), "\n")


def _left(job: JobView) -> str:
    """The remaining time, as long as there is one."""
    return words.duration(job.seconds_left) if job.status in ("running", "pausing") else ""


def _as_error(error: dict[str, Any]) -> SophiaError:
    found = SophiaError(
        "J000",
        str(error.get("what") or _("The job failed.")),
        str(error.get("why") or ""),
        str(error.get("remedy") or ""),
    )
    found.code = visible(str(error.get("code") or found.code))
    return found


def _loss(event: EventView) -> float | None:
    value = event.data.get("loss") if event.kind == "metric" else None
    return float(value) if isinstance(value, int | float) else None


def _rate(job: JobView, events: Sequence[EventView]) -> float | None:
    """Steps each minute over the last progress events; only while it runs."""
    if job.status != "running":
        return None
    seen = [
        (each.at, each.data["step"])
        for each in events
        if isinstance(each.data.get("step"), int) and each.kind in ("progress", "metric")
    ][-6:]
    if len(seen) < 2:
        return None
    seconds = (seen[-1][0] - seen[0][0]).total_seconds()
    steps = int(seen[-1][1]) - int(seen[0][1])
    return 60 * steps / seconds if seconds > 0 and steps > 0 else None


def events_text(events: Sequence[EventView]) -> Content:
    """One line for each event, oldest first."""
    if not events:
        return Content(_("Nothing told yet."))
    parts: list[Part] = []
    for each in events:
        at = each.at.astimezone().strftime("%H:%M:%S")
        style = "bold $warning" if each.kind == "warning" else "dim"
        data = ", ".join(
            f"{visible(name)}: {words.event_value(name, value)}"
            for name, value in each.data.items()
        )
        parts += [
            f"{each.number:>5} {at} ",
            (f"{words.event_word(each.kind):<10} ", style),
            f"{data}\n",
        ]
    return Content.assemble(*parts)


def log_text(lines: Sequence[str] | None) -> Content:
    """The end of the log."""
    if lines is None:
        return Content(_("Loading..."))
    return Content(visible_lines("\n".join(lines)) or _("The log is empty."))
