"""`generate`: the prompts of run.yaml answered by the base and its adapter, into answers.jsonl."""

from __future__ import annotations

from typing import Any

import torch

from finetune import schema
from finetune.answers import (
    answers,
    plain_prompts,
    template_of,
    warn_if_foreign,
    weights_of,
    with_adapter,
)
from finetune.bases import load_base
from finetune.failures import BadRequest
from finetune.files import write_whole
from finetune.runner import RunContext
from finetune.speed import choose_threads
from finetune.train import run_facts


def generate(context: RunContext) -> dict[str, Any]:
    """Answer as run.yaml says; returns the data of the result event."""
    spec = context.spec
    if not spec.evaluation.prompts:
        raise BadRequest(
            101,
            "There is nothing to answer.",
            "run.yaml has no evaluation.prompts.",
            "List the prompts there.",
        )
    context.progress("load", 0, 0, force=True)
    base = load_base(context)
    template = template_of(context, base.tokenizer)
    warn_if_foreign(context, base, template)
    model = with_adapter(context, base)
    threads = choose_threads(spec.threads, base.device)
    context.journal.state(
        "running",
        prompts=len(spec.evaluation.prompts),
        device=str(base.device),
        weights=weights_of(context, base, template),
        **threads,
    )
    given = answers(context, base, model, plain_prompts(context, spec.evaluation.prompts))
    lines = "".join(given[number].model_dump_json() + "\n" for number in sorted(given))
    write_whole(context.folder / schema.ANSWERS_FILE, lines)
    manifest = schema.RunManifest(
        **run_facts(context, base, template), threads=torch.get_num_threads()
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {"answers": schema.ANSWERS_FILE, "prompts": len(given)}
