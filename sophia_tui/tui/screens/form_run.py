"""How a form runs its operation: refusals, the question before what is dangerous, progress, errors
with the fields that they name. What is typed is kept whatever comes of it."""

import re
from typing import Any

from pydantic.fields import FieldInfo
from textual.content import Content

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.errors import CancelledError, ConflictError, SophiaError, UnconfirmedError
from sophia_tui.i18n import _
from sophia_tui.services import fields
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.change_watch import ChangeWatch
from sophia_tui.tui.effects import effect_of
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.confirm import ConfirmScreen, QuestionScreen
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.widgets.plate import Plate, error_text
from sophia_tui.tui.with_keys import with_keys

#: A value of so many signs names its field where an error tells it.
_TELLING = 4


class RunsOperation(SophiaScreen):
    """A part of FormScreen."""

    operation: Operation
    fields: dict[str, FieldInfo]
    typed: dict[str, Any]
    _target: str
    #: What the record was when the form was opened, for the service to compare.
    seen: dict[str, Any]
    others: ChangeWatch
    running: CancelSignal | None

    def request(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What is typed as a request, and what is wrong with it by field."""
        raise NotImplementedError

    def target_of(self, asked: dict[str, Any]) -> str:
        """What is acted upon, as a person would type it."""
        raise NotImplementedError

    def done(self) -> None:
        """What was typed is done: nothing of it is a draft any more."""

    def _unfold_for(self, name: str) -> None:
        """A field that something is said of is never folded away."""

    def _bring_mark(self, name: str) -> None:
        """Scroll to what is wrong with a field, once it is laid out."""

    async def _run(self, dry_run: bool, detach: bool = False) -> None:
        if self.running is not None:
            return
        asked, wrong = self.request()
        if wrong:
            self._show_wrong(wrong)
            return
        if dry_run and not self.operation.dry_run:
            self.say(_("This can't run dry."))
            return
        if detach and not self.operation.detaches:
            self.say(_("This can't run in the background."))
            return
        self.running = CancelSignal()  # it may ask the store: a second F2 starts nothing meanwhile
        try:
            refused = await self.sophia.refusal(self.operation, dry_run)
        finally:
            self.running = None
        if refused is not None:
            self._show("outcome", error_text(refused))
            return
        confirmed = False
        if self.operation.danger is not Danger.NONE and not dry_run:
            target = self.target_of(asked)
            effect = await self._effect(asked)
            if effect is None:
                return
            confirmed = await self.app.push_screen_wait(
                ConfirmScreen(self.sophia, self.operation, target, effect)
            )
            if not confirmed:
                self.say(_("Nothing was done."))
                return
        await self._perform(asked, dry_run, confirmed, detach)

    def _say_how_far(self, text: Content | str) -> None:
        self._show("progress", text)

    def _show(self, where: str, text: Content | str) -> None:
        """Draw one of the plates at the foot, which has no room where it is empty. Nothing where
        the form was taken down while it ran."""
        for plate in self.query(f"#{where}").results(Plate):
            plate.draw(text)
            plate.display = bool(plate.text)
            if where == "outcome":  # it takes room from what helps to fill in, not from the fields
                self.query_one("#foot").set_class(plate.display, "-told")
        for reading in self.query(f"#{where}-scroll"):
            reading.scroll_home(animate=False)

    async def _effect(self, asked: dict[str, Any]) -> list[str] | None:
        """What it would change; None, and the error shown, where it would be refused."""
        self.running = CancelSignal()
        self.say(_("Looking at what it would change..."))
        try:
            effect = await effect_of(self.sophia, self.operation, asked)
        except SophiaError as problem:
            self.say(_("It would be refused; nothing was done."))
            self._mark_named(problem)
            self._show("outcome", error_text(problem, self.sophia.log_path, with_keys(self.sophia)))
            return None
        finally:
            self.running = None
        self.say("")
        return effect

    def _seen_of(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What was seen of the row that the form was opened for; nothing of another one that was
        typed in its place."""
        target = self.operation.target
        return self.seen if not target or str(asked.get(target)) == self._target else {}

    def _knows_now(self, problem: ConflictError) -> str:
        """Another person was faster: what is typed stays, and who runs it again goes on from how
        things are now. Empty where it is another kind of conflict."""
        told = "changed_by" in problem.details
        if self.seen:
            told, self.seen = True, {}
        self.others.knows(problem.details.get("seen"))
        return _("Not done; what you typed is kept: run it again to go on all the same.") * told

    def _show_wrong(self, wrong: dict[str, str]) -> None:
        for name, text in wrong.items():
            if name in self.fields:
                plate = self.query_one(f"#wrong-{name}", Plate)
                plate.draw(text)
                plate.add_class("-shown")
                self._unfold_for(name)
        first = next((name for name in wrong if name in self.fields), None)
        if first:
            self.query_one(f"#field-{first}").focus()
            self._bring_mark(first)
        self.say(_("Please correct what is marked."))

    def _mark_named(self, problem: SophiaError) -> None:
        """Mark the fields that an error names, by their option, their name or what stands there."""
        told = f"{problem.what} {problem.why}"
        for name in self.fields:
            value = self.typed[name]
            option = f"--{name.replace('_', '-')}"
            plain = isinstance(value, str) and not fields.is_secret(self.fields[name])
            quoted = plain and len(value) >= _TELLING and value in problem.what
            named = re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told)
            if quoted or named or re.search(rf"(?:^|; ){re.escape(name)}: ", problem.why):
                for plate in self.query(f"#wrong-{name}").results(Plate):
                    plate.draw(visible(problem.what))
                    plate.add_class("-shown")
                    self._unfold_for(name)

    async def _perform(
        self, asked: dict[str, Any], dry_run: bool, confirmed: bool, detach: bool = False
    ) -> None:
        self.running = CancelSignal()
        self._show("outcome", "")
        self.say(_("Running; esc stops it."))
        told = ProgressText(self.sophia.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None:
                self._say_how_far(text)

        try:
            result = await self.sophia.call(
                self.operation.name,
                {**asked, **self._seen_of(asked)},
                seen=self.others.number,
                dry_run=dry_run,
                confirmed=confirmed,
                detach=detach,
                cancel=self.running,
                progress=progress,
            )
        except UnconfirmedError as problem:
            await self._ask_and_go_on(problem, asked)
            return
        except SophiaError as problem:
            style = _("Stopped.") if isinstance(problem, CancelledError) else _("It failed.")
            if isinstance(problem, ConflictError):
                style = self._knows_now(problem) or style
            self.say(style)
            self._show("outcome", error_text(problem, self.sophia.log_path, with_keys(self.sophia)))
            self._mark_named(problem)
            return
        finally:
            self.running = None
            self._say_how_far("")
        title = words.operation_title(self.operation)
        if dry_run:
            note = _("Dry run: nothing was changed.")
            plan = getattr(
                result, "plan", None
            )  # what a training would take says more than its row
            self.sophia.show(ResultScreen(self.sophia, title, plan or result, note))
            return
        self.say(_("Done."))
        self.done()
        self.sophia.finished(self, title, result)

    async def _ask_and_go_on(self, question: SophiaError, asked: dict[str, Any]) -> None:
        """What it costs is said in a dialog, Back focused; yes asks for the same once more."""
        self.running = None
        self._show("progress", "")
        text = Content.assemble((visible(question.what), "bold"), "\n\n", _(self.operation.help))
        dialog = QuestionScreen(text, words.act_word(self.operation))
        if await self.app.push_screen_wait(dialog):
            await self._perform(asked, dry_run=False, confirmed=True)
        else:
            self.say(_("Nothing was done."))
