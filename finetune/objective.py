"""What a training makes small: the place where a method of training says its loss.

A step's loss is a mean over all of its examples, however they were split into micro-batches: the
sums of the micro-batches, divided by the weights of all examples of the step together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from finetune.examples import Example

if TYPE_CHECKING:
    import torch

    from finetune.packing import Padded
    from finetune.training import Trainer


class BatchLoss(NamedTuple):
    """Sums over a micro-batch: what is made small, what is told, and other figures to tell."""

    whole: torch.Tensor
    told: torch.Tensor
    more: Mapping[str, torch.Tensor]


class Objective(Protocol):
    """A method's loss over its kind of examples."""

    def weight(self, example: Any) -> float:
        """What an example counts in the mean of a step (its learnt tokens, say)."""
        ...

    def length(self, example: Any) -> int:
        """Tokens of an example, prompts included."""
        ...

    def loss(self, feed: Padded, examples: Sequence[Any]) -> BatchLoss:
        """The micro-batch's sums, with a gradient."""
        ...

    def validate(self, trainer: Trainer, examples: Sequence[Any]) -> dict[str, float]:
        """Figures on held-out examples, `eval_loss` among them; may raise Stopped."""
        ...


class Supervised:
    """Nats on the answer tokens."""

    def weight(self, example: Example) -> float:
        """Learnt tokens."""
        return example.answer_tokens

    def length(self, example: Example) -> int:
        """Tokens."""
        return len(example.ids)

    def loss(self, feed: Padded, examples: Sequence[Example]) -> BatchLoss:
        """Nats summed over the learnt tokens."""
        nats = feed.losses(examples).sum()
        return BatchLoss(nats, nats.detach(), {})

    def validate(self, trainer: Trainer, examples: Sequence[Example]) -> dict[str, float]:
        """Nats per learnt token."""
        from finetune.scoring import score

        losses = score(trainer.base, trainer.model, list(examples), lambda _: trainer.check_stop())
        nats, tokens = (sum(getattr(item, name) for item in losses) for name in ("nats", "tokens"))
        return {"eval_loss": nats / tokens}
