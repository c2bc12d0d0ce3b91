"""Scores examples: loss on answer tokens by example, and intervals by resampling examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetune import attention, schema
from finetune.bases import Base
from finetune.examples import IGNORED, Batch, Example, ExampleSet, Takes, collate, load_examples
from finetune.failures import WorkFailure
from finetune.losses import answer_losses, head_losses
from finetune.memory import is_out_of_memory
from finetune.rows import unusable, write_lines
from finetune.runner import RunContext

RESAMPLES = 2000
_SCORING_BATCH = 8
#: Places of a padded batch: their logits are what takes the memory.
_SCORING_PLACES = 1024


def read_part(
    context: RunContext,
    tokenizer: Any,
    path: Path,
    limit: int | None = None,
    *,
    takes: Takes = "any",
    form: schema.PromptForm | None = None,
) -> ExampleSet:
    """Tokenise a file of the data set; what cannot be used becomes warning events.

    `form` is the prompt form where it is not that of run.yaml. Raises DataFailure for lines that
    can't be read and for lines that `takes` excludes.
    """

    def on_example(count: int) -> None:
        if count % 64 == 0:
            context.ears.check()
            context.progress("tokenise", 0, 0, examples=count, file=path.name)

    recipe = context.spec.recipe
    part = load_examples(
        tokenizer,
        path,
        recipe.sequence_length,
        limit=limit,
        on_example=on_example,
        prompt_form=form or recipe.prompt_form,
        takes=takes,
    )
    if context.writes:
        written = write_lines(context.folder, path.name, part)
        for message, data in part.warnings(path.name):
            context.journal.warning(message, **data, path=written[data["reason"]])
    if refused := unusable(recipe, path.name, part):
        raise refused
    return part


@dataclass(frozen=True)
class ExampleLoss:
    """Summed negative log-likelihood (nats) of an example's answer tokens, and their number."""

    nats: float
    tokens: int


def score(
    base: Base, model: Any, examples: list[Example], on_batch: Callable[[int], None]
) -> list[ExampleLoss]:
    """Losses by example, in the order given; `on_batch` gets the number done and may raise."""
    # Alike lengths together: less padding to compute.
    left = sorted(range(len(examples)), key=lambda index: len(examples[index].ids))
    found: dict[int, ExampleLoss] = {}
    size = _SCORING_BATCH
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            while left:
                on_batch(len(found))
                indexes = left[: _together([len(examples[each].ids) for each in left[:size]])]
                scored = _score_together(base, model, [examples[index] for index in indexes])
                if scored is None:
                    size = len(indexes) // 2
                    continue
                found.update(zip(indexes, scored, strict=True))
                left = left[len(indexes) :]
    finally:
        model.train(was_training)
    return [found[index] for index in range(len(examples))]


def _together(lengths: list[int]) -> int:
    """How many of these, from short to long, make a batch within _SCORING_PLACES; at least one."""
    fitting = [count for count, most in enumerate(lengths, 1) if count * most <= _SCORING_PLACES]
    return max(fitting, default=1)


def _score_together(base: Base, model: Any, examples: list[Example]) -> list[ExampleLoss] | None:
    """Losses of a batch; None where it is too large for the memory, and could be smaller."""
    batch = collate(examples, base.tokenizer.pad_token_id, base.device)
    counts = (batch.targets != IGNORED).sum(dim=1).tolist()
    try:
        sums = _sums(model, batch, counts)
    except (RuntimeError, MemoryError) as error:
        if len(examples) > 1 and is_out_of_memory(error):
            return None
        raise
    return [ExampleLoss(_finite(nats), count) for nats, count in zip(sums, counts, strict=True)]


def _sums(model: Any, batch: Batch, counts: list[int]) -> list[float]:
    """Nats of each row; where packing has proved that it may be so, with few logits at once."""
    if attention.is_taken_up(model):
        return [float(row.sum()) for row in head_losses(model, batch)[0].split(counts)]
    found: list[float] = answer_losses(model, batch).sum(dim=1).tolist()
    return found


def _finite(nats: float) -> float:
    if math.isfinite(nats):
        return nats
    raise WorkFailure(
        404,
        "The model's loss is not a number.",
        "Its weights hold values that are not finite: the training diverged, or the file is bad.",
        "Take an earlier checkpoint or another base; train with a lower learning_rate.",
    )


def _resampled(losses: list[ExampleLoss], seed: int) -> torch.Tensor:
    """Loss per token of each resample [RESAMPLES]; the same seed draws the same examples."""
    generator = torch.Generator().manual_seed(seed)
    nats = torch.tensor([item.nats for item in losses], dtype=torch.float64)
    tokens = torch.tensor([item.tokens for item in losses], dtype=torch.float64)
    means = []
    for _ in range(RESAMPLES):  # one by one: a table of all draws would not fit for large parts
        chosen = torch.randint(len(losses), (len(losses),), generator=generator)
        means.append(nats[chosen].sum() / tokens[chosen].sum())
    return torch.stack(means)


def _interval(values: torch.Tensor) -> tuple[float, float]:
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=values.dtype)).tolist()
    return low, high


def summarise(losses: list[ExampleLoss], seed: int) -> schema.Score:
    """Loss and perplexity with 95 % percentile bootstrap intervals over examples."""
    mean = sum(item.nats for item in losses) / sum(item.tokens for item in losses)
    low, high = _interval(_resampled(losses, seed))
    return schema.Score(
        loss=mean,
        loss_low=low,
        loss_high=high,
        perplexity=math.exp(min(mean, 700)),
        perplexity_low=math.exp(min(low, 700)),
        perplexity_high=math.exp(min(high, 700)),
    )


def compare(before: list[ExampleLoss], after: list[ExampleLoss], seed: int) -> schema.Difference:
    """Loss after minus before; the same draws for both, since they answer the same questions."""
    tokens = sum(item.tokens for item in before)
    mean = (sum(item.nats for item in after) - sum(item.nats for item in before)) / tokens
    low, high = _interval(_resampled(after, seed) - _resampled(before, seed))
    return schema.Difference(loss=mean, loss_low=low, loss_high=high)
