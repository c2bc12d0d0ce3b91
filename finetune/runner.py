"""The frame around every kind of run: lock, log, events, heartbeat, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.failures import (
    BadRequest,
    Refused,
    RunFailure,
    Stopped,
    as_failure,
)
from finetune.files import LockHeld, locked
from finetune.journal import Journal, SilentJournal
from finetune.ranks import end_with_torchrun, own_rank
from finetune.vitals import BesideEars, Ears, Pulse, SilentPulse

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0


@dataclass
class RunContext:
    """What the work gets: the request, the folder, and the ways to be heard and stopped."""

    folder: Path
    spec: schema.RunSpec
    journal: Journal
    pulse: Pulse
    ears: Ears
    #: The last sign of life of the sitting before, and the state that it said last.
    last_beat: schema.Heartbeat | None = None
    last_state: str | None = None
    #: False in the processes of a training that are not its first.
    writes: bool = True
    started_at: datetime = field(default_factory=schema.now)
    _started: float = field(default_factory=time.monotonic)
    _last_progress: float = 0.0
    _untold: dict[str, Any] | None = None

    def elapsed(self) -> float:
        """Seconds since this process began the run."""
        return time.monotonic() - self._started

    def write_spec(self) -> None:
        """Write run.yaml, with what was fitted."""
        if self.writes:
            schema.write_run_spec(self.folder, self.spec)

    def progress(
        self, phase: str, step: int, total: int, *, force: bool = False, **more: Any
    ) -> None:
        """Write a progress event, at most one every five seconds unless forced."""
        self.pulse.step = step
        moment = time.monotonic()
        data = {"phase": phase, "step": step, "total_steps": total, **more}
        if not force and moment - self._last_progress < PROGRESS_SECONDS:
            self._untold = data
            return
        self._last_progress = moment
        self._untold = None
        self.journal.write("progress", data)

    def tell_last(self) -> None:
        """Write the progress that was held back because it came too soon after another."""
        if self._untold is not None:
            self.journal.write("progress", self._untold)
            self._untold = None


Work = Callable[[RunContext], dict[str, Any]]


def run(kind: schema.RunKind, folder: Path, load_work: Callable[[], Work]) -> int:
    """Do one run in its folder and return the exit code.

    `load_work` imports the module that does the work: it is called inside the frame, so that a
    missing package ends as a failed run with a remedy.
    """
    end_with_torchrun()
    try:
        spec = schema.load_run_spec(folder)
        if spec.kind != kind:
            raise BadRequest(
                101,
                f"This run folder is not for `{kind}`.",
                f"run.yaml says kind: {spec.kind}.",
                f"Use: python -m finetune {spec.kind} {folder}",
            )
        if own_rank():
            done = _is_done(folder, spec)  # the first one looks too, and the others must not wait
            return schema.EXIT_DONE if done else _run_beside(spec, folder, load_work)
        with locked(folder / schema.LOCK_FILE):
            if _is_done(folder, spec):
                return _say_result({"state": "succeeded", "already_done": True})
            return _run_locked(spec, folder, load_work)
    except LockHeld:
        return _say_failure(
            Refused(
                102,
                "This run folder is in use.",
                "Another process works on it; its heartbeat file says which.",
                "Wait for it, or pause it by control.json.",
            )
        )
    except (RunFailure, schema.ContractError, OSError) as error:
        return _say_failure(as_failure(error))


def _is_done(folder: Path, spec: schema.RunSpec) -> bool:
    """A succeeded run that is started once more has nothing to do, unless asked to begin anew."""
    if not spec.resume:
        return False
    states = [
        event.data.get("state")
        for event in schema.read_events(folder / schema.EVENTS_FILE).events
        if event.kind == "state"
    ]
    return bool(states) and states[-1] == "succeeded"


def _run_locked(spec: schema.RunSpec, folder: Path, load_work: Callable[[], Work]) -> int:
    with ExitStack() as stack:
        stack.enter_context(_log_into(folder / schema.LOG_FILE))
        journal = stack.enter_context(closing(Journal(folder / schema.EVENTS_FILE)))
        last = _last_beat(folder), journal.last_state
        pulse = stack.enter_context(closing(Pulse(folder)))
        ears = stack.enter_context(closing(Ears(folder)))
        ears.listen()
        return _run_framed(RunContext(folder, spec, journal, pulse, ears, *last), load_work)


def _last_beat(folder: Path) -> schema.Heartbeat | None:
    try:
        return schema.read_document(folder / schema.HEARTBEAT_FILE, schema.Heartbeat)
    except schema.ContractError:
        return None


def _run_beside(spec: schema.RunSpec, folder: Path, load_work: Callable[[], Work]) -> int:
    """Work as one of several processes that is not the first: hears, computes, writes nothing.

    Its end is the first one's affair: being asked to end is no failure here, or torchrun would
    end the first while it writes its checkpoint.
    """
    with closing(BesideEars(folder)) as ears:
        ears.listen()
        context = RunContext(folder, spec, SilentJournal(), SilentPulse(), ears, writes=False)
        try:
            load_work()(context)
        except Stopped:
            return schema.EXIT_DONE
        except Exception as error:
            return _say_failure(as_failure(error))
    return schema.EXIT_DONE


def _run_framed(context: RunContext, load_work: Callable[[], Work]) -> int:
    journal = context.journal
    try:
        journal.state("starting", run_kind=context.spec.kind, pid=os.getpid())
        context.ears.check()
        result = load_work()(context)
        context.tell_last()
        journal.write("result", result)
        journal.state("succeeded", seconds=round(context.elapsed(), 1))
        return _say_result({"state": "succeeded", **result})
    except Stopped as stopped:
        journal.state(stopped.state, reason=stopped.reason, step=stopped.step)
        context.ears.acknowledge(stopped)
        log.info("%s at step %d: %s", stopped.state, stopped.step, stopped.reason)
        _say_result({"state": stopped.state, "step": stopped.step, "reason": stopped.reason})
        return schema.EXIT_STOPPED
    except Exception as error:
        failure = as_failure(error)
        log.error("%s\n%s", failure.code, _safe_traceback(error))
        with suppress(OSError):  # a full disk may refuse even this; stderr still says it
            journal.state("failed", **failure.as_told())
        return _say_failure(failure)


def _safe_traceback(error: BaseException) -> str:
    """The traceback without values: messages of unknown errors may quote the data set."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None:
        known = isinstance(current, RunFailure | OSError | ImportError | RuntimeError)
        message = f": {current}" if known else " (message left out: it may quote the data)"
        parts.append("".join(traceback.format_tb(current.__traceback__)))
        parts.append(f"{type(current).__name__}{message}\n")
        current = current.__cause__ or current.__context__
    return "".join(parts)


def _say_result(result: dict[str, Any]) -> int:
    print(json.dumps(result, ensure_ascii=False, default=str), flush=True)
    return schema.EXIT_DONE


def _say_failure(failure: RunFailure) -> int:
    print(f"{failure.code} {failure.what}\n{failure.why}\n{failure.remedy}", file=sys.stderr)
    return failure.exit_code


@contextmanager
def _log_into(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("finetune").setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()
