"""The training loop: LoRA steps that can be stopped anywhere and resumed exactly.

An own loop rather than transformers' Trainer: it stops between two batches, not only between two
steps (a step may take minutes on a CPU), and every bit of its state is in the checkpoint.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from finetune import schema
from finetune.adapters import adapter_files, first_layer, put_adapter_on, take_adapter_from
from finetune.bases import Base
from finetune.counters import Counters
from finetune.failures import Stopped, WorkFailure
from finetune.means import Means
from finetune.memory import OutOfMemory, is_out_of_memory
from finetune.neftune import noise_on
from finetune.objective import Objective, Supervised
from finetune.optimizer import make_optimizer, optimizer_files, restore_optimizer
from finetune.order import Order
from finetune.packing import Packed, Padded, Way, packed_or_padded
from finetune.ranks import Ranks
from finetune.schedule import rate_at, steps_per_epoch
from finetune.speed import quick_in_bfloat16

_RANDOM = "random.safetensors"


@dataclass
class Trainer:
    """One LoRA training over examples in memory.

    `batch_size` are the examples computed at once: the recipe's, or fewer where memory ran out. A
    step's examples are the recipe's batch_size times gradient_accumulation either way.
    """

    base: Base
    recipe: schema.Recipe
    examples: list[Any]
    check_stop: Callable[[], None]
    means: Means
    objective: Objective = field(default_factory=Supervised)
    ranks: Ranks = field(default_factory=Ranks)
    counters: Counters = field(default_factory=Counters)
    batch_size: int = 0
    grad_norm: float = math.nan

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        self.model: Any = put_adapter_on(self.base.model, self.recipe.lora)
        self.checkpointing = False
        if self.recipe.activation_checkpointing:
            self.checkpoint_activations()
        self.batch_size = self.batch_size or self.recipe.batch_size
        self.feed = Padded(self.model, self.base.tokenizer.pad_token_id, self.base.device)
        self.parameters = [item for item in self.model.parameters() if item.requires_grad]
        self.optimizer = make_optimizer(self.means, self.recipe, self.parameters)
        self._order = Order(self.recipe, [self.objective.length(each) for each in self.examples])
        if not self.ranks.first:  # the same adapter, other dropout
            torch.manual_seed(self.recipe.seed + (self.ranks.rank << 32))

    @property
    def epoch(self) -> float:
        """Passes over the examples so far."""
        return self.counters.step / steps_per_epoch(self.recipe, len(self.examples))

    def checkpoint_activations(self) -> None:
        """Compute activations anew in the backward pass from now on."""
        self.checkpointing = True
        self.base.model.gradient_checkpointing_enable({"use_reentrant": False})

    def prepare(self) -> Way:
        """Choose the way that batches go, where the recipe asks for packing; before the first step.

        Deterministic, so a resume goes the same way.
        """
        way = Way(self.feed)
        if self.recipe.packing:
            # Noise on the embeddings changes in each step what frozen layers make of them.
            noisy = self.recipe.neftune_alpha is not None
            first = 0 if noisy else first_layer(self.base.model, self.recipe.lora)
            size = self.recipe.batch_size
            packed = Packed(self.model, self.feed.pad, self.feed.device, first, size, self._halved)
            # in the first epoch's order, so that its first step waits for few of them
            in_order = [self.examples[number] for number in self._order.of_epoch(0)]
            way = packed_or_padded(packed, in_order, size)
        self.feed = way.feed
        return way

    @property
    def _halved(self) -> bool:
        """Whether packed rows go through a base in bfloat16, though it was read in 32 bits."""
        plain = self.means.precision == "fp32" and self.means.quantization == "none"
        width = getattr(self.base.model.config, "hidden_size", 0)
        quick = plain and quick_in_bfloat16(self.base.device, width)
        return quick and self.recipe.precision == "auto"

    def step(self, total: int) -> float:
        """One optimizer step; returns its loss as the objective tells it (nats by answer token).

        Raises Stopped between two batches, or OutOfMemory; then everything is as before the step.
        """
        before = self.random_state()
        chosen = [self.examples[number] for number in self._order.of_step(self.counters.step)]
        weight = sum(self.objective.weight(example) for example in chosen)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            told = self._gradients(chosen, weight)
        except (Stopped, OutOfMemory) as reason:
            self.optimizer.zero_grad(set_to_none=True)
            self.set_random_state(before)
            if isinstance(reason, Stopped):
                reason.step = self.counters.step
            else:
                self._free()
            raise
        loss = told.pop("loss")
        self._update(loss, total)
        self.counters.step += 1
        self.counters.tokens += sum(self.objective.length(example) for example in chosen)
        self.counters.add(loss, weight, told)
        return loss

    def _gradients(self, chosen: list[Any], weight: float) -> dict[str, float]:
        """Gradients of the step's mean over all processes; returns its told figures."""
        batches = self.feed.parts(
            chosen, self.batch_size, self.objective.length, least=self.ranks.count
        )
        mine = self.ranks.deal(batches)
        told: dict[str, float] = {}
        lacking = False
        for turn in range(self.ranks.turns(len(batches))):
            self.ranks.agree(self._asked_to_stop(), lacking)
            if turn < len(mine):
                lacking = not self._backward(mine[turn], weight, told)
        self.ranks.agree(None, lacking)
        self.ranks.add_gradients(self.parameters)
        parts = self.ranks.gather(told)
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: sum(part.get(name, 0.0) for part in parts) for name in names}

    def _asked_to_stop(self) -> Stopped | None:
        try:
            self.check_stop()
        except Stopped as stopped:
            return stopped
        return None

    def _backward(self, batch: list[Any], step_weight: float, told: dict[str, float]) -> bool:
        """Add a micro-batch's gradient, and its part of the step's means to `told`.

        Returns False where memory did not suffice; other errors are raised.
        """
        lengths = [self.objective.length(example) for example in batch]
        try:
            with noise_on(self.model, self.recipe.neftune_alpha, lengths):
                found = self.objective.loss(self.feed, batch)
                (found.whole / step_weight).backward()
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return False
            raise
        for name, value in {"loss": found.told, **found.more}.items():
            told[name] = told.get(name, 0.0) + float(value.detach() / step_weight)
        return True

    def _free(self) -> None:
        gc.collect()
        if self.base.device.type == "cuda":
            torch.cuda.empty_cache()

    def _update(self, loss: float, total: int) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm)
        self.grad_norm = float(norm)
        if not (math.isfinite(loss) and math.isfinite(self.grad_norm)):
            raise WorkFailure(
                404,
                "The training diverged.",
                f"Loss or gradient of step {self.counters.step + 1} is not a finite number.",
                "Lower learning_rate or lora.r (or raise lora.alpha) in the recipe, and start a "
                "new run; the last good checkpoint of this one stays.",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.recipe, self.counters.step, total)
        self.optimizer.step()

    def checkpoint_files(self) -> dict[str, bytes]:
        """Everything that a resume needs, but the counters; all processes call it together."""
        states = self.ranks.gather(self.random_state())
        random = {
            f"{rank}/{name}": value
            for rank, each in enumerate(states)
            for name, value in each.items()
        }
        return {
            **adapter_files(self.model),
            **optimizer_files(self.optimizer),
            _RANDOM: save_tensors(random),
        }

    def restore(self, manifest: schema.CheckpointManifest, folder: Path) -> None:
        """Go back to a checkpoint.

        Where it was written by fewer processes, this one's dropout goes on from its seed.
        """
        take_adapter_from(self.model, folder)
        restore_optimizer(self.optimizer, folder)
        states = load_tensors((folder / _RANDOM).read_bytes())
        own = f"{self.ranks.rank}/"
        mine = {
            name.removeprefix(own): each for name, each in states.items() if name.startswith(own)
        }
        if mine:
            self.set_random_state(mine)
        self.counters = Counters.from_state(manifest.state)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Random state and mode are afterwards what they were before."""
        state, mode = self.random_state(), self.model.training
        try:
            yield
        finally:
            self.set_random_state(state)
            self.model.train(mode)

    def random_state(self) -> dict[str, torch.Tensor]:
        """What dropout and noise draw from."""
        states = {"cpu": torch.get_rng_state()}
        if self.base.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.base.device)
        return states

    def set_random_state(self, states: dict[str, torch.Tensor]) -> None:
        """Draw from there on."""
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and self.base.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self.base.device)
