"""Why a job does not go on now, in the words of an error: kept with its figures, told by its code,
so that each reader gets it in their own language."""

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sophia_tui.domain.limits import quiet_until, read_hours
from sophia_tui.errors import JobError
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

QUIET, DISK, MEMORY = "SOPHIA-J580", "SOPHIA-J581", "SOPHIA-J582"
#: The worker knows another provider than the job's, or has no key for it.
MISFIT = "SOPHIA-J533"
SLOT, CAPABILITY, DATA, LATER, AWAY = (
    "SOPHIA-J583",
    "SOPHIA-J584",
    "SOPHIA-J585",
    "SOPHIA-J586",
    "SOPHIA-J588",
)


def reason(code: str, **details: Any) -> dict[str, Any]:
    """The reason with its figures, as a job's or a worker's row keeps it."""
    what, why, remedy = _WORDS[code](details)
    problem = JobError(code.removeprefix("SOPHIA-"), what, why, remedy)
    return {**problem.as_dict(), "details": details}


def quiet_now(settings: "Settings", now: datetime) -> dict[str, Any] | None:
    """Why no training starts at that moment, where quiet hours are set."""
    local = now.astimezone(ZoneInfo(settings.timezone))
    end = quiet_until(read_hours(settings.quiet_hours), local)
    return reason(QUIET, until=end.isoformat()) if end else None


def held_now(settings: "Settings", folder: Path, now: datetime) -> list[dict[str, Any]]:
    """All that would let a training wait at that moment: floors of memory and of the disk with its
    run folder, quiet hours. What can't be measured holds nothing back."""
    from sophia_tui.providers import resources

    measured: list[tuple[str, int | None, int, dict[str, Any]]] = [
        (DISK, _free_disk(folder), settings.disk_floor_mb, {"folder": str(folder)}),
        (MEMORY, resources.available_memory(), settings.memory_floor_mb, {}),
    ]
    found = [
        reason(code, free=free >> 20, floor=floor, **more)
        for code, free, floor, more in measured
        if free is not None and free < floor << 20
    ]
    quiet = quiet_now(settings, now)
    return [*found, *([quiet] if quiet else [])]


def _free_disk(folder: Path) -> int | None:
    from sophia_tui.providers import resources

    try:
        return resources.free_disk(folder)
    except OSError:
        return None


def told(kept: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A reason as the reader of now reads it."""
    if kept is None or kept.get("code") not in _WORDS:
        return None if kept is None else dict(kept)
    return reason(str(kept["code"]), **dict(kept.get("details") or {}))


def asked_by(who: Any) -> str | None:
    """The reason of a stop that a person wants; None where their name is not known."""
    return _("asked by {who}").format(who=visible(str(who))) if who else None


def sentence(kept: Mapping[str, Any]) -> str:
    """What it waits for, why, and what to do, as people read it."""
    found = told(kept) or {}
    return " ".join(str(found[name]) for name in ("what", "why", "remedy") if found.get(name))


def _clock(text: Any) -> str:
    try:
        return datetime.fromisoformat(str(text)).strftime("%H:%M")
    except ValueError:
        return str(text)


def _quiet(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("It waits for the end of the quiet hours."),
        _("No training runs here until {time}: SOPHIA_QUIET_HOURS.").format(
            time=_clock(found.get("until", ""))
        ),
        _("It goes on by itself; `sophia jobs resume JOB --now` lets it go on at once."),
    )


def _disk(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("It waits for free disk."),
        _("{free} MB are free in {folder}; {floor} MB are to stay free.").format(**_sizes(found)),
        _("Free disk, or change SOPHIA_DISK_FLOOR_MB; it goes on by itself."),
    )


def _memory(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("It waits for free memory."),
        _("{free} MB are free; {floor} MB are to stay free.").format(**_sizes(found)),
        _("End other programs, or change SOPHIA_MEMORY_FLOOR_MB; it goes on by itself."),
    )


def _sizes(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name, "?") for name in ("free", "floor", "folder")}


def _before(count: Any) -> str:
    if not isinstance(count, int):
        return _("Others stand before it or run now.")
    return ngettext(
        "{count} job stands before it or runs now.",
        "{count} jobs stand before it or run now.",
        count,
    ).format(count=count)


def _slot(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("It waits for its turn."),
        _before(found.get("before")),
        _("It starts by itself; `sophia jobs move` changes the order."),
    )


def _capability(found: Mapping[str, Any]) -> tuple[str, str, str]:
    queue = str(found.get("queue", ""))
    return (
        _("No living worker serves its queue."),
        _("It needs the queue {queue}.").format(queue=queue),
        _("Start a worker that has it: SOPHIA_WORKER_QUEUES={queue} sophia serve worker.").format(
            queue=queue
        ),
    )


def _data(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("Its files can't be reached from here."),
        _("{path} is not there on {host}.").format(
            path=found.get("path", "?"), host=found.get("host", "?")
        ),
        _("Put them back, share the folder under the same path, or cancel the job."),
    )


def _later(found: Mapping[str, Any]) -> tuple[str, str, str]:
    until = _clock(found.get("until", ""))
    return (
        _("It waits before it tries again."),
        _("Not before {time}.").format(time=until),
        _("It goes on by itself."),
    )


def _away(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        _("It waits for the worker that has its run folder."),
        _("The folder is {folder} on {host}.").format(
            folder=found.get("folder", "?"), host=found.get("host", "?")
        ),
        _("Start that worker: sophia serve worker. One that reaches the folder takes it."),
    )


def _misfit(found: Mapping[str, Any]) -> tuple[str, str, str]:
    theirs, ours = found.get("theirs"), found.get("ours")
    if theirs == ours:
        why = _("OPENAI_API_KEY is not set for this worker.")
    elif theirs is None:
        why = _("It was ordered at OpenAI itself, and OPENAI_BASE_URL is {ours} here.")
    elif ours is None:
        why = _("It was ordered at {theirs}, and OPENAI_BASE_URL is not set here.")
    else:
        why = _("It was ordered at {theirs}, and OPENAI_BASE_URL is {ours} here.")
    return (
        _("The provider of this job can't be reached from here."),
        why.format(theirs=theirs, ours=ours),
        _("Put both keys into Sophia's .env, then restart the worker."),
    )


_WORDS: dict[str, Callable[[Mapping[str, Any]], tuple[str, str, str]]] = {
    QUIET: _quiet,
    DISK: _disk,
    MEMORY: _memory,
    SLOT: _slot,
    CAPABILITY: _capability,
    DATA: _data,
    LATER: _later,
    AWAY: _away,
    MISFIT: _misfit,
}

#: The reasons in one or two words, for a column.
SHORT = {
    QUIET: N_("quiet hours"),
    DISK: N_("disk"),
    MEMORY: N_("memory"),
    SLOT: N_("turn"),
    CAPABILITY: N_("no worker"),
    DATA: N_("files"),
    LATER: N_("later"),
    AWAY: N_("its worker"),
    MISFIT: N_("provider"),
}
