"""The gate before production: what it says of a model, and who may be asked for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sophia_tui.domain.models import Model


@dataclass(frozen=True)
class Reason:
    """One rule that does not hold: its code (M58n, M59n), what is wrong, and what to do (`remedy`,
    mostly the command that gets the missing evidence)."""

    code: str
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class GateVerdict:
    """Whether a model may be promoted, and each rule that stands against it.

    `notes` are worth knowing and stand against nothing: what could not be checked for a hosted
    model, say. `report` has the figures of every rule (plain values, for model_checks and the
    promotion's notes); `compared` is the model that it was measured against, None for none.
    """

    passed: bool
    reasons: tuple[Reason, ...]
    checked_at: datetime
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    compared: str | None = None


class Gate(Protocol):
    """Judges by the reports that are there; measures nothing and changes nothing."""

    async def verdict(self, model: Model, current: Model | None = None) -> GateVerdict:
        """`current` is the model that it replaces; None lets the gate look for it in the managed
        env files and the promotions itself."""
