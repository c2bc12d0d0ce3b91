"""Lists of a few lines to choose from, none of them from the store: the command lines for what a
screen shows, and the drafts that are kept."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.state import Draft, Origin
from sophia_tui.tui.typed_line import TypedLine
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console


class PickScreen(SophiaScreen):
    """Subclasses say the lines, and what they say where there is none."""

    CSS_PATH = "pick.tcss"

    def lines(self) -> Sequence[Content]:
        raise NotImplementedError

    def empty_text(self) -> str:
        return _("Nothing here yet.")

    def choose(self) -> None:
        """enter on a line."""

    def body(self) -> Iterable[Widget]:
        yield Plate(id="state")
        yield OptionList(id="lines", classes="body", compact=True, markup=False)

    def on_mount(self) -> None:
        super().on_mount()
        self.fill()

    def fill(self) -> None:
        """Draw the lines anew, the marked one where it was."""
        found, shown = self.query_one("#lines", OptionList), self.lines()
        marked = found.highlighted or 0
        found.clear_options()
        found.add_options([Option(each) for each in shown])
        found.display = bool(shown)
        self.query_one("#state", Plate).draw("" if shown else self.empty_text())
        if shown:
            found.highlighted = min(marked, len(shown) - 1)
            found.focus()

    @property
    def marked(self) -> int | None:
        return self.query_one("#lines", OptionList).highlighted

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.choose()


class TypedScreen(PickScreen):
    """What a person would type for what the screen beneath shows and can do."""

    scopes = ("typed",)

    def __init__(self, sophia: "Console", found: Sequence[TypedLine]) -> None:
        super().__init__(sophia)
        self.found = found

    def heading(self) -> str:
        return _("What you would type")

    def lines(self) -> Sequence[Content]:
        return [
            Content.assemble((visible(each.command), "$accent"), "\n  ", (each.what, "dim"))
            for each in self.found
        ]

    def empty_text(self) -> str:
        return _("There is no command for what this screen shows.")

    def copied(self) -> str:
        return self.found[self.marked].command if self.marked is not None else ""

    def choose(self) -> None:
        self.sophia.go("act.copy", self)

    def act(self, name: str) -> bool:
        if name != "save":
            return False
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        text = "".join(f"# {each.what}\n{each.command}\n" for each in self.found)
        try:
            path = self.sophia.state.save(f"commands-{stamp}.sh", text)
        except (SophiaError, OSError) as problem:
            self.say(_("Not saved: {why}").format(why=visible(str(problem))))
        else:
            self.say(_("Saved to {path}").format(path=visible(str(path))))
        return True


class DraftsScreen(PickScreen):
    """Forms that hold what was typed and not run yet."""

    scopes = ("drafts",)

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.found: list[Draft] = []

    def heading(self) -> str:
        return _("Drafts")

    def empty_text(self) -> str:
        return _("No draft is kept. What you type into a form and do not run is kept here.")

    def lines(self) -> Sequence[Content]:
        self.found = [each for each in self.sophia.state.drafts() if self._known(each)]
        return [self._line(each) for each in self.found]

    def _known(self, draft: Draft) -> bool:
        """Drafts of screens of their own (a record, the first set-up) are opened there."""
        return draft.operation in self.sophia.dispatcher.registry

    def _line(self, draft: Draft) -> Content:
        declared = self.sophia.dispatcher.registry.get(draft.operation)
        age = words.age(self.sophia.now(), draft.kept_at)
        typed = ", ".join(f"{name}={value}" for name, value in draft.typed.items())
        room = max(20, self.size.width - 4)
        told = Content.assemble(
            (words.operation_title(declared), "bold"), f"  {visible(draft.target)}  ", (age, "dim")
        )
        return told + "\n  " + self.sophia.glyphs.fit(typed, room).rstrip()

    def _draft(self) -> Draft | None:
        return self.found[self.marked] if self.marked is not None and self.found else None

    def choose(self) -> None:
        draft = self._draft()
        if draft is not None:
            how = "bulk" if "marked" in draft.request else "form"
            self.sophia.resume(Origin(how, draft.operation, draft.request))

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self.query("#lines"):
            self.fill()

    def act(self, name: str) -> bool:
        draft: Any = self._draft()
        if name == "open":
            self.choose()
            return True
        if name != "throw_away":
            return False
        if draft is not None:
            self.sophia.state.drop_draft(draft.operation, draft.target)
            self.say(_("The draft is thrown away."))
            self.fill()
        return True
