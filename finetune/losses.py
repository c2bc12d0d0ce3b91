"""The loss on answer tokens, the same for training and for scoring."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from finetune.examples import IGNORED, Batch

if TYPE_CHECKING:
    import torch

#: Tokens whose logits are in memory at once: 256 by 50,000 words in 32 bits are 50 MB.
_CHUNK = 256


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
    output = model(**_inputs(batch), **more)
    return output.logits.float(), targets


def head_losses(model: Any, batch: Batch) -> torch.Tensor:
    """The same for answer tokens alone [1, answer tokens], in chunks that hold few logits.

    The head must be a frozen linear layer that nothing follows (no cap, no scale): whoever calls
    this proves on the data that the losses are those of answer_losses. Raises ValueError for a
    head that is no such layer.
    """
    import torch

    base = model.get_base_model()
    head = base.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.bias is not None or head.weight.requires_grad:
        raise ValueError("its output head is not a plain one")
    hidden = base.get_decoder()(**_inputs(batch)).last_hidden_state
    learnt = batch.targets != IGNORED
    losses = _head_losses()(hidden[learnt], head.weight, batch.targets[learnt])
    return losses[None]


def _inputs(batch: Batch) -> dict[str, Any]:
    inputs: dict[str, Any] = {"attention_mask": batch.attention, "use_cache": False, **batch.cut}
    if batch.positions is not None:
        inputs["position_ids"] = batch.positions
    if batch.embeddings is None:
        inputs["input_ids"] = batch.ids
    else:
        inputs["inputs_embeds"] = batch.embeddings
    return inputs


def _head_losses() -> Any:
    """The differentiable function; made on first use, since this module is read without torch."""
    import torch

    class HeadLosses(torch.autograd.Function):  # type: ignore[misc]
        """Cross entropy by row. A row's loss depends on that row alone, so the backward pass needs
        nothing but the gradient of each, which is computed while its logits are there."""

        @staticmethod
        def forward(
            ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
        ) -> torch.Tensor:
            found, gradients = [], []
            for rows, wanted in zip(hidden.split(_CHUNK), targets.split(_CHUNK), strict=True):
                logits = (rows.to(weight.dtype) @ weight.T).float()
                whole = logits.logsumexp(dim=1, keepdim=True)
                found.append((whole - logits.gather(1, wanted[:, None])).squeeze(1))
                if ctx.needs_input_grad[0]:
                    shares = logits.sub_(whole).exp_()
                    shares[torch.arange(len(wanted), device=wanted.device), wanted] -= 1
                    gradients.append(shares.to(weight.dtype) @ weight)
            if gradients:
                ctx.save_for_backward(torch.cat(gradients).to(hidden.dtype))
            return torch.cat(found)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            (each,) = ctx.saved_tensors
            return each * gradient[:, None].to(each.dtype), None, None

    return HeadLosses.apply


def keeps_logits(model: Any) -> bool:
    """Whether the model's forward takes `logits_to_keep` (asked of the base under an adapter)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters
