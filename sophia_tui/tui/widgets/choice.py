"""One of a few words, all of them in sight: left and right choose; space turns a switch, and leaves
the word of a longer list as it is. No overlay, no colour that alone says what is chosen."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Cells between two options.
_GAP = 2


class Choice(Widget, can_focus=True):
    """`options` are values with the words for them; `value` is the chosen one."""

    DEFAULT_CSS = """
    Choice { height: auto; width: 100%; }
    Choice:focus { text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "move(1)", show=False),
        Binding("left", "move(-1)", show=False),
        Binding("space", "choose", show=False),
        Binding("enter", "app.focus_next", show=False),
    ]

    class Changed(Message):
        """Another word was chosen."""

        def __init__(self, choice: "Choice", value: str) -> None:
            super().__init__()
            self.choice = choice
            self.value = value

    def __init__(self, options: Sequence[tuple[str, str]], value: str, id: str) -> None:
        super().__init__(id=id)
        self.options = list(options)
        self._value = value

    @property
    def value(self) -> str:
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        if value == self._value:
            return
        self._value = value
        self.refresh(layout=True)
        self.post_message(self.Changed(self, value))

    def reword(self, value: str, word: str) -> None:
        """Another word for one of its values."""
        self.options = [(each, word if each == value else old) for each, old in self.options]
        self.refresh(layout=True)

    def render(self) -> Content:
        return self._laid_out(self.content_size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._laid_out(width).get_height({}, width) if width else 0

    def on_resize(self) -> None:
        self.refresh()  # the same words break elsewhere

    def _laid_out(self, width: int) -> Content:
        """All options, on a new line only between two of them."""
        parts: list[str | tuple[str, str]] = []
        used = 0
        for value, word in self.options:
            chosen = value == self._value
            told = f"({'x' if chosen else ' '}) {visible(word)}"
            needed = cell_len(told)
            if used:
                fits = not width or used + _GAP + needed <= width
                parts.append(" " * _GAP if fits else "\n")
                used = used + _GAP if fits else 0
            parts.append((told, "bold" if chosen else ""))
            used += needed
        return Content.assemble(*parts)

    def action_move(self, step: int) -> None:
        values = [value for value, _word in self.options]
        place = values.index(self._value) if self._value in values else -1
        self.value = values[(place + step) % len(values)]

    def action_choose(self) -> None:
        """What left and right marked is chosen already: space only turns what is yes or no."""
        if len(self.options) == 2:
            self.action_move(1)


def yes_or_no() -> list[tuple[str, str]]:
    """The options of a switch."""
    return [("True", _("yes")), ("False", _("no"))]
