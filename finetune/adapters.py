"""LoRA adapters on a base: where they sit, of which kind, and their files in peft's format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from finetune import schema
from finetune.failures import BadRequest
from finetune.schema import ADAPTER_CONFIG as ADAPTER_CONFIG
from finetune.schema import ADAPTER_WEIGHTS as ADAPTER_WEIGHTS


def put_adapter_on(model: Any, lora: schema.LoraSettings) -> Any:
    """The model with a fresh adapter; raises BadRequest 112 for modules that it does not have."""
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        bias=lora.bias,
        use_rslora=lora.rank_stabilized,
        use_dora=lora.weight_decomposed,
        **_places(model, lora),
    )
    return get_peft_model(model, config)


def first_layer(model: Any, lora: schema.LoraSettings) -> int:
    """The lowest layer that gets an adapter, from 0."""
    return math.floor(lora.frozen_share * int(getattr(model.config, "num_hidden_layers", 0)))


def linear_names(model: Any) -> list[str]:
    """Last names of the model's linear layers but its output head's, sorted."""
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    )


def _places(model: Any, lora: schema.LoraSettings) -> dict[str, Any]:
    """Which modules of which layers get an adapter, in peft's words."""
    first = first_layer(model, lora)
    names: str | list[str] = lora.target_modules
    if isinstance(names, list):
        _refuse_unknown(model, names)
    if first == 0:
        return {"target_modules": names}
    if isinstance(names, str):  # peft takes no single layers together with `all-linear`
        names = linear_names(model)
    layers = list(range(first, model.config.num_hidden_layers))
    return {"target_modules": names, "layers_to_transform": layers}


def _refuse_unknown(model: Any, names: list[str]) -> None:
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    unknown = [
        wanted
        for wanted in names
        if not any(name == wanted or name.endswith(f".{wanted}") for name in linear)
    ]
    if unknown or not names:
        raise BadRequest(
            112,
            "The recipe names modules that this base does not have.",
            f"Not there: {', '.join(unknown) or '(none is named)'}. "
            f"There are: {', '.join(linear_names(model))}.",
            "Correct lora.target_modules in the recipe, or set it to all-linear.",
        )


def adapter_files(model: Any) -> dict[str, bytes]:
    """The adapter in peft's format."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    config = model.peft_config["default"].to_dict()
    config["inference_mode"] = True
    text = json.dumps(config, indent=2, sort_keys=True, default=_as_json)
    return {
        ADAPTER_WEIGHTS: save_tensors(tensors, metadata={"format": "pt"}),
        ADAPTER_CONFIG: (text + "\n").encode("utf-8"),
    }


def take_adapter_from(model: Any, folder: Path) -> None:
    """Set the adapter's weights to those of a folder."""
    set_peft_model_state_dict(model, load_tensors((folder / ADAPTER_WEIGHTS).read_bytes()))


def _as_json(value: object) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)
