"""What the promotion's operations take and answer."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_


class PromoteRun(Input):
    model: str = Field(description=N_("The model to put into production, e.g. sophia-v1."))
    env_file: list[str] = Field(
        default_factory=list,
        description=N_("An env file to write; default SOPHIA_MANAGED_ENV_FILES. May be repeated."),
    )
    history: str | None = Field(
        default=None, description=N_("The history file; default FINETUNE_HISTORY.")
    )

    probe: bool = Field(
        default=True,
        description=N_("Ask the model at OPENAI_BASE_URL first; no answer, no promotion."),
    )


class PromoteRollback(Input):
    promotion: str | None = Field(
        default=None, description=N_("The promotion to take back; default the last one.")
    )
    history: str | None = Field(
        default=None, description=N_("The history file; default the promotion's own.")
    )


class FileDiff(Output):
    path: str = Field(title=N_("File"))
    diff: list[str] = Field(title=N_("Changes"))


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
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))
    rolls_back: str | None = Field(default=None, title=N_("Takes back"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))


class PromotionList(Output):
    items: list[PromotionView] = Field(title=N_("Promotions"))
