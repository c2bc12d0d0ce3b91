"""A window on lines that stays at their end as more come, unless the person scrolls up.

It always draws as many lines as it has rows, each as wide as itself: so its shape never changes,
and only lines that differ are sent.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from sophia_tui.tui.widgets.plate import Plate


class Pager(Plate, can_focus=True):
    """`lines` are drawn from `top` on; `following`: the last ones are in sight."""

    DEFAULT_CSS = "Pager { height: 1fr; width: 100%; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "turn(-1)", show=False),
        Binding("pagedown", "turn(1)", show=False),
        Binding("home", "first", show=False),
        Binding("end", "last", show=False),
    ]

    class AtTop(Message):
        """The first line is in sight: what stands before it is wanted."""

    class Moved(Message):
        """The person scrolled."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: list[Content] = []
        self.top = 0
        self.following = True
        #: Whether the first line, not the last one, is what is read first.
        self.from_start = False

    @property
    def rows(self) -> int:
        return max(1, self.size.height)

    @property
    def _most(self) -> int:
        return max(0, len(self.lines) - self.rows)

    def show(self, lines: Sequence[Content], before: int = 0) -> None:
        """Other lines; `before` of them were put before those that were there."""
        self.lines = list(lines)
        self.top += before
        self._place()

    def to_end(self) -> None:
        self.following = not self.from_start
        self.top = 0
        self._place()

    def reveal(self, line: int) -> None:
        """Bring a line into sight, in the middle."""
        self.top, self.following = line - self.rows // 2, False
        self._place()

    def _place(self) -> None:
        if self.following:
            self.top = self._most
        self.top = max(0, min(self.top, self._most))
        width = self.size.width
        shown = self.lines[self.top : self.top + self.rows]
        shown += [Content("")] * (self.rows - len(shown))
        if width:
            self.draw(Content("\n").join(_wide(each, width) for each in shown))

    def on_resize(self, event: events.Resize) -> None:
        self._place()

    def action_move(self, step: int) -> None:
        self._scroll(step)

    def action_turn(self, step: int) -> None:
        self._scroll(step * max(1, self.rows - 1))

    def action_first(self) -> None:
        self._scroll(-len(self.lines))

    def action_last(self) -> None:
        self._scroll(len(self.lines))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._scroll(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._scroll(3)

    def _scroll(self, step: int) -> None:
        before = self.top
        self.top = max(0, min(self.top + step, self._most))
        # who goes down at the end, or sees everything, follows what comes
        self.following = (
            not self.from_start and self.top >= self._most and (step > 0 or self._most == 0)
        )
        self._place()
        if step < 0 and self.top == 0:
            self.post_message(self.AtTop())
        if before != self.top or step > 0:
            self.post_message(self.Moved())


def _wide(line: Content, width: int) -> Content:
    """A line of exactly that many cells."""
    if line.cell_length > width:
        return line.truncate(width)
    return line.pad_right(width - line.cell_length) if line.cell_length < width else line
