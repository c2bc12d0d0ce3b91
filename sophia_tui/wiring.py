"""The house, wired: the real store, source, launcher and clock for the services, on first use.

Nothing is opened or read when this module is imported or a House is made, and of our own only what
is light is imported: the console paints its first screen before the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.errors import SophiaError
from sophia_tui.paths import Paths, data_folder, system_user
from sophia_tui.roles import as_role, read_roles

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sophia_tui.audit_spool import AuditSpool
    from sophia_tui.domain.hosted import HostedTrainer
    from sophia_tui.domain.managed import RootHelper
    from sophia_tui.domain.models import AuditEntry, Changes, Promotion
    from sophia_tui.domain.notifications import Messenger
    from sophia_tui.domain.operations import Output
    from sophia_tui.domain.protocols import ChatModel, EngineHost, RunLauncher, Source, Store
    from sophia_tui.domain.serving import Probe
    from sophia_tui.services.calendar import CalendarService
    from sophia_tui.services.deployments import Deployments
    from sophia_tui.services.operations import Dispatcher, Registry
    from sophia_tui.services.prices import Prices
    from sophia_tui.settings import Settings

_log = logging.getLogger("sophia")

#: Seconds until a promotion that could not be mended is tried again: each time longer.
_MEND_PAUSE = 30.0
_LONGEST_MEND_PAUSE = 900.0


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class House:
    """One process's view of Sophia: settings, paths, store, source, services, dispatcher."""

    _FOLDERLESS = frozenset({"SetupService", "SetupStepsService", "UnitsService", "EnvService"})

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        readonly: bool = False,
        language: str = "en",
        operations: Registry | None = None,
    ) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        #: Whether what libraries read from the process's own environment is ours to complete.
        self._of_process = environment is None or environment is os.environ
        self.readonly = readonly
        self.language = language
        self._operations = operations
        self.clock = SystemClock()
        self.paths = Paths(data_folder(self.environment))
        self._settings: Settings | None = None
        self._given: dict[str, Any] | None = None
        self._store: Store | None = None
        self._source: Source | None = None
        self._services: dict[type, Any] = {}
        self._opening = asyncio.Lock()
        self._mend_after = self._mend_pause = 0.0

    @cached_property
    def registry(self) -> Registry:
        """All that can be asked; collected on first use, since that is most of a start's time."""
        if self._operations is not None:
            return self._operations
        from sophia_tui.services.catalogue import registry

        return registry()

    @cached_property
    def dispatcher(self) -> Dispatcher:
        from sophia_tui.services.operations import Dispatcher

        return Dispatcher(self.registry, self)

    @cached_property
    def _spool(self) -> AuditSpool:
        from sophia_tui.audit_spool import AuditSpool

        return AuditSpool(self.paths.audit_spool)

    @property
    def settings(self) -> Settings:
        """The settings in force; Sophia's own table counts once the store is open."""
        if self._settings is None:
            from sophia_tui.settings import load, made_values, surroundings

            if self._of_process:
                os.environ.update(surroundings(self.environment))
            self._settings = load(self.environment, made=made_values(self.paths))
        return self._settings

    @cached_property
    def actor(self) -> str:
        return system_user(self.environment)

    def role_of(self, actor: str) -> Role:
        """The role that SOPHIA_ROLES gives; who is not named there, nor as *, may look.

        Raises UsageError T423 for a word that is no role, T425 for what is no user=role pair,
        whoever asks: half-read rights are worse than none.
        """
        given = read_roles(self.settings.roles)
        return given.get(actor, given.get("*", Role.VIEWER))

    def context(
        self,
        face: Face,
        dry_run: bool = False,
        confirmed: bool = False,
        cancel: CancelSignal | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
        tell: Callable[[Any], None] = lambda part: None,
        actor: str | None = None,
        role: Role | None = None,
        language: str | None = None,
        detach: bool = False,
        seen: int | None = None,
    ) -> Context:
        """A context for this process's person, or for a caller over HTTP."""
        return Context(
            actor=actor or self.actor,
            face=face,
            role=role or self.role_of(actor or self.actor),
            language=language or self.language,
            readonly=self.readonly,
            dry_run=dry_run,
            confirmed=confirmed,
            detach=detach,
            cancel=cancel or CancelSignal(),
            progress=progress,
            tell=tell,
            seen=seen,
        )

    async def changes(
        self, operations: Sequence[str], target: str | None, after: int | None
    ) -> Changes:
        """What the audit tells of a record; see AuditStore."""
        store = await self.store()
        return await store.audit.changes(operations, target, after)

    async def store(self) -> Store:
        """The own store, opened on first use. Raises UnavailableError or SetupError."""
        async with self._opening:
            if self._store is None:
                from sophia_tui.store.own import open_store

                self._log_to_file()
                self._store = await open_store(self.settings, self.paths)
                await self._spool.drain(self._store.audit.add)
            await self._refresh_settings(self._store)
        return self._store

    async def source(self) -> Source:
        """The owner's database, opened on first use."""
        async with self._opening:
            if self._source is None:
                from sophia_tui.store.source import open_source

                self._source = await open_source(self.settings, self.paths)
        return self._source

    async def perform(self, operation: str, request: Mapping[str, Any], actor: str) -> BaseModel:
        """Run what is due by the calendar, as who made the schedule: with their role of today, and
        the limits of callers over HTTP where they are one."""
        over_http = actor.startswith("api:")
        context = self.context(
            Face.API if over_http else Face.WORKER,
            actor=actor,
            role=as_role(actor.removeprefix("api:"), "SOPHIA_ROLES") if over_http else None,
        )
        return await self.dispatcher.call(operation, request, context)

    def launcher(self) -> RunLauncher:
        from sophia_tui.providers.local import LocalLauncher

        return LocalLauncher(self.paths, self.settings)

    def engines(self) -> EngineHost:
        from sophia_tui.paths import model_cache
        from sophia_tui.providers.engines import LocalEngines

        return LocalEngines(model_cache=model_cache(self.paths))

    async def deployments(self) -> Deployments:
        """What brings served models to life and watches them."""
        from sophia_tui.services.deployments import Deployments

        store = await self.store()
        return Deployments(store, self.engines(), self.settings, self.paths, self.clock)

    async def prober(
        self, base_url: str | None, api_key: str | None, model: str, seconds: float
    ) -> Probe:
        from sophia_tui.providers.model_probe import probe

        return await probe(base_url, api_key, model, seconds)

    async def wake(self) -> None:
        """Make sure that somebody takes queued jobs: a living worker, else one of our own."""
        from sophia_tui.worker.spawn import ensure_worker

        store = await self.store()
        living = await store.jobs.living_workers(within_seconds=20)
        ensure_worker(self.paths, self.environment, living)

    def trainer(self, base_url: str | None) -> HostedTrainer:
        """The OpenAI-compatible service at that address; None is the provider's own. Raises
        UnavailableError J533 where the settings are for another one."""
        from sophia_tui.providers.openai_jobs import OpenAITrainer
        from sophia_tui.services.train_hosted import key_for

        return OpenAITrainer(base_url, key_for(self.settings, base_url))

    def chat(self, base_url: str | None) -> ChatModel:
        """The chat models at that address. Raises UnavailableError J533 where the settings are for
        another one."""
        from sophia_tui.providers.chat import OpenAIChat
        from sophia_tui.services.train_hosted import key_for

        return OpenAIChat(base_url, key_for(self.settings, base_url))

    def messenger(self) -> Messenger:
        from sophia_tui.providers.messenger import LiveMessenger

        return LiveMessenger(self.settings)

    def calendar(self) -> CalendarService:
        """Until when the models answer that env files name."""
        from sophia_tui.providers.model_list import list_models
        from sophia_tui.services.calendar import CalendarService
        from sophia_tui.services.managed_env import ManagedEnv

        env = ManagedEnv(self.helper())
        return CalendarService(self.store, self.settings, self.clock, self.prices, env, list_models)

    def helper(self) -> RootHelper:
        """The root helper of a server; where there is none, it knows no file and no unit."""
        from sophia_tui.paths import SERVER_HELPER
        from sophia_tui.providers.root_helper import SocketHelper

        return SocketHelper(SERVER_HELPER, self.actor)

    def prices(self) -> Prices:
        """Prices and shutdown dates in force, read anew: an operator may have changed the file.

        Raises UsageError T430, T431, T432.
        """
        from sophia_tui.services.prices import load_prices

        return load_prices(self.settings, self.paths)

    async def half_done(self) -> Promotion | None:
        """A promotion that was begun here, was cut off, and that nobody is at now."""
        from sophia_tui.providers.machine import ThisMachine
        from sophia_tui.services.promotion_lock import PromotionLock
        from sophia_tui.services.promotion_recovery import cut_off, place_of

        place = place_of(ThisMachine.here().host, self.paths.data)
        return await cut_off(await self.store(), PromotionLock(self.paths), place)

    async def mend(self, face: Face) -> str | None:
        """At the start of a process, and by the worker and the API again and again: finish or undo
        a promotion that was cut off, where nobody is at one now. What came of it, in words; trouble
        is logged, and tried again after a pause that grows."""
        if self.readonly or time.monotonic() < self._mend_after:
            return None
        try:
            if await self.half_done() is None:
                self._mend_pause = 0.0
                return None
            # a service's own account may; a person's console only where the person may promote
            role = self.role_of(self.actor) if face is Face.CONSOLE else Role.ADMIN
            if not role.allows(Role.ADMIN):
                return None
            # what can't be mended now is not tried twice a minute, each time with a row
            self._mend_pause = min(_LONGEST_MEND_PAUSE, self._mend_pause * 2 + _MEND_PAUSE)
            self._mend_after = time.monotonic() + self._mend_pause
            context = self.context(face, role=role)
            found: Any = await self.dispatcher.call("promote.repair", {}, context)
            self._mend_after = self._mend_pause = 0.0
        except SophiaError as problem:
            _log.warning("a promotion may stay half done: %s %s", problem.code, problem.what)
            return None
        except Exception as problem:  # a defect must not keep a process from starting
            from sophia_tui.services.operations import logged_error

            logged_error(problem, "promote.repair")
            return None
        if found.promotion is None:
            return None
        _log.warning("promotion %s was cut off at %s: %s", found.promotion, found.step, found.state)
        return " ".join([found.promotion, *found.notes])

    def training_allowed(self) -> bool:
        return self.settings.allow_finetune

    async def service(self, kind: type) -> Any:
        """The service of that class, built on first use and again when settings change.

        Raises SetupError S102 where the data folder can't be used; only the check of the set-up
        goes on then.
        """
        if kind.__name__ not in self._FOLDERLESS:
            self.require_folder()
        if self._store is not None:
            # another process may have changed them; a store that is away is the service's to tell
            with contextlib.suppress(SophiaError):
                await self._refresh_settings(self._store)
        if kind not in self._services:
            made = await FACTORIES[kind.__name__](self)
            # two that ask at once get the same one: it may know what is under way
            self._services.setdefault(kind, made)
        return self._services[kind]

    async def audit(self, entry: AuditEntry) -> None:
        """Write one entry; while the store can't be reached, into the spool beside it."""
        if entry.operation == "store.stop":
            await self._close_store()
        if self._store is not None:
            try:
                await self._store.audit.add(entry)
                return
            except SophiaError as problem:
                _log.warning("audit goes to the spool: %s", problem.code)
        self._spool.add(entry)

    async def detach(self, name: str, request: BaseModel, context: Context) -> Output:
        """Queue a job that does the operation. Raises UnavailableError."""
        from sophia_tui.services.detached import queue

        store = await self.store()
        view = await queue(store, self.clock, self.settings, name, request, context)
        await self.wake()
        return view

    async def _refresh_settings(self, store: Store) -> None:
        from sophia_tui.settings import gathered, made_of, made_values

        table = await store.settings.all()
        given = gathered(self.environment, table, made=made_values(self.paths))
        if given == self._given:
            return  # checking all of them costs more than a look at Overview
        fresh = made_of(given)
        self._given = given
        if fresh != self._settings:
            self._settings = fresh
            self._services.clear()

    def require_folder(self) -> None:
        """Make the data folder where it is missing. Raises SetupError S102, S101 (disk full)."""
        from sophia_tui.files import usable_folder

        usable_folder(self.paths.data)

    def _log_to_file(self) -> None:
        """Defects and warnings go to a file; a person's terminal gets only the clear error."""
        if _log.handlers:
            return
        from sophia_tui.files import usable_folder
        from sophia_tui.logs import LogFile

        self.require_folder()
        usable_folder(self.paths.logs)
        handler = LogFile(self.paths.logs / "sophia.log", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        _log.addHandler(handler)
        _log.setLevel(self.settings.log_level.upper())
        _log.propagate = False

    async def _close_store(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            self._services.clear()
            await store.close()

    async def close(self) -> None:
        """Let go of connections; the embedded server stays for the other processes."""
        await self._close_store()
        if self._source is not None:
            source, self._source = self._source, None
            await source.close()
        _log.propagate = True
        for handler in list(_log.handlers):
            _log.removeHandler(handler)
            handler.close()


Factory = Callable[[House], Awaitable[Any]]


async def _overview(house: House) -> Any:
    from sophia_tui.services.overview import OverviewService

    return OverviewService(
        await house.store(),
        house.source,
        house.settings,
        house.paths,
        house.clock,
        house.wake,
        house.calendar().look,
        house.half_done,
    )


async def _meanwhile(house: House) -> Any:
    from sophia_tui.services.meanwhile import MeanwhileService

    return MeanwhileService(await house.store(), house.clock, house.settings.timezone)


async def _setup(house: House) -> Any:
    from sophia_tui.providers.key_probe import probe_key
    from sophia_tui.providers.surroundings import ThisServer
    from sophia_tui.services.setup import SetupService
    from sophia_tui.store.admin import PostgresAdmin

    return SetupService(
        house.store,
        house.source,
        PostgresAdmin(house.settings, house.paths).status,
        house.settings,
        house.paths,
        house.environment,
        ThisServer(house.environment),
        probe_key,
        house.clock,
        house.helper(),
        house.calendar().look,
        house.half_done,
    )


async def _bundle(house: House) -> Any:
    from sophia_tui.providers.surroundings import ThisServer, said
    from sophia_tui.services.bundle import BundleService
    from sophia_tui.store.admin import PostgresAdmin

    return BundleService(
        house.store,
        PostgresAdmin(house.settings, house.paths).status,
        house.dispatcher.call,
        house.settings,
        house.paths,
        house.environment,
        ThisServer(house.environment),
        said,
        house.clock,
    )


async def _setup_steps(house: House) -> Any:
    from sophia_tui.providers.steps import InstalledSteps
    from sophia_tui.services.setup_steps import SetupStepsService

    return SetupStepsService(InstalledSteps())


async def _setup_begin(house: House) -> Any:
    from pydantic import SecretStr

    from sophia_tui.providers.key_probe import probe_key
    from sophia_tui.providers.surroundings import ThisServer
    from sophia_tui.services.setup_begin import SetupBeginService
    from sophia_tui.store.source import open_source

    async def try_source(url: str, password: str | None) -> Source:
        secret = SecretStr(password) if password else None
        given = {"database_url": SecretStr(url), "db_pass": secret}
        return await open_source(house.settings.model_copy(update=given), house.paths)

    return SetupBeginService(
        house.dispatcher.call,
        house.settings,
        house.environment,
        ThisServer(house.environment),
        probe_key,
        try_source,
    )


async def _units(house: House) -> Any:
    from sophia_tui.paths import SERVER_HELPER
    from sophia_tui.providers.root_helper import SocketHelper
    from sophia_tui.providers.systemd import LocalServices
    from sophia_tui.services.units import UnitsService

    helper = SocketHelper(SERVER_HELPER, house.actor)
    return UnitsService(LocalServices(helper), house.settings)


async def _collect(house: House) -> Any:
    from sophia_tui.services.collect import CollectService

    try:
        await house.store()  # for the settings that Sophia keeps; the source is read without, too
    except SophiaError as problem:
        _log.warning("collect goes on without the store: %s", problem.code)
    return CollectService(house.source, house.settings, house.clock)


async def _prepare(house: House) -> Any:
    from sophia_tui.services.prepare import PrepareService

    store = await house.store()
    return PrepareService(store.datasets, house.settings, house.paths, house.clock)


async def _clean(house: House) -> Any:
    from sophia_tui.services.clean import CleanService

    store = await house.store()
    return CleanService(store.datasets, house.settings, house.paths, house.clock)


async def _convert(house: House) -> Any:
    from sophia_tui.services.convert import ConvertService

    return ConvertService(house.settings)


async def _inspect(house: House) -> Any:
    from sophia_tui.services.inspect import InspectService

    return InspectService(house.settings, house.paths)


async def _near(house: House) -> Any:
    from sophia_tui.services.near import NearService

    return NearService(house.settings, house.paths)


async def _browse(house: House) -> Any:
    from sophia_tui.services.browse import BrowseService

    async def datasets() -> Any:
        return (await house.store()).datasets

    return BrowseService(datasets, house.settings, house.paths, house.clock)


async def _quality_gate(house: House) -> Any:
    from sophia_tui.services.quality_gate import QualityGateService

    store = await house.store()
    return QualityGateService(store.datasets, house.settings, house.paths, house.clock)


async def _inspection_report(house: House) -> Any:
    from sophia_tui.services.inspection_report import InspectionReportService
    from sophia_tui.services.train_plan import Planner

    store = await house.store()
    planner = Planner(store, house.settings, house.paths, house.clock, house.prices)
    return InspectionReportService(
        house.dispatcher.call, planner, house.settings, house.paths, house.prices, house.clock
    )


async def _advice(house: House) -> Any:
    from sophia_tui.services.advice import AdviceService

    store = await house.store()
    return AdviceService(
        house.dispatcher.call, store.datasets, house.settings, house.paths, house.prices
    )


async def _datasets(house: House) -> Any:
    from sophia_tui.services.datasets import DatasetsService

    return DatasetsService((await house.store()).datasets)


async def _versions(house: House) -> Any:
    from sophia_tui.services.versions import VersionsService

    return VersionsService(await house.store(), house.settings, house.paths, house.clock)


async def _forget(house: House) -> Any:
    from sophia_tui.services.forget import ForgetService

    store = await house.store()
    return ForgetService(store, house.source, house.settings, house.paths, house.clock)


async def _vary(house: House) -> Any:
    from sophia_tui.services.vary import VaryService

    await house.store()  # for the settings that Sophia keeps
    return VaryService(house.settings, house.paths, house.prices, house.chat)


async def _train(house: House) -> Any:
    from sophia_tui.services.train import TrainService

    store = await house.store()
    return TrainService(
        store,
        house.settings,
        house.paths,
        house.clock,
        house.wake,
        house.prices,
        open_trainer=house.trainer,
    )


async def _before(house: House) -> Any:
    from sophia_tui.services.train_before import TrainBeforeService
    from sophia_tui.services.train_plan import Planner

    store = await house.store()
    planner = Planner(store, house.settings, house.paths, house.clock, house.prices)
    return TrainBeforeService(
        store, house.settings, house.clock, house.prices, planner, open_trainer=house.trainer
    )


async def _finetune(house: House) -> Any:
    from sophia_tui.services.finetune import FinetuneService

    await house.store()  # for the settings that Sophia keeps
    return FinetuneService(house.dispatcher.call, house.settings)


async def _files(house: House) -> Any:
    from sophia_tui.providers.machine import ThisMachine
    from sophia_tui.services.files import FilesService

    store = await house.store()
    host = ThisMachine.here().host
    return FilesService(store, house.settings, house.paths, house.clock, host)


async def _tuning(house: House) -> Any:
    from sophia_tui.services.tuning import TuningService

    store = await house.store()
    return TuningService(
        store, house.settings, house.clock, house.dispatcher.call, await _train(house)
    )


async def _adaptive(house: House) -> Any:
    from sophia_tui.services.adaptive import AdaptiveService

    return AdaptiveService(
        await house.store(),
        house.source,
        house.settings,
        house.paths,
        house.clock,
        house.dispatcher.call,
        await _train(house),
    )


async def _personas(house: House) -> Any:
    from sophia_tui.services.personas import PersonasService

    return PersonasService(
        await house.store(),
        house.settings,
        house.paths,
        house.clock,
        house.dispatcher.call,
        await _train(house),
    )


async def _jobs(house: House) -> Any:
    from sophia_tui.services.jobs import JobsService

    store = await house.store()
    return JobsService(
        store,
        house.settings,
        house.paths,
        house.clock,
        house.wake,
        open_trainer=house.trainer,
    )


async def _job_insight(house: House) -> Any:
    from sophia_tui.services.job_insight import JobInsightService

    return JobInsightService(await house.store(), house.settings, house.clock)


async def _queue(house: House) -> Any:
    from sophia_tui.services.queue import QueueService

    store = await house.store()
    return QueueService(store, house.settings, house.clock, house.wake)


async def _schedules(house: House) -> Any:
    from sophia_tui.services.schedules import SchedulesService

    store = await house.store()
    return SchedulesService(store, house.registry, house.settings, house.clock, house.wake)


async def _evaluate(house: House) -> Any:
    from sophia_tui.services.evaluate import EvaluateService

    store = await house.store()
    return EvaluateService(store, house.settings, house.paths, house.clock, house.wake)


async def _evaluations(house: House) -> Any:
    from sophia_tui.services.evaluations import EvaluationsService

    return EvaluationsService(
        await house.store(), house.settings, house.paths, house.prices, house.clock
    )


async def _models(house: House) -> Any:
    from sophia_tui.services.models import ModelsService

    store = await house.store()
    return ModelsService(store, house.prices, house.clock, house.settings.managed_files)


async def _model_lineage(house: House) -> Any:
    from sophia_tui.services.model_lineage import ModelLineageService

    return ModelLineageService(
        await house.store(),
        house.source,
        house.settings,
        house.clock,
        await _model_production(house),
    )


async def _model_states(house: House) -> Any:
    from sophia_tui.services.model_states import ModelStatesService

    return ModelStatesService(
        await house.store(),
        house.settings,
        house.clock,
        (await _model_production(house)).warning,
    )


async def _model_production(house: House) -> Any:
    from sophia_tui.services.model_production import ModelProductionService

    store = await house.store()
    return ModelProductionService(
        store, house.settings, house.clock, house.helper(), house.half_done
    )


async def _model_files(house: House) -> Any:
    from sophia_tui.services.model_files import ModelFilesService

    return ModelFilesService(await house.store(), house.clock)


async def _model_gate(house: House) -> Any:
    from sophia_tui.providers.machine import ThisMachine
    from sophia_tui.services.managed_env import ManagedEnv
    from sophia_tui.services.model_gate import ModelGateService

    return ModelGateService(
        await house.store(),
        house.settings,
        house.clock,
        ManagedEnv(house.helper()),
        house.dispatcher.call,
        ThisMachine.here().host,
    )


async def _calendar(house: House) -> Any:
    return house.calendar()


async def _succession(house: House) -> Any:
    from sophia_tui.services.succession import SuccessionService

    def open_chat(base_url: str | None, api_key: str | None) -> ChatModel:
        from sophia_tui.providers.chat import OpenAIChat

        return OpenAIChat(base_url, api_key)

    return SuccessionService(
        await house.store(),
        house.settings,
        house.paths,
        house.clock,
        house.dispatcher.call,
        house.calendar(),
        house.prices,
        open_chat,
    )


async def _provider(house: House) -> Any:
    from sophia_tui.services.provider import ProviderService

    store = await house.store()
    return ProviderService(store, house.settings, house.trainer, house.prices, house.clock)


async def _checkpoints(house: House) -> Any:
    from sophia_tui.services.checkpoints import CheckpointsService

    return CheckpointsService(await house.store())


async def _merge(house: House) -> Any:
    from sophia_tui.services.merge import MergeService

    return MergeService(await house.store(), house.settings, house.clock, house.wake, house.paths)


async def _export(house: House) -> Any:
    from sophia_tui.services.export import ExportService

    return ExportService(await house.store(), house.settings, house.paths, house.clock, house.wake)


async def _upload(house: House) -> Any:
    from sophia_tui.services.upload import UploadService

    return UploadService(
        await house.store(),
        house.settings,
        house.clock,
        house.wake,
        house.environment.get("HF_ENDPOINT"),
    )


async def _model_parity(house: House) -> Any:
    from sophia_tui.services.model_parity import ModelParityService

    return ModelParityService(
        await house.store(), house.settings, house.clock, house.wake, house.engines()
    )


async def _serving(house: House) -> Any:
    from sophia_tui.providers.api_process import DetachedApi
    from sophia_tui.services.serving import ServingService

    return ServingService(
        await house.store(),
        house.settings,
        house.engines(),
        await house.deployments(),
        await _merge(house),
        DetachedApi(house.paths, house.settings, house.environment),
        house.clock,
        (await _model_production(house)).warning,
    )


async def _ask(house: House) -> Any:
    from sophia_tui.providers.chat import ask
    from sophia_tui.services.ask import AskService

    await house.store()  # for the settings that Sophia keeps
    return AskService(house.settings, ask)


async def _promote(house: House) -> Any:
    from sophia_tui.domain.promotions import Outside
    from sophia_tui.providers.chat import ask_uncounted
    from sophia_tui.providers.health_look import look
    from sophia_tui.providers.machine import ThisMachine
    from sophia_tui.services.promote import PromoteService

    return PromoteService(
        await house.store(),
        house.settings,
        house.paths,
        house.clock,
        Outside(house.prober, ask_uncounted, look),
        house.prices,
        house.helper(),
        await _model_gate(house),
        ThisMachine.here().host,
        house.calendar(),
    )


async def _prices(house: House) -> Any:
    from sophia_tui.services.prices import PricesService

    return PricesService(house.prices, house.clock)


async def _monitor(house: House) -> Any:
    from sophia_tui.services.monitor import MonitorService

    return MonitorService(await house.store(), house.source, house.settings, house.clock)


async def _notifications(house: House) -> Any:
    from sophia_tui.services.notifications import NotificationsService

    return NotificationsService(await house.store(), house.settings, house.messenger)


async def _prune(house: House) -> Any:
    from sophia_tui.services.prune import PruneService

    return PruneService(await house.store(), house.paths, house.clock)


async def _backup(house: House) -> Any:
    from sophia_tui.providers.machine import ThisMachine
    from sophia_tui.services.backup import BackupService
    from sophia_tui.store.copying import PostgresCopier

    return BackupService(
        house.store,
        lambda: PostgresCopier(house.settings, house.paths),
        house.settings,
        house.paths,
        house.clock,
        ThisMachine.here().host,
        house.helper(),
    )


async def _settings(house: House) -> Any:
    from sophia_tui.services.settings import SettingsService

    return SettingsService(await house.store(), house.environment, house.paths)


async def _env(house: House) -> Any:
    from sophia_tui.services.env import EnvService

    return EnvService(house.environment, house.paths, house.helper())


async def _audit(house: House) -> Any:
    from sophia_tui.services.audit import AuditService

    return AuditService(await house.store(), house.registry, house.clock)


async def _store(house: House) -> Any:
    from sophia_tui.services.store import StoreService
    from sophia_tui.store.admin import PostgresAdmin

    return StoreService(PostgresAdmin(house.settings, house.paths))


async def _demo(house: House) -> Any:
    from sophia_tui.services.demo import DemoService
    from sophia_tui.store.samples import EmbeddedSamples

    samples = EmbeddedSamples(house.settings, house.paths)
    return DemoService(house.dispatcher.call, samples, house.settings, house.paths, house.clock)


#: By the service's class name, so that a test may add one for a throw-away service.
FACTORIES: dict[str, Factory] = {
    "OverviewService": _overview,
    "MeanwhileService": _meanwhile,
    "SetupService": _setup,
    "BundleService": _bundle,
    "UnitsService": _units,
    "SetupStepsService": _setup_steps,
    "SetupBeginService": _setup_begin,
    "CollectService": _collect,
    "PrepareService": _prepare,
    "CleanService": _clean,
    "InspectService": _inspect,
    "NearService": _near,
    "BrowseService": _browse,
    "ConvertService": _convert,
    "InspectionReportService": _inspection_report,
    "QualityGateService": _quality_gate,
    "AdviceService": _advice,
    "DatasetsService": _datasets,
    "VersionsService": _versions,
    "ForgetService": _forget,
    "VaryService": _vary,
    "TrainService": _train,
    "TrainBeforeService": _before,
    "FinetuneService": _finetune,
    "FilesService": _files,
    "TuningService": _tuning,
    "AdaptiveService": _adaptive,
    "PersonasService": _personas,
    "JobsService": _jobs,
    "JobInsightService": _job_insight,
    "QueueService": _queue,
    "SchedulesService": _schedules,
    "EvaluateService": _evaluate,
    "EvaluationsService": _evaluations,
    "ModelsService": _models,
    "ModelLineageService": _model_lineage,
    "ModelStatesService": _model_states,
    "ModelProductionService": _model_production,
    "ModelFilesService": _model_files,
    "ModelGateService": _model_gate,
    "MergeService": _merge,
    "ModelParityService": _model_parity,
    "ExportService": _export,
    "UploadService": _upload,
    "CalendarService": _calendar,
    "SuccessionService": _succession,
    "ProviderService": _provider,
    "CheckpointsService": _checkpoints,
    "ServingService": _serving,
    "AskService": _ask,
    "PromoteService": _promote,
    "PricesService": _prices,
    "MonitorService": _monitor,
    "NotificationsService": _notifications,
    "PruneService": _prune,
    "BackupService": _backup,
    "SettingsService": _settings,
    "EnvService": _env,
    "AuditService": _audit,
    "StoreService": _store,
    "DemoService": _demo,
}
