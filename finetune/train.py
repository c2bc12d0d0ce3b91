"""`train`: from run.yaml to adapter/ and manifest.json, with checkpoints on the way."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.adapters import adapter_files
from finetune.bases import Base, load_base
from finetune.checkpoints import records_of, write_folder
from finetune.examples import Example, ExampleSet
from finetune.failures import BadRequest, DataFailure
from finetune.forgetting import general_look
from finetune.hooks import drop_left_folders, hook_looks
from finetune.keeping import Keeper
from finetune.looks import Look, Validation
from finetune.means import Means, means_of
from finetune.memory import gpu_peak_bytes, kernel_kills, peak_bytes, smaller, vanished_for_memory
from finetune.objective import Objective, Supervised
from finetune.packing import Packed
from finetune.preference import Preference
from finetune.provenance import file_records, package_versions, run_fingerprint
from finetune.pull import Pulled
from finetune.ranks import Ranks
from finetune.readers import dataset_folder
from finetune.rows import refusal, refuse_mixture
from finetune.runner import RunContext
from finetune.scoring import read_part
from finetune.session import Session, note_smaller
from finetune.speed import choose_threads, cores
from finetune.stopping import judge_of
from finetune.templates import Template, adapter_form_files, set_template
from finetune.training import Trainer
from finetune.vitals import boot_id

log = logging.getLogger(__name__)

#: Examples of valid.jsonl that a training looks at, where run.yaml sets no limit.
VALID_LOOK = 32
#: Fields of the manifest that the result event repeats.
_REPORTED = {
    "steps",
    "train_loss",
    "eval_loss",
    "adapter_step",
    "adapter_reason",
    "stopped_early",
    "batch_size",
    "memory_bytes",
    "gpu_memory_bytes",
    "seconds",
    "tokens_per_second",
    "examples",
    "rehearsal_examples",
    "answer_tokens",
    "threads",
}


def train(context: RunContext) -> dict[str, Any]:
    """Train as run.yaml says; returns the data of the result event."""
    recipe = context.spec.recipe
    refuse_mixture(recipe)
    _answer_vanishing(context)
    drop_left_folders(context.folder)
    folder = dataset_folder(context.spec)
    files = [folder / schema.TRAIN_FILE, folder / schema.VALID_FILE]
    rehearsal = rehearsal_file(recipe)
    data_files = file_records([*files, *([rehearsal] if rehearsal else [])])
    context.progress("load", 0, 0, force=True)
    ranks = Ranks.join()
    base = load_base(context, means=_means(context))
    template = set_template(base.tokenizer, recipe.prompt_form, recipe.opening)
    if template.source == "plain" and recipe.prompt_form != "plain":
        context.journal.warning(
            "the base has no chat template; the plain one is used", reason="plain_template"
        )
    examples = read_part(context, base.tokenizer, files[0], takes=recipe.method)
    if refused := refusal(recipe, schema.TRAIN_FILE, examples):
        raise refused
    valid = _valid(context, base, files[1])
    judge = judge_of(recipe, validates=bool(valid))
    rehearsed = read_part(context, base.tokenizer, rehearsal).examples if rehearsal else []
    threads = _threads(context, base, ranks)
    learnt = [*(examples.examples or examples.pairs) * recipe.dataset_repeats, *rehearsed]
    objective = _objective(recipe, rehearsed)
    trainer = _trainer(context, base, ranks, learnt, objective)
    looks: list[Look] = [Validation(valid, recipe.eval_steps)]
    if (general := general_look(context, base, template)) is not None:
        looks.append(general)
    if not recipe.try_one_step:
        looks += hook_looks(context, adapter_form_files(template))
    fingerprint = run_fingerprint(context.spec, base, template, data_files, trainer.means)
    keeper = Keeper(context, trainer, fingerprint)
    session = Session(context, trainer, looks, keeper, judge, len(rehearsed))
    session.begin(threads)
    if general is not None and recipe.time_budget_seconds and ranks.first:
        # Steps are fitted by what a look takes, and the base is asked in one of them alone.
        general.known_to_base(trainer.model)
    session.train()
    if recipe.try_one_step:
        return one_step(session)
    return _finish(session, base, template, examples, data_files)


def _means(context: RunContext) -> Means:
    means = means_of(context.spec.recipe)
    if means.replaced:
        context.journal.warning(means.replaced, reason="optimizer_replaced", used=means.optimizer)
    return means


def _valid(context: RunContext, base: Base, path: Path) -> list[Any]:
    """The examples of valid.jsonl that are looked at; none where there is no such file."""
    if not path.is_file():
        return []
    limit = context.spec.evaluation.sample_limit or VALID_LOOK
    takes = context.spec.recipe.method
    part = read_part(context, base.tokenizer, path, limit=limit, takes=takes)
    return [*part.examples, *part.pairs]


def _trainer(
    context: RunContext, base: Base, ranks: Ranks, learnt: list[Any], objective: Objective
) -> Trainer:
    """The trainer, with what earlier sittings have fitted to the memory."""
    spec = context.spec
    trainer = Trainer(
        base,
        _way(context, spec.recipe),
        learnt,
        context.ears.demand,
        means_of(spec.recipe),
        objective,
        ranks=ranks,
        batch_size=min(spec.fitted_batch_size or spec.recipe.batch_size, spec.recipe.batch_size),
    )
    if spec.fitted_activation_checkpointing and not trainer.checkpointing:
        trainer.checkpoint_activations()
    return trainer


def _objective(recipe: schema.Recipe, rehearsed: list[Example]) -> Objective:
    """What the training makes small; raises BadRequest for a pull with nothing to pull on."""
    if recipe.method == "dpo":
        return Preference(recipe.dpo.beta)
    if not recipe.base_pull:
        return Supervised()
    if not rehearsed:
        raise BadRequest(
            450,
            "The recipe asks for a pull towards the base and has nothing to pull on.",
            "base_pull works on the examples of `rehearsal`, and the recipe names none.",
            "Name a file of general questions with answers as `rehearsal`, or leave base_pull out.",
        )
    return Pulled(recipe.base_pull, rehearsed)


def _way(context: RunContext, recipe: schema.Recipe) -> schema.Recipe:
    """The recipe without what pairs can't have."""
    if recipe.method == "supervised" or not recipe.packing:
        return recipe
    context.journal.warning(
        "batches are padded, not packed: preference pairs are compared row by row",
        reason="not_packed",
    )
    return recipe.model_copy(update={"packing": False})


def _answer_vanishing(context: RunContext) -> None:
    """Take a smaller way where the kernel has ended the sitting before for want of memory."""
    spec = context.spec
    if not vanished_for_memory(context.last_beat, context.last_state, kernel_kills(), boot_id()):
        return
    size = min(spec.fitted_batch_size or spec.recipe.batch_size, spec.recipe.batch_size)
    checkpointing = spec.recipe.activation_checkpointing or spec.fitted_activation_checkpointing
    answer = smaller(size, checkpointing)
    if answer is not None:
        note_smaller(context, answer, context.last_beat.step if context.last_beat else 0)


def one_step(session: Session) -> dict[str, Any]:
    """What a rehearsal of one step tells; no adapter, checkpoint or manifest is written."""
    trainer = session.trainer
    return {
        "try_one_step": True,
        "step_seconds": round(sum(session.clock.step_seconds), 3),
        "batch_size": trainer.batch_size,
        "train_loss": trainer.counters.last_loss,
        "eval_loss": trainer.counters.seen.get("eval_loss"),
        "memory_bytes": peak_bytes(),
        "gpu_memory_bytes": gpu_peak_bytes(trainer.base.device),
        "seconds": round(session.context.elapsed(), 1),
    }


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


def _threads(context: RunContext, base: Base, ranks: Ranks) -> dict[str, Any]:
    """Choose the threads, once for all sittings of a run: the number goes into run.yaml.

    Several processes on one processor share its cores evenly.
    """
    spec = context.spec
    wanted = spec.threads
    if wanted == "auto" and ranks.count > 1:
        wanted = spec.fitted_threads or max(1, cores() // ranks.count)
    threads = choose_threads(wanted, base.device, spec.fitted_threads)
    if spec.threads == "auto" and spec.fitted_threads != threads["threads"]:
        spec.fitted_threads = threads["threads"]
        context.write_spec()
    return threads


def _finish(
    session: Session,
    base: Base,
    template: Template,
    examples: ExampleSet,
    data_files: dict[str, schema.FileRecord],
) -> dict[str, Any]:
    """Adapter and manifest; all may be done again after a kill."""
    context, trainer = session.context, session.trainer
    step, reason, weights = _chosen_adapter(session)
    files = {**weights, **adapter_form_files(template)}
    if context.writes:
        write_folder(context.folder / schema.ADAPTER_FOLDER, files)
    speed = session.clock.tokens_per_second
    loss = trainer.counters.last_loss
    manifest = schema.RunManifest(
        **run_facts(context, base, template),
        dataset_files=data_files,
        threads=torch.get_num_threads(),
        steps=trainer.counters.step,
        total_steps=session.total,
        resumed_from_step=session.resumed_from,
        examples=len(examples.examples) + len(examples.pairs),
        rehearsal_examples=session.rehearsed,
        packed=isinstance(session.way.feed, Packed),
        kept_examples=session.way.kept,
        answer_tokens=examples.answer_tokens,
        tokens_per_second=round(speed, 1) if speed else None,
        train_loss=_known(loss),
        eval_loss=_known(
            trainer.counters.seen.get("eval_loss", math.nan)
            if step == trainer.counters.step
            else trainer.counters.best_eval_loss
        ),
        adapter_step=step,
        adapter_reason=reason,
        stopped_early=session.stopped_early,
        precision=trainer.means.precision,
        quantization=trainer.means.quantization,
        optimizer=trainer.means.optimizer,
        processes=trainer.ranks.count,
        batch_size=trainer.batch_size,
        memory_bytes=peak_bytes(),
        gpu_memory_bytes=gpu_peak_bytes(base.device),
        adapter_files=records_of(files),
    )
    if context.writes:
        schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {
        "adapter": schema.ADAPTER_FOLDER,
        "manifest": schema.MANIFEST_FILE,
        **manifest.model_dump(
            mode="json",
            include=_REPORTED,
        ),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _chosen_adapter(session: Session) -> tuple[int, str, Mapping[str, bytes]]:
    """Which step's adapter is kept, why in a sentence, and its files."""
    trainer, judge = session.trainer, session.judge
    counters = trainer.counters
    last = counters.step, "the last step", adapter_files(trainer.model)
    if judge is None or not session.context.spec.recipe.keep_best:
        return last
    if counters.best_step in (0, counters.step):
        return counters.step, f"the last step, and {judge.why_best(counters)}", last[2]
    files = session.keeper.adapter_of(counters.best_step)
    if files is None:
        if session.context.writes:
            session.context.journal.warning(
                f"the checkpoint of step {counters.best_step}, the best one, is broken; "
                "the adapter of the last step is kept",
                reason="best_checkpoint_broken",
                step=counters.best_step,
            )
        return last
    return counters.best_step, judge.why_best(counters), files


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
        "template": template.text if template.own else None,
        "prompt_form": template.prompt_form,
        "system_message": template.system_message,
        "packages": package_versions(),
        "seed": spec.recipe.seed,
        "device": str(base.device),
        "started_at": context.started_at,
        "finished_at": schema.now(),
        "seconds": round(context.elapsed(), 1),
    }
