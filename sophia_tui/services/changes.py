"""Two people at one record: which operations change the same one, and how the second is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sophia_tui.domain.models import AuditEntry, Changes
from sophia_tui.domain.operations import Operation
from sophia_tui.errors import ConflictError, SophiaError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.textsafe import visible

#: Operations that change one and the same record, where they name the same target.
_TOGETHER = (
    ("settings.set", "settings.unset"),
    ("env.set", "env.unset"),
    ("env.declare", "env.undeclare"),
    ("jobs.cancel", "jobs.pause", "jobs.resume", "jobs.move"),
    ("schedules.change", "schedules.remove", "schedules.run-now"),
    ("models.state", "models.delete", "models.upload"),
    ("models.succeed",),
    ("datasets.tag", "datasets.untag", "datasets.delete"),
    ("prepare.edit", "prepare.undo", "prepare.save"),
    ("files.delete",),
    ("provider.remove",),
    ("provider.delete",),
    ("serve.stop",),
    ("setup.apply",),
    ("setup.restart",),
)
#: What they change is one for the whole house, whatever they name: production, the set-up.
_ONE_FOR_ALL = (
    ("promote.run", "promote.rollback", "promote.repair", "promote.confirm"),
    ("setup.begin", "setup.restore", "env.set", "env.unset"),
)
#: The operations that change what each of them changes.
WITH: Mapping[str, tuple[str, ...]] = {
    **{name: group for group in reversed(_ONE_FOR_ALL) for name in group},
    **{name: group for group in _TOGETHER for name in group},
}
_WHOLE = frozenset(name for group in _ONE_FOR_ALL for name in group) - {
    name for group in _TOGETHER for name in group
}
#: What no request is shown by: controls, and what the person reads elsewhere in the sentence.
_UNSAID = frozenset({"seen_version", "seen_value", "reason"})
#: The highest number that an entry of the audit can have; JSON's readers know it exactly.
MOST_NUMBER = 9_007_199_254_740_991
#: So many of the newest entries of the audit are asked who was faster.
REACH = -5000
#: Seconds after which nobody "was faster" any more: then it is how things are.
_RECENT = 3600.0


def record_of(chosen: Operation, asked: Mapping[str, Any]) -> str | None:
    """What is changed, by name; None: the one of the whole house. Ask for those in WITH alone."""
    if chosen.name in _WHOLE or not chosen.target:
        return None
    value = asked.get(chosen.target)
    return None if value is None else str(value)


def watched(chosen: Operation, asked: Mapping[str, Any]) -> bool:
    """Whether another person may change what this would, so that it is worth a look."""
    return chosen.name in WITH and (
        chosen.name in _WHOLE or record_of(chosen, asked) not in (None, "")
    )


def conditional(asked: Mapping[str, Any]) -> bool:
    """Whether the request itself says what was seen: then the service compares, with the rows
    held."""
    return any(asked.get(name) is not None for name in ("seen_version", "seen_value"))


def changed_meanwhile(
    chosen: Operation, asked: Mapping[str, Any], found: Changes, actor: str, now: datetime
) -> ConflictError:
    """R411, by the newest change; `details["seen"]` is what to send to go on regardless."""
    newest = found.entries[0]
    what = record_of(chosen, asked) or _("What is in production or in the set-up")
    return ConflictError(
        "R411",
        _("{record} was changed meanwhile.").format(record=visible(what)),
        sentence(newest, actor, now),
        _("Look at it as it is now; who asks once more goes on from there."),
        **_details(newest),
        seen=found.number,
    )


def say_who(error: SophiaError, found: Changes, actor: str, now: datetime) -> None:
    """Add to an error who changed the record shortly before, where another person or another
    window did: what seems wrong is then right, and only late."""
    newest = next((each for each in found.entries if _recent(each, now)), None)
    ours = newest is not None and newest.actor == actor and not isinstance(error, ConflictError)
    if newest is None or ours or "changed_by" in error.details:
        return
    said = sentence(newest, actor, now)
    error.why = " ".join(filter(None, (error.why, said)))
    error.details = {**error.details, **_details(newest), "seen": found.number}


def sentence(entry: AuditEntry, actor: str, now: datetime) -> str:
    return _("Changed {who} {age}: {what}").format(
        who=by_whom(entry, actor), age=ago(now, entry.at), what=told(entry)
    )


def by_whom(entry: AuditEntry, actor: str) -> str:
    if entry.actor == actor:
        return _("by yourself in another place ({face})").format(face=entry.face)
    return _("by {who}").format(who=visible(entry.actor))


def told(entry: AuditEntry) -> str:
    """What was done, as the command line has it: `settings set SOPHIA_X value=5`."""
    said = [entry.operation.replace(".", " ")]
    for name, value in entry.request.items():
        if name in _UNSAID or value in (None, "", [], False):
            continue
        shown = visible(str(value))
        said.append(shown if value == entry.target else f"{name}={shown}")
    return f"`{' '.join(said)}`"


def ago(now: datetime, at: datetime) -> str:
    """How long ago, in the largest unit that says enough."""
    seconds = max(0, round((now - at).total_seconds()))
    if seconds < 120:
        return ngettext("{n} second ago", "{n} seconds ago", seconds).format(n=number(seconds))
    if seconds < 7200:
        minutes = seconds // 60
        return ngettext("{n} minute ago", "{n} minutes ago", minutes).format(n=number(minutes))
    if seconds < 172_800:
        hours = seconds // 3600
        return ngettext("{n} hour ago", "{n} hours ago", hours).format(n=number(hours))
    days = seconds // 86_400
    return ngettext("{n} day ago", "{n} days ago", days).format(n=number(days))


def _recent(entry: AuditEntry, now: datetime) -> bool:
    return (now - entry.at).total_seconds() < _RECENT


def _details(entry: AuditEntry) -> dict[str, Any]:
    return {
        "changed_by": entry.actor,
        "changed_at": entry.at.isoformat(),
        "changed_from": entry.face,
        "change": entry.operation,
    }
