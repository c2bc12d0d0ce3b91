"""A step of the installer under way, as the console remembers it: it belongs to no screen, so that
one can leave it and come back."""

from collections import deque
from typing import Any

from sophia_tui.errors import SophiaError
from sophia_tui.textsafe import visible

#: Lines that are kept; the whole stands in the log.
_MOST_LINES = 2000


class StepRun:
    """`version` grows with everything that is new."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.lines: deque[str] = deque(maxlen=_MOST_LINES)
        self.result: Any = None
        self.problem: SophiaError | None = None
        self.version = 0

    @property
    def running(self) -> bool:
        return self.result is None and self.problem is None

    def take(self, part: Any) -> None:
        """A part of the answer: one line. What a terminal could act on becomes a visible mark."""
        self.lines.append(visible(str(getattr(part, "line", ""))))
        self.version += 1

    def ended(self, result: Any = None, problem: SophiaError | None = None) -> None:
        self.result, self.problem = result, problem
        self.version += 1
