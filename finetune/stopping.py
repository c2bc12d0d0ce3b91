"""Which validation was the best, and whether a training has stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from finetune import schema
from finetune.counters import Counters
from finetune.failures import BadRequest


@dataclass(frozen=True)
class Judge:
    """Compares validations by one measure; what it knows stands in the counters."""

    rule: schema.EarlyStopping
    may_stop: bool

    def judge(self, counters: Counters, seen: Mapping[str, float]) -> None:
        """Take in a validation; one without the measure counts for nothing."""
        if self.rule.measure not in seen:
            return
        value = seen[self.rule.measure]
        gain = counters.best_value - value
        if self.rule.higher_is_better:
            gain = -gain
        if math.isnan(counters.best_value) or gain > 0:
            better = math.isnan(counters.best_value) or gain > self.rule.minimum_improvement
            counters.best_value, counters.best_step = value, counters.step
            counters.best_eval_loss = seen.get("eval_loss", math.nan)
        else:
            better = False
        counters.worse = 0 if better else counters.worse + 1
        if self.may_stop and counters.worse >= self.rule.patience:
            counters.ended = 1

    def is_best(self, counters: Counters) -> bool:
        """Whether the step that was just looked at is the best so far."""
        return counters.step > 0 and counters.best_step == counters.step

    def why_stopped(self, counters: Counters) -> str:
        """A sentence for manifest and event."""
        return (
            f"{self.rule.measure} was no better in {counters.worse} validations in a row; "
            f"best was {counters.best_value:.6g} at step {counters.best_step}"
        )

    def why_best(self, counters: Counters) -> str:
        """A sentence for the manifest."""
        return f"best validation: {self.rule.measure} {counters.best_value:.6g}"


def judge_of(recipe: schema.Recipe, *, validates: bool) -> Judge | None:
    """The recipe's judge; None where it neither stops early nor keeps the best.

    Raises BadRequest 113 for a measure that nothing gives.
    """
    if recipe.early_stopping is None and not recipe.keep_best:
        return None
    rule = recipe.early_stopping or schema.EarlyStopping()
    hooks = [hook.name for hook in recipe.hooks]
    known = {"eval_loss"} if validates else set()
    if recipe.general_questions is not None:
        known.add("kept")
    if rule.measure not in known and rule.measure.partition(".")[0] not in hooks:
        raise BadRequest(
            113,
            f"Nothing in this training gives the measure {rule.measure}.",
            "early_stopping and keep_best need one: eval_loss wants a valid.jsonl with answers, "
            f"a score HOOK.SCORE wants a hook of that name (there are: {', '.join(hooks) or '-'}).",
            "Correct early_stopping.measure, or take a data set with a validation part.",
        )
    return Judge(rule, recipe.early_stopping is not None)
