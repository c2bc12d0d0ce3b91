"""The command palette: operations, screens, acts as `verb: object`, found in both languages."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from sophia_tui.domain.operations import Operation
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate

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
    name = f"{_('console')}: {_('drafts of forms')}"
    found.append(Entry("act.drafts", name, "console: drafts of forms"))
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
    #: They count while the text has the focus too, which keeps left and right for itself.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+p", "leave", show=False, priority=True),
        Binding("down", "move('cursor_down')", show=False, priority=True),
        Binding("up", "move('cursor_up')", show=False, priority=True),
        Binding("pagedown", "move('page_down')", show=False, priority=True),
        Binding("pageup", "move('page_up')", show=False, priority=True),
        Binding("home", "move('first')", show=False, priority=True),
        Binding("end", "move('last')", show=False, priority=True),
    ]

    def __init__(self, sophia: "Console") -> None:
        super().__init__()
        self._entries = entries(sophia)
        self._matching: list[Entry] = []
        self._marked: int | None = None
        self._glyphs = sophia.glyphs

    def compose(self) -> ComposeResult:
        field = Field(id="wanted", compact=True, placeholder=_("type a command"))
        field.cursor_blink = False
        yield field
        yield OptionList(id="found", compact=True, markup=False)
        yield Plate(id="chosen")

    def on_mount(self) -> None:
        self.set_class(self._glyphs.ascii_only, "-ascii")
        self._find("")
        self.query_one("#wanted", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    def _find(self, wanted: str) -> None:
        found = self.query_one("#found", OptionList)
        self._matching = [each for each in self._entries if each.matches(wanted)]
        self._marked = 0 if self._matching else None
        found.clear_options()
        found.add_options(
            [Option(self._line(index), id=each.target) for index, each in enumerate(self._matching)]
        )
        found.highlighted = self._marked
        self._tell()

    def _line(self, index: int) -> Content:
        """One line; a sign marks the chosen one, for eyes and terminals without colour."""
        each, width = self._matching[index], max(30, self.app.size.width - 6)
        sign, style = ("> ", "reverse") if index == self._marked else ("  ", "")
        wide = max(26, width // 3)
        name = self._glyphs.fit(each.name, wide)
        rest = self._glyphs.fit(f"{each.alias}  {each.help}", width - wide - 1)
        return Content.assemble((sign + name, style), " ", (rest, "dim"))

    def _tell(self) -> None:
        """The chosen one in full, since its line may be cut; or that nothing matches."""
        if self._marked is None:
            self.query_one("#chosen", Plate).draw(_("Nothing matches what you typed; esc closes."))
            return
        each = self._matching[self._marked]
        told = Content.assemble((visible(each.name), "bold"), f"  {each.alias}")
        if each.help:
            told += f"\n{each.help}"
        self.query_one("#chosen", Plate).draw(told)

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        found = self.query_one("#found", OptionList)
        if found.highlighted == self._marked or found.highlighted is None:
            return
        before, self._marked = self._marked, found.highlighted
        for index in (before, self._marked):
            if index is not None and index < len(self._matching):
                found.replace_option_prompt_at_index(index, self._line(index))
        self._tell()

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_move(self, how: str) -> None:
        getattr(self.query_one("#found", OptionList), f"action_{how}")()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        found = self.query_one("#found", OptionList)
        if found.highlighted is not None:
            self.dismiss(found.get_option_at_index(found.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
