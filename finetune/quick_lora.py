"""LoRA's linear layer in one piece: peft's arithmetic with fewer passes over memory.

peft's own forward pass makes a tensor of the layer's output for each of its operations and keeps
some for the backward pass. Here the low-rank part is added in place, and beside the input (which
layers share) only its projection on r dimensions is kept.
"""

from __future__ import annotations

from typing import Any

import torch


class _LoraLinear(torch.autograd.Function):  # type: ignore[misc]
    """W x + b + scaling * B (A dropped(x)) for rows x [rows, in]; W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        small_down, small_up = down.to(weight.dtype), up.to(weight.dtype)
        kept = None
        dropped = rows
        if dropout:
            kept = torch.empty_like(rows, dtype=torch.bool).bernoulli_(1 - dropout)
            dropped = rows * kept
            scaling = scaling / (1 - dropout)
        inner = dropped @ small_down.T
        output = torch.nn.functional.linear(rows, weight, bias)
        output.addmm_(inner, small_up.T, alpha=scaling)
        ctx.save_for_backward(rows, weight, small_down, small_up, inner, kept)
        ctx.scaling, ctx.kinds = scaling, (down.dtype, up.dtype)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, down, up, inner, kept = ctx.saved_tensors
        through = (gradient @ up).mul_(ctx.scaling)
        # [r, rows] @ [rows, out]: the fast one of the two orders.
        to_up = (inner.T @ gradient).mul_(ctx.scaling).T.to(ctx.kinds[1])
        to_down = (through.T @ (rows if kept is None else rows * kept)).to(ctx.kinds[0])
        to_rows = None
        if ctx.needs_input_grad[0]:
            to_rows = gradient @ weight
            if kept is None:
                to_rows.addmm_(through, down)
            else:
                to_rows.add_((through @ down).mul_(kept))
        return to_rows, None, None, to_down, to_up, None, None


def _forward_of(layer: Any, name: str) -> Any:
    usual = layer.forward
    base, down, up = layer.base_layer, layer.lora_A[name], layer.lora_B[name]
    drop = layer.lora_dropout[name]

    def forward(x: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        if args or named or layer.disable_adapters or layer.merged:
            found: torch.Tensor = usual(x, *args, **named)
            return found
        rate = float(getattr(drop, "p", 0.0)) if layer.training else 0.0
        rows = x.reshape(-1, x.shape[-1]).to(base.weight.dtype)
        output = _LoraLinear.apply(
            rows, base.weight, base.bias, down.weight, up.weight, layer.scaling[name], rate
        )
        return output.view(*x.shape[:-1], output.shape[-1])

    return forward


def quicken(model: Any) -> int:
    """Give peft's plain LoRA layers of a model this forward pass; returns of how many.

    Layers of another kind (quantised, DoRA, with a bias of their own) stay as they are.
    """
    from peft.tuners.lora import Linear

    count = 0
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = _forward_of(layer, layer.active_adapters[0])
            count += 1
    return count


def halve(model: Any) -> None:
    """Put what is frozen into bfloat16; what is trained stays in 32 bits. There is no way back."""
    for parameter in model.parameters():
        if not parameter.requires_grad and parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(torch.bfloat16)


def unquicken(model: Any) -> None:
    """Back to peft's own."""
    for layer in model.modules():
        if "forward" in vars(layer) and hasattr(layer, "lora_A"):
            del layer.forward


def _is_plain(layer: Any) -> bool:
    return (
        type(layer.base_layer) is torch.nn.Linear
        and layer.base_layer.weight.is_floating_point()
        and not layer.base_layer.weight.requires_grad
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and not layer.fan_in_fan_out
    )
