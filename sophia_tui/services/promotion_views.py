"""What the promotion's operations take and answer."""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_
from sophia_tui.validation import PROMOTION


class PromoteRun(Input):
    model: str = Field(description=N_("The model to put into production, e.g. sophia-v1."))
    env_file: list[str] = Field(
        default_factory=list,
        description=N_("An env file to write; default SOPHIA_MANAGED_ENV_FILES. May be repeated."),
    )
    history: str | None = Field(
        default=None, description=N_("The history file; default FINETUNE_HISTORY.")
    )

    replaces: list[str] = Field(
        default_factory=list,
        description=N_(
            "A model to leave: every key that names it changes, whatever the key is called. May be "
            "repeated."
        ),
    )
    probe: bool = Field(
        default=True,
        description=N_("Ask the model at OPENAI_BASE_URL first; no answer, no promotion."),
    )
    override: str | None = Field(
        default=None,
        min_length=10,
        max_length=2000,
        description=N_(
            "Promote although the gate refuses it, for this reason, which is kept. A rejected "
            "model, a failed parity and files that changed since are never passed over."
        ),
    )
    bounds: str | None = Field(
        default=None,
        max_length=200,
        description=N_("Other bounds than SOPHIA_PROMOTION_BOUNDS for this promotion alone."),
    )
    wait: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description=N_("How many seconds to wait while another promotion runs."),
    )


class PromoteRollback(Input):
    promotion: str | None = Field(
        default=None,
        pattern=PROMOTION,
        description=N_("The promotion to take back; default the last one."),
    )
    to: str | None = Field(
        default=None,
        pattern=PROMOTION,
        description=N_("Return to the state after this promotion: all newer ones are taken back."),
    )
    before: str | None = Field(
        default=None,
        pattern=PROMOTION,
        description=N_("Return to the state before this promotion: it and all newer ones go."),
    )
    history: str | None = Field(
        default=None, description=N_("The history file; default the promotion's own.")
    )
    probe: bool = Field(
        default=True,
        description=N_("Ask the earlier model first; --no-probe goes back though it is dead."),
    )
    wait: float = Field(
        default=0.0,
        ge=0,
        le=3600,
        description=N_("How many seconds to wait while another promotion runs."),
    )


class PromoteRepair(Input):
    elsewhere: bool = Field(
        default=False,
        description=N_("Also what another machine or data folder began and can't end any more."),
    )


class PromoteConfirm(Input):
    promotion: str = Field(description=N_("The promotion whose units of other hosts restarted."))
    unit: list[str] = Field(
        default_factory=list,
        description=N_("A unit that a person restarted, HOST:UNIT; default all. May be repeated."),
    )


class FileDiff(Output):
    path: str = Field(title=N_("File"))
    diff: list[str] = Field(title=N_("Changes"))


class KeyChange(Output):
    """One key of an env file; `before` None is added, `after` None is taken out."""

    file: str = Field(title=N_("File"))
    key: str = Field(title=N_("Key"))
    before: str | None = Field(default=None, title=N_("Before"))
    after: str | None = Field(default=None, title=N_("After"))


class ElsewhereView(Output):
    """A unit of another host: Sophia can't restart it, and knows of it what people say."""

    unit: str = Field(title=N_("Unit"))
    command: str = Field(title=N_("To be restarted by hand"))
    confirmed_by: str | None = Field(default=None, title=N_("Confirmed by"))
    confirmed_at: datetime | None = Field(default=None, title=N_("Confirmed at"))


class StepView(Output):
    step: str = Field(title=N_("Step"))
    target: str = Field(default="", title=N_("What"))
    at: datetime = Field(title=N_("Time"))


class PromotionView(Output):
    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "model",
        "previous_model",
        "state",
        "created_by",
        "created_at",
    )

    id: str = Field(title=N_("Promotion"))
    model: str = Field(title=N_("Model"))
    previous_model: str | None = Field(default=None, title=N_("Previous model"))
    state: str = Field(title=N_("State"))
    files: list[FileDiff] = Field(default_factory=list, title=N_("Files"))
    keys: list[KeyChange] = Field(default_factory=list, title=N_("Keys"))
    restarts: list[str] = Field(default_factory=list, title=N_("Units that restart"))
    elsewhere: list[ElsewhereView] = Field(default_factory=list, title=N_("Units of other hosts"))
    checks: list[str] = Field(default_factory=list, title=N_("Health check"))
    gate: dict[str, Any] | None = Field(default=None, title=N_("Gate"))
    golden: dict[str, Any] | None = Field(default=None, title=N_("Golden prompts"))
    steps: list[StepView] = Field(default_factory=list, title=N_("Steps"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))
    rolls_back: str | None = Field(default=None, title=N_("Takes back"))
    would_be_refused: str | None = Field(default=None, title=N_("Would be refused with"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))

    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"keys", "gate", "golden", "steps", "would_be_refused"}
    )

    def foretold_refusal(self) -> str | None:
        return self.would_be_refused


class PromotionList(Output):
    items: list[PromotionView] = Field(title=N_("Promotions"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))


class RepairView(Output):
    """What became of a promotion that was left half done; no `promotion` where there was none."""

    promotion: str | None = Field(default=None, title=N_("Promotion"))
    model: str | None = Field(default=None, title=N_("Model"))
    step: str | None = Field(default=None, title=N_("It was cut off at"))
    state: str | None = Field(default=None, title=N_("State"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))
