"""Evaluations, deployments and the figures of served requests in Postgres."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import errors

from sophia_tui.domain.lists import Found, Wanted
from sophia_tui.domain.models import Evaluation
from sophia_tui.domain.serving import Deployment, ServedRequest, TrafficSummary
from sophia_tui.errors import ConflictError, NotFoundError
from sophia_tui.i18n import _
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.lists import DEPLOYMENTS, listed
from sophia_tui.store.own_rows import update_row
from sophia_tui.store.sql import query


class PostgresEvaluations:
    """Implements domain.protocols.EvaluationStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, evaluation: Evaluation) -> None:
        await self._database.run(query("add_evaluation"), rows.evaluation_columns(evaluation))

    async def get(self, evaluation_id: str) -> Evaluation | None:
        parameters = {"id": rows.text(evaluation_id)}
        found = await self._database.row(query("get_evaluation"), parameters)
        return rows.evaluation(found) if found else None

    async def page(
        self, model_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[Evaluation]:
        parameters = {
            "model": None if model_id is None else rows.text(model_id),
            "limit": limit,
            "offset": offset,
        }
        found = await self._database.rows(query("page_evaluations"), parameters)
        return [rows.evaluation(each) for each in found]


class PostgresDeployments:
    """Implements domain.protocols.DeploymentStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deployment: Deployment) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(
                    query("add_deployment"), rows.deployment_columns(deployment)
                )
            except errors.UniqueViolation:
                raise ConflictError(
                    "M420",
                    _("The name {name} is served already.").format(name=deployment.name),
                    remedy=_("Stop it first, or serve the model under another name."),
                ) from None

    async def get(self, reference: str) -> Deployment | None:
        parameters = {"id": rows.text(reference)}
        found = await self._database.row(query("get_deployment"), parameters)
        return rows.deployment(found) if found else None

    async def page(
        self, limit: int = 100, offset: int = 0, living: bool = False
    ) -> list[Deployment]:
        parameters = {"limit": limit, "offset": offset, "living": living}
        found = await self._database.rows(query("page_deployments"), parameters)
        return [rows.deployment(each) for each in found]

    async def listed(self, wanted: Wanted, living: bool = False) -> Found[Deployment]:
        given = {"living": living}
        return await listed(self._database, DEPLOYMENTS, wanted, rows.deployment, given)

    async def update(self, deployment_id: str, **changes: Any) -> Deployment:
        columns = {
            name: rows.column(value) for name, value in changes.items() if name != "identity"
        }
        if "identity" in changes:
            identity = changes["identity"]
            columns |= {"host": None, **rows.identity_columns(identity)}
        found = await update_row(
            self._database,
            "deployments",
            Deployment,
            deployment_id,
            columns,
            versioned=True,
            more=frozenset({"host", "boot_id", "pid", "process_started"}),
        )
        if found is None:
            raise NotFoundError(
                "M421",
                _("There is no deployment {id}.").format(id=deployment_id),
                remedy=_("`sophia serve list` lists them."),
            )
        return rows.deployment(found)


class PostgresTraffic:
    """Implements domain.protocols.TrafficStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, requests: Sequence[ServedRequest]) -> None:
        if not requests:
            return
        columns = {
            name: [rows.column(getattr(each, name)) for each in requests]
            for name in ServedRequest.__dataclass_fields__
        }
        await self._database.run(query("add_served_requests"), columns)

    async def summary(
        self, since: datetime, until: datetime, bucket_seconds: int, model: str | None = None
    ) -> list[TrafficSummary]:
        parameters = {
            "since": since,
            "until": until,
            "bucket": bucket_seconds,
            "model": None if model is None else rows.text(model),
        }
        found = await self._database.rows(query("traffic_summary"), parameters)
        return [rows.traffic(each) for each in found]

    async def totals(
        self, since: datetime, until: datetime, model: str | None = None
    ) -> list[TrafficSummary]:
        parameters = {
            "since": since,
            "until": until,
            "model": None if model is None else rows.text(model),
        }
        found = await self._database.rows(query("traffic_totals"), parameters)
        return [rows.traffic(each) for each in found]

    async def first_at(self) -> datetime | None:
        return rows.first(await self._database.row(query("traffic_first")))
