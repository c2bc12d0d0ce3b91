"""Monitor: what served models did, how people judged the answers, and what is not measured yet."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.i18n import _, ngettext, number, written
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.chart import columns
from sophia_tui.tui.parts import Cell, Part, grid, title
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.screens.table import empty_text
from sophia_tui.tui.widgets.plate import Plate

#: Periods that a key turns through: hours, or days with the whole of today.
PERIODS: tuple[dict[str, int], ...] = ({"days": 7}, {"days": 30}, {"hours": 24})


class MonitorScreen(LiveScreen):
    """Figures with their period and age; a chart never stands without its numbers."""

    CSS_PATH = "overview.tcss"
    scopes = ("monitor",)
    name_of_screen = "monitor"

    def __init__(self, sophia: Any) -> None:
        super().__init__(sophia)
        self._period = 0
        #: The one model that is looked at; empty: all of them.
        self._model = ""
        #: The models that were asked in the period.
        self._known: list[str] = []

    def heading(self) -> str:
        return f"{_('Monitor')}: {visible(self._model)}" if self._model else _("Monitor")

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body") as scroll:
            scroll.can_focus = True
            yield Plate(id="board")

    async def fetch(self) -> Any:
        chosen: dict[str, Any] = {"model": self._model} if self._model else {}
        found: Any = await self.sophia.call("monitor.show", {**PERIODS[self._period], **chosen})
        if not chosen:
            self._known = [each.model for each in found.models]
        return found

    def has_nothing(self, data: Any) -> bool:
        told = data.documents.state == "counted" or data.conversations.state == "counted"
        return not (self._model or data.requests or data.deployments or told)

    def draw(self) -> None:
        plate = self.query_one("#board", Plate)
        waiting = self.placeholder("")
        if waiting is not None and self.state != "empty":
            plate.draw(waiting)
            return
        width = max(40, self.size.width - 2)
        told = board(self.data, width, self.sophia.now(), self.sophia.glyphs)
        if self.has_nothing(self.data):
            told = Content(empty_text(self.sophia, "monitor") + "\n\n") + told
        plate.draw(told)

    def act(self, name: str) -> bool:
        if name == "period":
            self._period = (self._period + 1) % len(PERIODS)
        elif name == "model" or (name == "back" and self._model):
            turn = ["", *self._known]
            at = turn.index(self._model) if self._model in turn else -1
            self._model = turn[(at + 1) % len(turn)] if name == "model" else ""
        else:
            return False
        self.redraw()
        self.refresh_now()
        return True

    def not_now(self, operation: str) -> str:
        if operation == "act.model" and not (self._known or self._model):
            return _("No model was asked in this period.")
        return ""

    def memory(self) -> dict[str, Any]:
        return {"period": self._period, "model": self._model}

    def recall(self, kept: dict[str, Any]) -> None:
        period, model = kept.get("period"), kept.get("model")
        if isinstance(period, int) and 0 <= period < len(PERIODS):
            self._period = period
        if isinstance(model, str):
            self._model = model
        self.refresh_now()

    def prefill(self, operation: str) -> dict[str, Any]:
        if operation not in ("serve.stop", "serve.ask"):
            return {}
        if not self.data or len(self.data.deployments) != 1:
            return {}  # which one is meant, the person says
        return {"name": self.data.deployments[0].name}

    def copied(self) -> str:
        return self.query_one("#board", Plate).text


def board(view: Any, width: int, now: datetime, glyphs: words.Glyphs) -> Content:
    """The whole of Monitor as one text, `width` cells wide; `now` is aware."""
    parts: list[Part] = []
    since, until = map(written, (view.since, view.until))
    parts.append(_("{since} until {until}").format(since=since, until=until) + f"  {view.zone}\n")
    for alert in view.alerts:
        parts += [(f"{glyphs.health['attention']} {visible(alert)}\n", words.STYLES["attention"])]
    parts += _traffic(view, width, now, glyphs)
    parts += _charts(view, width, glyphs)
    for name, told in (
        (_("Feedback on documents"), view.documents),
        (_("Feedback on conversations"), view.conversations),
    ):
        parts += _feedback(name, told, width, glyphs)
    parts += _deployments(view, width, now, glyphs)
    if view.not_yet:
        parts += title(_("Not measured yet"))
        for each in view.not_yet:
            parts.append(f"{glyphs.health['empty']} {visible(each.text)}\n")
    return Content.assemble(*parts)


def _traffic(view: Any, width: int, now: datetime, glyphs: words.Glyphs) -> list[Part]:
    parts: list[Part] = title(_("Requests"))
    if view.requests is not None:
        asked = ngettext("{n} request", "{n} requests", view.requests)
        failed = ngettext("{n} error", "{n} errors", view.errors or 0)
        told = [asked.format(n=number(view.requests)), failed.format(n=number(view.errors or 0))]
        if view.error_rate is not None:
            goal = f"{_('target')} < {_percent(view.target_error_rate)}"
            told[-1] += f" ({_percent(view.error_rate)}, {goal})"
        if view.counted_since is not None:
            told.append(
                _("counted since {date}").format(
                    date=view.counted_since.astimezone(view.since.tzinfo).date()
                )
            )
        parts.append("   ".join(told) + "\n")
    if view.note:
        parts.append((visible(view.note) + "\n", "dim"))
    rows: list[list[Cell]] = []
    for each in view.models:
        slow = (each.seconds_p95 or 0) > view.target_latency_seconds
        p95 = _seconds(each.seconds_p95) + (f" {glyphs.health['attention']}" if slow else "")
        rows.append(
            [
                each.model,
                number(each.requests),
                "-" if each.error_rate is None else _percent(each.error_rate),
                _seconds(each.seconds_p50),
                (p95, words.STYLES["attention"] if slow else ""),
                _seconds(each.first_token_seconds_p50),
                f"{number(each.prompt_tokens)} + {number(each.completion_tokens)}",
            ]
        )
    heads = [
        _("Model"),
        _("asked"),
        _("errors"),
        "p50, s",
        "p95, s",
        _("first, s"),
        _("tokens"),
    ]
    return [*parts, *grid(heads, rows, width, glyphs)]


def _charts(view: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    slots = _slots(view)
    if not slots:
        return []
    wide, height = min(width, 120), 3
    requests = [float(sum(each.requests for each in slot)) for slot in slots]
    slowest = [
        max((each.seconds_p95 for each in slot if each.seconds_p95 is not None), default=None)
        for slot in slots
    ]
    each_is = _("a column is {time}").format(time=_span(view.bucket_seconds))
    most = _("at most {value}").format(value=number(max(requests)))
    parts: list[Part] = title(_("Requests over time"), f"{most}, {each_is}")
    parts += _drawn(columns(requests, wide, height, glyphs.ascii_only))
    known = [each for each in slowest if each is not None]
    if known:
        most = _("at most {value}").format(value=_seconds(max(known)))
        goal = _("target {value}").format(value=_seconds(view.target_latency_seconds))
        parts += title(_("95 % of the answers within, s"), f"{most}, {goal}")
        parts += _drawn(columns(slowest, wide, height, glyphs.ascii_only))
    return parts


def _drawn(lines: Sequence[str]) -> list[Part]:
    return [("\n".join(lines) + "\n", "$accent")]


def _slots(view: Any) -> list[list[Any]]:
    """The points by bucket, those without a request too: from the first request to the end."""
    if not view.series:
        return []
    bucket = timedelta(seconds=view.bucket_seconds)
    first = min(each.start for each in view.series)
    count = max(1, -int((first - view.until) // bucket))
    slots: list[list[Any]] = [[] for _slot in range(min(count, 1000))]
    for each in view.series:
        place = int((each.start - first) // bucket)
        if 0 <= place < len(slots):
            slots[place].append(each)
    return slots


def _feedback(name: str, told: Any, width: int, glyphs: words.Glyphs) -> list[Part]:
    if told.state != "counted":
        sign = glyphs.health["attention" if told.state == "unreachable" else "empty"]
        code = f" ({told.code})" if told.code else ""
        return [*title(name), f"{sign} {visible(told.cause)}{code}\n"]
    whole = (told.positive or 0) + (told.negative or 0) + (told.other or 0)
    note = _("{positive} of {all} positive").format(
        positive=number(told.positive or 0), all=number(whole)
    )
    if told.satisfaction is not None:
        note += f", {_percent(told.satisfaction)}"
    rows: list[list[Cell]] = [
        [
            str(each.day),
            number(each.positive),
            number(each.negative),
            number(each.other),
            "-" if each.satisfaction is None else _percent(each.satisfaction),
            glyphs.bar(each.positive, each.positive + each.negative + each.other, 20),
        ]
        for each in told.days
    ]
    heads = [_("Day"), _("positive"), _("negative"), _("neither"), _("satisfaction"), ""]
    return [*title(name, note), *grid(heads, rows, width, glyphs)]


def _deployments(view: Any, width: int, now: datetime, glyphs: words.Glyphs) -> list[Part]:
    parts = title(_("Served now"))
    if not view.deployments:
        return [*parts, (_("nothing") + "\n", "dim")]
    rows: list[list[Cell]] = [
        [
            each.name,
            each.model,
            (words.state_word(each.state), words.state_style(each.state)),
            words.age(now, each.ready_at) or "-",
            each.engine,
        ]
        for each in view.deployments
    ]
    heads = [_("Name"), _("Model"), _("State"), _("ready"), _("Engine")]
    return [*parts, *grid(heads, rows, width, glyphs)]


def _percent(share: float) -> str:
    return f"{number(100 * share, 0 if share >= 0.1 or not share else 1)} %"


def _seconds(value: float | None) -> str:
    return "-" if value is None else number(value, 1 if value >= 1 else 2)


def _span(seconds: int) -> str:
    if seconds < 3600:
        return _("{minutes} min").format(minutes=seconds // 60)
    if seconds < 86_400:
        return _("{hours} h").format(hours=seconds // 3600)
    days = seconds // 86_400
    return ngettext("{days} day", "{days} days", days).format(days=days)
