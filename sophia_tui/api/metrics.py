"""What /metrics tells: the requests that this process answered, the store's counts, jobs under way,
served models, disk and memory.

No personal data, and no label without a bound: routes by their template, states by our own words,
jobs and models only while they live. Reading it costs three small statements, at most once in some
seconds however many ask.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui import __version__
from sophia_tui.api.exposition import Family, Sample
from sophia_tui.domain.gauges import Gauges
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.models import PromotionState
from sophia_tui.domain.serving import Deployment, ServedRequest
from sophia_tui.errors import SophiaError

if TYPE_CHECKING:
    from sophia_tui.wiring import House

#: Upper bounds of the histograms, in seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})
#: Jobs under way and served models that are told one by one.
_MOST_JOBS = 50
_MOST_MODELS = 100
_ACTIVE = tuple(each.value for each in JobState if each.active)
#: How long what the store said counts.
_FRESH_SECONDS = 5.0
#: What a request has that no route took: refused before, or lost.
NO_ROUTE = "none"


class Histogram:
    """Counts by upper bound, a sum and a number."""

    __slots__ = ("counts", "number", "total")

    def __init__(self) -> None:
        self.counts = [0] * len(BUCKETS)
        self.total = 0.0
        self.number = 0

    def add(self, seconds: float) -> None:
        self.total += seconds
        self.number += 1
        for place, bound in enumerate(BUCKETS):
            if seconds <= bound:
                self.counts[place] += 1
                break

    def samples(self, labels: Mapping[str, str]) -> list[Sample]:
        below, found = 0, []
        for bound, count in zip(BUCKETS, self.counts, strict=True):
            below += count
            found.append(Sample(below, {**labels, "le": str(bound)}, "_bucket"))
        found.append(Sample(self.number, {**labels, "le": "+Inf"}, "_bucket"))
        return [
            *found,
            Sample(self.total, labels, "_sum"),
            Sample(self.number, labels, "_count"),
        ]


class Traffic:
    """Counts what this process answered, from its start on."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], Histogram] = {}
        self._models: Counter[tuple[str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()

    def answered(self, scope: Mapping[str, Any], status: int, seconds: float) -> None:
        """Note one request; `scope` is the one that the application routed."""
        route = str(getattr(scope.get("route"), "path", "") or NO_ROUTE)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._requests[method, route, status] += 1
        self._seconds.setdefault((method, route), Histogram()).add(seconds)

    def served(self, request: ServedRequest) -> None:
        """Note a request to a served model, whose name is one of ours or empty."""
        result = "answered" if request.status < 400 else "refused" if request.status < 500 else ""
        self._models[request.model, result or "failed"] += 1
        self._tokens[request.model, "prompt"] += request.prompt_tokens or 0
        self._tokens[request.model, "completion"] += request.completion_tokens or 0

    def families(self) -> list[Family]:
        requests = [
            Sample(count, {"method": method, "route": route, "status": str(status)})
            for (method, route, status), count in sorted(self._requests.items())
        ]
        seconds = [
            sample
            for (method, route), each in sorted(self._seconds.items())
            for sample in each.samples({"method": method, "route": route})
        ]
        models = [
            Sample(count, {"model": model, "result": result})
            for (model, result), count in sorted(self._models.items())
        ]
        tokens = [
            Sample(count, {"model": model, "kind": kind})
            for (model, kind), count in sorted(self._tokens.items())
        ]
        return [
            Family("sophia_api_requests_total", "counter", "Requests answered.", requests),
            Family("sophia_api_request_seconds", "histogram", "Until the last byte.", seconds),
            Family("sophia_model_requests_total", "counter", "Questions to models.", models),
            Family("sophia_model_tokens_total", "counter", "Tokens of served models.", tokens),
        ]


class Metrics:
    """Everything that /metrics tells. While the store is away, the rest is told all the same."""

    def __init__(self, house: "House", traffic: Traffic) -> None:
        self._house = house
        self._traffic = traffic
        self._kept: list[Family] = []
        self._looked = float("-inf")

    async def families(self) -> list[Family]:
        if time.monotonic() - self._looked >= _FRESH_SECONDS:
            self._kept = await self._of_store()
            self._looked = time.monotonic()
        version = Sample(1, {"version": __version__})
        return [
            Family("sophia_build_info", "info", "The program's version.", [version]),
            *self._kept,
            *self._traffic.families(),
            *_of_machine(self._house.paths.data),
            *_of_process(),
        ]

    async def _of_store(self) -> list[Family]:
        try:
            store = await self._house.store()
            seconds = await store.ping() / 1000
            gauges = await store.gauges()
            jobs = await store.jobs.page(limit=_MOST_JOBS, states=_ACTIVE)
            served = await store.deployments.page(limit=_MOST_MODELS, living=True)
        except SophiaError:
            return [_gauge("sophia_store_up", "Whether the store answers.", 0)]
        return [
            _gauge("sophia_store_up", "Whether the store answers.", 1),
            _gauge("sophia_store_ping_seconds", "A round trip to the store.", seconds),
            *_of_gauges(gauges),
            *_of_jobs(jobs),
            *_of_models(served),
        ]


def _gauge(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, [Sample(value)])


def _by_state(found: Mapping[str, int], known: list[str]) -> list[Sample]:
    """Every state of ours; what a provider calls by a word of its own is `other`."""
    other = sum(count for state, count in found.items() if state not in known)
    counted = {**{state: found.get(state, 0) for state in known}, "other": other}
    return [Sample(count, {"state": state}) for state, count in counted.items()]


def _of_gauges(found: Gauges) -> list[Family]:
    jobs = _by_state(found.jobs, [each.value for each in JobState])
    promotions = _by_state(found.promotions, [each.value for each in PromotionState])
    return [
        Family("sophia_jobs", "gauge", "Jobs by state.", jobs),
        Family("sophia_promotions", "gauge", "Promotions by state.", promotions),
        _gauge("sophia_queue_length", "Queued jobs that may start now.", found.waiting),
        _gauge(
            "sophia_queue_oldest_seconds",
            "How long the first queued job has waited.",
            found.oldest_seconds,
        ),
        _gauge("sophia_dataset_versions", "Versions of data sets.", found.datasets),
        _gauge("sophia_models", "Models that are not deleted.", found.models),
        _gauge("sophia_workers", "Workers that gave a sign.", found.workers),
    ]


def _of_jobs(jobs: list[Job]) -> list[Family]:
    told: dict[str, list[Sample]] = {"step": [], "total_steps": [], "loss": [], "seconds_left": []}
    for job in jobs:
        for name, samples in told.items():
            value = getattr(job, name)
            if value is not None:
                samples.append(Sample(float(value), {"job": job.id, "kind": job.kind.value}))
    helps = {
        "step": "The step that a job under way has reached.",
        "total_steps": "The steps that it will take.",
        "loss": "Its loss.",
        "seconds_left": "Seconds that it expects to take still.",
    }
    return [
        Family(f"sophia_job_{name}", "gauge", helps[name], samples)
        for name, samples in told.items()
    ]


def _of_models(served: list[Deployment]) -> list[Family]:
    ready = [
        Sample(float(each.state.value == "ready"), {"model": each.name, "engine": each.engine})
        for each in served
    ]
    restarts = [Sample(each.restarts, {"model": each.name}) for each in served]
    return [
        Family("sophia_served_model_ready", "gauge", "Whether a served model answers.", ready),
        Family(
            "sophia_served_model_restarts", "gauge", "How often its engine was restarted.", restarts
        ),
    ]


def _of_machine(data: Path) -> list[Family]:
    found = []
    while not data.exists():
        data = data.parent
    disk = shutil.disk_usage(data)
    found.append(_gauge("sophia_disk_size_bytes", "The data folder's disk.", disk.total))
    found.append(_gauge("sophia_disk_free_bytes", "What is free of it.", disk.free))
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _sign, rest = line.partition(":")
        memory[name] = 1024 * float(rest.split()[0])
    size, free = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    found.append(_gauge("sophia_memory_size_bytes", "The machine's memory.", size))
    found.append(_gauge("sophia_memory_available_bytes", "What is available of it.", free))
    return found


def _of_process() -> list[Family]:
    """This process, by the names that Prometheus' own clients use."""
    times = os.times()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    seconds = [Sample(times.user + times.system)]
    return [
        Family("process_cpu_seconds_total", "counter", "Processor time.", seconds),
        _gauge(
            "process_resident_memory_bytes", "Memory in use.", pages * os.sysconf("SC_PAGE_SIZE")
        ),
        _gauge("process_open_fds", "Open files.", len(os.listdir("/proc/self/fd"))),
        _gauge("process_start_time_seconds", "When it started.", _STARTED),
    ]


_STARTED = time.time()
