"""The owner's database: looked at and exported, never altered. Connects anew for each question."""

from collections.abc import Sequence
from datetime import datetime

from sophia_tui.domain.context import Context
from sophia_tui.domain.events import FoundAnswers
from sophia_tui.domain.feedback import FeedbackReport
from sophia_tui.domain.protocols import (
    AnswerRow,
    ExportRequest,
    ExportResult,
    PersonRows,
    TableReport,
)
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store.source_columns import TABLES
from sophia_tui.store.source_connection import SourceAddress
from sophia_tui.store.source_tables import find_tables


class PostgresSource:
    """A Source. No connection is kept, so a restarted server or a pooler is nothing special."""

    def __init__(self, address: SourceAddress, schema: str | None) -> None:
        self._address = address
        self._schema = schema

    async def inspect(self) -> list[TableReport]:
        """Every table that Sophia knows. Raises UnavailableError D102 to D109."""
        async with self._address.transaction() as connection:
            tables = await find_tables(connection, self._schema)
            return [tables.report(name) for name in TABLES]

    async def export(self, request: ExportRequest, context: Context) -> list[ExportResult]:
        """All asked exports from one state of the database; see export.Exporter.run."""
        from sophia_tui.store.export import Exporter

        async with self._address.transaction() as connection:
            tables = await find_tables(connection, self._schema)
            return await Exporter(connection, tables, request, context).run()

    async def feedback_by_day(self, since: datetime, until: datetime, zone: str) -> FeedbackReport:
        """Signals of a half-open period, counted by day of `zone`. Raises UnavailableError D102 to
        D109, SetupError D107."""
        from sophia_tui.store.source_feedback import feedback_by_day

        async with self._address.transaction() as connection:
            tables = await find_tables(connection, self._schema)
            return await feedback_by_day(connection, tables, since, until, zone)

    async def answers(self, limit: int, tenant: str | None) -> FoundAnswers:
        """The newest answer events. Raises UnavailableError D102 to D109, SetupError D107."""
        from sophia_tui.store.source_events import answers

        async with self._address.transaction() as connection:
            return await answers(connection, self._schema, limit, tenant)

    async def answer(self, table: str, key: str, zone: str) -> AnswerRow | None:
        """One answer by its key. Raises UnavailableError D102 to D109, SetupError D107."""
        from sophia_tui.store.source_answer import answer_row

        async with self._address.transaction() as connection:
            tables = await find_tables(connection, self._schema)
            return await answer_row(connection, tables, table, key, zone)

    async def person(
        self, customers: Sequence[str], emails: Sequence[str], phones: Sequence[str]
    ) -> PersonRows:
        """The rows that are a person's. Raises UnavailableError D102 to D109, SetupError D107."""
        from sophia_tui.store.source_person import person_rows

        async with self._address.transaction() as connection:
            tables = await find_tables(connection, self._schema)
            return await person_rows(connection, tables, customers, emails, phones)

    async def close(self) -> None:
        """Nothing is kept open."""


async def open_source(settings: Settings, paths: Paths) -> PostgresSource:
    """The source: DATABASE_URL, else the schema `public` of the embedded server.

    Connects to nothing yet. Raises UsageError D101 for an address that can't be read.
    """
    address = SourceAddress(settings, paths)
    schema = settings.source_schema or ("public" if address.embedded else None)
    return PostgresSource(address, schema)
