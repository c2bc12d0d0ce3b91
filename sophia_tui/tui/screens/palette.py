"""The command palette: operations, screens, acts as `verb: object`, found in both languages."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from sophia_tui.domain.operations import Operation
from sophia_tui.i18n import _
from sophia_tui.tui import words

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


@dataclass(frozen=True)
class Entry:
    """One line: what it opens, its name, its English alias, a sentence."""

    target: str
    name: str
    alias: str
    help: str = ""

    def matches(self, wanted: str) -> bool:
        text = f"{self.name} {self.alias} {self.help} {self.target}".casefold()
        return all(word in text for word in wanted.casefold().split())


def entries(sophia: "Console") -> list[Entry]:
    """Everything this person may do, operations first."""
    found = [_of_operation(each) for each in sophia.permitted()]
    seen: set[str] = set()
    for key in sophia.keys:
        if key.target in seen or not key.target.startswith(("screen.", "act.")) or key.scope:
            continue
        seen.add(key.target)
        verb = _("open") if key.target.startswith("screen.") else _("console")
        english = "open" if key.target.startswith("screen.") else "console"
        found.append(
            Entry(key.target, f"{verb}: {_(key.text)}", f"{english}: {key.text}", key.shown)
        )
    name = f"{_('console')}: {_('switch language')} (en, pt_BR)"
    found.append(Entry("act.language", name, "console: switch language"))
    return found


def _of_operation(operation: Operation) -> Entry:
    verb = words.VERBS.get(operation.verb, operation.verb)
    subject = words.SUBJECTS.get(operation.subject, operation.subject)
    typed = operation.subject if operation.verb == "run" else operation.name.replace(".", " ")
    title, alias = words.operation_title(operation), f"sophia {typed}"
    if title != f"{verb}: {subject}":
        alias += f" ({verb}: {subject})"
    return Entry(operation.name, title, alias, _(operation.help))


class PaletteScreen(ModalScreen[str | None]):
    """Type to find; enter takes the marked line."""

    CSS_PATH = "palette.tcss"

    def __init__(self, sophia: "Console") -> None:
        super().__init__()
        self._entries = entries(sophia)
        self._glyphs = sophia.glyphs

    def compose(self) -> ComposeResult:
        field = Input(id="wanted", compact=True, placeholder=_("type a command"))
        field.cursor_blink = False
        yield field
        yield OptionList(id="found", compact=True, markup=False)

    def on_mount(self) -> None:
        self.set_class(self._glyphs.ascii_only, "-ascii")
        self._find("")
        self.query_one("#wanted", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    def _find(self, wanted: str) -> None:
        width = max(30, self.app.size.width - 4)
        found = self.query_one("#found", OptionList)
        found.clear_options()
        for each in self._entries:
            if each.matches(wanted):
                name = self._glyphs.fit(each.name, 26)
                rest = self._glyphs.fit(f"{each.alias}  {each.help}", width - 27)
                text = Content.assemble(name, " ", (rest, "dim"))
                found.add_option(Option(text, id=each.target))
        if found.option_count:
            found.highlighted = 0

    def on_key(self, event: events.Key) -> None:
        found = self.query_one("#found", OptionList)
        if event.key in ("escape", "ctrl+p"):
            event.stop()
            self.dismiss(None)
        elif event.key in ("down", "up") and self.query_one("#wanted").has_focus:
            event.stop()
            (found.action_cursor_down if event.key == "down" else found.action_cursor_up)()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        found = self.query_one("#found", OptionList)
        if found.highlighted is not None:
            self.dismiss(found.get_option_at_index(found.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
