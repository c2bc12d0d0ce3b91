"""Sophia's services as systemd sees them, and who may restart them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

#: The services of a server, by the order in which people look at them.
SERVICE_UNITS = ("sophia-api.service", "sophia-worker.service")
#: What is looked at besides; it is brought back by the set-up.
HELPER_UNIT = "sophia-helper.socket"


@dataclass(frozen=True)
class ServiceState:
    """One unit. `active` and `sub` are systemd's words (active, failed; running, auto-restart);
    `since` is when it came into this state, `restarts` how often systemd brought it back."""

    unit: str
    loaded: bool
    active: str
    sub: str
    result: str
    enabled: str
    since: datetime | None = None
    restarts: int = 0
    memory_bytes: int | None = None


class Services(Protocol):
    """systemd on this machine."""

    def hindrance(self) -> str | None:
        """Why Sophia has no services here, in words for people; None where it has."""

    async def states(self, units: Sequence[str]) -> tuple[ServiceState, ...]:
        """What systemd says of them now, in that order. Raises UnavailableError S386."""

    async def last_lines(self, unit: str, count: int) -> tuple[str, ...]:
        """The newest lines of its journal, as they are; none where we may not read it."""

    async def restart(self, unit: str) -> None:
        """Restart it with root's rights, our own or the root helper's. Raises RefusedError,
        UnavailableError."""


class Restarter(Protocol):
    """The part of the root helper that restarts a declared unit."""

    async def restart(self, unit: str) -> object: ...
