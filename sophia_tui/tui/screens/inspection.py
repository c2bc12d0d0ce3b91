"""The report of an inspection: what the files hold, each issue with its lines, what else was asked.

It reads while it is opened, with progress; esc stops that. A report of files that are as they were
is shown at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.domain.passages import Passage, Share, Table
from sophia_tui.errors import CancelledError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.inspect import (
    DestinationView,
    Distribution,
    FoundIssue,
    InspectedFile,
    InspectOutput,
)
from sophia_tui.services.inspection_words import SEVERITIES, VERDICTS, Teller
from sophia_tui.services.passed_over import PassedFile, not_read
from sophia_tui.services.quality import percent
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.parts import Part, grid, pairs, title
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.result import plain_parts
from sophia_tui.tui.screens.table import Row
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_HEALTH = {"error": "problem", "warning": "attention", "note": "empty"}
_BAR = 24
_VERDICT_HEALTH = {"ready": "ok", "after_preparing": "attention", "unfit": "problem"}


class InspectionScreen(DetailScreen):
    """Opened over another screen, which esc leads back to."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss", "browser.tcss"]
    scopes: tuple[str, ...] = ("table", "inspection")
    name_of_screen = "inspection"
    interval = 86_400.0  # reading all files anew is asked for, never done by itself

    def __init__(
        self,
        sophia: "Console",
        request: Mapping[str, Any],
        first: InspectOutput | None = None,
    ) -> None:
        super().__init__(sophia)
        # a report is read again where the files changed, not because it was once asked for anew
        self.request = {name: request[name] for name in request if name not in ("again", "issues")}
        self._first = first
        #: The last report and what it was asked with: esc leads back to it from the next one.
        self._last: tuple[InspectOutput, dict[str, Any]] | None = None

    def heading(self) -> str:
        return _("Inspection")

    def body(self) -> Iterable[Widget]:
        yield Plate(id="where")
        yield from super().body()

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return [("", 1), (_("What"), 27), (_("Rows"), 10)]
        shape = [("", 1), (_("What"), 34), (_("Rows"), 9)]
        return [*shape, ("", max(10, self.room - 44 - 8))]

    async def rows_of(self) -> InspectOutput:
        report = self._first if self._first is not None else await self._inspected()
        self._last = report, dict(self.request)
        return report

    async def _inspected(self) -> InspectOutput:
        self.running = CancelSignal()
        told = ProgressText(self.sophia.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None:
                self.say(text)

        stopped = ""
        try:
            answer: Any = await self.sophia.call(
                "prepare.inspect", self.request, cancel=self.running, progress=progress
            )
        except CancelledError:
            if self._last is None:
                raise
            answer, self.request = self._last
            stopped = _("Stopped.")
        finally:
            self.running = None
            self.say(stopped)
        report: InspectOutput = answer
        return report

    def on_screen_suspend(self) -> None:
        super().on_screen_suspend()
        self._first = None  # files may be others when one comes back

    def on_unmount(self) -> None:
        if self.running is not None:
            self.running.request()

    def to_rows(self, data: InspectOutput) -> list[Row]:
        rows = [Row("summary", self._cells("ok", _("All together"), data.rows, _("rows")), data)]
        for place in data.destinations:
            health = _VERDICT_HEALTH.get(place.verdict, "unknown")
            cells = self._cells(health, place.name, None, _verdict(place))
            rows.append(Row(f"destination {place.destination}", cells, place))
        for each in data.files:
            name = each.file.rsplit("/", 1)[-1]
            health = "ok" if each.usable == each.rows else "attention"
            told = _("{usable} usable").format(usable=number(each.usable))
            rows.append(Row(f"file {each.file}", self._cells(health, name, each.rows, told), each))
        for found in data.issues:
            cells = self._cells(_health(found), found.code, found.count, found.reason)
            rows.append(Row(f"issue {found.code}", cells, found))
        for unread in data.passed_over:
            cells = self._cells(
                "empty", unread.file, None, _("not read: {why}").format(why=unread.reason)
            )
            rows.append(Row(f"passed {unread.file}", cells, unread))
        for name, passage in zip(data.sections, Teller(data).sections(), strict=True):
            cells = self._cells("empty", visible(passage.title), None, _("enter shows it"))
            rows.append(Row(f"section {name}", cells, passage))
        return rows

    def _cells(self, health: str, what: str, rows: int | None, told: str) -> tuple[str, ...]:
        count = "" if rows is None else number(rows)
        cells = (self.sophia.glyphs.health[health], what, count, told)
        return cells[:3] if self.wide else cells

    def draw(self) -> None:
        super().draw()
        data: InspectOutput | None = self.data
        text = ""
        if data is not None:
            text = ngettext(
                "{rows} row, {usable} usable, {duplicates} exact duplicates",
                "{rows} rows, {usable} usable, {duplicates} exact duplicates",
                data.rows,
            ).format(
                rows=number(data.rows),
                usable=number(data.usable),
                duplicates=number(data.duplicates),
            )
            if data.kept:
                text += "   " + _("a kept report")
        self.query_one("#where", Plate).draw(text)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        parts: list[Part] = []
        if isinstance(row.data, InspectOutput):
            parts = self._summary(row.data, width)
        elif isinstance(row.data, InspectedFile):
            parts = _file(row.data)
        elif isinstance(row.data, DestinationView):
            parts = self._destination(row.data)
        elif isinstance(row.data, PassedFile):
            told = not_read(row.data.file, row.data.code)
            parts = [(visible(row.data.file), "bold"), f"\n\n{told}\n"]
        elif isinstance(row.data, FoundIssue):
            parts = self._issue(row.data)
        else:
            parts = _passage(row.data, width, self.sophia.glyphs)
        return Content.assemble(*parts)

    def _destination(self, found: DestinationView) -> list[Part]:
        health = _VERDICT_HEALTH.get(found.verdict, "unknown")
        sign = self.sophia.glyphs.health[health]
        parts: list[Part] = [
            (visible(found.name), "bold"),
            "\n",
            (f"{sign} {_verdict(found)}\n", words.STYLES[health]),
        ]
        for heading, sentences in ((_("Why"), found.why), (_("What to do"), found.todo)):
            if sentences:
                parts += [*title(heading), *(f"{visible(each)}\n" for each in sentences)]
        return parts

    def _issue(self, found: FoundIssue) -> list[Part]:
        health = _health(found)
        sign = self.sophia.glyphs.health[health]
        severity = SEVERITIES.get(found.severity, found.severity)
        parts: list[Part] = [
            (visible(found.code), "bold"),
            "  ",
            (f"{sign} {visible(_(severity))}", words.STYLES[health]),
            f"\n{visible(found.reason)}\n\n",
            *pairs([(_("Lines"), number(found.count))]),
            *title(_("The first places"), _("b looks into them")),
        ]
        return [*parts, *(f"{visible(place)}\n" for place in found.places)]

    def _summary(self, data: InspectOutput, width: int) -> list[Part]:
        glyphs = self.sophia.glyphs
        forms = [[each.form, number(each.rows)] for each in data.forms]
        roles = [[number(each.rows), each.roles] for each in data.roles[:10]]
        parts: list[Part] = [
            *pairs(
                [
                    (_("Lines"), number(data.lines)),
                    (_("Rows"), number(data.rows)),
                    (_("Usable"), number(data.usable)),
                    (_("Exact duplicates"), number(data.duplicates)),
                ]
            )
        ]
        if forms:
            parts += [*title(_("Formats")), *grid(["", ""], forms, width, glyphs)]
        if roles:
            parts += [*title(_("Roles in their order")), *grid(["", ""], roles, width, glyphs)]
        for heading, found in ((_("Turns"), data.turns), (_("Characters"), data.characters)):
            if found is not None:
                parts += [*title(heading), *_distribution(found, width, glyphs)]
        return parts

    # -- keys

    def footer(self) -> list[keys.Key]:
        return [
            each
            for each in super().footer()
            if (each.target != "act.look_into" or self._place() is not None)
            and (each.target != "act.everything" or not self.request.get("everything"))
        ]

    def _place(self) -> dict[str, Any] | None:
        """Where the record browser would begin for the row under the cursor."""
        row = self.shown
        if row is None or self.data is None:
            return None
        if isinstance(row.data, InspectedFile):
            return {"file": row.data.file}
        if isinstance(row.data, InspectOutput) and self.data.files:
            return {"file": self.data.files[0].file}
        if isinstance(row.data, FoundIssue) and row.data.places:
            name, _sign, line = row.data.places[0].rpartition(":")
            for each in self.data.files if line.isdigit() else ():
                if each.file.rsplit("/", 1)[-1] == name:
                    place = {"file": each.file, "line": int(line), "exact": True}
                    return {**place, "code": row.data.code}
        return None

    def prefill(self, operation: str) -> dict[str, Any]:
        path = self.request.get("path")
        declared = self.sophia.dispatcher.registry.get(operation)
        fields = declared.input.model_fields
        found = {"path": path} if path and "path" in fields else {}
        if "everything" in fields and self.request.get("everything"):
            found["everything"] = True
        place = self._place()
        if place and "file" in fields:
            found["file"] = place["file"]
        if place and "source" in fields:
            found["source"] = place["file"]
        return found

    def act(self, name: str) -> bool:
        if name == "back" and self.running is not None and not self.opened:
            again = self.running.requested
            self.running.request()
            return self._last is not None and not again  # without a report, leave
        if name == "refresh":
            self._first = None
            self.refresh_now()
            return True
        if name == "everything":
            self._first = None
            self.request["everything"] = True
            self.state, self.data = "loading", None
            self._draw_all()
            self.refresh_now()
            return True
        if name == "look_into":
            place = self._place()
            if place is None:
                self.say(_("Nothing to look into here: the arrow keys lead to files and issues."))
            else:
                from sophia_tui.tui.screens.browser import BrowserScreen

                self.sophia.show(BrowserScreen(self.sophia, place))
            return True
        return super().act(name)


def _verdict(found: DestinationView) -> str:
    return visible(_(VERDICTS.get(found.verdict, found.verdict)))


def _health(found: FoundIssue) -> str:
    return _HEALTH.get(found.severity, "unknown")


def _file(found: InspectedFile) -> list[Part]:
    return [
        (visible(found.file), "bold"),
        "\n\n",
        *pairs(
            [
                (_("Bytes"), number(found.bytes)),
                (_("Lines"), number(found.lines)),
                (_("Rows"), number(found.rows)),
                (_("Usable"), number(found.usable)),
            ]
        ),
        ("\n" + _("b looks into it") + "\n", "dim"),
    ]


def _passage(found: Passage, width: int, glyphs: words.Glyphs) -> list[Part]:
    parts: list[Part] = [(visible(found.title), "bold"), "\n"]
    for each in found.parts:
        if isinstance(each, str):
            parts.append(f"\n{visible(each)}\n")
        elif isinstance(each, Table):
            rows = [
                [percent(cell) if isinstance(cell, Share) else words.shown(cell) for cell in row]
                for row in each.rows
            ]
            parts += ["\n", *grid(each.titles, rows, width, glyphs)]
        else:
            parts += plain_parts(each, width)
    return parts


def _distribution(found: Distribution, width: int, glyphs: words.Glyphs) -> list[Part]:
    told = _("half up to {p50}, 95 % up to {p95}, the greatest {greatest}").format(
        p50=number(found.p50), p95=number(found.p95), greatest=number(found.greatest)
    )
    most = max((each.rows for each in found.histogram), default=0)
    rows = [
        [
            f"{number(each.least)}-{number(each.below - 1)}",
            number(each.rows),
            glyphs.bar(each.rows, most, min(_BAR, max(4, width - 40))),
        ]
        for each in found.histogram
    ]
    return [f"{told}\n", *grid(["", "", ""], rows, width, glyphs)]
