"""What one job tells: its events or its log, from the newest back, filtered, held, looked through.

Only what is new is asked for at each look; what is older comes by pages as it is wanted.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from textual.content import Content

from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.job_pages import matcher
from sophia_tui.services.views import EventView
from sophia_tui.textsafe import visible
from sophia_tui.tui import words
from sophia_tui.tui.event_text import event_lines

Pane = Literal["events", "log", "settings"]
PANES: tuple[Pane, ...] = ("events", "log", "settings")
#: Which events are shown, in the order of the key; none: all kinds.
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (N_("all kinds"), ()),
    (N_("without progress"), ("state", "metric", "warning", "checkpoint", "answer", "result")),
    (N_("metrics"), ("metric",)),
    (N_("states and checkpoints"), ("state", "checkpoint", "result")),
    (N_("warnings"), ("warning",)),
)
PAGE = 200
#: What comes at one look at most; where more has come, the newest are read anew.
_AT_ONCE = 500
#: What is kept, as long as the person does not look at what is older.
_KEPT = 2000
#: Pages that one search goes back at most.
_SOUGHT_PAGES = 40

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


@dataclass
class Told:
    """Lines of one pane: of an event several, of a log one each. `first` and `last` are where the
    next older and newer ones begin: numbers of events, bytes of a log."""

    lines: list[list[Content]] = field(default_factory=list)
    first: int | None = None
    last: int | None = None
    #: The last line of a log has no end yet and comes again.
    unfinished: bool = False
    known: bool = False
    held_at: int | None = None


class JobTail:
    """One job's pane. `width` cells have room in a line."""

    def __init__(self, call: Call, job: str) -> None:
        self._call = call
        self.job = job
        self.width = 80
        self.pane: Pane = "events"
        self.match = ""
        self.kinds = 0
        self.sought = ""
        #: The line in which the last hit is; None: there is none yet.
        self.hit: int | None = None
        self.told = Told()
        self._rows: list[EventView] = []

    def begin(self) -> None:
        """Anew: another pane, another filter."""
        held = self.told.held_at is not None
        self.told = Told(held_at=0 if held else None)
        self._rows = []
        self.hit = None

    # -- what is asked for

    async def look(self, keep: bool) -> None:
        """What came since the last look; with `keep` nothing older is forgotten."""
        if self.pane == "settings":
            return
        if not keep and len(self.told.lines) > _KEPT and self.told.held_at is None:
            self.begin()
        news = self._new_events if self.pane == "events" else self._new_lines
        await news()

    async def older(self, size: int = PAGE) -> int:
        """The page before; how many lines it has. 0 where nothing is older."""
        if self.pane == "settings" or not self.told.first:
            return 0
        before = self.told.first
        pages = self._older_events if self.pane == "events" else self._older_lines
        found = await pages(before, size)
        self.told.lines = [*found, *self.told.lines]
        if self.told.held_at is not None:
            self.told.held_at += len(found)
        added = sum(map(len, found))
        if self.hit is not None:
            self.hit += added
        if not added and self.told.first and self.told.first < before:
            return await self.older(size)  # nothing matched in what was looked through
        return added

    async def _new_events(self) -> None:
        told = self.told
        asked = self._asked_events()
        if not told.known:
            found = await self._call("jobs.events", {**asked, "newest": True, "limit": PAGE})
            told.first = found.first if found.more else None
        else:
            after = {"after": told.last or 0, "limit": _AT_ONCE}
            found = await self._call("jobs.events", {**asked, **after})
            if found.more and len(found.items) >= _AT_ONCE:
                self.begin()
                await self._new_events()
                return
        told.known = True
        last = found.items[-1].number if found.items else None
        told.last = max(told.last or 0, found.last or 0, last or 0)
        self._rows += found.items
        told.lines += [event_lines(each, self.width) for each in found.items]

    async def _older_events(self, before: int, size: int) -> list[list[Content]]:
        asked = {**self._asked_events(), "before": before, "limit": size}
        found = await self._call("jobs.events", asked)
        self.told.first = found.first if found.more else None
        self._rows = [*found.items, *self._rows]
        return [event_lines(each, self.width) for each in found.items]

    def _asked_events(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"job": self.job}
        if kinds := KINDS[self.kinds][1]:
            asked["kind"] = list(kinds)
        return {**asked, "match": self.match} if self.match else asked

    async def _new_lines(self) -> None:
        told = self.told
        asked = self._asked_log()
        if not told.known:
            found = await self._call("jobs.log", {**asked, "lines": PAGE})
            told.first = found.start or None
        else:
            after = told.last or 0
            found = await self._call("jobs.log", {**asked, "lines": _AT_ONCE, "after": after})
            if found.size < after or found.start > after:
                self.begin()  # more came than one look reads, or the file is another one
                await self._new_lines()
                return
            if told.unfinished and (found.lines or not found.unfinished):
                told.lines = told.lines[:-1]
        told.known, told.last = True, found.end
        told.unfinished = found.unfinished and bool(found.lines)
        told.lines += [_log_lines(each, self.width) for each in found.lines]

    async def _older_lines(self, before: int, size: int) -> list[list[Content]]:
        found = await self._call("jobs.log", {**self._asked_log(), "before": before, "lines": size})
        self.told.first = found.start or None
        return [_log_lines(each, self.width) for each in found.lines]

    def _asked_log(self) -> dict[str, Any]:
        return {"job": self.job, **({"match": self.match} if self.match else {})}

    # -- what is shown

    @property
    def lines(self) -> list[Content]:
        """What is in sight: while it is held, not what came since."""
        shown = self.told.lines[: self.told.held_at] if self.held else self.told.lines
        found = [line for lines in shown for line in lines]
        if self.hit is not None and self.hit < len(found):
            found[self.hit] = found[self.hit].stylize("reverse")
        return found

    @property
    def held(self) -> bool:
        return self.told.held_at is not None

    @property
    def waiting(self) -> int:
        """How many came while it is held."""
        return 0 if self.told.held_at is None else len(self.told.lines) - self.told.held_at

    def hold(self) -> None:
        """Hold still, or go on."""
        self.told.held_at = None if self.held else len(self.told.lines)

    def resize(self, width: int) -> None:
        """Lines for another width; a log's are not folded, so they are read anew."""
        if width == self.width:
            return
        self.width = width
        if self.pane == "events":
            self.told.lines = [event_lines(each, width) for each in self._rows]
        else:
            self.begin()

    def title(self) -> list[str | tuple[str, str]]:
        """What the lines are, and what of them is shown."""
        name = _("Log") if self.pane == "log" else _("Events ({zone})").format(zone=words.zone())
        parts: list[str | tuple[str, str]] = [(name, "bold")]
        if self.pane == "events" and self.kinds:
            parts.append(("  " + _(KINDS[self.kinds][0]), "$accent"))
        if self.match:
            text = _("only with {text}").format(text=visible(self.match))
            parts.append((f"  / {text}", "$accent"))
        if self.sought:
            parts.append(("  " + _("find {text}").format(text=visible(self.sought)), "$accent"))
        if self.held:
            new = ngettext("paused, {count} new", "paused, {count} new", self.waiting)
            parts.append(("  " + new.format(count=number(self.waiting)), "bold $warning"))
        return parts

    def empty(self) -> str:
        """What stands where there are no lines."""
        if not self.told.known:
            return _("Loading...")
        if self.match or (self.kinds and self.pane == "events"):
            return _("Nothing matches; esc clears.")
        return _("The log is empty.") if self.pane == "log" else _("Nothing told yet.")

    # -- search

    async def seek(self, step: int, start: int) -> bool:
        """Go to the next hit, older (-1) or newer (1) than `start` or the last one; older pages are
        read as long as there is none. Raises UsageError D566 for an expression that is none."""
        matches = matcher(self.sought)
        if matches is None:
            return False
        at = start if self.hit is None else self.hit + step
        for _turn in range(_SOUGHT_PAGES):
            lines = self.lines
            while 0 <= at < len(lines):
                if matches(lines[at].plain.encode()):
                    self.hit = at
                    return True
                at += step
            if step > 0:
                return False
            added = await self.older(5 * PAGE)
            if not added:
                return False
            at = added - 1
        return False


def _log_lines(line: str, width: int) -> list[Content]:
    """A line of a log, folded where it is too long."""
    shown = Content(visible(line.expandtabs(4)))
    if shown.cell_length <= width:
        return [shown]
    return shown.fold(max(20, width))
