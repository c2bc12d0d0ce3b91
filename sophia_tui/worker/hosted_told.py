"""What a provider tells, in the words that all jobs have: its events, its checkpoints, its bill."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sophia_tui.domain.hosted import HostedCheckpoint, HostedEvent, HostedJob, HostedOrder
from sophia_tui.domain.jobs import Job
from sophia_tui.i18n import _, money
from sophia_tui.services.prices import Prices
from sophia_tui.services.train_hosted import own_address
from sophia_tui.textsafe import visible

LONGEST_TEXT = 2000
#: What a metric of theirs is called with us; the later one wins.
_FIGURES = {
    "step": "step",
    "total_steps": "total_steps",
    "train_loss": "loss",
    "valid_loss": "eval_loss",
    "full_valid_loss": "eval_loss",
}
_WHOLE = frozenset({"step", "total_steps"})
#: A bill this many times the estimate, or less than one part in as many, is worth a word.
WIDE = 1.5
_LEAST_USD = 0.01


def event_entry(event: HostedEvent) -> tuple[str, dict[str, Any]]:
    """Kind and data of our event for one of theirs."""
    data: dict[str, Any] = {"provider_event": event.id}
    if event.message:
        data["message"] = visible(event.message[:LONGEST_TEXT])
    figures = _figures(event.data)
    if "loss" in figures or "eval_loss" in figures:
        return "metric", {**data, **_harmless(event.data), **figures}
    if event.level in ("warn", "warning", "error"):
        return "warning", {**data, "level": visible(event.level[:64])}
    return "message", data


def event_figures(event: HostedEvent) -> dict[str, Any]:
    """What one of their events changes in the job's row."""
    return {name: value for name, value in _figures(event.data).items() if name != "eval_loss"}


def checkpoint_entry(checkpoint: HostedCheckpoint) -> tuple[str, dict[str, Any]]:
    """The same for a checkpoint: like one of this machine's, with a model in place of a folder."""
    figures = _figures(checkpoint.metrics)
    return "checkpoint", {
        "provider_checkpoint": checkpoint.id,
        "step": checkpoint.step,
        "model": visible(checkpoint.model[:LONGEST_TEXT]),
        **{name: figures[name] for name in ("loss", "eval_loss") if name in figures},
        "metrics": checkpoint.metrics,
    }


def in_order(
    events: Sequence[HostedEvent], checkpoints: Sequence[HostedCheckpoint]
) -> list[tuple[datetime, str, dict[str, Any]]]:
    """Moment, kind and data of both, by time. Providers tell whole seconds: within one the step
    decides, where a text belongs to the step before it; what is then equal stays as it came."""
    placed = []
    reached = 0
    for event in events:
        reached = max(reached, _figures(event.data).get("step", 0))
        placed.append((int(event.at.timestamp()), reached, event.at, *event_entry(event)))
    for each in checkpoints:
        placed.append((int(each.at.timestamp()), each.step, each.at, *checkpoint_entry(each)))
    placed.sort(key=lambda each: each[:2])
    return [(at, kind, data) for _second, _step, at, kind, data in placed]


@dataclass(frozen=True)
class Bill:
    """What a job has cost. `usd` is None where no price is known; `remark` is for people, where it
    is far from what was foretold."""

    usd: float | None = None
    remark: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def bill(job: Job, found: HostedJob, prices: Prices) -> Bill:
    """Trained tokens times the price of the dated price list, beside the estimate."""
    if found.trained_tokens is None:
        return Bill()
    facts: dict[str, Any] = {"trained_tokens": found.trained_tokens}
    estimate = job.request.get("estimate") or {}
    for name in ("tokens_estimated", "usd_estimated"):
        if name in estimate:
            facts[name] = estimate[name]
    price = prices.training(job.base)
    if price is None or not own_address(HostedOrder.of(job.request).base_url):
        return Bill(facts=facts)
    usd = round(found.trained_tokens * price.price / 1_000_000, 4)
    facts |= {"usd": usd, "usd_per_million": price.price, "price_as_of": price.as_of.isoformat()}
    foretold = facts.get("usd_estimated")
    if not isinstance(foretold, int | float) or abs(usd - foretold) < _LEAST_USD:
        return Bill(usd, facts=facts)
    if foretold / WIDE <= usd <= foretold * WIDE:
        return Bill(usd, facts=facts)
    remark = _("It cost {usd} USD; {estimate} USD were estimated before.").format(
        usd=money(usd, foretold), estimate=money(foretold, usd)
    )
    return Bill(usd, remark, facts)


def _figures(data: dict[str, Any]) -> dict[str, Any]:
    """Steps and losses where they are finite numbers."""
    found: dict[str, Any] = {}
    for theirs, ours in _FIGURES.items():
        value = data.get(theirs)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            found[ours] = int(value) if ours in _WHOLE else value
    return found


def _harmless(data: dict[str, Any]) -> dict[str, Any]:
    """Finite numbers and short texts; a store has no NaN."""
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, str):
            kept[visible(str(name))] = visible(value[:LONGEST_TEXT])
        elif isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            kept[visible(str(name))] = value
    return kept
