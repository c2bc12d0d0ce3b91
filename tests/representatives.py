"""Which cases of an exhaustive test the everyday run takes; the others are long.

A test over every screen, size and language stays whole under `tests/run --long`. The everyday run
takes each first value once, and of the others every one that goes with some first value.
"""

import itertools
import random
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import hypothesis
import pytest
from _pytest.mark.structures import ParameterSet

LANGUAGES = ("en", "pt_BR")
SIZES = ((80, 24), (120, 40))


def crossed(firsts: Sequence[Any], *others: Sequence[Any]) -> list[ParameterSet]:
    """Every combination, first value by first value; in the everyday run one of each first value,
    another combination of the others each time."""
    combinations = list(itertools.product(*others))
    found = []
    for number, first in enumerate(firsts):
        for place, rest in enumerate(combinations):
            everyday = place == number % len(combinations)
            found.append(_case((first, *rest), everyday))
    return found


def each_size() -> list[ParameterSet]:
    """Every size of a terminal; everyday the smaller one, where things get lost."""
    return [_case((size,), size == SIZES[0]) for size in SIZES]


def chosen(cases: Sequence[Any], everyday: Collection[Any]) -> list[ParameterSet]:
    """Every case; those of `everyday` in the everyday run."""
    missing = [each for each in everyday if each not in cases]
    assert not missing, missing
    return [_case(each if isinstance(each, tuple) else (each,), each in everyday) for each in cases]


def is_long() -> bool:
    """Whether this is the run that leaves nothing out (tests/conftest.py chooses the profile)."""
    return hypothesis.settings.get_current_profile_name() != "everyday"


def examples(count: int) -> int:
    """How many examples hypothesis makes up where each takes long: a fifth of them everyday."""
    return count if is_long() else max(count // 5, 5)


_Case = TypeVar("_Case")


def every(cases: Sequence[_Case], everyday: int) -> list[_Case]:
    """All cases; everyday the first, the last and some between, the same ones each time."""
    if is_long() or len(cases) <= everyday:
        return list(cases)
    between = random.Random(7).sample(range(1, len(cases) - 1), everyday - 2)
    return [cases[at] for at in (0, *sorted(between), len(cases) - 1)]


def _case(values: tuple[Any, ...], everyday: bool) -> ParameterSet:
    named = "-".join(map(_name, values))
    return pytest.param(*values, id=named, marks=() if everyday else pytest.mark.long)


def _name(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
