"""What can end a job badly, in the job's own row: code, what, why, what to do."""

from pathlib import Path
from typing import Any

from sophia_tui.domain.jobs import Job
from sophia_tui.errors import JobError
from sophia_tui.i18n import _


def told_by_run(job: Job, data: dict[str, Any]) -> dict[str, Any]:
    """The run's own failure, as it told it; its code is finetune's."""
    return {
        "code": str(data.get("code") or "SOPHIA-J507"),
        "what": str(data.get("what") or _("The run of job {job} failed.").format(job=job.id)),
        "why": str(data.get("why") or ""),
        "remedy": str(data.get("remedy") or _see_log(job)),
        "details": {},
    }


def folder_missing(job: Job) -> JobError:
    return JobError(
        "J503",
        _("The run folder of job {job} is not there.").format(job=job.id),
        job.run_folder or "",
        _("Put it back and resume the job, or start a new one: `sophia train start`."),
    )


def folder_not_written(path: Path, problem: OSError) -> JobError:
    return JobError(
        "J504",
        _("The run folder could not be written."),
        f"{path}: {problem.strerror or type(problem).__name__}",
        _("Free disk space, check the folder's owner and mode, then resume the job."),
    )


def vanished_too_often(job: Job, limit: int) -> JobError:
    return JobError(
        "J505",
        _("The run of job {job} vanished again and again.").format(job=job.id),
        _(
            "It was resumed {count} times by itself, which is the limit, and vanished without a "
            "word: killed, or out of memory."
        ).format(count=min(job.resumes - job.resumes_forgiven, limit)),
        _see_log(job),
    )


def events_unreadable(job: Job, problem: Exception) -> JobError:
    return JobError(
        "J506",
        _("What the run of job {job} told can't be read.").format(job=job.id),
        str(problem),
        _see_log(job),
    )


def adapter_missing(job: Job) -> JobError:
    return JobError(
        "J508",
        _("Job {job} ended well, but its adapter is not there.").format(job=job.id),
        job.run_folder or "",
        _("Start the training again: `sophia train start`."),
    )


def merged_missing(job: Job) -> JobError:
    return JobError(
        "M430",
        _("Job {job} ended well, but the merged model is not there.").format(job=job.id),
        job.run_folder or "",
        _("Merge again: `sophia models merge {model}`.").format(model=job.model_id or "MODEL"),
    )


def _see_log(job: Job) -> str:
    return _("Read `sophia jobs log {job}`; then `sophia jobs resume {job}` goes on.").format(
        job=job.id
    )
