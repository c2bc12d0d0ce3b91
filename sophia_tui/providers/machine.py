"""This machine as runs see it: its name, its boot, and whether a process is still the same one.

Light on purpose (standard library and domain): services ask it when they show a job.
"""

import os
import signal as signals
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.domain.jobs import RunIdentity

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DEAD = frozenset("ZXx")


def read_boot_id() -> str:
    """The kernel's id of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def read_host() -> str:
    return socket.gethostname()


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (clock ticks since boot); None for no process, or a dead one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command's name, field 2, may hold blanks and brackets: count from its last bracket
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _DEAD else int(fields[19])


@dataclass(frozen=True)
class ThisMachine:
    """The machine we run on; tests give it another name or another boot."""

    host: str
    boot_id: Callable[[], str] = read_boot_id

    @classmethod
    def here(cls) -> "ThisMachine":
        return cls(read_host())

    def identity(self, pid: int, process_started: int) -> RunIdentity:
        return RunIdentity(self.host, self.boot_id(), pid, process_started)

    def same_boot(self, identity: RunIdentity) -> bool:
        return identity.host == self.host and identity.boot_id == self.boot_id()

    def alive(self, identity: RunIdentity) -> bool:
        """Whether exactly that process lives, here and since the same boot."""
        return self.same_boot(identity) and start_time(identity.pid) == identity.process_started

    def signal(self, identity: RunIdentity, signal_number: int) -> bool:
        """Send a signal; False where the process is gone. The pidfd holds against a reused pid."""
        try:
            handle = os.pidfd_open(identity.pid)
        except OSError:
            return False
        try:
            if not self.alive(identity):
                return False
            signals.pidfd_send_signal(handle, signal_number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True
