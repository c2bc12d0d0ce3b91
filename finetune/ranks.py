"""Several processes that train together under torchrun, each on its GPU.

Every process holds the whole model; a step's micro-batches are dealt out among them and gradients
added up. The first process alone writes; what it finds out the others are told.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

from finetune.failures import Stopped
from finetune.memory import OutOfMemory
from finetune.vitals import PARENT_GONE

T = TypeVar("T")
_SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
#: How long one waits for the others; a hook of the first may take long. Dead ones torchrun notices.
_PATIENCE = timedelta(hours=12)
_FINE, _LACKING, _PAUSE, _CANCEL = range(4)


def own_rank() -> int:
    """This process's number under torchrun; 0 alone."""
    return int(os.environ.get("RANK", "0"))


def end_with_torchrun() -> None:
    """Be told when torchrun itself is killed, so that none is left behind."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, PARENT_GONE)


@dataclass(frozen=True)
class Ranks:
    """The processes of a training; one alone needs no word with anybody."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Meet the others that torchrun has started; before the model is loaded."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        import torch

        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            backend = "cpu:gloo,cuda:nccl"
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group(backend, timeout=_PATIENCE)
        return cls(own_rank(), count)

    @property
    def first(self) -> bool:
        """Whether this one writes events, checkpoints and run.yaml."""
        return self.rank == 0

    def agree(self, stopped: Stopped | None, lacking: bool = False) -> None:
        """Raise in all what one has to say: Stopped (a request to end), else OutOfMemory."""
        word = _LACKING if lacking else _FINE
        if stopped is not None:
            word = _CANCEL if stopped.state == "cancelled" else _PAUSE
        if self.count > 1:
            import torch

            said = torch.tensor([word])
            torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
            word = int(said)
        if word in (_PAUSE, _CANCEL):
            state: Literal["paused", "cancelled"] = "paused" if word == _PAUSE else "cancelled"
            if stopped is not None and stopped.state == state:
                raise stopped
            raise Stopped(state, "asked of another process of this training")
        if word == _LACKING:
            raise OutOfMemory

    def add_gradients(self, parameters: Sequence[Any]) -> None:
        """Give each parameter the sum of all processes' gradients."""
        if self.count == 1:
            return
        import torch

        grads = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = torch.cat([grad.flatten().float() for grad in grads])
        torch.distributed.all_reduce(flat)
        parts = flat.split([grad.numel() for grad in grads])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def gather(self, own: T) -> list[T]:
        """What each has, in the order of their numbers; all get it."""
        if self.count == 1:
            return [own]
        import torch

        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, own)
        return found

    def tell(self, own: T) -> T:
        """What the first has; all get it."""
        if self.count == 1:
            return own
        import torch

        box: list[Any] = [own]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[no-any-return]

    def deal(self, items: Sequence[T]) -> list[T]:
        """This one's part of a step's micro-batches."""
        return list(items[self.rank :: self.count])

    def turns(self, count: int) -> int:
        """Micro-batches that the busiest process has of `count`."""
        return -(-count // self.count)
