"""What Monitor says in sentences: alerts, since when it counts, what is not measured yet."""

from collections.abc import Sequence
from datetime import datetime

from sophia_tui.domain.serving import TrafficSummary
from sophia_tui.i18n import _
from sophia_tui.services.quality import Quality, Targets, percent


def alerts(totals: Sequence[TrafficSummary], targets: Targets) -> list[str]:
    """What misses its target, by model; and whether many ask for a name that nobody serves."""
    found = [
        f"{each.model}: {sentence}"
        for each in totals
        if each.model
        for sentence in Quality.of([each]).complaints(targets)
    ]
    strangers = sum(each.requests for each in totals if not each.model)
    if strangers and strangers / Quality.of(totals).requests > targets.error_rate:
        rate = strangers / Quality.of(totals).requests
        found.append(
            _("{rate} of the requests asked for a name that is not served.").format(
                rate=percent(rate)
            )
        )
    return found


def note(counted_since: datetime | None, since: datetime, until: datetime, served: bool) -> str:
    """Since when there are figures, where the period has a part without."""
    if counted_since is None:
        if served:
            return _("Models are served, and nobody has asked them yet.")
        return _("Nothing was served yet, so nothing was counted: `sophia serve model` serves one.")
    if counted_since >= until:
        return _("The period ends before the first request was counted.")
    if counted_since > since:
        return _("Requests are counted since the first one; before that nothing is known.")
    return ""


def not_yet() -> dict[str, tuple[str, str]]:
    """What the owner's targets name and this version does not measure: how people call it, and the
    reason."""
    return {
        "response_time": (
            _("Waiting time"),
            _("How long people wait for an answer in their conversations is not computed yet."),
        ),
        "resolution": (
            _("Resolved"),
            _("Which share of the conversations was resolved is not computed yet."),
        ),
        "abandonment": (
            _("Given up"),
            _("Which conversations the customer gave up is not computed yet."),
        ),
        "tone": (_("Tone"), _("No judge model looks at the tone of answers yet.")),
        "drift": (
            _("Drift"),
            _("Whether questions move away from the training data is not measured yet."),
        ),
        "cost_per_conversation": (
            _("Cost of a conversation"),
            _("Requests are not joined to conversations yet, so there is no cost of one."),
        ),
        "messages": (
            _("Messages"),
            _("A missed target is shown here and in Overview; nobody gets a message yet."),
        ),
    }
