"""Says whether a base can be loaded, without loading it and without torch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.base_names import BaseName, read_base_name
from finetune.estimates import safetensors_parameters

_HUB_SECONDS = 8.0


def check_base(text: str, revision: str | None = None) -> dict[str, Any]:
    """A report: base, kind, found, where, parameters (None: unknown), architecture, why, remedy."""
    name = read_base_name(text)
    report: dict[str, Any] = {
        "format_version": schema.FORMAT_VERSION,
        "base": text,
        "kind": name.kind,
        "found": False,
        "where": None,
        "parameters": None,
        "architecture": None,
        "why": None,
        "remedy": None,
    }
    look = {"path": _look_in_folder, "gguf": _look_in_gguf, "hub": _look_on_hub}[name.kind]
    report.update(look(name, revision))
    return report


def _missing(why: str, remedy: str) -> dict[str, Any]:
    return {"found": False, "why": why, "remedy": remedy}


def _look_in_folder(name: BaseName, _revision: str | None) -> dict[str, Any]:
    folder = name.path
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        return _missing(
            f"{folder / 'config.json'}: {error.strerror}",
            "Name a folder that holds config.json, the weights and the tokenizer.",
        )
    except ValueError:
        return _missing(f"{folder / 'config.json'} is not JSON.", "Fetch the model again.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not list(folder.glob("*.bin")):
        return _missing(f"{folder} holds no weights.", "Fetch the model again.")
    return {
        "found": True,
        "where": str(folder),
        "parameters": sum(map(safetensors_parameters, weights)) if weights else None,
        "architecture": next(iter(config.get("architectures") or []), None),
    }


def _look_in_gguf(name: BaseName, _revision: str | None) -> dict[str, Any]:
    path = name.path
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        return _missing(f"{path}: {error.strerror}", "Give the path of a .gguf file.")
    if magic != b"GGUF":
        return _missing(f"{path} is not a GGUF file.", "Fetch the file again.")
    report: dict[str, Any] = {"found": True, "where": str(path)}
    if importlib.util.find_spec("gguf") is None:
        return report
    from gguf import GGUFReader

    reader = GGUFReader(str(path))
    field = reader.get_field("general.architecture")
    report["architecture"] = str(field.contents()) if field else None
    report["parameters"] = sum(int(tensor.n_elements) for tensor in reader.tensors)
    return report


def _look_on_hub(name: BaseName, revision: str | None) -> dict[str, Any]:
    if importlib.util.find_spec("huggingface_hub") is None:
        return _missing(
            f"{name.text} looks like a hub id, and huggingface_hub is not installed.",
            "Install it: pip install -c requirements.lock '.[training]', "
            "or give a folder or a .gguf file.",
        )
    from huggingface_hub import HfApi, try_to_load_from_cache

    cached = try_to_load_from_cache(name.text, "config.json", revision=revision)
    if isinstance(cached, str):
        return {"found": True, "where": str(Path(cached).parent)}
    try:
        info = HfApi().model_info(name.text, revision=revision, timeout=_HUB_SECONDS)
    except Exception as error:  # the hub's client raises many kinds, all mean "not from here"
        return _missing(
            f"The hub did not give {name.text}: {type(error).__name__}.",
            "Check the name, the network (proxy, HF_ENDPOINT) and, for a gated base, "
            "HUGGINGFACE_TOKEN; or give a folder or a .gguf file.",
        )
    weights = getattr(info, "safetensors", None)
    return {
        "found": True,
        "where": "hub",
        "parameters": getattr(weights, "total", None),
        "architecture": next(iter((info.config or {}).get("architectures") or []), None),
    }
