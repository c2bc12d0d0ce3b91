"""Finds text or a regular expression in every line of a file, in flat memory.

The pattern looks at the line with JSON's escapes undone, so that "ação" is found however it was
written. A line break within a text counts as white space. Patterns are RE2's, which take time in
proportion to the text whatever the pattern is; no match reaches over the end of a line.
"""

import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sophia_tui.datasets import index
from sophia_tui.datasets.index import Place
from sophia_tui.datasets.pages import (
    Edited,
    Stretch,
    edited_bytes,
    pass_lines,
    reading,
    stretches,
    stretches_back,
)
from sophia_tui.datasets.tasks import StreamingTask, Tell
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _

#: Characters shown before and after what was found.
AROUND = 60
_LONGEST_MATCH = 200
_LONGEST_PIECE = 20
_ESCAPED = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_STANDS_FOR = (
    (b"\\n", b"\r"),
    (b"\\r", b"\r"),
    (b"\\t", b"\t"),
    (b'\\"', b'"'),
    (b"\\/", b"/"),
)
#: What RE2 says of a pattern that it does not take.
_WRONG = {
    "missing )": N_("A closing ) is missing"),
    "unexpected )": N_("There is a ) without a ( before it"),
    "missing ]": N_("A closing ] is missing"),
    "bad repetition operator": N_("This can't be repeated once more"),
    "no argument for repetition operator": N_("There is nothing before this to repeat"),
    "invalid repetition size": N_("This can't be repeated so often"),
    "invalid escape sequence": N_("This means nothing after a backslash"),
    "trailing \\": N_("A backslash at the end stands for nothing"),
    "invalid character class range": N_("This is no range of characters"),
    "invalid perl operator": N_("This operator is not known"),
}
_BACKSLASH = b"\x01"  # no line of JSON may hold it, so none is mistaken for it


def legible(data: bytes) -> bytes:
    """Lines of JSON with the escapes in their texts undone; as many lines as before."""
    if b"\\" not in data:
        return data
    data = data.replace(b"\\\\", _BACKSLASH)
    for written, meant in _STANDS_FOR:
        data = data.replace(written, meant)
    if b"\\u" in data:
        data = _ESCAPED.sub(_character, data)
    return data.replace(_BACKSLASH, b"\\")


def _character(found: re.Match[bytes]) -> bytes:
    units = found.group().replace(b"\\u", b"")
    text = bytes.fromhex(units.decode()).decode("utf-16-be", "replace")
    return text.replace("\n", "\r").encode()


def pattern_for(text: str, regex: bool, any_case: bool) -> Any:
    """What is looked for, compiled. Raises UsageError D566 for a pattern that RE2 does not take."""
    import re2

    options = re2.Options()
    options.never_nl = True
    options.log_errors = False
    options.case_sensitive = not any_case
    if regex:
        wanted = f"(?m){text}"
    else:
        spellings = {unicodedata.normalize(form, text) for form in ("NFC", "NFD")} | {text}
        wanted = "|".join(_spaced(each) for each in sorted(spellings))
    try:
        return re2.compile(wanted.encode(), options)
    except (re2.error, UnicodeEncodeError) as problem:
        raise UsageError(
            "D566",
            _("This pattern can't be searched for."),
            _reason(problem, text),
            _("Patterns are those of RE2: no look-around, no references back."),
        ) from problem


def _spaced(text: str) -> str:
    """A pattern for the text with any white space wherever it has some, a line break included."""
    import re2

    return r"\s+".join(re2.escape(word) for word in re.split(r"\s+", text))


def _reason(problem: Exception, text: str) -> str:
    """What is wrong with the pattern and, where that can be told, at which of its characters."""
    told = problem.args[0] if problem.args else ""
    if not isinstance(told, bytes):
        return type(problem).__name__
    kind, _sign, piece = told.decode("utf-8", "replace").partition(": ")
    why = _(_WRONG[kind]) if kind in _WRONG else kind
    at = text.find(piece.removeprefix("(?m)")) if piece else len(text) - 1
    if at < 0:
        return f"{why}: {piece}."
    if kind in ("unexpected )", "missing )"):  # there the piece is the whole pattern
        at = _lone_bracket(text)
    return _("{why}, at character {place}: {piece}").format(
        why=why, place=at + 1, piece=text[at : at + _LONGEST_PIECE]
    )


def _lone_bracket(pattern: str) -> int:
    """Where the bracket without another stands; what a backslash stands before and what a class of
    characters holds is no bracket."""
    opened: list[int] = []
    within, escaped = False, False
    for at, sign in enumerate(pattern):
        if escaped or sign == "\\":
            escaped = not escaped
        elif within:
            within = sign != "]"
        elif sign == "[":
            within = True
        elif sign == "(":
            opened.append(at)
        elif sign == ")":
            if not opened:
                return at
            opened.pop()
    return opened[-1] if opened else len(pattern) - 1


def places(text: str, wanted: str, regex: bool, any_case: bool) -> list[tuple[int, int]]:
    """Where a text as people read it holds what is looked for: beginning and end, in characters.

    Raises UsageError D566.
    """
    pattern = pattern_for(wanted, regex, any_case)
    data = text.replace("\n", "\r").encode("utf-8", "replace")
    found, counted, characters = [], 0, 0
    for match in pattern.finditer(data):
        if match.start() == match.end():
            continue
        characters += len(data[counted : match.start()].decode())
        begin, counted = characters, match.start()
        characters += len(data[counted : match.end()].decode())
        counted = match.end()
        found.append((begin, characters))
    return found


class Hits:
    """The lines of a stretch that hold the pattern, with what stands around it."""

    def __init__(self, pattern: Any) -> None:
        self._pattern = pattern

    def __call__(self, stretch: Stretch) -> Iterator[dict[str, Any]]:
        data = legible(stretch.data)
        line, counted, position = stretch.line, 0, 0
        while position < len(data) and (found := self._pattern.search(data, position)):
            start = data.rfind(b"\n", 0, found.start()) + 1
            end = data.find(b"\n", found.start())
            end = len(data) if end < 0 else end
            line += data.count(b"\n", counted, start)
            counted = start
            yield {"line": line, **_excerpt(data, start, found.start(), found.end(), end)}
            position = end + 1


def _excerpt(data: bytes, start: int, begins: int, ends: int, end: int) -> dict[str, str]:
    """Bytes around are cut as text is, so that no character is halved."""
    ends = min(ends, begins + 4 * _LONGEST_MATCH, end)
    return {
        "before": _text(data[max(start, begins - 4 * AROUND) : begins])[-AROUND:],
        "found": _text(data[begins:ends])[:_LONGEST_MATCH],
        "after": _text(data[ends : min(end, ends + 4 * AROUND)])[:AROUND],
    }


def _text(data: bytes) -> str:
    return data.decode("utf-8", "ignore").replace("\r", "\n")


class SearchTask(StreamingTask):
    """Tells each line that holds the pattern, from `line` on, until `limit` of them.

    `more`: lines are left that were not looked at. With `backwards` those before `line`, the
    nearest first; a line beyond the last is the end. With `count` all of the file is read: how many
    lines hold it, how many of them before `line`.
    """

    path: str
    kind: str
    text: str
    regex: bool
    any_case: bool
    line: int
    limit: int
    folder: str
    edited: dict[str, str]
    backwards: bool = False
    count: bool = False

    def run_telling(self, tell: Tell, part: Callable[[Any], None]) -> Any:
        hits = Hits(pattern_for(self.text, self.regex, self.any_case))
        edited = edited_bytes(self.edited)
        size = os.stat(self.path).st_size if self.kind == "plain" else None
        found = 0
        with reading(Path(self.path)) as stream:
            packed = self.backwards and self.kind != "plain"
            place = None if self.count or packed else self._place(stream, tell)
            if self.backwards and place is None and not (self.count or packed):
                place = self._end(stream, tell)
            if self.count or packed:
                return self._through(stream, hits, edited, tell, part)
            if place is None:
                return {"more": False}
            if self.backwards:
                return self._back(stream, place, hits, edited, tell, part)
            for stretch in stretches(stream, place, edited):
                for hit in hits(stretch):
                    if found == self.limit:
                        return {"more": True}
                    found += 1
                    part(hit)
                tell("search", stretch.at + len(stretch.data), size)
                if found == self.limit:  # who wants one hit does not wait for another
                    return {"more": bool(stream.read(1))}
        return {"more": False}

    def _end(self, stream: Any, tell: Tell) -> Place:
        """Behind the last line of a plain file."""
        path, size = Path(self.path), os.fstat(stream.fileno()).st_size
        known = index.load(Path(self.folder), path, index.stamp_of(stream))
        lines = (known or index.count_blocks(stream, tell)).lines
        open_end = bool(size) and os.pread(stream.fileno(), 1, size - 1) != b"\n"
        return Place(lines + (0 if open_end else 1), size)

    def _back(
        self,
        stream: Any,
        place: Place,
        hits: Hits,
        edited: Edited,
        tell: Tell,
        part: Callable[[Any], None],
    ) -> dict[str, Any]:
        found = 0
        for stretch in stretches_back(stream, place, edited):
            for hit in reversed(list(hits(stretch))):
                if found == self.limit:
                    return {"more": True}
                found += 1
                part(hit)
            tell("search", place.at - stretch.at, place.at)
            if found == self.limit:
                return {"more": stretch.at > 0}
        return {"more": False}

    def _through(
        self, stream: Any, hits: Hits, edited: Edited, tell: Tell, part: Callable[[Any], None]
    ) -> dict[str, Any]:
        """By reading all of it once."""
        size = os.stat(self.path).st_size if self.kind == "plain" else None
        nearest: deque[dict[str, Any]] = deque(maxlen=self.limit)
        total = passed = 0
        for stretch in stretches(stream, Place(1, 0), edited):
            for hit in hits(stretch):
                total += 1
                if hit["line"] < self.line:
                    passed += 1
                    nearest.append(hit)
                elif not self.backwards and total - passed <= self.limit:
                    part(hit)
            tell("search", stretch.at + len(stretch.data), size)
        if self.backwards:
            for hit in reversed(nearest):
                part(hit)
        rest = passed if self.backwards else total - passed
        counted = {"total": total, "passed": passed} if self.count else {}
        return {"more": rest > self.limit, **counted}

    def _place(self, stream: Any, tell: Tell) -> Place | None:
        """The beginning of the first line to look at, where the stream then stands."""
        if self.line <= 1:
            return Place(1, 0)
        if self.kind == "plain":
            path = Path(self.path)
            kept = index.load(Path(self.folder), path, index.stamp_of(stream))
            place = (
                kept.place(stream, self.line)
                if kept
                else index.scan(stream, self.line, os.stat(path).st_size)
            )
            if place:
                stream.seek(place.at)
            return place
        passed = pass_lines(stream, self.line - 1, None, tell)
        return None if passed is None else Place(self.line, passed)
