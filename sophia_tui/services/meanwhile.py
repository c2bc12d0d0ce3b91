"""What happened while somebody was away: jobs that ended, promotions, what others changed."""

from datetime import datetime, timedelta

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.operations import operation
from sophia_tui.services.promotion_record import NO_MODEL

_PERIOD = timedelta(hours=24)
#: People whose changes are counted by name; all others' are added up.
_NAMED = 2


class MeanwhileRequest(Input):
    since: datetime | None = Field(
        default=None, description=N_("Tell what happened after this time; default 24 hours ago.")
    )


class EndedView(Output):
    state: str = Field(title=N_("State"))
    count: int = Field(title=N_("Jobs"))
    job: str | None = Field(default=None, title=N_("Job"))


class OthersView(Output):
    actor: str = Field(title=N_("Who"))
    count: int = Field(title=N_("Changes"))


class MeanwhileView(Output):
    """`job` of what ended is named where it is the only one; `changes` are those of others."""

    since: datetime = Field(title=N_("Since"))
    told: str = Field(title=N_("In short"))
    happened: bool = Field(title=N_("Whether anything happened"))
    ended: list[EndedView] = Field(default_factory=list, title=N_("Jobs that ended"))
    promoted: list[str] = Field(default_factory=list, title=N_("Models promoted"))
    returned: list[str] = Field(
        default_factory=list, title=N_("Models that rollbacks brought back")
    )
    changes: list[OthersView] = Field(default_factory=list, title=N_("Changes by others"))


class MeanwhileService:
    """Reads the store."""

    def __init__(self, store: Store, clock: Clock, timezone: str) -> None:
        self._store = store
        self._clock = clock
        self._timezone = timezone

    @operation(
        "overview.meanwhile",
        N_("Tell what happened while you were away: jobs that ended, promotions, others' changes."),
        role=Role.VIEWER,
    )
    async def meanwhile(self, context: Context, request: MeanwhileRequest) -> MeanwhileView:
        since = request.since or self._clock.now() - _PERIOD
        if since.tzinfo is None:
            from zoneinfo import ZoneInfo

            since = since.replace(tzinfo=ZoneInfo(self._timezone))
        found = await self._store.audit.happened_since(since, context.actor)
        ended = [
            EndedView(
                state=each.label, count=each.count, job=each.name if each.count == 1 else None
            )
            for each in found
            if each.what == "ended"
        ]
        promoted = [each.label for each in found if each.what == "promoted"]
        returned = [each.label for each in found if each.what == "returned"]
        changes = [
            OthersView(actor=each.label, count=each.count)
            for each in found
            if each.what == "changed"
        ]
        parts = [
            *map(_ended, ended),
            *_promoted(promoted),
            *_returned(returned),
            *_changes(changes),
        ]
        return MeanwhileView(
            since=since,
            told=", ".join(parts) or _("nothing happened"),
            happened=bool(parts),
            ended=ended,
            promoted=promoted,
            returned=returned,
            changes=changes,
        )


def _ended(view: EndedView) -> str:
    if view.job:
        named = {
            "succeeded": _("{job} succeeded"),
            "failed": _("{job} failed"),
            "cancelled": _("{job} was cancelled"),
        }
        return named[view.state].format(job=view.job)
    counted = {
        "succeeded": ngettext("{n} job succeeded", "{n} jobs succeeded", view.count),
        "failed": ngettext("{n} job failed", "{n} jobs failed", view.count),
        "cancelled": ngettext("{n} job was cancelled", "{n} jobs were cancelled", view.count),
    }
    return counted[view.state].format(n=number(view.count))


def _promoted(models: list[str]) -> list[str]:
    if not models:
        return []
    if len(models) == 1:
        return [_("{model} was promoted").format(model=models[0])]
    told = ngettext("{n} promotion", "{n} promotions", len(models))
    return [told.format(n=number(len(models)))]


def _returned(models: list[str]) -> list[str]:
    if len(models) == 1:
        if models[0] == NO_MODEL:
            return [_("rolled back to where no model was named")]
        return [_("rolled back to {model}").format(model=models[0])]
    told = ngettext("{n} rollback", "{n} rollbacks", len(models))
    return [told.format(n=number(len(models)))] if models else []


def _changes(views: list[OthersView]) -> list[str]:
    def counted(count: int, who: str) -> str:
        told = ngettext("{n} change by {who}", "{n} changes by {who}", count)
        return told.format(n=number(count), who=who)

    found = [counted(each.count, each.actor) for each in views[:_NAMED]]
    rest = sum(each.count for each in views[_NAMED:])
    return [*found, counted(rest, _("others"))] if rest else found
