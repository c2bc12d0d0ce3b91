"""Set-up: each check with its state and remedy, and the source's tables, column by column."""

from collections.abc import Sequence
from typing import Any

from textual.content import Content

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Cell, Part, grid, pairs, title
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row


class SetupScreen(DetailScreen):
    """Rows are the checks, then the tables that the source has or lacks."""

    scopes = ("table", "setup")
    name_of_screen = "setup"
    interval = 10.0

    def heading(self) -> str:
        return _("Set-up")

    def columns(self) -> Sequence[tuple[str, int]]:
        name = 24 if not self.wide else 27
        shape = [(_("State"), 13), (_("Check"), name)]
        return shape if self.wide else [*shape, (_("Found"), self.room - name - 13 - 4)]

    async def rows_of(self) -> list[Any]:
        checked: Any = await self.sophia.call("setup.check", {})
        found = list(checked.items)
        store = next((each for each in found if each.name == _("Sophia's store")), None)
        if store is not None and store.state == "problem":
            self.sophia.store_away()
        try:
            tables: Any = await self.sophia.call("source.inspect", {})
        except SophiaError:
            return found  # why the source does not answer stands in its check
        return [*found, *tables.items]

    def to_rows(self, data: list[Any]) -> list[Row]:
        return [self._row(each) for each in data]

    def _row(self, item: Any) -> Row:
        if hasattr(item, "table"):
            name = _("table {name}").format(name=item.table)
            found = item.problem or item.note or _about(item)
        else:
            name, found = item.name, item.found
        cells = (state_sign(_state(item), self.sophia.glyphs), name)
        return Row(name, cells if self.wide else (*cells, found), item)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        glyphs, state = self.sophia.glyphs, _state(told)
        parts: list[Part] = [(visible(row.key), "bold"), "  "]
        parts += [(state_sign(state, glyphs), words.STYLES[state]), "\n\n"]
        if not hasattr(told, "table"):
            parts.append(visible(told.found) + "\n")
            if told.remedy:
                parts += ["\n", (_("What to do") + "\n", "bold"), visible(told.remedy), "\n"]
            return Content.assemble(*parts)
        rows = None if told.rows_estimate is None else number(told.rows_estimate)
        parts += pairs(
            [
                (_("Found as"), told.found or ""),
                (_("Kind"), worded("kind", told.kind) or ""),
                (_("Rows, about"), rows or ""),
                (_("Problem"), told.problem),
                (_("Note"), told.note),
            ]
        )
        if told.columns:
            lines: list[list[Cell]] = [
                [
                    each.column,
                    each.found or "-",
                    _("needed") if each.required else "",
                    each.problem or (_("ok") if each.usable else _("not usable")),
                ]
                for each in told.columns
            ]
            parts += title(_("Columns"))
            parts += grid([_("Column"), _("Type"), "", _("State")], lines, width, glyphs)
        return Content.assemble(*parts)


def state_sign(state: str, glyphs: words.Glyphs) -> str:
    """A state as a sign and its word: never by colour alone."""
    return f"{glyphs.health.get(state, '?')} {worded('state', state)}"


def _state(item: Any) -> str:
    if not hasattr(item, "table"):
        return str(item.state) if item.state in words.STYLES else "unknown"
    if item.usable:
        return "ok"
    return "empty" if item.found is None else "attention"


def _about(table: Any) -> str:
    if table.found is None:
        return _("not there")
    rows = "" if table.rows_estimate is None else number(table.rows_estimate)
    return " ".join(
        each
        for each in (
            table.found,
            rows
            and ngettext("about {n} row", "about {n} rows", table.rows_estimate).format(n=rows),
        )
        if each
    )
