"""`train`: from run.yaml to adapter/ and manifest.json, with checkpoints on the way."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.bases import Base, load_base
from finetune.checkpoints import records_of, write_folder
from finetune.examples import ExampleSet
from finetune.failures import DataFailure
from finetune.looks import Look, Validation
from finetune.objective import Objective, Supervised
from finetune.packing import Packed
from finetune.preference import Preference
from finetune.provenance import file_records, package_versions, run_fingerprint
from finetune.readers import dataset_folder
from finetune.rows import refusal, refuse_mixture
from finetune.runner import RunContext
from finetune.scoring import read_part
from finetune.session import Session
from finetune.speed import choose_threads
from finetune.templates import Template, adapter_form_files, set_template
from finetune.training import Trainer
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
    refuse_mixture(context.spec.recipe)
    folder = dataset_folder(context.spec)
    files = [folder / schema.TRAIN_FILE, folder / schema.VALID_FILE]
    rehearsal = rehearsal_file(context.spec.recipe)
    data_files = file_records([*files, *([rehearsal] if rehearsal else [])])
    context.progress("load", 0, 0, force=True)
    base = load_base(context)
    recipe = context.spec.recipe
    template = set_template(base.tokenizer, recipe.prompt_form, recipe.opening)
    if template.source == "plain" and recipe.prompt_form != "plain":
        context.journal.warning(
            "the base has no chat template; the plain one is used", reason="plain_template"
        )
    takes = recipe.method
    examples = read_part(context, base.tokenizer, folder / schema.TRAIN_FILE, takes=takes)
    if refused := refusal(recipe, schema.TRAIN_FILE, examples):
        raise refused
    valid: list[Any] = []
    if (folder / schema.VALID_FILE).is_file():
        limit = context.spec.evaluation.sample_limit or VALID_LOOK
        path = folder / schema.VALID_FILE
        part = read_part(context, base.tokenizer, path, limit=limit, takes=takes)
        valid = [*part.examples, *part.pairs]
    rehearsed = read_part(context, base.tokenizer, rehearsal).examples if rehearsal else []
    threads = _threads(context, base)
    trainer = Trainer(
        base,
        _way(context, recipe),
        [*examples.examples, *examples.pairs, *rehearsed],
        context.ears.check,
        _objective(recipe),
    )
    fingerprint = run_fingerprint(context.spec, base, template, data_files)
    looks: list[Look] = [Validation(valid, context.spec.recipe.eval_steps)]
    session = Session(context, trainer, looks, fingerprint, len(rehearsed))
    session.begin(threads)
    session.train()
    return _finish(session, base, template, examples, data_files)


def _objective(recipe: schema.Recipe) -> Objective:
    if recipe.method == "dpo":
        return Preference(recipe.dpo.beta)
    return Supervised()


def _way(context: RunContext, recipe: schema.Recipe) -> schema.Recipe:
    """The recipe without what pairs can't have."""
    if recipe.method == "supervised" or not recipe.packing:
        return recipe
    context.journal.warning(
        "batches are padded, not packed: preference pairs are compared row by row",
        reason="not_packed",
    )
    return recipe.model_copy(update={"packing": False})


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


def _finish(
    session: Session,
    base: Base,
    template: Template,
    examples: ExampleSet,
    data_files: dict[str, schema.FileRecord],
) -> dict[str, Any]:
    """Adapter and manifest; all may be done again after a kill."""
    context, trainer = session.context, session.trainer
    files = {**trainer.adapter_files(), **adapter_form_files(template)}
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
        train_loss=loss if math.isfinite(loss) else None,
        eval_loss=trainer.counters.seen.get("eval_loss"),
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
