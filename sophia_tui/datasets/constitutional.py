"""The rules and figures of constitutional examples (mission section 4)."""

import re
from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from sophia_tui.datasets.codes import Unusable

FIELDS = (
    "id",
    "category",
    "prompt",
    "response_initial",
    "critique",
    "response_revised",
    "reasoning",
    "values_applied",
    "difficulty",
)
VALUES = frozenset({"verdade", "sabedoria", "justica", "florescimento", "alianca", "humildade"})
#: Each difficulty and its share of a set, as the document has it.
SHARES = {"hard": 0.6, "medium": 0.3, "easy": 0.1}
CATEGORIES = (20, 30)
PROMPT_CHARACTERS = 10
REVISED_CHARACTERS = 50
LABELS = ("[VERITAS]", "[SOPHIA]", "[DIKE]")
_MARKS = ("[ANÁLISE INTERNA]", "[FIM DA ANÁLISE]")
# As written in capitals, and as a word: Portuguese has "todo", and "MÉTODO".
_PLACEHOLDER = re.compile(r"\b(TODO|FIXME)\b")
_LOREM = re.compile(r"lorem\s+ipsum", re.IGNORECASE)
#: How far a share may lie from its target before it is told.
_NEAR = 0.1

_TEXTS = (
    "id",
    "category",
    "prompt",
    "response_initial",
    "critique",
    "response_revised",
    "reasoning",
)


def check(record: dict[str, Any], text: Callable[[Any, str], str]) -> None:
    """Raises Unusable for the first rule that the example breaks; `text` refuses what is no text.

    That ids are unique is a rule over the whole file: see `Ids`.
    """
    for field in _TEXTS:
        text(record.get(field), field)
    if len(record["prompt"].strip()) < PROMPT_CHARACTERS:
        raise Unusable("prompt_short", least=PROMPT_CHARACTERS)
    check_critique(record["critique"])
    revised = record["response_revised"]
    if len(revised.strip()) < REVISED_CHARACTERS:
        raise Unusable("revised_short", least=REVISED_CHARACTERS)
    if found := _PLACEHOLDER.search(revised):
        raise Unusable("revised_placeholder", word=found.group(1))
    if _LOREM.search(revised):
        raise Unusable("revised_placeholder", word="lorem ipsum")
    values = record.get("values_applied")
    if not isinstance(values, list) or not values or not all(_is_value(each) for each in values):
        raise Unusable("values")
    if record.get("difficulty") not in tuple(SHARES):
        raise Unusable("difficulty")


def check_critique(critique: Any) -> None:
    """Raises Unusable where it is not three lines, one for each label, or holds a mark of ours."""
    if not isinstance(critique, str):
        raise Unusable("critique_type")
    if any(mark in critique for mark in _MARKS):
        raise Unusable("critique_mark")
    lines = [line.strip() for line in critique.splitlines() if line.strip()]
    labelled = [
        next((label for label in LABELS if line.startswith(label) and line != label), "")
        for line in lines
    ]
    if sorted(labelled) != sorted(LABELS):
        raise Unusable("critique_lines")


def _is_value(value: Any) -> bool:
    return isinstance(value, str) and value in VALUES


class Ids:
    """The ids seen so far, 16 bytes and a line number each. One belongs to one set of examples."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}

    def see(self, record: dict[str, Any], line: int) -> None:
        """Raises Unusable `same_id` where an earlier line has it. Other forms have no ids."""
        identifier = record.get("id")
        if "response_revised" not in record or not isinstance(identifier, str):
            return
        digest = blake2b(identifier.encode("utf-8", "replace"), digest_size=16).digest()
        first = self._first.setdefault(digest, line)
        if first != line:
            raise Unusable("same_id", first_line=first)


class Figures:
    """What a set of examples is measured by: add each row, then ask for the report."""

    def __init__(self) -> None:
        self.total = self.valid = 0
        self._categories: Counter[str] = Counter()
        self._difficulties: Counter[str] = Counter()

    def add(self, record: dict[str, Any], valid: bool) -> None:
        self.total += 1
        if valid:
            self.valid += 1
            self._categories[record["category"]] += 1
            self._difficulties[record["difficulty"]] += 1

    def report(self) -> dict[str, Any]:
        """Counts, shares from 0 to 1, and whether each figure is what the document wants."""
        shares = {
            level: self._difficulties[level] / self.valid if self.valid else 0.0 for level in SHARES
        }
        rate = self.valid / self.total if self.total else 0.0
        least, most = CATEGORIES
        return {
            "total": self.total,
            "valid": self.valid,
            "success_rate": rate,
            "all_valid": self.total > 0 and self.valid == self.total,
            "categories": dict(self._categories.most_common()),
            "category_count": len(self._categories),
            "categories_enough": least <= len(self._categories) <= most,
            "difficulty": {level: self._difficulties[level] for level in SHARES},
            "difficulty_shares": shares,
            "difficulty_balanced": all(
                abs(shares[level] - wanted) <= _NEAR for level, wanted in SHARES.items()
            ),
        }
