"""How served answers stand against their targets: pure functions over figures of traffic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sophia_tui.domain.serving import TrafficSummary
from sophia_tui.domain.targets import DEFAULT, read_targets
from sophia_tui.i18n import _, number

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


@dataclass(frozen=True)
class Targets:
    """`latency_seconds` is for the 95th percentile, `error_rate` a share of 1. Both are parts of
    SOPHIA_TARGETS; one that a person left out there has its default."""

    latency_seconds: float
    error_rate: float

    @classmethod
    def of(cls, settings: "Settings") -> "Targets":
        found = {**read_targets(DEFAULT), **read_targets(settings.targets)}
        return cls(found["latency"].value, found["errors"].value)


@dataclass(frozen=True)
class Quality:
    """Figures of one model, or of several: `p95` is then the slowest model's, since percentiles
    don't add up."""

    requests: int
    errors: int
    p95: float | None

    @classmethod
    def of(cls, found: Sequence[TrafficSummary]) -> "Quality":
        measured = [each.seconds_p95 for each in found if each.seconds_p95 is not None]
        return cls(
            sum(each.requests for each in found),
            sum(each.errors for each in found),
            max(measured, default=None),
        )

    @property
    def error_rate(self) -> float | None:
        """A share of 1; None where nobody asked."""
        return self.errors / self.requests if self.requests else None

    def slow(self, targets: Targets) -> bool:
        return self.p95 is not None and self.p95 > targets.latency_seconds

    def failing(self, targets: Targets) -> bool:
        return self.error_rate is not None and self.error_rate > targets.error_rate

    def complaints(self, targets: Targets) -> list[str]:
        """What misses its target, each as a sentence; none where all is well."""
        found = []
        if self.slow(targets) and self.p95 is not None:
            found.append(
                _(
                    "One answer in twenty takes longer than {seconds} s; the target is {target} s."
                ).format(seconds=number(self.p95, 1), target=plain(targets.latency_seconds))
            )
        if self.failing(targets) and self.error_rate is not None:
            found.append(
                _("{rate} of the requests failed; the target is below {target}.").format(
                    rate=percent(self.error_rate), target=percent(targets.error_rate)
                )
            )
        return found


def percent(share: float) -> str:
    """A share of 1 for people: `0.4 %`, `12 %`."""
    hundredths = 100 * share
    return f"{number(hundredths, 0 if hundredths >= 10 or hundredths == int(hundredths) else 1)} %"


def plain(value: float) -> str:
    """A number without decimals that say nothing."""
    return number(value, 0 if value == int(value) else 1)
