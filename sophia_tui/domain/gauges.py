"""What the store holds at a moment, counted: for who watches Sophia from outside."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Gauges:
    """`jobs` and `promotions` are counts by state. `waiting` are queued jobs that may start now,
    `oldest_seconds` how long the first of them has waited. `datasets` are versions and `models`
    models that are not deleted, `workers` those that gave a sign within 20 seconds."""

    jobs: Mapping[str, int] = field(default_factory=dict)
    promotions: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    oldest_seconds: float = 0.0
    datasets: int = 0
    models: int = 0
    workers: int = 0
