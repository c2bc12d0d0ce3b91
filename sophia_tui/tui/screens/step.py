"""The output of a step of the installer, line by line. Leaving it stops nothing."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from sophia_tui.i18n import _
from sophia_tui.services.views import worded
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.screens.base import SophiaScreen, StylePath
from sophia_tui.tui.step_run import StepRun
from sophia_tui.tui.widgets.plate import Plate, error_text
from sophia_tui.tui.widgets.tail import Tail

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_LOOK_SECONDS = 0.5
_OUTCOMES = {"changed": "ok", "unchanged": "ok", "failed": "problem"}


class StepScreen(SophiaScreen):
    """Looks at the run while it is shown and the run goes on; an ended one costs nothing."""

    CSS_PATH: ClassVar[StylePath] = "step.tcss"
    scopes: tuple[str, ...] = ("step",)

    def __init__(self, sophia: "Console", run: StepRun) -> None:
        super().__init__(sophia)
        self.run_shown = run
        self._drawn = -1
        self._timer: Timer | None = None

    def heading(self) -> str:
        return _("Step {step}").format(step=visible(self.run_shown.step))

    def body(self) -> Iterable[Widget]:
        yield Plate(id="outcome")
        with Tail(classes="body", id="output"):
            yield Plate(id="lines")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#output").focus()
        self._timer = self.set_interval(_LOOK_SECONDS, self._look)
        self._look()

    def on_screen_suspend(self) -> None:
        super().on_screen_suspend()
        if self._timer:
            self._timer.pause()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        if self._timer and self.run_shown.running:
            self._timer.resume()
        if self.query("#lines"):
            self._look()

    def _look(self) -> None:
        run = self.run_shown
        if run.version != self._drawn:
            self._drawn = run.version
            self.query_one("#lines", Plate).draw("\n".join(run.lines))
            self.query_one("#outcome", Plate).draw(self._outcome())
            self.redraw()
        if not run.running and self._timer:
            self._timer.stop()
            self._timer = None

    def _outcome(self) -> Content:
        run, glyphs = self.run_shown, self.sophia.glyphs
        if run.problem is not None:
            return error_text(run.problem, self.sophia.log_path)
        if run.result is None:
            text = _("Running; esc goes back, and the step goes on.")
            return Content.assemble((text, "bold $accent"))
        found: Any = run.result
        health = _OUTCOMES.get(found.outcome, "unknown")
        told = f"{glyphs.health[health]} {worded('outcome', found.outcome)}"
        parts: list[str | tuple[str, str]] = [(told, words.STYLES[health])]
        if found.code:
            parts.append("  " + _("exit code {code}").format(code=found.code))
        if found.log:
            parts.append("\n" + _("The log: {path}").format(path=visible(found.log)))
        if found.outcome == "failed":
            parts.append(
                "\n" + _("The same by hand: {command}").format(command=visible(found.command))
            )
        return Content.assemble(*parts)

    def copied(self) -> str:
        return "\n".join(self.run_shown.lines)
