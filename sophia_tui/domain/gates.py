"""The quality gate's bounds, as one text that an operator can edit.

A part is `name>=bound` or `name<=bound`, parts separated by commas. Shares run from 0 to 1. A check
whose part is left out is not made.
"""

import re
from dataclasses import dataclass

#: Names and the side on which a good data set lies.
CHECKS = {
    "examples": ">=",
    "topics": ">=",
    "largest_topic": "<=",
    "balance": ">=",
    "near_duplicates": "<=",
    "short_answers": "<=",
    "repeated_answers": "<=",
    "copied": "<=",
    "unusable": "<=",
}
#: 500 examples as mission section 2 has them. The other bounds are ours: lenient, so that what they
#: name is worth a look.
DEFAULT = (
    "examples>=500, topics>=3, largest_topic<=0.8, balance>=0.3, near_duplicates<=0.1, "
    "short_answers<=0.2, repeated_answers<=0.1, copied<=0.1, unusable<=0.02"
)
_PART = re.compile(rf"({'|'.join(CHECKS)})\s*([<>]=)\s*(\d{{1,9}}(?:\.\d{{1,9}})?)")


@dataclass(frozen=True)
class Bound:
    """What a figure should reach (`>=`), or not exceed (`<=`)."""

    name: str
    value: float

    def holds(self, figure: float) -> bool:
        return figure >= self.value if CHECKS[self.name] == ">=" else figure <= self.value


def read_bounds(text: str) -> dict[str, Bound]:
    """Bounds by name. Raises ValueError that says which part can't be read."""
    found: dict[str, Bound] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART.fullmatch(part)
        if match is None or match[1] in found or CHECKS[match[1]] != match[2]:
            raise ValueError(part)
        found[match[1]] = Bound(match[1], float(match[3]))
    return found


#: Mission section 2: from which conversations and which USD of API cost a month tuning is worth it
#: and below which it is not, and which share of the cost the other ways save.
ADVICE_DEFAULT = "conversations=500..1000, usd=200..500, prompts=0.2..0.3, smaller_model=0.6..0.7"
ADVICE = ("conversations", "usd", "prompts", "smaller_model")
_RANGE = re.compile(
    rf"({'|'.join(ADVICE)})\s*=\s*(\d{{1,9}}(?:\.\d{{1,9}})?)\s*\.\.\s*(\d{{1,9}}(?:\.\d{{1,9}})?)"
)


@dataclass(frozen=True)
class Range:
    low: float
    high: float


def read_ranges(text: str) -> dict[str, Range]:
    """Ranges by name, all of ADVICE. Raises ValueError that says which part can't be read."""
    found: dict[str, Range] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None or match[1] in found or float(match[2]) > float(match[3]):
            raise ValueError(part)
        found[match[1]] = Range(float(match[2]), float(match[3]))
    if missing := [name for name in ADVICE if name not in found]:
        raise ValueError(missing[0])
    return found
