"""What a recipe's `auto` means on this machine: precision, quantisation, optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from finetune import schema
from finetune.failures import BadRequest, Unavailable

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Means:
    """How this machine trains. A checkpoint belongs to its means: others would round otherwise.

    `replaced` says in one sentence why the recipe's optimizer is not the one that is used.
    """

    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    quantization: Literal["none", "nf4"]
    optimizer: Literal["adamw", "paged_adamw_8bit"]
    replaced: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the base's weights, and of the arithmetic on quantised ones."""
        import torch

        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def means_of(recipe: schema.Recipe) -> Means:
    """Raises BadRequest 111 for bf16 on a GPU without it, Unavailable 412 without bitsandbytes."""
    import torch

    gpu = torch.cuda.is_available()
    bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if recipe.precision == "bf16" and gpu and not bf16:
        raise BadRequest(
            111,
            "The recipe asks for bf16, which this GPU can't compute with.",
            torch.cuda.get_device_name(),
            "Set precision: auto in the recipe.",
        )
    wanted = recipe.precision if recipe.precision != "auto" else "bf16" if bf16 else "fp32"
    quantization = recipe.quantization
    if quantization == "auto":
        quantization = "nf4" if gpu else "none"
    optimizer, replaced = recipe.optimizer, None
    if optimizer == "auto":
        optimizer = "paged_adamw_8bit" if gpu else "adamw"
    elif optimizer == "paged_adamw_8bit" and not gpu:
        optimizer = "adamw"
        replaced = (
            "paged_adamw_8bit pages its state between GPU and main memory; without a GPU the same "
            "algorithm runs in 32 bits (adamw)"
        )
    if "nf4" in quantization or optimizer != "adamw":
        _need_bitsandbytes()
    return Means("cuda" if gpu else "cpu", wanted, quantization, optimizer, replaced)


def _need_bitsandbytes() -> None:
    if find_spec("bitsandbytes") is None:
        raise Unavailable(
            412,
            "Quantisation and the 8-bit optimizer need a package that is not installed.",
            "The Python package bitsandbytes cannot be imported.",
            "In Sophia's checkout: pip install -c requirements.lock '.[quantization]'; or set "
            "quantization: none and optimizer: adamw in the recipe.",
        )
