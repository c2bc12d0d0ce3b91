"""One sitting of a training: its steps, looks, checkpoints and events."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune import schema
from finetune.checkpoints import CheckpointStore, records_of
from finetune.counters import Clock
from finetune.failures import Refused, Stopped
from finetune.looks import Look, due_looks
from finetune.packing import Packed, Way
from finetune.runner import RunContext
from finetune.schedule import rate_at, steps_per_epoch, total_steps
from finetune.speed import MEASURED_STEPS, fit_steps
from finetune.training import Trainer


@dataclass
class Session:
    """One sitting of a training: from start or last good checkpoint to the end, or to a stop."""

    context: RunContext
    trainer: Trainer
    looks: Sequence[Look]
    fingerprint: str
    rehearsed: int = 0
    way: Way = field(init=False)
    store: CheckpointStore = field(init=False)
    clock: Clock = field(default_factory=Clock)
    total: int = 0
    resumed_from: int | None = None
    saved_step: int = -1

    def __post_init__(self) -> None:
        folder = self.context.folder / schema.CHECKPOINTS_FOLDER
        self.store = CheckpointStore(folder, self.context.spec.recipe.save_total_limit)
        self._plan()

    def _plan(self) -> None:
        spec = self.context.spec
        count = len(self.trainer.examples)
        self.total = total_steps(spec.recipe, count, spec.fitted_max_steps)

    def begin(self, threads: dict[str, Any]) -> None:
        """Resume if there is something to resume from, and say that the training runs."""
        self._prepare()
        if self.context.spec.resume:
            self._resume()
        elif names := self.store.set_aside_all():
            self.context.journal.warning(
                "run.yaml says resume: false; earlier checkpoints were set aside",
                reason="superseded_checkpoints",
                names=names,
            )
        self.context.pulse.step = self.trainer.counters.step
        more = {} if self.resumed_from is None else {"resumed_from_step": self.resumed_from}
        trainable = sum(item.numel() for item in self.trainer.parameters)
        self.context.journal.state(
            "running",
            total_steps=self.total,
            examples=len(self.trainer.examples) - self.rehearsed,
            rehearsal_examples=self.rehearsed,
            packed=isinstance(self.way.feed, Packed),
            kept_examples=self.way.kept,
            device=str(self.trainer.base.device),
            trainable_parameters=trainable,
            **threads,
            **more,
        )

    def _prepare(self) -> None:
        count = len(self.trainer.examples)

        def on_example(done: int) -> None:
            self.context.ears.check()
            self.context.progress("prepare", 0, 0, examples=done, of=count)

        self.way = self.trainer.prepare(on_example)
        if self.way.refused:
            self.context.journal.warning(
                f"batches are padded, not packed: {self.way.refused}", reason="not_packed"
            )

    def _resume(self) -> None:
        def on_corrupt(step: int, reason: str, name: str) -> None:
            self.context.journal.warning(
                f"checkpoint of step {step} is broken ({reason}) and was moved aside",
                reason="corrupt_checkpoint",
                step=step,
                moved_to=f"{schema.CHECKPOINTS_FOLDER}/{name}",
            )

        found = self.store.last_good(on_corrupt)
        if found is None:
            return
        manifest, path = found
        if manifest.run_fingerprint != self.fingerprint:
            raise Refused(
                103,
                "The checkpoints of this folder belong to another training.",
                "Data, base, template or recipe changed since they were written.",
                "Start a new run, or set resume: false in run.yaml to begin anew "
                "(the checkpoints are kept aside).",
            )
        self.trainer.restore(manifest, path)
        self.resumed_from = self.saved_step = manifest.step

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
        except Stopped as stopped:
            if stopped.state == "paused":
                self.context.journal.state("pausing", reason=stopped.reason, step=stopped.step)
            self._save()
            raise
        self._save()

    @property
    def _ended(self) -> bool:
        return self.trainer.counters.step >= self.total

    def _step(self) -> None:
        recipe, counters = self.context.spec.recipe, self.trainer.counters
        if counters.step % recipe.save_steps == 0:
            self._save()  # with what was seen after the step before
        before = counters.tokens
        self.clock.restart()
        self.trainer.step(self.total)
        self.clock.tick(counters.tokens - before)
        self._fit_to_budget(recipe)
        if counters.step % recipe.logging_steps == 0 or self._ended:
            self._metric(self.trainer.counters.close_window())
        self._progress(counters.step, force=self._ended)

    def _look(self) -> None:
        """Take the looks that are due after this step; all of them again if one is stopped."""
        counters = self.trainer.counters
        due = due_looks(self.looks, counters.step, self._epoch_steps, self.total)
        found: dict[str, float] = {}
        if due:
            with self.trainer.untouched():
                try:
                    for each in due:
                        found |= each.look(self.trainer)
                except Stopped as stopped:
                    stopped.step = counters.step
                    raise
        if found:
            counters.seen |= found
            last = {} if math.isnan(counters.last_loss) else {"loss": counters.last_loss}
            self._metric({**last, **found})
        counters.looked_step = counters.step

    @property
    def _epoch_steps(self) -> int:
        return steps_per_epoch(self.context.spec.recipe, len(self.trainer.examples))

    def _metric(self, figures: dict[str, float]) -> None:
        step = self.trainer.counters.step
        self.context.journal.write(
            "metric", {"step": step, "learning_rate": self._rate(), **figures}
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
            seconds_left=round((self.total - step) * self.clock.recent(), 1),
            tokens_per_second=round(self.clock.tokens_per_second, 1),
        )

    def _fit_to_budget(self, recipe: schema.Recipe) -> None:
        """Once, after the first steps: as many steps as the time budget holds, into run.yaml."""
        spec = self.context.spec
        done = len(self.clock.step_seconds)
        if not recipe.time_budget_seconds or spec.fitted_max_steps or done != MEASURED_STEPS + 1:
            return
        fitted = fit_steps(
            budget=recipe.time_budget_seconds,
            elapsed=self.context.elapsed(),
            done=self.trainer.counters.step,
            step_seconds=self.clock.step_seconds[1:],
            planned=self.total,
        )
        spec.fitted_max_steps = fitted
        schema.write_run_spec(self.context.folder, spec)
        planned, self.total = self.total, fitted
        self.context.journal.state(
            "running",
            total_steps=fitted,
            planned_steps=planned,
            fitted_max_steps=fitted,
            time_budget_seconds=recipe.time_budget_seconds,
        )

    def _save(self) -> None:
        """Write a checkpoint, unless this step has one (or there is nothing to keep yet)."""
        step = self.trainer.counters.step
        if step in (0, self.saved_step):
            return
        started = time.monotonic()
        files = self.trainer.checkpoint_files()
        manifest = schema.CheckpointManifest(
            job_id=self.context.spec.job_id,
            at=schema.now(),
            step=step,
            total_steps=self.total,
            run_fingerprint=self.fingerprint,
            state=self.trainer.counters.as_state(),
            files=records_of(files),
        )
        path = self.store.save(manifest, files)
        self.saved_step = step
        self.context.journal.write(
            "checkpoint",
            {
                "step": step,
                "path": f"{schema.CHECKPOINTS_FOLDER}/{path.name}",
                "bytes": sum(len(content) for content in files.values()),
                "seconds": round(time.monotonic() - started, 2),
            },
        )
