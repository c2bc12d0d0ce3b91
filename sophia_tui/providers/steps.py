"""Runs one step of the installed release: as root its installer itself, else the unit that systemd
lets the account start. Either goes on without who started it; what it writes is read line by line.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sophia_tui.domain.context import CancelSignal
from sophia_tui.domain.setup import StepEnd
from sophia_tui.errors import OutsideError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.providers.surroundings import PROGRAM, said
from sophia_tui.textsafe import visible

UNIT = "sophia-step@{step}.service"
INSTALL_LOG = "/var/log/sophia/install.log"
#: Steps whose question a person has answered here, by typing the name; its unit says so as well.
CONSENTED = frozenset({"firewall"})
#: What the installer says of a step that found everything right.
_UNCHANGED = ("unchanged", "sem mudanças")
_POLL_SECONDS = 0.4
_LATE_SECONDS = 0.8
#: What TimeoutStartSec of the units allows.
_LONGEST_RUN = 30 * 60
_LONGEST_LINE = 4000


@dataclass
class _Reading:
    """What was read so far: the outcome from the summary that the installer writes as JSON, and
    lines for people."""

    tell: Callable[[str], None]
    changed: bool | None = None
    texts: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        summary = _summary(line)
        if summary is not None:
            self.changed = bool(summary.get("changed"))
            return
        if line.strip() in _UNCHANGED:
            self.changed = False
        self.tell(visible(line)[:_LONGEST_LINE])

    def end(self, code: int, log: str) -> StepEnd:
        if code:
            return StepEnd("failed", code, log)
        return StepEnd("unchanged" if self.changed is False else "changed", 0, log)


def _summary(line: str) -> dict[str, Any] | None:
    if not line.startswith('{"result"'):
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict) and "changed" in found:
            return found
    return None


class InstalledSteps:
    """Implements domain.setup.StepRunner on a server that the installer set up. `program` is where
    releases lie, `systemctl` and `journalctl` the programs that are asked (others in tests)."""

    def __init__(
        self,
        program: Path = PROGRAM,
        root: bool | None = None,
        systemctl: str = "systemctl",
        journalctl: str = "journalctl",
    ) -> None:
        self._source = program / "current" / "src"
        self._root = os.geteuid() == 0 if root is None else root
        self._systemctl = systemctl
        self._journalctl = journalctl

    @property
    def _installer(self) -> Path:
        return self._source / "install_sophia_llm.sh"

    def hindrance(self, step: str) -> str:
        if not self._installer.is_file():
            return _("This is no server that the installer set up.")
        if not self._root and not shutil.which(self._systemctl):
            return _("systemd does not run here.")
        return ""

    def command(self, step: str) -> str:
        installer = self._installer if self._installer.is_file() else "./install_sophia_llm.sh"
        return f"sudo {installer} --step {step}"

    async def run(self, step: str, tell: Callable[[str], None], cancel: CancelSignal) -> StepEnd:
        reading = _Reading(tell)
        if self._root:
            return await self._as_root(step, reading, cancel)
        return await self._as_unit(step, reading, cancel)

    async def _as_root(self, step: str, reading: _Reading, cancel: CancelSignal) -> StepEnd:
        """A session of its own that writes into a file: it outlives us."""
        words = [str(self._installer), "--auto", "--json", "--step", step]
        if step in CONSENTED:
            words.append("--auto-assume-yes")
        handle, name = tempfile.mkstemp(prefix=f"sophia-step-{step}-", suffix=".log")
        try:
            process = _started(words, handle)
        except OSError as problem:
            Path(name).unlink(missing_ok=True)
            raise self._not_started(step, type(problem).__name__) from problem
        finally:
            os.close(handle)
        left = _("The step goes on; its output: {path}").format(path=name)
        place, rest = 0, b""
        while True:
            code = process.poll()
            with Path(name).open("rb") as output:  # noqa: ASYNC230 - a small file of this machine
                output.seek(place)
                fresh = output.read()
            place += len(fresh)
            rest = _told(rest + fresh, reading)
            if code is not None:
                break
            cancel.check(left)
            await asyncio.sleep(_POLL_SECONDS)
        _RUNNING.discard(process)
        if rest:
            reading.take(rest.decode("utf-8", errors="replace"))
        Path(name).unlink(missing_ok=True)  # the installer keeps a log of its own
        return reading.end(code, INSTALL_LOG)

    async def _as_unit(self, step: str, reading: _Reading, cancel: CancelSignal) -> StepEnd:
        unit = UNIT.format(step=step)
        before = await self._state(unit)
        running = before.get("ActiveState") == "activating"
        # one that runs already is followed from its beginning
        known = "" if running else before.get("InvocationID", "")
        begun = int(time.time()) - (_LONGEST_RUN if running else 0)
        try:
            process = await asyncio.create_subprocess_exec(
                self._systemctl,
                "start",
                "--no-ask-password",
                unit,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
        except OSError as problem:
            raise self._not_started(step, type(problem).__name__) from problem
        waiting = asyncio.ensure_future(process.communicate())
        log = f"journalctl -u {unit}"
        try:
            state = await self._follow(unit, known, begun, waiting, reading, cancel)
        finally:
            if process.returncode is None:  # only the looking ends: the unit goes on
                process.terminate()
                await waiting
        if process.returncode and state.get("InvocationID", "") in ("", known):
            told = waiting.result()[0].decode("utf-8", errors="replace")
            raise self._not_started(step, visible(told.strip())[:_LONGEST_LINE])
        return reading.end(_exit_code(state), log)

    async def _follow(
        self,
        unit: str,
        known: str,
        begun: int,
        waiting: "asyncio.Future[tuple[bytes, bytes]]",
        reading: _Reading,
        cancel: CancelSignal,
    ) -> dict[str, str]:
        """Read along until the unit has ended; what systemd says of it then."""
        left = _("The step goes on; its output: {path}").format(path=f"journalctl -u {unit}")
        cursor, ours, last_looks = "", "", 2
        while True:
            over = waiting.done()
            state = await self._state(unit)
            if state.get("InvocationID", "") not in ("", known):
                ours = state["InvocationID"]
            # a unit that ended well is forgotten at once, and its invocation with it
            if ours or over:
                cursor = await self._read(unit, ours, begun, cursor, reading)
            if over:
                last_looks -= 1  # journald writes a little after a unit has ended
                if not last_looks:
                    return state
                await asyncio.sleep(_LATE_SECONDS)
            else:
                cancel.check(left)
                await asyncio.wait({waiting}, timeout=_POLL_SECONDS)

    def _not_started(self, step: str, why: str) -> UnavailableError:
        return OutsideError(
            "S424",
            _("The step {step} could not be started.").format(step=step),
            why,
            _("Start it yourself: {command}").format(command=self.command(step)),
        )

    async def _state(self, unit: str) -> dict[str, str]:
        shown = "--property=ActiveState,Result,ExecMainStatus,InvocationID"
        _code, told = await said(self._systemctl, "show", shown, unit)
        return dict(line.partition("=")[::2] for line in told.splitlines() if "=" in line)

    async def _read(self, unit: str, ours: str, begun: int, cursor: str, reading: _Reading) -> str:
        """New lines of the journal; where they end."""
        # by the unit: what a process wrote just before its end has no invocation any more
        since = f"--after-cursor={cursor}" if cursor else f"--since=@{begun}"
        words = [since, "--no-pager", "--output=json", f"_SYSTEMD_UNIT={unit}"]
        _code, told = await said(self._journalctl, *words)
        for line in told.splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                cursor = str(entry.get("__CURSOR", cursor))
                if ours and entry.get("_SYSTEMD_INVOCATION_ID", ours) != ours:
                    continue  # a run that ended just before this one
                for part in _message(entry).split("\n"):
                    reading.take(part)
        return cursor


#: Steps that this process began: kept, since what is let go of while it runs is warned of.
_RUNNING: set["subprocess.Popen[bytes]"] = set()


def _started(words: list[str], output: int) -> "subprocess.Popen[bytes]":
    """In a session of its own, and no child of the event loop, which would kill it at its end."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    _RUNNING.add(process)
    return process


def _told(content: bytes, reading: _Reading) -> bytes:
    """Tell whole lines; what is left is the beginning of the next one."""
    *lines, rest = content.split(b"\n")
    for line in lines:
        reading.take(line.decode("utf-8", errors="replace").rstrip("\r"))
    return rest


def _message(entry: dict[str, Any]) -> str:
    """The text of an entry; one with bytes that are no text comes as a list of numbers."""
    found = entry.get("MESSAGE")
    if isinstance(found, list):
        return bytes(each & 0xFF for each in found if isinstance(each, int)).decode(
            "utf-8", errors="replace"
        )
    return str(found or "")


def _exit_code(state: dict[str, str]) -> int:
    code = state.get("ExecMainStatus", "0")
    if state.get("Result", "success") == "success":
        return 0
    return int(code) if code.isdecimal() and int(code) else 1
