"""Says how fast this machine computes, for the estimate of a training's time. Needs torch."""

from __future__ import annotations

import time
from typing import Any

from finetune.speed import choose_threads

_SIZE = 4096
_TRIES = 20


def probe() -> dict[str, Any]:
    """`gflops` of a linear layer in the precision that trainings choose, and on which `device`."""
    import torch

    if not torch.cuda.is_available():
        chosen = choose_threads("auto", torch.device("cpu"))
        speeds = chosen.get("probed_gflops") or {}
        gflops = speeds.get(str(chosen["threads"])) or _time(torch.device("cpu"), 1024)
        return {"device": "cpu", "gflops": gflops, "threads": chosen["threads"]}
    return {
        "device": "cuda",
        "name": torch.cuda.get_device_name(),
        "gflops": _time(torch.device("cuda"), _SIZE),
    }


def _time(device: Any, size: int) -> float:
    import torch

    half = device.type == "cuda" and torch.cuda.is_bf16_supported()
    kind = torch.bfloat16 if half else torch.float32
    data, weight = (torch.randn(size, size, device=device, dtype=kind) for _each in range(2))
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    with torch.no_grad():
        torch.nn.functional.linear(data, weight)
        wait()
        started = time.perf_counter()
        for _each in range(_TRIES):
            torch.nn.functional.linear(data, weight)
        wait()
    return round(_TRIES * 2 * size**3 / (time.perf_counter() - started) / 1e9, 1)
