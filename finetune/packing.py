"""Ways to the losses of examples in training: padded rows, or packed rows.

Packed, examples stand end to end in one row, each seeing itself alone, and what all of them begin
with (a template's system turn) is computed once. A step's examples go into as few rows of like
length as a bound on tokens allows: long ones take no more memory than short ones, whatever the
recipe's batch is. Where the adapter leaves the lower layers as they are, what those make of an
example never changes: it is computed when an example is first used, kept in memory, and the steps
compute the layers above alone. Losses stay the same; packed_or_padded() proves it on the data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch

from finetune import attention
from finetune.examples import IGNORED, Batch, Example, collate
from finetune.losses import answer_logits, head_losses, nats
from finetune.quick_lora import halve, quicken, unquicken
from finetune.speed import PACKED_TOKENS

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
    #: Seconds that went into what is computed once for all steps, and those still to come.
    once_seconds: float = field(default=0.0, init=False)
    once_left: float = field(default=0.0, init=False)

    def losses(self, examples: Sequence[Example]) -> torch.Tensor:
        """Nats of each learnt token; 0 in the other places."""
        return nats(*self.logits(examples))

    def logits(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets; the learnt places stand in the order of the examples."""
        return answer_logits(self.model, collate(list(examples), self.pad, self.device))

    def parts(
        self, chosen: Sequence[Any], size: int, length: Callable[[Any], int], least: int = 1
    ) -> list[list[Any]]:
        """A step's examples as micro-batches of `size`."""
        return [list(chosen[start : start + size]) for start in range(0, len(chosen), size)]


@dataclass
class Packed(Padded):
    """A batch as one row. `first_layer` is the lowest one that the adapter changes.

    `batch_size` is the recipe's; `quick` whether the model takes attention by example, a head that
    is computed on answers alone, and LoRA in one piece; else it gets a mask over the whole row.
    `half`: where it does, its frozen weights are put into bfloat16.
    """

    first_layer: int = 0
    batch_size: int = 1
    half: bool = False
    quick: bool = False
    _kept: dict[int, torch.Tensor] = field(default_factory=dict)
    _groups: dict[int, list[Example]] = field(default_factory=dict)

    def speed_up(self) -> None:
        """Be quick from now on; raises ValueError where the model is not made for it."""
        if not attention.take_up(self.model.get_base_model()):
            raise ValueError("its attention is not of the usual kind")
        quicken(self.model)
        self.quick = True

    def slow_down(self) -> None:
        """Back to what most models take."""
        attention.give_up(self.model.get_base_model())
        unquicken(self.model)
        self.quick = False
        self._kept.clear()
        self._groups.clear()

    def parts(
        self, chosen: Sequence[Any], size: int, length: Callable[[Any], int], least: int = 1
    ) -> list[list[Any]]:
        """A step's examples as rows of like length, within PACKED_TOKENS where examples allow it.

        A `size` below the recipe's (memory ran out) lowers the bound in proportion; `least` rows
        there are where several processes share them.
        """
        most = PACKED_TOKENS[self.device.type] * min(size, self.batch_size) / self.batch_size
        if self.device.type == "cpu" and self.model.dtype == torch.float32:
            most /= 2  # twice the bytes by token, and matrices that are as fast at half the height
        lengths = [length(each) for each in chosen]
        rows: list[list[int]] = [[] for _ in range(max(least, math.ceil(sum(lengths) / most)))]
        taken = [0] * len(rows)
        for place in sorted(range(len(chosen)), key=lambda place: -lengths[place]):
            row = min(range(len(rows)), key=lambda row: taken[row])
            if taken[row] and taken[row] + lengths[place] > most:
                rows.append([])
                taken.append(0)
                row = len(rows) - 1
            rows[row].append(place)
            taken[row] += lengths[place]
        return [[chosen[place] for place in sorted(row)] for row in rows if row]

    def keep_frozen(self, examples: Sequence[Example]) -> int:
        """Keep from now on what the frozen layers make of the examples; returns of how many.

        None where no layer is frozen or where they would take more than MOST_KEPT bytes. It is
        computed when one is first used, together with the neighbours it has in `examples`: always
        the same ones, so that rounding is the same after a resume.
        """
        examples = list({id(each): each for each in examples}.values())
        width = self.model.config.hidden_size * self.model.dtype.itemsize
        if not self.first_layer or sum(len(each.ids) for each in examples) * width > MOST_KEPT:
            return 0
        for start in range(0, len(examples), _KEPT_TOGETHER):
            some = examples[start : start + _KEPT_TOGETHER]
            self._groups |= {id(example): some for example in some}
        return len(examples)

    def _once(self, example: Example) -> torch.Tensor:
        """What the frozen layers make of one of the examples that are kept."""
        if id(example) not in self._kept:
            started = time.monotonic()
            was_training = self.model.training
            self.model.eval()
            try:
                with torch.no_grad():
                    self._keep(self._groups[id(example)])
            finally:
                self.model.train(was_training)
            self.once_seconds += time.monotonic() - started
            share = self.once_seconds / len(self._kept)
            self.once_left = share * (len(self._groups) - len(self._kept))
        return self._kept[id(example)]

    def _keep(self, some: list[Example]) -> None:
        decoder = self.model.get_base_model().get_decoder()
        shared = shared_start(some)
        hidden = _inputs_of(decoder, self.first_layer, self._row(some, shared))[0]
        rest = hidden[shared:].split([len(example.ids) - shared for example in some])
        for example, part in zip(some, rest, strict=True):
            self._kept[id(example)] = torch.cat([hidden[:shared], part])

    def _row(self, examples: Sequence[Example], shared: int) -> Batch:
        return pack(examples, shared, self.device, None if self.quick else self.model.dtype)

    def losses(self, examples: Sequence[Example]) -> torch.Tensor:
        """Nats of each learnt token; 0 in the other places."""
        if not self.quick:
            return nats(*self.logits(examples))
        with self._input(examples) as row:
            return head_losses(self.model, row)

    def logits(self, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and targets; the learnt places stand in the order of the examples."""
        with self._input(examples) as row:
            return answer_logits(self.model, row)

    @contextmanager
    def _input(self, examples: Sequence[Example]) -> Iterator[Batch]:
        """The examples as a row, for the model as it is meanwhile."""
        shared = shared_start(examples)
        row = self._row(examples, shared)
        if not self._groups:
            yield row
            return
        kept = [self._once(example) for example in examples]
        hidden = torch.cat([kept[0][:shared], *(each[shared:] for each in kept)])[None]
        with _layers_from(self.model.get_base_model().get_decoder(), self.first_layer):
            yield replace(row, embeddings=hidden)


def shared_start(examples: Sequence[Example]) -> int:
    """How many tokens all examples begin with, none of them learnt nor just before a learnt one."""
    most = min(example.mask.index(1, 1) - 1 for example in examples)
    first = examples[0].ids
    for place in range(most):
        if any(example.ids[place] != first[place] for example in examples):
            return place
    return most


def pack(
    examples: Sequence[Example], shared: int, device: torch.device, masked: torch.dtype | None
) -> Batch:
    """One row: the `shared` start once, then the rest of each example, which sees both alone.

    `masked` is the type of a mask that says so to any attention; None leaves it to the row's
    bounds, and a mask of no size keeps the model from making one of its own.
    """
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
    if masked is None:
        mask = torch.zeros(1, 1)
    else:
        owner = torch.tensor(owners)
        sees = (owner[:, None] == owner[None]) | (owner[None] == -1)
        mask = torch.zeros(sees.shape, dtype=masked)
        mask = mask.masked_fill(~sees.tril(), torch.finfo(masked).min)
    own = (len(example.ids) - shared for example in examples)
    return Batch(
        ids=torch.tensor([ids], device=device),
        attention=mask[None, None].to(device),
        targets=torch.tensor([targets], device=device),
        positions=torch.tensor([positions], device=device),
        bounds=list(accumulate(own, initial=shared)) if masked is None else None,
    )


class Way(NamedTuple):
    """The way taken, how many examples' frozen layers are kept, and why not packed (if asked)."""

    feed: Padded
    kept: int = 0
    refused: str | None = None


def packed_or_padded(packed: Packed, examples: Sequence[Example], batch_size: int) -> Way:
    """Packed where that gives the first examples the loss they have padded, else padded, and why.

    Models differ in what they take: attention by example, a mask of their own making, a state that
    runs along the row. The quick way is tried first, then one with a mask over the whole row.
    """
    padded = Padded(packed.model, packed.pad, packed.device)
    some = _shortest(examples[:batch_size])
    was_training = packed.model.training
    packed.model.eval()
    try:
        with torch.no_grad():
            expected = float(padded.losses(some).sum())
            if _proved(packed, some, expected, quick=True) is not None:
                packed.slow_down()
                if refused := _proved(packed, some, expected, quick=False):
                    return Way(padded, refused=refused)
            if packed.quick and packed.half:
                halve(packed.model)
            return Way(packed, packed.keep_frozen(examples))
    finally:
        packed.model.train(was_training)


def _shortest(examples: Sequence[Example]) -> list[Example]:
    """Two examples show it as well as many, and short ones sooner than long ones."""
    return sorted(examples, key=lambda example: len(example.ids))[:2]


def _proved(packed: Packed, some: list[Example], expected: float, *, quick: bool) -> str | None:
    """Why this way cannot be taken, None where it can."""
    try:
        if quick:
            packed.speed_up()
        kept = replace(packed, _kept={}, _groups={})
        if packed.first_layer:
            kept.keep_frozen(some)
        found = float(kept.losses(some).sum())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        return f"the model does not take it ({type(error).__name__})"
    if abs(found - expected) > _ROUNDING.get(packed.model.dtype, 1e-3) * abs(expected):
        return f"the first batch's loss would be {found:.4f}, not {expected:.4f}"
    return None


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
            **batch.cut,
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
