"""The pull towards the base: how far a tuned model's next tokens are from those of its base.

The base is the same model with its adapter off. What it thinks of a text never changes, so it is
asked once, before the training; of each place the likeliest tokens are kept, and all others as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from finetune.answers import without_adapter
from finetune.examples import IGNORED, Example
from finetune.failures import BadRequest
from finetune.packing import Padded
from finetune.runner import RunContext

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


def views_of_base(
    feed: Padded, examples: Sequence[Example], on_example: Callable[[int], None] = lambda done: None
) -> dict[int, BaseView]:
    """The base's view of each example, by the example's id(); `on_example` may raise.

    It goes the way of the training's batches: where frozen layers are kept, only the others run.
    """
    found: dict[int, BaseView] = {}
    was_training = feed.model.training
    feed.model.eval()
    try:
        with torch.no_grad(), without_adapter(feed.model):
            for start in range(0, len(examples), _TOGETHER):
                on_example(start)
                some = examples[start : start + _TOGETHER]
                for example, logits in zip(some, _learnt(*feed.logits(some), some), strict=True):
                    found[id(example)] = _view(logits)
    finally:
        feed.model.train(was_training)
    return found


def _learnt(
    logits: torch.Tensor, targets: torch.Tensor, examples: Sequence[Example]
) -> tuple[torch.Tensor, ...]:
    """The logits at the learnt places of each example [places, vocabulary]."""
    counts = [each.answer_tokens for each in examples]
    return logits[targets != IGNORED].split(counts)


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


@dataclass(frozen=True)
class Pull:
    """The pull on some examples of a training, by the views that their base has of them."""

    weight: float
    views: Mapping[int, BaseView]

    def nats(
        self, examples: Sequence[Example], logits: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """The divergence summed over the learnt places of the pulled examples of a batch."""
        pulled = [
            (part, self.views[id(example)])
            for example, part in zip(examples, _learnt(logits, targets, examples), strict=True)
            if id(example) in self.views
        ]
        if not pulled:
            return logits.new_zeros(())
        parts, views = zip(*pulled, strict=True)
        return divergence(torch.cat(parts), views).sum()


def pull_on(context: RunContext, feed: Padded, examples: Sequence[Example]) -> Pull | None:
    """The pull that the recipe asks for, on these examples; None without one. May raise Stopped."""
    weight = context.spec.recipe.base_pull
    if not weight:
        return None
    if not examples:
        raise BadRequest(
            450,
            "The recipe asks for a pull towards the base and has nothing to pull on.",
            "base_pull works on the examples of `rehearsal`, and the recipe names none.",
            "Name a file of general questions with answers as `rehearsal`, or leave base_pull out.",
        )

    def on_example(done: int) -> None:
        context.ears.check()
        context.progress("pull", 0, 0, examples=done, of=len(examples))

    return Pull(weight, views_of_base(feed, examples, on_example))
