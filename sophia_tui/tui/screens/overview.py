"""Overview: six stages, what runs, models in use, what happened lately, the next sensible step."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.i18n import _, ngettext, number
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.services.calendar_looks import EndingModelView
    from sophia_tui.services.overview import OverviewView, RunningView, UsedModelView
    from sophia_tui.services.stages import StageView

#: From so many columns on the stages stand side by side.
WIDE = 100
#: Below so many cells there is no room for the names of screens and the course of a loss.
_NARROW = 76
#: The screen where each stage is worked on; its digit stands beside the stage.
PLACES = {
    "collect": "datasets",
    "prepare": "datasets",
    "train": "jobs",
    "evaluate": "models",
    "promote": "models",
    "monitor": "monitor",
}
#: Cells of a stage's sign and name, and of the word for its health, one below the other.
_NAME, _WORD, _PLACE = 12, 13, 12
#: Lines of the next step that stay in sight.
_NEXT_LINES = 2
_SEVERITIES = {"error": "problem", "urgent": "attention", "warning": "attention"}


class OverviewScreen(LiveScreen):
    """The first screen. Its text changes only when what it says changes, so idle is silent."""

    CSS_PATH = "overview.tcss"
    scopes = ("overview",)
    data: OverviewView | None

    #: Since when the person was away, and how long it was when they came: that stays as it is.
    _left: datetime | None = None
    _away = ""

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body") as scroll:
            scroll.can_focus = True
            yield Plate(id="board")
        yield Plate(id="next_step", classes="body")  # in sight however long the rest is

    async def fetch(self) -> OverviewView:
        request = {"since": self.sophia.state.left_at} if self.sophia.state.left_at else {}
        answer: Any = await self.sophia.call("overview.show", request)
        view: OverviewView = answer
        self.sophia.measured(view.store_milliseconds)
        return view

    def draw(self) -> None:
        glyphs, board_plate = self.sophia.glyphs, self.query_one("#board", Plate)
        waiting = self.placeholder("")
        width = max(40, self.size.width - 2)
        if waiting is not None or self.data is None:
            # the six stages stand there from the first paint on: the figures come into their places
            board_plate.draw(_stage_names(width, glyphs) + (waiting or ""))
            self.query_one("#next_step", Plate).draw("")
            return
        now, left = self.sophia.now(), self.sophia.state.left_at
        if left is not None and left != self._left:
            self._left, self._away = left, words.duration((now - left).total_seconds())
        told = board(self.data, width, now, glyphs, self._away, self._places())
        step = next_step(self.data, width)
        lines = step.wrap(width)
        if len(lines) > _NEXT_LINES:  # whole at the end of what scrolls
            told += Content.assemble("\n", step, "\n")
            step = _shortened(lines, width, glyphs.cut, bool(self.data.next.operation))
        board_plate.draw(told)
        self.query_one("#next_step", Plate).draw(step)

    def _places(self) -> dict[str, str]:
        """Digit and name of each screen that this person may open, and of the Log."""
        return {
            each.target.removeprefix("screen."): f"{each.shown} {_(each.text)}"
            for each in self.sophia.keys
            if each.target.startswith("screen.") and self.sophia.offers(each)
        }

    def act(self, name: str) -> bool:
        if name != "next" or self.data is None:
            return name == "next"
        step = self.data.next
        if step.operation:
            self.sophia.open(step.operation, dict(step.request))
        return True

    def copied(self) -> str:
        return "\n".join(self.query_one(each, Plate).text for each in ("#board", "#next_step"))

    def prefill(self, operation: str) -> dict[str, Any]:
        if operation == "models.calendar":
            return {"refresh": False}
        if operation == "models.succeed" and self.data:
            from sophia_tui.services.calendar_looks import way_out

            ways = filter(None, map(way_out, self.data.endings))
            return next((request for name, request in ways if name == operation), {})
        if self.data and self.data.next.operation == operation:
            return dict(self.data.next.request)
        return {}


def board(
    view: OverviewView,
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    away: str = "",
    places: Mapping[str, str] | None = None,
) -> Content:
    """All of Overview but the next step as one text, `width` cells wide. `now` is aware, `away`
    how long the person was not there, `places` the digit and the name of each screen."""
    places = places or {}
    drawn = _flow if width + 2 >= WIDE else _lines
    parts: list[Part] = [*drawn(view.stages, width, now, glyphs, places), "\n"]
    parts += _running(view.running, width, glyphs)
    parts += _models(view, width, now, glyphs)
    parts += _lately(view, width, now, glyphs, away, places.get("audit", ""))
    return Content.assemble(*parts)


def next_step(view: OverviewView, width: int) -> Content:
    """The next sensible step, the key that takes it and, where there is room, what one types."""
    parts: list[Part] = [(_("Next"), "bold"), "   ", visible(view.next.text)]
    if view.next.operation:
        parts += ["   ", ("enter", "bold $accent")]
    command = visible(view.next.command)
    line = Content.assemble(*parts)
    if command and width + 2 >= WIDE and line.cell_length + cell_len(command) + 3 <= width:
        line += Content.assemble("   ", (command, "dim"))
    return line


def _shortened(lines: Sequence[Content], width: int, cut: str, acts: bool) -> Content:
    """The first lines of the next step with a mark where it is cut, and the key that takes it."""
    key = [("   ", ""), ("enter", "bold $accent")] if acts else []
    room = width - 2 - sum(len(text) for text, _style in key)
    last = lines[_NEXT_LINES - 1].truncate(room).rstrip()
    return Content("\n").join([*lines[: _NEXT_LINES - 1], Content.assemble(last, f" {cut}", *key)])


def _stage_names(width: int, glyphs: words.Glyphs) -> Content:
    names = [f"  {_(name)}" for name in words.STAGES.values()]
    if width + 2 < WIDE:
        return Content.assemble(("\n".join(names), "bold"), "\n\n")
    wide = _flow_width(width)
    names = [glyphs.fit(name, wide - 1) + " " for name in names]
    return Content.assemble(("".join(names).rstrip(), "bold"), "\n\n")


def _lines(
    stages: Sequence[StageView],
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    places: Mapping[str, str],
) -> list[Part]:
    """From top to bottom, a line each; what is in the way stands below it."""
    far = _PLACE if width >= _NARROW else 1  # where there is no room, the digit alone
    room = width - _NAME - _WORD - far
    wide = max(12, room * 2 // 5)
    parts: list[Part] = []
    for each in stages:
        style, title = words.STYLES[each.health], _(words.STAGES.get(each.stage, each.stage))
        parts.append((glyphs.fit(f"{glyphs.health[each.health]} {title}", _NAME - 1) + " ", style))
        parts.append((glyphs.fit(_(words.HEALTH[each.health]), _WORD - 1) + " ", style))
        known = [words.state_word(each.detail), words.age(now, each.at)]
        figure = visible(words.state_word(each.figure))
        figure += " " * max(0, wide - cell_len(figure)) + " " + ", ".join(filter(None, known))
        place = places.get(PLACES.get(each.stage, ""), "")
        parts += [glyphs.fit(figure, room - 1) + " ", (place[:far], "dim"), "\n"]
        if _told(each, stages):
            for line in textwrap.wrap(visible(each.blocked), max(20, width - _NAME)):
                parts += [" " * _NAME, (line, _blocked_style(each)), "\n"]
    return parts


def _flow_width(width: int) -> int:
    return min(24, width // len(words.STAGES))


def _flow(
    stages: Sequence[StageView],
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    places: Mapping[str, str],
) -> list[Part]:
    """From left to right, an arrow to the next one; what is in the way stands below all."""
    wide = _flow_width(width)
    lines: list[list[Part]] = [[] for _line in range(6)]
    for each in stages:
        style = words.STYLES[each.health]
        title = _(words.STAGES.get(each.stage, each.stage))
        head = glyphs.fit(f"{glyphs.health[each.health]} {title}", wide - 4).rstrip() + " "
        arrow = "" if each is stages[-1] else glyphs.arrow(wide - 1 - cell_len(head)) + " "
        lines[0] += [(head, style), (arrow, "dim")]
        figure, detail = words.state_word(each.figure), words.state_word(each.detail)
        told = [figure, *filter(None, (detail, words.age(now, each.at)))]
        told += [""] * (3 - len(told))
        lines[1].append((glyphs.fit(_(words.HEALTH[each.health]), wide - 1) + " ", style))
        for place, text in enumerate(told, 2):
            lines[place].append(glyphs.fit(text, wide - 1) + " ")
        where = places.get(PLACES.get(each.stage, ""), "")
        lines[5].append((glyphs.fit(where, wide - 1) + " ", "dim"))
    parts: list[Part] = []
    for line in lines:
        parts += [*line, "\n"]
    for each in stages:
        if _told(each, stages):
            title = _(words.STAGES.get(each.stage, each.stage))
            parts += [(f"{title}: ", _blocked_style(each)), f"{visible(each.blocked)}\n"]
    return parts


def _told(stage: StageView, stages: Sequence[StageView]) -> bool:
    """What an empty stage waits for is only told of the first one: the others wait for it."""
    first = next((each for each in stages if each.blocked), None)
    return bool(stage.blocked) and (stage is first or stage.health in ("problem", "attention"))


def _blocked_style(stage: StageView) -> str:
    return words.STYLES["problem" if stage.health == "problem" else "attention"]


def _running(running: Sequence[RunningView], width: int, glyphs: words.Glyphs) -> list[Part]:
    """Jobs with step, rate, time left, loss and its course; in a wide window also what they work
    on. A narrow one has no room for all."""
    fit = glyphs.fit
    about = min(30, width - 88) if width + 2 >= WIDE else 0
    bar = 8 if width >= _NARROW else 0
    tail = max(0, width - 60 - about - bar - 2) if bar else 0
    titles = [
        (_("Open jobs"), 20),
        (_("of"), about + 1 if about else 0),
        ("", bar + 1 if bar else 0),
    ]
    titles += [(_("step"), 10), (_("steps/min"), 11), (_("left"), 12), (_("loss"), 6)]
    head = "".join(fit(text, cells - 1) + " " for text, cells in titles if cells)
    parts: list[Part] = [(head.rstrip(), "bold"), "\n"]
    if not running:
        return [*parts, (_("nothing") + "\n\n", "dim")]
    for each in running:
        row = fit(each.job, 19) + " "
        row += fit(each.about, about) + " " if about else ""
        row += glyphs.bar(each.step or 0, each.total_steps or 0, bar) + " " if bar else ""
        rate = "" if each.steps_per_minute is None else words.pace(each.steps_per_minute)
        told = words.duration(each.seconds_left) if each.status == "running" else ""
        left = told or words.state_word(each.status)  # what stands still has a word, and no time
        loss = "" if each.loss is None else number(each.loss, 2)
        row += fit(f"{each.step or 0}/{each.total_steps or '?'}", 9) + " " + fit(rate, 10) + " "
        row += fit(left, 11) + " " + fit(loss, 5) + (" " if bar else "")
        parts += [row, (glyphs.sparkline(each.losses[-tail:]) if tail else "", "$accent"), "\n"]
    return [*parts, "\n"]


def _models(view: OverviewView, width: int, now: datetime, glyphs: words.Glyphs) -> list[Part]:
    """What production uses and what is served, each with the days it has left; what ends or answers
    no more first. Env files that can't be read are told, so that silence is no good news."""
    rest = max(10, width - 39)
    kind = 12 if width + 2 >= WIDE else 0
    titles = glyphs.fit(_("Models"), 22) + (glyphs.fit(_("kind"), kind) if kind else "")
    titles += glyphs.fit(_("used as"), rest - kind) + _("ends")
    parts: list[Part] = [(titles, "bold"), "\n"]
    known = {each.model: each for each in view.models}
    rows = [(each, known.get(each.model)) for each in view.endings]
    amiss = {each.model for each in view.endings}
    for ending, used in [*rows, *((None, each) for each in view.models if each.model not in amiss)]:
        health, left = _left(ending, used, now)
        name = ending.model if ending else used.model if used else ""
        row = " " + glyphs.fit(name, 19) + " "
        row += glyphs.fit(_(used.kind) if used else "", kind - 1) + " " if kind else ""
        row += glyphs.fit(_uses(ending, used), rest - kind - 1) + " "
        parts += [(glyphs.health[health], words.STYLES[health]), row]
        parts += [(glyphs.fit(left, 16).rstrip(), words.STYLES[health]), "\n"]
    if len(parts) == 2:
        parts.append((_("none yet") + "\n", "dim"))
    if view.endings:
        parts += [("d", "bold $accent"), f" {_('models that end')}   "]
        parts += [("n", "bold $accent"), f" {_('move off it')}\n"]
    for unread in view.unread:
        told = glyphs.fit(visible(unread.why), max(10, width - 2)).rstrip()
        parts += [(f"{glyphs.health['attention']} ", words.STYLES["attention"]), told, "\n"]
    return [*parts, "\n"]


def _left(
    ending: EndingModelView | None, used: UsedModelView | None, now: datetime
) -> tuple[str, str]:
    """Health, and until when it answers."""
    if ending is not None:
        from sophia_tui.services.calendar_looks import in_short

        return _SEVERITIES.get(ending.severity, "attention"), in_short(ending)
    if used is None:
        return "unknown", ""
    ended = used.ends is not None and used.ends <= now
    health = "problem" if ended else "ok" if used.used_as or used.served_as else "empty"
    return health, words.ends(now, used.ends)


def _uses(ending: EndingModelView | None, used: UsedModelView | None) -> str:
    found = list(ending.keys) if ending else list(used.used_as) if used else []
    if used is not None and used.served_as:
        found.append(_("served as {names}").format(names=", ".join(used.served_as)))
    return ", ".join(found) or _("not used")


def _lately(
    view: OverviewView,
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    away: str,
    log: str,
) -> list[Part]:
    """What happened meanwhile; of what has no room here, and of others' changes, how many."""
    title = _("Since you left ({time})").format(time=away) if away else _("Lately")
    more = max(0, view.happened - len(view.lately))
    counted = []
    if more:
        counted.append(ngettext("{count} more", "{count} more", more).format(count=number(more)))
    if view.by_others:
        text = ngettext("{count} change by others", "{count} changes by others", view.by_others)
        counted.append(text.format(count=number(view.by_others)))
    if not view.lately and not counted:
        return [(title, "bold"), "   ", (_("nothing happened"), "dim"), "\n"]
    parts: list[Part] = [(title, "bold"), "\n"]
    for each in view.lately:
        sign = glyphs.health[each.health]
        text = glyphs.fit(each.text, width - 16)
        parts += [(sign, words.STYLES[each.health]), f" {text} ", words.age(now, each.at), "\n"]
    if counted:
        parts += [", ".join(counted), (f"   {log}" if log else "", "$accent"), "\n"]
    return parts
