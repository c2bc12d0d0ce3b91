"""The calendar of models as Overview and the check of the set-up show it: what is amiss, one line a
model; looked at again every few seconds at most, since consoles ask without end."""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, get_language, ngettext
from sophia_tui.services.calendar_views import CalendarEntry, CalendarView, Severity, UnreadFile
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    import asyncio

LOOK_SECONDS = 15.0  # how long what was found counts as fresh
PATIENCE = 1.0  # seconds that a look waits for an answer
_AMISS = ("error", "urgent", "warning")
#: What `state` is called where there is no room for a sentence.
STATE_WORDS = {
    "ended": N_("ended"),
    "gone": N_("not listed"),
    "unserved": N_("not served"),
    "untrainable": N_("no training"),
}


class EndingModelView(Output):
    """A model that env files name and that ends, or answers no more; the gravest first."""

    table_columns: ClassVar[tuple[str, ...]] = ("model", "keys", "state", "days_left", "command")

    model: str = Field(title=N_("Model"))
    keys: list[str] = Field(title=N_("Keys"))
    use: str = Field(default="asked", title=N_("Used for"))
    state: str = Field(title=N_("State"))
    severity: Severity = Field(title=N_("How grave"))
    ends: date | None = Field(default=None, title=N_("Ends"))
    days_left: int | None = Field(default=None, title=N_("Days left"))
    threshold: int | None = Field(default=None, title=N_("Bound passed, in days"))
    told: str = Field(title=N_("What it means"))
    command: str = Field(default="", title=N_("Way out"))


def endings(view: CalendarView) -> list[EndingModelView]:
    """What is amiss, one for each model and kind of use."""
    found: dict[tuple[str, str], list[CalendarEntry]] = {}
    for each in view.items:  # gravest first
        if each.severity in _AMISS:
            found.setdefault((each.model, each.use), []).append(each)
    return [
        EndingModelView(
            model=entries[0].model,
            keys=list(dict.fromkeys(each.key for each in entries)),
            use=entries[0].use,
            state=entries[0].state,
            threshold=entries[0].threshold,
            severity=entries[0].severity,
            ends=entries[0].ends,
            days_left=entries[0].days_left,
            told=entries[0].told,
            command=entries[0].command,
        )
        for entries in found.values()
    ]


def unread_told(unread: Sequence[UnreadFile]) -> str:
    """Which env files can't be read; empty where all can."""
    if not unread:
        return ""
    told = _("not read, what it names is not known: {files}")
    return told.format(files=", ".join(visible(each.file) for each in unread))


def unread_lines(unread: Sequence[UnreadFile]) -> tuple[str, ...]:
    """Why each can't be read."""
    return tuple(dict.fromkeys(visible(each.why) for each in unread))


def in_short(found: EndingModelView) -> str:
    """State or days left in a few words."""
    if found.state in STATE_WORDS or found.days_left is None:
        return _(STATE_WORDS.get(found.state, found.state))
    days = found.days_left
    return ngettext("in {days} day", "in {days} days", days).format(days=days)


def days_or_state(found: CalendarEntry) -> str:
    """Of any entry in a few words: the days left, or its state where there are none."""
    if found.state in STATE_WORDS:
        return _(STATE_WORDS[found.state])
    if found.days_left is not None and found.days_left > 0:
        days = found.days_left
        return ngettext("in {days} day", "in {days} days", days).format(days=days)
    return _("not known") if found.severity == "unknown" else _("no date")


def way_out(found: EndingModelView) -> tuple[str, dict[str, Any]] | None:
    """The operation that begins the way out, and its request."""
    for begins, operation in (
        ("sophia models succeed ", "models.succeed"),
        ("sophia serve model ", "serve.model"),
    ):
        if found.command.startswith(begins):
            return operation, {"model": found.command.removeprefix(begins)}
    return None


class CalendarLook:
    """What is known of the calendar: asked in the background, kept for some seconds in each
    language that somebody reads."""

    def __init__(self, ask: Callable[[], Awaitable[CalendarView]]) -> None:
        self._ask = ask
        self._known: dict[str, CalendarView | None] = {}
        self._asked_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> CalendarView | None:
        """The last answer; None while there was none, or a price file that can't be used is told
        elsewhere."""
        import asyncio

        language = get_language()
        fresh = time.monotonic() - self._asked_at.get(language, float("-inf")) < LOOK_SECONDS
        asking = self._asking.get(language)
        if not fresh and (asking is None or asking.done()):
            asking = self._asking[language] = asyncio.create_task(self._look(language))
        if asking is not None and not asking.done():
            await asyncio.wait({asking}, timeout=PATIENCE)
        return self._known.get(language)

    async def _look(self, language: str) -> None:
        try:
            self._known[language] = await self._ask()
        except SophiaError:  # its own check and its own command say why
            self._known[language] = None
        self._asked_at[language] = time.monotonic()
