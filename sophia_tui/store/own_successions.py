"""The ways off models that end, in Postgres."""

from typing import Any

from psycopg import errors

from sophia_tui.domain.successions import Succession
from sophia_tui.errors import ConflictError
from sophia_tui.i18n import _
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.own_rows import update_row
from sophia_tui.store.sql import query


class PostgresSuccessions:
    """Implements domain.successions.SuccessionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, succession: Succession) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(
                    query("add_succession"), rows.succession_columns(succession)
                )
            except errors.UniqueViolation:
                raise ConflictError(
                    "M601",
                    _("The way off {model} is begun already.").format(model=succession.model_id),
                    remedy=_("`sophia models succession {model}` shows how far it is.").format(
                        model=succession.model_id
                    ),
                ) from None

    async def get(self, reference: str) -> Succession | None:
        parameters = {"reference": rows.text(reference)}
        found = await self._database.row(query("get_succession"), parameters)
        return rows.succession(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[Succession]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_successions"), parameters)
        return [rows.succession(each) for each in found]

    async def update(self, succession_id: str, version: int, **changes: Any) -> Succession:
        columns = {name: rows.column(value) for name, value in changes.items()}
        found = await update_row(
            self._database,
            "successions",
            Succession,
            succession_id,
            columns,
            versioned=True,
            unless_moved_from=version,
        )
        if found is None:
            raise ConflictError(
                "M602",
                _("Somebody else went on with it in the meantime."),
                remedy=_("Look at it again: `sophia models succession`."),
            )
        return rows.succession(found)
