"""What a job tells of itself while it works, beside its row: rates, memory, and the cost so far."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sophia_tui.domain.jobs import FIGURES, Job
from sophia_tui.domain.protocols import Store
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

V = TypeVar("V", bound=JobView)
_WHOLE = frozenset({"memory_bytes", "gpu_memory_bytes", "kept", "kept_total"})
_HOUR = 3600.0


async def figured(view: V, job: Job, store: Store, settings: "Settings") -> V:
    """The view with the newest figures of the job's events.

    What a job of this machine has cost so far is the time in which it worked at
    SOPHIA_MACHINE_USD_PER_HOUR, which is fixed when it ends (`cost_at_end`).
    """
    told = await store.jobs.figures(job.id)
    found: dict[str, Any] = {name: _number(told, name) for name in FIGURES}
    if job.provider == "local":
        found["seconds_running"] = round(float(told["seconds_running"]), 1) or None
        if not has_ended(job):
            found["cost_usd"] = _cost(told, settings)
    return view.model_copy(update={name: each for name, each in found.items() if each is not None})


async def cost_at_end(job: Job, store: Store, settings: "Settings") -> dict[str, Any]:
    """The cost of a job of this machine that ends now, as a change of its row; a provider's is
    reckoned from its bill."""
    if job.provider != "local":
        return {}
    return {"cost_usd": _cost(await store.jobs.figures(job.id), settings)}


def _cost(told: Mapping[str, Any], settings: "Settings") -> float | None:
    """None where the machine has no price."""
    price = settings.machine_usd_per_hour
    return None if price is None else round(float(told["seconds_running"]) / _HOUR * price, 4)


def _number(told: Mapping[str, Any], name: str) -> float | int | None:
    value = told.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if name in _WHOLE else float(value)
