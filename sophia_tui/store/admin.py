"""Look at, start, stop and migrate the own store, wherever it lives."""

from sophia_tui.domain.protocols import StoreStatus
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store import migrate
from sophia_tui.store.connection import Database
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.own import is_embedded, own_database
from sophia_tui.store.sql import query


class PostgresAdmin:
    """Implements domain.protocols.StoreAdmin. Each call opens and closes its own connection."""

    def __init__(self, settings: Settings, paths: Paths) -> None:
        self._settings = settings
        self._paths = paths
        self._server = EmbeddedServer(paths.postgres)
        self._embedded = is_embedded(settings)

    async def status(self) -> StoreStatus:
        """What is there; starts nothing. Raises UnavailableError for a server that can't be
        reached, and none for an embedded one that does not run."""
        if not self._embedded:
            return await self._of_database(None)
        found = await self._server.status()
        if found.running:
            return await self._of_database(found.pid)
        return StoreStatus(
            kind="embedded",
            where=found.folder,
            running=False,
            server_version=found.version,
            program_version=migrate.head(),
        )

    async def start(self) -> StoreStatus:
        """Start the embedded server; nothing to do for another one."""
        if self._embedded:
            await self._server.ensure_running()
        return await self.status()

    async def stop(self) -> StoreStatus:
        """Stop the embedded server. Raises RefusedError S032 for a server that is not ours."""
        if not self._embedded:
            raise RefusedError(
                "S032",
                _("Sophia does not stop this server."),
                _("The store lies on a Postgres server that other programs may use."),
                _("Ask its administrator; `sophia store status` says where it is."),
            )
        await self._server.stop()
        return await self.status()

    async def migrate(self) -> StoreStatus:
        """Bring the schema to this program's version. Raises SetupError S010, S011, S014, S018."""
        database = own_database(self._settings, self._paths, size=1)
        try:
            await migrate.ensure(database, automatic=True)
        finally:
            await database.close()
        return await self.status()

    async def _of_database(self, pid: int | None) -> StoreStatus:
        database = own_database(self._settings, self._paths, size=1)
        try:
            return await self._look(database, pid)
        finally:
            await database.close()

    async def _look(self, database: Database, pid: int | None) -> StoreStatus:
        state = await migrate.look(database)
        version = await database.row(query("server_version"))
        return StoreStatus(
            kind="embedded" if self._embedded else "server",
            where=str(self._server.folder) if self._embedded else database.where,
            running=True,
            server_version=version["version"] if version else None,
            schema_version=state.stored,
            program_version=migrate.head(),
            milliseconds=round(await database.ping(), 2),
            pid=pid,
        )
