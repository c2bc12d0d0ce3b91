"""What the way off a model that ends takes and answers."""

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _

StageName = Literal["golden", "dataset", "train", "compare", "promote"]

STAGES: dict[str, str] = {
    "golden": N_("record golden answers of the old model"),
    "dataset": N_("build a data set from production"),
    "train": N_("train on this machine"),
    "compare": N_("compare with the golden answers"),
    "promote": N_("promote"),
}


class SucceedRequest(Input):
    """What is not given is as it was said before, else a setting or a default."""

    model: str = Field(min_length=1, description=N_("The model that ends, e.g. gpt-4o-mini."))
    step: StageName | None = Field(
        default=None,
        description=N_("This step, also where it was done before; default: the next one."),
    )
    base: str | None = Field(
        default=None,
        description=N_("The base of this machine to train from; default SOPHIA_SUCCESSION_BASE."),
    )
    prompts: int | None = Field(
        default=None,
        ge=1,
        le=2000,
        description=N_("How many golden prompts; default SOPHIA_SUCCESSION_PROMPTS."),
    )
    seed: int | None = Field(
        default=None, ge=0, le=2147483647, description=N_("The seed by which they are drawn.")
    )
    days: int | None = Field(
        default=None, ge=1, le=36500, description=N_("How many days back production is read.")
    )
    tokens: int | None = Field(
        default=None, ge=1, le=4096, description=N_("How long an answer may be, in tokens.")
    )
    answers: Literal["auto", "provider", "cache"] | None = Field(
        default=None,
        description=N_(
            "Whose golden answers: the old model's at its provider, those that production kept "
            "(cache), or these where the provider has the model no more (auto)."
        ),
    )
    budget: float | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        allow_inf_nan=False,
        description=N_("The most USD that golden answers may cost."),
    )
    recipe: str | None = Field(
        default=None, description=N_("The recipe of the training; default SOPHIA_RECIPE.")
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description=N_("Passes over the data."),
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000_000, description=N_("Optimizer steps, in place of epochs.")
    )
    accept_few: bool = Field(
        default=False,
        description=N_("Accept that there are fewer examples than SOPHIA_QUALITY_GATE wants."),
    )
    promote: str | None = Field(
        default=None,
        min_length=1,
        description=N_("The new model's name, typed: puts it into production, the last step."),
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


class SuccessionReference(Input):
    model: str | None = Field(
        default=None, description=N_("The model that ends, or the way's id; default: all ways.")
    )


class StageView(Output):
    """One step; `state` is waiting, running, done or failed, `command` what goes on with it."""

    table_columns: ClassVar[tuple[str, ...]] = ("step", "state", "told", "command")

    step: str = Field(title=N_("Step"))
    title: str = Field(title=N_("What"))
    state: str = Field(title=N_("State"))
    told: str = Field(default="", title=N_("What was done"))
    job: str | None = Field(default=None, title=N_("Job"))
    at: datetime | None = Field(default=None, title=N_("Time"))
    by: str = Field(default="", title=N_("Who"))
    command: str = Field(default="", title=N_("Command"))


class ComparisonView(Output):
    """The new model held against the golden answers of the old one. Shares of 1 for bleu, chrf and
    similarity, each also of the base before training; lengths in characters; costs of a thousand
    answers in USD, None where nobody knows the price."""

    prompts: int = Field(title=N_("Golden prompts"))
    chrf: float | None = Field(default=None, title=N_("chrF"))
    chrf_base: float | None = Field(default=None, title=N_("chrF of the base"))
    bleu: float | None = Field(default=None, title=N_("BLEU"))
    bleu_base: float | None = Field(default=None, title=N_("BLEU of the base"))
    similarity: float | None = Field(default=None, title=N_("Similarity"))
    similarity_base: float | None = Field(default=None, title=N_("Similarity of the base"))
    perplexity: float | None = Field(default=None, title=N_("Perplexity"))
    perplexity_base: float | None = Field(default=None, title=N_("Perplexity of the base"))
    length_old: float | None = Field(default=None, title=N_("Length, old"))
    length_new: float | None = Field(default=None, title=N_("Length, new"))
    seconds_old: float | None = Field(default=None, title=N_("Seconds, old"))
    seconds_new: float | None = Field(default=None, title=N_("Seconds, new"))
    cost_old: float | None = Field(default=None, title=N_("USD for 1,000 answers, old"))
    cost_new: float | None = Field(default=None, title=N_("USD for 1,000 answers, new"))
    evaluation: str = Field(default="", title=N_("Evaluation"))
    not_measured: list[str] = Field(default_factory=list, title=N_("Not measured"))


class SuccessionView(Output):
    """One way off a model; `next` is what goes on with it."""

    table_columns: ClassVar[tuple[str, ...]] = ("model", "new_model", "state", "at_step", "next")

    id: str = Field(title=N_("Id"))
    model: str = Field(title=N_("Old model"))
    new_model: str | None = Field(default=None, title=N_("New model"))
    state: str = Field(title=N_("State"))
    at_step: str = Field(default="", title=N_("At step"))
    base: str | None = Field(default=None, title=N_("Base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    golden: str | None = Field(default=None, title=N_("Golden answers"))
    options: dict[str, Any] = Field(default_factory=dict, title=N_("Options"))
    steps: list[StageView] = Field(title=N_("Steps"))
    comparison: ComparisonView | None = Field(default=None, title=N_("Comparison"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))
    next: str = Field(default="", title=N_("Next command"))
    created_by: str = Field(default="", title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))

    def remarks(self) -> list[str]:
        told = [_("Next: `{command}`").format(command=self.next)] if self.next else []
        return [*self.notes, *told]


class SuccessionList(Output):
    items: list[SuccessionView] = Field(title=N_("Ways off models"))
