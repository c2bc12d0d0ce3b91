"""The keys of Sophia's env file, each with its meaning and where its value comes from."""

from collections.abc import Sequence
from typing import Any, ClassVar

from textual.content import Content

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui.parts import Part, pairs
from sophia_tui.tui.screens.base import StylePath
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row

_FILE = "env file"
#: Keys that every process is given by its environment alone: a file can't hold them.
_NOT_HERE = ("SOPHIA_DATA_DIR", "SOPHIA_ENV_FILE")


class EnvironmentScreen(DetailScreen):
    """Opened over Set-up, which esc leads back to. Secrets come masked from the service."""

    CSS_PATH: ClassVar[StylePath] = ["table.tcss", "detail.tcss"]
    scopes: tuple[str, ...] = ("table", "list", "environment")
    name_of_screen = "environment"
    interval = 10.0

    def __init__(self, sophia: Any) -> None:
        super().__init__(sophia)
        self._env_file: str | None = None

    def heading(self) -> str:
        return _("Env keys")

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return [(_("Key"), 28), (_("From"), 12)]
        return [(_("Key"), 30), (_("Value"), self.room - 30 - 13 - 4), (_("From"), 13)]

    async def rows_of(self) -> list[Any]:
        found: Any = await self.sophia.call("settings.list", {})
        self._env_file = found.env_file
        known = {each.key for each in found.items}
        # what is set comes first: it is what one looks for
        items = sorted(found.items, key=lambda each: (each.source != _FILE, each.key))
        return [each for each in items if each.key not in _NOT_HERE] + await self._others(known)

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [("key", _("Key")), ("value", _("Value")), ("source", _("From"))]

    async def _others(self, known: set[str]) -> list[Any]:
        """Keys of the file that are no settings of Sophia's: proxies, a misspelt word."""
        if not self.sophia.may("env.list"):
            return []
        try:
            listed: Any = await self.sophia.call("env.list", {})
        except SophiaError as problem:
            if problem.exit_code == 5:
                raise
            self.say(visible(str(problem)))
            return []
        own = {each.file for each in listed.files if each.own}
        return [each for each in listed.items if each.file in own and each.key not in known]

    def to_rows(self, data: list[Any]) -> list[Row]:
        return [Row(each.key, self._cells(each), each) for each in data]

    def _cells(self, item: Any) -> tuple[str, ...]:
        source = worded("source", getattr(item, "source", _FILE))
        value = _value(item)
        return (item.key, source) if self.wide else (item.key, value, source)

    def detail(self, row: Row, told: Any, width: int) -> Content:
        kind = getattr(told, "source", _FILE)
        source = worded("source", kind)
        if kind == _FILE and self._env_file:
            source = f"{source} {self._env_file}"
        about = getattr(told, "help", "") or _("Not one of Sophia's settings.")
        parts: list[Part] = [(visible(told.key), "bold"), "\n\n", visible(about), "\n\n"]
        parts += pairs(
            [
                (_("Value"), _value(told)),
                (_("From"), source),
                (_("Default"), getattr(told, "default", None) or "-"),
            ]
        )
        if kind == "sophia":
            parts.append("\n" + _("Sophia's own value counts before the env file's."))
        if kind == "environment":
            parts.append("\n" + _("The environment of this process counts before the env file."))
        return Content.assemble(*parts)

    def not_now(self, operation: str) -> str:
        row = self.shown
        if operation in ("act.change", "env.unset") and row is None:
            return _("There is no key here.")
        elsewhere = row is not None and getattr(row.data, "source", _FILE) != _FILE
        if operation == "env.unset" and elsewhere:
            return _("It does not stand in the env file.")
        return super().not_now(operation)

    def prefill(self, operation: str) -> dict[str, Any]:
        row = self.shown
        return {"key": row.key} if row is not None and operation == "env.unset" else {}

    def act(self, name: str) -> bool:
        if name != "change":
            return super().act(name)
        row = self.shown
        if row is None or not self.sophia.may("env.set"):
            self.say(_("{name} is not allowed for you.").format(name="env.set"))
            return True
        from sophia_tui.tui.screens.env_value import EnvValueScreen

        self.sophia.show(EnvValueScreen(self.sophia, row.data, self._env_file))
        return True


def _value(item: Any) -> str:
    found = getattr(item, "value", None)
    return "-" if found is None or found == "" else str(found)
