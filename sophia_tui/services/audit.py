"""Who did what, when, from which face: reading the audit. The dispatcher writes it."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.models import AuditEntry
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services import changes
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.views import Listing

if TYPE_CHECKING:
    from sophia_tui.services.operations import Registry


class AuditView(Output):
    table_columns: ClassVar[tuple[str, ...]] = (
        "at",
        "actor",
        "face",
        "operation",
        "outcome",
        "code",
        "target",
    )

    at: datetime = Field(title=N_("Time"))
    actor: str = Field(title=N_("Who"))
    face: str = Field(title=N_("From"))
    operation: str = Field(title=N_("Operation"))
    target: str | None = Field(default=None, title=N_("Target"))
    outcome: str = Field(title=N_("Outcome"))
    code: str | None = Field(default=None, title=N_("Code"))
    seconds: float = Field(default=0.0, title=N_("Seconds"))
    role: str = Field(title=N_("Role"))
    request: dict[str, Any] = Field(default_factory=dict, title=N_("Request"))

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditView":
        return cls(**{name: getattr(entry, name) for name in cls.model_fields})


class AuditPage(ListPage):
    sorts = ("at", "actor", "face", "operation", "target", "outcome", "code", "seconds")


class AuditList(Listing):
    items: list[AuditView] = Field(title=N_("Log"))


class ChangesRequest(Input):
    operation: str = Field(description=N_("What you mean to do, e.g. settings.set."))
    target: str | None = Field(
        default=None, description=N_("What you mean to change: a setting's key, a job's id, say.")
    )
    since: int | None = Field(
        default=None,
        ge=0,
        le=changes.MOST_NUMBER,
        description=N_("The number that you were told before; left out: only the number of now."),
    )


class ChangesView(Output):
    """`number` is what to give as `seen` or `since` next time."""

    as_is: ClassVar[frozenset[str]] = frozenset({"number"})

    number: int = Field(title=N_("Number"))
    told: str | None = Field(default=None, title=N_("What happened"))
    items: list[AuditView] = Field(default_factory=list, title=N_("Changed by others"))


class AuditService:
    """Reads the audit."""

    def __init__(self, store: Store, registry: "Registry", clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock

    @operation("audit.list", N_("Show who did what, when and from where."), role=Role.VIEWER)
    async def page(self, context: Context, request: AuditPage) -> AuditList:
        entries = await self._store.audit.listed(request.wanted())
        return AuditList(
            total=entries.total,
            unfiltered=entries.unfiltered,
            items=[AuditView.of(each) for each in entries],
        )

    @operation(
        "audit.changes",
        N_("Show whether another person changed meanwhile what you mean to change."),
        role=Role.VIEWER,
        target="target",
        positional=("operation", "target"),
    )
    async def changes(self, context: Context, request: ChangesRequest) -> ChangesView:
        """Raises NotFoundError U404, UsageError U060 (it changes no record of its own)."""
        chosen = self._registry.get(request.operation)
        asked = {chosen.target: request.target} if chosen.target else {}
        if not changes.watched(chosen, asked):
            raise UsageError(
                "U060",
                _("{name} changes nothing that another person could change.").format(
                    name=chosen.name
                ),
                _("It only looks, makes something new, or its target is not said."),
                _("Name one such as settings.set, and its target."),
            )
        record = changes.record_of(chosen, asked)
        found = await self._store.audit.changes(changes.WITH[chosen.name], record, request.since)
        told = None
        if found.entries:
            told = changes.sentence(found.entries[0], context.actor, self._clock.now())
        items = [AuditView.of(each) for each in found.entries]
        return ChangesView(number=found.number, told=told, items=items)
