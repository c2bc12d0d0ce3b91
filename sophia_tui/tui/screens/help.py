"""Help, made from the keys and the operations: nothing here is written twice."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.form import operation_title
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp


class HelpScreen(SophiaScreen):
    """Keys of the screen beneath first, then those of everywhere, then the operations."""

    CSS_PATH = "result.tcss"
    scopes = ("help",)

    def __init__(self, sophia: "SophiaApp", beneath: SophiaScreen) -> None:
        super().__init__(sophia)
        self.beneath = beneath

    def heading(self) -> str:
        return _("Help")

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body"):
            yield Plate(help_text(self.sophia, self.beneath.scopes), id="result")

    def copied(self) -> str:
        return self.query_one("#result", Plate).text


def help_text(sophia: "SophiaApp", scopes: tuple[str, ...]) -> Content:
    """Everything there is, as far as this person may use it."""
    parts: list[str | tuple[str, str]] = []
    for title, found in (
        (_("Keys here"), keys.for_scopes(sophia.keys, scopes)),
        (_("Keys everywhere"), keys.for_scopes(sophia.keys, ("",))),
    ):
        offered = [each for each in found if sophia.offers(each)]
        if offered:
            parts += [(title, "bold"), "\n"]
            parts += [part for each in offered for part in _key_line(each)]
            parts.append("\n")
    parts += [(_("Operations"), "bold"), "\n"]
    for each in sophia.permitted():
        parts += _operation_lines(each)
    parts += ["\n", _("Keys are changed by SOPHIA_KEYS, e.g. act.refresh=f6,jobs.cancel=x.")]
    return Content.assemble(*parts)


def _key_line(key: keys.Key) -> list[str | tuple[str, str]]:
    shown = " ".join((key.shown, *(other.upper() for other in key.others)))
    return [(f"  {shown:<14}", "$accent"), f"{_(key.text):<22}", (key.target, "dim"), "\n"]


def _operation_lines(operation: Operation) -> list[str | tuple[str, str]]:
    note = ""
    if operation.danger is Danger.TYPE_NAME:
        note = "  " + _("asks for the name")
    elif operation.danger is Danger.CONFIRM:
        note = "  " + _("asks first")
    verb = "" if operation.verb == "run" else f" {operation.verb}"
    return [
        (f"  {operation_title(operation)}", "$accent"),
        (f"  sophia {operation.subject}{verb}{note}\n", "dim"),
        f"    {_(operation.help)}\n",
    ]
