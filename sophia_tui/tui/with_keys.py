"""What a remedy names as a command, with the key that begins it here beside it."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from sophia_tui.tui import keys

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_COMMAND = re.compile(r"`(sophia [^`]+)`")


def with_keys(sophia: "Console") -> Callable[[str], str]:
    """Puts behind each command the digit of a screen and the key that stands for it there."""
    digits = {
        each.target.removeprefix("screen."): each.shown
        for each in sophia.keys
        if each.target.startswith("screen.")
    }
    registry = sophia.dispatcher.registry
    found: dict[str, str] = {}
    for each in sophia.keys:
        known = each.scope in keys.SHOWS and each.scope in digits and each.target in registry
        if known and sophia.may(each.target):
            command = registry.get(each.target).command
            found.setdefault(command, f"{digits[each.scope]} {each.shown}")

    def keyed(match: re.Match[str]) -> str:
        words = match[1].split()
        for count in (3, 2):  # `sophia models merge`, then `sophia promote`
            pressed = found.get(" ".join(words[:count]))
            if pressed is not None:
                return f"{match[0]} ({pressed})"
        return match[0]

    return lambda text: _COMMAND.sub(keyed, text)
