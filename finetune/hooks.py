"""Programs of the operator's that judge the adapter of a moment: run, heard, never trusted."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from finetune import schema
from finetune.adapters import adapter_files
from finetune.failures import WorkFailure
from finetune.files import write_bytes
from finetune.runner import RunContext
from finetune.training import Trainer

FOLDER_PREFIX = ".hook-"
_SECRET = re.compile(r"TOKEN|SECRET|PASS|CREDENTIAL|(^|_)KEY($|_)|API_?KEY", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_POLL_SECONDS = 0.1
#: Bytes of a hook's output that are looked at, from the end.
_HEARD = 1 << 16


class _Useless(Exception):
    """The hook gave no scores; the message says why."""


@dataclass(frozen=True)
class HookLook:
    """One of the recipe's hooks. `needed` names the measure where early stopping hangs on it.

    `form` are the files that tell the prompt form beside the adapter.
    """

    context: RunContext
    hook: schema.Hook
    needed: str | None = None
    form: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def every(self) -> int | None:
        """Steps between two calls; None: each epoch."""
        return self.hook.every_steps

    def look(self, trainer: Trainer) -> dict[str, float]:
        """The hook's scores as NAME.SCORE; none, and a warning event, where it gives none.

        Raises WorkFailure 411 where early stopping needs a score that did not come; Stopped.
        """
        name = self.hook.name
        try:
            scores = self._scores(trainer)
            found = {f"{name}.{score}": value for score, value in scores.items()}
            if self.needed is not None and self.needed not in found:
                raise _Useless(f"it gave no score {self.needed.removeprefix(name + '.')}")
        except _Useless as problem:
            if self.needed is not None:
                raise WorkFailure(
                    411,
                    f"Early stopping hangs on {self.needed}, which the hook {name} did not give.",
                    f"At step {trainer.counters.step}: {problem}.",
                    "Correct the hook's command in the recipe (log.txt has what it said), or let "
                    "early stopping go by eval_loss; then start a new run.",
                ) from None
            self.context.journal.warning(
                f"hook {name}: {problem}; the training goes on without its scores",
                reason="hook_failed",
                hook=name,
                step=trainer.counters.step,
            )
            return {}
        return found

    def _scores(self, trainer: Trainer) -> dict[str, float]:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=self.context.folder))
        try:
            adapter = folder / schema.ADAPTER_FOLDER
            adapter.mkdir()
            for name, content in {**adapter_files(trainer.model), **self.form}.items():
                write_bytes(adapter / name, content)
            environment = {
                **without_secrets(os.environ),
                "FINETUNE_HOOK_ADAPTER": str(adapter),
                "FINETUNE_HOOK_BASE": str(trainer.base.folder),
                "FINETUNE_HOOK_STEP": str(trainer.counters.step),
                "FINETUNE_HOOK_EPOCH": str(round(trainer.epoch, 6)),
            }
            with open(folder / "output", "w+b") as output:
                self._run(environment, output)
                return _scores_in(_end_of(output))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, environment: Mapping[str, str], output: IO[bytes]) -> None:
        """Run the command to its end; raises _Useless, or Stopped, and then nothing of it lives."""
        with open(self.context.folder / schema.LOG_FILE, "ab") as log:
            try:
                process = subprocess.Popen(
                    self.hook.command,
                    cwd=self.context.folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                raise _Useless(f"it can't be started ({error.strerror})") from None
        end = time.monotonic() + self.hook.timeout_seconds
        try:
            while process.poll() is None:
                self.context.ears.check()
                if time.monotonic() > end:
                    raise _Useless(f"it took longer than {self.hook.timeout_seconds:g} s")
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it has left behind
            process.wait()
        if process.returncode:
            raise _Useless(f"it ended with status {process.returncode}")


def hook_looks(context: RunContext, form: Mapping[str, bytes]) -> list[HookLook]:
    """The recipe's hooks, and which of them early stopping hangs on."""
    recipe = context.spec.recipe
    rule = recipe.early_stopping
    measure = rule.measure if rule else ""
    return [
        HookLook(context, hook, measure if measure.startswith(f"{hook.name}.") else None, form)
        for hook in recipe.hooks
    ]


def drop_left_folders(folder: Path) -> None:
    """Take away what the hooks of a sitting that was killed have left."""
    for left in folder.glob(f"{FOLDER_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without tokens, keys and passwords, by name, and URLs that hold one."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET.search(name) and not _URL_WITH_PASSWORD.search(value)
    }


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _HEARD))
    return output.read().decode("utf-8", errors="replace")


def _scores_in(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        found: Any = json.loads(lines[-1]) if lines else None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found:
        raise _Useless("its last line is no JSON object of numbers")
    for value in found.values():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise _Useless("its last line has a score that is no finite number")
    return {name: float(value) for name, value in found.items()}
