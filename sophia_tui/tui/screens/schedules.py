"""Schedules: what runs by the calendar; each is changed, run at once or removed from here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from textual.content import Content

from sophia_tui.i18n import _, moment_text
from sophia_tui.services.schedules import ScheduleView
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.result import result_text
from sophia_tui.tui.screens.table import Row

_OF_ONE = ("schedules.change", "schedules.remove", "schedules.run-now")


class SchedulesScreen(DetailScreen):
    """Opened over another screen, which esc leads back to."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss"]
    scopes: tuple[str, ...] = ("table", "list", "schedules")
    name_of_screen = "schedules"
    listing = "schedules.list"

    def heading(self) -> str:
        return _("Schedules")

    def columns(self) -> Sequence[tuple[str, int]]:
        shape = [(_("Schedule"), 20), (_("Next"), 16)]
        if not self.wide:
            shape += [(_("Operation"), 16), (_("Every"), max(8, min(14, self.size.width - 66)))]
        return shape

    async def rows_of(self) -> list[ScheduleView]:
        return await self.listed()

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [
            ("created_at", _("Created")),
            ("name", _("Schedule")),
            ("next_at", _("Next")),
            ("last_at", _("Last")),
            ("operation", _("Operation")),
            ("every", _("Every")),
            ("outcome", _("Outcome")),
            ("created_by", _("by")),
        ]

    def to_rows(self, data: list[ScheduleView]) -> list[Row]:
        return [Row(each.name, self._cells(each), each) for each in data]

    def _cells(self, found: ScheduleView) -> tuple[str, ...]:
        cells = (found.name, _moment(found.next_at) if found.enabled else _("off"))
        return cells if self.wide else (*cells, found.operation, found.every)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        return result_text(row.data, width)

    def not_now(self, operation: str) -> str:
        if operation in _OF_ONE and self.shown is None:
            return _("There is no schedule here.")
        return super().not_now(operation)

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        if row is None or operation not in _OF_ONE:
            return {}
        found: ScheduleView = row.data
        if operation != "schedules.change":
            seen = {"seen_version": found.version} if operation == "schedules.remove" else {}
            return {"schedule": found.name, **seen}
        return {
            "schedule": found.name,
            "every": found.every,
            "options": found.options,
            "timezone": found.timezone,
            "runs": "on" if found.enabled else "off",
            "seen_version": found.version,
        }


def _moment(at: datetime | None) -> str:
    return moment_text(at) if at else "-"
