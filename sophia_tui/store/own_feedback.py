"""People's reactions and ratings in Postgres, as far as Sophia keeps them."""

from datetime import datetime

from sophia_tui.domain.feedback import FeedbackDay
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.sql import query


class PostgresFeedback:
    """Implements domain.protocols.FeedbackStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_day(self, since: datetime, until: datetime, zone: str) -> list[FeedbackDay]:
        parameters = {"since": since, "until": until, "zone": zone}
        found = await self._database.rows(query("feedback_by_day"), parameters)
        return [rows.feedback_day(each) for each in found]

    async def first_at(self) -> datetime | None:
        return rows.first(await self._database.row(query("feedback_first")))
