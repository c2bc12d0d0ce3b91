"""The machine itself: room on its disks, memory, GPUs, clock."""

from pathlib import Path

from sophia_tui.domain.setup import Machine, Volume
from sophia_tui.i18n import N_, _, number
from sophia_tui.services.checks.running import Check, Found, aside
from sophia_tui.services.disk_use import shown_size

_GB = 1_000_000_000
#: Below these free bytes a file system wants attention, or is a problem.
_DATA = (5 * _GB, 1 * _GB)
_VAR = (2 * _GB, _GB // 2)
#: Below these shares of free inodes, likewise.
_INODES = (0.10, 0.02)
_MEMORY = (1 * _GB, _GB // 4)
_VAR_FOLDER = Path("/var")


class MachineChecks:
    def __init__(self, machine: Machine, data: Path) -> None:
        self._machine = machine
        self._data = data

    def all(self) -> list[Check]:
        return [
            Check("disk", N_("Free disk space"), self._disk),
            Check("disk_var", N_("Free space on /var"), self._var),
            Check("inodes", N_("Free inodes"), self._inodes),
            Check("memory", N_("Memory"), self._memory),
            Check("swap", N_("Swap"), self._swap),
            Check("gpu", N_("GPU and driver"), self._gpu, 25.0),
            Check("clock", N_("Clock"), self._clock),
        ]

    async def _disk(self) -> Found:
        volume = await aside(lambda: self._machine.volume(self._data))
        return _room(volume, _DATA)

    async def _var(self) -> Found:
        return _room(await aside(lambda: self._machine.volume(_VAR_FOLDER)), _VAR)

    async def _inodes(self) -> Found:
        lines, shares = [], []
        for path in (self._data, _VAR_FOLDER):
            volume = await aside(lambda path=path: self._machine.volume(path))  # type: ignore[misc]
            if volume.inodes:
                shares.append(volume.inodes_free / volume.inodes)
                lines.append(
                    _("{path}: {free} % free").format(
                        path=volume.path, free=number(100 * shares[-1])
                    )
                )
        if not shares:
            return Found("ok", _("this file system counts none"))
        least = min(shares)
        state = _level(least, _INODES)
        remedy = _("Remove small files that nobody needs: old logs, caches, mail.")
        told = _("{free} % free").format(free=number(100 * least))
        return Found(state, told, tuple(lines), "" if state == "ok" else remedy)

    async def _memory(self) -> Found:
        memory = self._machine.memory()
        state = _level(memory.available, _MEMORY)
        share = round(10 * memory.available / memory.total) * 10  # coarse: it changes all the time
        told = _("about {free} % of {total} free").format(
            free=number(share), total=shown_size(memory.total)
        )
        remedy = _("End what is not needed, or give this machine more memory.")
        return Found(state, told, remedy="" if state == "ok" else remedy)

    async def _swap(self) -> Found:
        memory = self._machine.memory()
        if not memory.swap:
            return Found("ok", _("none"))
        told = _("{free} of {total} free").format(
            free=shown_size(memory.swap_free), total=shown_size(memory.swap)
        )
        full = memory.swap_free < memory.swap // 10
        remedy = _("Swap is nearly full: the machine has too little memory for what runs.")
        return Found("attention" if full else "ok", told, remedy=remedy if full else "")

    async def _gpu(self) -> Found:
        gpus = await self._machine.gpus()
        if gpus.trouble:
            remedy = _("Install the driver that fits the kernel; trainings use the CPU until then.")
            return Found("attention", gpus.trouble, remedy=remedy)
        if not gpus.found:
            return Found("ok", _("none; trainings use the CPU"))
        lines = tuple(
            f"{each.name}, {_('driver')} {each.driver}"
            + (f", {shown_size(each.memory)}" if each.memory else "")
            for each in gpus.found
        )
        return Found("ok", ", ".join(each.name for each in gpus.found), lines)

    async def _clock(self) -> Found:
        told = await self._machine.clock()
        by = (_("Asked: {who}").format(who=told.by),) if told.by else ()
        if told.clock is None:
            return Found("unknown", _("nobody here knows whether it is right"), by)
        if told.clock:
            return Found("ok", _("synchronised"), by)
        remedy = _("Switch it on: `sudo timedatectl set-ntp true`.")
        return Found("attention", _("not synchronised"), by, remedy)


def _level(value: float, bounds: tuple[float, float]) -> str:
    attention, problem = bounds
    return "problem" if value < problem else "attention" if value < attention else "ok"


def _room(volume: Volume, bounds: tuple[int, int]) -> Found:
    state = _level(volume.free, bounds)
    told = f"{_coarse(volume.free)} GB"
    whole = _("{path}: {free} GB of {total} free").format(
        path=volume.path, free=_coarse(volume.free), total=shown_size(volume.total)
    )
    remedy = _("Free space under {path}.").format(path=volume.path)
    if state == "ok":
        return Found(state, told, (whole,))
    return Found(state, told, (whole,), remedy, "sophia setup prune")


def _coarse(count: int) -> str:
    """Gigabytes with two digits, so that it changes seldom."""
    value = count / _GB
    return number(float(f"{value:.2g}"), 1 if value < 10 else 0)
