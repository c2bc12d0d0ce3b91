"""A job's events and its log by pages, from the newest back, with what is looked for in them.

What is read at once is bounded: a page says how far it looked, and the next one goes on there.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sophia_tui.domain.jobs import JobEvent
from sophia_tui.domain.protocols import Store

#: How a regular expression begins where a text is asked for.
REGEX = "re:"
_EVENTS_AT_ONCE = 1000
#: Events and bytes of a log that one page looks through at most.
_MOST_EVENTS = 10_000
_MOST_BYTES = 32 << 20
_BLOCK = 1 << 16
#: A line longer than this is told in pieces.
_LONGEST_LINE = 1 << 20

Matches = Callable[[bytes], bool]


def matcher(text: str | None) -> Matches | None:
    """Whether a line holds the text in any case, or the expression behind `re:`; None: all do.

    Raises UsageError D566 for an expression that RE2 does not take.
    """
    if not text or text == REGEX:
        return None
    from sophia_tui.datasets.search import pattern_for

    regex = text.startswith(REGEX)
    pattern = pattern_for(text.removeprefix(REGEX) if regex else text, regex, any_case=not regex)
    return lambda line: pattern.search(line) is not None


@dataclass(frozen=True)
class EventsPage:
    """Events by rising number, among those from `first` to `last` that were looked through. `more`:
    beyond them there may be others."""

    events: list[JobEvent]
    first: int | None = None
    last: int | None = None
    more: bool = True


async def events_page(
    store: Store,
    job_id: str,
    after: int = 0,
    before: int | None = None,
    limit: int = 500,
    kinds: Sequence[str] = (),
    matches: Matches | None = None,
    backwards: bool = False,
) -> EventsPage:
    """Events between two numbers: the oldest of them, or with `backwards` the newest."""
    found: list[JobEvent] = []
    first: int | None = None
    last: int | None = None
    looked, more = 0, True
    plain = matches is None and (backwards or not kinds)
    while len(found) < limit and looked < _MOST_EVENTS:
        wanted = limit - len(found) if plain else _EVENTS_AT_ONCE
        wanted = min(wanted, 5 * _EVENTS_AT_ONCE)
        if backwards:
            page = await store.trainings.events_before(job_id, before, wanted, kinds)
            page = [each for each in page if each.number > after]
        else:
            page = await store.jobs.events(job_id, after, wanted)
        if not page:
            more = False
            break
        looked += len(page)
        for each in page:
            first = each.number if first is None else min(first, each.number)
            last = each.number if last is None else max(last, each.number)
            kept = (not kinds or each.kind in kinds) and (matches is None or matches(_text(each)))
            if kept:
                found.append(each)
            if len(found) == limit:
                break
        before, after = (page[-1].number, after) if backwards else (before, page[-1].number)
        if len(page) < wanted:
            more = (first if backwards else last) != page[-1].number
            break
    return EventsPage(found[::-1] if backwards else found, first, last, more)


def _text(event: JobEvent) -> bytes:
    """An event as it is looked through: its kind, and its data as `--json` writes them."""
    return f"{event.kind} {json.dumps(event.data, ensure_ascii=False)}".encode()


@dataclass(frozen=True)
class LogPage:
    """Lines between two bytes of a log: `start` is where the first of them begins, or how far back
    was looked; `end` is the byte behind the last one. `unfinished`: no line feed ends it yet, and
    `end` stands before it."""

    lines: list[str]
    start: int = 0
    end: int = 0
    size: int = 0
    unfinished: bool = False


def log_page(
    path: Path,
    lines: int,
    before: int | None = None,
    after: int | None = None,
    matches: Matches | None = None,
) -> LogPage:
    """The last lines of a log, of what stands before and after these bytes. Raises OSError. Hostile
    text: show it safely."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stop = size if before is None else min(before, size)
        least = min(after or 0, stop)
        kept: list[list[str]] = []
        count, start, end, unfinished = 0, stop, stop, False
        for at, line in _back(stream, least, stop):
            if start == stop and before is None and not line.endswith(b"\n"):
                unfinished, end = True, at
            start = at
            if matches is None or matches(line.rstrip(b"\r\n")):
                shown = line.decode("utf-8", errors="replace").splitlines() or [""]
                kept.append(shown)
                count += len(shown)
            if count >= lines or stop - at >= _MOST_BYTES:
                break
    told = [each for part in reversed(kept) for each in part]
    return LogPage(told, start, end, size, unfinished)


def _back(stream: IO[bytes], least: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The lines between two bytes with where each begins, the last one first."""
    position, rest = stop, b""
    while position > least:
        step = min(_BLOCK, position - least)
        position -= step
        stream.seek(position)
        block = stream.read(step) + rest
        pieces = block.split(b"\n")
        pieces = [*(each + b"\n" for each in pieces[:-1]), *filter(None, pieces[-1:])]
        rest = pieces.pop(0)
        at = position + len(block)
        for piece in reversed(pieces):
            at -= len(piece)
            yield at, piece
        if len(rest) > _LONGEST_LINE:
            yield position, rest
            rest = b""
    if rest:
        yield position, rest
