"""The gate before production: its rules, what it says of a model, and who may be asked for that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sophia_tui.domain.models import Model

#: Rules, and the sign between name and bound; `parity` has none. A rule left out is not applied.
#: `loss`: nats a token, the model's minus that of the model it replaces. `lost`: the share of
#: regression questions that it answers no more, less what it gained. Of both the whole 95 %
#: interval must keep the bound. `examples` and `items`: at least so many of the same were measured
#: in both. `right`: so many items the other one answers rightly, else there is nothing to lose.
#: `days`: how old the evidence may be.
RULES = {
    "loss": "<",
    "examples": ">=",
    "parity": "",
    "lost": "<=",
    "items": ">=",
    "right": ">=",
    "days": "<=",
}
#: The issue fixes what is compared; the figures are ours.
DEFAULT_RULES = "loss<0, examples>=10, parity, lost<=0.05, items>=50, right>=20, days<=90"
#: What switches the gate off; a setting that is empty counts as not set.
OFF = "off"
_PART = re.compile(rf"({'|'.join(RULES)})(?:\s*(<=|>=|<)\s*(-?\d{{1,9}}(?:\.\d{{1,9}})?))?")


def read_rules(text: str) -> dict[str, float]:
    """Bounds by rule, 1 for `parity`; nothing for `off`. Raises ValueError that says which part
    can't be read."""
    found: dict[str, float] = {}
    if text.strip().lower() == OFF:
        return found
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART.fullmatch(part)
        if match is None or match[1] in found or (match[2] or "") != RULES[match[1]]:
            raise ValueError(part)
        bound = 1.0 if match[3] is None else float(match[3])
        if bound < 0 and match[1] != "loss":
            raise ValueError(part)
        found[match[1]] = bound
    return found


@dataclass(frozen=True)
class Reason:
    """One rule that does not hold: its code (M58n, M59n; M565 to M577 are a failed parity's own),
    what is wrong, and what to do (`remedy`, mostly the command that gets the missing evidence). One
    that is not `overridable` is measured: other files, or answers other than those trained."""

    code: str
    what: str
    remedy: str = ""
    overridable: bool = True


@dataclass(frozen=True)
class GateVerdict:
    """Whether a model may be promoted, and each rule that stands against it.

    `notes` are worth knowing and stand against nothing: what could not be checked for a hosted
    model, say. `report` has the figures of every rule (plain values, for model_checks and the
    promotion's notes); `compared` is the model that it was measured against, None for its base.
    What nobody overrides makes it not `overridable`: a state that a person gave, a failed parity of
    the model's own forms, files that changed since they were measured.
    """

    passed: bool
    reasons: tuple[Reason, ...]
    checked_at: datetime
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    compared: str | None = None
    overridable: bool = True


class Gate(Protocol):
    """Judges by the reports that are there; measures nothing and changes nothing."""

    async def verdict(self, model: Model, current: Model | str | None = None) -> GateVerdict:
        """`current` is the model that it replaces, or the name that the env files hold for that
        one, whoever's it is; None lets the gate look for it in the managed env files and the
        promotions itself."""
