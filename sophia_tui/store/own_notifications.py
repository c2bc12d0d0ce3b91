"""Notifications in Postgres: noted once, taken by one worker at a time, until sent or given up."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from sophia_tui.domain.notifications import Notification
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.sql import query


class PostgresNotifications:
    """Implements domain.notifications.NotificationStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, job_id: str, event: str, channels: tuple[str, ...], body: Mapping[str, Any]
    ) -> None:
        parameters = {
            "job_id": job_id,
            "event": rows.text(event),
            "channels": list(channels),
            "body": Jsonb(rows.plain(body)),
        }
        await self._database.run(query("add_notifications"), parameters)

    async def take(self, limit: int, seconds: float) -> list[Notification]:
        parameters = {"limit": limit, "seconds": seconds}
        found = await self._database.rows(query("take_notifications"), parameters)
        return [rows.notification(each) for each in found]

    async def sent(self, notification_id: int) -> None:
        await self._database.run(query("notification_sent"), {"id": notification_id})

    async def failed(self, notification_id: int, error: str, retry_in: float | None) -> None:
        parameters = {"id": notification_id, "error": rows.text(error), "seconds": retry_in}
        await self._database.run(query("notification_failed"), parameters)

    async def waiting(self) -> int:
        found = await self._database.row(query("waiting_notifications"))
        return int(found["number"]) if found else 0

    async def page(self, limit: int = 100, offset: int = 0) -> list[Notification]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_notifications"), parameters)
        return [rows.notification(each) for each in found]
