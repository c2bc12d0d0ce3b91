"""Jobs: the list, and one job with progress, loss curve, events and log."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.jobs import FIGURES
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, money, number
from sophia_tui.services.views import EventView, JobView, worded
from sophia_tui.services.waiting import sentence
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import keys, words
from sophia_tui.tui.chart import Curve, curves
from sophia_tui.tui.event_text import events_text
from sophia_tui.tui.parts import Part
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import MOST_ROWS, Row
from sophia_tui.tui.training_text import trial_text
from sophia_tui.tui.widgets.plate import Plate, error_text
from sophia_tui.tui.widgets.tail import Tail

if TYPE_CHECKING:
    from sophia_tui.services.queue import QueuedView
    from sophia_tui.tui.host import Console

_EVENTS_ASKED = 5000
_EVENTS_KEPT = 200
_METRICS_KEPT = 50_000
_LOG_LINES = 200
#: What jobs.show adds to a row of the list.
FIGURED = (*FIGURES, "seconds_running", "cost_usd")
_ENDED = ("succeeded", "failed", "cancelled")
#: States in which an operation makes no sense. Resuming a failed job is for its service to judge.
_WHEN = {
    "jobs.cancel": _ENDED,
    "jobs.pause": (*_ENDED, "paused", "pausing", "interrupted"),
    "jobs.resume": ("succeeded", "cancelled", "running", "queued"),
}
#: What needs a job to be done on.
_OF_A_JOB = frozenset({*_WHEN, "act.log", "train.checklist"})
_MOVES = {"earlier": "up", "later": "down"}


class JobsScreen(DetailScreen):
    """Follows the selected job while its pane is open; `l` shows its log in place of the events."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss", "jobs.tcss"]
    scopes: tuple[str, ...] = ("table", "list", "jobs")
    name_of_screen = "jobs"
    listing = "jobs.list"

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.opened = sophia.state.watched
        self.events: list[EventView] = []
        #: The losses of the whole run, for its curve.
        self.metrics: list[EventView] = []
        self.lines: list[str] | None = None
        self.show_log = False
        #: Where the job that is looked at stands in the queue, as long as it waits there.
        self.place: QueuedView | None = None

    def heading(self) -> str:
        return _("Jobs")

    def detail_body(self) -> Iterable[Widget]:
        # apart, so that a new event sends neither the head nor the curve once more
        yield Plate(id="job")
        yield Plate(id="curve")
        with Tail(id="told"):
            yield Plate(id="lines")

    def columns(self) -> Sequence[tuple[str, int]]:
        shape = [(_("Job"), 18), (_("State"), 12), (_("step"), 8)]
        if not self.wide:
            rest = max(10, min(28, self.size.width - 68))
            shape += [(_("left"), 9), (_("loss"), 6), (_("of"), rest)]
        return shape

    def to_rows(self, data: list[JobView]) -> list[Row]:
        return [Row(each.id, self._cells(each), each) for each in data]

    def _cells(self, job: JobView) -> tuple[str, ...]:
        step = f"{job.step}/{job.total_steps or '?'}" if job.step is not None else ""
        if job.trial:
            step = _("trial")
        if job.position is not None:  # its place in the queue, in place of how far it is
            step = f"#{job.position}"
        cells = (job.id, words.state_word(job.status), step)
        if self.wide:
            return cells
        loss = "" if job.loss is None else number(job.loss, 2)
        return (*cells, _left(job), loss, job.dataset or job.model or job.base)

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [
            ("created_at", _("Created")),
            ("id", _("Job")),
            ("status", _("State")),
            ("step", _("step")),
            ("seconds_left", _("left")),
            ("loss", _("loss")),
            ("dataset", _("Data set")),
            ("kind", _("Kind")),
            ("created_by", _("by")),
            ("finished_at", _("Finished")),
        ]

    async def rows_of(self) -> list[JobView]:
        return await self.listed()

    async def tell(self, row: Row) -> JobView:
        """The events that came since the last look, and the log where it is shown."""
        if row.key != self.told_of:
            self.events, self.metrics, self.lines = [], [], None
        while True:
            after = self.events[-1].number if self.events else 0
            told: Any = await self.sophia.call(
                "jobs.events", {"job": row.key, "after": after, "limit": _EVENTS_ASKED}
            )
            self.events = [*self.events, *told.items][-_EVENTS_KEPT:]
            fresh = [each for each in told.items if each.kind == "metric"]
            self.metrics = [*self.metrics, *fresh][-_METRICS_KEPT:]
            if len(told.items) < _EVENTS_ASKED:
                break
        if self.show_log:
            log: Any = await self.sophia.call("jobs.log", {"job": row.key, "lines": _LOG_LINES})
            self.lines = list(log.lines)
        # the list has no figures: rates, memory, cost are asked for of the one that is looked at
        job: Any = await self.sophia.call("jobs.show", {"job": row.key})
        assert isinstance(job, JobView)
        self.place = await self._place_of(job)
        return job

    async def _place_of(self, job: JobView) -> "QueuedView | None":
        if job.status != "queued" or not self.sophia.may("jobs.queue"):
            return None
        queue: Any = await self.sophia.call("jobs.queue", {"limit": MOST_ROWS})
        return next((each for each in queue.items if each.id == job.id), None)

    def draw_detail(self) -> None:
        plate, lines = self.query_one("#job", Plate), self.query_one("#lines", Plate)
        row = self.shown
        if row is None or self.told_of != row.key or isinstance(self.told, SophiaError):
            plate.draw("")
            self.query_one("#curve", Plate).draw("")
            super().draw_detail()
            return
        width, glyphs = self.detail_width, self.sophia.glyphs
        job = self._with_figures(row.data)
        plate.draw(job_text(job, self.events, width, glyphs, self.place))
        self.query_one("#curve", Plate).draw(self._curve(width))
        told = events_text(self.events, width)
        lines.draw(log_text(self.lines) if self.show_log else told)

    def _with_figures(self, job: JobView) -> JobView:
        """The row, which is the newest, with the figures of the last look."""
        told = self.told
        if not isinstance(told, JobView) or told.id != job.id:
            return job
        figures = {name: getattr(told, name) for name in FIGURED}
        return job.model_copy(update=figures)

    def _curve(self, width: int) -> Content:
        """The loss so far; the log gets the room where it is shown."""
        events = _("Events ({zone})").format(zone=words.zone())
        named = Content.assemble((_("Log") if self.show_log else events, "bold"))
        if self.show_log:
            return named
        height = 7 if self.size.height < 30 else 12
        drawn = loss_curve(self.metrics, min(width, 110), height, self.sophia.glyphs)
        return drawn + "\n" + named if drawn is not None else named

    def follow(self, key: str | None) -> None:
        self.sophia.state.watched = key
        self.sophia.remember()
        super().follow(key)

    def to_start(self) -> None:
        self.query_one(Tail).anchor()  # of another job too the newest comes first

    def act(self, name: str) -> bool:
        if name == "log":
            self.show_log = not self.show_log
            self.query_one(Tail).anchor()
            if self.opened is None and self.selected_key:
                self.opened = self.selected_key
            self._draw_all()
            self.refresh_now()
            return True
        if name in _MOVES and (row := self.shown) is not None:
            work: Any = self._move(row.key, _MOVES[name])
            self.run_worker(work, name="move")
            return True
        return super().act(name)

    async def _move(self, job: str, to: str) -> None:
        """Move a queued job one place; what is in the way is said."""
        try:
            moved: Any = await self.sophia.call("jobs.move", {"job": job, "to": to})
        except SophiaError as problem:
            self.say(visible(problem.what))
            return
        place = number(moved.position)
        self.say(_("{job} is number {place} in the queue.").format(job=job, place=place))
        self.refresh_now()

    def footer(self) -> list[keys.Key]:
        """Only what waits in the queue can be moved there; `l` leads back from the log."""
        row = self.shown
        waits = row is not None and row.data.status == "queued"
        return [self._worded_key(each, waits) for each in super().footer()]

    def _worded_key(self, key: keys.Key, waits: bool) -> keys.Key:
        if key.target == "act.log" and self.show_log:
            return replace(key, text="events")
        if waits and key.target in tuple(f"act.{name}" for name in _MOVES):
            return replace(key, rank=9)
        return key

    def not_now(self, operation: str) -> str:
        row = self.shown
        if operation not in _OF_A_JOB:
            return ""
        if row is None:
            return _("There is no job here.")
        if row.data.status in _WHEN.get(operation, ()):
            return _("{job} is {state}; that can't be done now.").format(
                job=visible(row.key), state=words.state_word(row.data.status)
            )
        return ""

    def prefill(self, operation: str) -> dict[str, Any]:
        if operation == "schedules.list":
            return {"limit": MOST_ROWS}  # all of them, and no form before
        row = self.shown
        job = row.key if row is not None else self.opened
        declared = self.sophia.dispatcher.registry.get(operation)
        return {"job": job} if job and "job" in declared.input.model_fields else {}


def job_text(
    job: JobView,
    events: Sequence[EventView],
    width: int,
    glyphs: words.Glyphs,
    place: "QueuedView | None" = None,
) -> Content:
    """What one job is and how far: some lines above its curve and its events."""
    parts: list[Part] = [(visible(job.id), "bold"), "  "]
    parts += [(words.state_word(job.status), words.state_style(job.status))]
    if job.wanted:
        asked = worded("wanted", job.wanted)
        parts.append(("  " + _("asked of it: {what}").format(what=asked), "dim"))
    kind = _("trial of one step") if job.trial else worded("kind", job.kind)
    about = " ".join(each for each in (kind, job.dataset or "", job.model or "") if each)
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
    if said := figures_text(job):
        parts.append(said + "\n")
    if job.provider:
        there = f" {visible(job.provider)}  {visible(job.provider_job or '')}\n"
        parts += [(_("Provider"), "dim"), there]
    if place is not None and job.status == "queued":
        parts += _queued_text(place)
    if why := (place.waiting if place is not None else None) or job.waiting:
        parts += [(_("Waits because"), "dim"), f" {visible(sentence(why))}\n"]
    if job.trial and (found := trial_text(job.result or {})):
        parts.append(found + "\n")
    if job.resulting_model:
        parts += [(_("Model"), "dim"), f" {visible(job.resulting_model)}\n"]
    content = Content.assemble(*parts)
    if job.error:
        content += error_text(_as_error(job.error), job.run_folder or "")
    return content


def _queued_text(place: "QueuedView") -> list[Part]:
    """Its place in the queue, and when it starts as far as that can be told."""
    starts = _("not known yet")
    if place.starts_at is not None:
        starts = f"{place.starts_at.astimezone():%Y-%m-%d %H:%M}"
    return [
        (_("Place in the queue"), "dim"),
        f" {number(place.position)}  ",
        (_("Starts about"), "dim"),
        f" {starts}\n",
    ]


def figures_text(job: JobView) -> str:
    """Rates, memory, what is kept, and the cost so far, as far as the job told them."""
    said = []
    if job.learning_rate is not None and job.status not in _ENDED:
        said.append(_("rate {rate}").format(rate=words.rate(job.learning_rate)))
    if job.tokens_per_second is not None:
        said.append(_("{number} tokens/s").format(number=number(job.tokens_per_second)))
    if job.memory_bytes is not None:
        said.append(_("{number} GB").format(number=number(job.memory_bytes / 1e9, 1)))
    if job.gpu_memory_bytes:
        said.append(_("GPU {number} GB").format(number=number(job.gpu_memory_bytes / 1e9, 1)))
    if job.kept is not None and job.kept_total:
        said.append(
            _("{kept} of {total} general answers kept").format(
                kept=number(job.kept), total=number(job.kept_total)
            )
        )
    if job.cost_usd is not None:
        said.append(_("{number} USD").format(number=money(job.cost_usd)))
    return "  ".join(said)


def loss_curve(
    events: Sequence[EventView], width: int, height: int, glyphs: words.Glyphs
) -> Content | None:
    """The training's loss as a line, that on the held-out part as signs; None below two points."""
    trained, held_out = _points(events, "loss"), _points(events, "eval_loss")
    sign = "o" if glyphs.ascii_only else "◆"
    drawn = curves([Curve(trained), Curve(held_out, sign)], width, height, glyphs.ascii_only)
    if not drawn:
        return None
    line = "*" if glyphs.ascii_only else "⠤"
    head: list[Part] = [(_("loss"), "bold")]
    if trained:
        head.append(f"  {line} {_('training')} {number(trained[-1][1], 2)}")
    if held_out:
        head.append(f"  {sign} {_('held-out part')} {number(held_out[-1][1], 2)}")
    parts: list[Part] = [*head, "\n", ("\n".join(drawn), "$accent")]
    if kept := kept_line(events, width, glyphs):
        parts += ["\n", (_("kept"), "bold"), f"  {kept}"]
    return Content.assemble(*parts)


def kept_line(events: Sequence[EventView], width: int, glyphs: words.Glyphs) -> str:
    """General answers still right at each validation, as shares in order; the newest ones where
    there is no room for all. Beside the losses: what was learnt and what was forgotten."""
    shares = [
        100 * kept / total
        for (_step, kept), (_same, total) in zip(
            _points(events, "kept"), _points(events, "kept_total"), strict=False
        )
        if total
    ]
    if not shares:
        return ""
    room = max(1, (width - 12) // 5)
    arrow = " > " if glyphs.ascii_only else " → "
    shown = [f"{round(each)}" for each in shares[-room:]]
    return arrow.join(shown) + " %"


def _points(events: Sequence[EventView], name: str) -> list[tuple[float, float]]:
    found = [
        (float(each.data["step"]), float(each.data[name]))
        for each in events
        if each.kind == "metric"
        and _is_number(each.data.get("step"))
        and _is_number(each.data.get(name))
    ]
    return sorted(found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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


def log_text(lines: Sequence[str] | None) -> Content:
    """The end of the log."""
    if lines is None:
        return Content(_("Loading..."))
    return Content(visible_lines("\n".join(lines)) or _("The log is empty."))
