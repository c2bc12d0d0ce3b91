"""One key of Sophia's env file: its value is checked as it is typed, written whole, and what reads
it is restarted where the person wants. A secret is masked and never shown again."""

import asyncio
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from textual.content import Content
from textual.events import Paste
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from sophia_tui import envfile
from sophia_tui.errors import SophiaError, UnconfirmedError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.change_watch import LOOK_SECONDS, ChangeWatch
from sophia_tui.tui.screens.base import SophiaScreen, StylePath
from sophia_tui.tui.screens.confirm import QuestionScreen
from sophia_tui.tui.screens.setup import state_sign
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate, error_text

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_PAUSE = 0.3


class OneLine(Field):
    """Takes what is pasted whole or not at all: half a key would look like one."""

    class Refused(Message):
        def __init__(self, problem: SophiaError) -> None:
            super().__init__()
            self.problem = problem

    def _on_paste(self, event: Paste) -> None:
        try:
            envfile.quote(re.sub(r"(\r\n|\r|\n)\Z", "", event.text))
        except SophiaError as problem:
            event.prevent_default()
            event.stop()
            self.post_message(self.Refused(problem))


class EnvValueScreen(SophiaScreen):
    CSS_PATH: ClassVar[StylePath] = "env_value.tcss"
    scopes: tuple[str, ...] = ("value",)
    holds_work = True

    def __init__(self, sophia: "Console", item: Any, env_file: str | None) -> None:
        super().__init__(sophia)
        self._item = item
        self._env_file = env_file
        shown = getattr(item, "value", None)
        self._secret = is_secret(item)
        self._began = "" if self._secret else str(shown or "")
        self._good = False
        declared = sophia.dispatcher.registry.get("env.set")
        self._watch = ChangeWatch(sophia, declared)

    def heading(self) -> str:
        return visible(self._item.key)

    def footer(self) -> list[keys.Key]:
        return keys.while_typing(super().footer())

    def body(self) -> Iterable[Widget]:
        about = getattr(self._item, "help", "") or _("Not one of Sophia's settings.")
        yield Plate(Content(visible(about)), id="about", classes="part")
        place = self._env_file or _("a new env file")
        yield Plate(_("Written to {path}.").format(path=visible(place)), classes="part")
        field = OneLine(
            value=self._began,
            password=self._secret,
            id="value",
            compact=True,
            select_on_focus=False,
        )
        field.cursor_blink = False  # a blinking cursor is sent over the line for ever
        yield field
        yield Plate(id="state", classes="part")
        yield Plate(id="outcome", classes="part")

    @property
    def typed(self) -> str:
        return self.query_one("#value", Input).value

    @property
    def dirty(self) -> bool:
        return bool(self.query("#value")) and self.typed != self._began

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#value").focus()
        work: Any = self._look_for_changes
        self.run_worker(work, name="changes", group="changes")

    async def _look_for_changes(self) -> None:
        """Say it before anything is written, where another person wrote the key meanwhile."""
        while self._watch.wanted and self.query("#message"):
            if told := await self._watch.look({"key": self._item.key}):
                self.say(told)
            await asyncio.sleep(LOOK_SECONDS)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._good = False
        self.query_one("#outcome", Plate).draw("")
        work: Any = self._check
        self.run_worker(work, name="check", group="check", exclusive=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.act("run")

    def on_one_line_refused(self, event: "OneLine.Refused") -> None:
        event.stop()
        self.query_one("#state", Plate).draw(error_text(event.problem))

    async def _check(self) -> None:
        """What the services say of the value, once the typing pauses."""
        await asyncio.sleep(_PAUSE)
        await self._checked()

    async def _checked(self) -> bool:
        state = self.query_one("#state", Plate)
        if not self.typed:
            state.draw("")
            return False
        asked = {"key": self._item.key, "value": self.typed}
        try:
            found: Any = await self.sophia.call("setup.validate", asked)
        except SophiaError as problem:
            state.draw(error_text(problem))
            return False
        told = Content.assemble(
            (state_sign(found.state, self.sophia.glyphs), words.STYLES.get(found.state, "")),
            f"  {visible(found.found)}",
            f"  {visible(found.remedy)}" if found.remedy else "",
        )
        state.draw(told)
        self._good = found.state != "problem"
        return self._good

    def act(self, name: str) -> bool:
        if name != "run":
            return False
        work: Any = self._write
        self.run_worker(work, name="write", group="write", exclusive=True)
        return True

    async def _write(self) -> None:
        outcome = self.query_one("#outcome", Plate)
        if not self.dirty:
            self.say(_("Nothing was changed."))
            return
        if not await self._checked():
            self.say(_("Please correct it first."))
            return
        declared = self.sophia.dispatcher.registry.get("env.set")
        refused = await self.sophia.refusal(declared, False)
        asked = {"key": self._item.key, "value": self.typed}
        try:
            if refused is not None:
                raise refused
            try:
                done: Any = await self.sophia.call("env.set", asked, seen=self._watch.number)
            except UnconfirmedError as question:
                dialog = QuestionScreen(Content(visible(question.what)), words.act_word(declared))
                if not await self.app.push_screen_wait(dialog):
                    self.say(_("Nothing was done."))
                    return
                done = await self.sophia.call("env.set", asked, confirmed=True)
        except SophiaError as problem:
            self._watch.knows(problem.details.get("seen"))
            outcome.draw(error_text(problem, self.sophia.log_path))
            return
        self._began = self.typed
        if self._secret:
            self._began = ""
            self.query_one("#value", Input).value = ""
        self.sophia.go("act.back", self)
        self.sophia.offer_restart(list(getattr(done, "restart", None) or []))


def is_secret(item: Any) -> bool:
    """Whether a key's value must not be seen: its own word on it, or the stars in its place."""
    told = getattr(item, "secret", None)
    if told is not None:
        return bool(told)
    from sophia_tui import settings

    return settings.is_secret(item.key) or getattr(item, "value", None) == "***"


async def restart_question(sophia: Any, units: list[str]) -> None:
    """Offer to restart what reads a changed value; said where nobody here may."""
    listed = ", ".join(visible(each) for each in units)
    if not sophia.may("setup.restart"):
        sophia._say(_("Written. These read it when they restart: {units}").format(units=listed))
        return
    text = _("Written. These read it when they restart: {units}. Restart them now?")
    question = QuestionScreen(Content(text.format(units=listed)), _("Restart"))
    if not await sophia.push_screen_wait(question):
        sophia._say(_("Written. These read it when they restart: {units}").format(units=listed))
        return
    for unit in units:
        sophia._say(_("Restarting {unit}...").format(unit=visible(unit)))
        try:
            await sophia.call("setup.restart", {"unit": unit}, confirmed=True)
        except SophiaError as problem:
            sophia._say(visible(str(problem)))
            return
    sophia._say(_("Restarted: {units}").format(units=listed))
