"""A form for any operation, built from its declaration: defaults shown, checked as typed, the
command line for the same beside it, what was typed kept as a draft."""

import asyncio
import contextlib
import logging
import shlex
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input

from sophia_tui.domain.context import CancelSignal
from sophia_tui.domain.operations import Operation
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services import completion, fields
from sophia_tui.textsafe import visible
from sophia_tui.tui import field_text, keys, suggestions, typed_line, words
from sophia_tui.tui.change_watch import LOOK_SECONDS, ChangeWatch
from sophia_tui.tui.returning import origin_of_form
from sophia_tui.tui.screens.form_run import RunsOperation
from sophia_tui.tui.widgets.choice import Choice, yes_or_no
from sophia_tui.tui.widgets.field import Field
from sophia_tui.tui.widgets.plate import Plate
from sophia_tui.validation import explained

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

_log = logging.getLogger("sophia")
_DRAFT_SECONDS = 0.2
#: Cells for the labels, in a narrow and in a wide window.
_LABEL, _LABEL_WIDE, _WIDE = 34, 48, 100
#: The command beside what is typed takes so many lines at most.
_COMMAND_LINES = 4
#: What tells the service which state of the record was seen: never typed, never shown.
_SEEN = ("seen_version", "seen_value")
#: Fields that set a safeguard aside: each time anew a person's word, never a draft's.
GUARDS = frozenset({"accept_few", "override", "probe", "promote", "public", "regardless"})


class Fields(VerticalScroll):
    """The rows of a form: up and down go from field to field, pages scroll."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]


class Outcome(VerticalScroll):
    """What came of it: where it is longer than its room, tab goes there and up and down read on."""

    def allow_focus(self) -> bool:
        return super().allow_focus() and self.max_scroll_y > 0


class FormScreen(RunsOperation):
    """Asks for one operation's input and runs it."""

    CSS_PATH = "form.tcss"
    scopes = ("form",)
    holds_work = True

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
        self.others = ChangeWatch(sophia, operation)
        self._look = asyncio.Event()
        #: What the form was opened for: another model's draft is not this one's.
        self._target = given.get(operation.target or "", "")
        found = sophia.state.draft(operation.name, self._target)
        draft = {name: value for name, value in found.items() if name not in GUARDS}
        self._fresh = {name: self._start(name, info, {}, given) for name, info in self._inputs()}
        # a draft that is of this very record goes before what the record holds
        kept_over = {name: text for name, text in given.items() if name not in draft}
        if self._target and not resumed:
            kept_over[operation.target or ""] = self._target
        over = kept_over if resumed or self._target else given
        self.typed: dict[str, Any] = {
            name: self._start(name, info, draft, over) for name, info in self._inputs()
        }
        #: The fields that a draft filled.
        self._drafted = {name for name, value in self.typed.items() if value != self._fresh[name]}
        self._began = dict(self.typed)
        self.running: CancelSignal | None = None
        self._focus_first = ""
        self._draft_due = False
        self._names = suggestions.Names(sophia, operation)

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
        held = {name for name in self.fields if self.typed[name] != self._default_text(name)}
        first, rest = field_text.folded(self.operation, self.fields, held)
        with Fields(classes="body", id="form"):
            yield Plate(_(self.operation.help), id="help")
            for name in first:
                yield from self._row(name)
            if rest:
                yield Button("", id="more", compact=True)
                with Vertical(id="rest"):
                    for name in rest:
                        yield from self._row(name)
        # outside of what scrolls: help, command, progress and outcome are always in sight
        with Vertical(id="foot", classes="body"):
            yield Plate(id="about")
            yield Plate(id="command")
            with Horizontal(id="buttons"):
                yield Button(_("Run"), id="run", compact=True, variant="primary")
                if self.operation.dry_run:
                    yield Button(_("Dry run"), id="dry", compact=True)
                yield Button(_("Back"), id="back", compact=True)
                yield Plate(Content.styled(_("F7 copies the command"), "dim"), id="copies")
            yield Plate(id="progress")
            with Outcome(id="outcome-scroll"):
                yield Plate(id="outcome")

    def _row(self, name: str) -> Iterable[Widget]:
        info = self.fields[name]
        with Horizontal(classes="row"):
            yield Plate(id=f"label-{name}", classes="label")
            yield self._widget(name, info)
        yield Plate(id=f"wrong-{name}", classes="wrong")

    def _label(self, name: str, info: FieldInfo) -> Content:
        room = _LABEL_WIDE if self.size.width >= _WIDE else _LABEL
        needed = "  " + _("needed") if info.is_required() else ""
        text = field_text.label_of(info) or name
        shown = self.sophia.glyphs.fit(text, room - 2 - cell_len(needed)).rstrip()
        return Content.assemble((shown, "bold"), (needed, "$warning"))

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
        made = Field(
            value=str(value),
            placeholder=field_text.placeholder(info),
            password=fields.is_secret(info),
            id=f"field-{name}",
            compact=True,
            select_on_focus=self._gives_way(name),
            suggester=self._names.suggester(name) if self._names.helps(name) else None,
        )
        made.cursor_blink = False  # a blinking cursor is sent over the line for ever
        return made

    def _gives_way(self, name: str) -> bool:
        """Whether what is typed takes the place of what stands there: a draft, or a default that
        nobody has typed over yet."""
        value = self.typed[name]
        return name in self._drafted or (value != "" and value == self._default_text(name))

    def on_mount(self) -> None:
        super().on_mount()
        self._show("progress", "")
        self._show("outcome", "")
        self._fold()
        self._check()
        work: Any = self._learn_settings
        self.run_worker(work, name="settings", group="settings")
        if self.from_draft:
            self.say(self.draft_told())
        found = self.query("#form Input, #form Choice, #buttons #run")
        again = [each for each in found if each.id and each.id == self._focus_first]
        if again or found:
            self.set_focus((again or found)[0])
        if self.others.wanted:
            looking: Any = self._look_for_changes
            self.run_worker(looking, name="changes", group="changes")

    async def _look_for_changes(self) -> None:
        """Say it before anything is run, where another person was at the same record."""
        await self.sophia.painted.wait()
        while self.query("#message"):
            told = await self.others.look(self.request()[0])
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

    def on_descendant_focus(self) -> None:
        self._tell_about()

    def on_resize(self) -> None:
        super().on_resize()
        for name, info in self.fields.items():
            for plate in self.query(f"#label-{name}").results(Plate):
                plate.draw(self._label(name, info))

    # -- what helps to fill it in

    def _named(self) -> str:
        """The field that has the focus, or nothing."""
        widget = self.focused.id if self.focused is not None else None
        name = (widget or "").removeprefix("field-")
        return name if name in self.fields else ""

    def _tell_about(self) -> None:
        """The focused field in full, and what it may be completed with."""
        name = self._named()
        if not name:
            self.query_one("#about", Plate).draw("")
            return
        self._draw_about(name, [])
        if self._names.helps(name):
            work: Any = partial(self._offer, name)
            self.run_worker(work, name="names", group="names", exclusive=True)

    def _draw_about(self, name: str, found: list[str]) -> None:
        info = self.fields[name]
        parts: list[str | tuple[str, str]] = [(visible(name), "bold"), "  "]
        parts.append(field_text.whole_text(info))
        default = self._default_text(name)
        if default and not fields.is_switch(info) and not fields.choices_of(info):
            told = _("default: {value}").format(value=visible(default))
            parts.append((f"  ({told})", "dim"))
        if found:
            offered = suggestions.told(found, self.size.width - 14, self.sophia.glyphs)
            parts += ["\n", (_("right:"), "dim"), f" {offered}"]
        self.query_one("#about", Plate).draw(Content.assemble(*parts))

    async def _offer(self, name: str) -> None:
        found = await self._names.matching(name, str(self.typed[name]))
        if self._named() == name and self.query("#about"):
            self._draw_about(name, found)

    async def _learn_settings(self) -> None:
        """What the settings in force put where a field stays empty."""
        wanted = [name for name, info in self.fields.items() if field_text.settings_of(info)]
        files = any(name in completion.FILES for name in self.fields)
        if not (wanted or files) or not self.sophia.may("settings.list"):
            return
        try:
            found: Any = await self.sophia.call("settings.list", {})
        except SophiaError as problem:
            _log.info("defaults from settings are not shown: %s", problem.code)
            return
        in_force = {each.key: each.value for each in found.items if each.value}
        if folder := in_force.get("FINETUNE_DIR"):
            self._names.folder = Path(folder)
        managed = in_force.get("SOPHIA_MANAGED_ENV_FILES", "").split(":")
        self._names.managed = [each.strip() for each in managed if each.strip()]
        for name in wanted:
            text = field_text.placeholder(self.fields[name], in_force)
            for widget in self.query(f"#field-{name}"):
                if isinstance(widget, Input):
                    widget.placeholder = text
                elif isinstance(widget, Choice):
                    value = field_text.in_force(self.fields[name], in_force)
                    word = (
                        _(value) if any(value == each for each, _word in widget.options) else value
                    )
                    widget.reword("", _("default: {value}").format(value=word) if value else "-")

    def _fold(self, unfold: bool = False) -> None:
        """Say how many fields lie folded; `unfold` shows them, or folds them again."""
        for more in self.query("#more").results(Button):
            rest = self.query_one("#rest")
            if unfold:
                rest.toggle_class("-shown")
            count = len(rest.query(".row"))
            told = ngettext("{n} more setting", "{n} more settings", count).format(n=number(count))
            if rest.has_class("-shown"):
                told = _("fewer settings")
            more.label = Content(told)

    def _unfold_for(self, name: str) -> None:
        """A field that something is said of is never folded away."""
        for rest in self.query("#rest"):
            if not rest.has_class("-shown") and rest.query(f"#field-{name}"):
                self._fold(unfold=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        if event.button.id == "more":
            self._fold(unfold=True)
        elif event.button.id == "back":
            self.sophia.go("act.back", self)
        else:
            self.act("run" if event.button.id == "run" else "dry_run")

    def _took(self, widget: str | None, value: Any) -> None:
        name = (widget or "").removeprefix("field-")
        if name not in self.typed or self.typed[name] == value:
            return
        self.typed[name] = value
        for field in self.query(f"#{widget}").results(Input):
            field.select_on_focus = self._default_text(name) == value != ""
        self._check()
        if self.running is None:
            self._show("outcome", "")  # it was of what stood there before
            self.say("")
        self._bring_mark(name)
        if name == self._named():
            self._tell_about()
        if not fields.is_secret(self.fields[name]) and not self._draft_due:
            self._draft_due = True  # one write for all that is typed meanwhile
            self.set_timer(_DRAFT_SECONDS, self._keep_soon)

    def _keep_soon(self) -> None:
        self._draft_due = False
        self.keep_draft()

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
            if name in self.fields
            and name not in GUARDS
            and not fields.is_secret(self.fields[name])
            and (value != self._default_text(name) or value != self._fresh[name])
        }
        self.sophia.state.keep_draft(self.operation.name, kept, self._target, self.reopened_with())

    def reopened_with(self) -> Mapping[str, Any]:
        """What a draft is opened with again."""
        return origin_of_form(self.operation, self._opened_with).request

    def _clear_draft(self) -> None:
        """Every field as it was before anybody typed; nothing is kept of the draft."""
        self._drafted = set()
        self.typed = dict(self._fresh)
        self._began = dict(self._fresh)
        for name in self.fields:
            field, value = self.query_one(f"#field-{name}"), self._fresh[name]
            if isinstance(field, Input):
                field.select_on_focus = self._gives_way(name)
            if isinstance(field, Input | Choice):
                field.value = str(value)
        self.sophia.state.drop_draft(self.operation.name, self._target)
        self._check()
        self._show("outcome", "")  # it was of what is cleared
        self.redraw()
        self.say(_("The draft is cleared."))

    def _default_value(self, name: str) -> Any:
        """The default as an unchecked request holds it."""
        text = self._default_text(name)
        return shlex.split(text) if fields.is_list(self.fields[name]) else text

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
            said = {
                name: value
                for name, value in asked.items()
                if name not in wrong
                and (self.fields[name].is_required() or value != self._default_value(name))
            }
            return said, wrong
        plain = {
            name: value if fields.is_secret(self.fields[name]) else typed_plain(value)
            for name, value in iter(checked)
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
        line = self._cut(visible(fields.equivalent(self.operation, asked)))
        general = f"  {wrong['']}" if "" in wrong else ""
        secrets = typed_line.about_secrets(self.operation)
        self.query_one("#command", Plate).draw(
            Content.assemble(
                (line, "$accent"),
                (f"  {secrets}" if secrets else "", "dim"),
                (general, "$error"),
            )
        )
        return not wrong

    def _cut(self, line: str) -> str:
        """The beginning of a command that would take the lower screen; the rest is counted."""
        room = (_COMMAND_LINES - 1) * max(_LABEL, self.size.width - 2)  # words break earlier
        if len(line) <= room:
            return line
        head = self.sophia.glyphs.fit(line, room - _LABEL).rstrip()
        count = len(line) - len(head)
        more = ngettext("{n} sign more; F7 copies all", "{n} signs more; F7 copies all", count)
        return f"{head} {more.format(n=number(count))}"

    def act(self, name: str) -> bool:
        if name in ("run", "dry_run", "detach"):
            work: Any = partial(self._run, dry_run=name == "dry_run", detach=name == "detach")
            self.run_worker(work, name="run", group="run")
            return True
        if name == "copy_command":
            self.app.copy_to_clipboard(self.copied())
            self.say(_("Sent to the terminal's clipboard."))
            return True
        if name == "clear_draft" and self.running is None:
            self._clear_draft()
            return True
        if name == "back" and self.running is not None:
            self.running.request()
            self.say(_("Stopping…") if not self.sophia.glyphs.ascii_only else _("Stopping..."))
            return True
        return False

    def asks(self) -> list[tuple[str, dict[str, Any]]]:
        return [(self.operation.name, self.request()[0])]

    def copied(self) -> str:
        return fields.equivalent(self.operation, self.request()[0])

    def target_of(self, asked: dict[str, Any]) -> str:
        return typed_text(asked.get(self.operation.target or ""))

    def done(self) -> None:
        self._began = dict(self.typed)
        self.sophia.state.drop_draft(self.operation.name, self._target)


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
