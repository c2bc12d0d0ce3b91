"""Runs and engines as units of the system's systemd, from fixed templates that the set-up wrote.

A process group does not survive the restart of the worker's own unit; a unit does. The account may
start exactly these templates (a polkit rule), and what to run stands in a file of its own: the
right to start any unit would be the right to be root.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sophia_tui.errors import JobError, SetupError
from sophia_tui.files import write_whole
from sophia_tui.i18n import _
from sophia_tui.paths import Paths, data_folder
from sophia_tui.providers.machine import start_time
from sophia_tui.providers.run_unit import PROBLEM_SUFFIX

#: In the environment: the template by which runs are started here, without `@.service`. The set-up
#: of a server sets it in its units and in the command `sophia`.
RUN_UNIT = "SOPHIA_RUN_UNIT"
#: Engines answer for production: their template has the weight that everything else has.
ENGINE_UNIT = "sophia-engine"
_SECONDS = 30.0  # until systemd must have answered
_STRANGE = re.compile(r"[^A-Za-z0-9:_.-]")
#: What systemd puts into a service's environment, about that service alone.
_SYSTEMDS = (
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)


def run_template(environment: Mapping[str, str], background: bool = True) -> str | None:
    """The template that starts runs (`background`) or engines here; None where there is none."""
    named = environment.get(RUN_UNIT, "").strip()
    if not named:
        return None
    return named if background else ENGINE_UNIT


async def start_in_unit(
    template: str,
    command: Sequence[str],
    label: str,
    log: Path,
    environment: Mapping[str, str],
) -> tuple[int, int]:
    """Start `command` as an instance of the template; its pid and start time, once it has begun.

    Raises JobError J502 with systemd's reason.
    """
    paths = Paths(data_folder())
    instance = f"{_STRANGE.sub('_', label)[:120]}-{os.getpid()}-{os.urandom(3).hex()}"
    unit = f"{template}@{instance}.service"
    spec = paths.run_units / f"{instance}.json"
    problem = spec.with_name(spec.name + PROBLEM_SUFFIX)
    known = {key: value for key, value in environment.items() if key not in _SYSTEMDS}
    content = {"command": list(command), "log": str(log), "environment": known}
    try:
        paths.run_units.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(spec, json.dumps(content).encode())
    except OSError as refused:
        raise not_started(unit, refused.strerror or type(refused).__name__) from refused
    except SetupError as full:
        raise not_started(unit, full.why) from full
    try:
        status, said = await ask_systemctl("start", "--no-ask-password", unit)
        if status:
            raise not_started(unit, _why(problem, said))
    finally:
        spec.unlink(missing_ok=True)
        problem.unlink(missing_ok=True)
    _status, said = await ask_systemctl("show", "--property=MainPID", "--value", unit)
    pid = int(said.strip()) if said.strip().isdecimal() else 0
    # a run that has ended already keeps an identity that no living process has
    return pid, (start_time(pid) or 0) if pid else 0


def _why(problem: Path, said: str) -> str:
    """The run's own word on why it could not begin, and what systemd said."""
    own = ""
    with contextlib.suppress(OSError):
        own = problem.read_text(encoding="utf-8", errors="replace").strip()
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(filter(None, [own, lines[0] if lines else ""])) or "systemctl"


def not_started(unit: str, why: str) -> JobError:
    return JobError(
        "J502",
        _("The run could not be started."),
        why,
        _(
            "`systemctl status {unit}` and `journalctl --unit {unit}` say more; check free memory "
            "and disk space, and run the installer again where its units are missing."
        ).format(unit=unit),
    )


async def ask_systemctl(*words: str) -> tuple[int, str]:
    """Run systemctl; its exit status, and what it said. It is never waited for without an end."""
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl",
            "--no-pager",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as missing:
        return 127, f"systemctl: {missing.strerror}"
    try:
        said, _nothing = await asyncio.wait_for(process.communicate(), _SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 124, _("systemd did not answer in time.")
    return process.returncode or 0, said.decode(errors="replace")
