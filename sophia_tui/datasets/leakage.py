"""Whether an example stands in an evaluation set too, the same or in nearly the same words: what is
measured with must not have been learnt.

A question counts, whatever is answered to it; so does a whole chat. A question with another number,
name or product is another question.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.datasets import near_slips, wording
from sophia_tui.datasets.near import index_of, sum_of, text_of
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.datasets.sources import unreadable
from sophia_tui.domain.datasets import Example, Pair
from sophia_tui.errors import DataError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

#: Raised with whatever changes what is found.
VERSION = 1

_LONG = {"turned": 4, "doubled": 4, "inner": 6, "edge": 8}  # how long a word must be for a slip


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the evaluation set. `what` is question or whole."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Leakage:
    """Holds an evaluation set in memory, about 100 bytes for each question and chat of it."""

    def __init__(self, entries: Iterable[tuple[str, int, Example | Pair]]) -> None:
        """`entries` are file, line (from 1) and example."""
        texts: list[str] = []
        places: list[Where] = []
        for file, line, example in entries:
            for what, text in _looked_for(example):
                texts.append(text)
                places.append(Where(file, line, what))
        self._found: dict[tuple[str, int], Where] = {}
        words, keys = index_of(texts)
        for key, at in keys:
            self._found.setdefault((places[at].what, key), places[at])
        self._known = set(words)
        self._close: dict[str, list[str]] = {}
        for word in words:
            if near_slips.may_slip(word) and word not in wording.KEPT_APART:
                for form in _shortened(word):
                    self._close.setdefault(form, []).append(word)

    @classmethod
    def of_files(cls, paths: Sequence[Path]) -> "Leakage":
        """Of JSON Lines in any format that data has. Raises DataError D306 for a file that can't be
        read and D531 where nothing usable stands in them."""
        entries = list(_entries(paths))
        if not entries:
            names = ", ".join(visible(path.name) for path in paths)
            raise DataError(
                "D531",
                _("There is no example to compare with in {files}.").format(files=names),
                _("No line of it is an example that this version can read."),
                _("Name the file that the model is evaluated with."),
            )
        return cls(entries)

    def holds(self, example: Example | Pair) -> Where | None:
        """Where the evaluation set has one of its questions, or all of it; None if nowhere."""
        for what, text in _looked_for(example):
            for key in self._keys(text):
                found = self._found.get((what, key))
                if found is not None:
                    return found
        return None

    def _keys(self, text: str) -> Iterator[int]:
        """The text's key; then, with each unknown word as what may have been meant, one more."""
        words = wording.words_of(text)
        yield sum_of(words)
        meant = [word if word in self._known else self._meant(word) for word in words]
        if meant != words:
            yield sum_of(meant)

    def _meant(self, word: str) -> str:
        if not near_slips.may_slip(word) or word in wording.KEPT_APART:
            return word
        able = {
            known
            for form in _shortened(word)
            for known in self._close.get(form, ())
            if len(word) >= _LONG.get(near_slips.slip_kind(word, known) or "", 1 << 30)
        }
        return min(able) if able else word


def _shortened(word: str) -> set[str]:
    return {word, *(word[:at] + word[at + 1 :] for at in range(len(word)))}


def _looked_for(example: Example | Pair) -> Iterator[tuple[str, str]]:
    """Every question that says something of its own, and the whole. A later question of few words
    means nothing without what was said before."""
    asked = 0
    for message in example.messages:
        if message.role == "user":
            asked += 1
            if len(wording.said_in(message.content)) >= (1 if asked == 1 else 4):
                yield "question", message.content
    if wording.said_in(whole := text_of(example)):
        yield "whole", whole


def _entries(paths: Sequence[Path]) -> Iterator[tuple[str, int, Example | Pair]]:
    from sophia_tui.datasets import formats
    from sophia_tui.datasets.codes import Unusable

    for path in paths:
        try:
            with path.open("rb") as stream:
                for line in LineReader(stream):
                    if line.value is None:
                        continue
                    try:
                        example = formats.convert(line.value, lambda _code: None)
                    except Unusable:
                        continue
                    yield path.name, line.number, example
        except ReadFailed as failed:
            raise unreadable(path, failed.problem) from failed.problem
        except OSError as problem:
            raise unreadable(path, problem) from problem
