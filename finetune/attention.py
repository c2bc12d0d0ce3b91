"""Attention over a packed row: each example by itself, so nothing is computed to be masked away.

A mask over the whole row costs time and memory by the square of the row's length. Here the row is
cut into its examples for the attention alone, without any mask; everything else of a model works on
the row. A model takes this up by the name of its attention, and must hand on what it does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch

NAME = "sophia_packed"
#: Tokens up to which whole matrices are the faster attention in bfloat16 on a processor, by up to
#: three times at 150; torch's own is made for long rows.
SHORT = 256


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_bounds: list[int] | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention [1, heads, time, width] within the examples between `packed_bounds`.

    The first part, up to packed_bounds[0], is what all examples begin with: each sees it.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if packed_bounds is None:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **more
        )
        return found
    _refuse_what_is_not_plain(module, more, packed_bounds)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    row, scaling, shared = [query, key, value], more.get("scaling"), packed_bounds[0]
    if query.device.type == "cuda":
        return _side_by_side(row, tuple(packed_bounds), scaling), None
    parts = [_causal(row, 0, shared, scaling)] if shared else []
    for start, stop in pairwise(packed_bounds):
        if not shared:
            parts.append(_causal(row, start, stop, scaling))
            continue
        own = [torch.cat([each[:, :, :shared], each[:, :, start:stop]], dim=2) for each in row]
        parts.append(_causal(own, 0, shared + stop - start, scaling)[:, shared:])
    return torch.cat(parts, dim=1), None


def _side_by_side(
    row: Sequence[torch.Tensor], bounds: tuple[int, ...], scaling: float | None
) -> torch.Tensor:
    """The examples as a batch, for a GPU: one call in place of one for each. What fills up the
    shorter ones stands behind their tokens, which therefore never see it.

    cuDNN's attention is left out: it makes a plan for each new shape, and every row has its own
    (on an H100 1.4 ms a call, which made packing slower than padding).
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    places, way_back = _places(bounds, row[0].device)
    query, key, value = (each[0][:, places].transpose(0, 1) for each in row)
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(kernels):
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling
        )
    return found.transpose(1, 2).flatten(0, 1)[way_back][None]


@lru_cache(maxsize=2)  # the layers of a model ask for the same one
def _places(bounds: tuple[int, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each example's tokens stand in the row [examples, longest], and where the row's tokens
    stand in those, laid end to end [time]."""
    shared = list(range(bounds[0]))
    examples = [[*shared, *range(start, stop)] for start, stop in pairwise(bounds)]
    longest = max(map(len, examples))
    filled = [each + each[-1:] * (longest - len(each)) for each in examples]
    way_back = list(range(len(shared)))
    for number, each in enumerate(examples):
        way_back += range(number * longest + len(shared), number * longest + len(each))
    with torch.inference_mode(False):  # kept for a training too, though an evaluation asked first
        return torch.tensor(filled, device=device), torch.tensor(way_back, device=device)


def _causal(
    row: Sequence[torch.Tensor], start: int, stop: int, scaling: float | None
) -> torch.Tensor:
    """Of a row's query, key and value the part from start to stop."""
    query, key, value = (each[:, :, start:stop] for each in row)
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and stop - start <= SHORT:
        scale = scaling if scaling is not None else query.shape[-1] ** -0.5
        found = _Short.apply(query[0], key[0], value[0], scale)[None]
    else:
        found = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling
        )
    return found.transpose(1, 2)


class _Short(torch.autograd.Function):  # type: ignore[misc]
    """Causal attention [heads, time, width] by whole matrices; chances are kept for gradients."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        count = query.shape[1]
        hidden = torch.ones(count, count, dtype=torch.bool).triu_(1)
        chances = torch.bmm(query, key.transpose(1, 2)).float().mul_(scale)
        chances = chances.masked_fill_(hidden, -torch.inf).softmax(dim=-1).to(query.dtype)
        found = torch.bmm(chances, value)
        ctx.save_for_backward(query, key, value, found, chances)
        ctx.scale = scale
        return found

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, found, chances = ctx.saved_tensors
        # softmax's derivative: chances * (d - sum of chances * d), and that sum is gradient * found
        mean = (gradient.float() * found).sum(dim=-1, keepdim=True)
        inner = torch.bmm(gradient, value.transpose(1, 2)).float().sub_(mean)
        inner = inner.mul_(chances).mul_(ctx.scale).to(query.dtype)
        return (
            torch.bmm(inner, key),
            torch.bmm(inner.transpose(1, 2), query),
            torch.bmm(chances.transpose(1, 2), gradient),
            None,
        )


def _refuse_what_is_not_plain(module: Any, more: dict[str, Any], bounds: list[int]) -> None:
    """Raises ValueError for attention of a kind that this one would silently do otherwise."""
    longest = bounds[0] + max(stop - start for start, stop in pairwise(bounds))
    window = more.get("sliding_window")
    odd = [name for name in ("softcap", "s_aux", "position_bias") if more.get(name) is not None]
    if odd or more.get("dropout") or (window is not None and longest > window):
        raise ValueError(f"{type(module).__name__} has {odd or 'dropout or a window'}")


def is_taken_up(model: Any) -> bool:
    """Whether the model uses this attention, so that packing has proved it a plain one."""
    return bool(getattr(model.config, "_attn_implementation", None) == NAME)


def take_up(model: Any) -> bool:
    """Let the model use this attention from now on; False where it cannot (it is not `sdpa`)."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation != "sdpa":
        return is_taken_up(model)
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.config._attn_implementation = NAME
    return True


def give_up(model: Any) -> None:
    """Back to the usual attention."""
    if is_taken_up(model):
        model.config._attn_implementation = "sdpa"
