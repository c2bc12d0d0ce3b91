"""What is pasted stays together. Textual takes an escape sign within pasted text for the beginning
of a key, so that what follows is typed before the rest, or acts as keys of the console."""

import sys
from collections.abc import Iterable
from typing import Any

from textual import events
from textual._xterm_parser import (
    BRACKETED_PASTE_END,
    BRACKETED_PASTE_START,
    XTermParser,
)
from textual.message import Message


class PasteParser(XTermParser):
    """Reads pasted text as it stands, whatever signs it holds; all else as Textual does."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        #: What came of a paste that has not come in full, or nothing.
        self._pasted: str | None = None
        #: The last that came: a sign for a paste may come in parts.
        self._last = ""

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                came = self._last + data
                at = came.find(BRACKETED_PASTE_START)
                if at < 0:
                    self._last = came[1 - len(BRACKETED_PASTE_START) :]
                    yield from super().feed(data)
                    return
                end = at + len(BRACKETED_PASTE_START) - len(self._last)
                yield from super().feed(data[:end])
                self._last, self._pasted, data = "", "", data[end:]
            text, found, data = (self._pasted + data).partition(BRACKETED_PASTE_END)
            self._pasted = None if found else text
            if found:
                # it was not given what lies between, and so has nothing to tell
                rest = super().feed(BRACKETED_PASTE_END)
                yield from (each for each in rest if not isinstance(each, events.Paste))
                yield events.Paste(text.replace("\x00", ""))

    def tick(self) -> Iterable[Message]:
        for each in super().tick():
            self._last = ""  # what had begun was no sign for a paste
            yield each


def reads_pastes(driver: type[Any]) -> type[Any]:
    """The driver of a terminal, so that it reads pasted text whole."""
    module = vars(sys.modules[driver.__module__])
    if "XTermParser" in module:
        module["XTermParser"] = PasteParser
    return driver
