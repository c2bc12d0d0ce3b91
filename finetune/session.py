"""One sitting of a training: its steps, looks, checkpoints and events."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from finetune import schema
from finetune.counters import Clock
from finetune.failures import Stopped, WorkFailure
from finetune.forgetting import ANSWER_TOKENS, GeneralLook, forgets, warn_of_forgetting
from finetune.keeping import Keeper
from finetune.looks import Look, Validation, due_looks, looks_left
from finetune.memory import OutOfMemory, Smaller, gpu_peak_bytes, peak_bytes, smaller
from finetune.packing import Packed, Way
from finetune.runner import RunContext
from finetune.schedule import rate_at, steps_per_epoch, total_steps
from finetune.speed import MEASURED_STEPS, fit_steps
from finetune.stopping import Judge
from finetune.training import Trainer


class _Seen(NamedTuple):
    """What the first process saw, told to all."""

    figures: Mapping[str, float] = MappingProxyType({})
    stopped: Literal["paused", "cancelled"] | None = None
    reason: str = ""


@dataclass
class Session:
    """One sitting of a training: from start or last good checkpoint to the end, or to a stop.

    All processes of a training go through it in step; looks are taken by the first alone.
    """

    context: RunContext
    trainer: Trainer
    looks: Sequence[Look]
    keeper: Keeper
    judge: Judge | None = None
    rehearsed: int = 0
    way: Way = field(init=False)
    clock: Clock = field(default_factory=Clock)
    total: int = 0
    resumed_from: int | None = None
    _look_seconds: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = self.context.spec
        count = len(self.trainer.examples)
        self.total = total_steps(spec.recipe, count, spec.fitted_max_steps)
        if spec.recipe.try_one_step:
            self.total = 1

    def begin(self, threads: dict[str, Any]) -> None:
        """Resume if there is something to resume from, and say that the training runs."""
        self._prepare()
        if self.context.spec.resume:
            self.resumed_from = self.keeper.resume()
        else:
            self.keeper.begin_anew()
        self.context.pulse.step = self.trainer.counters.step
        more = {} if self.resumed_from is None else {"resumed_from_step": self.resumed_from}
        trainable = sum(item.numel() for item in self.trainer.parameters)
        self.context.journal.state(
            "running",
            total_steps=self.total,
            examples=len({id(each) for each in self.trainer.examples}) - self.rehearsed,
            rehearsal_examples=self.rehearsed,
            packed=isinstance(self.way.feed, Packed),
            kept_examples=self.way.kept,
            device=str(self.trainer.base.device),
            precision=self.trainer.means.precision,
            quantization=self.trainer.means.quantization,
            optimizer=self.trainer.means.optimizer,
            processes=self.trainer.ranks.count,
            batch_size=self.trainer.batch_size,
            trainable_parameters=trainable,
            **threads,
            **more,
        )

    def _prepare(self) -> None:
        self.way = self.trainer.prepare()
        if self.way.refused:
            self.context.journal.warning(
                f"batches are padded, not packed: {self.way.refused}", reason="not_packed"
            )

    def train(self) -> None:
        """Take all steps and looks that are left; raises Stopped after a checkpoint."""
        counters = self.trainer.counters
        try:
            while True:
                if counters.step and counters.looked_step != counters.step:
                    self._look()
                if self._ended:
                    break
                self._step()
                counters = self.trainer.counters
        except Stopped as stopped:
            if stopped.state == "paused":
                self.context.journal.state("pausing", reason=stopped.reason, step=stopped.step)
            self.keeper.save(self.total)
            raise
        if counters.window_weight:
            self._metric(counters.close_window())
        self.keeper.save(self.total)

    @property
    def _ended(self) -> bool:
        return self.trainer.counters.step >= self.total or bool(self.trainer.counters.ended)

    def _step(self) -> None:
        recipe, counters = self.context.spec.recipe, self.trainer.counters
        if counters.step % recipe.save_steps == 0:
            self.keeper.save(self.total)  # with what was seen after the step before
        before = counters.tokens
        once = self.way.feed.once_seconds
        self.clock.restart()
        while not self._stepped():
            pass
        self.clock.tick(counters.tokens - before, aside=self.way.feed.once_seconds - once)
        self._fit_to_budget(recipe)
        if counters.step % recipe.logging_steps == 0 or self._ended:
            self._metric(counters.close_window())
        self._progress(counters.step, force=self._ended)

    def _stepped(self) -> bool:
        """Try a step; where memory does not suffice, find a smaller way for the next try."""
        try:
            self.trainer.step(self.total)
        except OutOfMemory:
            answer = smaller(self.trainer.batch_size, self.trainer.checkpointing)
            if answer is None:
                raise WorkFailure(
                    403,
                    "Memory ran out.",
                    "One example at once, with activations computed anew, does not fit.",
                    "Lower sequence_length or lora.r, set quantization: nf4, or take a smaller "
                    "base; then start the run again.",
                ) from None
        else:
            return True
        note_smaller(self.context, answer, self.trainer.counters.step)
        if answer.setting == "batch_size":
            self.trainer.batch_size = int(answer.after)
        else:
            self.trainer.checkpoint_activations()
        return False

    def _look(self) -> None:
        """Take the looks that are due after this step; all of them again if one is stopped."""
        counters = self.trainer.counters
        due = due_looks(self.looks, counters.step, self._epoch_steps, self.total)
        if due and (figures := self._ask(due)):
            self._take_in(figures)
        counters.looked_step = counters.step
        if self.judge and self.judge.is_best(counters) and self.context.spec.recipe.keep_best:
            self.keeper.save(self.total)

    def _ask(self, looks: Sequence[Look]) -> Mapping[str, float]:
        """What the looks say; the first process takes them and tells all. Raises Stopped."""
        trainer = self.trainer
        seen = trainer.ranks.tell(self._found(looks) if trainer.ranks.first else _Seen())
        if seen.stopped is not None:
            raise Stopped(seen.stopped, seen.reason, trainer.counters.step)
        return seen.figures

    def _found(self, looks: Sequence[Look]) -> _Seen:
        """What the looks say, or what stopped them; their seconds are noted."""
        found: dict[str, float] = {}
        with self.trainer.untouched():
            try:
                for each in looks:
                    started = time.monotonic()
                    found |= each.look(self.trainer)
                    self._look_seconds[id(each)] = time.monotonic() - started
            except Stopped as stopped:
                return _Seen({}, stopped.state, stopped.reason)
        return _Seen(found)

    @property
    def _looks_by_step(self) -> float:
        """Seconds of looks that fall on a step, as far as they were measured."""
        return sum(
            self._look_seconds.get(id(each), 0.0) / (each.every or self._epoch_steps)
            for each in self.looks
        )

    def _seconds_left(self, step: int) -> float:
        """Seconds of the steps and looks that are still to come. A look that was not taken yet
        counts with a bound: the first one may take longer than all steps before it."""
        left = (self.total - step) * self.clock.recent() + self.way.feed.once_left
        for each in self.looks:
            seconds = self._look_seconds.get(id(each))
            if seconds is None:
                seconds = self._bound(each)
            left += seconds * looks_left(each, step, self._epoch_steps, self.total)
        return left

    def _bound(self, look: Look) -> float:
        """About the most seconds that a look takes, by the speed of the steps; 0 for a program of
        the person's, of which nothing is known."""
        recipe = self.context.spec.recipe
        if isinstance(look, Validation):
            of_a_step = recipe.batch_size * recipe.gradient_accumulation
            return self.clock.recent() * len(look.examples) / of_a_step
        rate = self.clock.tokens_per_second
        if isinstance(look, GeneralLook) and rate:
            # the base and the adapter, each a prompt of about as many tokens as its answer
            return 4 * ANSWER_TOKENS * min(recipe.general_sample, len(look.questions)) / rate
        return 0.0

    def _take_in(self, found: Mapping[str, float]) -> None:
        counters = self.trainer.counters
        counters.seen |= found
        last = {} if math.isnan(counters.last_loss) else {"loss": counters.last_loss}
        self._metric({**last, **found})
        if forgets(self.context.spec.recipe, found):
            warn_of_forgetting(self.context, found, counters.step)
            counters.ended = int(self.context.spec.recipe.general_below == "stop")
        elif self.judge is not None:
            self.judge.judge(counters, found)
        if (why := self.stopped_early) is not None:
            self.context.journal.state("running", stopped_early=why, step=counters.step)

    @property
    def stopped_early(self) -> str | None:
        """Why the training ended before its last step, in a sentence."""
        counters = self.trainer.counters
        if not counters.ended or counters.step >= self.total:
            return None
        if forgets(self.context.spec.recipe, counters.seen):
            return "fewer general questions are answered rightly than general_floor allows"
        return self.judge.why_stopped(counters) if self.judge else None

    @property
    def _epoch_steps(self) -> int:
        return steps_per_epoch(self.context.spec.recipe, len(self.trainer.examples))

    def _metric(self, figures: Mapping[str, float]) -> None:
        signs: dict[str, Any] = {"memory_bytes": peak_bytes()}
        if (gpu := gpu_peak_bytes(self.trainer.base.device)) is not None:
            signs["gpu_memory_bytes"] = gpu
        if self.clock.step_seconds:
            signs["tokens_per_second"] = round(self.clock.tokens_per_second, 1)
            signs["grad_norm"] = self.trainer.grad_norm
        step = self.trainer.counters.step
        self.context.journal.write(
            "metric", {"step": step, "learning_rate": self._rate(), **figures, **signs}
        )

    def _rate(self) -> float:
        """The learning rate of the last step taken."""
        step = self.trainer.counters.step
        return rate_at(self.context.spec.recipe, max(0, step - 1), self.total)

    def _progress(self, step: int, *, force: bool) -> None:
        self.context.progress(
            "train",
            step,
            self.total,
            force=force,
            epoch=round(self.trainer.epoch, 3),
            seconds_left=round(self._seconds_left(step), 1),
            tokens_per_second=round(self.clock.tokens_per_second, 1),
        )

    def _fit_to_budget(self, recipe: schema.Recipe) -> None:
        """Once, after the first steps: as many steps as the time budget holds, into run.yaml."""
        spec = self.context.spec
        done = len(self.clock.step_seconds)
        if not recipe.time_budget_seconds or spec.fitted_max_steps or done != MEASURED_STEPS + 1:
            return
        # One look beside its turn, to know what those to come take; early stopping counts it not.
        if figures := self._ask(self.looks):
            self._metric(figures)
        fitted = fit_steps(
            budget=recipe.time_budget_seconds,
            # the look after the last step is as long as this one
            elapsed=self.context.elapsed()
            + sum(self._look_seconds.values())
            + self.way.feed.once_left,
            done=self.trainer.counters.step,
            step_seconds=[each + self._looks_by_step for each in self.clock.step_seconds[1:]],
            planned=self.total,
        )
        fitted = self.trainer.ranks.tell(fitted)
        spec.fitted_max_steps = fitted
        self.context.write_spec()
        planned, self.total = self.total, fitted
        self.context.journal.state(
            "running",
            total_steps=fitted,
            planned_steps=planned,
            fitted_max_steps=fitted,
            time_budget_seconds=recipe.time_budget_seconds,
        )


def note_smaller(context: RunContext, answer: Smaller, step: int) -> None:
    """Keep the answer to a lack of memory in run.yaml, for a resume, and say it as an event."""
    if answer.setting == "batch_size":
        context.spec.fitted_batch_size = int(answer.after)
        what = f"{answer.after} examples at once in place of {answer.before}, more often"
    else:
        context.spec.fitted_activation_checkpointing = True
        what = "activations are computed anew in the backward pass"
    context.write_spec()
    context.journal.warning(
        f"memory ran out: {what}; a step's examples stay the same",
        reason="out_of_memory",
        step=step,
        setting=answer.setting,
        **{"from": answer.before, "to": answer.after},
    )
