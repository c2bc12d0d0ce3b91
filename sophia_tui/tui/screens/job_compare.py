"""Two or more jobs: their losses in one chart, and a table of that in which they differ."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.cells import cell_len
from textual.content import Content
from textual.widget import Widget

from sophia_tui.i18n import N_, _, number
from sophia_tui.services.job_compare import (
    PARTS,
    ComparedJob,
    DifferenceRow,
    JobsCompared,
    label,
    value_text,
)
from sophia_tui.services.job_curves import CurvePoint
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.chart import MEET, Curve, Drawn, Point, plotted
from sophia_tui.tui.job_curve import smoothed
from sophia_tui.tui.parts import Part
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.widgets.pager import Pager
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

LOSSES = {"loss": N_("training loss"), "eval_loss": N_("loss on the held-out part")}
AXES = {
    "step": N_("steps"),
    "examples": N_("examples seen"),
    "tokens": N_("tokens seen"),
    "time": N_("minutes at work"),
}
#: One for each letter; the letters themselves tell the curves apart.
_STYLES = (
    *("bold $accent", "bold $warning", "bold $success", "bold $error"),
    *("$accent", "$warning", "$success", "$error"),
)
_NAME_WIDTH, _WIDE_NAME = 24, 34
_LEAST_COLUMN = 10


class JobCompareScreen(LiveScreen):
    """`request` is asked again as long as one of the jobs goes on."""

    CSS_PATH: ClassVar[StylePath] = "jobs.tcss"
    scopes: tuple[str, ...] = ("job_compare",)
    interval = 5.0

    def __init__(self, sophia: "Console", request: dict[str, Any], first: JobsCompared) -> None:
        super().__init__(sophia)
        self.request = dict(request)
        self.data = first
        self.state = "full"
        self.loss = "loss"
        self.axis = "step"

    def heading(self) -> str:
        return _("Jobs compared")

    def body(self) -> Iterable[Widget]:
        yield Plate(id="job")
        yield Plate(id="curve")
        yield Plate(id="title")
        yield Pager(id="told")

    def on_mount(self) -> None:
        pager = self.query_one(Pager)
        pager.from_start, pager.following = True, False
        pager.focus()
        super().on_mount()

    async def fetch(self) -> JobsCompared:
        found = await self.sophia.call("jobs.compare", self.request)
        assert isinstance(found, JobsCompared)
        return found

    def draw(self) -> None:
        compared: JobsCompared = self.data
        width, glyphs = self.size.width - 1, self.sophia.glyphs
        self.query_one("#job", Plate).draw(Content.assemble(*self._names(compared.jobs, width)))
        height = 8 if self.size.height < 30 else 16
        self.query_one("#curve", Plate).draw(self._chart(compared.jobs, width, height))
        title = _("In what they differ")
        if self.request.get("all"):
            title = _("Everything that is known")
        better = _("* is the better value")
        parts: list[Part] = [(title, "bold"), (f"  {better}", "dim")]
        self.query_one("#title", Plate).draw(Content.assemble(*parts))
        self.query_one(Pager).show(difference_lines(compared, width, glyphs))

    def _names(self, jobs: Sequence[ComparedJob], width: int) -> list[Part]:
        """Each job with its letter, state and newest losses, one a line."""
        parts: list[Part] = []
        for job, style in zip(jobs, _STYLES, strict=False):
            parts += [(f"{job.letter} ", style), f"{visible(job.id)}  "]
            parts.append((words.state_word(job.status), words.state_style(job.status)))
            if job.step is not None:
                parts.append(f"  {number(job.step)}/{number(job.total_steps or job.step)}")
            parts.append(f"  {_end(job) if not job.note else visible(job.note)}")
            parts.append("\n")
        return parts[:-1]

    def _chart(self, jobs: Sequence[ComparedJob], width: int, height: int) -> Content:
        curves, left_out = [], []
        for job, style in zip(jobs, _STYLES, strict=False):
            points = self._points(job)
            if points:
                curves.append(Curve(points, job.letter, style, joined=True))
            elif not job.note:
                left_out.append(job.letter)
        ascii_only = self.sophia.glyphs.plain_curves
        drawn = plotted(curves, min(width, 118), height, ascii_only)
        parts: list[Part] = [(_(LOSSES[self.loss]), "bold"), f" {_('over')} {_(AXES[self.axis])}"]
        if len(curves) > 1:
            parts.append((f"  {MEET} {_('several')}", "dim"))
        if drawn.cut is not None:
            text = _("cut above {value}").format(value=number(drawn.cut, 2))
            parts.append((f"  ^ {text}", "dim"))
        if left_out:
            text = _("not known of {letters}").format(letters=", ".join(left_out))
            parts.append((f"  {text}", "$warning"))
        return _below(Content.assemble(*parts), drawn)

    def _points(self, job: ComparedJob) -> list[Point]:
        series = next((each for each in job.curve.series if each.name == self.loss), None)
        if series is None or not series.points:
            return []
        factor = self._factor(job)
        if factor is None:
            return []
        known = series.points
        if self.loss == "loss":
            means = dict(smoothed(sorted(known, key=lambda each: each.step))[0])
            return [(self._x(each, factor), means.get(each.step, each.value)) for each in known]
        return [(self._x(each, factor), each.value) for each in known]

    def _factor(self, job: ComparedJob) -> float | None:
        """What a step is on the x axis; None where that is not known."""
        known = {"examples": job.examples_per_step, "tokens": job.tokens_per_step}
        return known.get(self.axis, 1.0)

    def _x(self, point: CurvePoint, factor: float) -> float:
        return point.seconds / 60 if self.axis == "time" else point.step * factor

    def act(self, name: str) -> bool:
        if name == "losses":
            self.loss = _after(self.loss, list(LOSSES))
        elif name == "axis":
            self.axis = _after(self.axis, list(AXES))
        elif name == "everything":
            self.request["all"] = not self.request.get("all")
            self.refresh_now()
            return True
        else:
            return super().act(name)
        self._draw_all()
        return True

    def copied(self) -> str:
        return " ".join(job.id for job in self.data.jobs)

    def memory(self) -> dict[str, Any]:
        return {"request": self.request, "loss": self.loss, "axis": self.axis}

    def recall(self, kept: dict[str, Any]) -> None:
        if kept.get("loss") in LOSSES:
            self.loss = str(kept["loss"])
        if kept.get("axis") in AXES:
            self.axis = str(kept["axis"])


def difference_lines(compared: JobsCompared, width: int, glyphs: words.Glyphs) -> list[Content]:
    """A table below the letters of the jobs; what has no room in a column goes on below."""
    count = len(compared.jobs)
    names = [*(label(each) for each in compared.rows), *(_(each) for each in PARTS.values())]
    widest = _WIDE_NAME if count <= 2 else _NAME_WIDTH
    name_width = min(widest, max(map(cell_len, names)))
    column = max(_LEAST_COLUMN, (width - name_width - 2 * count) // max(1, count))
    lines: list[Content] = []
    for part, title in PARTS.items():
        rows = [each for each in compared.rows if each.part == part]
        if not rows:
            continue
        letters = "".join(f"  {job.letter:<{column}}" for job in compared.jobs)
        named = glyphs.fit(_(title), name_width)
        lines.append(Content.assemble((named, "bold"), (letters.rstrip(), "bold")))
        for row in rows:
            lines += _row_lines(compared, row, name_width, column)
    return lines or [Content(_("They differ in nothing that is known."))]


def _row_lines(
    compared: JobsCompared, row: DifferenceRow, name_width: int, column: int
) -> list[Content]:
    cells = [
        visible(value_text(row.name, value)) + (" *" if job.letter == row.better else "")
        for job, value in zip(compared.jobs, row.values, strict=True)
    ]
    columns = [_pieces(visible(label(row)), name_width), *(_pieces(each, column) for each in cells)]
    lines = []
    for index in range(max(map(len, columns))):
        parts: list[Part] = []
        for place, pieces in enumerate(columns):
            wide = column if place else name_width
            text = pieces[index] if index < len(pieces) else ""
            padded = text + " " * max(0, wide - cell_len(text))
            better = place > 0 and compared.jobs[place - 1].letter == row.better
            style = "dim" if not place else "bold $success" if better else ""
            parts += ["  " if place else "", (padded, style)]
        lines.append(Content.assemble(*parts))
    return lines


def _pieces(text: str, width: int) -> list[str]:
    """A text in pieces of at most so many cells, between words where one fits."""
    return [each.plain.rstrip() for each in Content(text).wrap(width)] or [""]


def _end(job: ComparedJob) -> str:
    """The newest of both losses."""
    told = []
    for series in job.curve.series:
        if series.last is not None and series.name in LOSSES:
            word = _("training") if series.name == "loss" else _("held-out part")
            told.append(f"{word} {number(series.last, 3)}")
    return "  ".join(told)


def _below(head: Content, drawn: Drawn) -> Content:
    if not drawn.lines:
        return head + "\n" + _("There are too few points for a curve.")
    return Content("\n").join([head, *drawn.lines])


def _after(current: str, known: Sequence[str]) -> str:
    return known[(known.index(current) + 1) % len(known)]
