"""The process in which work on data sets is done: one task on standard input, progress and the
result as JSON Lines on standard output. Not meant to be started by people.

It ends when standard input does, so that it never outlives who asked.
"""

import gc
import importlib
import os
import sys
import threading
import time
from typing import Any

import msgspec

from sophia_tui.datasets.tasks import StreamingTask, Task, Tell
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import set_language

_PROGRESS_SECONDS = 0.2
_ROOM = "sophia_tui.datasets."


def _say(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _progress() -> Tell:
    last = 0.0

    def tell(stage: str, done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS:
            last = now
            _say({"progress": {"stage": stage, "done": done, "total": total}})

    return tell


def _asked(line: bytes) -> Task:
    """The task that a line names: `{"module", "name", "task"}`, of this package alone."""
    asked = msgspec.json.decode(line)
    if not asked["module"].startswith(_ROOM):
        raise ValueError("no module of the engine")
    kind = getattr(importlib.import_module(asked["module"]), asked["name"])
    if not issubclass(kind, Task):
        raise TypeError("no task of the engine")
    task: Task = msgspec.convert(asked["task"], kind)
    return task


def _end_with_standard_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)  # what lies half done is hidden, and swept by who asked or by the next one


def main() -> int:
    task = _asked(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    set_language(task.language)
    gc.freeze()
    try:
        if isinstance(task, StreamingTask):
            _say({"result": task.run_telling(_progress(), lambda part: _say({"part": part}))})
        else:
            _say({"result": task.run(_progress())})
    except SophiaError as problem:
        _say({"error": {"kind": type(problem).__name__, **problem.as_dict()}})
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread that waits for standard input holds its lock: no orderly end
