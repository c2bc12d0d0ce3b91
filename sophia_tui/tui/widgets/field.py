"""Fields to type into. What is pasted or filled in may be hostile: each sign that a terminal would
act on is drawn as one harmless sign in its place, and the value stays what it is."""

import re

from rich.cells import cell_len, get_character_cell_size
from rich.text import Text
from textual import events
from textual.widgets import Input, TextArea

from sophia_tui.textsafe import drawn

_LINE_END = re.compile(r"\r\n?|\n")


class Field(Input):
    """A line to type into."""

    @property
    def _value(self) -> Text:
        if self.password:
            return super()._value
        return Text(drawn(self.value), no_wrap=True, overflow="ignore", end="")

    def _on_paste(self, event: events.Paste) -> None:
        """The first line of it, with all its signs: only what ends a line everywhere ends it."""
        event.prevent_default()
        event.stop()
        line = _LINE_END.split(event.text, maxsplit=1)[0]
        if line:
            self.replace(line, *self.selection)

    def validate_placeholder(self, placeholder: str) -> str:
        return drawn(placeholder)

    def _position_to_cell(self, position: int) -> int:
        return cell_len(drawn(self.value[:position]))

    def _cell_offset_to_index(self, offset: int) -> int:
        offset += self.scroll_offset[0]
        for index, sign in enumerate(drawn(self.value)):
            offset -= get_character_cell_size(sign)
            if offset < 0:
                return index
        return len(self.value)


class Area(TextArea):
    """Lines to type into."""

    def get_line(self, line_index: int) -> Text:
        return Text(drawn(self.document.get_line(line_index)), end="", no_wrap=True)
