"""The console in a real pseudo-terminal, in a process of its own: bytes on the wire, signals."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from sophia_tui.tui import keys
from tests.representatives import chosen

QUIET_SECONDS = 5.0


class Terminal:
    """A child process whose terminal is ours; `read` gives what it sent."""

    def __init__(
        self,
        arguments: list[str],
        columns: int = 80,
        rows: int = 24,
        environment: dict[str, str] | None = None,
        program: str = sys.executable,
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
        )
        os.close(slave)

    def read(self, seconds: float, until: bytes | None = None) -> bytes:
        """Everything sent within so many seconds, or until some bytes have come."""
        found = b""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _write, _error = select.select([self.master], [], [], left)
            if ready:
                try:
                    part = os.read(self.master, 65536)
                except OSError:  # the other side closed
                    break
                if not part:
                    break
                found += part
                if until is not None and until in found:
                    break
        return found

    def answer(self, keys: bytes, silence: float = 1.0) -> bytes:
        """Type; what comes then, until nothing has for so many seconds."""
        self.type(keys)
        found = self.read(20.0, until=b"\x1b")
        while part := self.read(silence):
            found += part
        return found

    def settle(self) -> None:
        """Wait until nothing has come for a second."""
        for _attempt in range(30):
            if not self.read(1.0):
                return
        raise AssertionError("the terminal never became quiet")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(["-m", "tests.tui.play", "full"])
    yield made
    made.close()


def test_idle_overview_sends_nothing(terminal: Terminal) -> None:
    terminal.read(20.0, until=b"in 54 days")
    terminal.settle()
    # two looks at the data and more lie in this time; nothing changed, so nothing is sent
    assert terminal.read(QUIET_SECONDS) == b""


@pytest.mark.parametrize(
    "key", chosen([each.key for each in keys.SCREENS[1:]], everyday=["4", "6"])
)
def test_every_other_screen_sends_nothing_while_nothing_changes(key: str) -> None:
    terminal = Terminal(["-m", "tests.tui.play", "whole"])
    try:
        terminal.read(20.0, until=b"in 54 days")
        terminal.settle()
        assert terminal.answer(key.encode())
        assert terminal.read(QUIET_SECONDS) == b""
    finally:
        terminal.close()


def test_ctrl_c_does_not_end_the_console_and_q_does(terminal: Terminal) -> None:
    terminal.read(20.0, until=b"in 54 days")
    terminal.settle()
    terminal.type(b"\x03")
    assert b"ctrl+c" in terminal.read(10.0, until=b"ctrl+c")
    assert terminal.process.poll() is None
    terminal.type(b"q")
    assert b"\x1b[?1049l" in terminal.read(10.0, until=b"\x1b[?1049l")
    assert terminal.process.wait(10) == 0


def test_changing_screens_costs_little(terminal: Terminal) -> None:
    terminal.read(20.0, until=b"in 54 days")
    terminal.settle()
    terminal.type(b"4")
    assert 0 < len(terminal.read(2.0)) < 14_000  # drawn for the first time, style sheet included
    terminal.type(b"1")
    terminal.read(1.0)
    terminal.type(b"4")
    assert 0 < len(terminal.read(1.0)) < 7_000


def test_hangup_ends_the_console_at_once(terminal: Terminal) -> None:
    terminal.read(20.0, until=b"in 54 days")
    os.killpg(terminal.process.pid, signal.SIGHUP)
    assert terminal.process.wait(10) != 0
