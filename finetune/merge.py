"""`merge`: an adapter and its base as one plain model, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from finetune import schema
from finetune.answers import end_tokens, template_of, warn_if_foreign, with_adapter
from finetune.bases import Base, load_base
from finetune.failures import BadRequest, WorkFailure
from finetune.files import sync_folder
from finetune.provenance import file_records
from finetune.room import drop_leftovers, require_room
from finetune.runner import RunContext
from finetune.speed import choose_threads
from finetune.templates import render
from finetune.train import run_facts

_STEPS = 4
_HALF = ".merged."
#: A merged model differs by the rounding to 16 bits: measured, the root mean square of the logits'
#: difference is 0.03 (bfloat16) and 0.003 (float16) of their spread, and in 32 bits a millionth.
#: A wrong merge is off by more.
_MOST_OF_SPREAD = {"bfloat16": 0.1, "float16": 0.02, "float32": 0.001}
_QUESTIONS = ("What do you know about this?", "O que você sabe sobre isto?")


def merge(context: RunContext) -> dict[str, Any]:
    """Merge as run.yaml says; returns the data of the result event."""
    spec = context.spec
    if spec.adapter_path is None:
        raise BadRequest(
            101,
            "There is no adapter to merge.",
            "run.yaml has no adapter_path.",
            "Name the adapter/ folder of a training that succeeded.",
        )
    drop_leftovers(context.folder, f"{_HALF}*", shutil.rmtree)
    context.progress("load", 0, _STEPS, force=True)
    base = load_base(context, exact=True)
    template = template_of(context, base.tokenizer)
    warn_if_foreign(context, base, template)
    threads = choose_threads(spec.threads, base.device)
    context.journal.state("running", device=str(base.device), total_steps=_STEPS, **threads)
    require_room(context.folder, _bytes(base, spec.merge.dtype), "the merged model")
    model = with_adapter(context, base)
    wanted = _logits(base, model)
    context.ears.check()
    context.progress("merge", 1, _STEPS, force=True)
    merged = model.merge_and_unload(safe_merge=True)
    context.ears.check()
    context.progress("write", 2, _STEPS, force=True)
    _give_ends(base, merged)
    target = context.folder / schema.MERGED_FOLDER
    temporary = Path(tempfile.mkdtemp(prefix=_HALF, dir=context.folder))
    try:
        merged.to(getattr(torch, spec.merge.dtype)).save_pretrained(temporary)
        base.tokenizer.save_pretrained(temporary)
        context.ears.check()
        context.progress("check", 3, _STEPS, force=True)
        difference = _checked(base, temporary, wanted, spec.merge.dtype)
        _move(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    manifest = schema.RunManifest(
        **run_facts(context, base, template),
        threads=torch.get_num_threads(),
        merged_files=file_records(sorted(target.iterdir())),
        merged_dtype=spec.merge.dtype,
        logit_difference=difference,
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    context.progress("check", _STEPS, _STEPS, force=True)
    return {
        "merged": schema.MERGED_FOLDER,
        "dtype": spec.merge.dtype,
        "bytes": sum(record.bytes for record in manifest.merged_files.values()),
        "logit_difference": difference,
        "template": template.source,
    }


def _bytes(base: Base, dtype: str) -> int:
    """What the merged model's files take: weights and tokenizer."""
    weights = {id(each): each.numel() for each in base.model.parameters()}  # tied ones once
    size = int(sum(weights.values())) * int(getattr(torch, dtype).itemsize)
    return size + sum(path.stat().st_size for path in base.folder.glob("tokenizer*"))


def _logits(base: Base, model: Any) -> torch.Tensor:
    """The logits at every place of the questions, in 32 bits: places x vocabulary."""
    found = []
    for question in _QUESTIONS:
        text = render(base.tokenizer, [{"role": "user", "content": question}], prompt=True)
        encoded = base.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.no_grad():
            found.append(model(input_ids=encoded["input_ids"]).logits[0].float())
    return torch.cat(found)


def _checked(base: Base, folder: Path, wanted: torch.Tensor, dtype: str) -> float:
    """Load what was written, and compare; the greatest difference of a logit.

    Raises WorkFailure where it is more than rounding can explain.
    """
    from transformers import AutoModelForCausalLM

    written = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    written.eval()
    difference = _logits(base, written) - wanted
    off, spread = float(difference.pow(2).mean().sqrt()), float(wanted.std())
    if not off <= _MOST_OF_SPREAD[dtype] * spread:
        raise WorkFailure(
            405,
            "The merged model does not answer as the base with its adapter does.",
            f"Its logits are off by {off:.3f} on average, and they spread by {spread:.3f}.",
            "Try dtype float16 or bfloat16, whichever was not used; the adapter itself is unhurt.",
        )
    return round(float(difference.abs().max()), 5)


def _give_ends(base: Base, merged: Any) -> None:
    """A server must end answers where the training did, and knows only the generation config.

    It counts a client's temperature only where the config says that the model samples; Sophia's
    front asks for temperature 0, the most probable answer, where a client names none.
    """
    merged.generation_config.do_sample = True
    merged.generation_config._from_model_config = False
    merged.generation_config.eos_token_id = end_tokens(base)
    merged.generation_config.pad_token_id = base.tokenizer.pad_token_id


def _move(temporary: Path, target: Path) -> None:
    for path in temporary.iterdir():
        path.chmod(0o600)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    sync_folder(temporary)
    if target.exists():  # of an attempt that died before it could say so
        shutil.rmtree(target)
    os.rename(temporary, target)
    sync_folder(target.parent)
