"""Answers to one question that can't both be right: they differ in a number, a unit, a date, a
name, or in yes and no. A person decides; nothing here is ever dropped.

Questions are one where `near` says so, asked in their context: all that was said before, too.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from sophia_tui.datasets import near_slips, wording
from sophia_tui.datasets.near import Cluster
from sophia_tui.domain.datasets import Example, Pair

#: Raised with whatever changes what is found.
VERSION = 2

#: Answers to one question that are compared each with each; further ones with the first of them.
_EACH = 30
#: Share of words that answers share which differ in a denial alone.
_ALIKE = 0.5
_YES = wording.words("sim yes yeah yep sure claro certamente")
_NO = wording.words("nao no nope not")
#: Where one of these stands, "no" is no denial but Portuguese for "in the".
_PORTUGUESE = wording.words("de do da dos das o os que para com em na uma um voce nao")


@dataclass(frozen=True, slots=True)
class Asked:
    """One row: a question in its context, and what is answered."""

    row: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind` is number, unit, date, name or yes_no; what each of the two answers has."""

    kind: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two rows by the caller's numbers, the lower one first, and in what their answers differ."""

    first: int
    second: int
    differs: tuple[Difference, ...]


def asked(example: Example | Pair) -> tuple[str, str]:
    """The last question in its context, a line for each turn before it, and the answer to it."""
    if isinstance(example, Pair):
        return "\n".join(each.content for each in example.messages), example.chosen.content
    *before, last = example.messages
    turns = [each.content for each in before if each.role not in ("system", "developer")]
    return "\n".join(turns), last.content


def find_contradictions(
    questions: Iterable[Cluster], rows: Mapping[int, Asked]
) -> list[Contradiction]:
    """All pairs, in the order of their first rows. `questions` are near-duplicates of what is
    asked; of `rows` theirs are needed alone."""
    found = [
        each
        for cluster in questions
        for each in _among(rows[row] for row in (cluster.kept, *cluster.others))
    ]
    return sorted(found, key=lambda each: (each.first, each.second))


def _among(rows: Iterable[Asked]) -> Iterator[Contradiction]:
    """The pairs among rows of one question; answers that say the same count once."""
    known: dict[tuple[str, ...], Asked] = {}
    for each in sorted(rows, key=lambda one: one.row):
        known.setdefault(tuple(wording.said_in(each.answer)), each)
    facts = [(each.row, Facts.of(each.answer)) for each in known.values()]
    for number, (row, one) in enumerate(facts[:_EACH]):
        for other, two in facts[number + 1 :]:
            if differs := differences(one, two):
                yield Contradiction(row, other, differs)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a text says that may be wrong. `numbers` have their units behind them, `names` stand as
    they are written by their folded form."""

    words: tuple[str, ...]
    numbers: frozenset[tuple[str, str]]
    dates: frozenset[str]
    names: dict[str, str] = field(default_factory=dict)
    denials: int = 0
    noes: int = 0
    portuguese: bool = False
    opens: str = ""

    @classmethod
    def of(cls, text: str) -> "Facts":
        tokens = wording.TOKEN.findall(wording.composed(text))
        folded = [wording.fold(token) for token in tokens]
        dates = frozenset(
            word for word in folded if word in wording.MONTHS or word in wording.WEEKDAYS
        )
        said = tuple(wording.said_in(text))
        return cls(
            words=said,
            numbers=frozenset(_numbers(folded)),
            dates=dates | frozenset(word for word in said if word[0].isdecimal() and "/" in word),
            names=_names(tokens, folded),
            denials=sum(word in wording.DENIALS and word != "no" for word in said),
            noes=said.count("no"),
            portuguese=not _PORTUGUESE.isdisjoint(folded),
            opens=_opening(said),
        )


def _numbers(folded: list[str]) -> Iterator[tuple[str, str]]:
    """Each number with its unit, the word behind it or a currency before it; "" for none."""
    for at, word in enumerate(folded):
        if not word[0].isdecimal() and word not in wording.NUMBER_WORDS:
            continue
        said = wording.says(word)
        if not said or "/" in said[0]:
            continue
        unit = said[1] if len(said) > 1 else ""
        behind = wording.says(folded[at + 1]) if at + 1 < len(folded) and not unit else ()
        if behind and behind[0] in wording.UNITS:
            unit = behind[0]
        elif at and not unit and folded[at - 1][-1] in "$€£":
            unit = (wording.says(folded[at - 1]) or ("",))[0]
        yield said[0], unit


def _names(tokens: list[str], folded: list[str]) -> dict[str, str]:
    """Words with a capital inside a sentence; none where every word has one."""
    found: dict[str, str] = {}
    inside = small = 0
    for at in range(1, len(tokens)):
        if tokens[at - 1][0] in ".!?" or not tokens[at][0].isalpha():
            continue
        inside += 1
        small += tokens[at][0].islower()
        known = folded[at] in wording.MONTHS or folded[at] in wording.WEEKDAYS
        if tokens[at][0].isupper() and not known and wording.says(folded[at]):
            found[folded[at]] = wording.shown(tokens[at])
    return found if small * 3 >= inside else {}


def _opening(said: tuple[str, ...]) -> str:
    for word in said[:2]:
        if word in _YES:
            return "yes"
        if word in _NO:
            return "no"
    return ""


def differences(one: Facts, two: Facts) -> tuple[Difference, ...]:
    """In what two answers can't both be right; a fact that only one of them gives is none."""
    found = [*_number_differences(one, two), *_set_difference("date", one.dates, two.dates)]
    found += _name_differences(one, two)
    if _denied(one, two):
        found.append(Difference("yes_no", *_polarities(one, two)))
    return tuple(found)


def _number_differences(one: Facts, two: Facts) -> Iterator[Difference]:
    first, second = one.numbers - two.numbers, two.numbers - one.numbers
    if not first or not second:
        return
    values = [{value for value, _unit in those} for those in (first, second)]
    kind = "unit" if values[0] == values[1] else "number"
    if kind == "unit" and not all(unit for _value, unit in first | second):
        return
    shown = [
        ", ".join(sorted(f"{value} {unit}".strip() for value, unit in those))
        for those in (first, second)
    ]
    yield Difference(kind, *shown)


def _set_difference(kind: str, one: frozenset[str], two: frozenset[str]) -> Iterator[Difference]:
    first, second = one - two, two - one
    if first and second:
        yield Difference(kind, ", ".join(sorted(first)), ", ".join(sorted(second)))


def _name_differences(one: Facts, two: Facts) -> Iterator[Difference]:
    """A name that the other answer has nowhere, not even in small letters or with two letters
    turned; and a word of the other one in its place."""
    first, second = _names_missing(one, two), _names_missing(two, one)
    if not first and not second:
        return
    if first and second:
        yield Difference("name", ", ".join(first), ", ".join(second))
        return
    only, other = (one, two) if first else (two, one)
    if other.names or _alike(one, two) < _ALIKE:
        return
    instead = [
        wording.shown(word) for word in other.words if word not in only.words and word.isalpha()
    ]
    if instead:
        shown = (", ".join(first or second), ", ".join(dict.fromkeys(instead)))
        yield Difference("name", *(shown if first else shown[::-1]))


def _names_missing(one: Facts, two: Facts) -> list[str]:
    return [
        written
        for name, written in one.names.items()
        if name not in two.words
        and not any(near_slips.slip_kind(name, word) in ("turned", "doubled") for word in two.words)
    ]


def _denied(one: Facts, two: Facts) -> bool:
    if one.opens and two.opens:
        return one.opens != two.opens
    first, second = _denials(one, two)
    return first != second and _alike(one, two) >= _ALIKE


def _denials(one: Facts, two: Facts) -> tuple[int, int]:
    """How many each has; "no" is one only where neither text is Portuguese."""
    if one.portuguese or two.portuguese:
        return one.denials, two.denials
    return one.denials + one.noes, two.denials + two.noes


def _polarities(one: Facts, two: Facts) -> tuple[str, str]:
    if one.opens and two.opens:
        return one.opens, two.opens
    first, second = _denials(one, two)
    return ("no", "yes") if first > second else ("yes", "no")


def _alike(one: Facts, two: Facts) -> float:
    first, second = set(one.words), set(two.words)
    return len(first & second) / max(1, len(first | second))
