"""What people said of answers, by question and by conversation, from a file of theirs.

A line has a question or a conversation_id, beside or in its metadata, and a signal (above or below
0), a reaction (up, down) or a rating (1 to 5: 4 and more is well, 2 and less badly). What export B
writes is such a file.
"""

from pathlib import Path
from typing import Any

from sophia_tui.datasets import split
from sophia_tui.datasets.clean import Item
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.datasets.sources import unreadable
from sophia_tui.errors import DataError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_KINDS = ("conversation",)
_UP = frozenset({"up", "thumbs_up", "+1", "like", "👍", "positive", "good"})
_DOWN = frozenset({"down", "thumbs_down", "-1", "dislike", "👎", "negative", "bad"})


class Judgements:
    """Holds the sum of signals for each question and conversation, some 100 bytes each."""

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}

    @classmethod
    def of_file(cls, path: Path) -> "Judgements":
        """Raises DataError D306 for a file that can't be read, D547 for one without judgements."""
        found = cls()
        try:
            with path.open("rb") as stream:
                for line in LineReader(stream):
                    if line.value is not None:
                        found.add(line.value)
        except ReadFailed as failed:
            raise unreadable(path, failed.problem) from failed.problem
        except OSError as problem:
            raise unreadable(path, problem) from problem
        if not found._sums:
            raise DataError(
                "D547",
                _("{file} says nothing about answers.").format(file=visible(path.name)),
                _("No line has a question or conversation_id with a signal, reaction or rating."),
                _("Name a file like feedback_pairs.jsonl."),
            )
        return found

    def add(self, record: dict[str, Any]) -> None:
        metadata = record.get("metadata")
        beside = {**metadata, **record} if isinstance(metadata, dict) else record
        signal = _signal(beside)
        if not signal:
            return
        keys = split.ids_of(beside, _KINDS)
        question = beside.get("question")
        if isinstance(question, str) and question.strip():
            keys.append(split.question_of([("user", question)]))
        for key in keys:
            place = split.place_of(0, key)
            self._sums[place] = self._sums.get(place, 0) + signal

    def signal_of(self, item: Item) -> int:
        """Above 0 if people found it good, below if bad, 0 if they said nothing or disagree. What
        was said of its conversation goes before what was said of its question."""
        keys = split.ids_of(item.besides or {}, _KINDS)
        for key in (*keys, split.question_of(item.texts)):
            signal = self._sums.get(split.place_of(0, key))
            if signal is not None:
                return signal
        return 0


def _signal(beside: dict[str, Any]) -> int:
    signal = beside.get("signal")
    if isinstance(signal, int | float) and signal:
        return 1 if signal > 0 else -1
    reaction = str(beside.get("reaction", "")).lower()
    if reaction in _UP or reaction in _DOWN:
        return 1 if reaction in _UP else -1
    rating = beside.get("rating")
    if isinstance(rating, int | float) and not isinstance(rating, bool):
        return (rating >= 4) - (rating <= 2)
    return 0
