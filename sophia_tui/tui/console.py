"""The console's app: screens, acts and operations brought together. It calls the dispatcher alone.

Screens know it as host.Console; all but the first are imported when they are opened.
Import it through app.py, which sets what Textual reads from the environment at import.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.driver import Driver
from textual.screen import Screen

from sophia_tui.domain.context import CancelSignal, Context, Progress
from sophia_tui.errors import CancelledError, RefusedError, SophiaError, UnavailableError
from sophia_tui.i18n import LANGUAGES, N_, _, get_language, set_language
from sophia_tui.paths import Paths
from sophia_tui.textsafe import visible
from sophia_tui.tui import keys, words
from sophia_tui.tui.pastes import reads_pastes
from sophia_tui.tui.progress import ProgressText
from sophia_tui.tui.returning import Returning, origin_of_answer, origin_of_form
from sophia_tui.tui.screens import CLASSES, made
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.state import ConsoleState
from sophia_tui.tui.wire import Wired

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sophia_tui.domain.operations import Operation
    from sophia_tui.services.operations import Dispatcher

_log = logging.getLogger("sophia")
#: Round trips below the first are all shown as the same word: a figure that trembles is sent anew
#: at every look.
_SLOW_MILLISECONDS = (50.0, 200.0, 1000.0)
#: Codes of the store's own connection; the source and the providers have others.
_STORE_CODES = ("SOPHIA-S0",)


class SophiaApp(Wired, Returning):
    """`context` is a Context, or makes one from keyword arguments (dry_run, confirmed, cancel,
    progress, language); that maker and the one of the dispatcher are first called after the first
    paint.
    """

    CSS_PATH = "screens/base.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = []
    TITLE = "Sophia"

    def __init__(
        self,
        dispatcher: "Dispatcher | Callable[[], Dispatcher]",
        context: Context | Callable[..., Context],
        paths: Paths | None = None,
        actor: str = "",
        language: str = "en",
        ascii_only: bool = False,
        plain_curves: bool = False,
        key_changes: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        keeps_language: bool = False,
    ) -> None:
        """`keeps_language`: the one that this person chose in the console last goes before the
        given one."""
        super().__init__()
        self.theme = "ansi-dark"
        self._dispatcher = dispatcher
        self.now = clock
        self.keys = keys.remapped(key_changes)
        self.glyphs = words.Glyphs(ascii_only, plain_curves)
        self.actor = actor or (context.actor if isinstance(context, Context) else "")
        self.state = ConsoleState(paths, self.actor)
        set_language((keeps_language and self.state.language) or language)
        self.state.on_unkept = lambda told: self.add_news(visible(told))
        self.log_path = str(paths.logs / "sophia.log") if paths else ""
        self.unreachable: SophiaError | None = None
        self.painted = asyncio.Event()
        self._make = _maker(context)
        self._basis: Context | None = None
        #: The round trip to the store in milliseconds, as a limit it is above; None: not known.
        self._store: float | None = None
        self._store_last: float | None = None
        self._store_away = False

    @cached_property
    def dispatcher(self) -> "Dispatcher":
        return self._dispatcher() if callable(self._dispatcher) else self._dispatcher

    # -- start and end

    def get_driver_class(self) -> type[Driver]:
        return reads_pastes(super().get_driver_class())

    def on_mount(self) -> None:
        self.state.seen_at = self.now()
        self._base(self.state.screen)
        work: Any = self._paint
        self.call_after_refresh(self.run_worker, work, name="paint")

    async def _paint(self) -> None:
        """The first paint is done: now what can be asked may be collected, which takes long and
        so is done beside the keys, and the context may read the settings."""
        await asyncio.to_thread(lambda: self.dispatcher)
        try:
            self._basis = self._make()
        except SophiaError as problem:
            _log.warning("no context: %s", problem.code)
            self.exit(return_code=problem.exit_code, message=Content(visible(str(problem))))
            return
        self.painted.set()
        self.redraw()
        self.begin_to_remember()
        if self.state.first and self.state.screen == "overview":
            work: Any = self.look_whether_fresh
            self.run_worker(work, name="fresh")

    def _fatal_error(self) -> None:
        """As Textual's, but without local variables: they may hold secrets and people's data."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        _log.exception("the console ended by a defect")
        shown = Traceback(show_locals=False, width=None)
        self._exit_renderables.append(Segments(self.console.render(shown, self.console.options)))
        self._close_messages_no_wait()

    async def action_quit(self) -> None:
        """ctrl+q asks as `q` does."""
        self.go("act.quit", self.screen)

    def action_help_quit(self) -> None:
        """What Textual does on ctrl+c."""
        self._say(_("ctrl+c does nothing here; q leaves. Jobs go on without the console."))

    # -- what screens ask

    async def call(
        self, operation: str, request: "Mapping[str, Any] | BaseModel", **given: Any
    ) -> "BaseModel":
        """One operation, by the dispatcher. Raises SophiaError."""
        context = self._make(language=get_language(), **given)
        self._keep_rights(context)
        try:
            return await self.dispatcher.call(operation, request, context)
        except UnavailableError as problem:
            if problem.code.startswith(_STORE_CODES):
                self.store_away()
            raise

    def _keep_rights(self, context: Context) -> None:
        """What is offered follows the role of today: SOPHIA_ROLES may change while it is open."""
        known = self._basis
        if known is not None and (known.role, known.readonly) != (context.role, context.readonly):
            self._basis = replace(known, role=context.role, readonly=context.readonly)
            self.redraw()

    def permitted(self) -> "list[Operation]":
        """The operations to offer, in the order of the declarations."""
        if self._basis is None:
            return []
        return [
            each
            for each in self.dispatcher.registry
            if self.dispatcher.permitted(each, self._basis)
        ]

    def may(self, operation: str) -> bool:
        """Whether this person may ask for it; False where there is no such operation."""
        registry = self.dispatcher.registry
        if self._basis is None or operation not in registry:
            return False
        return self.dispatcher.permitted(registry.get(operation), self._basis)

    def offers(self, key: keys.Key) -> bool:
        """Whether a key leads anywhere for this person."""
        kind, _sign, name = key.target.partition(".")
        if kind == "act":
            return True
        if self._basis is None:
            return kind == "screen"
        if kind == "screen" and name not in keys.SHOWS:
            return True  # one without data
        return self.may(keys.SHOWS[name] if kind == "screen" else key.target)

    async def refusal(self, operation: "Operation", dry_run: bool) -> SophiaError | None:
        """Why an operation may not start now: writes wait while the store is away. The screen
        beneath does not look while a form covers it, so it is asked here whether it is back."""
        if operation.writes and not dry_run and isinstance(self.unreachable, UnavailableError):
            try:
                await self.call("overview.show", {})
            except SophiaError as problem:
                _log.info("the store is still away: %s", problem.code)
            else:
                self.unreachable = None
                self.answered()
                return None
            return RefusedError(
                "R503",
                _("Nothing is changed while the database can't be reached."),
                self.unreachable.what,
                _("What you typed is kept; try again when the data are fresh."),
            )
        return None

    def measured(self, milliseconds: float) -> None:
        """Take note of a round trip to the store, in words that change seldom."""
        limit = max((each for each in _SLOW_MILLISECONDS if milliseconds >= each), default=0.0)
        # one slow look is no news: a word changes when two looks say the same
        known = self._store is not None and not self._store_away
        if not known or (limit != self._store and limit == self._store_last):
            self._store, self._store_away = limit, False
            self.redraw()
        self._store_last = limit

    def store_away(self) -> None:
        """Take note that the store did not answer."""
        if not self._store_away:
            self._store_away = True
            self.redraw()

    def answered(self) -> None:
        """Take note that a screen has fresh data: how far the store is, is asked where unknown."""
        self.look_for_what_is_gone()
        if (self._store is None or self._store_away) and self.may("overview.show"):
            work: Any = self._measure  # no coroutine yet: one of an app that ends is not awaited
            self.run_worker(work, name="measure", exclusive=True, group="measure")

    async def _measure(self) -> None:
        try:
            found: Any = await self.call("overview.show", {})
        except SophiaError as problem:
            _log.info("the store was not measured: %s", problem.code)
        else:
            self.measured(found.store_milliseconds)

    def _store_word(self) -> str:
        if self._store_away:
            return _("db away")
        if self._store is None:
            return ""
        return _("db > {ms} ms").format(ms=round(self._store)) if self._store else _("db < 50 ms")

    def head(self, width: int, heading: str) -> Content:
        """The first line of every screen."""
        parts: list[str | tuple[str, str]] = [("Sophia", "bold $accent")]
        if heading:
            parts.append((f"  {heading}", "bold"))
        if self._basis is not None:
            person = f"  {visible(self.actor)}  {_(self._basis.role.value)}"
            if self._basis.readonly:
                parts.append(("  " + _("read-only"), "bold $warning"))
            # who one is, one knows: what the screen says goes before it in a narrow window
            if Content.assemble(*parts, person).cell_length <= width:
                parts.insert(2 if heading else 1, person)
        # a screen that does not look would go on saying what was once
        looks = isinstance(self.screen, SophiaScreen) and self.screen.looks
        right = f"{get_language()}  {self._store_word() if looks else ''}".rstrip()
        left = Content.assemble(*parts)
        if left.cell_length + len(right) + 2 > width:
            return left
        return left + " " * (width - left.cell_length - len(right)) + right

    def redraw(self) -> None:
        if isinstance(self.screen, SophiaScreen):
            self.screen.redraw()

    # -- where keys and palette lead

    def go(self, target: str, screen: Screen[Any]) -> None:
        """Follow a target of the registry from the given screen. Who has left leads nowhere: keys
        that were typed ahead open nothing more."""
        if self._exit:
            return
        kind, _sign, name = target.partition(".")
        if isinstance(screen, SophiaScreen):
            screen.say("")  # what was said of the act before is over
        if kind == "screen":
            self._open_screen(name)
        elif name == "back" and isinstance(screen, SophiaScreen) and screen.stop_waiting():
            screen.say(_("Stopping..."))
        elif isinstance(screen, SophiaScreen) and screen.act_on_marked(target):
            return
        elif kind != "act":
            given = screen.prefill(target) if isinstance(screen, SophiaScreen) else {}
            self.open(target, given)
        elif not (isinstance(screen, SophiaScreen) and screen.act(name)):
            acts: dict[str, Callable[[Screen[Any]], None]] = {
                "quit": self._leave,
                "back": self._back,
                "help": self._help,
                "palette": self._palette,
                "refresh": self._refresh,
                "copy": self._copy,
                "language": self._other_language,
                "typed": self._typed,
                "drafts": self._drafts,
            }
            if name in acts:
                acts[name](screen)

    def open(self, operation: str, request: dict[str, Any]) -> None:
        """Open what an operation needs: its screen, its result, or its form."""
        if self._basis is None:
            return
        try:
            declared = self.dispatcher.registry.get(operation)
        except SophiaError as problem:
            self._say(visible(problem.what))
            return
        if not self.dispatcher.permitted(declared, self._basis):
            text = _("{name} is not allowed for you.")
            if self._basis.role.allows(declared.role):
                text = _("{name} is not allowed in read-only mode.")
            self._say(text.format(name=operation))
        elif operation in keys.SHOWN_BY and (
            not declared.input.model_fields or not _needs(declared, request)
        ):
            self._open_shown(*keys.SHOWN_BY[operation], request)
        elif declared.writes or (declared.input.model_fields and _asks(declared, request)):
            from sophia_tui.tui.screens.form import FormScreen

            form = FormScreen(self, declared, request)
            form.origin = origin_of_form(declared, request)
            self.push_screen(form)
        else:
            work: Any = partial(self._show_result, declared, request)
            self.run_worker(work, name="show")

    def _open_shown(self, name: str, field: str, request: Mapping[str, Any]) -> None:
        self._open_screen(name)
        if request.get(field) and isinstance(self.screen, LiveScreen):
            self.screen.follow(str(request[field]))

    def show(self, screen: Screen[Any]) -> None:
        """Put a screen on top."""
        self.push_screen(screen)

    async def _show_result(self, declared: "Operation", request: dict[str, Any]) -> None:
        """As show_answer; what failed is said where it was asked."""
        asking = self.screen
        try:
            await self.show_answer(declared, request)
        except SophiaError as problem:
            if self.screen is asking:
                stopped = isinstance(problem, CancelledError)
                self._say(_("Stopped.") if stopped else visible(str(problem)))

    async def show_answer(
        self,
        declared: "Operation",
        request: dict[str, Any],
        kept: dict[str, Any] | None = None,
    ) -> bool:
        """Ask, and show the answer over the screen that asked, as `kept` recalls it; whether it
        was shown. Who has gone elsewhere meanwhile is not called back, and what was asked is
        stopped. Raises SophiaError."""

        asking: Any = self.screen
        if not isinstance(asking, SophiaScreen):
            return False
        if asking.awaited is not None:
            self._say(_("Something is running here; esc stops it."))
            return False
        asking.awaited = CancelSignal()
        self._say(_("Loading..."))
        told = ProgressText(self.glyphs)

        def progress(step: Progress) -> None:
            text = told(step)
            if text is not None and asking.awaited is not None and not asking.awaited.requested:
                asking.say(text)

        try:
            result = await self.call(
                declared.name, request, cancel=asking.awaited, progress=progress
            )
        finally:
            asking.awaited = None
        if self.screen is not asking:
            return False
        self._say("")
        shown = self._answer(words.operation_title(declared), result, request)
        shown.origin = origin_of_answer(declared, request)
        if kept:
            shown.recall(kept)
        await self.push_screen(shown)
        return True

    def _answer(self, title: str, result: "BaseModel", request: dict[str, Any]) -> SophiaScreen:
        """The screen that shows an answer; what has pages is asked again by its own."""
        from sophia_tui.services.plan_views import TrainPreview

        if isinstance(result, TrainPreview):
            from sophia_tui.tui.screens.preview import PreviewScreen

            return PreviewScreen(self, title, result, request)
        if type(result).__name__ == "BrowseOutput":
            from sophia_tui.tui.screens.browser import BrowserScreen

            first: Any = result
            return BrowserScreen(self, request, first)
        if type(result).__name__ in ("PreviewOutput", "VersionDiff"):
            from sophia_tui.tui.screens.changes import ChangesScreen

            changed: Any = result
            return ChangesScreen(self, title, changed, request)
        if type(result).__name__ == "InspectOutput":
            from sophia_tui.tui.screens.inspection import InspectionScreen

            report: Any = result
            return InspectionScreen(self, request, report)
        if type(result).__name__ == "CalendarView":
            from sophia_tui.tui.screens.calendar import CalendarScreen

            return CalendarScreen(self)
        if type(result).__name__ == "ScheduleList":
            from sophia_tui.tui.screens.schedules import SchedulesScreen

            return SchedulesScreen(self)
        if type(result).__name__ == "JobsCompared":
            from sophia_tui.tui.screens.job_compare import JobCompareScreen

            jobs: Any = result
            return JobCompareScreen(self, request, jobs)
        from sophia_tui.tui.screens.result import ResultScreen

        return ResultScreen(self, title, result)

    def finished(self, form: Screen[Any], title: str, result: "BaseModel") -> None:
        """A form has run: its result takes its place; lists beneath look again."""
        if form is not self.screen:
            return
        job = _job_of(result)
        from sophia_tui.tui.screens.form import FormScreen

        asked = form.request()[0] if isinstance(form, FormScreen) else {}
        undo = self._undo(form.operation, asked, result) if isinstance(form, FormScreen) else ""
        if job and self.may(keys.SHOWS["jobs"]):
            self._open_shown("jobs", "job", {"job": job})
            if undo:
                self.call_after_refresh(self._say, undo)
        else:
            made = _dataset_of(result)
            if made and self.is_screen_installed("datasets"):
                list_of_them: Any = self.get_screen("datasets")
                list_of_them.point_at(made)
            shown = self._answer(title, result, asked)
            if isinstance(form, FormScreen):
                shown.origin = origin_of_answer(form.operation, asked)
            if undo and hasattr(shown, "note"):
                shown.note = undo
            self.switch_screen(shown)

    def _undo(self, done: "Operation", asked: Mapping[str, Any], result: "BaseModel") -> str:
        """The command that takes back what was just done, where there is one for this person."""
        from sophia_tui.services.ways_back import way_back
        from sophia_tui.tui.typed_line import line

        found = way_back(done.name, asked, result)
        if found is None or not self.may(found.operation):
            return ""
        command = line(self.dispatcher.registry.get(found.operation), found.request)
        return _("To undo it: {command}").format(command=visible(command))

    def _base(self, name: str) -> None:
        if name not in CLASSES:
            name = "overview"
        if not self.is_screen_installed(name):
            self.install_screen(self.recalled(name, made(name, self)), name)
        if len(self.screen_stack) > 1:
            self.switch_screen(name)
        else:
            self.push_screen(name)
        self.state.screen = name

    def _busy(self) -> bool:
        """Whether a form runs something."""
        return any(isinstance(each, SophiaScreen) and each.running for each in self.screen_stack)

    def _open_screen(self, name: str) -> None:
        if self._busy():
            self._say(_("Something is running here; esc stops it."))
            return
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self._base(name)
        self.remember()

    def _back(self, screen: Screen[Any]) -> None:
        if len(self.screen_stack) > 2:
            if isinstance(screen, SophiaScreen):
                screen.keep_draft()  # the next key may open it again at once
            self.pop_screen()

    def _help(self, screen: Screen[Any]) -> None:
        from sophia_tui.tui.screens.help import HelpScreen

        if isinstance(screen, SophiaScreen) and not isinstance(screen, HelpScreen):
            self.push_screen(HelpScreen(self, screen))

    def _palette(self, screen: Screen[Any]) -> None:
        def chosen(target: str | None) -> None:
            if target:
                self.go(target, self.screen)

        from sophia_tui.tui.screens.palette import PaletteScreen

        self.push_screen(PaletteScreen(self, screen), chosen)

    def _refresh(self, screen: Screen[Any]) -> None:
        self.send_all()
        if isinstance(screen, LiveScreen):
            screen.refresh_now()

    def _copy(self, screen: Screen[Any]) -> None:
        text = screen.copied() if isinstance(screen, SophiaScreen) else ""
        if text:
            self.copy_to_clipboard(text)
            self._say(_("Sent to the terminal's clipboard."))

    def _typed(self, screen: Screen[Any]) -> None:
        """What would I type?"""
        from sophia_tui.tui.screens.pick import TypedScreen
        from sophia_tui.tui.typed_line import lines_of

        if isinstance(screen, SophiaScreen) and not isinstance(screen, TypedScreen):
            self.push_screen(TypedScreen(self, lines_of(self, screen)))

    def asked(self, screen: Screen[Any]) -> "tuple[Operation, dict[str, Any]] | None":
        """The operation behind what a screen shows, and with what it was asked."""
        from sophia_tui.tui.typed_line import listed

        registry = self.dispatcher.registry
        if not isinstance(screen, SophiaScreen):
            return None
        if screen.origin is not None and screen.origin.how == "answer":
            return registry.get(screen.origin.of), dict(screen.origin.request)
        name = keys.SHOWS.get(self.state.screen, "")
        if name in registry and screen is self.get_screen(self.state.screen):
            return registry.get(name), listed(registry.get(name), screen.memory())
        return None

    def _drafts(self, screen: Screen[Any]) -> None:
        from sophia_tui.tui.screens.pick import DraftsScreen

        if not isinstance(screen, DraftsScreen):
            self.push_screen(DraftsScreen(self))

    def _leave(self, screen: Screen[Any]) -> None:
        forms = [each for each in self.screen_stack if isinstance(each, SophiaScreen)]
        if not any(each.dirty or each.running for each in forms):
            self._go_now()
            return
        from sophia_tui.tui.screens.confirm import QuestionScreen

        question = _("A form is not finished. What you typed is kept as a draft. Leave?")
        if any(each.running for each in forms):
            question = _("An operation is running here and will be stopped. Leave?")

        def answered(leave: bool | None) -> None:
            if leave:
                self._go_now()

        if not isinstance(self.screen, QuestionScreen):
            self.push_screen(QuestionScreen(Content(question), _("Leave")), answered)

    def _go_now(self) -> None:
        for each in self.screen_stack:
            if isinstance(each, SophiaScreen):
                each.keep_draft()
        self.remember_at_the_end()
        self.exit()

    def _other_language(self, screen: Screen[Any]) -> None:
        self.call_later(self._change_language)

    async def _change_language(self) -> None:
        """The next language; every screen is made anew, since each holds its texts."""
        if self._busy():
            self._say(_("Something is running here; esc stops it."))
            return
        chosen = LANGUAGES[(LANGUAGES.index(get_language()) + 1) % len(LANGUAGES)]
        self.state.speaks(chosen)
        await self._speak(chosen)

    async def _speak(self, language: str) -> None:
        self.remember()
        set_language(language)
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        for name in CLASSES:
            if self.is_screen_installed(name):
                old = self.get_screen(name)
                self.uninstall_screen(name)
                await old.remove()
        self._base(self.state.screen)

    def tell(self, text: str) -> None:
        """Say something that happened by itself, where the person is now."""
        self._say(visible(text))

    def _say(self, text: str) -> None:
        if isinstance(self.screen, SophiaScreen):
            self.screen.say(text)


#: Roles as the head line shows them.
ROLE_WORDS = (N_("viewer"), N_("operator"), N_("admin"))


def _maker(context: Context | Callable[..., Context]) -> Callable[..., Context]:
    if not isinstance(context, Context):
        return context
    fixed = context
    return lambda **given: replace(fixed, **given)


def _job_of(result: "BaseModel") -> str | None:
    """The job that an operation answered with, which lives on in its own panel."""
    if type(result).__name__ in ("JobView", "FinetuneView"):
        return str(getattr(result, "id", "")) or None
    return None


def _dataset_of(result: "BaseModel") -> str | None:
    """The data set version that an operation made, which its list goes to."""
    if type(result).__name__ == "PrepareOutput":
        return str(getattr(getattr(result, "dataset", None), "id", "")) or None
    return None


def _needs(declared: "Operation", request: Mapping[str, Any]) -> bool:
    """Whether a required field is still open."""
    return any(
        info.is_required() and name not in request
        for name, info in declared.input.model_fields.items()
    )


def _asks(declared: "Operation", request: Mapping[str, Any]) -> bool:
    """Whether a reading operation opens a form first: it does where nothing was given yet."""
    return _needs(declared, request) or not request
