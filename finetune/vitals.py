"""A run's signs of life and its ears: heartbeat file, control file, signals."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from finetune import schema
from finetune.failures import Stopped
from finetune.memory import available_bytes, kernel_kills, resident_bytes

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: What a process gets when torchrun is killed: once for each thread of it that dies, so that it may
#: not count as being asked a second time.
PARENT_GONE = signal.SIGUSR1


def pid_start_time(pid: int | str = "self") -> int:
    """Field 22 of /proc/PID/stat: with pid, host and boot id it names a process for good."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    # The command's name, field 2, may hold blanks and brackets; count from its last bracket.
    return int(stat.rpartition(")")[2].split()[19])


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Pulse:
    """Writes the heartbeat every 1.5 s from a daemon thread, until closed."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / schema.HEARTBEAT_FILE
        self._done = threading.Event()
        self._identity = (socket.gethostname(), boot_id(), os.getpid(), pid_start_time())
        self._failing = False
        self.step = 0
        self.beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """Write the heartbeat now; a disk that refuses it is logged once, the run goes on."""
        host, boot, pid, started = self._identity
        beat = schema.Heartbeat(
            at=schema.now(),
            host=host,
            boot_id=boot,
            pid=pid,
            pid_start_time=started,
            step=self.step,
            memory_bytes=resident_bytes(),
            available_bytes=available_bytes(),
            kernel_kills=kernel_kills(),
        )
        try:
            schema.write_document(self._path, beat, durable=False)
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("heartbeat not written: %s", error.strerror)
            self._failing = True

    def _run(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            self.beat()

    def close(self) -> None:
        """Stop beating, after a last beat."""
        self._done.set()
        self._thread.join()
        self.beat()


class SilentPulse(Pulse):
    """The pulse of a process beside the one that writes."""

    def __init__(self) -> None:
        self.step = 0

    def beat(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing was begun."""


class Ears:
    """Listens to control.json and to SIGTERM and SIGINT; the work asks between two batches."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / schema.CONTROL_FILE
        self._signal: str | None = None
        self._seen: tuple[int, int] | None = None
        self._asked = schema.Control()
        self._previous: dict[int, Any] = {}

    def listen(self) -> None:
        """Take the signals over; only possible in the main thread."""
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        self._previous[PARENT_GONE] = signal.signal(PARENT_GONE, self._on_parent_gone)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        # Whoever asks a second time means it, and the process ends at once.
        signal.signal(number, signal.SIG_DFL)

    def _on_parent_gone(self, _number: int, _frame: FrameType | None) -> None:
        self._signal = "the end of torchrun"

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def action(self) -> Literal["none", "pause", "stop"]:
        """What control.json asks for now; an unreadable one is logged and asks for nothing."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return "none"
        signature = (status.st_mtime_ns, status.st_ino)
        if signature != self._seen:
            self._seen = signature
            try:
                self._asked = schema.read_document(self._path, schema.Control)
            except schema.ContractError as error:
                log.warning("control file ignored: %s", error)
                self._asked = schema.Control()
        return self._asked.action

    def requested(self) -> Stopped | None:
        """How the run is to end, or None to go on."""
        action = self.action()
        why = self._asked.reason or "asked by the control file"
        if action == "stop":
            return Stopped("cancelled", why)
        if action == "pause":
            return Stopped("paused", why)
        if self._signal:
            return Stopped("paused", f"received {self._signal}")
        return None

    def check(self) -> None:
        """Raise Stopped if the run is to end."""
        self.demand()

    def demand(self) -> None:
        """Raise Stopped if the run is to end, whoever this is: for those who then agree on it."""
        stopped = self.requested()
        if stopped is not None:
            raise stopped

    def acknowledge(self, stopped: Stopped) -> None:
        """Put the control file back to none, unless it asks for something else by now."""
        honoured = "stop" if stopped.state == "cancelled" else "pause"
        if self.action() == honoured:
            schema.write_document(self._path, schema.Control(action="none"))


class BesideEars(Ears):
    """The ears of a process beside the first of a training: it ends only when all agree to."""

    def check(self) -> None:
        """Nothing: whoever left alone would let the others wait."""
