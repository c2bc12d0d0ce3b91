"""Who did what, when, from which face: reading the audit. The dispatcher writes it."""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.views import Listing


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


class AuditPage(ListPage):
    sorts = ("at", "actor", "face", "operation", "target", "outcome", "code", "seconds")


class AuditList(Listing):
    items: list[AuditView] = Field(title=N_("Log"))


class AuditService:
    """Reads the audit."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation("audit.list", N_("Show who did what, when and from where."), role=Role.VIEWER)
    async def page(self, context: Context, request: AuditPage) -> AuditList:
        entries = await self._store.audit.listed(request.wanted())
        return AuditList(
            total=entries.total,
            unfiltered=entries.unfiltered,
            items=[
                AuditView(
                    at=each.at,
                    actor=each.actor,
                    face=each.face,
                    operation=each.operation,
                    target=each.target,
                    outcome=each.outcome,
                    code=each.code,
                    seconds=each.seconds,
                    role=each.role,
                    request=each.request,
                )
                for each in entries
            ],
        )
