"""What set-up knows of a machine: plain facts, who finds them out, and who runs a step of the
installer. Nothing here reads anything."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sophia_tui.domain.context import CancelSignal

#: The units that a server has, apart from the templates.
UNITS = ("sophia-api.service", "sophia-worker.service", "sophia-helper.socket")


@dataclass(frozen=True)
class Volume:
    """Bytes and inodes of the file system that `path` is on; no inodes are counted: 0."""

    path: Path
    total: int
    free: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True)
class Memory:
    """Bytes; of this container where it is held to less than the machine."""

    total: int
    available: int
    swap: int
    swap_free: int


@dataclass(frozen=True)
class Gpu:
    """`memory` in bytes, 0 where it is not known."""

    name: str
    driver: str
    memory: int = 0


@dataclass(frozen=True)
class Gpus:
    """`trouble`: a device or a driver is there, and can't be used."""

    found: tuple[Gpu, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Listener:
    """A TCP socket that waits for connections; `address` is 0.0.0.0 or :: for every way in. `user`
    is the account that it belongs to."""

    address: str
    port: int
    user: str


@dataclass(frozen=True)
class Firewall:
    """UFW. `enabled` is what its configuration says, `incoming` the policy for what no rule names.
    `rules` None: this account may not read them."""

    installed: bool
    enabled: bool | None = None
    incoming: str = ""
    rules: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Unit:
    """One unit of systemd in its own words; `loaded` False: there is none of that name."""

    name: str
    loaded: bool
    active: str
    sub: str
    enabled: str = ""
    restarts: int = 0


@dataclass(frozen=True)
class Synchronised:
    """`clock` None: nobody here knows. `by` is who said so."""

    clock: bool | None
    by: str


@dataclass(frozen=True)
class KeyAnswer:
    """What a provider said to a key: `accepted`, `refused`, `limited`, `unreachable`, or `strange`
    where it speaks another protocol; `why` is for people and holds no key."""

    state: str
    address: str
    why: str = ""
    milliseconds: float = 0.0


class Machine(Protocol):
    """What this machine is like now. Its methods read, and change nothing; those that are not
    async may take as long as a file system does."""

    @property
    def installed(self) -> bool:
        """Whether this program is a release that the installer set up as a server."""

    def volume(self, path: Path) -> Volume:
        """Of `path`, or of the folder that it will be made in. Raises OSError."""

    def memory(self) -> Memory:
        """Raises OSError, ValueError."""

    async def gpus(self) -> Gpus: ...

    def listeners(self) -> list[Listener]:
        """Those that are not only on loopback. Raises OSError."""

    def ssh_ports(self) -> frozenset[int]:
        """The ports that sshd's configuration or the present session names."""

    def firewall(self) -> Firewall: ...

    async def units(self, names: Sequence[str]) -> list[Unit] | None:
        """None where systemd does not run."""

    async def clock(self) -> Synchronised: ...

    def versions(self) -> Mapping[str, tuple[str, str]]:
        """Installed packages whose version is not the lock's: (installed, the lock's). Raises
        FileNotFoundError where there is no lock."""


class KeyProber(Protocol):
    """Asks an OpenAI-compatible service for its models, with a key."""

    async def __call__(self, base_url: str | None, api_key: str, seconds: float) -> KeyAnswer: ...


@dataclass(frozen=True)
class StepEnd:
    """How a step ended: `changed`, `unchanged` or `failed`, with its exit code, and where its
    output is to be read afterwards."""

    outcome: str
    code: int
    log: str


class StepRunner(Protocol):
    """Runs one step of the installed release as root, or as a unit that may."""

    def hindrance(self, step: str) -> str:
        """Why no step can be run from here; empty where one can."""

    def command(self, step: str) -> str:
        """What a person types for the same."""

    async def run(self, step: str, tell: Callable[[str], None], cancel: CancelSignal) -> StepEnd:
        """`tell` gets each line as the step writes it. The step goes on where `cancel` is
        requested or this process ends: only the looking stops. Raises CancelledError U499,
        UnavailableError S424."""
