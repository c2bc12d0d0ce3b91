"""systemd on this machine: what Sophia's services do, and restarting one of them."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sophia_tui.domain.units import SERVICE_UNITS, Restarter, ServiceState
from sophia_tui.errors import OutsideError
from sophia_tui.i18n import _
from sophia_tui.providers.units import ask_systemctl

#: Only where systemd is the first process; sd_booted(3).
BOOTED = Path("/run/systemd/system")
UNIT_FOLDER = Path("/etc/systemd/system")
_SHOWN = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "StateChangeTimestamp",
    "NRestarts",
    "MemoryCurrent",
)
_SECONDS = 20.0
#: What systemd says for a figure that it does not count.
_NOT_COUNTED = frozenset({"", "[not set]", "infinity", str(2**64 - 1)})


class LocalServices:
    """Implements domain.units.Services."""

    def __init__(
        self, helper: Restarter, booted: Path = BOOTED, unit_folder: Path = UNIT_FOLDER
    ) -> None:
        self._helper = helper
        self._booted = booted
        self._unit_folder = unit_folder

    def hindrance(self) -> str | None:
        if not self._booted.is_dir() or not shutil.which("systemctl"):
            return _("systemd does not run on this machine.")
        if not any((self._unit_folder / each).exists() for each in SERVICE_UNITS):
            return _("Sophia is not set up as a server on this machine.")
        return None

    async def states(self, units: Sequence[str]) -> tuple[ServiceState, ...]:
        status, said = await ask_systemctl(
            "show", "--timestamp=unix", f"--property={','.join(_SHOWN)}", *units
        )
        if status:
            raise OutsideError(
                "S386",
                _("systemd could not be asked about Sophia's services."),
                said.strip()[:200],
                _("See `systemctl status {unit}`.").format(unit=units[0]),
            )
        found = {each["Id"]: _state(each) for each in _blocks(said) if "Id" in each}
        return tuple(
            found.get(unit) or ServiceState(unit, False, "unknown", "", "", "") for unit in units
        )

    async def last_lines(self, unit: str, count: int) -> tuple[str, ...]:
        command = ("journalctl", "--no-pager", "--quiet", "--output=json", f"--lines={count}")
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--unit={unit}",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            return ()
        try:
            said, _nothing = await asyncio.wait_for(process.communicate(), _SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
            return ()
        return tuple(filter(None, map(_message, said.splitlines())))

    async def restart(self, unit: str) -> None:
        if os.geteuid():
            await self._helper.restart(unit)
            return
        await ask_systemctl(
            "reset-failed", unit
        )  # one that failed too often is started all the same
        status, said = await ask_systemctl("restart", "--no-ask-password", unit)
        if status:
            raise OutsideError(
                "S388",
                _("{unit} could not be restarted.").format(unit=unit),
                said.strip()[:200],
                _("See `journalctl --unit {unit}`.").format(unit=unit),
            )


def _blocks(said: str) -> list[dict[str, str]]:
    """The properties of each unit; systemctl puts an empty line between two."""
    blocks = [block.splitlines() for block in said.split("\n\n")]
    return [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]


def _state(told: Mapping[str, str]) -> ServiceState:
    since, restarts = told.get("StateChangeTimestamp", ""), told.get("NRestarts", "")
    return ServiceState(
        unit=told["Id"],
        loaded=told.get("LoadState") == "loaded",
        active=told.get("ActiveState", ""),
        sub=told.get("SubState", ""),
        result=told.get("Result", ""),
        enabled=told.get("UnitFileState", ""),
        since=_moment(since),
        restarts=int(restarts) if restarts.isdecimal() else 0,
        memory_bytes=_bytes(told.get("MemoryCurrent", "")),
    )


def _moment(text: str) -> datetime | None:
    seconds = text.removeprefix("@")
    return (
        datetime.fromtimestamp(int(seconds), UTC)
        if seconds.isdecimal() and seconds != "0"
        else None
    )


def _bytes(text: str) -> int | None:
    return int(text) if text not in _NOT_COUNTED and text.isdecimal() else None


def _message(line: bytes) -> str:
    """The text of one entry; journald gives what is no text as a list of bytes."""
    try:
        said = json.loads(line).get("MESSAGE")
    except ValueError:
        return ""
    if isinstance(said, list):
        return bytes(each for each in said if isinstance(each, int)).decode("utf-8", "replace")
    return said if isinstance(said, str) else ""
