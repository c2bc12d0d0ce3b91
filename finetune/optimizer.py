"""The optimizers, and their state as files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as save_tensors

from finetune import schema
from finetune.means import Means

_FILE = "optimizer.safetensors"
_PLAIN = "plain"


def make_optimizer(means: Means, recipe: schema.Recipe, parameters: list[Any]) -> Any:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101); in 8 bits where the means say so."""
    settings = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if means.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings)
    import bitsandbytes

    return bitsandbytes.optim.PagedAdamW8bit(parameters, **settings)


def optimizer_files(optimizer: Any) -> dict[str, bytes]:
    """The optimizer's state; what is no tensor stands in the file's head as JSON."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in _flat(state).items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{name}"] = value.detach().cpu().contiguous().clone()
            else:
                plain[f"{index}/{name}"] = value
    return {_FILE: save_tensors(tensors, metadata={_PLAIN: json.dumps(plain)})}


def restore_optimizer(optimizer: Any, folder: Path) -> None:
    """Put back the state of a checkpoint."""
    flat: dict[str, Any] = {}
    with safe_open(folder / _FILE, framework="pt") as file:
        flat |= json.loads((file.metadata() or {}).get(_PLAIN, "{}"))
        flat |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    state: dict[int, dict[str, Any]] = {}
    for path, value in flat.items():
        index, *names = path.split("/")
        place: dict[str, Any] = state.setdefault(int(index), {})
        for name in names[:-1]:
            place = place.setdefault(name, {})
        place[names[-1]] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _flat(state: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in state.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{before}{name}/") if inner else {before + str(name): value}
    return found
