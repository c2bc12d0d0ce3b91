"""Settings: key, value and where it comes from; one in full with its meaning."""

from collections.abc import Sequence
from typing import Any

from textual.content import Content

from sophia_tui.i18n import _
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui.parts import Part, pairs
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row


class SettingsScreen(DetailScreen):
    """Secrets come masked from the service; only what Sophia keeps is changed here."""

    scopes = ("table", "list", "settings")
    name_of_screen = "settings"
    listing = "settings.list"
    interval = 5.0

    def __init__(self, sophia: Any) -> None:
        super().__init__(sophia)
        self._env_file: str | None = None

    def heading(self) -> str:
        return _("Settings")

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return [(_("Setting"), 28), (_("From"), 12)]
        return [(_("Setting"), 30), (_("Value"), self.room - 30 - 13 - 4), (_("From"), 13)]

    async def rows_of(self) -> list[Any]:
        return await self.listed()

    def noted(self, found: Any) -> None:
        self._env_file = found.env_file

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [("key", _("Setting")), ("value", _("Value")), ("source", _("From"))]

    def to_rows(self, data: list[Any]) -> list[Row]:
        return [Row(each.key, self._cells(each), each) for each in data]

    def _cells(self, item: Any) -> tuple[str, ...]:
        source = worded("source", item.source)
        return (item.key, source) if self.wide else (item.key, _told(item.value), source)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        source = worded("source", told.source)
        if told.source == "env file" and self._env_file:
            source = f"{source} {self._env_file}"
        kept = _("yes") if told.changeable else _("no: set it in the environment or in the .env")
        parts: list[Part] = [(visible(told.key), "bold"), "\n\n", visible(told.help), "\n\n"]
        parts += pairs(
            [
                (_("Value"), _told(told.value)),
                (_("From"), source),
                (_("Default"), _told(told.default)),
                (_("Kept by Sophia"), kept),
            ]
        )
        return Content.assemble(*parts)

    def not_now(self, operation: str) -> str:
        row = self.shown
        if operation not in ("settings.set", "settings.unset") or row is None:
            return super().not_now(operation)
        if row.data.changeable:
            return ""
        return _("Sophia does not keep {key}: set it in the environment or in the .env.").format(
            key=visible(row.key)
        )

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        if operation not in ("settings.set", "settings.unset") or row is None:
            return {}
        given = {"key": row.key, "seen_value": row.data.value or ""}
        if operation == "settings.set" and row.data.changeable and row.data.value is not None:
            given["value"] = row.data.value
        return given


def _told(value: str | None) -> str:
    """A switch by a word; it is typed as it stands in the environment."""
    switches = {"True": _("yes"), "False": _("no")}
    return switches.get(value or "", value or "-")
