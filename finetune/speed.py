"""How many threads to use, and how many steps fit into a time budget."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from finetune import schema
from finetune.base_names import read_base_name

if TYPE_CHECKING:
    import torch

PROBE_SECONDS = 0.6
#: Tokens of a packed row, unless one example has more: beyond, a row's matrices are no faster.
PACKED_TOKENS: Mapping[str, int] = {"cpu": 1024, "cuda": 16384}
#: Width of hidden states below which bfloat16 gains nothing on a processor.
NARROW = 256
#: Steps to measure before the budget is fitted, after one that warms up.
MEASURED_STEPS = 8
#: Share of the budget kept for the last checkpoint and the last look at valid.jsonl.
_RESERVE = 0.05


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def prepare_threads() -> None:
    """Bound how long OpenMP's threads spin; it is read once, before torch is imported.

    The default spins so long that two threads on busy cores ran seven times slower than one; with
    1,000 turns they ran faster than one (measured, two cores, load 3.5). A neighbour may come
    at any time, so even on idle cores the spinning is bounded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        busy = os.getloadavg()[0] > cores() / 2
        os.environ.setdefault("GOMP_SPINCOUNT", "1000" if busy else "10000")


def quick_in_bfloat16(device: torch.device, width: int) -> bool:
    """Whether this processor multiplies bfloat16 matrices faster than 32-bit ones of this width.

    By what it has (AVX-512 BF16, AMX), not by a measurement: a resume must come to the same answer.
    Twice as fast, measured with AVX-512 BF16; in narrow models other things cost more.
    """
    import torch

    if device.type != "cpu" or width < NARROW:
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def needs_bitsandbytes(spec: schema.RunSpec) -> bool:
    """Whether a training may need it: by its recipe, or by a base that is quantised already."""
    name = read_base_name(spec.base)
    if name.kind == "hub" or spec.recipe.quantization != "none" or spec.recipe.optimizer != "adamw":
        return True
    try:
        return name.kind == "path" and "quantization_config" in (
            name.path / "config.json"
        ).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return True


def leave_out(package: str) -> None:
    """Keep a package from being imported in this process.

    peft imports bitsandbytes wherever it is installed, and that imports torch's compiler: two
    seconds before the first step of a training that uses neither.
    """
    sys.modules.setdefault(package, None)  # type: ignore[arg-type]


def choose_threads(
    wanted: int | Literal["auto"], device: torch.device, chosen: int | None = None
) -> dict[str, Any]:
    """Set torch's threads; returns what was chosen, with the probe's speeds where one ran.

    What was `chosen` before is kept while there are cores for it: a sum's order, and so its last
    digits, go by the number of threads.
    """
    import torch

    if wanted == "auto" and chosen is not None and chosen <= cores():
        wanted = chosen
    if wanted != "auto":
        torch.set_num_threads(max(1, wanted))
        return {"threads": torch.get_num_threads()}
    if device.type != "cpu" or cores() == 1:
        return {"threads": torch.get_num_threads()}
    speeds = _probe(sorted({1, max(1, cores() // 2), cores()}))
    # A count must win clearly: more threads also take more from the neighbours.
    best = min(speeds)
    for count in sorted(speeds):
        if speeds[count] > speeds[best] * 1.05:
            best = count
    torch.set_num_threads(best)
    return {
        "threads": best,
        "probed_gflops": {str(count): round(speed, 1) for count, speed in speeds.items()},
        "spin_count": os.environ.get("GOMP_SPINCOUNT"),
    }


def _probe(counts: list[int]) -> dict[int, float]:
    """GFLOPS of a linear layer by number of threads: medians of tries over PROBE_SECONDS.

    Interleaved, so that a neighbour's burst of work falls on all of them.
    """
    import torch

    data, weight = torch.randn(256, 1024), torch.randn(1024, 1024)
    work = 2 * 256 * 1024 * 1024 / 1e9
    tries: dict[int, list[float]] = {count: [] for count in counts}
    with torch.no_grad():
        end = time.monotonic() + PROBE_SECONDS
        while time.monotonic() < end:
            for count in counts:
                torch.set_num_threads(count)
                torch.nn.functional.linear(data, weight)
                started = time.perf_counter()
                for _ in range(2):
                    torch.nn.functional.linear(data, weight)
                tries[count].append(2 * work / (time.perf_counter() - started))
    return {count: statistics.median(speeds) for count, speeds in tries.items()}


def fit_steps(
    *, budget: float, elapsed: float, done: int, step_seconds: list[float], planned: int
) -> int:
    """Steps in all that fit into `budget` seconds, never more than planned, at least one more."""
    left = budget * (1 - _RESERVE) - elapsed
    each = statistics.fmean(step_seconds)
    return min(planned, done + max(1, math.floor(left / each)))
