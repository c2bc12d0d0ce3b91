"""The process in which data sets are prepared and files repaired: one request on standard input,
progress and the result as JSON Lines on standard output. Not meant to be started by people.

It ends when standard input does, so that it never outlives who asked.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sophia_tui.datasets import answers, openai_rules
from sophia_tui.datasets.pipeline import Request, prepare
from sophia_tui.datasets.repair import Repaired, repair_file
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import set_language

_PROGRESS_SECONDS = 0.2


class PrepareTask(msgspec.Struct, tag="prepare"):
    language: str
    request: Request


class RepairTask(msgspec.Struct, tag="repair"):
    language: str
    files: list[str]
    suspected: bool
    dry_run: bool


class CheckTask(msgspec.Struct, tag="check"):
    """`training` False: only that every line is a JSON object."""

    language: str
    path: str
    training: bool
    validation: str | None = None
    pairs: bool = False


class AnswersTask(msgspec.Struct, tag="answers"):
    """Build training pairs of the answer events in a file."""

    language: str
    events: str
    target: str
    limit: int
    tenant: str | None = None


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _progress() -> Callable[[str, int, int | None], None]:
    last = 0.0

    def tell(stage: str, done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS:
            last = now
            _say({"progress": {"stage": stage, "done": done, "total": total}})

    return tell


def _run(task: PrepareTask | RepairTask | CheckTask | AnswersTask) -> Any:
    tell = _progress()
    if isinstance(task, AnswersTask):
        return answers.build(Path(task.events), Path(task.target), task.limit, task.tenant)
    if isinstance(task, CheckTask):
        if not task.training:
            return openai_rules.check_lines(Path(task.path))
        validation = Path(task.validation) if task.validation else None
        return openai_rules.check_training(Path(task.path), validation, task.pairs)
    if isinstance(task, PrepareTask):
        return prepare(task.request, tell)
    done: list[Repaired] = []
    for name in task.files:
        done.append(
            repair_file(
                Path(name),
                task.suspected,
                task.dry_run,
                lambda lines: tell("repair", lines, None),
            )
        )
    return done


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)  # what lies half done is hidden, and swept by who asked or by the next one


def main() -> int:
    tasks = PrepareTask | RepairTask | CheckTask | AnswersTask
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=tasks)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    set_language(task.language)
    gc.freeze()
    try:
        _say({"result": _run(task)})
    except SophiaError as problem:
        _say({"error": {"kind": type(problem).__name__, **problem.as_dict()}})
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread that waits for standard input holds its lock: no orderly end
