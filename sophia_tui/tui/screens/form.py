"""A form for any operation, built from its declaration: defaults shown, checked as typed, the
command line for the same beside it, what was typed kept as a draft."""

import asyncio
import contextlib
import shlex
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input

from sophia_tui.domain.context import CancelSignal, Progress
from sophia_tui.domain.operations import Danger, Operation
from sophia_tui.errors import CancelledError, ConflictError, SophiaError, UnconfirmedError
from sophia_tui.i18n import _
from sophia_tui.services import fields
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.change_watch import LOOK_SECONDS, ChangeWatch
from sophia_tui.tui.effects import effect_of
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.returning import origin_of_form
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.confirm import ConfirmScreen, QuestionScreen
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.widgets.choice import Choice, yes_or_no
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate, error_text
from sophia_tui.validation import explained

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_DRAFT_SECONDS = 0.2
#: What tells the service which state of the record was seen: never typed, never shown.
_SEEN = ("seen_version", "seen_value")
#: Fields that set a safeguard aside: each time anew a person's word, never a draft's.
_GUARDS = frozenset({"accept_few", "override", "probe", "promote", "public", "regardless"})


class FormScreen(SophiaScreen):
    """Asks for one operation's input and runs it."""

    CSS_PATH = "form.tcss"
    scopes = ("form",)

    def __init__(
        self,
        sophia: "Console",
        operation: Operation,
        prefill: dict[str, Any] | None = None,
        resumed: bool = False,
    ) -> None:
        """`resumed`: it was open when the line dropped, so what was typed over what it was opened
        with stands there again."""
        self.operation = operation
        super().__init__(sophia)
        self._opened_with = dict(prefill or {})
        given = {key: typed_text(value) for key, value in self._opened_with.items()}
        self.fields = {
            name: info for name, info in operation.input.model_fields.items() if name not in _SEEN
        }
        #: What the record was when the form was opened, for the service to compare.
        self.seen = {name: (prefill or {})[name] for name in _SEEN if name in (prefill or {})}
        self.watch = ChangeWatch(sophia, operation)
        self._look = asyncio.Event()
        #: What the form was opened for: another model's draft is not this one's.
        self._target = given.get(operation.target or "", "")
        found = sophia.state.draft(operation.name, self._target)
        draft = {name: value for name, value in found.items() if name not in _GUARDS}
        self._fresh = {name: self._start(name, info, {}, given) for name, info in self._inputs()}
        kept_over = {name: text for name, text in given.items() if name not in draft}
        self.typed: dict[str, Any] = {
            name: self._start(name, info, draft, kept_over if resumed else given)
            for name, info in self._inputs()
        }
        #: The fields that a draft filled.
        self._drafted = {name for name, value in self.typed.items() if value != self._fresh[name]}
        self._began = dict(self.typed)
        self.running: CancelSignal | None = None
        self._focus_first = ""

    def _inputs(self) -> Iterable[tuple[str, FieldInfo]]:
        return self.fields.items()

    @property
    def from_draft(self) -> bool:
        return bool(self._drafted)

    def draft_told(self) -> str:
        """What is said of a draft that stands here."""
        if any(fields.is_secret(info) for _name, info in self._inputs()):
            return _("Your draft from before is here; secrets are typed anew.")
        return _("Your draft from before is here.")

    def memory(self) -> dict[str, Any]:
        focused = self.focused.id if self.focused is not None else None
        return {"focus": focused} if focused else {}

    def recall(self, kept: dict[str, Any]) -> None:
        focus = kept.get("focus")
        self._focus_first = focus if isinstance(focus, str) else ""

    def _start(
        self, name: str, info: FieldInfo, draft: dict[str, Any], given: dict[str, str]
    ) -> Any:
        default = fields.default_of(info)
        if fields.is_switch(info):
            found = draft.get(name, default)
            return given[name] == "True" if name in given else bool(found)
        if fields.is_secret(info):
            return ""
        return given.get(name, draft.get(name, typed_text(default)))

    def known_keys(self) -> list[keys.Key]:
        known = super().known_keys()
        able = {"act.dry_run": self.operation.dry_run, "act.detach": self.operation.detaches}
        return [each for each in known if able.get(each.target, True)]

    def footer(self) -> list[keys.Key]:
        found = keys.while_typing(super().footer())
        return [each for each in found if each.target != "act.clear_draft" or self.from_draft]

    @property
    def dirty(self) -> bool:
        """Whether something was typed that is not run yet."""
        return self.typed != self._began

    def heading(self) -> str:
        return words.operation_title(self.operation)

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body", id="form"):
            yield Plate(_(self.operation.help), id="help")
            for name, info in self.fields.items():
                yield Plate(self._label(name, info), classes="label")
                yield self._widget(name, info)
                yield Plate(id=f"wrong-{name}", classes="wrong")
        # outside of what scrolls: command, progress and outcome are always in sight
        with Vertical(id="foot", classes="body"):
            yield Plate(id="command")
            with Horizontal(id="buttons"):
                yield Button(_("Run"), id="run", compact=True, variant="primary")
                if self.operation.dry_run:
                    yield Button(_("Dry run"), id="dry", compact=True)
                yield Button(_("Back"), id="back", compact=True)
            yield Plate(id="progress")
            with VerticalScroll(id="outcome-scroll"):
                yield Plate(id="outcome")

    def _label(self, name: str, info: FieldInfo) -> Content:
        needed = ("  " + _("needed"), "$warning") if info.is_required() else ""
        text = _(info.title or info.description or "").removesuffix(".")
        if not text:
            return Content.assemble((visible(name), "bold"), needed)
        return Content.assemble((text, "bold"), needed, (f"  {visible(name)}", "dim"))

    def _widget(self, name: str, info: FieldInfo) -> Widget:
        value = self.typed[name]
        choices = fields.choices_of(info)
        if fields.is_switch(info):
            return Choice(yes_or_no(), str(bool(value)), f"field-{name}")
        if choices:
            options = [(each, _(each)) for each in choices]
            if fields.is_optional(info) or info.is_required():
                options.insert(0, ("", "-"))
            return Choice(options, str(value), f"field-{name}")
        hint = _("separate by spaces; quote what holds some") if fields.is_list(info) else "-"
        made = Field(
            value=str(value),
            placeholder=hint,
            password=fields.is_secret(info),
            id=f"field-{name}",
            compact=True,
            select_on_focus=name in self._drafted,  # what is typed anew takes the draft's place
        )
        made.cursor_blink = False  # a blinking cursor is sent over the line for ever
        return made

    def on_mount(self) -> None:
        super().on_mount()
        self._check()
        if self.from_draft:
            self.say(self.draft_told())
        found = self.query("#form Input, #form Choice, #buttons Button")
        again = [each for each in found if each.id and each.id == self._focus_first]
        if again or found:
            self.set_focus((again or found)[0])
        if self.watch.wanted:
            work: Any = self._look_for_changes
            self.run_worker(work, name="changes", group="changes")

    async def _look_for_changes(self) -> None:
        """Say it before anything is run, where another person was at the same record."""
        await self.sophia.painted.wait()
        while self.query("#message"):
            told = await self.watch.look(self.request()[0])
            if told and self.running is None:
                self.say(told)
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_SECONDS)

    def look_now(self) -> None:
        """Ask at once whether another person changed it."""
        self._look.set()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._took(event.input.id, event.value)

    def on_choice_changed(self, event: Choice.Changed) -> None:
        name = (event.choice.id or "").removeprefix("field-")
        switch = fields.is_switch(self.fields[name])
        self._took(event.choice.id, event.value == "True" if switch else event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "back":
            self.sophia.go("act.back", self)
        else:
            self.act("run" if event.button.id == "run" else "dry_run")

    def _took(self, widget: str | None, value: Any) -> None:
        name = (widget or "").removeprefix("field-")
        if name not in self.typed or self.typed[name] == value:
            return
        self.typed[name] = value
        self._check()
        if self.running is None:
            self.query_one("#outcome", Plate).draw("")  # it was of what stood there before
            self.say("")
        self._bring_mark(name)
        if not fields.is_secret(self.fields[name]):
            self.set_timer(_DRAFT_SECONDS, self.keep_draft)

    def _bring_mark(self, name: str) -> None:
        """Scroll to what is wrong with a field, once it is laid out."""
        mark = self.query_one(f"#wrong-{name}", Plate)
        if mark.has_class("-shown"):
            self.call_after_refresh(mark.scroll_visible, animate=False)

    def keep_draft(self) -> None:
        """Write what is typed to disk; secrets never."""
        if not self.dirty:
            return
        kept = {
            name: value
            for name, value in self.typed.items()
            if name not in _GUARDS
            and not fields.is_secret(self.fields[name])
            and (value != self._default_text(name) or value != self._fresh[name])
        }
        request = origin_of_form(self.operation, self._opened_with).request
        self.sophia.state.keep_draft(self.operation.name, kept, self._target, request)

    def _clear_draft(self) -> None:
        """Every field as it was before anybody typed; nothing is kept of the draft."""
        self._drafted = set()
        self.typed = dict(self._fresh)
        self._began = dict(self._fresh)
        for name, value in self._fresh.items():
            field = self.query_one(f"#field-{name}")
            if isinstance(field, Input):
                field.select_on_focus = False
            if isinstance(field, Input | Choice):
                field.value = str(value)
        self.sophia.state.drop_draft(self.operation.name, self._target)
        self._check()
        self.redraw()
        self.say(_("The draft is cleared."))

    def _default_text(self, name: str) -> Any:
        info = self.fields[name]
        default = fields.default_of(info)
        return bool(default) if fields.is_switch(info) else typed_text(default)

    def on_unmount(self) -> None:
        if self.running is not None:
            self.running.request()
        self.keep_draft()

    def request(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What is typed as a request, and what is wrong with it by field."""
        wrong: dict[str, str] = {}
        asked: dict[str, Any] = {}
        for name, info in self.fields.items():
            value = self.typed[name]
            if value == "" and not fields.is_switch(info):
                if info.is_required():
                    wrong[name] = _("needed")
                continue
            try:
                asked[name] = shlex.split(value) if fields.is_list(info) else value
            except ValueError:
                wrong[name] = _("a quotation mark is not closed")
        try:
            checked = self.operation.input.model_validate(asked)
        except ValidationError as problem:
            for each in problem.errors(include_input=False, include_url=False):
                wrong.setdefault(str(each["loc"][0]) if each["loc"] else "", explained(each))
            return asked, wrong
        plain = {
            name: value if fields.is_secret(self.fields[name]) else typed_plain(value)
            for name, value in dict(checked).items()
            if name in self.fields
        }
        return fields.changed_from_default(self.operation.input, plain), wrong

    def _check(self) -> bool:
        asked, wrong = self.request()
        for name in self.fields:
            text = wrong.get(name, "")
            # a field that is still empty is not yet wrong: its label says that it is needed
            hidden = text == _("needed") and self.typed[name] == self._began[name]
            plate = self.query_one(f"#wrong-{name}", Plate)
            plate.draw("" if hidden else text)
            plate.set_class(bool(text) and not hidden, "-shown")
        line = fields.equivalent(self.operation, asked)
        general = f"  {wrong['']}" if "" in wrong else ""
        self.query_one("#command", Plate).draw(
            Content.assemble((visible(line), "$accent"), (general, "$error"))
        )
        return not wrong

    def act(self, name: str) -> bool:
        if name in ("run", "dry_run", "detach"):
            work: Any = partial(self._run, dry_run=name == "dry_run", detach=name == "detach")
            self.run_worker(work, name="run", group="run")
            return True
        if name == "clear_draft" and self.running is None:
            self._clear_draft()
            return True
        if name == "back" and self.running is not None:
            self.running.request()
            self.say(_("Stopping…") if not self.sophia.glyphs.ascii_only else _("Stopping..."))
            return True
        return False

    def copied(self) -> str:
        return fields.equivalent(self.operation, self.request()[0])

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
            self.query_one("#outcome", Plate).draw(error_text(refused))
            return
        confirmed = False
        if self.operation.danger is not Danger.NONE and not dry_run:
            target = typed_text(asked.get(self.operation.target or ""))
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
        """Nothing where the form was taken down while it ran."""
        for plate in self.query("#progress").results(Plate):
            plate.draw(text)

    async def _effect(self, asked: dict[str, Any]) -> list[str] | None:
        """What it would change; None, and the error shown, where it would be refused."""
        self.running = CancelSignal()
        self.say(_("Looking at what it would change..."))
        try:
            effect = await effect_of(self.sophia, self.operation, asked)
        except SophiaError as problem:
            self.say(_("It would be refused; nothing was done."))
            self.query_one("#outcome", Plate).draw(error_text(problem, self.sophia.log_path))
            return None
        finally:
            self.running = None
        self.say("")
        return effect

    def _knows_now(self, problem: ConflictError) -> str:
        """Another person was faster: what is typed stays, and who runs it again goes on from how
        things are now. Empty where it is another kind of conflict."""
        told = "changed_by" in problem.details
        if self.seen:
            told, self.seen = True, {}
        self.watch.knows(problem.details.get("seen"))
        return _("Not done; what you typed is kept: run it again to go on all the same.") * told

    def _show_wrong(self, wrong: dict[str, str]) -> None:
        for name, text in wrong.items():
            if name in self.fields:
                plate = self.query_one(f"#wrong-{name}", Plate)
                plate.draw(text)
                plate.add_class("-shown")
        first = next((name for name in wrong if name in self.fields), None)
        if first:
            self.query_one(f"#field-{first}").focus()
            self._bring_mark(first)
        self.say(_("Please correct what is marked."))

    async def _perform(
        self, asked: dict[str, Any], dry_run: bool, confirmed: bool, detach: bool = False
    ) -> None:
        self.running = CancelSignal()
        self.query_one("#outcome", Plate).draw("")
        self.say(_("Running; esc stops it."))
        told = ProgressText(self.sophia.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None:
                self._say_how_far(text)

        try:
            result = await self.sophia.call(
                self.operation.name,
                {**asked, **self.seen},
                seen=self.watch.number,
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
            for plate in self.query("#outcome").results(Plate):
                plate.draw(error_text(problem, self.sophia.log_path))
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
        self._began = dict(self.typed)
        self.sophia.state.drop_draft(self.operation.name, self._target)
        self.sophia.finished(self, title, result)

    async def _ask_and_go_on(self, question: SophiaError, asked: dict[str, Any]) -> None:
        """What it costs is said in a dialog, Back focused; yes asks for the same once more."""
        self.running = None
        self.query_one("#progress", Plate).draw("")
        text = Content.assemble((visible(question.what), "bold"), "\n\n", _(self.operation.help))
        dialog = QuestionScreen(text, words.act_word(self.operation))
        if await self.app.push_screen_wait(dialog):
            await self._perform(asked, dry_run=False, confirmed=True)
        else:
            self.say(_("Nothing was done."))


def typed_text(value: Any) -> str:
    """A value as a person would type it into a field."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return shlex.join(str(each) for each in value)
    return str(value)


def typed_plain(value: Any) -> Any:
    """A checked value as the dispatcher and the command line take it."""
    return getattr(value, "value", value)
