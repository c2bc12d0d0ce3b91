"""Which examples a step learns from: a pure function of recipe, seed and step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from finetune import schema
from finetune.schedule import steps_per_epoch

#: Batches among which examples are sorted by length: enough for little padding, few enough for
#: other neighbours in each epoch.
_SORTED_TOGETHER = 50


@dataclass
class Order:
    """The order of examples, by their lengths in tokens."""

    recipe: schema.Recipe
    lengths: Sequence[int]
    _epoch: tuple[int, list[int]] = field(default=(-1, []))

    def of_step(self, step: int) -> list[int]:
        """Numbers of the examples of a step (from 0), so that a resume sees the same."""
        epoch, index = divmod(step, steps_per_epoch(self.recipe, len(self.lengths)))
        size = self.recipe.batch_size * self.recipe.gradient_accumulation
        return self.of_epoch(epoch)[index * size : (index + 1) * size]

    def of_epoch(self, epoch: int) -> list[int]:
        """Numbers of all examples (from 0), in the order of an epoch (from 0)."""
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return self._epoch[1]

    def _shuffled(self, epoch: int) -> list[int]:
        chance = random.Random(f"{self.recipe.seed}/{epoch}")
        order = list(range(len(self.lengths)))
        chance.shuffle(order)
        return self._grouped(order, chance) if self.recipe.length_grouping else order

    def _grouped(self, order: list[int], chance: random.Random) -> list[int]:
        """Batches of like length, themselves in random order."""
        size = self.recipe.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), size * _SORTED_TOGETHER):
            some = order[start : start + size * _SORTED_TOGETHER]
            some.sort(key=lambda number: self.lengths[number])
            batches += [some[place : place + size] for place in range(0, len(some), size)]
        chance.shuffle(batches)
        # The short batch goes last, so that every step but the last has all of its examples.
        batches.sort(key=lambda batch: len(batch) < size)
        return [number for batch in batches for number in batch]
