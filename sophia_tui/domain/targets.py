"""Targets: what a good assistant reaches, as one text that an operator can edit.

A part is `name<target` or `name>target`, with the baseline in brackets where there is one, parts
separated by commas: `perplexity<2.5(3.0), bleu>0.6(0.5)`. Shares run from 0 to 1, latency is in
seconds.
"""

import re
from dataclasses import dataclass

NAMES = (
    "perplexity",
    "bleu",
    "latency",
    "errors",
    "satisfaction",
    "tone",
    "facts",
    "scope",
    "hallucination",
)
#: Mission section 2, with its baselines.
DEFAULT = (
    "perplexity<2.5(3.0), bleu>0.6(0.5), latency<2(3), errors<0.01(0.02), "
    "satisfaction>0.85(0.75), tone>0.9, facts>0.95, scope>0.98, hallucination<0.02"
)
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_PART = re.compile(rf"({'|'.join(NAMES)})\s*([<>])\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\))?")


@dataclass(frozen=True)
class Target:
    """A bound that a measure should stay below, or be above."""

    name: str
    below: bool
    value: float
    baseline: float | None = None

    def met(self, figure: float) -> bool:
        return figure < self.value if self.below else figure > self.value

    def __str__(self) -> str:
        return f"{'<' if self.below else '>'} {self.value:g}"


def read_targets(text: str) -> dict[str, Target]:
    """Targets by name. Raises ValueError that says which part can't be read."""
    found: dict[str, Target] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART.fullmatch(part)
        if match is None or match[1] in found:
            raise ValueError(part)
        baseline = None if match[4] is None else float(match[4])
        found[match[1]] = Target(match[1], match[2] == "<", float(match[3]), baseline)
    return found
