"""A list and one of its rows in full: beside the list from 100 columns, in its place below."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.table import Row, Rows, TableScreen
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.domain.operations import Operation
    from sophia_tui.tui.screens.bulk import Target

WIDE = 100
#: Columns that the list keeps beside the detail, in the narrowest window that has room for both.
_LIST_WIDTH = 44


class DetailScreen(TableScreen):
    """Subclasses also say what else is asked about a row (`tell`) and how it is drawn (`detail`).

    enter opens a row, esc goes back to the list; in a wide window the detail follows the cursor.
    """

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss"]
    opened: str | None = None
    #: What `tell` answered, and for which row.
    told: Any = None
    told_of: str | None = None
    #: The marked row that a question of what can be done is about, in place of the one shown.
    _instead: Row | None = None

    @property
    def wide(self) -> bool:
        return self.size.width >= WIDE

    @property
    def room(self) -> int:
        """Cells that a row of the list has."""
        return self.list_width - 2 if self.wide else max(40, self.size.width - 2)

    @property
    def list_width(self) -> int:
        """Columns that the list keeps beside the detail: more of them in a wider window."""
        width = self.size.width
        return min(_LIST_WIDTH + max(0, width - WIDE) * 4 // 5, width // 2)

    def on_resize(self) -> None:
        super().on_resize()
        for each in self.query("#list"):
            each.styles.width = self.list_width if self.wide else "1fr"

    async def rows_of(self) -> Any:
        """The data behind the list. Raises SophiaError."""
        raise NotImplementedError

    async def tell(self, row: Row) -> Any:
        """What else there is to know about a row. Raises SophiaError."""
        return row.data

    def detail(self, row: Row, told: Any, width: int) -> Content:
        """One row in full, for `width` cells."""
        raise NotImplementedError

    def body(self) -> Iterable[Widget]:
        with Horizontal(classes="body"):
            with Vertical(id="list"):
                yield from super().body()
            with Vertical(id="detail"):
                yield from self.detail_body()

    def detail_body(self) -> Iterable[Widget]:
        with VerticalScroll(id="told"):
            yield Plate(id="lines")

    async def fetch(self) -> Any:
        data = await self.rows_of()
        rows = self.made_rows(data)
        wanted = self.opened or self._awaited
        if wanted and all(each.key != wanted for each in rows) and self.lacks_rows(len(rows)):
            return await self.fetch()  # it is further down the page
        if self.opened or self.wide:
            chosen = [each for each in rows if each.key == self.opened]
            if self.opened and not chosen:
                self.opened = self._awaited = None
            for row in (chosen or rows)[:1] if self.opened or self.wide else []:
                await self._tell(row)
        return data

    async def _tell(self, row: Row) -> None:
        try:
            told: Any = await self.tell(row)
        except SophiaError as problem:
            if problem.exit_code == 5:  # the store is away: that is the whole screen's trouble
                raise
            told = problem
        self.told, self.told_of = told, row.key

    def draw(self) -> None:
        super().draw()
        self.set_class(self.opened is not None, "-detail")
        self.draw_detail()

    def point_at(self, key: str) -> None:
        """Go to a row as soon as the list has it (a version that was just made)."""
        self._awaited = key
        if self.opened or self.wide:
            self.opened = key
        self.refresh_now()

    def drawn(self) -> None:
        self._follow_the_filter()
        if self.wide and self.table.to_end:
            return  # the cursor leads, and the detail follows it
        if self.opened and self.opened in self.rows and self.selected_key != self.opened:
            self.table.move_cursor(row=list(self.rows).index(self.opened))

    def _follow_the_filter(self) -> None:
        """Beside the list a row that the filter took away gives its place to the one marked now."""
        awaited = self.opened is not None and self.opened == self._awaited
        if not self.wide or self.opened in self.rows or awaited:
            return
        marked = self.selected_key
        if self.opened is None and (marked is None or self.told_of in (None, marked)):
            return
        self.opened = marked
        self.to_start()
        if marked is not None and self.told_of != marked:
            self.refresh_now()

    @property
    def shown(self) -> Row | None:
        """The row that the detail shows."""
        return self._instead or self.rows.get(self.opened or self.selected_key or "")

    def targets(self, operation: "Operation") -> "list[Target]":
        from sophia_tui.tui.screens.bulk import Target

        found = []
        for key in self.marked:
            row = self.row_of(key)
            if row is None:
                found.append(Target(key, {}, _("it was not found again")))
                continue
            self._instead = row
            try:
                given, why = self.prefill(operation.name), self.not_now(operation.name)
            finally:
                self._instead = None
            if given.get(operation.target or "") in (None, ""):
                found.append(Target(key, {}, why or _("there is nothing to do it on")))
            else:
                found.append(Target(key, given))
        return found

    def act_on_marked(self, target: str) -> bool:
        """What goes to one row alone takes the only marked one, else the one under the cursor; it
        says which."""
        if super().act_on_marked(target):
            return True
        registry = self.sophia.dispatcher.registry
        if not self._marked or target not in registry or not registry.get(target).one_only:
            return False
        marked = self.marked
        self._instead = self.row_of(marked[0]) if len(marked) == 1 else None
        try:
            row, given, why = self.shown, self.prefill(target), self.not_now(target)
        finally:
            self._instead = None
        if row is None or not given.get(registry.get(target).target or ""):
            return False
        if why:
            self.say(why)
            return True
        self.sophia.open(target, given)
        told = _("For one alone: {target}").format(target=visible(row.key))
        self.app.call_after_refresh(self.sophia.tell, told)
        return True

    def to_mark(self) -> Row | None:
        return self.shown

    @property
    def detail_width(self) -> int:
        beside = self.size.width - self.list_width - 1 if self.wide else self.size.width
        return max(30, beside - 1)

    def draw_detail(self) -> None:
        lines = self.query_one("#lines", Plate)
        row = self.shown
        if row is None or self.state == "loading":
            lines.draw("")
        elif self.told_of != row.key:
            lines.draw(_("Loading..."))
        elif isinstance(self.told, SophiaError):
            lines.draw(error_text(self.told, self.sophia.log_path))
        else:
            lines.draw(self.detail(row, self.told, self.detail_width))

    def open_row(self, row: Row) -> None:
        self.follow(row.key)
        self.query_one("#told", VerticalScroll).focus()

    def follow(self, key: str | None) -> None:
        """Open the detail of a row, or close it with None."""
        if key != self.opened and self.is_mounted:
            self.to_start()
        self.opened = key
        if key is not None and key not in self.rows:
            self._awaited = key
        if self.is_mounted and self.data is not None:
            self._draw_all()
        self.refresh_now()

    def to_start(self) -> None:
        """Scroll to where the detail of another row is read from."""
        self.query_one("#told", VerticalScroll).scroll_home(animate=False)

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        # beside the list the detail follows the cursor; alone it stays with the opened row
        key = self.selected_key
        if self.wide and key and key != self.opened and self.table.has_focus:
            self.follow(key)

    def footer(self) -> list[keys.Key]:
        """While a row takes the list's place, the way back stands in place of opening."""
        found = super().footer()
        if self.opened is None or self.wide:
            return found
        rank = next((each.rank for each in found if each.target == "act.open"), 0)
        return [
            replace(each, rank=rank) if each.target == "act.back" else each
            for each in found
            if each.target != "act.open"
        ]

    def act(self, name: str) -> bool:
        if name == "filter" and self.opened and not self.wide:
            self.follow(None)  # the filter stands above the list
        if name == "back" and self.opened and not self.wide:
            self.follow(None)
            self.table.focus()
            return True
        if name == "back" and self.query_one("#told").has_focus:
            self.table.focus()
            return True
        return super().act(name)

    def copied(self) -> str:
        return "\n".join(self.marked) or self.opened or self.selected_key or ""

    def memory(self) -> dict[str, Any]:
        kept = super().memory()
        return {**kept, "opened": self.opened} if self.opened else kept

    def recall(self, kept: dict[str, Any]) -> None:
        opened = kept.get("opened")
        self.opened = opened if isinstance(opened, str) else self.opened
        super().recall(kept)
