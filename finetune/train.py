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
from finetune.examples import Example, ExampleSet
from finetune.failures import BadRequest, DataFailure
from finetune.forgetting import GeneralLook, remember
from finetune.looks import Look, Validation
from finetune.objective import Objective, Supervised
from finetune.packing import Packed
from finetune.provenance import file_records, package_versions, run_fingerprint
from finetune.pull import Pulled
from finetune.runner import RunContext
from finetune.scoring import read_part
from finetune.session import Session
from finetune.speed import choose_threads
from finetune.templates import Template, set_template
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
        base,
        context.spec.recipe,
        [*examples.examples * context.spec.recipe.dataset_repeats, *rehearsed],
        context.ears.check,
        _objective(context.spec.recipe, rehearsed),
    )
    memory = remember(context, base, trainer.model, template)
    fingerprint = run_fingerprint(context.spec, base, template, data_files)
    every = context.spec.recipe.eval_steps
    looks: list[Look] = [Validation(valid, every)]
    if memory is not None:
        looks.append(GeneralLook(memory, every))
    session = Session(context, trainer, looks, fingerprint, len(rehearsed))
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


def _objective(recipe: schema.Recipe, rehearsed: list[Example]) -> Objective:
    """What the training makes small; raises BadRequest for a pull with nothing to pull on."""
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
    files = trainer.adapter_files()
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
        examples=len(examples.examples),
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
        "template": None if template.source == "base" else template.text,
        "packages": package_versions(),
        "seed": spec.recipe.seed,
        "device": str(base.device),
        "started_at": context.started_at,
        "finished_at": schema.now(),
        "seconds": round(context.elapsed(), 1),
    }
