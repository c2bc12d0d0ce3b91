"""A program in a pseudo-terminal as a person sees it: what was sent, when it was painted, what it
costs to stand idle. Figures only; nothing here knows which program it is."""

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COLUMNS, ROWS = 80, 24
#: A picture is painted when nothing has come for so long after it.
SILENCE_SECONDS = 0.15
PATIENCE_SECONDS = 30.0
CONTROL = re.compile(
    rb"\x1b\[[0-9;:?<>=$]*[ -/]*[@-~]|\x1b[()][A-B0-2]|\x1b[=>78]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"
    rb"|\x1bP[^\x1b]*\x1b\\"
)
#: What a program asks its terminal about, and what ours answers: without, some wait for long.
ANSWERS = {
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",
    b"\x1b[?2048$p": b"\x1b[?2048;0$y",
    b"\x1b[c": b"\x1b[?62;c",
}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """Seconds from the key (or the start) until the last byte of the picture; its bytes."""

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
        if not ready:
            return b""
        try:
            found = os.read(self.master, 65536)
        except OSError:
            found = b""
        if not found:
            raise EOFError(f"{self.process.args!r} ended")
        for asked, answer in ANSWERS.items():
            if asked in found:
                os.write(self.master, answer)
        return found

    def until(
        self,
        words: Sequence[str] = (),
        since: float | None = None,
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> Seen:
        """Read until the words have come and then nothing for `silence` seconds (0: not waited
        for). Raises TimeoutError, which has what came."""
        begun = time.perf_counter() if since is None else since
        seen, last, text = b"", begun, b""
        end = time.perf_counter() + patience
        while True:
            complete = bool(seen) and all(word.encode() in text for word in words)
            if complete and silence == 0:
                break
            left = end - time.perf_counter()
            if complete and left <= 0:
                break  # something blinks: it is never silent
            found = self.part(silence if complete else left)
            if found:
                seen, last = seen + found, time.perf_counter()
                text = CONTROL.sub(b"", seen)
            elif complete:
                break
            else:
                missing = [word for word in words if word.encode() not in text]
                raise TimeoutError(f"{self.process.args!r}: {missing or 'nothing'} in {text!r}")
        return Seen(last - begun, len(seen), text.decode(errors="replace"))

    def press(
        self,
        keys: str,
        words: Sequence[str] = (),
        silence: float = SILENCE_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> Seen:
        """Type, and wait for what it brings."""
        self.settle(silence)
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
