"""A program in a pseudo-terminal as a person sees it: what was sent, when it was painted, what it
costs to stand idle. Figures only; nothing here knows which program it is."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

COLUMNS, ROWS = 80, 24
#: A picture is painted when nothing has come for so long after it.
SILENCE_SECONDS = 0.15
PATIENCE_SECONDS = 30.0
#: What the reader of a terminal does not know and would show as text.
_PRIVATE = re.compile(
    rb"\x1b\[[<>=?][0-9;]*[a-zA-Z$]+|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1bP[^\x1b]*\x1b\\"
)
_READER = "pyte==0.8.2"
#: What a program asks its terminal about, and what ours answers: without, some wait for long.
ANSWERS = {
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",
    b"\x1b[?2048$p": b"\x1b[?2048;0$y",
    b"\x1b[c": b"\x1b[?62;c",
}
_TICKS = os.sysconf("SC_CLK_TCK")


def end_in_order() -> None:
    """SIGTERM ends this process as ^C does, so that nothing it has started is left behind."""
    signal.signal(signal.SIGTERM, lambda *_told: sys.exit(143))


def cache() -> Path:
    """Where programs that only benchmarks need are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "sophia-benchmarks"


def reader(columns: int, rows: int) -> Any:
    """A stream that keeps what a terminal shows (`listener.display`); installed on first use."""
    folder = cache() / _READER
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*command, _READER], check=True)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    pyte: Any = import_module("pyte")
    return pyte.ByteStream(pyte.Screen(columns, rows))


@dataclass(frozen=True)
class Seen:
    """Seconds from the key (or the start) until the last byte of the picture; its bytes; and what
    the terminal shows then."""

    seconds: float
    size: int
    text: str


class Window:
    """A process whose terminal is ours; what it sends is read with the time it came."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        columns: int = COLUMNS,
        rows: int = ROWS,
    ) -> None:
        self._reader = reader(columns, rows)
        self.started = time.perf_counter()
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(os.environ if environment is None else environment),
            start_new_session=True,
        )
        os.close(slave)

    def part(self, seconds: float) -> bytes:
        """What comes next within so many seconds; empty where nothing does. Raises EOFError."""
        ready, _write, _error = select.select([self.master], [], [], max(0.0, seconds))
        self.came = time.perf_counter()
        if not ready:
            return b""
        try:
            found = os.read(self.master, 65536)
        except OSError:
            found = b""
        if not found:
            raise EOFError(f"{self.process.args!r} ended; it shows\n{self.text.strip()}")
        for asked, answer in ANSWERS.items():
            if asked in found:
                os.write(self.master, answer)
        self._reader.feed(_PRIVATE.sub(b"", found))
        return found

    @property
    def text(self) -> str:
        """What the terminal shows."""
        return "\n".join(self._reader.listener.display)

    def until(
        self,
        words: Sequence[str] = (),
        since: float | None = None,
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> Seen:
        """Read until the words have come and then nothing for `silence` seconds (0: not waited
        for). Raises TimeoutError, which has what is shown."""
        begun = time.perf_counter() if since is None else since
        size, last = 0, begun
        end = time.perf_counter() + patience
        while True:
            text = self.text
            complete = size > 0 and all(word in text for word in words)
            if complete and silence == 0:
                break
            left = end - time.perf_counter()
            if complete and left <= 0:
                break  # something blinks: it is never silent
            found = self.part(silence if complete else left)
            if found:
                size, last = size + len(found), self.came
            elif complete:
                break
            else:
                missing = [word for word in words if word not in text]
                raise TimeoutError(f"{self.process.args!r}: {missing or 'nothing'} in\n{text}")
        return Seen(last - begun, size, text)

    def press(
        self,
        keys: str,
        words: Sequence[str] = (),
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> Seen:
        """Type, and wait for what it brings."""
        self.settle(min(silence, 0.05))  # what came before has had its silence
        begun = time.perf_counter()
        os.write(self.master, keys.encode())
        return self.until(words, begun, silence, patience)

    def settle(self, silence: float = SILENCE_SECONDS, patience: float = 5.0) -> None:
        """Throw away what still comes, until nothing has for `silence` seconds."""
        end = time.perf_counter() + patience
        while time.perf_counter() < end and self.part(silence):
            pass

    def idle(self, seconds: float) -> int:
        """The bytes that come by themselves in so many seconds."""
        end, size = time.perf_counter() + seconds, 0
        while (left := end - time.perf_counter()) > 0:
            size += len(self.part(left))
        return size

    def cpu(self) -> float:
        """Seconds of processor that it and all below it have used."""
        return sum(map(cpu_of, tree(self.process.pid)))

    def megabytes(self) -> tuple[float, float]:
        """Resident and proportional memory of it and all below it."""
        return _memory(tree(self.process.pid))

    def close(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, 15)
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.master)


def tree(pid: int) -> list[int]:
    """A process and all below it, as far as they still live."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_of(pid: int) -> float:
    """User and system seconds of a process, those of its ended children included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _memory(pids: Sequence[int]) -> tuple[float, float]:
    sums = {"Rss": 0, "Pss": 0}
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _sign, value = line.partition(":")
                if name in sums:
                    sums[name] += int(value.split()[0])
    return sums["Rss"] / 1024, sums["Pss"] / 1024
