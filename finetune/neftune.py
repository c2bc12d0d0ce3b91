"""Noise on the embeddings while a model is tuned (NEFTune, Jain et al. 2023, arXiv 2310.05914)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def noise_on(model: Any, alpha: float | None, lengths: Sequence[int]) -> Iterator[None]:
    """Uniform noise within alpha / sqrt(L d) on each embedding, for a while; None: no noise.

    L is the length of the row's own example, padding not counted; in a packed row, where examples
    share what they begin with, it is the mean of their lengths, and where an example is two rows,
    the rows' mean. d is the width.
    """
    if alpha is None:
        yield
        return

    def add(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():  # the base is asked for its view of an example
            return output
        rows = output.shape[0]
        mean = sum(lengths) / max(rows, len(lengths))
        own = list(lengths) if rows == len(lengths) else [mean] * rows
        most = [alpha / math.sqrt(length * output.shape[-1]) for length in own]
        bound = torch.tensor(most, dtype=output.dtype, device=output.device)[:, None, None]
        return output + torch.empty_like(output).uniform_(-1, 1) * bound

    hook = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
