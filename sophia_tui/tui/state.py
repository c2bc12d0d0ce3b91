"""What the console remembers on disk between two openings: the place where a person was, drafts of
forms, the watched job.

A line that drops kills the console with no handler run, so the place is written while it changes.
Small JSON files below paths.state, each written whole, so that two consoles of one person never
read half of one: who writes last is believed. A disk that can't be written never disturbs the
person's work.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sophia_tui.errors import SophiaError
from sophia_tui.files import replace_whole, usable_folder, write_whole
from sophia_tui.i18n import LANGUAGES, _
from sophia_tui.paths import Paths

_log = logging.getLogger("sophia")
#: Of the files here. An earlier one is read as far as it goes, a later one is passed over.
FORMAT = 2
_PLACE = "console.json"
_DRAFTS = "draft-*.json"
#: A person who only looks is noted as seen no more often than this.
_SEEN_AGAIN = timedelta(seconds=30)
#: What a killed process left half-written is swept when it is older than this.
_LEFT_SECONDS = 3600.0


@dataclass(frozen=True)
class Origin:
    """How a screen above the list came to be, so that it can be opened again: by `form` or
    `answer` of the operation `of` asked with `request`, by the form for all rows that `request`
    names (`bulk`), or by an `act` named so."""

    how: str
    of: str
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Above:
    """A screen above the list, and what brings it back as it was."""

    origin: Origin
    memory: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        origin = self.origin
        return {
            "how": origin.how,
            "of": origin.of,
            "with": dict(origin.request),
            "memory": self.memory,
        }


@dataclass(frozen=True)
class Draft:
    """What was typed into a form and not run yet. `request` is what the form was opened with."""

    operation: str
    target: str
    typed: dict[str, Any]
    request: dict[str, Any]
    kept_at: datetime


class ConsoleState:
    """One person's memory. Without `paths` nothing is kept."""

    def __init__(self, paths: Paths | None, actor: str) -> None:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", actor) or "someone"
        self._folder = paths.state / name if paths else None
        #: Whether this person opens the console for the first time.
        self.first = self._folder is not None and not (self._folder / _PLACE).exists()
        known = self._read(_PLACE)
        self.screen: str = str(known.get("screen") or "overview")
        self.watched: str | None = _text(known.get("watched"))
        #: When the person was seen last before this opening.
        self.left_at: datetime | None = _moment(known.get("left_at"))
        #: When the person was seen last, this opening included.
        self.seen_at: datetime | None = None
        #: What brings back each list, by its name, and the screens that stood above.
        self.memories: dict[str, dict[str, Any]] = _memories(known.get("screens"))
        self.above: list[Above] = _above(known.get("above"))
        #: Told once, with a person's words, that and why nothing can be kept here.
        self.on_unkept: Callable[[str], None] | None = None
        self._unkept = ""
        self._written = ""
        self._written_seen: datetime | None = None

    def remember(self, now: datetime) -> None:
        """Write the whole place where it has changed; `now` counts where nobody was seen yet."""
        seen = self.seen_at or now
        place = {
            "format": FORMAT,
            "screen": self.screen,
            "watched": self.watched,
            "screens": self.memories,
            "above": [each.plain() for each in self.above],
        }
        try:
            told = json.dumps(place, ensure_ascii=False, default=str)
        except (TypeError, ValueError) as problem:
            _log.warning("the console's place can't be kept: %s", type(problem).__name__)
            return
        fresh = self._written_seen is None or seen - self._written_seen >= _SEEN_AGAIN
        if told == self._written and not fresh:
            return
        if not self._written:
            self._sweep()
        self._written, self._written_seen = told, seen
        self._write(_PLACE, {**json.loads(told), "left_at": seen.isoformat()}, lasting=False)

    def draft(self, operation: str, target: str = "") -> dict[str, Any]:
        """What was typed into an operation's form for this target and not yet run; what it was
        opened with is no part of it."""
        kept = self._read(_draft_name(operation, target))
        request = kept.get("request") if "format" in kept else None
        given = request if isinstance(request, dict) else {}
        return {
            name: value
            for name, value in _typed(kept).items()
            if name not in given or str(given[name]) != str(value)
        }

    def whole_draft(self, operation: str, target: str = "") -> dict[str, Any]:
        """As draft, with what it was opened with."""
        return _typed(self._read(_draft_name(operation, target)))

    def keep_draft(
        self,
        operation: str,
        typed: dict[str, Any],
        target: str = "",
        request: Mapping[str, Any] | None = None,
    ) -> None:
        kept = {
            "format": FORMAT,
            "operation": operation,
            "target": target,
            "request": dict(request or {}),
            "typed": typed,
        }
        self._write(_draft_name(operation, target), kept)

    def drop_draft(self, operation: str, target: str = "") -> None:
        if self._folder is None:
            return
        name = _draft_name(operation, target)
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as problem:
            self._not_kept(name, problem)

    def drafts(self) -> list[Draft]:
        """Every draft that says what it is of, the newest first."""
        found = []
        for path in self._folder.glob(_DRAFTS) if self._folder else ():
            kept = self._read(path.name)
            operation = _text(kept.get("operation"))
            if not operation or "format" not in kept or not _typed(kept):
                continue
            try:
                at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:  # run or thrown away in another window
                continue
            request = kept.get("request")
            found.append(
                Draft(
                    operation,
                    _text(kept.get("target")) or "",
                    _typed(kept),
                    request if isinstance(request, dict) else {},
                    at,
                )
            )
        return sorted(found, key=lambda each: each.kept_at, reverse=True)

    def _read(self, name: str) -> dict[str, Any]:
        if self._folder is None:
            return {}
        try:
            found = json.loads((self._folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as problem:
            _log.warning("console state %s can't be read: %s", name, type(problem).__name__)
            return {}
        if not isinstance(found, dict):
            _log.warning("console state %s is passed over: no object", name)
            return {}
        version = found.get("format", 1)
        if not isinstance(version, int) or version > FORMAT:
            _log.warning("console state %s is passed over: of a later version", name)
            return {}
        return found

    def _write(self, name: str, plain: dict[str, Any], lasting: bool = True) -> None:
        if self._folder is None:
            return
        write = write_whole if lasting else replace_whole
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write(self._folder / name, json.dumps(plain).encode())
        except (OSError, SophiaError, ValueError) as problem:
            self._not_kept(name, problem)
        else:
            self._unkept = ""

    def _not_kept(self, name: str, problem: Exception) -> None:
        """Say it once for each cause; it is tried again all the same."""
        why = problem.why if isinstance(problem, SophiaError) else ""
        why = why or getattr(problem, "strerror", None) or type(problem).__name__
        self._written = ""
        if why == self._unkept:
            return
        self._unkept = why
        _log.warning("console state %s can't be written: %s in %s", name, why, self._folder)
        if self.on_unkept is not None:
            told = _("Drafts and place can't be kept: {why} in {folder}.")
            self.on_unkept(told.format(why=why, folder=self._folder))

    def _sweep(self) -> None:
        """Take away what consoles left that were killed while they wrote."""
        oldest = time.time() - _LEFT_SECONDS
        for left in self._folder.glob(".*.json.*.tmp") if self._folder else ():
            try:
                if left.stat().st_mtime < oldest:
                    left.unlink()
            except OSError as problem:
                _log.info("%s stays: %s", left.name, type(problem).__name__)

    @property
    def language(self) -> str:
        """The language that was chosen in the console; empty where none was."""
        found = self._read("language.json").get("language")
        return found if found in LANGUAGES else ""

    def speaks(self, language: str) -> None:
        self._write("language.json", {"language": language})

    @property
    def recent(self) -> list[str]:
        """What was chosen in the palette last, the newest first."""
        found = self._read("palette.json").get("recent")
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

    def chose(self, target: str, most: int) -> None:
        kept = [target, *(each for each in self.recent if each != target)]
        self._write("palette.json", {"recent": kept[:most]})

    def save(self, name: str, content: str) -> Path:
        """A file for the person, below saved/. Raises SetupError S101, S102."""
        folder = (self._folder or Path.cwd()) / "saved"
        usable_folder(folder)
        write_whole(folder / name, content.encode("utf-8"))
        return folder / name


def _draft_name(operation: str, target: str) -> str:
    """A file's name whatever the target is called; no two targets share one."""
    told = (
        f"-{hashlib.sha256(target.encode(errors='surrogatepass')).hexdigest()[:16]}"
        if target
        else ""
    )
    return f"draft-{operation}{told}.json"


def _typed(kept: dict[str, Any]) -> dict[str, Any]:
    """The fields of a draft; before FORMAT 2 they were all that stood in its file."""
    if "format" not in kept:
        return kept
    typed = kept.get("typed")
    return typed if isinstance(typed, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _memories(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, dict):
        return {}
    return {str(name): kept for name, kept in value.items() if isinstance(kept, dict)}


def _above(value: Any) -> list[Above]:
    found = []
    for each in value if isinstance(value, list) else ():
        if not isinstance(each, dict):
            continue
        how, of = _text(each.get("how")), _text(each.get("of"))
        request, memory = each.get("with"), each.get("memory")
        if how and of and isinstance(request, dict) and isinstance(memory, dict):
            found.append(Above(Origin(how, of, request), memory))
    return found
