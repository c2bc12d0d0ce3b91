"""The course of a training: how many steps, and the learning rate of each."""

from __future__ import annotations

import math

from finetune import schema


def total_steps(recipe: schema.Recipe, examples: int, fitted: int | None) -> int:
    """Optimizer steps planned: max_steps, else epochs, and no more than were fitted."""
    planned = recipe.max_steps or math.ceil(recipe.epochs * steps_per_epoch(recipe, examples))
    return min(planned, fitted) if fitted else planned


def steps_per_epoch(recipe: schema.Recipe, examples: int) -> int:
    """Optimizer steps in one pass over the examples."""
    return math.ceil(examples / (recipe.batch_size * recipe.gradient_accumulation))


def is_due(every: int | None, step: int, epoch_steps: int) -> bool:
    """Whether something done each `every` steps (None: at each epoch's end) is due after a step."""
    return step > 0 and step % (every or epoch_steps) == 0


def rate_at(recipe: schema.Recipe, step: int, total: int) -> float:
    """Learning rate of the step with this index (from 0), as transformers' schedulers have it."""
    warmup = math.ceil(recipe.warmup_ratio * total)
    if step < warmup:
        return recipe.learning_rate * step / warmup
    if recipe.scheduler == "constant":
        decay = recipe.decay_ratio * total
        return recipe.learning_rate * (min(1.0, (total - step) / decay) if decay else 1.0)
    share = (step - warmup) / max(1, total - warmup)
    if recipe.scheduler == "linear":
        return recipe.learning_rate * max(0.0, 1 - share)
    return recipe.learning_rate * max(0.0, 0.5 * (1 + math.cos(math.pi * share)))
