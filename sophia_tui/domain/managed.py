"""Managed env files of other services, as root declared them, and the helper that may touch them.

Standard library alone: the root helper loads it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

#: What the services beside Sophia read, and her own env file may hold as well.
MODEL_KEYS = ("GEN_MODEL", "EXPANSION_MODEL")
#: systemd.unit(5): the name's letters, an instance behind @, a kind; templates can't be restarted.
_UNIT = re.compile(
    r"(?![-.@])[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\-]+)?\.(?:service|target|socket|timer|path)"
)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def is_unit(name: str) -> bool:
    """Whether it is a unit's name that systemd takes."""
    return len(name) <= 255 and _UNIT.fullmatch(name) is not None


def is_elsewhere(name: str) -> bool:
    """Whether it names a unit of another host: HOST:UNIT."""
    host, _sign, unit = name.partition(":")
    return _HOST.fullmatch(host) is not None and is_unit(unit)


@dataclass(frozen=True)
class ManagedFile:
    """One env file that root declared, or Sophia's own.

    `words` say to people what it is. `restart` are the units that read it and restart when it
    changes, `read_by` units that read it and are left alone, `elsewhere` units of other hosts
    (HOST:UNIT) that read a copy of it, which people restart. `owner` is the account, beside root,
    whose file and folders it may be. `keys` are patterns (`*_MODEL`) of the keys that may change;
    none: every key but those that load code. `refused` says why the helper leaves it alone.
    """

    path: str
    words: str = ""
    restart: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()
    writable: bool = False
    owner: str | None = None
    keys: tuple[str, ...] = ()
    own: bool = False
    refused: str | None = None
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """What the helper may touch. `problem` says why managed.conf counts for nothing."""

    files: tuple[ManagedFile, ...] = ()
    problem: str | None = None

    def get(self, path: str) -> ManagedFile | None:
        return next((each for each in self.files if each.path == path), None)


@dataclass(frozen=True)
class FileText:
    """A file as it was read; `sha256` of its bytes."""

    content: str
    sha256: str


@dataclass(frozen=True)
class UnitState:
    """What systemd says of a unit. `healthy`: it is active, and stayed so."""

    unit: str
    state: str
    detail: str
    healthy: bool


class RootHelper(Protocol):
    """Reads and replaces declared env files and restarts declared units, with root's rights."""

    async def declared(self) -> Declared:
        """What it may touch; nothing where this machine has no helper, or none that answers us."""

    async def read(self, path: str) -> FileText:
        """A declared file's text. Raises RefusedError P052, P055."""

    async def replace(self, path: str, expected: str, content: str) -> FileText:
        """Replace a declared file whose sha256 is `expected`. Raises RefusedError P052, P054, P055,
        P057, ConflictError P056, P060, UsageError S440; the file is as it was then."""

    async def restart(self, unit: str) -> UnitState:
        """Restart a declared unit and see that it stays active. Raises RefusedError P053,
        UnavailableError P066."""

    async def status(self, units: Sequence[str]) -> tuple[UnitState, ...]:
        """What systemd says of declared units."""
