"""What is kept beside models in Postgres: remarks, checks, golden answers, providers' lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import errors

from sophia_tui.domain.models import (
    CheckKind,
    GoldenAnswers,
    ModelCheck,
    ProviderModels,
    Remark,
    RemarkKind,
)
from sophia_tui.errors import InternalError, NotFoundError
from sophia_tui.i18n import _
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.sql import query


def no_model(model_id: str) -> NotFoundError:
    """That the store has no such model."""
    return NotFoundError(
        "M404",
        _("There is no model {model}.").format(model=model_id),
        remedy=_("`sophia models list` lists them."),
    )


class PostgresRemarks:
    """Implements domain.protocols.RemarkStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        model_id: str,
        by: str,
        kind: RemarkKind,
        text: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> Remark:
        parts = {"model_id": model_id, "by": by, "kind": kind, "text": text}
        columns = {name: rows.column(value) for name, value in parts.items()}
        columns["detail"] = rows.column(detail or {})
        async with self._database.connection() as connection:
            try:
                added = await connection.execute(query("add_remark"), columns)
            except errors.ForeignKeyViolation:
                raise no_model(model_id) from None
            found = await added.fetchone()
        if found is None:
            raise InternalError("M501", "add_remark gave no row")
        return rows.remark(found)

    async def page(self, model_id: str, limit: int = 100, offset: int = 0) -> list[Remark]:
        parameters = {"model": rows.text(model_id), "limit": limit, "offset": offset}
        found = await self._database.rows(query("page_remarks"), parameters)
        return [rows.remark(each) for each in found]


class PostgresChecks:
    """Implements domain.protocols.CheckStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, check: ModelCheck) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(query("add_model_check"), rows.model_check_columns(check))
            except errors.ForeignKeyViolation:
                raise no_model(check.model_id) from None

    async def get(self, check_id: str) -> ModelCheck | None:
        found = await self._database.row(query("get_model_check"), {"id": rows.text(check_id)})
        return rows.model_check(found) if found else None

    async def newest(self, model_id: str, kind: CheckKind) -> ModelCheck | None:
        found = await self.page(model_id, kind, limit=1)
        return found[0] if found else None

    async def page(
        self, model_id: str, kind: CheckKind | None = None, limit: int = 100, offset: int = 0
    ) -> list[ModelCheck]:
        parameters = {
            "model": rows.text(model_id),
            "kind": rows.column(kind),
            "limit": limit,
            "offset": offset,
        }
        found = await self._database.rows(query("page_model_checks"), parameters)
        return [rows.model_check(each) for each in found]


class PostgresGolden:
    """Implements domain.protocols.GoldenStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, golden: GoldenAnswers) -> None:
        await self._database.run(query("add_golden_answers"), rows.golden_columns(golden))

    async def get(self, golden_id: str) -> GoldenAnswers | None:
        parameters = {"id": rows.text(golden_id)}
        found = await self._database.row(query("get_golden_answers"), parameters)
        return rows.golden_answers(found) if found else None

    async def newest(self, model_id: str) -> GoldenAnswers | None:
        found = await self.page(model_id, limit=1)
        return found[0] if found else None

    async def page(
        self, model_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[GoldenAnswers]:
        parameters = {
            "model": None if model_id is None else rows.text(model_id),
            "limit": limit,
            "offset": offset,
        }
        found = await self._database.rows(query("page_golden_answers"), parameters)
        return [rows.golden_answers(each) for each in found]


class PostgresProviderModels:
    """Implements domain.protocols.ProviderModelStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, base_url: str, seen_at: datetime, models: Sequence[Mapping[str, Any]]
    ) -> ProviderModels:
        parameters = {
            "base_url": rows.text(base_url),
            "seen_at": seen_at,
            "models": rows.json_list(models),
        }
        found = await self._database.row(query("put_provider_models"), parameters)
        if found is None:
            raise InternalError("M502", "put_provider_models gave no row")
        return rows.provider_models(found)

    async def get(self, base_url: str) -> ProviderModels | None:
        parameters = {"base_url": rows.text(base_url)}
        found = await self._database.row(query("get_provider_models"), parameters)
        return rows.provider_models(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[ProviderModels]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_provider_models"), parameters)
        return [rows.provider_models(each) for each in found]
