"""How much memory this machine has for a run: RAM within the limits of its control group, GPUs.

Light on purpose (standard library): a plan asks it, and no torch is loaded for that.
"""

import asyncio
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

_SECONDS = 5.0
_UNLIMITED = 1 << 60
_QUERY = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes that a device has, and that are free for one more program."""

    device: Literal["cpu", "cuda"]
    name: str
    total: int
    free: int


def main_memory(root: Path = Path("/")) -> DeviceMemory:
    """RAM as a program started here finds it: what is available, or what is left of the tightest
    limit of the control groups it would be in (version 1 or 2)."""
    said = dict(
        line.split(":", 1) for line in (root / "proc/meminfo").read_text("ascii").splitlines()
    )
    total, free = (int(said[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    for limit, used in _group_limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return DeviceMemory("cpu", "RAM", total, free)


def _group_limits(root: Path) -> list[tuple[int, int]]:
    """Limit and use in bytes of each control group of this process that has a limit."""
    found = []
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            top = root / "sys/fs/cgroup"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        place = top / path.strip("/")
        for folder in (place, *place.parents):
            limit = _bytes_in(folder / names[0])
            if limit is not None and limit < _UNLIMITED:
                used = _bytes_in(folder / names[1]) or 0
                found.append((limit, max(0, used - _cache_in(folder / "memory.stat", names[2]))))
            if folder == top:
                break
    return found


def _bytes_in(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdecimal() else None


def _cache_in(path: Path, key: str) -> int:
    """Bytes of files that the kernel gives up where memory is wanted."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


async def gpu_memory() -> list[DeviceMemory]:
    """The NVIDIA GPUs that a training here would use: none where torch was built without."""
    if shutil.which("nvidia-smi") is None or torch_is_for_processors():
        return []
    process = await asyncio.create_subprocess_exec(
        "nvidia-smi",
        *_QUERY,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _nothing = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return []
    return read_gpus(said.decode("utf-8", errors="replace")) if process.returncode == 0 else []


def read_gpus(text: str) -> list[DeviceMemory]:
    """nvidia-smi's answer to our query: a line for each GPU, memory in MiB."""
    found = []
    for line in text.splitlines():
        parts = [each.strip() for each in line.rsplit(",", 2)]
        if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
            total, free = (int(each) << 20 for each in parts[1:])
            found.append(DeviceMemory("cuda", parts[0], total, free))
    return found


def torch_is_for_processors() -> bool:
    """Whether torch is not there, or says in its version that it was built without GPUs."""
    try:
        return "+cpu" in version("torch")
    except PackageNotFoundError:
        return True
