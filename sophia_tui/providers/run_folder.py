"""What is read from and written into a run's folder, by the contract of finetune.schema."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from finetune import schema
from sophia_tui.domain.jobs import Job, JobEvent, RunIdentity
from sophia_tui.domain.models import ModelKind
from sophia_tui.providers.machine import ThisMachine

_TAIL_BLOCK = 1 << 16
#: In the folder of an operation in the background, in the place of run.yaml: what was asked, and
#: what came of it.
OPERATION_FILE, OUTPUT_FILE = "operation.json", "output.json"


def heartbeat(folder: str | Path) -> schema.Heartbeat | None:
    """The run's last sign of life; None where there is none yet, or none that can be read."""
    try:
        return schema.read_document(Path(folder) / schema.HEARTBEAT_FILE, schema.Heartbeat)
    except schema.ContractError:
        return None


def drop_heartbeat(folder: str | Path) -> None:
    """Take the last sign of life away, so that it is never taken for a later attempt's."""
    with contextlib.suppress(OSError):
        (Path(folder) / schema.HEARTBEAT_FILE).unlink(missing_ok=True)


def living_identity(job: Job, machine: ThisMachine) -> RunIdentity | None:
    """The process that works on the job now, here; None where there is none.

    The one the store knows, else the one the heartbeat names: between start and the store's row a
    worker may die, and a second start is turned away by the run's lock.
    """
    if job.identity is not None and machine.alive(job.identity):
        return job.identity
    beat = heartbeat(job.run_folder) if job.run_folder else None
    if beat is None:
        return None
    named = RunIdentity(beat.host, beat.boot_id, beat.pid, beat.pid_start_time)
    return named if machine.alive(named) else None


def ask(
    folder: str | Path, action: Literal["none", "pause", "stop"], reason: str | None = None
) -> None:
    """Write the control file; `reason` stands in the run's events. Raises OSError."""
    path = Path(folder) / schema.CONTROL_FILE
    with contextlib.suppress(schema.ContractError):
        if schema.read_document(path, schema.Control).action == action:
            return
    if action != "none" or path.exists():
        schema.write_document(path, schema.Control(action=action, reason=reason))


def new_events(job: Job) -> tuple[list[schema.RunEvent], int]:
    """Events that the store has not, and the byte behind them. Raises ContractError, OSError."""
    path = Path(job.run_folder or "") / schema.EVENTS_FILE
    batch = schema.read_events(path, after=job.last_event, offset=job.event_offset)
    return batch.events, batch.offset


def all_events(folder: str | Path) -> list[schema.RunEvent]:
    """Every whole event of the run. Raises ContractError, OSError."""
    return schema.read_events(Path(folder) / schema.EVENTS_FILE).events


def whole_events(folder: str | Path) -> int:
    """How many whole lines in order events.jsonl begins with. Raises OSError."""
    path = Path(folder) / schema.EVENTS_FILE
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        return _whole_part(stream)[0]


def repair_events(folder: str | Path, missing: Sequence[JobEvent]) -> int:
    """Make events.jsonl whole again before a run goes on; returns its size in bytes.

    A power cut may take lines from the file that the store has already, or leave zeros. Whole
    lines in order are kept, what follows is cut off, and `missing`, what only the store has, is
    written back, so that numbers go on and file and store stay equal. Nobody else may be writing.
    """
    path = Path(folder) / schema.EVENTS_FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as stream:
        _number, size = _whole_part(stream)
        lines = b"".join(
            schema.event_line(
                schema.RunEvent.model_validate(
                    {"number": each.number, "at": each.at, "kind": each.kind, "data": each.data}
                )
            )
            for each in missing
        )
        stream.truncate(size)
        stream.seek(size)
        stream.write(lines)
        stream.flush()
        os.fsync(stream.fileno())
    return size + len(lines)


def _whole_part(stream: IO[bytes]) -> tuple[int, int]:
    """Number of the last whole line in order, and the byte behind it."""
    number = size = 0
    for line in stream:
        if not line.endswith(b"\n") or _event_number(line) != number + 1:
            break
        number += 1
        size += len(line)
    return number, size


def _event_number(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        return None


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, read from its end. Raises OSError. Hostile text: show it safely."""
    with path.open("rb") as stream:
        position = stream.seek(0, os.SEEK_END)
        content = b""
        while position > 0 and content.count(b"\n") <= lines:
            step = min(_TAIL_BLOCK, position)
            position -= step
            stream.seek(position)
            content = stream.read(step) + content
    return content.decode("utf-8", errors="replace").splitlines()[-lines:]


def parity_report(folder: str | Path) -> dict[str, Any]:
    """parity.json as plain data. Raises ContractError."""
    path = Path(folder) / schema.PARITY_FILE
    return schema.read_document(path, schema.ParityReport).model_dump(mode="json")


def evaluation_report(folder: str | Path) -> dict[str, Any]:
    """evaluation.json as plain data. Raises ContractError."""
    path = Path(folder) / schema.EVALUATION_FILE
    return schema.read_document(path, schema.EvaluationReport).model_dump(mode="json")


@dataclass(frozen=True)
class Made:
    """What a run wrote down of the model it made: its files by name with bytes and sha256, and the
    fingerprint of the chat template it was made with."""

    files: dict[str, dict[str, Any]]
    template_fingerprint: str


def made_by_run(folder: str | Path, kind: ModelKind) -> Made | None:
    """Of an adapter or a merged model; None where the run's manifest can't be read."""
    try:
        manifest = schema.read_document(Path(folder) / schema.MANIFEST_FILE, schema.RunManifest)
    except schema.ContractError:
        return None
    written = manifest.adapter_files if kind is ModelKind.ADAPTER else manifest.merged_files
    files = {name: each.model_dump() for name, each in written.items()}
    return Made(files, manifest.template_fingerprint)
