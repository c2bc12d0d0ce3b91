"""Starts a worker as nobody's child, where none lives: for the embedded default."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sophia_tui.paths import Paths
from sophia_tui.providers import detach
from sophia_tui.providers.machine import read_host, start_time
from sophia_tui.providers.units import run_template
from sophia_tui.settings import find_env_file
from sophia_tui.worker.lock import is_held

COMMAND = (sys.executable, "-m", "sophia_tui.cli.main", "serve", "worker", "--background")
LOG_NAME = "worker.log"


def ensure_worker(
    paths: Paths,
    environment: Mapping[str, str],
    living: Sequence[Mapping[str, Any]] = (),
    command: Sequence[str] = COMMAND,
) -> bool:
    """Start a worker unless one serves this store; whether one was started.

    `living` are the store's living workers: one that was killed a moment ago still stands there,
    so those of this machine must have a process. Where runs are units of the system's, so is the
    worker: systemd alone starts it, and one of ours would keep the lock from it.

    Blocks for the few hundredths of a second that a fork needs. Raises OSError where nothing can
    be started. Two callers at once are harmless: the second worker finds the lock held and ends.
    """
    if run_template(environment) or is_held(paths) or any(_serves(each) for each in living):
        return False
    paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    given = dict(environment)
    given.setdefault("PATH", os.defpath)
    given["PYTHONSAFEPATH"] = "1"  # a folder `finetune` where we stand is data, never our program
    given["SOPHIA_DATA_DIR"] = str(paths.data)
    env_file = find_env_file(environment)
    if env_file is not None:  # the worker stands in /, where no .env would be found
        given["SOPHIA_ENV_FILE"] = str(env_file)
    else:  # what it does by the calendar concerns the folder of who woke it
        folder = Path(given.get("FINETUNE_DIR", "").strip() or "finetune").expanduser()
        given["FINETUNE_DIR"] = str(Path.cwd() / folder)
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            detach.__file__,
            "--log",
            str(paths.logs / LOG_NAME),
            "--",
            *command,
        ],
        env=given,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return True


def _serves(worker: Mapping[str, Any]) -> bool:
    return worker["host"] != read_host() or start_time(worker["pid"]) is not None
