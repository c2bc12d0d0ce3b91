"""Lack of memory: how it shows itself, and what a training does about it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from finetune import schema

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "bad alloc")
#: A machine that had less left than this share of what the process held was short of memory.
LOW_SHARE = 0.15


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the GPU or in main memory."""
    if isinstance(error, MemoryError):
        return True
    # torch.cuda.OutOfMemoryError is a RuntimeError; so is what the CPU's allocator raises.
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


@dataclass(frozen=True)
class Smaller:
    """An answer to a lack of memory: the setting that changes, from what, to what."""

    setting: Literal["batch_size", "activation_checkpointing"]
    before: int | bool
    after: int | bool


def smaller(batch_size: int, checkpointing: bool) -> Smaller | None:
    """The next smaller way to do the same step; None where there is none."""
    if batch_size > 1:
        return Smaller("batch_size", batch_size, batch_size // 2)
    if not checkpointing:
        return Smaller("activation_checkpointing", False, True)
    return None


def resident_bytes() -> int:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def available_bytes() -> int:
    """Memory that this process could still get: of the machine, or what its cgroups leave."""
    left = _machine_left()
    for group, files in _own_cgroups():
        limit, used = _number(group / files.limit), _number(group / files.used)
        if limit is not None and used is not None:
            left = min(left, max(0, limit - used + _reclaimable(group)))
    return left


class _Files(NamedTuple):
    """What a cgroup's files are called."""

    limit: str
    used: str


_SECOND = _Files("memory.max", "memory.current")
_FIRST = _Files("memory.limit_in_bytes", "memory.usage_in_bytes")
_CGROUPS = Path("/sys/fs/cgroup")


def _own_cgroups() -> Iterator[tuple[Path, _Files]]:
    """The process's cgroups that may limit its memory, inner ones first, of both versions."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _number_of, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = _CGROUPS, _SECOND
        elif "memory" in controllers.split(","):
            root, files = _CGROUPS / "memory", _FIRST
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for part in (inner, *inner.parents):
            yield root / part, files


def _machine_left() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or the word `max`
        return None


def _reclaimable(group: Path) -> int:
    """Cached files that the kernel gives up before it ends a process."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    names = ("inactive_file ", "total_inactive_file ")
    return max((int(line.split()[1]) for line in lines if line.startswith(names)), default=0)


def gpu_peak_bytes(device: Any) -> int | None:
    """The most GPU memory that this process has held; None on a processor."""
    import torch

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def kernel_kills() -> int | None:
    """Processes that the kernel has ended for want of memory since the boot; None: unknown."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def vanished_for_memory(
    beat: schema.Heartbeat | None, last_state: str | None, kills: int | None, boot: str
) -> bool:
    """Whether the sitting before was probably ended by the kernel for want of memory.

    It was training and said no word of an end; and since its last sign of life the kernel has ended
    a process for want of memory, or there was little left then: less than LOW_SHARE of what it held
    itself. `kills` is the kernel's count now, `boot` the id of this boot.
    """
    if beat is None or last_state != "running":
        return False
    if beat.boot_id == boot and (kills or 0) > (beat.kernel_kills or 0):
        return True
    if beat.memory_bytes is None or beat.available_bytes is None:
        return False
    return beat.available_bytes < LOW_SHARE * beat.memory_bytes


class OutOfMemory(Exception):
    """Memory ran out in a step; everything is as it was before the step."""
