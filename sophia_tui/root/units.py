"""systemctl as root: what a unit's state is, and restarting one until it stays up. No shell."""

import subprocess
import time
from collections.abc import Sequence

from sophia_tui.domain.managed import UnitState
from sophia_tui.errors import UnavailableError
from sophia_tui.i18n import _

SYSTEMCTL = "/usr/bin/systemctl"
#: How long systemd may take to restart a unit, and how long it must stay active to count as up.
RESTART_SECONDS = 90.0
SETTLE_SECONDS = 2.0
LOOK_SECONDS = 0.1
_SHOWN = ("LoadState", "ActiveState", "SubState", "Result", "InvocationID")
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class Units:
    """Asks systemd by systemctl."""

    def __init__(self, systemctl: str = SYSTEMCTL, settle: float = SETTLE_SECONDS) -> None:
        self._systemctl = systemctl
        self._settle = settle

    def status(self, unit: str) -> UnitState:
        """What systemd says now. Raises UnavailableError P066."""
        return _state(unit, self._show(unit))

    def restart(self, unit: str) -> UnitState:
        """Restart it and watch it for a while; a unit that does not stay up is not healthy.

        Raises UnavailableError P066 where systemctl itself fails.
        """
        # a unit that failed often is started all the same: this is a new content
        self._call("reset-failed", unit)
        self._call("restart", unit)
        deadline = time.monotonic() + RESTART_SECONDS
        since, invocation = time.monotonic(), ""
        while True:
            shown = self._show(unit)
            state = _state(unit, shown)
            if shown["InvocationID"] != invocation or shown["ActiveState"] != "active":
                since, invocation = time.monotonic(), shown["InvocationID"]
            elif time.monotonic() - since >= self._settle:
                return state
            waits = shown["ActiveState"] in ("active", "activating", "deactivating", "reloading")
            again = shown["SubState"] == "auto-restart"
            if not waits or again or time.monotonic() > deadline:
                return UnitState(unit, state.state, state.detail, healthy=False)
            time.sleep(LOOK_SECONDS)

    def _show(self, unit: str) -> dict[str, str]:
        told = self._call("show", f"--property={','.join(_SHOWN)}", unit)
        found = dict(line.split("=", 1) for line in told.splitlines() if "=" in line)
        return {key: found.get(key, "") for key in _SHOWN}

    def _call(self, verb: str, *words: str) -> str:
        *options, unit = words
        command: Sequence[str] = (self._systemctl, "--no-ask-password", verb, *options, "--", unit)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=RESTART_SECONDS,
                env=_ENVIRONMENT,
                cwd="/",
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise UnavailableError(
                "P066",
                _("systemd could not be asked about {unit}.").format(unit=unit),
                type(problem).__name__,
                _("See `systemctl status {unit}`.").format(unit=unit),
            ) from problem
        return done.stdout.decode("utf-8", "replace")[:65536]


def _state(unit: str, shown: dict[str, str]) -> UnitState:
    active = shown["ActiveState"]
    detail = ", ".join(
        each for each in (shown["LoadState"], shown["SubState"], shown["Result"]) if each
    )
    return UnitState(unit, active, detail, healthy=active == "active")
