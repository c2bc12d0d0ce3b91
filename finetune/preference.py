"""Direct preference optimization on pairs (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

The reference is the same model with its adapter disabled. What it gives the answers of a pair are
two numbers, computed at first use and kept. Each pair is computed alone for that, so they are the
same bits whatever batch it stands in: a resume sees what an undisturbed run saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from finetune import schema
from finetune.answers import without_adapter
from finetune.examples import Pair, collate
from finetune.grading import share
from finetune.losses import answer_losses
from finetune.objective import BatchLoss

if TYPE_CHECKING:
    from finetune.packing import Padded
    from finetune.training import Trainer

_VALIDATED_AT_ONCE = 4


@dataclass(frozen=True)
class Figures:
    """By pair [pairs]: the loss, and the rewards of both answers (beta times the log ratio)."""

    loss: torch.Tensor
    chosen: torch.Tensor
    rejected: torch.Tensor

    @property
    def margin(self) -> torch.Tensor:
        """Reward of the chosen answer over the rejected one."""
        return self.chosen - self.rejected

    @property
    def accuracy(self) -> torch.Tensor:
        """1 where the chosen answer has the greater reward."""
        return (self.margin > 0).float()


def figures(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> Figures:
    """The DPO loss of log probabilities [pairs, 2], chosen answers first."""
    rewards = beta * (policy - reference)
    chosen, rejected = rewards.unbind(dim=1)
    loss = -torch.nn.functional.logsigmoid(chosen - rejected)
    return Figures(loss, chosen.detach(), rejected.detach())


@dataclass
class Preference:
    """The objective of method `dpo`: a step's loss is the mean over its pairs."""

    beta: float
    _reference: dict[int, tuple[float, float]] = field(default_factory=dict)

    def weight(self, example: Pair) -> float:
        """Every pair counts alike."""
        return 1.0

    def length(self, example: Pair) -> int:
        """Tokens of both chats."""
        return example.tokens

    def loss(self, feed: Padded, examples: Sequence[Pair]) -> BatchLoss:
        """Sums over the pairs, and the figures that tell how the answers are told apart."""
        found = self.figures_of(feed, examples)
        more = {
            "reward_margin": found.margin.sum(),
            "reward_accuracy": found.accuracy.sum(),
            "reward_chosen": found.chosen.sum(),
            "reward_rejected": found.rejected.sum(),
        }
        loss = found.loss.sum()
        return BatchLoss(loss, loss.detach(), more)

    def validate(self, trainer: Trainer, examples: Sequence[Pair]) -> dict[str, float]:
        """Means over held-out pairs."""
        sums = {"eval_loss": 0.0, "eval_reward_margin": 0.0, "eval_reward_accuracy": 0.0}
        trainer.model.eval()
        with torch.no_grad():
            for start in range(0, len(examples), _VALIDATED_AT_ONCE):
                trainer.check_stop()
                some = examples[start : start + _VALIDATED_AT_ONCE]
                found = self.figures_of(trainer.feed, some)
                parts = (found.loss, found.margin, found.accuracy)
                for name, part in zip(sums, parts, strict=True):
                    sums[name] += float(part.sum())
        return {name: value / len(examples) for name, value in sums.items()}

    def figures_of(self, feed: Padded, examples: Sequence[Pair]) -> Figures:
        """Losses and rewards of pairs."""
        reference = torch.tensor(
            [self._referred(feed, each) for each in examples],
            dtype=torch.float32,
            device=feed.device,
        )
        return figures(log_probabilities(feed, examples), reference, self.beta)

    def _referred(self, feed: Padded, example: Pair) -> tuple[float, float]:
        """The log probabilities of a pair's answers by the reference."""
        if id(example) not in self._reference:
            was_training = feed.model.training
            feed.model.eval()
            try:
                with torch.no_grad(), without_adapter(feed.model):
                    chosen, rejected = log_probabilities(feed, [example])[0].tolist()
            finally:
                feed.model.train(was_training)
            self._reference[id(example)] = (chosen, rejected)
        return self._reference[id(example)]


def log_probabilities(feed: Any, examples: Sequence[Pair]) -> torch.Tensor:
    """Of the learnt tokens, summed by answer: [pairs, 2], chosen answers first."""
    rows = [each.chosen for each in examples] + [each.rejected for each in examples]
    nats = answer_losses(feed.model, collate(rows, feed.pad, feed.device)).sum(dim=1)
    return -nats.view(2, len(examples)).t()


def preferences(
    feed: Padded, pairs: Sequence[Pair], beta: float, on_pair: Callable[[int], None]
) -> schema.Preferences:
    """How the adapter tells held-out pairs apart; `on_pair` gets the number done and may raise."""
    objective = Preference(beta)
    margins: list[float] = []
    feed.model.eval()
    with torch.no_grad():
        for done, each in enumerate(pairs):
            on_pair(done)
            margins += objective.figures_of(feed, [each]).margin.tolist()
    return schema.Preferences(
        pairs=len(pairs),
        beta=beta,
        accuracy=share([margin > 0 for margin in margins]),
        margin=sum(margins) / len(margins),
    )
