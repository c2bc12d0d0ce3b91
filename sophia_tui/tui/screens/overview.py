"""Overview: six stages, what runs, models in use, what happened lately, the next sensible step."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.i18n import _, number
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.services.overview import OverviewView

Part = str | tuple[str, str] | Content
#: Models that end, of which there is room for so many.
_ENDINGS = 3


class OverviewScreen(LiveScreen):
    """The first screen. Its text changes only when what it says changes, so idle is silent."""

    CSS_PATH = "overview.tcss"
    scopes = ("overview",)
    data: "OverviewView | None"

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body") as scroll:
            scroll.can_focus = True
            yield Plate(id="board")

    async def fetch(self) -> "OverviewView":
        request = {"since": self.sophia.state.left_at} if self.sophia.state.left_at else {}
        view: Any = await self.sophia.call("overview.show", request)
        self.sophia.measured(view.store_milliseconds)
        found: OverviewView = view
        return found

    def draw(self) -> None:
        plate = self.query_one("#board", Plate)
        waiting = self.placeholder("")
        width = max(40, self.size.width - 1)
        if waiting is not None or self.data is None:
            # the six stages stand there from the first paint on: the figures come into their places
            plate.draw(_stage_names(width, self.sophia.glyphs) + (waiting or ""))
            return
        now = self.sophia.now()
        plate.draw(board(self.data, width, now, self.sophia.glyphs, self.sophia.state.left_at))

    def act(self, name: str) -> bool:
        if name != "next" or self.data is None:
            return name == "next"
        step = self.data.next
        if step.operation:
            self.sophia.open(step.operation, dict(step.request))
        return True

    def copied(self) -> str:
        return self.query_one("#board", Plate).text

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
    view: "OverviewView",
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    left_at: datetime | None = None,
) -> Content:
    """The whole of Overview as one text, `width` cells wide; `now` is aware."""
    parts: list[Part] = []
    parts += _stages(view, width, now, glyphs)
    # above what may be long: it is never out of sight
    text = glyphs.fit(view.next.text, width - 16).rstrip()
    parts += [(_("Next"), "bold"), "   ", text]
    if view.next.operation:
        parts += ["   ", ("enter", "bold $accent")]
    parts.append("\n\n")
    parts += _endings(view, width, glyphs)
    parts += _running(view, width, glyphs)
    parts += _models(view, width, now, glyphs)
    parts += _lately(view, width, now, glyphs, left_at)
    return Content.assemble(*parts)


def _stage_names(width: int, glyphs: words.Glyphs) -> Content:
    wide = min(24, width // len(words.STAGES))
    names = [glyphs.fit(f"  {_(name)}", wide - 1) + " " for name in words.STAGES.values()]
    return Content.assemble(("".join(names).rstrip(), "bold"), "\n\n")


def _stages(view: "OverviewView", width: int, now: datetime, glyphs: words.Glyphs) -> list[Part]:
    wide = min(24, width // max(1, len(view.stages)))
    lines: list[list[Part]] = [[], [], [], []]
    for each in view.stages:
        style = words.STYLES[each.health]
        title = _(words.STAGES.get(each.stage, each.stage))
        head = glyphs.fit(f"{glyphs.health[each.health]} {title}", wide - 1) + " "
        lines[0].append((head, style))
        figure = words.state_word(each.figure)
        age = words.age(now, each.at)
        detail = words.state_word(each.detail)
        second, third = (detail, age) if detail else (age, "")
        for place, text in ((1, figure), (2, second), (3, third)):
            lines[place].append(glyphs.fit(text, wide - 1) + " ")
    parts: list[Part] = []
    for line in lines:
        parts += [*line, "\n"]
    blocked = [each for each in view.stages if each.blocked]
    for each in blocked:
        # what an empty stage waits for is only told of the first one: the others wait for it
        if each is blocked[0] or each.health in ("problem", "attention"):
            style = words.STYLES["problem" if each.health == "problem" else "attention"]
            title = _(words.STAGES.get(each.stage, each.stage))
            parts += [(f"{title}: ", style), f"{visible(each.blocked)}\n"]
    return [*parts, "\n"]


def _endings(view: "OverviewView", width: int, glyphs: words.Glyphs) -> list[Part]:
    """What ends, or answers no more: which key names it, how long, and the way out; and env files
    that can't be read, so that nobody takes silence for good news."""
    from sophia_tui.services.calendar_looks import in_short

    parts: list[Part] = []
    for each in view.endings[:_ENDINGS]:
        health = "problem" if each.severity == "error" else "attention"
        rest = max(10, width - 60)
        row = glyphs.fit(each.model, 21) + " " + glyphs.fit(", ".join(each.keys), 21) + " "
        parts += [(f"{glyphs.health[health]} ", words.STYLES[health]), row]
        parts += [(glyphs.fit(in_short(each), 13) + " ", words.STYLES[health])]
        parts += [(glyphs.fit(each.command, rest).rstrip(), "dim"), "\n"]
    if len(view.endings) > _ENDINGS:
        more = _("and {count} more: `{command}`")
        count = len(view.endings) - _ENDINGS
        parts.append((more.format(count=count, command="sophia models calendar") + "\n", "dim"))
    for unread in view.unread:
        told = glyphs.fit(visible(unread.why), max(10, width - 2)).rstrip()
        parts += [(f"{glyphs.health['attention']} ", words.STYLES["attention"]), told, "\n"]
    if not parts:
        return []
    head: list[Part] = [(_("Models that end"), "bold"), "   ", ("d", "bold $accent"), "\n"]
    return [*head, *parts, "\n"]


def _running(view: "OverviewView", width: int, glyphs: words.Glyphs) -> list[Part]:
    fit = glyphs.fit
    tail, about = max(8, width - 63), max(4, 14 - max(0, 63 - width))
    head = fit(_("Open jobs"), 20) + fit(_("of"), about) + " " + fit(_("step"), 10) + " "
    parts: list[Part] = [(head + fit(_("left"), 10) + fit(_("loss"), 6), "bold"), "\n"]
    if not view.running:
        return [*parts, (_("nothing") + "\n\n", "dim")]
    for each in view.running:
        step = f"{each.step or 0}/{each.total_steps or '?'}"
        told = words.duration(each.seconds_left) if each.status == "running" else ""
        left = told or words.state_word(each.status)  # what stands still has a word, and no time
        loss = "" if each.loss is None else number(each.loss, 2)
        spark = glyphs.sparkline(each.losses[-tail:])
        row = fit(each.job, 19) + " " + fit(each.about, about) + " " + fit(step, 10) + " "
        parts += [row, fit(left, 9) + " " + fit(loss, 5) + " "]
        parts += [(spark if width >= 71 else "", "$accent"), "\n"]
    return [*parts, "\n"]


def _models(view: "OverviewView", width: int, now: datetime, glyphs: words.Glyphs) -> list[Part]:
    fit = glyphs.fit
    rest = max(10, width - 47)
    head = fit(_("Models"), 20) + fit(_("kind"), 12) + fit(_("used as"), rest)
    parts: list[Part] = [(head + _("ends"), "bold"), "\n"]
    if not view.models:
        return [*parts, (_("none yet") + "\n\n", "dim")]
    for each in view.models:
        used = ", ".join(each.used_as) or _("not used")
        row = fit(each.model, 19) + " " + fit(_(each.kind), 11) + " " + fit(used, rest - 1) + " "
        parts += [row, words.ends(now, each.ends), "\n"]
    return [*parts, "\n"]


def _lately(
    view: "OverviewView",
    width: int,
    now: datetime,
    glyphs: words.Glyphs,
    left_at: datetime | None,
) -> list[Part]:
    title = _("Since you left") if left_at else _("Lately")
    if not view.lately:
        return [(title, "bold"), "   ", (_("nothing happened"), "dim"), "\n\n"]
    parts: list[Part] = [(title, "bold"), "\n"]
    for each in view.lately[:4]:
        sign = glyphs.health[each.health]
        text = glyphs.fit(each.text, width - 16)
        parts += [(sign, words.STYLES[each.health]), f" {text} ", words.age(now, each.at), "\n"]
    return [*parts, "\n"]
