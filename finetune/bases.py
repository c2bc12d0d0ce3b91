"""Loads a base model and its tokenizer, and says exactly which ones they were."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.base_names import BaseKind, BaseName, read_base_name
from finetune.failures import Refused, RunFailure, Unavailable, WorkFailure
from finetune.runner import RunContext

if TYPE_CHECKING:
    import torch

    from finetune.means import Means

_WEIGHTS = (".safetensors", ".bin")
_TOKENIZER_FILES = ["*.json", "*.jinja", "*.model", "*.txt"]


@dataclass
class Base:
    """A loaded base. `tokenizer` and `model` are transformers' objects."""

    name: str
    kind: BaseKind
    folder: Path
    fingerprint: str
    file_sha256: str | None
    revision: str | None
    tokenizer: Any
    model: Any
    device: torch.device


def load_base(context: RunContext, *, exact: bool = False, means: Means | None = None) -> Base:
    """Load what run.yaml names; raises RunFailure that says whether it is missing or broken.

    `exact`: in 32 bits, on the processor, whatever else there is. `means`: as a training wants it,
    quantised perhaps; else in bf16 where the GPU has it.
    """
    name = read_base_name(context.spec.base)
    if name.kind != "hub":
        os.environ["HF_HUB_OFFLINE"] = "1"  # read at import: a local base asks no network
    folder, digest, revision = resolved(context, name)
    if exact:
        refuse_quantised(folder)
    context.ears.check()
    try:
        tokenizer, model, device = _load(folder, exact, means)
    except (RunFailure, MemoryError, ImportError):
        raise
    except Exception as error:
        if "memory" in str(error).lower():
            raise
        raise WorkFailure(
            303,
            f"The base {context.spec.base} cannot be loaded.",
            f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}",
            "Check that the folder holds config.json, the weights and the tokenizer of a causal "
            "language model, all of the same download.",
        ) from error
    context.ears.check()
    return Base(
        name=context.spec.base,
        kind=name.kind,
        folder=folder,
        fingerprint=base_fingerprint(folder),
        file_sha256=digest,
        revision=revision,
        tokenizer=tokenizer,
        model=model,
        device=device,
    )


def refuse_quantised(folder: Path) -> None:
    """Raises Refused 526 for weights of 4 or 8 bits: nothing is merged into them or made of them.

    An adapter that was trained on such a base (QLoRA) belongs into the 16 bits that it came from.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unavailable(
            301,
            f"The model in {folder} is not there.",
            f"Its config.json can't be read ({type(error).__name__}).",
            "Correct `base` in run.yaml: a model's folder, a hub id or a .gguf file.",
        ) from error
    if quantised := config.get("quantization_config"):
        kind = quantised.get("quant_method") or "unknown"
        raise Refused(
            526,
            "The weights of this base are quantised already.",
            f"{folder} holds weights of the kind {kind}, which are rounded for good.",
            "Name the same model in 16 bits as the base: an adapter trained on its 4 bits fits it.",
        )


def resolved(context: RunContext, name: BaseName) -> tuple[Path, str | None, str | None]:
    """The folder to load from, the GGUF file's SHA-256, the revision."""
    if name.kind == "gguf":
        from finetune.gguf_cache import model_folder_of

        folder, digest = model_folder_of(name.path, context.ears.check)
        return folder, digest, None
    if name.kind == "path":
        if not (name.path / "config.json").is_file():
            raise Unavailable(
                301,
                f"The base {name.text} is not there.",
                f"{name.path} holds no config.json.",
                "Correct `base` in run.yaml: a model's folder, a hub id or a .gguf file.",
            )
        return name.path, None, context.spec.base_revision
    folder = _download(name.text, context.spec.base_revision)
    # A snapshot's folder is named for its commit, which says more than a branch.
    return folder, None, folder.name


def _download(hub_id: str, revision: str | None, wanted: list[str] | None = None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=wanted,
                ignore_patterns=["*.gguf", "*.onnx", "*.h5", "*.msgpack", "original/*", "*.pth"],
            )
        )
    except Exception as error:  # the hub's client raises many kinds, all mean "not from here"
        raise Unavailable(
            302,
            f"The base {hub_id} cannot be fetched from the hub.",
            f"{type(error).__name__}.",
            "Check the name, the network (proxy, HF_ENDPOINT) and, for a gated base, "
            "HUGGINGFACE_TOKEN; or set `base` to a folder or a .gguf file.",
        ) from error


def _load(folder: Path, exact: bool, means: Means | None) -> tuple[Any, Any, torch.device]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() and not exact else "cpu")
    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    more: dict[str, Any] = {}
    if means is not None:
        dtype = means.dtype
        if means.quantization == "nf4":
            more = _quantised(means, device)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True, **more)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not more:  # a quantised one lies where it was made
        model.to(device)
    elif device.type == "cpu":
        _keep_as_quantised(model)
    model.eval()
    return tokenizer, model, device


def _quantised(means: Means, device: torch.device) -> dict[str, Any]:
    """How to load the linear layers in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314).

    They are quantised once, while they are read; the output head and the embeddings stay whole.
    """
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=means.dtype,
    )
    place = _place_of(device)
    return {"quantization_config": settings, "device_map": {"": place}}


def _keep_as_quantised(model: Any) -> None:
    """Keep bitsandbytes from packing the weights anew, in bf16, at the first validation.

    On a processor that computes in bf16 it does so in place, once a layer is run without training:
    the steps after it would learn on another base than those before (and odd widths break).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _place_of(device: torch.device) -> str | int:
    """The device as a device map names it: `cpu`, or this process's GPU by number."""
    import torch

    return "cpu" if device.type == "cpu" else torch.cuda.current_device()


def base_fingerprint(folder: Path) -> str:
    """SHA-256 over the config and over names and sizes of the weights' files."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    weights = sorted(
        (path.name, path.stat().st_size) for path in folder.iterdir() if path.suffix in _WEIGHTS
    )
    text = json.dumps([config, weights], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def load_tokenizer(context: RunContext, *, without_torch: bool = False) -> Any:
    """The base's tokenizer alone; raises RunFailure as load_base does.

    `without_torch` hides torch from transformers, which is a second saved, and must stay hidden
    for the rest of the process.
    """
    name = read_base_name(context.spec.base)
    if name.kind == "hub":
        folder = _download(name.text, context.spec.base_revision, _TOKENIZER_FILES)
    else:
        os.environ["HF_HUB_OFFLINE"] = "1"
        folder = resolved(context, name)[0]
    context.ears.check()
    if without_torch and "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it would say that torch is missing
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except ImportError:
        raise
    except Exception as error:
        raise WorkFailure(
            303,
            f"The tokenizer of {context.spec.base} cannot be loaded.",
            f"{type(error).__name__}.",
            "Check that the folder holds tokenizer.json and tokenizer_config.json.",
        ) from error
