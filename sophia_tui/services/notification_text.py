"""The words of a notification, in the active language, from its facts."""

from collections.abc import Mapping
from typing import Any

from sophia_tui.domain.notifications import Message
from sophia_tui.i18n import _, get_language, ngettext, set_language
from sophia_tui.services.calendar_looks import STATE_WORDS
from sophia_tui.services.views import KIND_WORDS
from sophia_tui.textsafe import visible


def message_of(body: Mapping[str, Any], language: str) -> Message:
    """The message in that language, whatever the active one."""
    before = get_language()
    set_language(language)
    try:
        return Message(subject_of(body), text_of(body), body, language)
    finally:
        set_language(before)


def subject_of(body: Mapping[str, Any]) -> str:
    """One line: which job, and what became of it."""
    if body.get("test"):
        return _("Sophia: a test message")
    if body.get("about") == "model":
        return _("Sophia: {model}: {what}").format(
            model=visible(str(body.get("model"))), what=_ending(body)
        )
    return _("Sophia: {kind} {job}: {state}").format(
        kind=_(KIND_WORDS.get(str(body.get("kind")), str(body.get("kind")))),
        job=visible(str(body.get("job"))),
        state=_(str(body.get("status"))),
    )


def _ending(body: Mapping[str, Any]) -> str:
    """State or days left in a few words."""
    days = body.get("days_left")
    state = str(body.get("state"))
    if state in STATE_WORDS or not isinstance(days, int):
        return _(STATE_WORDS.get(state, state))
    return ngettext("in {days} day", "in {days} days", days).format(days=days)


def text_of(body: Mapping[str, Any]) -> str:
    """A few lines for a person."""
    if body.get("test"):
        return _("This is a test message of Sophia. Nothing happened.")
    lines = [subject_of(body)]
    if body.get("about") == "model":
        keys = ", ".join(map(str, body.get("keys", ())))
        lines.append(_("Named as: {keys}").format(keys=visible(keys)))
        if body.get("ends"):
            lines.append(_("Ends: {date}").format(date=visible(str(body["ends"]))))
        command = visible(str(body.get("command") or "sophia models calendar"))
        lines.append(_("Way out: `{command}`").format(command=command))
        return "\n".join(lines)
    if body.get("model"):
        lines.append(_("Model: {model}").format(model=visible(str(body["model"]))))
    if body.get("dataset"):
        lines.append(_("Data set: {dataset}").format(dataset=visible(str(body["dataset"]))))
    error = body.get("error")
    if isinstance(error, Mapping):
        lines.append(visible(f"{error.get('code', '')} {error.get('what', '')}".strip()))
        if error.get("remedy"):
            remedy = visible(" ".join(str(error["remedy"]).split()))
            lines.append(_("What to do: {remedy}").format(remedy=remedy))
    lines.append(_("Look at it: `sophia jobs show {job}`").format(job=visible(str(body["job"]))))
    return "\n".join(lines)
