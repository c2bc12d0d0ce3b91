"""The pull towards the base: how far a tuned model's next tokens are from those of its base.

The base is the same model with its adapter off. What it thinks of a text never changes, so it is
asked once; of each place the likeliest tokens are kept, and all others as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from finetune.answers import without_adapter
from finetune.examples import IGNORED, Example
from finetune.losses import nats
from finetune.objective import BatchLoss, Supervised
from finetune.packing import Padded

#: Tokens of a place whose chances are kept one by one: on general answers all others together had
#: less than a hundredth of the chance (measured, SmolLM2-135M-Instruct).
LIKELIEST = 64
_TOGETHER = 8


@dataclass(frozen=True)
class BaseView:
    """What the base thinks at the learnt places of an example: its likeliest tokens [places, k],
    and the logarithms of their chances and, last, of all others' together [places, k + 1]."""

    tokens: torch.Tensor
    chances: torch.Tensor


def views_of_base(feed: Padded, examples: Sequence[Example]) -> dict[int, BaseView]:
    """The base's view of each example, by the example's id().

    It goes the way of the training's batches: where frozen layers are kept, only the others run.
    """
    found: dict[int, BaseView] = {}
    was_training = feed.model.training
    feed.model.eval()
    try:
        with torch.no_grad(), without_adapter(feed.model):
            for example in examples:  # alone: in company a sum's last digits would go by the others
                found[id(example)] = _view(_learnt(*feed.logits([example]), [example])[0])
    finally:
        feed.model.train(was_training)
    return found


def _learnt(
    logits: torch.Tensor, targets: torch.Tensor, examples: Sequence[Example]
) -> tuple[torch.Tensor, ...]:
    """The logits at the learnt places of each example [places, vocabulary]."""
    parts: tuple[torch.Tensor, ...] = logits[targets != IGNORED].split(_counts(examples))
    return parts


def _counts(examples: Sequence[Example]) -> list[int]:
    return [each.answer_tokens for each in examples]


def _view(logits: torch.Tensor) -> BaseView:
    chances = logits.float().log_softmax(-1)
    best, tokens = chances.topk(min(LIKELIEST, chances.shape[-1] - 1), dim=-1)
    return BaseView(tokens, torch.cat([best, _others(best)], dim=-1))


def _others(chances: torch.Tensor) -> torch.Tensor:
    """The logarithm of what these chances leave [places, 1]; never quite nothing."""
    left = 1 - chances.exp().sum(-1, keepdim=True)
    return left.clamp(min=1e-6).log()


def divergence(logits: torch.Tensor, views: Sequence[BaseView]) -> torch.Tensor:
    """Nats of the Kullback-Leibler divergence of a model from its base at each place [places].

    `logits` [places, vocabulary] stand in the order of `views`. The tokens beyond the likeliest
    count as one, so this is a lower bound (the log-sum inequality; Cover and Thomas, Elements of
    Information Theory, theorem 2.7.1).
    """
    chances = torch.cat([each.chances for each in views])
    tokens = torch.cat([each.tokens for each in views])
    ours = logits.float().log_softmax(-1).gather(-1, tokens)
    ours = torch.cat([ours, _others(ours)], dim=-1)
    return (chances.exp() * (chances - ours)).sum(-1)


def mean_divergence(
    feed: Padded, examples: Sequence[Example], views: Mapping[int, BaseView]
) -> float:
    """Mean nats by learnt place over examples, without a gradient."""
    total, places = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(examples), _TOGETHER):
            some = examples[start : start + _TOGETHER]
            logits = torch.cat(_learnt(*feed.logits(some), some))
            found = divergence(logits, [views[id(each)] for each in some])
            total, places = total + float(found.sum()), places + len(found)
    return total / places


class Pulled(Supervised):
    """Nats on the answer tokens; but some examples are held where the base is, not learnt.

    So it does not matter whose words their answers are. The base is asked for its view of an
    example when that is met first.
    """

    def __init__(self, weight: float, pulled: Sequence[Example]) -> None:
        self._weight = weight
        self._pulled = {id(each) for each in pulled}
        self._views: dict[int, BaseView] = {}

    def loss(self, feed: Padded, examples: Sequence[Example]) -> BatchLoss:
        """What is told are the nats on all; `pull` is the divergence by token of the step."""
        pulled = [each for each in examples if id(each) in self._pulled]
        if unseen := [each for each in pulled if id(each) not in self._views]:
            self._views |= views_of_base(feed, unseen)
        logits, targets = feed.logits(examples)
        learnt = nats(logits, targets)[targets != IGNORED].split(_counts(examples))
        whole = pull = logits.new_zeros(())
        for example, part in zip(examples, learnt, strict=True):
            if id(example) not in self._pulled:
                whole = whole + part.sum()
        if pulled:
            parts = zip(examples, _learnt(logits, targets, examples), strict=True)
            held = torch.cat([part for example, part in parts if id(example) in self._pulled])
            pull = divergence(held, [self._views[id(each)] for each in pulled]).sum()
        told = torch.cat(learnt).sum().detach()
        return BatchLoss(whole + self._weight * pull, told, {"pull": pull.detach()})
