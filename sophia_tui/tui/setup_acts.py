"""What the console does for the set-up apart from any screen: steps under way, the env editor, the
first set-up."""

import logging
from functools import partial
from typing import Any

from textual.app import App

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.tui.state import ConsoleState, Origin
from sophia_tui.tui.step_run import StepRun

_log = logging.getLogger("sophia")
#: The draft of the first set-up; `left` in it says that a person has seen it.
FIRST_SETUP = "first-setup"
_BEGIN = "setup.begin"


class SetupActs(App[None]):
    """A part of the console's app."""

    state: ConsoleState
    step_run: StepRun | None = None

    def begin_step(self, step: str) -> None:
        """Run a step of the installer, confirmed, and show its output. It belongs to the app: no
        screen that closes ends it."""
        self.step_run = StepRun(step)
        work: Any = partial(self._run_step, self.step_run)
        self.run_worker(work, name="step", group="step")
        self.show_step()

    async def _run_step(self, run: StepRun) -> None:
        sophia: Any = self
        try:
            result = await sophia.call(
                "setup.apply", {"step": run.step}, confirmed=True, tell=run.take
            )
        except SophiaError as problem:
            run.ended(problem=problem)
        else:
            run.ended(result=result)
        if not _shows_step(self.screen):
            told = _("The step {step} has ended; o on Set-up shows its output.")
            sophia._say(told.format(step=run.step))

    def show_step(self) -> None:
        """The output of the last step, where there was one."""
        from sophia_tui.tui.screens.step import StepScreen

        if self.step_run is not None:
            console: Any = self
            self.push_screen(StepScreen(console, self.step_run))

    def show_environment(self) -> None:
        """The keys of Sophia's env file."""
        from sophia_tui.tui.screens.environment import EnvironmentScreen

        console: Any = self
        if console.may("env.list"):
            shown = EnvironmentScreen(console)
            shown.origin = Origin("act", "environment")
            self.push_screen(shown)
        else:
            console._say(_("{name} is not allowed for you.").format(name="env.list"))

    def show_first_setup(self) -> None:
        """The first set-up, where it was left."""
        from sophia_tui.tui.screens.wizard import WizardScreen

        console: Any = self
        if console.may(_BEGIN):
            wizard = WizardScreen(console)
            wizard.origin = Origin("act", "first_setup")
            self.push_screen(wizard)
        else:
            console._say(_("{name} is not allowed for you.").format(name=_BEGIN))

    def offer_first_setup(self) -> None:
        """Open it by itself, once for each person; who left it finds it by its key."""
        console: Any = self
        if console.may(_BEGIN) and not self.state.draft(FIRST_SETUP):
            self.state.keep_draft(FIRST_SETUP, {"left": True})
            self.show_first_setup()

    def offer_restart(self, units: list[str]) -> None:
        """Ask whether to restart what reads a changed value; nothing where nothing does."""
        from sophia_tui.tui.screens.env_value import restart_question

        if units:
            work: Any = partial(restart_question, self, units)
            self.run_worker(work, name="restart", group="restart")

    def speak(self, language: str) -> None:
        """Another language, and the first set-up again in it."""
        console: Any = self

        async def change() -> None:
            await console._speak(language)
            self.show_first_setup()

        self.call_later(change)

    async def look_whether_fresh(self) -> None:
        """At the very first opening: where nobody has set anything, the first set-up opens."""
        console: Any = self
        if not console.may("setup.check") or self.state.draft(FIRST_SETUP):
            return
        before = self.screen
        try:
            found = await console.call("setup.check", {"only": ["source"]})
        except SophiaError as problem:
            _log.info("not looked whether this is the first set-up: %s", problem.code)
            return
        if found.fresh and self.screen is before and len(self.screen_stack) <= 2:
            self.offer_first_setup()


def _shows_step(screen: Any) -> bool:
    return type(screen).__name__ == "StepScreen"
