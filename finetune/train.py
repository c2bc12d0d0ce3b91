"""`train`: from run.yaml to adapter/ and manifest.json, with checkpoints on the way."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.bases import Base, load_base
from finetune.checkpoints import CheckpointStore, records_of, write_folder
from finetune.examples import Example, ExampleSet
from finetune.failures import BadRequest, DataFailure, Refused, Stopped
from finetune.forgetting import Kept, Memory, remember
from finetune.packing import Packed, Way
from finetune.provenance import file_records, package_versions, run_fingerprint
from finetune.pull import pull_on
from finetune.runner import RunContext
from finetune.scoring import mean_loss, read_part
from finetune.speed import MEASURED_STEPS, choose_threads, fit_steps
from finetune.templates import Template, set_template
from finetune.training import Clock, Trainer, rate_at, steps_per_epoch, total_steps
from finetune.unbuilt import refuse_unbuilt

log = logging.getLogger(__name__)

#: Examples of valid.jsonl that a training looks at, where run.yaml sets no limit.
VALID_LOOK = 32
#: Fields of the manifest that the result event repeats.
_REPORTED = {
    "steps",
    "train_loss",
    "eval_loss",
    "seconds",
    "tokens_per_second",
    "examples",
    "rehearsal_examples",
    "answer_tokens",
    "threads",
}


def train(context: RunContext) -> dict[str, Any]:
    """Train as run.yaml says; returns the data of the result event."""
    refuse_unbuilt(context.spec.recipe)
    folder = dataset_folder(context.spec)
    files = [folder / schema.TRAIN_FILE, folder / schema.VALID_FILE]
    rehearsal = rehearsal_file(context.spec.recipe)
    data_files = file_records([*files, *([rehearsal] if rehearsal else [])])
    context.progress("load", 0, 0, force=True)
    base = load_base(context)
    template = set_template(base.tokenizer, context.spec.recipe.prompt_form)
    if template.source == "plain" and context.spec.recipe.prompt_form == "chat_template":
        context.journal.warning(
            "the base has no chat template; the plain one is used", reason="plain_template"
        )
    examples = read_part(context, base.tokenizer, folder / schema.TRAIN_FILE)
    if not examples.examples:
        raise DataFailure(
            203,
            "There is nothing to learn in train.jsonl.",
            "No line has an assistant's answer (with weight 1) within sequence_length.",
            "Look at the warnings of this run, raise sequence_length, or prepare the data again.",
        )
    valid: list[Example] = []
    if (folder / schema.VALID_FILE).is_file():
        limit = context.spec.evaluation.sample_limit or VALID_LOOK
        part = read_part(context, base.tokenizer, folder / schema.VALID_FILE, limit=limit)
        valid = part.examples
    rehearsed = read_part(context, base.tokenizer, rehearsal).examples if rehearsal else []
    threads = _threads(context, base)
    trainer = Trainer(
        base, context.spec.recipe, [*examples.examples, *rehearsed], context.ears.check
    )
    memory = remember(context, base, trainer.model, template)
    fingerprint = run_fingerprint(context.spec, base, template, data_files)
    session = Session(context, trainer, valid, fingerprint, rehearsed, memory)
    session.begin(threads)
    session.train()
    return _finish(session, base, template, examples, data_files)


def dataset_folder(spec: schema.RunSpec) -> Path:
    """The data set's folder; raises BadRequest where run.yaml names none."""
    if spec.dataset_path is None:
        raise BadRequest(
            101,
            "The run has no data set.",
            "run.yaml has no dataset_path.",
            "Name the folder that holds train.jsonl and valid.jsonl.",
        )
    return Path(spec.dataset_path).expanduser()


def rehearsal_file(recipe: schema.Recipe) -> Path | None:
    """The file of the recipe's rehearsal; raises DataFailure where it is not there."""
    path = schema.rehearsal_path(recipe)
    if path is not None and not path.is_file():
        raise DataFailure(
            204,
            "The recipe's rehearsal file is not there.",
            f"{path} is no file.",
            "Correct `rehearsal` in the recipe, or leave it out: then more is forgotten.",
        )
    return path


def _threads(context: RunContext, base: Base) -> dict[str, Any]:
    """Choose the threads, once for all sittings of a run: the number goes into run.yaml."""
    spec = context.spec
    threads = choose_threads(spec.threads, base.device, spec.fitted_threads)
    if spec.threads == "auto" and spec.fitted_threads != threads["threads"]:
        spec.fitted_threads = threads["threads"]
        schema.write_run_spec(context.folder, spec)
    return threads


@dataclass
class Session:
    """One sitting of a training: from start or last good checkpoint to the end, or to a stop."""

    context: RunContext
    trainer: Trainer
    valid: list[Example]
    fingerprint: str
    rehearsed: list[Example] = field(default_factory=list)
    memory: Memory | None = None
    way: Way = field(init=False)
    store: CheckpointStore = field(init=False)
    clock: Clock = field(default_factory=Clock)
    total: int = 0
    resumed_from: int | None = None
    saved_step: int = -1
    eval_loss: float | None = None
    kept: Kept | None = None
    looked_step: int = -1

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
            examples=len(self.trainer.examples) - len(self.rehearsed),
            rehearsal_examples=len(self.rehearsed),
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
        self.trainer.pull = pull_on(self.context, self.way.feed, self.rehearsed)

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
        if manifest.total_steps <= manifest.step:  # it had come to its end, maybe before its time
            self.total = manifest.step

    def train(self) -> None:
        """Take all steps that are left; raises Stopped after a checkpoint."""
        recipe = self.context.spec.recipe
        try:
            while self.trainer.counters.step < self.total:
                self._step(recipe)
        except Stopped as stopped:
            if stopped.state == "paused":
                self.context.journal.state("pausing", reason=stopped.reason, step=stopped.step)
            self._save()
            raise

    def _step(self, recipe: schema.Recipe) -> None:
        before = self.trainer.counters.tokens
        self.clock.restart()
        self.trainer.step(self.total)
        self.clock.tick(self.trainer.counters.tokens - before)
        self._fit_to_budget(recipe)
        step = self.trainer.counters.step
        last = step >= self.total
        if step % recipe.logging_steps == 0 or last:
            self._metric(step)
        self._progress(step, force=last)
        if self._is_epochs_end(step) and not last:
            self.look_at_valid()
            if self._is_forgetting() and recipe.general_below == "stop":
                self.total, last = step, True  # the checkpoint of this step says so too
        if step % recipe.save_steps == 0 or last:
            self._save()

    def _is_epochs_end(self, step: int) -> bool:
        recipe, examples = self.context.spec.recipe, self.trainer.examples
        return step % steps_per_epoch(recipe, len(examples)) == 0

    def _is_forgetting(self) -> bool:
        """Whether the last look found less general knowledge than the recipe allows."""
        floor = self.context.spec.recipe.general_floor
        return floor is not None and self.kept is not None and self.kept.share < floor

    def _metric(self, step: int) -> None:
        loss = self.trainer.close_window()
        self.context.journal.write(
            "metric", {"step": step, "loss": loss, "learning_rate": self._rate()}
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

    def look_at_valid(self) -> None:
        """Loss on the held-out part and what is left of general knowledge, as a metric event."""
        step, model = self.trainer.counters.step, self.trainer.model
        if step == self.looked_step:
            return
        found: dict[str, float] = {}
        try:
            if self.valid:
                self.eval_loss = mean_loss(self.context, self.trainer.base, model, self.valid)
                found["eval_loss"] = self.eval_loss
            if self.memory is not None:
                self.kept = self.memory.look(model)
                found |= {"kept": self.kept.right, "kept_total": self.kept.total}
        except Stopped as stopped:
            stopped.step = step
            raise
        if found:
            last = self.trainer.counters.last_loss
            self.context.journal.write(
                "metric", {"step": step, "loss": last, "learning_rate": self._rate(), **found}
            )
        self.looked_step = step
        if self.kept is not None and self._is_forgetting():
            self.kept.warn(self.context.journal, self.context.spec.recipe, step)


def _finish(
    session: Session,
    base: Base,
    template: Template,
    examples: ExampleSet,
    data_files: dict[str, schema.FileRecord],
) -> dict[str, Any]:
    """Adapter, last look at valid.jsonl, manifest; all may be done again after a kill."""
    context, trainer = session.context, session.trainer
    files = trainer.adapter_files()
    write_folder(context.folder / schema.ADAPTER_FOLDER, files)
    session.look_at_valid()
    speed = session.clock.tokens_per_second
    loss = trainer.counters.last_loss
    manifest = schema.RunManifest(
        **run_facts(context, base, template),
        dataset_files=data_files,
        threads=torch.get_num_threads(),
        steps=trainer.counters.step,
        total_steps=session.total,
        resumed_from_step=session.resumed_from,
        examples=len(examples.examples),
        rehearsal_examples=len(session.rehearsed),
        packed=isinstance(session.way.feed, Packed),
        kept_examples=session.way.kept,
        answer_tokens=examples.answer_tokens,
        tokens_per_second=round(speed, 1) if speed else None,
        train_loss=loss if math.isfinite(loss) else None,
        eval_loss=session.eval_loss,
        adapter_files=records_of(files),
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {
        "adapter": schema.ADAPTER_FOLDER,
        "manifest": schema.MANIFEST_FILE,
        **manifest.model_dump(
            mode="json",
            include=_REPORTED,
        ),
    }


def run_facts(context: RunContext, base: Base, template: Template) -> dict[str, Any]:
    """The fields of a manifest that every kind of run has."""
    spec = context.spec
    return {
        "job_id": spec.job_id,
        "kind": spec.kind,
        "base": base.name,
        "base_kind": base.kind,
        "base_revision": base.revision,
        "base_fingerprint": base.fingerprint,
        "base_file_sha256": base.file_sha256,
        "dataset_hash": spec.dataset_hash,
        "template_fingerprint": template.fingerprint,
        "template_source": template.source,
        "template": None if template.source == "base" else template.text,
        "packages": package_versions(),
        "seed": spec.recipe.seed,
        "device": str(base.device),
        "started_at": context.started_at,
        "finished_at": schema.now(),
        "seconds": round(context.elapsed(), 1),
    }
