"""Our own store in Postgres, its parts other than jobs, and which database it lives in."""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import errors

from sophia_tui.domain.datasets import DOOR_NAMES, DatasetUser, DatasetVersion
from sophia_tui.domain.gauges import Gauges
from sophia_tui.domain.lists import FIRST, Found, Wanted
from sophia_tui.domain.models import (
    AuditEntry,
    Changes,
    Decision,
    Happened,
    Model,
    ModelFilter,
    Promotion,
)
from sophia_tui.domain.notifications import NotificationStore
from sophia_tui.domain.personas import PersonaStore
from sophia_tui.domain.protocols import (
    AuditStore,
    CheckStore,
    DatasetStore,
    DeploymentStore,
    EvaluationStore,
    FeedbackStore,
    GoldenStore,
    JobStore,
    ModelStore,
    PromotionStore,
    ProviderModelStore,
    RemarkStore,
    ScheduleStore,
    SettingsStore,
    TrafficStore,
    TrainingStore,
)
from sophia_tui.domain.successions import SuccessionStore
from sophia_tui.domain.uploads import FileStore
from sophia_tui.errors import ConflictError, InternalError, NotFoundError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store import rows
from sophia_tui.store.connection import Database, ending_error
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.lists import AUDIT, DATASETS, MODELS, listed
from sophia_tui.store.migrate import ensure
from sophia_tui.store.own_feedback import PostgresFeedback
from sophia_tui.store.own_jobs import PostgresJobs
from sophia_tui.store.own_models import (
    PostgresChecks,
    PostgresGolden,
    PostgresProviderModels,
    PostgresRemarks,
    no_model,
)
from sophia_tui.store.own_notifications import PostgresNotifications
from sophia_tui.store.own_rows import update_row
from sophia_tui.store.own_schedules import PostgresSchedules
from sophia_tui.store.own_serving import PostgresDeployments, PostgresEvaluations, PostgresTraffic
from sophia_tui.store.own_successions import PostgresSuccessions
from sophia_tui.store.own_tuning import PostgresFiles, PostgresPersonas, PostgresTrainings
from sophia_tui.store.sql import query

_HASH = re.compile(r"[0-9a-f]{6,}")
#: So many numbers transactions have in a row's own columns.
_NUMBERS = 2**32


class PostgresDatasets:
    """Implements domain.protocols.DatasetStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, version: DatasetVersion) -> None:
        await self._database.run(query("add_dataset"), rows.dataset_columns(version))

    async def get(self, reference: str, deleted: bool = False) -> DatasetVersion | None:
        reference = rows.text(reference)
        name, sign, digits = reference.rpartition("@")
        if not sign:
            name, digits = reference, ""
        parameters = {"name": name, "hash": digits, "deleted": deleted}
        found = await self._database.row(query("get_dataset"), parameters)
        if found is None and digits:
            tagged = {"name": name, "tag": digits}
            found = await self._database.row(query("get_dataset_by_tag"), tagged)
        if found is None and _HASH.fullmatch(reference):
            by_hash = {"hash": reference, "deleted": deleted}
            found = await self._database.row(query("get_dataset_by_hash"), by_hash)
        return rows.dataset(found) if found else None

    async def page(
        self,
        limit: int = 100,
        offset: int = 0,
        name: str | None = None,
        deleted: bool = False,
    ) -> list[DatasetVersion]:
        parameters = {"limit": limit, "offset": offset, "name": name, "deleted": deleted}
        found = await self._database.rows(query("page_datasets"), parameters)
        return [rows.dataset(each) for each in found]

    async def listed(self, wanted: Wanted) -> Found[DatasetVersion]:
        return await listed(self._database, DATASETS, wanted, rows.dataset)

    async def newest_prepared(self) -> DatasetVersion | None:
        parameters = {"doors": list(DOOR_NAMES)}
        found = await self._database.row(query("newest_prepared_dataset"), parameters)
        return rows.dataset(found) if found else None

    async def tag(
        self, version: DatasetVersion, tag: str, protected: bool, by: str, at: datetime
    ) -> None:
        parameters = {"name": version.name, "hash": version.hash, "tag": tag}
        await self._database.run(
            query("tag_dataset"), {**parameters, "protected": protected, "by": by, "at": at}
        )

    async def untag(self, name: str, tag: str) -> bool:
        found = await self._database.row(
            query("untag_dataset"), {"name": rows.text(name), "tag": rows.text(tag)}
        )
        return found is not None

    async def notice(self, version: DatasetVersion, notice: dict[str, Any]) -> None:
        parameters = {"name": version.name, "hash": version.hash, "notice": rows.column(notice)}
        await self._database.run(query("notice_dataset"), parameters)

    async def delete(self, version: DatasetVersion, by: str, at: datetime) -> bool:
        which = {"name": version.name, "hash": version.hash}
        async with self._database.connection() as connection, connection.transaction():
            gone = await connection.execute(
                query("delete_dataset"), {**which, "id": version.id, "by": by, "at": at}
            )
            if await gone.fetchone() is None:
                return False
            await connection.execute(query("drop_dataset_tags"), which)
        return True

    async def users(self, ids: Sequence[str]) -> list[DatasetUser]:
        found = await self._database.rows(query("trained_on_datasets"), {"ids": list(ids)})
        return [DatasetUser(**each) for each in found]

    async def mentions(
        self, pattern: str | None, conversations: Sequence[str], messages: Sequence[str]
    ) -> list[tuple[str, str, int]]:
        parameters = {
            "pattern": None if pattern is None else rows.text(pattern),
            "conversations": list(conversations),
            "messages": list(messages),
        }
        found = await self._database.rows(query("mentions_of_person"), parameters)
        return [(each["place"], each["id"], each["rows"]) for each in found]


class PostgresModels:
    """Implements domain.protocols.ModelStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, model: Model) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(query("add_model"), rows.model_columns(model))
            except errors.UniqueViolation:
                raise ConflictError(
                    "M409",
                    _("There is a model {id} already.").format(id=model.id),
                    remedy=_("Choose another name."),
                ) from None

    async def get(self, model_id: str, deleted: bool = False) -> Model | None:
        parameters = {"id": rows.text(model_id), "deleted": deleted}
        found = await self._database.row(query("get_model"), parameters)
        return rows.model(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[Model]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_models"), parameters)
        return [rows.model(each) for each in found]

    async def known(
        self, which: ModelFilter, now: datetime, wanted: Wanted = FIRST
    ) -> Found[Model]:
        parameters = {
            "kinds": list(which.kinds),
            "states": list(which.states),
            "id": None if which.model_id is None else rows.text(which.model_id),
            "now": now,
        }
        return await listed(self._database, MODELS, wanted, rows.known_model, parameters)

    async def children(self, model_id: str) -> list[Model]:
        parameters = {"id": rows.text(model_id)}
        found = await self._database.rows(query("children_of_model"), parameters)
        return [rows.model(each) for each in found]

    async def decide(self, model_id: str, version: int, decision: Decision) -> Model:
        columns = rows.decision_columns(decision)
        async with self._database.transaction() as connection:
            changed = await connection.execute(
                query("decide_model"), {**columns, "id": rows.text(model_id), "version": version}
            )
            found = await changed.fetchone()
            if found is not None:
                before = found.pop("before")
                await connection.execute(
                    query("add_remark"), rows.decision_remark(model_id, decision, before)
                )
        if found is None:
            raise await self._not_changed(model_id)
        return rows.model(found)

    async def _not_changed(self, model_id: str) -> SophiaError:
        """Why no row of that id and version was there."""
        if await self.get(model_id) is None:
            return no_model(model_id)
        return ConflictError(
            "M500",
            _("{model} was changed meanwhile.").format(model=model_id),
            remedy=_("Look at it again, and then decide."),
        )

    async def next_id(self, prefix: str = "sophia") -> str:
        while True:
            found = await self._database.row(query("next_model_number"), {"prefix": prefix})
            if found is None:
                raise InternalError("S092", "next_model_number gave no row")
            chosen = f"{prefix}-v{found['last']}"
            if await self._database.row(query("model_exists"), {"id": chosen}) is None:
                return chosen

    async def uses(self, model_id: str) -> list[tuple[str, str]]:
        found = await self._database.rows(query("uses_of_model"), {"id": rows.text(model_id)})
        return [(each["use"], each["who"]) for each in found]

    async def update(self, model_id: str, version: int | None = None, **changes: Any) -> Model:
        columns = {name: rows.column(value) for name, value in changes.items()}
        if "state_conditions" in changes:
            columns["state_conditions"] = rows.json_list(changes["state_conditions"])
        found = await update_row(
            self._database,
            "models",
            Model,
            model_id,
            columns,
            versioned=True,
            unless_moved_from=version,
        )
        if found is None:
            raise await self._not_changed(model_id)
        return rows.model(found)


class PostgresPromotions:
    """Implements domain.protocols.PromotionStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, promotion: Promotion) -> None:
        async with self._database.connection() as connection:
            try:
                await connection.execute(query("add_promotion"), rows.promotion_columns(promotion))
            except errors.UniqueViolation:
                raise ConflictError(
                    "P409",
                    _("Another promotion is not finished yet."),
                    _("Only one may be pending at a time."),
                    _("Wait for it, or finish it with `sophia promote repair`."),
                ) from None

    async def pending(self) -> Promotion | None:
        found = await self._database.row(query("pending_promotion"))
        return rows.promotion(found) if found else None

    async def finish(
        self, promotion_id: str, finished_at: datetime, taken_back: Sequence[str] = ()
    ) -> Promotion:
        parameters = {
            "id": promotion_id,
            "finished_at": finished_at,
            "taken_back": list(taken_back),
        }
        found = await self._database.row(query("finish_promotion"), parameters)
        if found is None:
            raise ConflictError(
                "P082",
                _("The promotion {id} is not under way any more.").format(id=promotion_id),
                remedy=_("`sophia promote history` lists them."),
            )
        return rows.promotion(found)

    async def get(self, promotion_id: str) -> Promotion | None:
        found = await self._database.row(query("get_promotion"), {"id": rows.text(promotion_id)})
        return rows.promotion(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[Promotion]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_promotions"), parameters)
        return [rows.promotion(each) for each in found]

    async def update(self, promotion_id: str, **changes: Any) -> Promotion:
        columns = {name: rows.column(value) for name, value in changes.items()}
        if "changes" in changes:
            columns["changes"] = rows.changes_column(changes["changes"])
        if "steps" in changes:
            columns["steps"] = rows.json_list(changes["steps"])
        found = await update_row(self._database, "promotions", Promotion, promotion_id, columns)
        if found is None:
            raise NotFoundError(
                "P405",
                _("There is no promotion {id}.").format(id=promotion_id),
                remedy=_("`sophia promote history` lists them."),
            )
        return rows.promotion(found)


class PostgresSettings:
    """Implements domain.protocols.SettingsStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> dict[str, str]:
        found = await self._database.rows(query("all_settings"))
        return {each["key"]: each["value"] for each in found}

    async def set(self, key: str, value: str | None, actor: str) -> None:
        if value is None:
            await self._database.run(query("unset_setting"), {"key": key})
            return
        parameters = {"key": key, "value": rows.text(value), "actor": rows.text(actor)}
        await self._database.run(query("set_setting"), parameters)

    async def replace(self, key: str, before: str | None, value: str | None, actor: str) -> bool:
        parameters = {
            "key": key,
            "before": before,
            "value": None if value is None else rows.text(value),
            "actor": rows.text(actor),
        }
        if before is None and value is None:
            return await self._database.row(query("get_setting"), parameters) is None
        chosen = "replace_setting" if before is not None else "set_new_setting"
        if value is None:
            chosen = "unset_known_setting"
        return await self._database.row(query(chosen), parameters) is not None


class PostgresAudit:
    """Implements domain.protocols.AuditStore; the table itself refuses changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: AuditEntry) -> None:
        await self._database.run(query("add_audit"), rows.audit_columns(entry))

    async def page(self, limit: int = 100, offset: int = 0) -> list[AuditEntry]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_audit"), parameters)
        return [rows.audit_entry(each) for each in found]

    async def listed(self, wanted: Wanted) -> Found[AuditEntry]:
        return await listed(self._database, AUDIT, wanted, rows.audit_entry)

    async def happened_since(self, since: datetime, actor: str) -> list[Happened]:
        parameters = {"since": since, "actor": rows.text(actor)}
        found = await self._database.rows(query("happened_since"), parameters)
        return [
            Happened(each["what"], each["label"], each["number"], each["name"]) for each in found
        ]

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes:
        parameters = {
            "operations": list(operations),
            "target": None if target is None else rows.text(target),
            "after": after,
        }
        found = await self._database.rows(query("changes_in_audit"), parameters)
        entries = tuple(rows.audit_entry(each) for each in found if each["at"] is not None)
        return Changes(found[0]["newest"], entries)


#: Seconds before the embedded server is started again.
_RESTART_PAUSE = 1.0


class OwnStore:
    """Implements domain.protocols.Store."""

    jobs: JobStore
    trainings: TrainingStore
    files: FileStore
    personas: PersonaStore
    schedules: ScheduleStore
    datasets: DatasetStore
    models: ModelStore
    evaluations: EvaluationStore
    remarks: RemarkStore
    checks: CheckStore
    golden: GoldenStore
    provider_models: ProviderModelStore
    successions: SuccessionStore
    deployments: DeploymentStore
    traffic: TrafficStore
    feedback: FeedbackStore
    promotions: PromotionStore
    notifications: NotificationStore
    settings: SettingsStore
    audit: AuditStore

    def __init__(self, database: Database) -> None:
        self.database = database
        self._jobs = PostgresJobs(database)
        self.jobs = self._jobs
        self.trainings = PostgresTrainings(database)
        self.files = PostgresFiles(database)
        self.personas = PostgresPersonas(database)
        self.schedules = PostgresSchedules(database)
        self.datasets = PostgresDatasets(database)
        self.models = PostgresModels(database)
        self.evaluations = PostgresEvaluations(database)
        self.remarks = PostgresRemarks(database)
        self.checks = PostgresChecks(database)
        self.golden = PostgresGolden(database)
        self.provider_models = PostgresProviderModels(database)
        self.successions = PostgresSuccessions(database)
        self.deployments = PostgresDeployments(database)
        self.traffic = PostgresTraffic(database)
        self.feedback = PostgresFeedback(database)
        self.promotions = PostgresPromotions(database)
        self.notifications = PostgresNotifications(database)
        self.settings = PostgresSettings(database)
        self.audit = PostgresAudit(database)
        #: How often something was seen to be written, and what the last question saw.
        self._moment = 0
        self._seen: Mapping[str, Any] | None = None

    async def ping(self) -> float:
        return await self.database.ping()

    async def moment(self) -> tuple[int, float]:
        async with self.database.connection() as connection:
            started = time.perf_counter()
            found = await (await connection.execute(query("moment"))).fetchone()
            milliseconds = (time.perf_counter() - started) * 1000
        assert found is not None
        if not _is_same(self._seen, found):
            self._moment += 1
        self._seen = found
        return self._moment, milliseconds

    async def gauges(self) -> Gauges:
        found = await self.database.rows(query("gauges"))
        single = {each["what"]: float(each["value"]) for each in found if not each["label"]}

        def by_state(what: str) -> dict[str, int]:
            return {each["label"]: int(each["value"]) for each in found if each["what"] == what}

        return Gauges(
            jobs=by_state("job"),
            promotions=by_state("promotion"),
            waiting=int(single["waiting"]),
            oldest_seconds=max(0.0, single["oldest"]),
            datasets=int(single["dataset"]),
            models=int(single["model"]),
            workers=int(single["worker"]),
        )

    def leave(self) -> None:
        self.database.ending = True

    async def close(self) -> None:
        with contextlib.suppress(OSError):
            await self._jobs.close()
        await self.database.close()


def is_embedded(settings: Settings) -> bool:
    """Whether the own store is the embedded server."""
    return settings.embedded


def address_of(
    settings: Settings, server: EmbeddedServer, ending: Callable[[], bool] = lambda: False
) -> Callable[[], Awaitable[str]]:
    """What gives the own store's address. The embedded server is started again where it was killed,
    but not where a person stopped it after this process had opened it."""
    if is_embedded(settings):
        opened = False

        async def embedded() -> str:
            nonlocal opened
            if opened and not server.alive():
                # who ends the server may be ending this process too, a moment later (a session that
                # is closed, a machine that shuts down): then it has to stay down
                await asyncio.sleep(_RESTART_PAUSE)
                if ending():
                    raise ending_error()
            found = await server.ensure_running(unless_stopped=opened)
            opened = True
            return found

        return embedded
    chosen = settings.store_url or settings.database_url
    url = chosen.get_secret_value() if chosen else ""

    async def given() -> str:
        return url

    return given


def own_database(settings: Settings, paths: Paths, size: int = 4) -> Database:
    """The database of the own store, not connected yet."""
    server = EmbeddedServer(paths.postgres)
    chosen = settings.db_pass if settings.store_url is None else settings.store_pass
    database: Database
    database = Database(
        address_of(settings, server, lambda: database.ending),
        chosen.get_secret_value() if chosen else None,
        size,
        next_password=settings.next_pass.get_secret_value() if settings.next_pass else None,
    )
    return database


async def open_store(settings: Settings, paths: Paths) -> OwnStore:
    """Start the server where it is ours, make or bring the schema up to date where that may happen
    by itself, and open the store. Raises UnavailableError or SetupError, S001 to S036."""
    database = own_database(settings, paths)
    try:
        await ensure(database, automatic=is_embedded(settings))
    except BaseException:
        await database.close()
        raise
    return OwnStore(database)


def _is_same(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Whether all that was written between two moments is that the same workers still live."""
    if before is None or before["told"] != now["told"]:
        return False
    if before["seen"] == now["seen"]:
        return True
    if before["low"] != before["high"] or now["low"] != now["high"]:
        return False  # something was being written at one of them
    written = now["high"] - before["high"]
    beats = sum((each - before["high"]) % _NUMBERS < written for each in now["beats"] or ())
    return bool(beats == written)
