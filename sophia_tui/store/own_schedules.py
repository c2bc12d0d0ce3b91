"""Schedules in Postgres: each due time is taken by one worker."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from psycopg import errors, sql

from sophia_tui.domain.jobs import Schedule
from sophia_tui.domain.lists import Found, Wanted
from sophia_tui.errors import ConflictError, InternalError, NotFoundError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.lists import SCHEDULES, listed
from sophia_tui.store.sql import query

_CHANGEABLE = frozenset(Schedule.__dataclass_fields__) - {
    "id",
    "version",
    "created_by",
    "created_at",
}


class PostgresSchedules:
    """Implements domain.protocols.ScheduleStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, schedule: Schedule) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(query("add_schedule"), rows.schedule_columns(schedule))
            except errors.UniqueViolation:
                raise ConflictError(
                    "J591",
                    _("There is a schedule {name} already.").format(name=schedule.id),
                    remedy=_("Choose another name, or change that one: `sophia schedules change`."),
                ) from None

    async def get(self, schedule_id: str) -> Schedule | None:
        found = await self._database.row(query("get_schedule"), {"id": rows.text(schedule_id)})
        return rows.schedule(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[Schedule]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_schedules"), parameters)
        return [rows.schedule(each) for each in found]

    async def listed(self, wanted: Wanted) -> Found[Schedule]:
        return await listed(self._database, SCHEDULES, wanted, rows.schedule)

    async def update(self, schedule_id: str, version: int, **changes: Any) -> Schedule:
        if unknown := set(changes) - _CHANGEABLE:
            raise InternalError("S096", f"No column of a schedule: {', '.join(sorted(unknown))}.")
        columns = {name: rows.column(value) for name, value in changes.items()}
        assignments: list[sql.Composable] = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in columns
        ]
        statement = sql.SQL(
            "UPDATE sophia.schedules SET {}, version = version + 1"
            " WHERE id = %(this_id)s AND version = %(this_version)s RETURNING *"
        ).format(sql.SQL(", ").join(assignments))
        parameters = {**columns, "this_id": schedule_id, "this_version": version}
        async with self._database.connection() as connection:
            found = await (await connection.execute(statement, parameters)).fetchone()
        if found is None:
            raise await self._missed(schedule_id)
        return rows.schedule(found)

    async def remove(self, schedule_id: str, version: int) -> None:
        parameters = {"id": rows.text(schedule_id), "version": version}
        if await self._database.row(query("remove_schedule"), parameters) is None:
            raise await self._missed(schedule_id)

    async def _missed(self, schedule_id: str) -> SophiaError:
        if await self.get(schedule_id) is None:
            return missing(schedule_id)
        return ConflictError(
            "J592",
            _("Schedule {name} was changed meanwhile.").format(name=schedule_id),
            remedy=_("Look at it again, then repeat what you wanted."),
        )

    async def begin_due(
        self, worker_id: str, now: datetime, following: Callable[[Schedule], datetime | None]
    ) -> Schedule | None:
        async with self._database.transaction() as connection:
            cursor = await connection.execute(query("lock_due_schedule"), {"now": now})
            found = await cursor.fetchone()
            if found is None:
                return None
            parameters = {
                "id": found["id"],
                "now": now,
                "worker": worker_id,
                "next_at": following(rows.schedule(found)),
            }
            begun = await (await connection.execute(query("begin_schedule"), parameters)).fetchone()
        return rows.schedule(begun) if begun else None

    async def end(
        self, schedule_id: str, worker_id: str, outcome: str, result: Mapping[str, Any] | None
    ) -> None:
        parameters = {
            "id": schedule_id,
            "worker": worker_id,
            "outcome": outcome,
            "result": rows.column(result),
        }
        await self._database.row(query("end_schedule"), parameters)

    async def forsaken(self, within_seconds: float) -> list[Schedule]:
        parameters = {"seconds": within_seconds}
        found = await self._database.rows(query("forsaken_schedules"), parameters)
        return [rows.schedule(each) for each in found]

    async def any_enabled(self) -> bool:
        found = await self._database.row(query("schedules_wait"))
        return bool(found and found["wait"])


def missing(schedule_id: str) -> NotFoundError:
    """The error for a schedule that is not there."""
    return NotFoundError(
        "J590",
        _("There is no schedule {name}.").format(name=schedule_id),
        remedy=_("`sophia schedules list` lists them."),
    )
