"""Finds text or a regular expression in every line of a file, in flat memory.

The pattern looks at the line with JSON's escapes undone, so that "ação" is found however it was
written. A line break within a text counts as white space. Patterns are RE2's, which take time in
proportion to the text whatever the pattern is; no match reaches over the end of a line.
"""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sophia_tui.datasets import index
from sophia_tui.datasets.index import Place
from sophia_tui.datasets.pages import Stretch, edited_bytes, pass_lines, reading, stretches
from sophia_tui.datasets.tasks import StreamingTask, Tell
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _

#: Characters shown before and after what was found.
AROUND = 60
_LONGEST_MATCH = 200
_ESCAPED = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_STANDS_FOR = (
    (b"\\n", b"\r"),
    (b"\\r", b"\r"),
    (b"\\t", b"\t"),
    (b'\\"', b'"'),
    (b"\\/", b"/"),
)
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
            _reason(problem),
            _("Patterns are those of RE2: no look-around, no references back."),
        ) from problem


def _spaced(text: str) -> str:
    """A pattern for the text with any white space wherever it has some, a line break included."""
    import re2

    return r"\s+".join(re2.escape(word) for word in re.split(r"\s+", text))


def _reason(problem: Exception) -> str:
    told = problem.args[0] if problem.args else ""
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else type(problem).__name__


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
    """Tells each line that holds the pattern, from `line` on, until `limit` of them."""

    path: str
    kind: str
    text: str
    regex: bool
    any_case: bool
    line: int
    limit: int
    folder: str
    edited: dict[str, str]

    def run_telling(self, tell: Tell, part: Callable[[Any], None]) -> Any:
        hits = Hits(pattern_for(self.text, self.regex, self.any_case))
        edited = edited_bytes(self.edited)
        size = os.stat(self.path).st_size if self.kind == "plain" else None
        found = 0
        with reading(Path(self.path)) as stream:
            place = self._place(stream, tell)
            if place is None:
                return {"more": False}
            for stretch in stretches(stream, place, edited):
                for hit in hits(stretch):
                    if found == self.limit:
                        return {"more": True}
                    found += 1
                    part(hit)
                tell("search", stretch.at + len(stretch.data), size)
        return {"more": False}

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
