"""The curves of one job: what its service thinned, and the events that came since.

The training's loss is a smoothed line, that on the held-out part single signs; other figures are a
line each. The words beside them say what was smoothed, cut and best.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.i18n import N_, _, number
from sophia_tui.services.job_curves import LOSSES, CurvePoint, CurveView
from sophia_tui.services.views import EventView, JobView
from sophia_tui.tui import words
from sophia_tui.tui.chart import Curve, Drawn, Point, grown, plotted
from sophia_tui.tui.parts import Part

#: What is shown in turn: the losses, then each other figure, with the unit its numbers are in.
OTHERS = {
    "learning_rate": N_("learning rate, in millionths"),
    "tokens_per_second": N_("tokens/s"),
    "memory_bytes": N_("memory, GB"),
    "gpu_memory_bytes": N_("memory of the GPU, GB"),
    "kept": N_("general answers kept"),
    "grad_norm": N_("gradient"),
}
SERIES = ("loss", *OTHERS)
_SCALES = {"learning_rate": 1e6, "memory_bytes": 1e-9, "gpu_memory_bytes": 1e-9}
#: Points of the smoothed line that a mean is over, as a share of all, and the means that are taken.
_SMOOTH_SHARE = 20
_MEANS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
#: Points that are kept of one figure before the service is asked to thin them anew.
_MOST_POINTS = 1500
_ENDED = ("succeeded", "failed", "cancelled")


class JobCurve:
    """Figures of one job over its steps."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.series = "loss"
        #: Whether the service has to be asked for all of it (anew).
        self.wanted = True
        #: Whether the service has told of it: the events alone are its newest part.
        self.known = False
        self._points: dict[str, list[CurvePoint]] = {}
        self._last_event = 0

    @property
    def names(self) -> list[str]:
        """The figures that are asked for."""
        return list(LOSSES) if self.series == "loss" else [self.series]

    def show(self, series: str) -> None:
        """Another figure, which the service is asked for."""
        self.series, self.wanted, self.known = series, True, False
        self._points = {}

    def take(self, view: CurveView) -> None:
        """What the service thinned."""
        self.wanted, self.known = False, True
        self._last_event = view.last_event
        self._points = {each.name: list(each.points) for each in view.series}

    def add(self, events: Iterable[EventView]) -> None:
        """Events that came since, by rising number."""
        for event in events:
            if event.number <= self._last_event:
                continue
            if event.kind == "state" and event.data.get("state") == "running":
                self.wanted = True  # an attempt began: what the one before told later is void
            if event.kind == "metric":
                self._add(event)
        if any(len(each) > _MOST_POINTS for each in self._points.values()):
            self.wanted = True

    def _add(self, event: EventView) -> None:
        self._last_event = event.number
        step = event.data.get("step")
        if not _is_number(step):
            return
        for name in self.names:
            value = event.data.get(name)
            if _is_number(value):
                point = CurvePoint(
                    step=step, value=value, low=value, high=value, count=1, seconds=0.0
                )
                self._points.setdefault(name, []).append(point)

    def points(self, name: str) -> list[Point]:
        scale = _SCALES.get(name, 1.0)
        return sorted((each.step, each.value * scale) for each in self._points.get(name, []))

    @property
    def best(self) -> Point | None:
        """The lowest loss on the held-out part, and its step."""
        found = self._points.get("eval_loss", [])
        lowest = min(found, key=lambda each: each.low, default=None)
        return None if lowest is None else (lowest.step, lowest.low)

    def draw(self, job: JobView, width: int, height: int, glyphs: words.Glyphs) -> Content | None:
        """The words and the chart in so many lines; None below two points."""
        ends_at = None
        if job.total_steps:
            whole = None if job.status in _ENDED else job.total_steps
            ends_at = grown(job.step or 0, whole)
        if self.series == "loss":
            return self._losses(width, height, glyphs, ends_at)
        line = self.points(self.series)
        drawn = plotted([Curve(line)], width, height - 1, glyphs.plain_curves, ends_at)
        if not drawn.lines:
            return None
        told = [(f"{_stroke(glyphs)} {_(OTHERS[self.series])} {_figure(line[-1][1])}", "$accent")]
        return _joined(_legend(told, drawn, line, width), drawn)

    def _losses(
        self, width: int, height: int, glyphs: words.Glyphs, ends_at: float | None
    ) -> Content | None:
        raw = sorted(self._points.get("loss", []), key=lambda each: each.step)
        held_out = self.points("eval_loss")
        trained, mean = smoothed(raw)
        sign, lowest = ("o", "@") if glyphs.plain_curves else ("◇", "◆")
        best = self.best
        curves = [Curve(trained), Curve(held_out, sign, "bold $warning")]
        if best is not None:
            curves.append(Curve([best], lowest, "bold $success"))
        drawn = plotted(curves, width, height - 1, glyphs.plain_curves, ends_at)
        if not drawn.lines:
            return None
        told: list[tuple[str, str]] = []
        if trained:
            text = f"{_stroke(glyphs)} {_('training')} {number(trained[-1][1], 2)}"
            if mean > 1:
                text += " " + _("(mean of {count})").format(count=number(mean))
            told.append((text, "$accent"))
        if held_out:
            text = f"{sign} {_('held-out part')} {number(held_out[-1][1], 2)}"
            told.append((text, "bold $warning"))
        if best is not None:
            text = _("best {loss} at {step}").format(
                loss=number(best[1], 2), step=number(round(best[0]))
            )
            told.append((f"{lowest} {text}", "bold $success"))
        return _joined(_legend(told, drawn, [*trained, *held_out], width, _("loss")), drawn)


def _stroke(glyphs: words.Glyphs) -> str:
    return "-" if glyphs.plain_curves else "⠤"


def _joined(legend: list[Part], drawn: Drawn) -> Content:
    return Content("\n").join([Content.assemble(*legend), *drawn.lines])


def _legend(
    told: Sequence[tuple[str, str]],
    drawn: Drawn,
    points: Sequence[Point],
    width: int,
    title: str = "",
) -> list[Part]:
    """What each sign means, with the newest value; what has no room goes on in a second line."""
    found = list(told)
    if drawn.cut is not None:
        text = _("cut above {value}, highest {highest}").format(
            value=_figure(drawn.cut), highest=_figure(max(y for _x, y in points))
        )
        found.append((f"^ {text}", "dim"))
    parts: list[Part] = [(title, "bold")] if title else []
    taken = cell_len(title)
    for text, style in found:
        blank = "  " if taken else ""
        if taken + len(blank) + cell_len(text) > width:
            blank, taken = "\n", 0
        parts += [blank, (text, style)]
        taken += len(blank.strip("\n")) + cell_len(text)
    return parts


def smoothed(found: Sequence[CurvePoint]) -> tuple[list[Point], int]:
    """The mean of the newest events at each point, and over how many: few enough that the line
    follows, so many that noise does not hide it. A point of several events counts as those."""
    events = sum(each.count for each in found)
    window = max(each for each in _MEANS if each == 1 or each <= events / _SMOOTH_SHARE)
    if window == 1:
        return [(each.step, each.value) for each in found], 1
    points: list[Point] = []
    total = count = 0.0
    first = 0
    for each in found:
        total, count = total + each.value * each.count, count + each.count
        while count - found[first].count >= window:
            total -= found[first].value * found[first].count
            count -= found[first].count
            first += 1
        points.append((each.step, total / count))
    return points, window


def kept_line(told: Sequence[EventView], width: int, glyphs: words.Glyphs) -> str:
    """General answers still right at each validation, as shares in order; the newest ones where
    there is no room for all. Beside the losses: what was learnt and what was forgotten."""
    shares = [
        100 * each.data["kept"] / each.data["kept_total"]
        for each in told
        if each.kind == "metric"
        and _is_number(each.data.get("kept"))
        and _is_number(each.data.get("kept_total"))
        and each.data["kept_total"]
    ]
    if not shares:
        return ""
    room = max(1, (width - 12) // 5)
    arrow = " > " if glyphs.ascii_only else " → "
    return arrow.join(f"{round(each)}" for each in shares[-room:]) + " %"


def _figure(value: float) -> str:
    return number(value, 2 if abs(value) < 100 and value != int(value) else 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
