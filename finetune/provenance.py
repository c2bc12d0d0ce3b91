"""What a run was done with: versions, hashes of the data, and what its checkpoints belong to."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from finetune import schema
from finetune.bases import Base
from finetune.files import sha256_of
from finetune.means import Means
from finetune.templates import Template

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "safetensors",
    "gguf",
    "bitsandbytes",
)
#: Recipe fields that may change between two sittings of one run without changing its course.
_FREE = {
    "save_steps",
    "save_total_limit",
    "logging_steps",
    "time_budget_seconds",
    "activation_checkpointing",
}


def package_versions() -> dict[str, str]:
    """Versions of the packages that touch the weights."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def file_records(paths: list[Path]) -> dict[str, schema.FileRecord]:
    """Size and SHA-256 of files, by name; those that are not there are left out."""
    return {
        path.name: schema.FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in paths
        if path.is_file()
    }


def run_fingerprint(
    spec: schema.RunSpec,
    base: Base,
    template: Template,
    data: dict[str, schema.FileRecord],
    means: Means,
) -> str:
    """What a checkpoint must share with the run that goes on from it.

    A field at its default says nothing, so that a run goes on under a version with more fields.
    """
    content = {
        "recipe": spec.recipe.model_dump(mode="json", exclude=_FREE, exclude_defaults=True),
        "means": [means.precision, means.quantization, means.optimizer],
        "base": base.fingerprint,
        "template": template.fingerprint,
        "train": data[schema.TRAIN_FILE].sha256,
    }
    if (rehearsal := schema.rehearsal_path(spec.recipe)) is not None:
        content["rehearsal"] = data[rehearsal.name].sha256
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
