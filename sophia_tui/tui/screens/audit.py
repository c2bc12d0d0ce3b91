"""Log: who did what, when, from which face; newest first, one entry in full."""

from collections.abc import Sequence
from typing import Any

from textual.content import Content

from sophia_tui.i18n import _, moment_text, number
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.parts import Part, pairs, title
from sophia_tui.tui.screens.detail import DetailScreen
from sophia_tui.tui.screens.table import Row


def _time() -> str:
    return _("Time ({zone})").format(zone=words.zone())


#: Cells from which on a list beside the detail has outcome and person, and what a target takes.
_WITH_OUTCOME, _LEAST_TARGET = 56, 12
_HEALTH = {"done": "ok", "dry_run": "empty", "refused": "attention", "failed": "problem"}


def _outcome(outcome: str) -> str:
    """A word of the active language, English's too: what machines read has underscores."""
    return str(worded("outcome", outcome)).replace("_", " ")


class AuditScreen(DetailScreen):
    scopes = ("table", "list", "audit")
    name_of_screen = "audit"
    listing = "audit.list"
    interval = 5.0

    def heading(self) -> str:
        return _("Log")

    def columns(self) -> Sequence[tuple[str, int]]:
        if self.wide:
            return self._beside()
        rest = self.room - 14 - 8 - 17 - 14 - 8
        return [
            (_time(), 14),
            (_("Operation"), 17),
            (_("Outcome"), 14),
            (_("Who"), 8),
            (_("Target"), rest),
        ]

    def _beside(self) -> list[tuple[str, int]]:
        """Beside the detail; where there is no room for the outcome, its sign stands alone."""
        rest = self.room - 16
        if not self._tells_outcome:
            return [(_time(), 14), (_("Operation"), rest - 2)]
        shape = [(_time(), 14), (_("Operation"), min(18, rest - 27)), (_("Outcome"), 13)]
        shape.append((_("Who"), 8))
        target = rest - 20 - 25 - 2
        return [*shape, (_("Target"), target)] if target >= _LEAST_TARGET else shape

    @property
    def _tells_outcome(self) -> bool:
        return not self.wide or self.room >= _WITH_OUTCOME

    async def rows_of(self) -> list[Any]:
        return await self.listed()

    def sorts(self) -> Sequence[tuple[str, str]]:
        return [
            ("at", _time()),
            ("operation", _("Operation")),
            ("outcome", _("Outcome")),
            ("actor", _("Who")),
            ("target", _("Target")),
            ("face", _("From")),
            ("code", _("Code")),
            ("seconds", _("Seconds")),
        ]

    def to_rows(self, data: list[Any]) -> list[Row]:
        seen: dict[str, int] = {}
        rows = []
        for each in reversed(data):  # several entries of one moment are told apart from the oldest
            key = f"{each.at.isoformat()} {each.operation} {each.actor}"
            seen[key] = seen.get(key, 0) + 1
            rows.append(Row(f"{key} {seen[key]}", self._cells(each), each))
        return rows[::-1]

    def _cells(self, entry: Any) -> tuple[str, ...]:
        at = moment_text(entry.at, seconds=True, year=False)
        sign = self.sophia.glyphs.health[_HEALTH.get(entry.outcome, "unknown")]
        if not self._tells_outcome:
            return (at, f"{sign} {entry.operation}")
        outcome = f"{sign} {_outcome(entry.outcome)}"
        shown = (at, entry.operation, outcome, entry.actor, entry.target or "")
        return shown[: len(self.columns())]

    def detail(self, row: Row, told: Any, width: int) -> Content:
        style = words.STYLES[_HEALTH.get(told.outcome, "unknown")]
        parts: list[Part] = [(visible(told.operation), "bold"), "  "]
        parts += [(visible(_outcome(told.outcome)), style), "\n\n"]
        parts += pairs(
            [
                (_("Time"), words.shown(told.at)),
                (_("Who"), told.actor),
                (_("From"), told.face),
                (_("Role"), _(told.role)),
                (_("Target"), told.target or ""),
                (_("Code"), told.code or ""),
                (_("Seconds"), number(told.seconds, 3)),
            ]
        )
        if told.request:
            parts += title(_("Request"))
            parts += pairs((str(key), words.shown(each)) for key, each in told.request.items())
        return Content.assemble(*parts)

    def copied(self) -> str:
        row = self.shown
        return row.data.model_dump_json() if row else ""
