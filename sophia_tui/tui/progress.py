"""Progress of long work as one line: bar, figures, rate, remaining time; at most once a second."""

import time

from textual.content import Content

from sophia_tui.domain.context import Progress
from sophia_tui.i18n import _, number
from sophia_tui.textsafe import visible
from sophia_tui.tui import words


class ProgressText:
    """Turns progress into text; None where it is too early to draw again."""

    def __init__(self, glyphs: words.Glyphs, every: float = 1.0) -> None:
        self._glyphs = glyphs
        self._every = every
        self._stage = ""
        self._began = 0.0
        self._first = 0
        self._drawn = float("-inf")

    def __call__(self, progress: Progress) -> Content | None:
        now = time.monotonic()
        ended = progress.total is not None and progress.done >= progress.total
        if progress.stage != self._stage:
            self._stage, self._began, self._first = progress.stage, now, progress.done
        elif now - self._drawn < self._every and not ended:
            return None
        self._drawn = now
        return Content("  ".join(self._parts(progress, now - self._began)))

    def _parts(self, progress: Progress, seconds: float) -> list[str]:
        parts = [visible(progress.stage)]
        unit = visible(progress.unit)
        if progress.total:
            parts.append(self._glyphs.bar(progress.done, progress.total, 20))
            parts.append(f"{number(progress.done)}/{number(progress.total)} {unit}".rstrip())
        elif progress.done:
            parts.append(f"{number(progress.done)} {unit}".rstrip())
        done = progress.done - self._first
        if seconds >= 1 and done > 0:
            rate = done / seconds
            parts.append(_("{rate}/s").format(rate=number(rate, 0 if rate >= 10 else 1)))
            if progress.total and progress.total > progress.done:
                left = words.duration((progress.total - progress.done) / rate)
                parts.append(_("{time} left").format(time=left))
        if progress.message:
            parts.append(visible(progress.message))
        return parts
