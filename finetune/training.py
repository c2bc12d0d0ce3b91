"""The training loop: LoRA steps that can be stopped anywhere and resumed exactly.

An own loop rather than transformers' Trainer: it stops between two batches, not only between two
steps (a step may take minutes on a CPU), and every bit of its state is in the checkpoint.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from finetune import schema
from finetune.bases import Base
from finetune.counters import Counters
from finetune.failures import Stopped, WorkFailure
from finetune.objective import Objective, Supervised
from finetune.packing import Packed, Padded, Way, packed_or_padded
from finetune.schedule import rate_at, steps_per_epoch
from finetune.speed import quick_in_bfloat16

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_OPTIMIZER = "optimizer.safetensors"
_RANDOM = "random.safetensors"


@dataclass
class Trainer:
    """One LoRA training over examples in memory."""

    base: Base
    recipe: schema.Recipe
    examples: list[Any]
    check_stop: Callable[[], None]
    objective: Objective = field(default_factory=Supervised)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        torch.manual_seed(self.recipe.seed)
        lora = self.recipe.lora
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            bias=lora.bias,
            **_places(self.base.model, lora),
        )
        self.model: Any = get_peft_model(self.base.model, config)
        self.feed = Padded(self.model, self.base.tokenizer.pad_token_id, self.base.device)
        self.parameters = [item for item in self.model.parameters() if item.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        self._order: tuple[int, list[int]] = (-1, [])

    @property
    def epoch(self) -> float:
        """Passes over the examples so far."""
        return self.counters.step / steps_per_epoch(self.recipe, len(self.examples))

    def prepare(self, on_example: Callable[[int], None]) -> Way:
        """Choose the way that batches go, where the recipe asks for packing; before the first step.

        Deterministic, so a resume goes the same way. `on_example` may raise.
        """
        way = Way(self.feed)
        if self.recipe.packing:
            first = first_layer(self.base.model, self.recipe.lora)
            size = self.recipe.batch_size
            packed = Packed(
                self.model, self.feed.pad, self.feed.device, first, size, self._halved()
            )
            way = packed_or_padded(packed, self.examples, size, on_example)
        self.feed = way.feed
        return way

    def _halved(self) -> bool:
        width = getattr(self.base.model.config, "hidden_size", 0)
        return self.recipe.precision != "fp32" and quick_in_bfloat16(self.base.device, width)

    def _examples_of(self, step: int) -> list[Any]:
        """The examples of a step: a pure function of seed and step, so a resume sees the same."""
        epoch, index = divmod(step, steps_per_epoch(self.recipe, len(self.examples)))
        if self._order[0] != epoch:
            order = list(range(len(self.examples)))
            random.Random(f"{self.recipe.seed}/{epoch}").shuffle(order)
            self._order = (epoch, order)
        size = self.recipe.batch_size * self.recipe.gradient_accumulation
        return [self.examples[i] for i in self._order[1][index * size : (index + 1) * size]]

    def step(self, total: int) -> float:
        """One optimizer step; returns its loss as the objective tells it (nats by answer token).

        Raises Stopped between two batches; then everything is as it was before the step.
        """
        before = self.random_state()
        chosen = self._examples_of(self.counters.step)
        weight = sum(self.objective.weight(example) for example in chosen)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        told: dict[str, float] = {}
        try:
            for part in self.feed.parts(chosen, self.recipe.batch_size, self.objective.length):
                self.check_stop()
                self._backward(part, weight, told)
        except Stopped as stopped:
            self.optimizer.zero_grad(set_to_none=True)
            self.set_random_state(before)
            stopped.step = self.counters.step
            raise
        loss = told.pop("loss")
        self._update(loss, total)
        self.counters.step += 1
        self.counters.tokens += sum(self.objective.length(example) for example in chosen)
        self.counters.add(loss, weight, told)
        return loss

    def _backward(self, batch: list[Any], step_weight: float, told: dict[str, float]) -> None:
        """Add a micro-batch's gradient, and its part of the step's means to `told`."""
        found = self.objective.loss(self.feed, batch)
        (found.whole / step_weight).backward()
        for name, value in {"loss": found.told, **found.more}.items():
            told[name] = told.get(name, 0.0) + float(value.detach() / step_weight)

    def _update(self, loss: float, total: int) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.max_grad_norm)
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
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

    def adapter_files(self) -> dict[str, bytes]:
        """The adapter in peft's format."""
        import json

        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        config = self.model.peft_config["default"].to_dict()
        config["inference_mode"] = True
        text = json.dumps(config, indent=2, sort_keys=True, default=_as_json)
        return {
            ADAPTER_WEIGHTS: save_tensors(tensors, metadata={"format": "pt"}),
            ADAPTER_CONFIG: (text + "\n").encode("utf-8"),
        }

    def checkpoint_files(self) -> dict[str, bytes]:
        """Everything that a resume needs, but the counters."""
        optimizer = {
            f"{index}.{name}": value.detach().cpu().contiguous()
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {
            **self.adapter_files(),
            _OPTIMIZER: save_tensors(optimizer),
            _RANDOM: save_tensors(self.random_state()),
        }

    def restore(self, manifest: schema.CheckpointManifest, folder: Path) -> None:
        """Go back to a checkpoint."""
        adapter = load_tensors((folder / ADAPTER_WEIGHTS).read_bytes())
        set_peft_model_state_dict(self.model, adapter)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_tensors((folder / _OPTIMIZER).read_bytes()).items():
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.set_random_state(load_tensors((folder / _RANDOM).read_bytes()))
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
        states = {"cpu": torch.get_rng_state()}
        if self.base.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.base.device)
        return states

    def set_random_state(self, states: dict[str, torch.Tensor]) -> None:
        torch.set_rng_state(states["cpu"])
        if "cuda" in states and self.base.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self.base.device)


def first_layer(model: Any, lora: schema.LoraSettings) -> int:
    """The lowest layer that gets an adapter, from 0."""
    return math.floor(lora.frozen_share * int(getattr(model.config, "num_hidden_layers", 0)))


def _places(model: Any, lora: schema.LoraSettings) -> dict[str, Any]:
    """Which modules of which layers get an adapter, in peft's words."""
    first = first_layer(model, lora)
    if first == 0:
        return {"target_modules": lora.target_modules}
    names: str | list[str] = lora.target_modules
    if isinstance(names, str):  # peft takes no single layers together with `all-linear`
        head = model.get_output_embeddings()
        names = sorted(
            {
                name.rpartition(".")[2]
                for name, module in model.named_modules()
                if isinstance(module, torch.nn.Linear) and module is not head
            }
        )
    layers = list(range(first, model.config.num_hidden_layers))
    return {"target_modules": names, "layers_to_transform": layers}


def _as_json(value: object) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)
