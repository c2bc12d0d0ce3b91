"""history.jsonl: one line for each training job's end. Promotions write theirs beside it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.files import append_line, write_problem

#: The kind of line by the state in which a job ended; a resumed failure ends once more, as `job`.
KINDS = {
    JobState.SUCCEEDED.value: "job",
    JobState.FAILED.value: "job_failed",
    JobState.CANCELLED.value: "job_cancelled",
}


def history_path(job: Job) -> Path | None:
    """The history file named when the job was made, so that every process writes the same one."""
    chosen = job.request.get("history_file")
    return Path(chosen) if chosen else None


def record(job: Job, ended: JobState, at: datetime, resulting_model: str | None = None) -> None:
    """Append the job's line, unless one of that kind is there. Raises SetupError S101.

    Only trainings have a line, and a try of one step is none. Never two lines of one kind for a
    job, whichever processes write.
    """
    path = history_path(job)
    if job.kind is not JobKind.TRAIN or job.is_try or path is None:
        return
    line: dict[str, Any] = {
        "kind": KINDS[ended],
        "id": job.id,
        "at": at.isoformat(),
        "status": ended.value,
        "base": job.base,
        "dataset": job.dataset,
        "files": list(job.files),
        "resulting_model": resulting_model,
        "by": job.created_by,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise write_problem(path, problem) from problem
    append_line(
        path,
        json.dumps(line, ensure_ascii=False).encode("utf-8"),
        unless=lambda: _stands_in(path, KINDS[ended], job.id),
    )


def _stands_in(path: Path, kind: str, job_id: str) -> bool:
    try:
        with path.open("rb") as lines:
            return any(_is_line(line, kind, job_id) for line in lines if job_id.encode() in line)
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise write_problem(path, problem) from problem


def _is_line(line: bytes, kind: str, job_id: str) -> bool:
    try:
        content = json.loads(line)
    except ValueError:
        return False  # a torn line is no line
    return isinstance(content, dict) and (content.get("kind"), content.get("id")) == (kind, job_id)
