"""How a person comes back: the place is noted while it changes, and brought back at the next
opening with what happened meanwhile. What is on disk is state.py's."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from textual import events
from textual.css.query import NoMatches

from sophia_tui.errors import SophiaError, UnavailableError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.textsafe import visible
from sophia_tui.tui.screens import CLASSES
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.setup_acts import SetupActs
from sophia_tui.tui.state import Above, Origin

if TYPE_CHECKING:
    from sophia_tui.domain.operations import Operation

_log = logging.getLogger("sophia")
#: Seconds between two looks at whether the place has changed: so much is lost at most.
_LOOK_SECONDS = 1.0
#: Who was not seen for so long is told what happened, though the console stayed open (in tmux).
_LONG_UNSEEN = timedelta(minutes=15)
#: An absence that is worth a word though nothing happened.
_WORTH_A_WORD = timedelta(minutes=1)
#: What a request says to have an answer anew; who comes back wants the one that there is.
_ANEW = frozenset({"again", "refresh"})
_MEANWHILE = "overview.meanwhile"


class Returning(SetupActs):
    """A part of the console's app."""

    now: Callable[[], datetime]
    tell: Callable[[str], None]
    #: Whether screens above the list are still to be brought back: what is noted of them stays.
    _bringing_back = False
    _leaving = False

    def __init__(self) -> None:
        super().__init__()
        #: What was said since the person came back, until they press a key.
        self._news: list[str] = []
        #: The rows that lists were asked to go back to, by the list's name.
        self._wanted: dict[str, str] = {}
        self._data_came = asyncio.Event()

    # -- while the person works

    def begin_to_remember(self) -> None:
        """After the first paint: bring back what stood above the list, then note every change."""
        self._bringing_back = bool(self.state.above)
        work: Any = partial(self._come_back, self.state.left_at)
        self.run_worker(work, name="come back", group="come back")
        self.set_interval(_LOOK_SECONDS, self.remember)

    async def on_event(self, event: events.Event) -> None:
        """As Textual's; a key also says that the person is here."""
        if isinstance(event, events.Key | events.Paste | events.MouseDown):
            self._seen()
        await super().on_event(event)

    def _seen(self) -> None:
        now, before = self.now(), self.state.seen_at
        self.state.seen_at = now
        self._news.clear()
        if before is not None and now - before >= _LONG_UNSEEN:
            self.state.left_at = before
            work: Any = partial(self._tell_meanwhile, before, only_news=True)
            self.run_worker(work, name="meanwhile", group="come back")

    def remember(self) -> None:
        """Note the place; written where it has changed."""
        if self._leaving:
            return
        for name in CLASSES:
            if self.is_screen_installed(name):
                screen: Any = self.get_screen(name)
                # what is not loaded yet has nothing of its own to tell
                if screen.is_mounted and getattr(screen, "data", True) is not None:
                    self.state.memories[name] = _memory(screen, self.state.memories.get(name, {}))
        if not self._bringing_back:
            self.state.above = [
                self._noted(each, each.origin)
                for each in self.screen_stack[2:]
                if isinstance(each, SophiaScreen) and each.origin is not None and each.is_mounted
            ]
        self.state.remember(self.now())

    def _noted(self, screen: SophiaScreen, origin: Origin) -> Above:
        """A screen as it is; as it was, where it has no data yet to tell its place by."""
        before = next((each for each in self.state.above if each.origin == origin), Above(origin))
        if getattr(screen, "data", True) is None:
            return before
        return Above(origin, _memory(screen, before.memory))

    def exit(self, *given: Any, **named: Any) -> None:
        """As Textual's; the place is noted before the screens are taken down, and not after."""
        self.remember()
        self._leaving = True
        super().exit(*given, **named)

    def remember_at_the_end(self) -> None:
        """Who leaves by a word comes back to the list as it is; what stood above it was left."""
        self.remember()
        self._leaving = True
        self.state.above = []
        self.state.seen_at = self.now()
        self.state.remember(self.now())

    # -- lists

    def recalled(self, name: str, screen: SophiaScreen) -> SophiaScreen:
        """The screen as it was left, where something is known of it."""
        kept = self.state.memories.get(name)
        if kept:
            screen.recall(kept)
            known = [kept.get(each) for each in ("opened", "row")]
            rows = [each for each in known if isinstance(each, str) and each]
            if rows:
                self._wanted[name] = rows[0]
        return screen

    def look_for_what_is_gone(self) -> None:
        """A list has its data: say whether the row that it should go back to is still there."""
        self._data_came.set()
        screen: Any = self.screen
        name = self.state.screen
        if name in self._wanted and self.is_screen_installed(name):
            rows = getattr(screen, "rows", None)
            if screen is self.get_screen(name) and isinstance(rows, dict):
                row = self._wanted.pop(name)
                if row not in rows and not _filtered(self.state.memories.get(name, {})):
                    self.add_news(_("{name} is no longer in the list.").format(name=visible(row)))

    # -- coming back

    async def _come_back(self, left_at: datetime | None) -> None:
        await self.bring_back()
        if left_at is not None:
            await self._tell_meanwhile(left_at)

    async def bring_back(self) -> None:
        """The screens above the list once more, from the lowest on; one that can't be opened is
        said, and those above it stay away. Who has gone elsewhere meanwhile is not called back."""
        self._bringing_back = True
        try:
            for each in self.state.above:
                before = self.screen
                try:
                    opened = await self._again(each)
                except SophiaError as problem:
                    opened = False
                    self.add_news(visible(problem.what))
                if not opened or self.screen is before:
                    break
        finally:
            self._bringing_back = False

    async def _again(self, kept: Above) -> bool:
        """Open one screen; False where it stays away. Raises SophiaError."""
        origin = kept.origin
        acts = {"environment": self.show_environment, "first_setup": self.show_first_setup}
        if origin.how == "act":
            if origin.of in acts:
                acts[origin.of]()
            return origin.of in acts
        sophia: Any = self
        declared: Operation = self._operations().get(origin.of)
        if not sophia.may(declared.name):
            return False
        if origin.how == "form":
            await self._form_again(declared, kept)
            return True
        if origin.how == "bulk":
            return await self._bulk_again(declared, kept)
        if origin.how != "answer" or not askable(declared, origin.request):
            return False
        while True:
            asking = self.screen
            self._data_came.clear()
            try:
                return bool(await sophia.show_answer(declared, dict(origin.request), kept.memory))
            except UnavailableError as problem:
                _log.info("%s waits for the store: %s", declared.name, problem.code)
                await self._data_came.wait()
                if self.screen is not asking:
                    return False

    def resume(self, origin: Origin) -> None:
        """Open a form where it was left."""
        work: Any = partial(self._resume, Above(origin))
        self.run_worker(work, name="resume", group="come back")

    async def _resume(self, kept: Above) -> None:
        try:
            await self._again(kept)
        except SophiaError as problem:
            self.tell(problem.what)

    async def _form_again(self, declared: "Operation", kept: Above) -> None:
        from sophia_tui.tui.screens.form import FormScreen

        console: Any = self
        form = FormScreen(console, declared, dict(kept.origin.request), resumed=True)
        form.origin = kept.origin
        form.recall(kept.memory)
        await self.push_screen(form)
        if form.from_draft:
            self.add_news(form.draft_told())

    async def _bulk_again(self, declared: "Operation", kept: Above) -> bool:
        """The form for marked rows over its list, once the list has them."""
        name, marked = (kept.origin.request.get(each) for each in ("list", "marked"))
        if name not in CLASSES or not isinstance(marked, list):
            return False
        console: Any = self
        if self.screen is not (self.is_screen_installed(name) and self.get_screen(name)):
            console.go(f"screen.{name}", self.screen)
        shown: Any = self.get_screen(name)
        while shown.data is None:
            self._data_came.clear()
            await self._data_came.wait()
            if self.screen is not shown:
                return False
        shown.mark_again(str(each) for each in marked)
        form = shown.bulk_form(declared.name)
        if form is None:
            self.add_news(_("The marked rows are not here; what you typed for them is kept."))
            return False
        form.recall(kept.memory)
        await self.push_screen(form)
        if form.from_draft:
            self.add_news(form.draft_told())
        return True

    def _operations(self) -> Any:
        console: Any = self
        return console.dispatcher.registry

    async def _tell_meanwhile(self, since: datetime, only_news: bool = False) -> None:
        """Say on whatever screen how long the person was away and what happened."""
        sophia: Any = self
        if not sophia.may(_MEANWHILE):
            return
        while True:
            self._data_came.clear()
            try:
                found: Any = await sophia.call(_MEANWHILE, {"since": since})
                break
            except UnavailableError:
                await self._data_came.wait()
            except SophiaError as problem:
                _log.info("not told what happened meanwhile: %s", problem.code)
                return
        away = self.now() - since
        if not found.happened and (only_news or away < _WORTH_A_WORD):
            return
        told = _("Away {time}: {what}.").format(time=span(away), what=visible(found.told))
        screen = self.screen
        typing = isinstance(screen, SophiaScreen) and "form" in screen.scopes
        if found.happened and self.state.screen != "overview" and not typing:
            told += " " + _("{key} shows more.").format(key=self._overview_key())
        self.add_news(told)

    def _overview_key(self) -> str:
        console: Any = self
        found = [each.shown for each in console.keys if each.target == "screen.overview"]
        return found[0] if found else "1"

    def add_news(self, text: str) -> None:
        """Say it beside what was said since the person came back."""
        self._news.append(text)
        if isinstance(self.screen, SophiaScreen):
            self.screen.say("  ".join(self._news))


def origin_of_answer(declared: "Operation", request: Mapping[str, Any]) -> Origin | None:
    """How an answer comes again, where it can be asked for once more without doing anything."""
    kept = {name: value for name, value in request.items() if name not in _ANEW}
    return Origin("answer", declared.name, kept) if askable(declared, kept) else None


def askable(declared: "Operation", request: Mapping[str, Any]) -> bool:
    """Whether it only reads, costs nothing, and nothing secret was asked with it."""
    from sophia_tui.services import fields

    known = declared.input.model_fields
    if (
        declared.writes
        or declared.name == "serve.ask"
        or any(each not in known for each in request)
    ):
        return False
    return not any(fields.is_secret(known[each]) for each in request)


def origin_of_form(declared: "Operation", request: Mapping[str, Any]) -> Origin:
    """How a form comes again; secrets are typed anew."""
    from sophia_tui.services import fields

    known = declared.input.model_fields
    kept = {
        name: value
        for name, value in request.items()
        if name in known and not fields.is_secret(known[name])
    }
    return Origin("form", declared.name, kept)


def span(away: timedelta) -> str:
    """How long somebody was away, in one figure."""
    minutes = max(0, int(away.total_seconds() // 60))
    if minutes < 60:
        return _("{minutes} min").format(minutes=minutes)
    hours = minutes // 60
    if hours < 48:
        return _("{hours} h").format(hours=hours)
    return ngettext("{days} day", "{days} days", hours // 24).format(days=number(hours // 24))


def _memory(screen: SophiaScreen, before: dict[str, Any]) -> dict[str, Any]:
    """What brings it back; what was known before, where it is being taken down just now."""
    try:
        return screen.memory()
    except NoMatches as problem:
        _log.debug("%s is not noted: %s", type(screen).__name__, type(problem).__name__)
        return before


def _filtered(kept: Mapping[str, Any]) -> bool:
    """Whether a filter may be what keeps a row out of sight."""
    return bool(kept.get("filter") or kept.get("match"))
