"""The life of a served model: its engine started, waited for, started again, stopped; and the truth
about it, which a stored state alone can't tell."""

import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import CancelSignal
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.protocols import Clock, EngineHost, Store
from sophia_tui.domain.serving import (
    Deployment,
    DeploymentState,
    EngineLoad,
    EngineOptions,
    LoadedAdapter,
)
from sophia_tui.errors import ConflictError, JobError, OutsideError, SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_log = logging.getLogger("sophia")

#: Between the row and the engine's process its starter may die; after that long it is believed to.
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.3
_PROBE_SECONDS = 60.0
_CHECKED_EVERY = timedelta(seconds=30)
#: An engine that did well for so long gets its restarts anew.
_STEADY = timedelta(hours=1)
#: An engine that stands in no row for so long was left behind by who started it.
_ORPHAN_SECONDS = 900.0


@dataclass(frozen=True)
class Truth:
    """What a deployment really is now, and why, where that is not what stands in the store."""

    state: DeploymentState
    error: dict[str, Any] | None = None


class Deployments:
    """Brings deployments to life, watches them and ends them; each change is one of the store."""

    def __init__(
        self, store: Store, engines: EngineHost, settings: "Settings", paths: Paths, clock: Clock
    ) -> None:
        self._store = store
        self._engines = engines
        self._settings = settings
        self._paths = paths
        self._clock = clock

    def truth(self, deployment: Deployment) -> Truth:
        """The state, held against the process. Of another machine we know what it last wrote."""
        if deployment.state.ended:
            return Truth(deployment.state, deployment.error)
        identity = deployment.identity
        if identity is None:
            begun = deployment.checked_at or deployment.created_at
            if self._clock.now() - begun > timedelta(seconds=_START_SECONDS):
                return Truth(DeploymentState.FAILED, _starter_died(deployment).as_dict())
            return Truth(deployment.state)
        if identity.host != self._engines.host or self._engines.alive(identity):
            return Truth(deployment.state)
        if deployment.state is DeploymentState.STOPPING or not self._engines.same_boot(identity):
            return Truth(DeploymentState.STOPPED)
        return Truth(DeploymentState.FAILED, self._vanished(deployment).as_dict())

    async def begin(self, model: Model, name: str, actor: str, engine: str) -> Deployment:
        """A new row and its engine: one that serves this base already where that holds the adapter,
        else a new process with all that are served of the base. Raises ConflictError M420, JobError
        J502."""
        group = await self.sharers(engine, model)
        identifier = f"deployment-{secrets.token_hex(4)}"
        deployment = Deployment(
            id=identifier,
            model_id=model.id,
            name=name,
            engine=engine,
            state=DeploymentState.STARTING,
            created_by=actor,
            created_at=self._clock.now(),
            folder=str(self._paths.deployments / identifier),
        )
        holder = next((each for each in group if self._holds(each, model)), None)
        if holder is not None:
            deployment = replace(
                deployment, folder=holder.folder, identity=holder.identity, port=holder.port
            )
        await self._store.deployments.add(deployment)
        if holder is not None:
            return deployment
        try:
            return await self._start_engine(deployment, model, group)
        except SophiaError as problem:
            await self._end(deployment, DeploymentState.FAILED, problem.as_dict())
            raise

    async def sharers(self, engine: str, model: Model) -> list[Deployment]:
        """What is served here now of the model's base by this engine, and could share a process."""
        if not self._engines.holds_adapters(engine):
            return []
        wanted = load_of(engine, model, self._engines)
        found = []
        for each in await self._store.deployments.page(limit=500, living=True):
            if each.engine != engine or not self._is_ours(each):
                continue
            if self.truth(each).state is not DeploymentState.READY:
                continue
            other = await self._store.models.get(each.model_id)
            if other is not None and wanted.shares(load_of(engine, other, self._engines)):
                found.append(each)
        return found

    def _holds(self, deployment: Deployment, model: Model) -> bool:
        """Whether the process of this deployment can answer for the model as it is."""
        if not self._engines.fresh(deployment.folder or ""):
            return False
        if model.kind is not ModelKind.ADAPTER:
            return True
        return model.id in self._engines.loaded(deployment.folder or "")

    async def gather(self, deployment: Deployment, group: Sequence[Deployment]) -> None:
        """Let what is served of the same base be answered by the new process too; the old ones end
        by themselves once they have answered what they were asked."""
        old = {each.folder for each in group} - {deployment.folder, None}
        for each in group:
            current = await self._store.deployments.get(each.id)
            model = await self._store.models.get(each.model_id)
            if current is None or current.state is not DeploymentState.READY:
                continue
            if current.folder not in old or not (model and self._holds(deployment, model)):
                continue
            await self._store.deployments.update(
                each.id,
                identity=deployment.identity,
                port=deployment.port,
                folder=deployment.folder,
                checked_at=self._clock.now(),
            )
        living = await self._store.deployments.page(limit=500, living=True)
        for folder in sorted(old - {each.folder for each in living}, key=str):
            self._engines.retire(folder or "")

    async def until_ready(
        self,
        deployment: Deployment,
        model: Model,
        cancel: CancelSignal,
        tell: Callable[[int], None],
        left: str = "",
    ) -> Deployment:
        """Wait until it answers; `tell` gets the seconds. Raises EngineRefused M540,
        UnavailableError M441, M442, ConflictError M443, CancelledError; the engine is ended then,
        where no other name is answered by it. `left` says what remains."""
        import asyncio

        loop = asyncio.get_running_loop()
        begun = loop.time()
        limit = self._settings.serving_ready_seconds
        try:
            while True:
                cancel.check(left)
                deployment = await self._store.deployments.get(deployment.id) or deployment
                if deployment.state in (DeploymentState.STOPPING, DeploymentState.STOPPED):
                    raise _stopped_meanwhile(deployment)
                if await self.answers(deployment, model):
                    await self._ready_beside(deployment)
                    return await self._ready(deployment)
                truth = self.truth(deployment)  # before the refusal: that is written, then it ends
                if refusal := self._engines.refusal(deployment.folder or ""):
                    raise EngineRefused(refusal)
                if truth.state.ended:
                    raise self._vanished(deployment)
                if loop.time() - begun > limit:
                    raise _too_slow(deployment, limit)
                tell(round(loop.time() - begun))
                await asyncio.sleep(_LOOK_SECONDS)
        except SophiaError as problem:
            state = DeploymentState.FAILED
            error: dict[str, Any] | None = problem.as_dict()
            if not isinstance(problem, UnavailableError):
                state, error = DeploymentState.STOPPED, None
            await self._kill(deployment)
            await self._end(deployment, state, error)
            raise

    async def stop(self, deployment: Deployment) -> Deployment:
        """End its engine; what has ended already stays as it is."""
        if deployment.state.ended:
            return deployment
        identity = deployment.identity
        if identity is not None and identity.host != self._engines.host:
            raise served_elsewhere(deployment)
        deployment = await self._store.deployments.update(
            deployment.id, state=DeploymentState.STOPPING
        )
        await self._kill(deployment)
        return await self._end(deployment, DeploymentState.STOPPED, None)

    async def look(self) -> None:
        """One look of the watcher at what lives on this machine and in this data folder."""
        living = await self._store.deployments.page(limit=500, living=True)
        for deployment in living:
            if self._is_ours(deployment):
                await self._look_at(deployment)
        folders = {each.folder or "" for each in living}
        root = str(self._paths.deployments)
        for folder in self._engines.orphans(root, folders, _ORPHAN_SECONDS):
            self._engines.retire(folder)

    async def silent(self, deployment_id: str, seconds: float) -> bool:
        """Whether an engine that nobody waits for keeps silent for that long, though it lives."""
        found = await self._ready_one(deployment_id)
        return found is not None and not await self.answers(*found, seconds)

    async def restart_stuck(self, deployment_id: str, seconds: float) -> None:
        """End an engine that lives and has been silent for that long, and start it again."""
        found = await self._ready_one(deployment_id)
        if found is None:
            return
        deployment, model = found
        _log.warning("the engine of %s does not answer any more; it is ended", deployment.name)
        await self._kill(deployment, shared=True)
        await self._revive(deployment, model, _stuck(deployment, seconds))

    async def restart(self, deployment: Deployment, model: Model) -> Deployment:
        """End its engine and start it again because a person wants it: no limit counts.

        Raises JobError J502, UnavailableError M440.
        """
        await self._kill(deployment, shared=True)
        current = await self._store.deployments.get(deployment.id)
        if current is None or current.version != deployment.version:
            return current or deployment  # a watcher saw it gone and starts it already
        return await self._start_again(current, model, current.restarts + 1)

    async def _ready_one(self, deployment_id: str) -> tuple[Deployment, Model] | None:
        deployment = await self._store.deployments.get(deployment_id)
        if deployment is None or not self._is_ours(deployment):
            return None
        if self.truth(deployment).state is not DeploymentState.READY:
            return None
        model = await self._store.models.get(deployment.model_id)
        return None if model is None else (deployment, model)

    def _is_ours(self, deployment: Deployment) -> bool:
        host = deployment.identity.host if deployment.identity else self._engines.host
        in_folder = Path(deployment.folder or "").parent == self._paths.deployments
        return in_folder and host == self._engines.host

    async def _look_at(self, deployment: Deployment) -> None:
        truth = self.truth(deployment)
        model = await self._store.models.get(deployment.model_id)
        vanished = truth.state is DeploymentState.FAILED and deployment.identity is not None
        if vanished and model and (deployment.ready_at or deployment.restarts):
            await self._revive(deployment, model, self._vanished(deployment))
        elif truth.state.ended:
            await self._end(deployment, truth.state, truth.error)
        elif truth.state is DeploymentState.STARTING and model:
            if await self.answers(deployment, model):
                await self._ready(deployment)
        elif truth.state is DeploymentState.READY:
            now = self._clock.now()
            if deployment.checked_at is None or now - deployment.checked_at > _CHECKED_EVERY:
                self._engines.trim_log(deployment.folder or "")
                await self._store.deployments.update(deployment.id, checked_at=now)

    async def _revive(self, deployment: Deployment, model: Model, cause: SophiaError) -> None:
        current = await self._store.deployments.get(deployment.id)
        if current is None or current.version != deployment.version:
            return  # somebody else was faster: look again
        steady = deployment.ready_at and self._clock.now() - deployment.ready_at > _STEADY
        restarts = 0 if steady else deployment.restarts
        if restarts >= self._settings.serving_restarts:
            await self._end(deployment, DeploymentState.FAILED, cause.as_dict())
            _log.error("the engine of %s is gone for good", deployment.name)
            return
        _log.warning("the engine of %s is gone; starting it again", deployment.name)
        with contextlib.suppress(SophiaError):  # it stands in the row then
            await self._start_again(deployment, model, restarts + 1)

    async def _start_again(self, deployment: Deployment, model: Model, restarts: int) -> Deployment:
        """Start its engine anew, for all names that were answered by the process that is gone."""
        gone = deployment.identity
        others = [
            each
            for each in await self._store.deployments.page(limit=500, living=True)
            if each.id != deployment.id and each.identity == gone and gone is not None
        ]
        others = [each for each in others if each.state is not DeploymentState.STOPPING]
        begun: dict[str, Any] = {
            "state": DeploymentState.STARTING,
            "identity": None,
            "port": None,
            "ready_at": None,
            "checked_at": self._clock.now(),
        }
        deployment = await self._store.deployments.update(deployment.id, restarts=restarts, **begun)
        others = [
            await self._store.deployments.update(each.id, restarts=each.restarts + 1, **begun)
            for each in others
        ]
        try:
            deployment = await self._start_engine(deployment, model, others)
        except SophiaError as problem:
            for each in (deployment, *others):
                await self._end(each, DeploymentState.FAILED, problem.as_dict())
            raise
        for each in others:
            await self._store.deployments.update(
                each.id,
                identity=deployment.identity,
                port=deployment.port,
                folder=deployment.folder,
            )
        return deployment

    async def _start_engine(
        self, deployment: Deployment, model: Model, others: Sequence[Deployment] = ()
    ) -> Deployment:
        """Start its process, with the adapters of the others beside its own."""
        if not weights_are_there(model):
            raise weights_missing(model)
        beside = [await self._store.models.get(each.model_id) for each in others]
        load = load_of(deployment.engine, model, self._engines).with_adapters(
            load_of(deployment.engine, each, self._engines) for each in beside if each is not None
        )
        options = EngineOptions(
            precision=self._settings.serving_precision,
            context=self._settings.serving_context,
            slots=self._settings.serving_slots,
        )
        started = await self._engines.start(
            deployment.engine, load, options, deployment.folder or ""
        )
        try:
            current = await self._store.deployments.update(
                deployment.id, identity=started.identity, port=started.port
            )
        except SophiaError:  # an engine that stands in no row would never be found again
            await self._engines.stop(started.identity)
            raise
        if current.state.ended or current.state is DeploymentState.STOPPING:
            await self._engines.stop(started.identity)  # it was stopped meanwhile
        return current

    async def answers(
        self, deployment: Deployment, model: Model, seconds: float = _PROBE_SECONDS
    ) -> bool:
        """Whether its engine answers a tiny request within so many seconds."""
        if deployment.port is None or deployment.identity is None:
            return False
        # the port could be another program's by now: only our living process counts
        if not self._engines.alive(deployment.identity):
            return False
        access = self._engines.access(deployment.engine, model, deployment.folder or "")
        return await self._engines.answers(access, deployment.port, seconds)

    async def _ready(self, deployment: Deployment) -> Deployment:
        now = self._clock.now()
        return await self._store.deployments.update(
            deployment.id,
            state=DeploymentState.READY,
            ready_at=deployment.ready_at or now,
            checked_at=now,
            error=None,
        )

    async def _ready_beside(self, deployment: Deployment) -> None:
        """Other names that wait for the same process are answered now, too."""
        for each in await self._store.deployments.page(limit=500, living=True):
            waits = each.state is DeploymentState.STARTING and each.id != deployment.id
            if waits and each.identity is not None and each.identity == deployment.identity:
                await self._ready(each)

    async def _kill(self, deployment: Deployment, shared: bool = False) -> None:
        """End its process; one that answers for other names too only where `shared`."""
        # read once more: the engine may have been started a moment ago
        current = await self._store.deployments.get(deployment.id) or deployment
        if current.identity is None:
            return
        if not shared:
            for each in await self._store.deployments.page(limit=500, living=True):
                if each.id != current.id and each.identity == current.identity:
                    return
        await self._engines.stop(current.identity)

    async def _end(
        self, deployment: Deployment, state: DeploymentState, error: dict[str, Any] | None
    ) -> Deployment:
        return await self._store.deployments.update(
            deployment.id, state=state, stopped_at=self._clock.now(), error=error
        )

    def _vanished(self, deployment: Deployment) -> UnavailableError:
        cause = self._engines.last_cause(deployment.folder or "")
        why = _("Its log ends with: {cause}.").format(cause=cause)
        if not cause:
            why = _("It ended without a word: killed, or out of memory.")
        return OutsideError(
            "M441",
            _("The engine of {name} is gone.").format(name=deployment.name),
            why,
            _("Read {folder}/log.txt; then serve the model again.").format(
                folder=deployment.folder
            ),
        )


class EngineRefused(OutsideError):
    """The engine can't serve this model, whatever is tried again."""

    def __init__(self, told: Mapping[str, str]) -> None:
        super().__init__("M540", told["what"], told["why"], told["remedy"])
        #: The code of the program that refused it.
        self.reason = told["code"]


def weights_are_there(model: Model) -> bool:
    """Whether what an engine would load lies on this machine: a folder, or a GGUF file."""
    path = Path(model.path or "")
    if model.kind is ModelKind.ADAPTER:
        return (path / "adapter_config.json").is_file()
    return (path / "config.json").is_file() or (path.suffix == ".gguf" and path.is_file())


def load_of(engine: str, model: Model, engines: EngineHost) -> EngineLoad:
    """What an engine loads for this model alone."""
    path = model.path or ""
    if model.kind is not ModelKind.ADAPTER or not engines.holds_adapters(engine):
        hub = model.kind is ModelKind.BASE and model.id == model.base and not _lies_at(model.base)
        return EngineLoad(model.base if hub and engines.holds_adapters(engine) else path)
    form = _form_of(Path(path))
    template = None
    if form is not None and (form.template_source != "base" or form.system_message is not None):
        from finetune.schema import ADAPTER_TEMPLATE_FILE

        template = (Path(path) / ADAPTER_TEMPLATE_FILE).read_bytes().decode("utf-8")
    return EngineLoad(model.base, (LoadedAdapter(model.id, path),), template)


def _lies_at(base: str) -> bool:
    from finetune.base_names import read_base_name

    return read_base_name(base).kind != "hub"


def _form_of(folder: Path) -> Any:
    """The form that an adapter was trained in, where it stands beside it; else None."""
    from finetune.schema import ADAPTER_FORM_FILE, AdapterForm, ContractError, read_document

    try:
        return read_document(folder / ADAPTER_FORM_FILE, AdapterForm)
    except ContractError:
        return None


def names_its_form(folder: str) -> bool:
    """Whether the form that an adapter was trained in stands beside it: without it, only a merge,
    which asks the training, can tell how it is to be asked."""
    return _form_of(Path(folder)) is not None


def seen(deployment: Deployment, truth: Truth) -> Deployment:
    """The deployment as it is to be shown."""
    return replace(deployment, state=truth.state, error=truth.error)


def weights_missing(model: Model) -> UnavailableError:
    return OutsideError(
        "M440",
        _("The folder of model {model} is not there.").format(model=model.id),
        model.path or "",
        _("Put the folder back, or merge the adapter again."),
    )


def _too_slow(deployment: Deployment, seconds: int) -> UnavailableError:
    return OutsideError(
        "M442",
        _("{name} did not answer in time.").format(name=deployment.name),
        _("Its engine had {seconds} seconds.").format(seconds=seconds),
        _("Read {folder}/log.txt, or raise SOPHIA_SERVING_READY_SECONDS.").format(
            folder=deployment.folder
        ),
    )


def _stuck(deployment: Deployment, seconds: float) -> UnavailableError:
    return OutsideError(
        "M490",
        _("The engine of {name} does not answer any more.").format(name=deployment.name),
        _("It was at work for nobody and silent for {seconds} seconds, again and again.").format(
            seconds=round(seconds)
        ),
        _("See which requests it gets; then serve the model again."),
    )


def _stopped_meanwhile(deployment: Deployment) -> ConflictError:
    return ConflictError(
        "M443",
        _("{name} was stopped while it started.").format(name=deployment.name),
        remedy=_("Serve it again if you want it."),
    )


def served_elsewhere(deployment: Deployment) -> ConflictError:
    host = deployment.identity.host if deployment.identity else ""
    return ConflictError(
        "M444",
        _("{name} is served by another machine.").format(name=deployment.name),
        _("Its engine runs on {host}.").format(host=host),
        _("Stop it there."),
    )


def _starter_died(deployment: Deployment) -> JobError:
    return JobError(
        "M445",
        _("The engine of {name} was never started.").format(name=deployment.name),
        _("Who started it was cut off."),
        _("Serve the model again."),
    )
