"""Looks at a model while it is trained: what is asked of it at each validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from finetune.schedule import is_due
from finetune.training import Trainer


class Look(Protocol):
    """Something that judges the adapter of this moment.

    `every` is the number of steps between two looks; None: at each epoch's end. After the last step
    all look. A look changes nothing: the session puts random state and mode back after it.
    """

    @property
    def every(self) -> int | None:
        """Steps between two looks."""
        ...

    def look(self, trainer: Trainer) -> dict[str, float]:
        """Figures for the metric event; may raise Stopped, then it is asked again on resume."""
        ...


@dataclass(frozen=True)
class Validation:
    """The objective's figures on the held-out part."""

    examples: Sequence[Any]
    every: int | None

    def look(self, trainer: Trainer) -> dict[str, float]:
        """`eval_loss`, and what else the objective says."""
        return trainer.objective.validate(trainer, self.examples) if self.examples else {}


def due_looks(looks: Sequence[Look], step: int, epoch_steps: int, total: int) -> list[Look]:
    """The looks to take after a step."""
    return [each for each in looks if step >= total or is_due(each.every, step, epoch_steps)]


def looks_left(look: Look, step: int, epoch_steps: int, total: int) -> int:
    """How often a look is still taken after a step, the one after the last step among them."""
    every = look.every or epoch_steps
    last = 1 if total % every and step < total else 0
    return max(0, total // every - step // every) + last
