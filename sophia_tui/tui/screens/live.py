"""A screen whose data come again and again: loading, empty, error, stale, full; paused when hidden.

The last data stay when the database goes away; it is asked for ever, with growing pauses.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from textual.content import Content

from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

State = Literal["loading", "empty", "error", "stale", "full"]
LONGEST_PAUSE = 30.0
#: After so many looks in which nothing was sent to the terminal it is looked half as often.
_CALM = 5
#: Seconds without an answer after which data count as old.
_PATIENCE = 3.0
#: From so many seconds on the age of old data is told in minutes.
_MINUTES_FROM = 120


class LiveScreen(SophiaScreen):
    """Subclasses say how to fetch, whether the data are empty, and how to draw them."""

    looks = True
    interval = 2.0  # seconds between two looks

    def __init__(self, sophia: "Console") -> None:
        super().__init__(sophia)
        self.state: State = "loading"
        self.data: Any = None
        self.failures = 0
        self._good_at = sophia.now()
        self._shown = asyncio.Event()
        self._again = asyncio.Event()
        self._pictures = self._calm = 0

    def footer(self) -> list[keys.Key]:
        return self.known_keys()  # only here there is something to refresh

    async def fetch(self) -> Any:
        """The data, by operations alone. Raises SophiaError."""
        raise NotImplementedError

    def has_nothing(self, data: Any) -> bool:
        return False

    def follow(self, key: str | None) -> None:
        """Open one of its rows, where it has rows."""

    def draw(self) -> None:
        """Draw `self.data` according to `self.state`."""

    def on_mount(self) -> None:
        super().on_mount()
        self._draw_all()
        work: Any = self._live
        self.run_worker(work, name="live", exit_on_error=True)

    def on_screen_suspend(self) -> None:
        super().on_screen_suspend()
        self._shown.clear()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._shown.set()
        if self.data is not None and isinstance(self.sophia.unreachable, UnavailableError):
            self._on_trouble(self.sophia.unreachable)  # what it shows is as old as elsewhere
        self.refresh_now()

    def on_resize(self) -> None:
        super().on_resize()
        self._draw_all()

    def refresh_now(self) -> None:
        """Look again at once."""
        self._again.set()

    async def _live(self) -> None:
        await self.sophia.painted.wait()
        while True:
            await self._shown.wait()
            self._again.clear()
            try:
                data = await self._looked()
            except SophiaError as problem:
                self.failures += 1
                told: SophiaError | None = problem
            else:
                self.failures = 0
                told = None
            if not self.composed:
                return  # the screen was taken down while it looked
            if told is not None:
                self._on_trouble(told)
            else:
                self._on_data(data)
            pause = min(LONGEST_PAUSE, 2.0**self.failures) if self.failures else self.rhythm()
            try:
                await asyncio.wait_for(self._again.wait(), pause)
            except TimeoutError:
                continue

    def rhythm(self) -> float:
        """Seconds until the next look, where all is well: fewer looks while nothing happens, which
        spares this machine and the database."""
        before, self._pictures = self._pictures, self.sophia.pictures
        self._calm = self._calm + 1 if before == self._pictures else 0
        return self.interval * (2 if self._calm >= _CALM else 1)

    async def _looked(self) -> Any:
        """As fetch; what takes long is said while it does."""
        looking = asyncio.ensure_future(self.fetch())
        try:
            done, _waiting = await asyncio.wait({looking}, timeout=_PATIENCE)
            if not done and self.data is not None:
                self._old(_("No answer yet."))
            return await looking
        finally:
            looking.cancel()

    def _on_data(self, data: Any) -> None:
        self._good_at = self.sophia.now()
        self.data = data
        self.state = "empty" if self.has_nothing(data) else "full"
        self.sophia.unreachable = None
        self._trouble("")
        self._draw_all()
        self.sophia.answered()

    def _on_trouble(self, problem: SophiaError) -> None:
        self.sophia.unreachable = problem
        if self.data is None:
            self.state = "error"
            self.problem = problem
            self._trouble("")
        else:
            text = _("{what} ({code}) Asked again by itself.")
            self._old(text.format(what=visible(problem.what), code=problem.code))
        self._draw_all()

    def _old(self, why: str) -> None:
        self.state = "stale"
        seconds = round((self.sophia.now() - self._good_at).total_seconds())
        old = _("{seconds} s").format(seconds=seconds)
        if seconds >= _MINUTES_FROM:
            old = words.duration(seconds)  # it grows with each look that fails, in ever rarer steps
        self._trouble(_("stale, {age}: {why}").format(age=old, why=why))

    def _trouble(self, text: str) -> None:
        plate = self.query_one("#trouble", Plate)
        if plate.draw(text):
            plate.set_class(bool(text), "-shown")

    def _draw_all(self) -> None:
        if self.composed:
            self.draw()
            self.redraw()  # after the rows: its keys depend on them

    def placeholder(self, empty: str) -> Content | None:
        """The text in place of data: loading, error, or the given text for empty; None when full.

        A stale screen shows its last data.
        """
        if self.state == "loading":
            return Content(_("Loading…") if not self.sophia.glyphs.ascii_only else _("Loading..."))
        if self.state == "error":
            return error_text(self.problem, self.sophia.log_path)
        if self.has_nothing(self.data):
            return Content(empty)
        return None
