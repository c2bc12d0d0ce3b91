"""Whether a promotion was left half done."""

from collections.abc import Awaitable, Callable

from sophia_tui.domain.models import Promotion
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _
from sophia_tui.services.checks.running import Check, Found
from sophia_tui.services.promotion_recovery import cut_off_note


def promotion_check(half_done: Callable[[], Awaitable[Promotion | None]]) -> Check:
    """`half_done` gives the promotion that was cut off and that nobody is at."""

    async def check() -> Found:
        try:
            found = await half_done()
        except SophiaError:  # the check of the store says more
            return Found("attention", _("not known: the store does not answer"))
        if found is None:
            return Found("ok", _("none is half done"))
        remedy = _("`sophia promote repair` finishes or undoes it.")
        return Found("problem", cut_off_note(found), remedy=remedy)

    return Check("promotion", N_("Promotions"), check)
