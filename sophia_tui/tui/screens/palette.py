"""The command palette: operations, screens, acts as `verb: object`, found in both languages."""

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


#: Room for the key beside a name.
_KEY_CELLS = 6
#: Entries of the last choices that stand first.
MOST_RECENT = 12


def folded(text: str) -> str:
    """Without case and accents, so that promocao finds promoção."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in plain if not unicodedata.combining(sign))


@dataclass(frozen=True)
class Entry:
    """One line: what it opens, its name, its English alias, a sentence, the key that does the same
    and what a person types for it in a shell."""

    target: str
    name: str
    alias: str
    help: str = ""
    key: str = ""
    command: str = ""
    #: Other words for the same thing, in both languages.
    also: str = ""

    @cached_property
    def _texts(self) -> tuple[str, str, str]:
        rest = f"{self.help} {self.target} {self.command} {self.also}"
        return folded(self.name), folded(self.alias), folded(rest)

    def rank(self, wanted: str) -> int | None:
        """How well it fits what was typed, 0 best; None: not at all. It stands there as typed; or
        every word stands in its name, its alias or elsewhere; or the letters stand in its name or
        alias in this order."""
        words = folded(wanted).split()
        name, alias, rest = self._texts
        if f" {' '.join(words)}" in f" {name} {alias}":
            return 0
        for rank, text in enumerate((name, f"{name} {alias}", f"{name} {alias} {rest}")):
            if all(word in text for word in words):
                begins = all(f" {text}".find(f" {word}") >= 0 for word in words)
                return 1 + 2 * rank + (not begins)
        signs = "".join(words)
        return 7 if _in_order(signs, name) or _in_order(signs, alias) else None


def _in_order(signs: str, text: str) -> bool:
    """Whether the signs come in the text, in this order, each word of it from its beginning on."""
    rest = iter(text)
    return len(signs) > 1 and all(sign in rest for sign in signs)


def entries(sophia: "Console", beneath: object = None) -> list[Entry]:
    """Everything this person may do: what was chosen last, what the screen beneath has keys for,
    the other operations, screens and acts."""
    here = beneath.known_keys() if isinstance(beneath, SophiaScreen) else []
    bound = {each.target: each.shown for each in (*keys.for_scopes(sophia.keys, ("",)), *here)}
    found = [_of_act(each, beneath) for each in here if _is_act(each) and each.scope]
    own = {each.target for each in here if each.scope}
    operations = [_of_operation(each, bound.get(each.name, "")) for each in sophia.permitted()]
    found += sorted(operations, key=lambda each: each.target not in own)
    seen = {each.target for each in found}
    for key in sophia.keys:
        if key.target in seen or key.scope or not sophia.offers(key) or "." not in key.target:
            continue
        if not key.target.startswith(("screen.", "act.")):
            continue
        seen.add(key.target)
        verb, english = (_("open"), "open") if key.target[0] == "s" else (_("console"), "console")
        text = f"{english}: {key.text}"
        found.append(Entry(key.target, f"{verb}: {_(key.text)}", text, key=key.shown))
    name = f"{_('console')}: {_('switch language')} (en, pt_BR)"
    found.append(Entry("act.language", name, "console: switch language", command="sophia --lang"))
    name = f"{_('console')}: {_('drafts of forms')}"
    found.append(Entry("act.drafts", name, "console: drafts of forms"))
    recent = {target: place for place, target in enumerate(sophia.state.recent)}
    return sorted(found, key=lambda each: recent.get(each.target, MOST_RECENT))


def _is_act(key: keys.Key) -> bool:
    return key.target.startswith("act.") and key.target not in ("act.back", "act.open")


def _of_act(key: keys.Key, beneath: object) -> Entry:
    """What only the screen beneath can do, by the screen's name."""
    place = _name_of(beneath) if isinstance(beneath, SophiaScreen) else ""
    name = f"{_(key.text)}: {place}" if place else _(key.text)
    return Entry(key.target, name, f"{key.text}: {key.scope}", key=key.shown)


def _name_of(screen: SophiaScreen) -> str:
    """A screen's plain name: its heading may count what is on it."""
    target = f"screen.{getattr(screen, 'name_of_screen', '')}"
    named = next((_(each.text) for each in keys.SCREENS if each.target == target), "")
    return named or screen.heading()


def _of_operation(operation: Operation, key: str) -> Entry:
    verb = words.VERBS.get(operation.verb, operation.verb)
    subject = words.SUBJECTS.get(operation.subject, operation.subject)
    typed = operation.subject if operation.verb == "run" else operation.name.replace(".", " ")
    title, alias = words.operation_title(operation), f"sophia {typed}"
    if title != f"{verb}: {subject}":
        alias += f" ({verb}: {subject})"
    needed = [operation.command, *(each.upper() for each in operation.positional)]
    if operation.danger is not Danger.NONE:
        needed.append("--yes")
    also = [operation.help]
    for known in (words.ALSO.get(operation.subject), words.ALSO.get(operation.verb)):
        also += [known, _(known)] if known else []
    told = _(operation.help)
    return Entry(operation.name, title, alias, told, key, " ".join(needed), " ".join(also))


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

    def __init__(self, sophia: "Console", beneath: object = None) -> None:
        super().__init__()
        self._sophia = sophia
        self._entries = entries(sophia, beneath)
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
        if not self.query("#found"):
            return  # the console ends, or was left, before there was anything to see
        self.set_class(self._glyphs.ascii_only, "-ascii")
        self._find("")
        self.query_one("#wanted", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    def _find(self, wanted: str) -> None:
        found = self.query_one("#found", OptionList)
        ranked = [(each.rank(wanted), each) for each in self._entries]
        fitting = [(rank, each) for rank, each in ranked if rank is not None]
        self._matching = [each for _rank, each in sorted(fitting, key=lambda pair: pair[0])]
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
        rest = self._glyphs.fit(f"{each.alias}  {each.help}", width - wide - _KEY_CELLS - 2)
        key = self._glyphs.fit(each.key, _KEY_CELLS)
        return Content.assemble(
            (sign + name, style), " ", (key, "bold $accent"), " ", (rest, "dim")
        )

    def _tell(self) -> None:
        """The chosen one in full, since its line may be cut; or that nothing matches."""
        if self._marked is None:
            self.query_one("#chosen", Plate).draw(_("Nothing matches what you typed; esc closes."))
            return
        each = self._matching[self._marked]
        told = Content.assemble((visible(each.name), "bold"), f"  {visible(each.alias)}")
        if each.key:
            told += Content.assemble("  ", _("key: "), (each.key, "bold $accent"))
        if each.help:
            told += f"\n{each.help}"
        if each.command:
            told += Content.assemble("\n", (each.command, "$accent"))
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
        # keys of priority come to the app, maybe before this screen is composed: in its own turn
        self.call_later(self._leave)

    def _leave(self) -> None:
        if self.is_current:
            self.dismiss(None)

    def action_move(self, how: str) -> None:
        self.call_later(self._move, how)

    def _move(self, how: str) -> None:
        getattr(self.query_one("#found", OptionList), f"action_{how}")()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        found = self.query_one("#found", OptionList)
        if found.highlighted is not None:
            self._choose(found.get_option_at_index(found.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option.id)

    def _choose(self, target: str | None) -> None:
        if target is not None:
            self._sophia.state.chose(target, MOST_RECENT)
        self.dismiss(target)
