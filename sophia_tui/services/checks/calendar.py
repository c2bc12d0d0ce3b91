"""The models that env files name: whether they answer, and for how long."""

from collections.abc import Awaitable, Callable

from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.services.calendar_looks import endings, in_short, unread_lines, unread_told
from sophia_tui.services.calendar_views import CalendarView
from sophia_tui.services.checks.running import Check, Found

_SECONDS = 20.0
_SHOWN = 3


def calendar_check(look: Callable[[bool], Awaitable[CalendarView]], ask: bool) -> Check:
    """`look` gives the calendar; with `ask`, providers are asked for their lists of models."""

    async def check() -> Found:
        return calendar_found(await look(ask))

    return Check("models_end", N_("Models that end"), check, _SECONDS)


def calendar_found(view: CalendarView) -> Found:
    """A model that answers no more is a problem; one that ends wants attention, and so does a file
    that can't be read: nobody knows what it names."""
    amiss = endings(view)
    unread = unread_told(view.unread)
    if not amiss and unread:
        remedy = _("Correct SOPHIA_MANAGED_ENV_FILES, or the file's owner and mode.")
        return Found("attention", unread, unread_lines(view.unread), remedy)
    if not amiss:
        if not view.items:
            return Found("ok", _("no env file names a model"))
        unknown = [each for each in view.items if each.severity == "unknown"]
        count = len({each.model for each in view.items})
        told = ngettext("{count} model is named", "{count} models are named", count)
        lines = tuple(dict.fromkeys(each.told for each in unknown))
        return Found("ok", told.format(count=count), lines)
    told = ", ".join(f"{each.model}: {in_short(each)}" for each in amiss[:_SHOWN])
    if len(amiss) > _SHOWN:
        told += " " + _("and {count} more").format(count=len(amiss) - _SHOWN)
    if unread:
        told += f"; {unread}"
    grave = amiss[0].severity == "error"
    remedy = _("Begin the way out, or correct the env file; `sophia models calendar` says more.")
    return Found(
        "problem" if grave else "attention",
        told,
        (*(each.told for each in amiss), *unread_lines(view.unread)),
        remedy,
        amiss[0].command,
    )
