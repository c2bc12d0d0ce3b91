"""The own store: where it is, whether it runs, its version; starting, stopping and migrating it."""

from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Danger, NoInput, Output
from sophia_tui.domain.protocols import StoreAdmin, StoreStatus
from sophia_tui.i18n import N_
from sophia_tui.services.operations import operation


class StoreView(Output):
    """`kind` is embedded or server; `where` never holds a password."""

    as_is: ClassVar[frozenset[str]] = frozenset({"pid"})

    kind: str = Field(title=N_("Kind"))
    where: str = Field(title=N_("Where"))
    running: bool = Field(title=N_("Running"))
    server_version: str | None = Field(default=None, title=N_("Postgres"))
    schema_version: str | None = Field(default=None, title=N_("Version of the tables"))
    program_version: str | None = Field(default=None, title=N_("Version the program needs"))
    milliseconds: float | None = Field(default=None, title=N_("Milliseconds"))
    pid: int | None = Field(default=None, title=N_("Process"))

    @classmethod
    def of(cls, status: StoreStatus) -> "StoreView":
        return cls(
            kind=status.kind,
            where=status.where,
            running=status.running,
            server_version=status.server_version,
            schema_version=status.schema_version,
            program_version=status.program_version,
            milliseconds=status.milliseconds,
            pid=status.pid,
        )


class StoreService:
    """Looks after the store itself; what lies in it is the other services' business."""

    def __init__(self, admin: StoreAdmin) -> None:
        self._admin = admin

    @operation("store.status", N_("Say where Sophia's own store is, and whether it runs."))
    async def status(self, context: Context, request: NoInput) -> StoreView:
        return StoreView.of(await self._admin.status())

    @operation(
        "store.start",
        N_("Start the embedded Postgres if it does not run."),
        role=Role.OPERATOR,
        writes=True,
    )
    async def start(self, context: Context, request: NoInput) -> StoreView:
        return StoreView.of(await self._admin.start())

    @operation(
        "store.stop",
        N_("Stop the embedded Postgres; running trainings go on and report later."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
    )
    async def stop(self, context: Context, request: NoInput) -> StoreView:
        return StoreView.of(await self._admin.stop())

    @operation(
        "store.migrate",
        N_("Bring Sophia's own tables to the version that this program needs."),
        role=Role.ADMIN,
        writes=True,
    )
    async def migrate(self, context: Context, request: NoInput) -> StoreView:
        return StoreView.of(await self._admin.migrate())
