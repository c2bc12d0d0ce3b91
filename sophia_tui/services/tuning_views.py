"""What is asked of a tuning in the terms of the fine-tuning protocol, and how one is shown."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_
from sophia_tui.services.views import EventView

MOST_EPOCHS, MOST_BATCH, MOST_METADATA = 50, 256, 16


class TuningCreate(Input):
    file: str = Field(description=N_("The training file's id (file-…)."))
    validation_file: str | None = Field(
        default=None, description=N_("The validation file's id; nothing is held out without one.")
    )
    model: str | None = Field(
        default=None,
        description=N_("The base: as for `train start`, or a model that Sophia knows."),
    )
    method: Literal["supervised", "dpo"] = Field(
        default="supervised", description=N_("Learn answers, or preferences (dpo).")
    )
    n_epochs: int | None = Field(
        default=None, ge=1, le=MOST_EPOCHS, description=N_("Passes over the data.")
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=MOST_BATCH, description=N_("Examples in a step.")
    )
    learning_rate_multiplier: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description=N_("A factor on the recipe's learning rate."),
    )
    beta: float | None = Field(
        default=None, gt=0, le=2, allow_inf_nan=False, description=N_("The beta of dpo.")
    )
    suffix: str | None = Field(
        default=None, min_length=1, max_length=64, description=N_("Part of the new model's name.")
    )
    seed: int | None = Field(
        default=None, ge=0, le=2147483647, description=N_("The seed of order and weights.")
    )
    metadata: str | None = Field(
        default=None, description=N_("Words of your own for it, as a JSON object of texts.")
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description=N_("A word by which the same request, sent again, is known."),
    )
    again: bool = Field(
        default=False,
        description=N_("This repeats a request: answer with the job that it has made."),
    )


class TuningReference(Input):
    job: str = Field(description=N_("The job's id (ftjob-…)."))


class TuningPage(Input):
    after: str | None = Field(default=None, description=N_("Only jobs after this one, by id."))
    metadata: str | None = Field(
        default=None, description=N_("Only jobs with these words, as a JSON object of texts.")
    )
    limit: int = Field(default=20, ge=1, le=500, description=N_("How many at most."))


class TuningEvents(TuningReference):
    before: int | None = Field(
        default=None, ge=0, le=2**62, description=N_("Only events with a lower number.")
    )
    limit: int = Field(default=20, ge=1, le=500, description=N_("How many at most."))


class TuningView(Output):
    """A training of this machine in the terms of the protocol."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "status",
        "model",
        "training_file",
        "resulting_model",
        "created_at",
    )

    id: str = Field(title=N_("Job"))
    status: str = Field(title=N_("State"))
    model: str = Field(title=N_("Base"))
    training_file: str = Field(title=N_("Training file"))
    validation_file: str | None = Field(default=None, title=N_("Validation file"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    rows_kept: int | None = Field(default=None, title=N_("rows kept"))
    rows_rejected: int | None = Field(default=None, title=N_("rows rejected"))
    method: str = Field(title=N_("Method"))
    hyperparameters: dict[str, Any] = Field(title=N_("Settings"))
    suffix: str | None = Field(default=None, title=N_("Part of the name"))
    seed: int = Field(title=N_("Seed"))
    metadata: dict[str, str] = Field(title=N_("Words of your own"))
    trained_tokens: int | None = Field(default=None, title=N_("Tokens trained"))
    resulting_model: str | None = Field(default=None, title=N_("Resulting model"))
    created_at: datetime = Field(title=N_("Created"))
    finished_at: datetime | None = Field(default=None, title=N_("Finished"))
    estimated_finish: datetime | None = Field(default=None, title=N_("Will finish"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))

    @classmethod
    def of(cls, job: Job, status: str, now: datetime) -> "TuningView":
        asked = job.request.get("tuning") or {}
        recipe = job.request.get("run", {}).get("recipe") or {}
        left = job.seconds_left if status == "running" else None
        return cls(
            id=job.id,
            status=status,
            model=asked.get("model") or job.base,
            training_file=asked.get("training_file") or job.dataset or "",
            validation_file=asked.get("validation_file"),
            dataset=job.dataset,
            rows_kept=asked.get("rows_kept"),
            rows_rejected=asked.get("rows_rejected"),
            method=recipe.get("method") or "supervised",
            hyperparameters=_hyperparameters(recipe, asked),
            suffix=asked.get("suffix"),
            seed=recipe.get("seed") or 0,
            metadata=asked.get("metadata") or {},
            trained_tokens=_trained_tokens(job),
            resulting_model=job.resulting_model if job.state == "succeeded" else None,
            created_at=job.created_at,
            finished_at=job.finished_at,
            estimated_finish=now + timedelta(seconds=left) if left is not None else None,
            error=job.error,
        )


class TuningList(Output):
    items: list[TuningView] = Field(title=N_("Jobs"))
    more: bool = Field(default=False, title=N_("More"))


class TuningEventList(Output):
    """Newest first. `created_at` is when the job was made."""

    job: str = Field(title=N_("Job"))
    created_at: datetime = Field(title=N_("Created"))
    resulting_model: str | None = Field(default=None, title=N_("Resulting model"))
    items: list[EventView] = Field(title=N_("Events"))
    more: bool = Field(default=False, title=N_("More"))


class CheckpointView(Output):
    step: int = Field(title=N_("Step"))
    at: datetime = Field(title=N_("Time"))
    name: str = Field(title=N_("Name"))
    path: str = Field(title=N_("Folder"))
    train_loss: float | None = Field(default=None, title=N_("Loss"))
    valid_loss: float | None = Field(default=None, title=N_("Held-out loss"))


class CheckpointList(Output):
    """Those that are still there, newest first."""

    job: str = Field(title=N_("Job"))
    items: list[CheckpointView] = Field(title=N_("Checkpoints"))


def _hyperparameters(recipe: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What the training does; `auto` where no whole number says it."""
    epochs = recipe.get("epochs")
    whole = recipe.get("max_steps") is None and epochs is not None and epochs == int(epochs)
    batch = recipe.get("batch_size", 1) * recipe.get("gradient_accumulation", 1)
    found: dict[str, Any] = {
        "n_epochs": int(epochs) if whole and epochs else "auto",
        "batch_size": batch,
        "learning_rate_multiplier": asked.get("learning_rate_multiplier") or 1.0,
    }
    if recipe.get("method") == "dpo":
        found["beta"] = (recipe.get("dpo") or {}).get("beta", "auto")
    return found


def _trained_tokens(job: Job) -> int | None:
    """As the protocol counts them: all tokens of the training file, prompts too, times the epochs.
    The run's own count of what its steps went through."""
    tokens = (job.result or {}).get("trained_tokens")
    return int(tokens) if job.state == "succeeded" and tokens else None
