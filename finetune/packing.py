"""Ways to the losses of a batch in training: padded rows, or one packed row.

Packed, a batch's examples stand end to end in one row, each seeing itself alone, and what all of
them begin with (a template's system turn) is computed once. Where the adapter leaves the lower
layers as they are, what those make of an example never changes: it is kept in memory, and the steps
compute the layers above alone. Losses stay the same; packed_or_padded() proves it on the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from finetune.examples import IGNORED, Batch, Example, collate
from finetune.losses import answer_logits, nats

#: Bytes that the outputs of frozen layers may take; beyond, every step computes them anew.
MOST_KEPT = 1 << 29
#: Relative difference of a batch's loss between the two ways that rounding explains.
_ROUNDING = {torch.float32: 1e-3, torch.bfloat16: 3e-2, torch.float16: 1e-2}
_KEPT_TOGETHER = 8


@dataclass
class Padded:
    """A batch as rows of equal length: works with any model."""

    model: Any
    pad: int
    device: torch.device

    def losses(self, examples: Sequence[Example]) -> torch.Tensor:
        """Nats of each learnt token; 0 in the other places."""
        return nats(*self.logits(examples))

    def logits(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets; the learnt places stand in the order of the examples."""
        return answer_logits(self.model, collate(list(examples), self.pad, self.device))


@dataclass
class Packed(Padded):
    """A batch as one row. `first_layer` is the lowest one that the adapter changes."""

    first_layer: int = 0
    _kept: dict[int, torch.Tensor] = field(default_factory=dict)

    def keep_frozen(self, examples: Sequence[Example], on_example: Callable[[int], None]) -> int:
        """Compute once what the frozen layers make of the examples; returns how many are kept.

        None are where no layer is frozen or where they would take more than MOST_KEPT bytes.
        `on_example` gets the number done and may raise.
        """
        examples = list({id(each): each for each in examples}.values())
        width = self.model.config.hidden_size * self.model.dtype.itemsize
        if not self.first_layer or sum(len(each.ids) for each in examples) * width > MOST_KEPT:
            return 0
        decoder = self.model.get_base_model().get_decoder()
        for start in range(0, len(examples), _KEPT_TOGETHER):
            on_example(start)
            some = examples[start : start + _KEPT_TOGETHER]
            shared = shared_start(some)
            row = pack(some, shared, self.device, self.model.dtype)
            hidden = _inputs_of(decoder, self.first_layer, row)[0]
            rest = hidden[shared:].split([len(example.ids) - shared for example in some])
            for example, part in zip(some, rest, strict=True):
                self._kept[id(example)] = torch.cat([hidden[:shared], part])
        return len(self._kept)

    def logits(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets; the learnt places stand in the order of the examples."""
        shared = shared_start(examples)
        row = pack(examples, shared, self.device, self.model.dtype)
        if not self._kept:
            return answer_logits(self.model, row)
        kept = [self._kept[id(example)] for example in examples]
        hidden = torch.cat([kept[0][:shared], *(each[shared:] for each in kept)])[None]
        with _layers_from(self.model.get_base_model().get_decoder(), self.first_layer):
            return answer_logits(self.model, replace(row, embeddings=hidden))


def shared_start(examples: Sequence[Example]) -> int:
    """How many tokens all examples begin with, none of them learnt nor just before a learnt one."""
    most = min(example.mask.index(1, 1) - 1 for example in examples)
    first = examples[0].ids
    for place in range(most):
        if any(example.ids[place] != first[place] for example in examples):
            return place
    return most


def pack(
    examples: Sequence[Example], shared: int, device: torch.device, dtype: torch.dtype
) -> Batch:
    """One row: the `shared` start once, then the rest of each example, which sees both alone."""
    ids = list(examples[0].ids[:shared])
    positions, owners, targets = list(range(shared)), [-1] * shared, [IGNORED] * shared
    for owner, example in enumerate(examples):
        count = len(example.ids)
        ids += example.ids[shared:]
        positions += range(shared, count)
        owners += [owner] * (count - shared)
        targets += [
            example.ids[place + 1] if place + 1 < count and example.mask[place + 1] else IGNORED
            for place in range(shared, count)
        ]
    owner = torch.tensor(owners)
    sees = (owner[:, None] == owner[None]) | (owner[None] == -1)
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees.tril(), torch.finfo(dtype).min)
    return Batch(
        ids=torch.tensor([ids], device=device),
        attention=mask[None, None].to(device),
        targets=torch.tensor([targets], device=device),
        positions=torch.tensor([positions], device=device),
    )


class Way(NamedTuple):
    """The way taken, how many examples' frozen layers are kept, and why not packed (if asked)."""

    feed: Padded
    kept: int = 0
    refused: str | None = None


def packed_or_padded(
    packed: Packed, examples: Sequence[Example], batch_size: int, on_example: Callable[[int], None]
) -> Way:
    """Packed where that gives the first batch the loss it has padded, else padded with the reason.

    Models differ in what they take: a mask of their own making, a state that runs along the row.
    """
    padded = Padded(packed.model, packed.pad, packed.device)
    some = examples[:batch_size]
    was_training = packed.model.training
    packed.model.eval()
    try:
        with torch.no_grad():
            kept = packed.keep_frozen(examples, on_example)
            here, there = float(packed.losses(some).sum()), float(padded.losses(some).sum())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return Way(padded, refused=f"the model does not take it ({type(error).__name__})")
    finally:
        packed.model.train(was_training)
    if abs(here - there) > _ROUNDING.get(packed.model.dtype, 1e-3) * abs(there):
        return Way(padded, refused=f"the first batch's loss would be {here:.4f}, not {there:.4f}")
    return Way(packed, kept)


class _Reached(Exception):
    """The forward pass came to the layer asked for; carries that layer's input."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


def _inputs_of(decoder: Any, layer: int, batch: Batch) -> torch.Tensor:
    """What the layers below `layer` make of a batch [batch, time, width]; the rest is not run."""

    def reached(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Reached(args[0] if args else named["hidden_states"])

    hook = decoder.layers[layer].register_forward_pre_hook(reached, with_kwargs=True)
    try:
        decoder(
            input_ids=batch.ids,
            attention_mask=batch.attention,
            position_ids=batch.positions,
            use_cache=False,
        )
    except _Reached as found:
        return found.hidden
    finally:
        hook.remove()
    raise ValueError(f"layer {layer} was not run")


@contextmanager
def _layers_from(decoder: Any, layer: int) -> Iterator[None]:
    """The decoder without its layers below `layer`, for a while."""
    whole = decoder.layers
    decoder.layers = torch.nn.ModuleList(list(whole)[layer:])
    try:
        yield
    finally:
        decoder.layers = whole
