"""Until when models answer that env files name; one in full, with how far the way off it is."""

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.content import Content

from sophia_tui.i18n import _
from sophia_tui.services.calendar_looks import days_or_state
from sophia_tui.services.calendar_views import CalendarEntry, CalendarView
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part, pairs, title
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row

HEALTH = {"ok": "ok", "warning": "attention", "urgent": "attention", "error": "problem"}
_STEP_HEALTH = {"done": "ok", "running": "attention", "failed": "problem"}


class CalendarScreen(DetailScreen):
    """Opened over another screen, which esc leads back to. It asks no provider by itself."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss"]
    scopes: tuple[str, ...] = ("table", "list", "calendar")
    name_of_screen = "calendar"
    interval = 5.0
    _asks = False

    def heading(self) -> str:
        return _("Models that end")

    def columns(self) -> Sequence[tuple[str, int]]:
        shape = [(_("Model"), 24), (_("Ends"), 14)]
        if not self.wide:
            shape += [(_("Key"), 16), (_("Day"), max(10, min(12, self.size.width - 66)))]
        return shape

    async def rows_of(self) -> CalendarView:
        asks, self._asks = self._asks, False
        found: Any = await self.sophia.call("models.calendar", {"refresh": asks})
        if asks:
            self.say(_("The providers were asked."))
        return found  # type: ignore[no-any-return]

    def to_rows(self, data: CalendarView) -> list[Row]:
        found: dict[str, Row] = {}
        for each in data.items:
            found.setdefault(
                f"{each.model}\n{each.key}\n{each.file}", Row("", self._cells(each), each)
            )
        return [Row(key, row.cells, row.data) for key, row in found.items()]

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [("ends", _("Ends")), ("model", _("Model")), ("key", _("Key"))]

    def _cells(self, found: CalendarEntry) -> tuple[str, ...]:
        sign = self.sophia.glyphs.health[HEALTH.get(found.severity, "unknown")]
        cells = (found.model, f"{sign} {days_or_state(found)}")
        return cells if self.wide else (*cells, found.key, str(found.ends or "-"))

    async def tell(self, row: Row) -> Any:
        found: CalendarEntry = row.data
        if not found.succession or not self.sophia.may("models.succession"):
            return None
        told: Any = await self.sophia.call("models.succession", {"model": found.succession})
        return told.items[0]

    def detail(self, row: Row, told: Any, width: int) -> Content:
        found: CalendarEntry = row.data
        glyphs = self.sophia.glyphs
        health = HEALTH.get(found.severity, "unknown")
        parts: list[Part] = [(visible(found.model), "bold"), "\n"]
        parts += [(f"{glyphs.health[health]} ", words.STYLES[health]), f"{visible(found.told)}\n\n"]
        as_of = words.shown(found.as_of) if found.as_of else _("never had")
        parts += pairs(
            [
                (_("Key"), f"{found.key} ({found.file})"),
                (_("Provider"), found.address),
                (_("Ends"), str(found.ends or "")),
                (_("Why this date"), found.why),
                (_("List as of"), as_of if found.address else ""),
                (_("Way out"), found.command),
            ]
        )
        if told is not None:
            parts += self._way(told)
        return Content.assemble(*parts)

    def _way(self, told: Any) -> list[Part]:
        """How far the way off it is, and what goes on with it."""
        glyphs = self.sophia.glyphs
        parts = title(_("Way off this model"), told.id)
        for each in told.steps:
            health = _STEP_HEALTH.get(each.state, "empty")
            parts += [(f"{glyphs.health[health]} ", words.STYLES[health]), each.title]
            parts += [(f"  {worded('state', each.state)}", "dim"), "\n"]
            if each.told:
                parts.append(f"    {visible(each.told)}\n")
        if told.next:
            parts += ["\n", (_("Next"), "bold"), f"  {visible(told.next)}\n"]
        return parts

    def act(self, name: str) -> bool:
        if name != "ask":
            return super().act(name)
        self._asks = True
        self.say(_("Asking the providers..."))
        self.refresh_now()
        return True

    def not_now(self, operation: str) -> str:
        if operation == "models.succeed":
            found = self.shown.data if self.shown else None
            if found is None or found.use != "asked" or found.state == "unserved":
                return _("There is nothing to move off here.")
        return super().not_now(operation)

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        return {"model": row.data.model} if row and operation == "models.succeed" else {}
