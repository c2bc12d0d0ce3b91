"""The ways through a data file, page by page: lines, issues, what is searched for.

What takes long runs beside the screen: esc stops it, and the page stays as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.errors import CancelledError, SophiaError
from sophia_tui.i18n import _, number
from sophia_tui.services.browse_views import BrowseOutput
from sophia_tui.textsafe import visible
from sophia_tui.tui.finding import Wanted
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.state import Origin

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Records on one page, and characters of each that a list needs.
PAGE = 100
_LISTED_CHARS = 400
#: Bytes of a file that is quickly read as a whole, so that hits are counted with a search.
_COUNTED_BYTES = 32 * 1024 * 1024
#: A line that no file has: what is looked for before it is looked for from the end.
_BEYOND = 100_000_000_000
#: Pages that are turned to reach the end of a file whose lines are of other lengths there.
_PAGES_ON = 8


class WaysScreen(DetailScreen):
    """Subclasses draw the page that stands in `data`. `request` names file and part."""

    def __init__(
        self, sophia: "Console", request: Mapping[str, Any], first: BrowseOutput | None = None
    ) -> None:
        super().__init__(sophia)
        self.of = {name: request[name] for name in ("file", "part") if request.get(name)}
        self._shape = {
            "count": int(request.get("count") or PAGE),
            "chars": int(request.get("chars") or _LISTED_CHARS),
        }
        self.code: str = str(request.get("code") or "")
        self.wanted = Wanted()
        #: How many lines hold what is searched for, where that was counted; the place among them
        #: of the last one that was gone to, and its line.
        self.counted: tuple[int, int] | None = None
        self.hit: int | None = None
        #: Whether a long record is to be turned to where it was found.
        self.seek_hit = False
        #: Which page of a long record is shown, from 0.
        self.part = 0
        #: Where the page begins, and where the pages before it did.
        self._place: dict[str, Any] = {"line": int(request.get("line") or 1)}
        if request.get("exact"):
            self._place["exact"] = True
        self._before: list[dict[str, Any]] = []
        self._first = first
        self._came_to(dict(request))
        #: Stops the reading of the page that is shown.
        self.looking = CancelSignal()

    @property
    def request(self) -> dict[str, Any]:
        """What opens the screen at the page that it shows, as plain data."""
        return dict(self.origin.request) if self.origin else {}

    def _came_to(self, request: dict[str, Any]) -> None:
        self.origin = Origin("answer", "prepare.browse", request)

    async def rows_of(self) -> BrowseOutput:
        if self._first is not None:
            kept: BrowseOutput = self._first
            self._first = None
            return kept
        self.looking = CancelSignal()
        return await self._page(self._place, cancel=self.looking, progress=self._progress())

    async def _page(self, place: Mapping[str, Any], **given: Any) -> BrowseOutput:
        asked = {**self.of, **self._shape, **place}
        answer: Any = await self.sophia.call("prepare.browse", asked, **given)
        found: BrowseOutput = answer
        return found

    @property
    def line(self) -> int:
        """The line under the cursor."""
        row = self.selected
        return row.data.line if row else int(self._place["line"])

    def ways(self) -> dict[str, Callable[[], None]]:
        """The acts that lead somewhere, by name."""
        return {
            "next_page": self._next_page,
            "previous_page": self._previous_page,
            "first_page": partial(self._go, {"line": 1}),
            "last_page": self._last_page,
            "next_hit": partial(self.search, True),
            "previous_hit": partial(self.search, False),
            "next_issue": partial(self.go_to_issue, "next"),
            "previous_issue": partial(self.go_to_issue, "previous"),
            "exact": self._make_exact,
        }

    # -- pages and lines

    def _next_page(self) -> None:
        data: BrowseOutput | None = self.data
        if data is None or data.next_line is None:
            self.say(_("There is no other page."))
            return
        place: dict[str, Any] = {"line": data.next_line}
        if not data.compression:
            place["at"] = data.next_at
        elif data.next_line > 1:
            place["exact"] = True  # what was read up to here may be read again
        self._work("page", self._shown_at(place, way=[*self._before, self._place]))

    def _previous_page(self) -> None:
        if self._before:
            before = self._before.pop()
            self._work("page", self._shown_at(before, way=[*self._before]))
            return
        line = int(self._place["line"])
        if line <= 1:
            self.say(_("There is no other page."))
            return
        self._go(
            {
                "line": max(1, line - self._shape["count"]),
                "exact": bool(self.data and self.data.exact),
            }
        )

    def _last_page(self) -> None:
        data: BrowseOutput | None = self.data
        if data is None or data.next_line is None:
            self.say(_("This is the last page."))
        elif data.compression:
            self.say(_("A compressed file or a table has no jumps: n reads on."))
        elif data.lines is not None:
            self._go({"line": max(1, data.lines - self._shape["count"] + 1), "exact": data.exact})
        else:
            self._work("page", self._near_the_end(data))

    async def _near_the_end(self, data: BrowseOutput) -> None:
        """Without counting through the file: so far before its end as a page is long, then on."""
        length = data.bytes // max(1, data.lines_about or 1)
        at = max(0, data.bytes - length * self._shape["count"])
        line = max(1, (data.lines_about or 1) - self._shape["count"])
        place: dict[str, Any] = {"line": line, "at": at}
        for _try in range(_PAGES_ON):
            found = await self._page(place, **self._given())
            if found.next_line is None:
                break
            place = {"line": found.next_line, "at": found.next_at}
        await self._shown_at(place)

    def go_to_line(self, text: str) -> None:
        """As a person typed it."""
        try:
            line = int("".join(sign for sign in text if sign not in ".,_ "))
        except ValueError:
            line = 0
        if line < 1:
            self.say(_("A line is a whole number from 1 on."))
            return
        self._go({"line": line})

    def _go(self, place: dict[str, Any]) -> None:
        self._work("page", self._shown_at(place))

    def _make_exact(self) -> None:
        self._work("exact", self._shown_at({"line": self.line, "exact": True}))

    def go_to_issue(self, way: str, here: bool = False) -> None:
        """The next or the previous record with something wrong, of the chosen code alone."""
        line = self.line + (1 if way == "next" and not here else 0)
        place: dict[str, Any] = {"line": line, "issue": way}
        if self.code:
            place["code"] = self.code
        if self.data is not None and self.data.exact:
            place["exact"] = True
        self._work("issue", self._shown_at(place))

    async def _shown_at(self, place: dict[str, Any], way: Sequence[dict[str, Any]] = ()) -> None:
        """Show the page there; the cursor goes to its first line. `way` are the pages that led
        there one after the other."""
        found = await self._page(place, **self._given())
        if not found.found:
            back = place.get("issue") == "previous"
            text = _("There is no such issue before here.") if back else ""
            self.say(text or _("There is no such issue from here on."))
            return
        if not found.items:
            self.say(_("There is no such line."))
            return
        first = found.items[0]
        kept: dict[str, Any] = {"line": first.line}
        if found.compression:
            kept["exact"] = True
        else:
            kept["at"] = first.at
        again = self.opened is not None and not self.wide  # a record stood in the list's place
        self._place, self._before, self.data = kept, list(way), found
        self._came_to({**self.request, "line": first.line})
        self.opened = str(first.line) if again else None
        self.part = 0
        self.state = "full"
        self._draw_all()
        self.table.move_cursor(row=0)
        self.refresh_now()

    # -- what is searched for

    def search(self, on: bool, here: bool = False) -> None:
        """Go to the next record that has it, or to the one before; round the end, which is said."""
        line = self.line + (1 if on and not here else 0)
        self._work("search", self._search(line, on))

    async def _search(self, line: int, on: bool) -> None:
        found = await self._hits(line, on)
        around = ""
        if not found.items and found.total != 0 and (line > 1 or not on):
            found = await self._hits(1 if on else _BEYOND, on)
            around = _("from the beginning again") if on else _("from the end again")
        if found.total is not None and found.passed is not None:
            self.counted = (found.passed + 1 if on else found.passed, found.total)
        if not found.items:
            self.say(_("No record has it."))
            self._draw_all()
            return
        hit = found.items[0]
        self.hit, self.seek_hit = hit.line, True
        await self._shown_at({"line": hit.line, "exact": True})
        told = visible(f"{hit.before}{hit.found}{hit.after}")
        self.say(f"{around}: {told}" if around else told)

    async def _hits(self, line: int, on: bool) -> Any:
        """The next one, or the one before; counted where that is quickly done."""
        asked: dict[str, Any] = {**self.of, **self.wanted.asked, "line": line, "limit": 1}
        data: BrowseOutput | None = self.data
        if data is not None and data.bytes <= _COUNTED_BYTES and not data.compression:
            asked["count"] = True
        return await self.sophia.call(
            "prepare.search", asked | ({} if on else {"backwards": True}), **self._given()
        )

    # -- work beside the screen

    def _given(self) -> dict[str, Any]:
        return {"cancel": self.running, "progress": self._progress()}

    def _progress(self) -> Callable[[Progress], None]:
        told = ProgressText(self.sophia.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None:
                self.say(text)

        return progress

    def _work(self, name: str, work: Any) -> None:
        if self.running is not None:
            work.close()
            self.say(_("Something is running here; esc stops it."))
            return
        self.running = CancelSignal()
        self.say("")
        self.run_worker(self._worked(work), name=name, group="work")

    async def _worked(self, work: Any) -> None:
        try:
            await work
        except CancelledError:
            self.say(_("Stopped."))
        except SophiaError as problem:
            self.say(visible(str(problem)))
        finally:
            self.running = None
            if self.is_mounted:
                self.redraw()

    def on_unmount(self) -> None:
        self.looking.request()
        if self.running is not None:
            self.running.request()

    def counted_text(self) -> str:
        """Which one of how many, where that was counted."""
        if self.counted is None:
            return ""
        return _("{n} of {total}").format(n=number(self.counted[0]), total=number(self.counted[1]))
