"""Replaces personal data by placeholders such as [EMAIL_1], the same for the same value.

Numbers count within one record, by kind, in the order of the first appearance: the same value has
the same placeholder in all messages of its record. They do not go on from record to record: then a
placeholder would depend on which other records there are and in which order they are read, would
tell which records are of the same person, and would keep one question of two persons from being
seen as the same. So a record is always redacted to the same text, in every version.
"""

import re
from collections import Counter

from sophia_tui.datasets.personal import Kind, find, may_hold
from sophia_tui.datasets.texts import texts_of, with_texts
from sophia_tui.domain.datasets import Example, Pair

#: Raised whenever the same text may be redacted in another way than before.
VERSION = 1

_PLACEHOLDER = re.compile(r"\[(EMAIL|CNPJ|CPF|CARD|PHONE)_([0-9]{1,6})\]")
_ROUNDS = 4


def redact(example: Example | Pair, row: bytes) -> tuple[Example | Pair, Counter[str]]:
    """The example without personal data, and how many values were replaced, by kind.

    `row` is the example's canonical line, looked at first because most hold nothing. Redacting what
    was redacted already changes nothing; placeholders that the text holds already keep theirs.
    """
    counts: Counter[str] = Counter()
    if not may_hold(row):
        return example, counts
    texts = texts_of(example)
    numbers = _Numbers(texts)
    redacted = [_redact_text(text, numbers, counts) for text in texts]
    return (with_texts(example, redacted) if counts else example), counts


class _Numbers:
    """The placeholders of one record, by kind and value."""

    def __init__(self, texts: list[str]) -> None:
        self._last: Counter[str] = Counter()
        self._given: dict[tuple[Kind, str], str] = {}
        for text in texts:
            for match in _PLACEHOLDER.finditer(text):
                word, number = match.group(1), int(match.group(2))
                self._last[word] = max(self._last[word], number)

    def of(self, kind: Kind, value: str) -> str:
        known = self._given.get((kind, value))
        if known is None:
            word = kind.value.upper()
            self._last[word] += 1
            known = self._given[(kind, value)] = f"[{word}_{self._last[word]}]"
        return known


def _redact_text(text: str, numbers: _Numbers, counts: Counter[str]) -> str:
    # What stood beside a value may show itself once the value is gone, so look again.
    for _round in range(_ROUNDS):
        findings = find(text)
        if not findings:
            break
        parts: list[str] = []
        place = 0
        for each in findings:
            parts += (text[place : each.start], numbers.of(each.kind, each.value))
            place = each.end
            counts[each.kind.value] += 1
        text = "".join(parts) + text[place:]
    return text
