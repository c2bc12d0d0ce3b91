"""Help, made from the keys and the operations: nothing here is written twice."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.tui import keys, words
from sophia_tui.tui.pages import ROAD, Page, page_of
from sophia_tui.tui.parts import Part, title
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class HelpScreen(SophiaScreen):
    """What the screen beneath shows, its keys and commands, the way through the loop, and what
    counts everywhere. All operations, which are many, come behind a key."""

    CSS_PATH = "result.tcss"
    scopes = ("help",)

    def __init__(self, sophia: "Console", beneath: SophiaScreen) -> None:
        super().__init__(sophia)
        self.beneath = beneath
        self._operations = False

    def heading(self) -> str:
        about = self.beneath.heading().partition("  ")[0]  # its name, without its counts
        return f"{_('Help')}: {about}" if about else _("Help")

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body"):
            yield Plate(help_text(self.sophia, self.beneath.scopes), id="result")

    def footer(self) -> list[keys.Key]:
        return [each for each in super().footer() if each.target != "act.help"]

    def act(self, name: str) -> bool:
        if name != "operations":
            return super().act(name)
        self._operations = not self._operations
        told = operations_text if self._operations else help_text
        self.query_one("#result", Plate).draw(told(self.sophia, self.beneath.scopes))
        self.query_one(VerticalScroll).scroll_home(animate=False)
        return True

    def copied(self) -> str:
        return self.query_one("#result", Plate).text


def help_text(sophia: "Console", scopes: tuple[str, ...]) -> Content:
    """The screen's own page first, as far as this person may use what it names."""
    page = page_of(scopes)
    parts: list[Part] = [f"{_(each)}\n" for each in page.about]
    first = "overview" in scopes
    if first:
        parts += _road(sophia)
    parts += _keys(sophia, _("Keys here"), scopes)
    if "form" in scopes:
        parts.append(_("  In a field letters and digits are text: F1, F2, F3, ctrl+p, esc.") + "\n")
    parts += _twins(sophia, page)
    if not first:
        parts += _road(sophia)
    parts += _keys(sophia, _("Keys everywhere"), ("",))
    parts.append(_("  Arrows, page up and down move; tab goes to the next part.") + "\n")
    count = len(sophia.permitted())
    told = ngettext(
        "o lists what can be asked, {count} operation; : finds one by a word of it.",
        "o lists what can be asked, {count} operations; : finds one by a word of it.",
        count,
    )
    parts += ["\n", told.format(count=number(count)), "\n"]
    parts.append(_("Keys are changed by SOPHIA_KEYS, e.g. act.refresh=f6,jobs.cancel=x."))
    return Content.assemble(*parts)


def operations_text(sophia: "Console", scopes: tuple[str, ...]) -> Content:
    """Everything there is to ask, each with its command."""
    parts = title(_("Operations"))[1:]
    for each in sophia.permitted():
        parts += _operation_lines(each)
    return Content.assemble(*parts)


def _keys(sophia: "Console", heading: str, scopes: tuple[str, ...]) -> list[Part]:
    offered = [each for each in keys.for_scopes(sophia.keys, scopes) if sophia.offers(each)]
    if not offered:
        return []
    wide = max(22, *(cell_len(_(each.text)) + 2 for each in offered))
    return [*title(heading), *(part for each in offered for part in _key_line(each, wide))]


def _road(sophia: "Console") -> list[Part]:
    """The loop from the first export to the way back, each step with its keys and its command."""
    screens = {
        each.target.removeprefix("screen."): each.shown
        for each in sophia.keys
        if each.target.startswith("screen.")
    }
    rows = []
    for name, screen, text in ROAD:
        if not sophia.may(name):
            continue
        pressed = [each for each in sophia.keys if (each.scope, each.target) == (screen, name)]
        shown = " ".join((screens[screen], *(each.shown for each in pressed)))
        rows.append((shown, _(text), _command(sophia.dispatcher.registry.get(name))))
    if not rows:
        return []
    wide = max(cell_len(text) for _shown, text, _command in rows) + 2
    parts = title(_("The way through"), _("a screen's digit, then its key"))
    for shown, text, command in rows:
        parts += [(f"  {shown:<5}", "$accent"), text + " " * (wide - cell_len(text))]
        parts += [(command, "dim"), "\n"]
    return parts


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
