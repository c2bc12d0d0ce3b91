"""Help, made from the keys and the operations: nothing here is written twice."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _
from sophia_tui.tui import keys, words
from sophia_tui.tui.pages import Page, page_of
from sophia_tui.tui.parts import Part, title
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class HelpScreen(SophiaScreen):
    """What the screen beneath shows, its commands and its keys; then what counts everywhere."""

    CSS_PATH = "result.tcss"
    scopes = ("help",)

    def __init__(self, sophia: "Console", beneath: SophiaScreen) -> None:
        super().__init__(sophia)
        self.beneath = beneath

    def heading(self) -> str:
        return _("Help")

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body"):
            yield Plate(help_text(self.sophia, self.beneath.scopes), id="result")

    def footer(self) -> list[keys.Key]:
        return [each for each in super().footer() if each.target != "act.help"]

    def copied(self) -> str:
        return self.query_one("#result", Plate).text


def help_text(sophia: "Console", scopes: tuple[str, ...]) -> Content:
    """Everything there is, as far as this person may use it."""
    page = page_of(scopes)
    parts: list[Part] = [f"{_(each)}\n" for each in page.about]
    parts += _twins(sophia, page)
    for heading, found in (
        (_("Keys here"), keys.for_scopes(sophia.keys, scopes)),
        (_("Keys everywhere"), keys.for_scopes(sophia.keys, ("",))),
    ):
        offered = [each for each in found if sophia.offers(each)]
        if offered:
            parts += title(heading)
            wide = max(22, *(cell_len(_(each.text)) + 2 for each in offered))
            parts += [part for each in offered for part in _key_line(each, wide)]
    if "form" in scopes:
        parts.append(_("  In a field letters and digits are text: F1, F2, F3, ctrl+p, esc.") + "\n")
    parts.append(_("  Arrows, page up and down move; tab goes to the next part.") + "\n")
    parts += title(_("Operations"))
    for each in sophia.permitted():
        parts += _operation_lines(each)
    parts += ["\n", _("Keys are changed by SOPHIA_KEYS, e.g. act.refresh=f6,jobs.cancel=x.")]
    return Content.assemble(*parts)


def _twins(sophia: "Console", page: Page) -> list[Part]:
    """The commands that tell the same in a shell."""
    found = [each for each in sophia.permitted() if each.name in page.twins]
    if not found:
        return []
    parts = title(_("The same on the command line"), _("--json for scripts, --plain line by line"))
    for each in found:
        needed = " ".join(name.upper() for name in each.positional)
        parts += [(f"  {_command(each)} {needed}".rstrip(), "$accent"), "\n"]
    return parts


def _command(operation: Operation) -> str:
    verb = "" if operation.verb == "run" else f" {operation.verb}"
    return f"sophia {operation.subject}{verb}"


def _key_line(key: keys.Key, wide: int) -> list[Part]:
    """One key; `wide` is how many cells its text has before the target."""
    shown = " ".join((key.shown, *(other.upper() for other in key.others)))
    text = _(key.text)
    text += " " * (wide - cell_len(text))
    return [(f"  {shown:<14}", "$accent"), text, (key.target, "dim"), "\n"]


def _operation_lines(operation: Operation) -> list[Part]:
    note = ""
    if operation.danger is Danger.TYPE_NAME:
        note = "  " + _("asks for the name")
    elif operation.danger is Danger.CONFIRM:
        note = "  " + _("asks first")
    return [
        (f"  {words.operation_title(operation)}", "$accent"),
        (f"  {_command(operation)}{note}\n", "dim"),
        f"    {_(operation.help)}\n",
    ]
