"""The loss on answer tokens, the same for training and for scoring."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from finetune.examples import IGNORED, Batch

if TYPE_CHECKING:
    import torch


def answer_losses(model: Any, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood in nats of each token [batch, kept time]; 0 where not learnt."""
    return nats(*answer_logits(model, batch))


def nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of the targets, of their shape; 0 where not learnt."""
    import torch

    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return losses.view_as(targets)


def answer_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [batch, kept time, vocabulary] in 32 bits, and the targets [batch, kept time].

    They are computed only for the columns in which some example has an answer token, where the
    model can do that: the output head is the largest matrix of a small model.
    """
    targets = batch.targets
    more: dict[str, Any] = {}
    if keeps_logits(model):
        columns = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        more["logits_to_keep"] = columns
        targets = targets[:, columns]
    if batch.positions is not None:
        more["position_ids"] = batch.positions
    if batch.embeddings is None:
        more["input_ids"] = batch.ids
    else:
        more["inputs_embeds"] = batch.embeddings
    output = model(attention_mask=batch.attention, use_cache=False, **more)
    return output.logits.float(), targets


def keeps_logits(model: Any) -> bool:
    """Whether the model's forward takes `logits_to_keep` (asked of the base under an adapter)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters
