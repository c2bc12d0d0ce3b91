"""Jobs: the list, and one job with progress, curve, and events, log or with what it works."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual import events as textual_events
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input

from sophia_tui.domain.jobs import FIGURES
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.views import EventView, JobView
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.job_curve import SERIES, JobCurve, kept_line
from sophia_tui.tui.job_tail import KINDS, PAGE, PANES, JobTail, Pane
from sophia_tui.tui.job_text import job_text, kind_word, left, settings_text
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import MOST_ROWS, Row
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.pager import Pager
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.services.job_settings import JobSettings
    from sophia_tui.services.queue import QueuedView
    from sophia_tui.tui.host import Console

_EVENTS_ASKED = 500
_EVENTS_KEPT = 200
#: Looks between two drawings of what moves by itself, and lines of a higher pane for which it waits
#: one look more: a line is about a hundred bytes, and 400 a second are to be enough.
_LOOKS, _LINES_LOOK, _LOW_PANE = 2, 5, 8
#: What jobs.show adds to a row of the list.
FIGURED = (*FIGURES, "seconds_running", "cost_usd")
_ENDED = ("succeeded", "failed", "cancelled")
#: States in which an operation makes no sense. Resuming a failed job is for its service to judge.
_WHEN = {
    "jobs.cancel": _ENDED,
    "jobs.pause": (*_ENDED, "paused", "pausing", "interrupted"),
    "jobs.resume": ("succeeded", "cancelled", "running", "queued", "draft", "validating"),
}
#: What needs a job to be done on, and of these what needs it in sight.
_OF_A_PANE = frozenset(
    f"act.{name}"
    for name in ("settings", "series", "kinds", "hold", "find", "find_newer", "dataset")
)
_OF_A_JOB = frozenset({*_WHEN, *_OF_A_PANE, "act.log", "train.checklist"})
#: Seconds that a panel waits for its curve before it is drawn without.
_CURVE_PATIENCE = 0.1
#: Cells that what a job is of has in a list with a column of its own, at least.
_LEAST_OF = 10
_Column = tuple[str, int, Callable[[JobView], str]]
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
        #: The newest events of the job that is looked at, of all kinds.
        self.events: list[EventView] = []
        self.tail = JobTail(sophia.call, "")
        self.curve = JobCurve("")
        self.settings: JobSettings | None = None
        #: Where the job that is looked at stands in the queue, as long as it waits there.
        self.place: QueuedView | None = None
        self._fresh = True
        self._looks = 0
        self._asks = ""
        self._hold_again = False
        #: The curve that is being asked for.
        self._curving: asyncio.Future[Any] | None = None
        #: Whether the news line says that the first line is in sight.
        self._said_first = False

    def heading(self) -> str:
        return _("Jobs")

    def detail_body(self) -> Iterable[Widget]:
        # apart, so that a new event sends neither the head nor the curve once more
        yield Plate(id="job")
        yield Plate(id="curve")
        yield Plate(id="title")
        yield Pager(id="told")
        ask = Field(id="ask", compact=True, select_on_focus=False)
        ask.cursor_blink = False
        yield ask

    @property
    def pager(self) -> Pager:
        return self.query_one("#told", Pager)

    def columns(self) -> Sequence[tuple[str, int]]:
        return [(title, width) for title, width, _cell in self._columns()]

    def _columns(self) -> list[tuple[str, int, Callable[[JobView], str]]]:
        """Title, width and cell of each column that has room, the most telling ones first; what a
        job is of takes the rest."""
        job: _Column = (_("Job"), 18, lambda each: each.id)
        state: _Column = (_("State"), 12, lambda each: words.state_word(each.status))
        step: _Column = (_("step"), 8, _step)
        kind: _Column = (_("Kind"), 6, lambda each: kind_word(each.kind))
        time_left: _Column = (_("left"), 9, left)
        loss: _Column = (
            _("loss"),
            6,
            lambda each: "" if each.loss is None else number(each.loss, 2),
        )
        if not self.wide:
            rest = max(10, min(28, self.size.width - 68))
            return [job, state, step, time_left, loss, (_("of"), rest, partial(self._of, rest))]
        shape, room = [job], self.room - 20
        for each in (kind, state, time_left, step, loss):
            if room < each[1] + 2:
                break
            shape.append(each)
            room -= each[1] + 2
        if room >= _LEAST_OF + 2:
            width = min(28, room - 2)
            shape.append((_("of"), width, lambda each: self._tail(_about(each), width)))
        return shape

    def _of(self, width: int, job: JobView) -> str:
        """Kind and what it is of; of that the end, by which rows differ."""
        kind = kind_word(job.kind)
        return f"{kind} {self._tail(_about(job), width - cell_len(kind) - 1)}"

    def _tail(self, text: str, width: int) -> str:
        shown = visible(text)
        if cell_len(shown) <= width:
            return shown
        if width < 1:  # a kind of other makers can be as long as the column
            return ""
        end = shown[len(shown) - width + 1 :]
        while cell_len(end) >= width:  # ends at the latest with nothing left: 0 < width
            end = end[1:]
        return f"{self.sophia.glyphs.cut}{end}"

    def to_rows(self, data: list[JobView]) -> list[Row]:
        return [Row(each.id, self._cells(each), each) for each in data]

    def _cells(self, job: JobView) -> tuple[str, ...]:
        return tuple(cell(job) for _title, _width, cell in self._columns())

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

    # -- what is asked of one job

    async def tell(self, row: Row) -> JobView:
        """The job with its figures, the events that came since the last look, and what its pane
        shows."""
        if row.key != self.told_of or row.key != self.tail.job:
            self._begin(row.key)
        self._looks += 1
        await self._follow_events(row.key)
        await self._look_at_curve(row.key)
        await self.tail.look(not self.pager.following if self.is_mounted else False)
        if self._hold_again:
            self._hold_again = False
            self.tail.hold()
        # the list has no figures: rates, memory, cost are asked for of the one that is looked at
        job: Any = await self.sophia.call("jobs.show", {"job": row.key})
        assert isinstance(job, JobView)
        if self.tail.pane == "settings" and (self.settings is None or job.status not in _ENDED):
            known: Any = await self.sophia.call("jobs.settings", {"job": row.key})
            self.settings = known
        self.place = await self._place_of(job)
        return job

    async def _look_at_curve(self, job: str) -> None:
        """Ask for the whole curve where that is due. One of very many events takes its time, and
        the rest of the panel does not wait for it. Raises SophiaError."""
        if self._curving is None:
            if not self.curve.wanted or not self.sophia.may("jobs.curve"):
                return
            self.curve.wanted = False  # of what is asked for now
            asked = {"job": job, "series": self.curve.names}
            self._curving = asyncio.ensure_future(self.sophia.call("jobs.curve", asked))
        asking = self._curving
        done, _waiting = await asyncio.wait({asking}, timeout=_CURVE_PATIENCE)
        if self._curving is not asking:
            return  # another figure was asked for meanwhile
        if not done:
            asking.add_done_callback(lambda _done: self.refresh_now())
            return
        self._curving = None
        wanted, self.curve.wanted = self.curve.wanted, True
        found = asking.result()
        self.curve.take(found)
        self.curve.add(self.events)  # what came meanwhile
        self.curve.wanted = self.curve.wanted or wanted

    def _drop_curve(self) -> None:
        """What was asked of it is no longer wanted."""
        if self._curving is not None:
            self._curving.cancel()
            self._curving = None

    def on_unmount(self) -> None:
        super().on_unmount()
        self._drop_curve()

    def _begin(self, job: str) -> None:
        """Another job: its pane is the one that was open, from its end."""
        pane, kinds, match, series = self._kept_pane()
        self.events, self.settings = [], None
        self.tail = JobTail(self.sophia.call, job)
        self.tail.pane, self.tail.kinds, self.tail.match = pane, kinds, match
        self._drop_curve()
        self.curve = JobCurve(job)
        self.curve.show(series)
        self._fresh = True
        if self.is_mounted:
            self.tail.width = self._line_width

    def _kept_pane(self) -> tuple[Pane, int, str, str]:
        return self.tail.pane, self.tail.kinds, self.tail.match, self.curve.series

    async def _follow_events(self, job: str) -> None:
        if self.events:
            asked: dict[str, Any] = {"after": self.events[-1].number, "limit": _EVENTS_ASKED}
        else:
            asked = {"newest": True, "limit": _EVENTS_KEPT}
        told: Any = await self.sophia.call("jobs.events", {"job": job, **asked})
        if (
            len(told.items) >= _EVENTS_ASKED
        ):  # more came than are looked at: the curve is asked anew
            newest = {"job": job, "newest": True, "limit": _EVENTS_KEPT}
            told = await self.sophia.call("jobs.events", newest)
            self.events, self.curve.wanted = [], True
        self.events = [*self.events, *told.items][-_EVENTS_KEPT:]
        self.curve.add(told.items)

    async def _place_of(self, job: JobView) -> "QueuedView | None":
        if job.status != "queued" or not self.sophia.may("jobs.queue"):
            return None
        queue: Any = await self.sophia.call("jobs.queue", {"limit": MOST_ROWS})
        return next((each for each in queue.items if each.id == job.id), None)

    # -- drawing

    def refresh_now(self) -> None:
        self._fresh = True  # who asks sees the answer at once
        super().refresh_now()

    def on_resize(self) -> None:
        self._fresh = True
        super().on_resize()

    def draw_detail(self) -> None:
        plate, curve, title = (self.query_one(f"#{name}", Plate) for name in _PLATES)
        row = self.shown
        if row is None or self.state == "loading" or self.told_of != row.key:
            for each in (plate, curve, title):
                each.draw("")
            waits = row is not None and self.state != "loading"
            self.pager.show([Content(_("Loading..."))] if waits else [])
            return
        if isinstance(self.told, SophiaError):
            from sophia_tui.tui.widgets.plate import error_text

            plate.draw(error_text(self.told, self.sophia.log_path))
            for each in (curve, title):
                each.draw("")
            self.pager.show([])
            return
        width, glyphs = self.detail_width, self.sophia.glyphs
        job = self._with_figures(row.data)
        plate.draw(job_text(job, self.events, width, glyphs, self.place))
        pause = _LOOKS + max(0, self.pager.rows - _LOW_PANE) // _LINES_LOOK
        if self._fresh or self._looks >= pause:
            curve.draw(self._curve(job, width))
            curve.display = bool(curve.text)
            self._draw_tail()
            self._looks, self._fresh = 0, False

    def _draw_tail(self, before: int = 0) -> None:
        pager, tail = self.pager, self.tail
        pager.from_start = tail.pane == "settings"
        if tail.pane == "settings":
            self.query_one("#title", Plate).draw(
                Content.assemble((_("With what it works"), "bold"))
            )
            shown = Content(_("Loading..."))
            if self.settings is not None:
                shown = settings_text(self.settings, self._line_width)
            lines = [
                part for line in shown.split("\n", allow_blank=True) for part in self._fold(line)
            ]
            pager.show(lines)
            return
        tail.resize(self._line_width)
        lines = tail.lines or [Content(tail.empty())]
        pager.show(lines, before)
        parts = tail.title()
        if not pager.following and not tail.held:
            parts.append(("  " + _("end: the newest"), "dim"))
        self.query_one("#title", Plate).draw(Content.assemble(*parts))

    def _fold(self, line: Content) -> list[Content]:
        if line.cell_length <= self._line_width:
            return [line]
        return line.wrap(self._line_width)

    @property
    def _line_width(self) -> int:
        return self.pager.size.width or self.detail_width

    def _with_figures(self, job: JobView) -> JobView:
        """The row, which is the newest, with the figures of the last look."""
        told = self.told
        if not isinstance(told, JobView) or told.id != job.id:
            return job
        figures = {name: getattr(told, name) for name in FIGURED}
        return job.model_copy(update=figures)

    def _curve(self, job: JobView, width: int) -> Content:
        """The figure so far; with what it works gets the whole room."""
        if self.tail.pane == "settings":
            return Content("")
        if self._curving is not None and not self.curve.known:
            return Content(_("Loading..."))
        height = 8 if self.size.height < 30 else 13
        glyphs = self.sophia.glyphs
        drawn = self.curve.draw(job, min(width, 110), height, glyphs)
        if drawn is None:
            if self.curve.series == "loss":
                return Content("")
            return Content(_("It has told nothing of this figure."))
        if self.curve.series == "loss" and (kept := kept_line(self.events, width, glyphs)):
            drawn += Content.assemble("\n", (_("kept"), "bold"), f"  {kept}")
        return drawn

    # -- what people do

    def open_row(self, row: Row) -> None:
        self.follow(row.key)
        self.pager.focus()

    def follow(self, key: str | None) -> None:
        self.sophia.state.watched = key
        self.sophia.remember()
        super().follow(key)

    def to_start(self) -> None:
        self.pager.to_end()  # of another job too the newest comes first

    def act(self, name: str) -> bool:
        if name == "filter" and self._in_pane:
            self._ask("filter", self.tail.match, _("only lines with: text, or re:expression"))
            return True
        if name == "back" and self._put_aside():
            return True
        acts = {
            "log": lambda: self._show("events" if self.tail.pane == "log" else "log"),
            "settings": lambda: self._show(
                "events" if self.tail.pane == "settings" else "settings"
            ),
            "series": self._next_series,
            "kinds": self._next_kinds,
            "hold": self._hold,
            "find": lambda: self._find(-1),
            "find_newer": lambda: self._find(1),
            "dataset": self._to_dataset,
        }
        if name in acts:
            acts[name]()
            return True
        if name in _MOVES and (row := self.shown) is not None:
            work: Any = self._move(row.key, _MOVES[name])
            self.run_worker(work, name="move")
            return True
        return super().act(name)

    @property
    def _in_pane(self) -> bool:
        """Whether a job is looked at, not the list."""
        return self.opened is not None and (not self.wide or self.pager.has_focus)

    def _open_selected(self) -> None:
        if self.opened is None and self.selected_key:
            self.opened = self.selected_key
            self.sophia.state.watched = self.opened

    def _show(self, pane: Pane) -> None:
        self._open_selected()
        self.tail.pane = pane
        self.tail.sought = ""
        self._anew()

    def _anew(self) -> None:
        """The pane from its end, as it is asked for now."""
        self.tail.begin()
        self.pager.from_start = self.tail.pane == "settings"
        self.pager.to_end()
        self._fresh = True
        self._draw_all()
        self.refresh_now()

    def _next_series(self) -> None:
        """The next figure that the job has told."""
        told = {name for each in self.events if each.kind == "metric" for name in each.data}
        offered = [each for each in SERIES if each in told or each == "loss"]
        at = offered.index(self.curve.series) if self.curve.series in offered else -1
        if len(offered) < 2:
            self.say(_("It has told no other figure."))
            return
        self._drop_curve()
        self.curve.show(offered[(at + 1) % len(offered)])
        self._draw_all()
        self.refresh_now()

    def _next_kinds(self) -> None:
        if self.tail.pane != "events":
            self.tail.pane = "events"
        else:
            self.tail.kinds = (self.tail.kinds + 1) % len(KINDS)
        self._anew()

    def _hold(self) -> None:
        """What comes waits out of sight, or is shown again."""
        self.tail.hold()
        if not self.tail.held:
            self.pager.to_end()
        self._fresh = True
        self._draw_all()

    def _to_dataset(self) -> None:
        row = self.shown
        if row is None or not row.data.dataset:
            self.say(_("It has no data set."))
            return
        self.sophia.open("datasets.show", {"dataset": row.data.dataset})

    def _put_aside(self) -> bool:
        """What esc ends first: a field, a search, a filter, the page of what it works with."""
        if self.query_one("#ask", Input).has_focus:
            self._close_ask()
        elif not self._in_pane:
            return False
        elif self.tail.sought:
            self.tail.sought, self.tail.hit = "", None
            self.pager.to_end()
            self._fresh = True
            self._draw_all()
        elif self.tail.match or self.tail.kinds:
            self.tail.match, self.tail.kinds = "", 0
            self._anew()
        elif self.tail.pane == "settings":
            self._show("events")
        else:
            return False
        return True

    # -- filter and search

    def _ask(self, what: str, value: str, placeholder: str) -> None:
        ask = self.query_one("#ask", Input)
        self._asks, ask.value, ask.placeholder = what, value, placeholder
        ask.add_class("-shown")
        ask.focus()

    def _close_ask(self) -> None:
        self.query_one("#ask", Input).remove_class("-shown")
        self.pager.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != "ask":
            super().on_input_submitted(event)
            return
        event.stop()
        self._close_ask()
        if self._asks == "filter":
            self.tail.match = event.value.strip()
            self._anew()
        else:
            self.tail.sought, self.tail.hit = event.value.strip(), None
            self._find(-1)

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id != "ask":
            super().on_input_changed(event)

    def on_key(self, event: textual_events.Key) -> None:
        if event.key == "escape" and self.query_one("#ask", Input).has_focus:
            event.stop()
            self._close_ask()
        else:
            super().on_key(event)

    def _find(self, step: int) -> None:
        """The next hit; without a search what is looked for is asked."""
        self._open_selected()
        if not self.tail.sought:
            if not self.query_one("#ask", Input).has_class("-shown"):
                self._ask("find", "", _("find: text, or re:expression"))
            return
        work: Any = self._seek(step)
        self.run_worker(work, name="seek", exclusive=True, group="seek")

    async def _seek(self, step: int) -> None:
        pager, tail = self.pager, self.tail
        start = min(len(tail.lines), pager.top + pager.rows) - 1
        try:
            found = await tail.seek(step, start)
        except SophiaError as problem:
            self.say(visible(problem.what))
            tail.sought = ""
            return
        if tail is not self.tail:
            return
        if found and tail.hit is not None:
            self.say("")
            self._draw_tail()
            pager.reveal(tail.hit)
        else:
            self.say(_("There is no further hit."))
        self._draw_tail()

    def on_pager_at_top(self, event: Pager.AtTop) -> None:
        event.stop()
        work: Any = self._older
        self.run_worker(work, name="older", exclusive=True, group="older")

    async def _older(self) -> None:
        try:
            added = await self.tail.older(PAGE)
        except SophiaError as problem:
            self.say(visible(problem.what))
            return
        if added:
            self._draw_tail(added)
        elif self.tail.pane != "settings":
            self._said_first = True
            self.say(_("This is the first line."))

    def on_pager_moved(self, event: Pager.Moved) -> None:
        event.stop()
        if self._said_first and (self.pager.top or self.pager.following):
            self._said_first = False  # another line is the first one in sight
            self.say("")
        if self.shown is not None and self.told_of == self.shown.key:
            self._draw_tail()

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

    # -- keys

    def footer(self) -> list[keys.Key]:
        """Only what waits in the queue can be moved there; keys of a pane where there is one."""
        row = self.shown
        waits = row is not None and row.data.status == "queued"
        still = row is not None and row.data.status in _ENDED and not self.tail.held
        return [
            self._worded_key(each, waits)
            for each in super().footer()
            if each.target not in _OF_A_PANE or self.opened or self.wide
            if each.target != "act.hold" or not still
        ]

    def _worded_key(self, key: keys.Key, waits: bool) -> keys.Key:
        if key.target == "act.log" and self.tail.pane == "log":
            return replace(key, text="events")
        if key.target == "act.hold" and self.tail.held:
            return replace(key, text="go on")
        if waits and key.target in tuple(f"act.{name}" for name in _MOVES):
            return replace(key, rank=9)
        return key

    def not_now(self, operation: str) -> str:
        row = self.shown
        if operation == "jobs.compare" and len(self._to_compare()) < 2:
            return _("Mark two jobs or more with space; then they are compared.")
        if operation not in _OF_A_JOB:
            return ""
        if row is None:
            return _("There is no job here.")
        if row.data.status in _WHEN.get(operation, ()):
            return _("{job} is {state}; that can't be done now.").format(
                job=visible(row.key), state=words.state_word(row.data.status)
            )
        return super().not_now(operation)

    def _to_compare(self) -> list[str]:
        """The marked jobs; one that is marked alone is compared with the one that is looked at."""
        marked, shown = self.marked, self.shown
        if len(marked) == 1 and shown is not None and shown.key not in marked:
            return [*marked, shown.key]
        return marked

    def prefill(self, operation: str) -> dict[str, Any]:
        if operation == "schedules.list":
            return {"limit": MOST_ROWS}  # all of them, and no form before
        if operation == "jobs.compare":
            chosen = self._to_compare()
            return {"jobs": chosen} if len(chosen) > 1 else {}
        row = self.shown
        job = row.key if row is not None else self.opened
        declared = self.sophia.dispatcher.registry.get(operation)
        return {"job": job} if job and "job" in declared.input.model_fields else {}

    # -- what brings it back

    def memory(self) -> dict[str, Any]:
        kept = {
            **super().memory(),
            "pane": self.tail.pane,
            "match": self.tail.match,
            "kinds": self.tail.kinds,
            "held": self.tail.held or self._hold_again,
            "series": self.curve.series,
        }
        return {name: value for name, value in kept.items() if value}

    def recall(self, kept: dict[str, Any]) -> None:
        super().recall(kept)
        tail, kinds = self.tail, kept.get("kinds")
        if (pane := kept.get("pane")) in PANES:
            tail.pane = pane
        if isinstance(match := kept.get("match"), str):
            tail.match = match[:200]
        if isinstance(kinds, int) and 0 <= kinds < len(KINDS):
            tail.kinds = kinds
        self._hold_again = self._hold_again or kept.get("held") is True
        if (series := kept.get("series")) in SERIES:
            self._drop_curve()
            self.curve.show(str(series))
        if self.is_mounted:
            self.refresh_now()


def _step(job: JobView) -> str:
    """How far it is; of one that waits its place in the queue."""
    if job.position is not None:
        return f"#{job.position}"
    if job.trial:
        return _("trial")
    return f"{job.step}/{job.total_steps or '?'}" if job.step is not None else ""


def _about(job: JobView) -> str:
    """What tells it from the others of its kind: the model that is looked at or was made of."""
    own = job.dataset if job.kind in ("train", "data") else job.model
    return own or job.dataset or job.model or job.base


_PLATES = ("job", "curve", "title")
