"""Where a training stands, and the time its steps took."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields

_SUM, _SEEN = "sum.", "seen."


@dataclass
class Counters:
    """Where the training stands; all of it is in every checkpoint.

    `looked_step` is the last step after which validation and hooks were done, `seen` what they
    said; `best_*` and `worse` (validations in a row without improvement) serve early stopping.
    """

    step: int = 0
    tokens: float = 0.0
    window_loss: float = 0.0
    window_weight: float = 0.0
    last_loss: float = math.nan
    looked_step: int = 0
    best_step: int = 0
    best_value: float = math.nan
    best_eval_loss: float = math.nan
    worse: int = 0
    ended: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    def as_state(self) -> dict[str, float]:
        """Numbers for a checkpoint's manifest; what is not known yet is left out."""
        plain = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in ("sums", "seen")
        }
        plain |= {_SUM + name: value for name, value in self.sums.items()}
        plain |= {_SEEN + name: value for name, value in self.seen.items()}
        return {name: float(value) for name, value in plain.items() if math.isfinite(value)}

    @classmethod
    def from_state(cls, state: dict[str, float]) -> Counters:
        """The counters of a checkpoint."""
        found = cls()
        for name, value in state.items():
            if name.startswith(_SUM):
                found.sums[name.removeprefix(_SUM)] = value
            elif name.startswith(_SEEN):
                found.seen[name.removeprefix(_SEEN)] = value
            else:
                setattr(found, name, type(getattr(found, name))(value))
        return found

    def add(self, loss: float, weight: float, more: dict[str, float]) -> None:
        """Count a step into the window: means by weight."""
        self.window_loss += loss * weight
        self.window_weight += weight
        for name, value in more.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * weight

    def close_window(self) -> dict[str, float]:
        """Means since the last call, `loss` among them; begins a new window."""
        found: dict[str, float] = {}
        if self.window_weight:
            self.last_loss = self.window_loss / self.window_weight
            found = {name: value / self.window_weight for name, value in self.sums.items()}
        self.window_loss = self.window_weight = 0.0
        self.sums = {}
        return {"loss": self.last_loss, **found}


class Clock:
    """Seconds and tokens of the steps of this process."""

    def __init__(self) -> None:
        self.step_seconds: list[float] = []
        self.tokens = 0.0
        self._started = time.monotonic()

    def tick(self, tokens: float, aside: float = 0.0) -> None:
        """A step ended that took `tokens` tokens; what happens before restart() counts to it.

        `aside` are seconds within it that went into what no later step does again.
        """
        self.step_seconds.append(time.monotonic() - self._started - aside)
        self.tokens += tokens
        self.restart()

    def restart(self) -> None:
        """Begin to measure a step."""
        self._started = time.monotonic()

    @property
    def tokens_per_second(self) -> float:
        """Tokens (prompts included, padding not) by second of steps."""
        seconds = sum(self.step_seconds)
        return self.tokens / seconds if seconds else 0.0

    def recent(self, count: int = 20) -> float:
        """Mean seconds of the last steps."""
        steps = self.step_seconds[-count:]
        return sum(steps) / len(steps) if steps else 0.0
