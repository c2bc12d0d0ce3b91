"""The way off a model that ends: what was done of it, step by step."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Stage(StrEnum):
    """The steps, in their order."""

    GOLDEN = "golden"
    DATASET = "dataset"
    TRAIN = "train"
    COMPARE = "compare"
    PROMOTE = "promote"


@dataclass(frozen=True)
class Succession:
    """One way off a model. `options` are what was asked for; `steps` hold by step its `state`
    (running, done or failed), `at`, `by`, the `job` that does it, and its `facts` (never a text of
    a person's). `new_model` is there once it was trained."""

    id: str
    model_id: str
    created_at: datetime
    created_by: str = ""
    new_model: str | None = None
    state: str = "open"
    options: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 1

    def of(self, stage: Stage) -> dict[str, Any]:
        return self.steps.get(stage.value, {})

    def done(self, stage: Stage) -> bool:
        return self.of(stage).get("state") == "done"

    @property
    def next(self) -> Stage | None:
        """The first step that is not done; None where all are."""
        return next((each for each in Stage if not self.done(each)), None)


class SuccessionStore(Protocol):
    async def add(self, succession: Succession) -> None:
        """Raises ConflictError M601 where one is under way for that model."""

    async def get(self, reference: str) -> Succession | None:
        """By its id; by a model's, the one under way, else the newest."""

    async def page(self, limit: int = 100, offset: int = 0) -> list[Succession]:
        """Newest first."""

    async def update(self, succession_id: str, version: int, **changes: Any) -> Succession:
        """Raises ConflictError M602 if another was faster."""
