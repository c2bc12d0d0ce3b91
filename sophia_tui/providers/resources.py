"""What this machine has left, and what a run takes of it. Linux: /proc, cgroups, nvidia-smi."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_GPU_SECONDS = 20.0
_ANONYMOUS = ("RssAnon", "RssShmem")


def free_disk(folder: Path) -> int:
    """Bytes that are free for us where `folder` is, or will be. Raises OSError."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _memory_information() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) << 10 for name, value in pairs}


def _group_limit() -> tuple[int, int] | None:
    """The container's memory limit and what is taken of it, without what could be given back."""
    with contextlib.suppress(OSError, ValueError):
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            taken = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
            stat = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
            given_back = sum(
                int(line.split()[1]) for line in stat if line.startswith("inactive_file ")
            )
            return int(limit), taken - given_back
    return None


def all_memory() -> int:
    """Bytes of memory of this machine, or of this container where it is held to less."""
    total, group = _memory_information()["MemTotal"], _group_limit()
    return total if group is None else min(total, group[0])


def available_memory() -> int:
    """Bytes that programs can still have without others being pushed out."""
    free, group = _memory_information()["MemAvailable"], _group_limit()
    return free if group is None else min(free, max(0, group[0] - group[1]))


def swap() -> tuple[int, int]:
    """Bytes of swap, and how many of them are free."""
    found = _memory_information()
    return found.get("SwapTotal", 0), found.get("SwapFree", 0)


def kernel_kills() -> int | None:
    """Processes that the kernel has ended for want of memory since the boot; None where it does not
    count them. A run notes the same number in its heartbeat."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, count = line.split()
            if name == "oom_kill":
                return int(count)
    return None


def memory_of(pid: int) -> int:
    """Bytes of its own that a process and its children hold; files of a base that is only read
    from the page cache don't count. 0 where it is gone."""
    total, waiting = 0, [pid]
    while waiting:
        each = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            lines = Path(f"/proc/{each}/status").read_text(encoding="utf-8").splitlines()
            total += sum(
                int(line.split()[1]) << 10 for line in lines if line.startswith(_ANONYMOUS)
            )
            for task in os.listdir(f"/proc/{each}/task"):
                children = Path(f"/proc/{each}/task/{task}/children")
                waiting += [int(word) for word in children.read_text(encoding="ascii").split()]
    return total


def work_of(pid: int) -> int | None:
    """Clock ticks that a process has computed so far; None where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def find_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs that runs may have, as CUDA_VISIBLE_DEVICES names them; it limits them, too."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(each.strip() for each in named.split(",") if each.strip(" -1"))
    if not shutil.which("nvidia-smi", path=environment.get("PATH")):
        return ()
    process = await asyncio.create_subprocess_exec(
        "nvidia-smi",
        "--query-gpu=index",
        "--format=csv,noheader",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=dict(environment),
    )
    try:
        said, _nothing = await asyncio.wait_for(process.communicate(), _GPU_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ()
    return tuple(line.strip() for line in said.decode().splitlines() if line.strip().isdecimal())
