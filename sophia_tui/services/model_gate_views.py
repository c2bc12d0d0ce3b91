"""What the gate before production answers with, and how its figures are said."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import N_, _, get_language, number
from sophia_tui.services.views import JobView
from sophia_tui.textsafe import visible

State = Literal["ok", "failed", "missing"]

#: What each rule asks, for people.
LABELS = {
    "state": N_("State"),
    "loss": N_("Loss on the held-out part"),
    "parity": N_("Parity"),
    "lost_base": N_("General questions, against the base"),
    "lost_current": N_("General questions, against the current model"),
}


_LANGUAGES = {"en": N_("English"), "pt_BR": N_("Portuguese")}


class ModelGateCheck(Output):
    """One rule: the figures that it goes by, and what comes of them.

    `difference` is the model minus the other, nats or share, `low` and `high` its 95 % interval;
    `count` what both were measured on. `other` names the other model.
    """

    table_columns: ClassVar[tuple[str, ...]] = ("what", "state", "told")
    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"name", "other", "difference", "low", "high", "bound", "count", "by", "figures"}
        | {"evaluations"}
    )

    name: str
    what: str = Field(title=N_("Check"))
    state: State = Field(title=N_("State"))
    told: str = Field(title=N_("Reason"))
    other: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    count: int | None = None
    by: str | None = None
    evaluations: list[str] = Field(default_factory=list)
    figures: dict[str, Any] = Field(default_factory=dict)


class GateReason(Output):
    """Why a model does not pass, and what to do about it."""

    code: str = Field(title=N_("Code"))
    what: str = Field(title=N_("Reason"))
    remedy: str = Field(default="", title=N_("What to do"))


class ModelGateView(Output):
    """Whether a model may be promoted. `jobs` get the evidence that is missing."""

    machine_only: ClassVar[frozenset[str]] = frozenset({"rules", "regression"})
    shown_first: ClassVar[tuple[str, ...]] = ("model", "passed")

    model: str = Field(title=N_("Model"))
    passed: bool = Field(title=N_("Passed"))
    compared: str | None = Field(default=None, title=N_("Compared with"))
    items: list[ModelGateCheck] = Field(default_factory=list, title=N_("Checks"))
    reasons: list[GateReason] = Field(default_factory=list, title=N_("What stands against it"))
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))
    jobs: list[JobView] = Field(default_factory=list, title=N_("Jobs that measure what is missing"))
    overridable: bool = Field(default=True, title=N_("A person may override it"))
    checked_at: datetime = Field(title=N_("Time"))
    check: str | None = Field(default=None, title=N_("Kept as"))
    rules: dict[str, float] = Field(default_factory=dict, title=N_("Rules"))
    regression: dict[str, Any] = Field(default_factory=dict, title=N_("General questions"))

    def exit_code(self) -> int:
        """3 where the gate refuses the model; 0 while jobs are still to measure it."""
        return RefusedError.exit_code if not (self.passed or self.jobs) else 0


def kept_text(text: str, language: str | None) -> str:
    """A sentence that was kept, with its language where the reader's is another."""
    if not text or language in (None, get_language()):
        return text
    return _("{text} (kept in {language})").format(text=text, language=_(_LANGUAGES[language]))


def kept_reasons(report: Mapping[str, Any]) -> list[str]:
    """Why a kept verdict of the gate refuses a model: code and sentence."""
    language = report.get("language")
    return [
        f"[{each.get('code')}] {kept_text(str(each.get('what') or ''), language)}".strip()
        for each in report.get("reasons") or []
    ]


def signed(value: float, decimals: int = 3) -> str:
    """A change for people, with its sign; none where it is nothing."""
    return f"{'+' if value > 0 else ''}{number(value, decimals)}" if value else "0"


def base_name(base: str) -> str:
    """A base for people: a path by its last part, a hub's id as it is."""
    return visible(
        base.rstrip("/").rpartition("/")[2] if base.startswith(("/", ".", "~")) else base
    )
