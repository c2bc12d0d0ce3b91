"""What can end a job badly, in the job's own row: code, what, why, what to do."""

from pathlib import Path
from typing import Any

from sophia_tui.domain.jobs import Job
from sophia_tui.errors import JobError
from sophia_tui.i18n import N_, _, ngettext

#: What helps a persona's tuning that diverged, or that memory ran out for.
_PERSONA_ADVICE = {
    "FINETUNE-404": N_("Tune again with a lower rank, or a higher alpha (lora_config)."),
    "FINETUNE-403": N_("Take a smaller model (lora_config.model_name), or a recipe with nf4."),
}


def told_by_run(job: Job, data: dict[str, Any]) -> dict[str, Any]:
    """The run's own failure, as it told it; its code is finetune's. Who tunes a persona says rank
    and alpha: there these are a way out, too."""
    code = str(data.get("code") or "SOPHIA-J507")
    remedy = str(data.get("remedy") or _see_log(job))
    if "persona" in job.request and code in _PERSONA_ADVICE:
        remedy = f"{_(_PERSONA_ADVICE[code])} {remedy}"
    return {
        "code": code,
        "what": str(data.get("what") or _("The run of job {job} failed.").format(job=job.id)),
        "why": str(data.get("why") or ""),
        "remedy": remedy,
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
    resumes = min(job.resumes - job.resumes_forgiven, limit)
    return JobError(
        "J505",
        _("The run of job {job} vanished again and again.").format(job=job.id),
        ngettext(
            "It was resumed {count} time by itself, which is the limit, and vanished without a "
            "word: killed, or out of memory.",
            "It was resumed {count} times by itself, which is the limit, and vanished without a "
            "word: killed, or out of memory.",
            resumes,
        ).format(count=resumes),
        _see_log(job),
    )


def died(job: Job, why: str, step: int | None) -> dict[str, Any]:
    """A warning among the events of a run that is taken up again: that its process died, why as
    far as is known, and where it goes on."""
    told = _("The run died before its first checkpoint and begins anew. {why}")
    if step:
        told = _("The run died and goes on from step {step}. {why}")
    return {
        "message": told.format(step=step, why=why),
        "reason": "run_died",
        "step": job.step,
        "from_step": step or 0,
    }


def too_much_memory(job: Job, taken: int, limit: int) -> JobError:
    return JobError(
        "J587",
        _("The run of job {job} took too much memory and was ended.").format(job=job.id),
        _("It took {taken} MB; {limit} MB are its limit: SOPHIA_TRAINING_MEMORY_LIMIT.").format(
            taken=taken >> 20, limit=limit >> 20
        ),
        _(
            "Take a smaller batch or model, or a higher limit; then `sophia jobs resume {job}`."
        ).format(job=job.id),
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


def hosted_file_refused(name: str, why: str, lines: list[dict[str, Any]]) -> JobError:
    return JobError(
        "J527",
        _("The provider refused the file {file}.").format(file=name),
        why,
        _("Mend what it names, prepare the data set again, then start a new job."),
        **({"lines": lines} if lines else {}),
    )


def hosted_failed(job: Job, why: str, remedy: str, lines: list[dict[str, Any]]) -> JobError:
    """`lines` are those that the provider named, with the rows that they come from."""
    what = _("Job {job} failed at the provider.").format(job=job.id)
    return JobError("J528", what, why or "-", remedy, **({"lines": lines} if lines else {}))


def hosted_model_missing(job: Job) -> JobError:
    return JobError(
        "J529",
        _("Job {job} ended well at the provider, which names no tuned model.").format(job=job.id),
        job.provider_job_id or "",
        _("Look for the model at the provider."),
    )


def hosted_unknown(job: Job, why: str) -> JobError:
    return JobError(
        "J530",
        _("Nobody knows whether the provider has job {job}.").format(job=job.id),
        why,
        _("Look at the provider whether it is there; only if not, start a new one."),
    )


def hosted_given_up(job: Job, attempts: int, why: str) -> JobError:
    return JobError(
        "J531",
        _("The provider did not take job {job}.").format(job=job.id),
        ngettext(
            "It was tried {count} time; the last time: {why}",
            "It was tried {count} times; the last time: {why}",
            attempts,
        ).format(count=attempts, why=why),
        _("See whether the provider works, then `sophia jobs resume {job}`.").format(job=job.id),
    )


def hosted_lost(job: Job) -> JobError:
    return JobError(
        "J532",
        _("The provider knows nothing of job {job} any more.").format(job=job.id),
        job.provider_job_id or "",
        _("Look at the provider; start a new job: `sophia train start`."),
    )


def merged_missing(job: Job) -> JobError:
    return JobError(
        "M430",
        _("Job {job} ended well, but the merged model is not there.").format(job=job.id),
        job.run_folder or "",
        _("Merge again: `sophia models merge {model}`.").format(model=job.model_id or "MODEL"),
    )


def exported_missing(job: Job) -> JobError:
    return JobError(
        "M528",
        _("Job {job} ended well, but the exported file is not there.").format(job=job.id),
        job.run_folder or "",
        _("Export again: `sophia models export {model}`.").format(model=job.model_id or "MODEL"),
    )


def _see_log(job: Job) -> str:
    return _("Read `sophia jobs log {job}`; then `sophia jobs resume {job}` goes on.").format(
        job=job.id
    )
