"""One operation as a run of its own: `python -m sophia_tui.worker.detached RUN_FOLDER`.

It reads operation.json, tells progress and end in events.jsonl as every run does, beats, and hears
control.json and SIGTERM. What came of the operation stands whole in output.json; the events have it
too where it is short. Cut off, it is done again from the start: operations leave nothing half done.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.failures import Stopped
from finetune.files import LockHeld, locked
from finetune.journal import Journal
from finetune.vitals import Ears, Pulse
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress
from sophia_tui.errors import CancelledError, SophiaError
from sophia_tui.files import write_whole
from sophia_tui.i18n import set_language
from sophia_tui.providers.run_folder import OPERATION_FILE, OUTPUT_FILE
from sophia_tui.services.detached import Asked
from sophia_tui.wiring import House

_LISTEN_SECONDS = 0.3
_PROGRESS_SECONDS = 1.0
_MEGABYTE = 1_000_000
#: Bytes of an output that goes into the events, and so into the store, as well.
MOST_TOLD = 100_000


class Teller:
    """Turns an operation's progress into events: at most one a second, with rate and time left."""

    def __init__(
        self, write: Callable[[dict[str, Any]], object], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._now = now
        self._told = -_PROGRESS_SECONDS
        self._stage = ""
        self._began = 0.0
        self._from = 0
        self._last: Progress | None = None

    def __call__(self, step: Progress) -> None:
        self._last = step
        now = self._now()
        if step.stage != self._stage:
            self._stage, self._began, self._from = step.stage, now, step.done
        elif now - self._told < _PROGRESS_SECONDS:
            return
        self._told = now
        spent, done = now - self._began, step.done - self._from
        rate = done / spent if spent > 0 else 0.0
        left = (step.total - step.done) / rate if rate > 0 and step.total is not None else None
        # the jobs' table counts steps; of bytes megabytes are enough
        scale = _MEGABYTE if (step.total or step.done) >= 10 * _MEGABYTE else 1
        self._write(
            {
                "phase": step.stage,
                "step": step.done // scale,
                "total_steps": None if step.total is None else max(1, step.total // scale),
                "unit": step.unit if scale == 1 else "MB",
                "rate": round(rate / scale, 3),
                "seconds_left": None if left is None else round(left, 1),
            }
        )

    def finish(self) -> None:
        """The work is done: nobody shall read that it stopped half way."""
        if self._last is not None and self._last.total is not None:
            self._told = -_PROGRESS_SECONDS
            self(replace(self._last, done=self._last.total))


def main() -> int:
    folder = Path(sys.argv[-1])
    asked = Asked.model_validate_json((folder / OPERATION_FILE).read_bytes())
    set_language(asked.language)
    if Path(asked.folder).is_dir():
        os.chdir(asked.folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / schema.LOCK_FILE))
        except LockHeld:  # one that lives already: whoever starts a second one learns of the first
            return 3
        journal = stack.enter_context(closing(Journal(folder / schema.EVENTS_FILE)))
        stack.enter_context(closing(Pulse(folder)))
        ears = stack.enter_context(closing(Ears(folder)))
        ears.listen()
        return asyncio.run(_perform(folder, asked, journal, ears))


async def _perform(folder: Path, asked: Asked, journal: Journal, ears: Ears) -> int:
    started = time.monotonic()
    journal.state("starting", run_kind="data", pid=os.getpid(), operation=asked.operation)
    cancel = CancelSignal()
    stopped: list[Stopped] = []
    listening = asyncio.create_task(_listen(ears, cancel, stopped))
    house = House(language=asked.language)
    tell = Teller(lambda data: _tell(journal, data))
    journal.state("running", operation=asked.operation)
    try:
        output = await house.dispatcher.call(
            asked.operation, asked.input, _context(asked, cancel, tell)
        )
        tell.finish()
        plain = output.model_dump(mode="json")
        content = json.dumps(plain, ensure_ascii=False, indent=2).encode() + b"\n"
        write_whole(folder / OUTPUT_FILE, content)
        told = plain if len(content) <= MOST_TOLD else {"output_bytes": len(content)}
        journal.write("result", {"output_file": OUTPUT_FILE, **told})
        journal.state("succeeded", seconds=round(time.monotonic() - started, 1))
        return 0
    except CancelledError as problem:
        end = stopped[0] if stopped else Stopped("cancelled", problem.what)
        journal.state(end.state, reason=end.reason)
        ears.acknowledge(end)
        return schema.EXIT_STOPPED
    except SophiaError as problem:
        journal.state("failed", **_failure(problem))
        return problem.exit_code
    finally:
        listening.cancel()
        await house.close()


def _tell(journal: Journal, data: dict[str, Any]) -> None:
    """Progress that finds the disk full is lost and ends nothing: the operation says it itself."""
    with suppress(OSError):
        journal.write("progress", data)


def _context(asked: Asked, cancel: CancelSignal, tell: Teller) -> Context:
    return Context(
        actor=asked.actor,
        face=Face(asked.face),
        role=asked.role,
        language=asked.language,
        confirmed=asked.confirmed,
        inner=asked.inner,
        cancel=cancel,
        progress=tell,
    )


async def _listen(ears: Ears, cancel: CancelSignal, stopped: list[Stopped]) -> None:
    while True:
        if (found := ears.requested()) is not None:
            stopped.append(found)
            cancel.request()
            return
        await asyncio.sleep(_LISTEN_SECONDS)


def _failure(problem: SophiaError) -> dict[str, Any]:
    told = problem.as_dict()
    return {key: told[key] for key in ("code", "what", "why", "remedy")}


if __name__ == "__main__":
    sys.exit(main())
