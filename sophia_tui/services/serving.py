"""Serving: a model under a name, answered by an engine that Sophia starts, watches and stops."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Face, Progress, Role
from sophia_tui.domain.models import Model, ModelKind, ModelState, merged_id
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.protocols import ApiProcess, Clock, EngineHost, Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    OutsideError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from sophia_tui.i18n import N_, _
from sophia_tui.services.deployments import (
    Deployments,
    EngineRefused,
    Truth,
    names_its_form,
    seen,
    served_elsewhere,
    weights_are_there,
    weights_missing,
)
from sophia_tui.services.lists import ListPage
from sophia_tui.services.merge import MergeService, whole_merged
from sophia_tui.services.operations import operation
from sophia_tui.services.serving_models import (
    changed_since_made,
    default_name,
    model_to_serve,
    refuse_adapter_file,
)
from sophia_tui.services.views import Listing

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9][\w.:@-]{0,127}", re.ASCII)
_SEEN_TRIES = 10  # the front looks at the store once a second
_QUICK_SECONDS = 5.0  # an engine that has nothing to do gives a token sooner
#: An engine that is at a long answer may end it before it is restarted because a person asks.
_BUSY_SECONDS = 30.0
#: The engine that takes whatever others can't, and their words for that (see finetune.failures).
_LAST = "transformers"
_NOT_EXPORTABLE = frozenset(("FINETUNE-521", "FINETUNE-522"))


class ServeRequest(Input):
    model: str = Field(
        description=N_("The model's id, e.g. sophia-v1, or a base: folder, hub id or .gguf file.")
    )
    name: str | None = Field(
        default=None,
        description=N_("What clients ask for; default the model's id, or its last part."),
    )


class ServePage(ListPage):
    sorts = ("created_at", "name", "model", "state", "engine", "restarts", "created_by")

    all: bool = Field(default=False, description=N_("Also those that have ended."))


class ServedName(Input):
    name: str = Field(description=N_("The name that is served, or the deployment's id."))


class ServeStop(Input):
    name: str | None = Field(
        default=None, description=N_("The name that is served, or the deployment's id.")
    )
    api: bool = Field(
        default=False, description=N_("Also the HTTP API that `serve model` started.")
    )


class DeploymentView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("name", "state", "model", "restarts", "created_at")
    as_is: ClassVar[frozenset[str]] = frozenset({"pid", "port"})

    id: str = Field(title=N_("Deployment"))
    name: str = Field(title=N_("Name"))
    model: str = Field(title=N_("Model"))
    state: str = Field(title=N_("State"))
    address: str | None = Field(default=None, title=N_("Address for clients"))
    engine: str = Field(title=N_("Engine"))
    precision: str | None = Field(default=None, title=N_("Numbers of its weights"))
    pid: int | None = Field(default=None, title=N_("Process"))
    port: int | None = Field(default=None, title=N_("The engine's port"))
    folder: str | None = Field(default=None, title=N_("Folder"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))
    ready_at: datetime | None = Field(default=None, title=N_("Ready since"))
    stopped_at: datetime | None = Field(default=None, title=N_("Ended"))
    checked_at: datetime | None = Field(default=None, title=N_("Last looked at"))
    restarts: int = Field(default=0, title=N_("Restarts"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))

    @classmethod
    def of(
        cls,
        deployment: Deployment,
        address: str | None = None,
        notes: Sequence[str] = (),
        precision: str | None = None,
    ) -> "DeploymentView":
        lives = not deployment.state.ended
        return cls(
            id=deployment.id,
            name=deployment.name,
            model=deployment.model_id,
            state=deployment.state.value,
            address=address if lives else None,
            engine=deployment.engine,
            precision=precision,
            pid=deployment.identity.pid if deployment.identity and lives else None,
            port=deployment.port if lives else None,
            folder=deployment.folder,
            created_by=deployment.created_by,
            created_at=deployment.created_at,
            ready_at=deployment.ready_at,
            stopped_at=deployment.stopped_at,
            checked_at=deployment.checked_at,
            restarts=deployment.restarts,
            error=deployment.error,
            notes=list(notes),
        )


class ApiView(Output):
    """The HTTP API in front of the engines. `pid` only where `serve model` started it; `error` says
    why it can't be started where none answers."""

    as_is: ClassVar[frozenset[str]] = frozenset({"pid"})

    address: str = Field(title=N_("Address"))
    answers: bool = Field(title=N_("Answers"))
    error: dict[str, Any] | None = Field(default=None, title=N_("Error"))
    pid: int | None = Field(default=None, title=N_("Process"))


class ServeList(Listing):
    items: list[DeploymentView] = Field(title=N_("Served models"))
    api: ApiView | None = Field(default=None, title=N_("HTTP API"))


class ServingService:
    """Serves models under names. The front that clients ask is the HTTP API's."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        engines: EngineHost,
        deployments: Deployments,
        merges: MergeService,
        api: ApiProcess,
        clock: Clock,
        warning: Callable[[str], Awaitable[list[str]]] | None = None,
    ) -> None:
        self._warning = warning
        self._clock = clock
        self._store = store
        self._settings = settings
        self._engines = engines
        self._deployments = deployments
        self._merges = merges
        self._api = api

    @operation(
        "serve.model",
        N_(
            "Serve a model under a name by the OpenAI protocol; adapters of a base share an engine."
        ),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        positional=("model",),
    )
    async def model(self, context: Context, request: ServeRequest) -> DeploymentView:
        """Raises NotFoundError M404, M432, UsageError M431, M435, M436, M542, ConflictError M420,
        M443, JobError M434, J502, UnavailableError J501, M437, M440, M441, M442, and where clients
        can't reach the name, M491, M492 (before anything is done), M493, M494 (the engine goes
        on)."""
        asked = await model_to_serve(self._store, request.model, self._clock.now())
        _refuse_hosted(asked)
        refuse_adapter_file(asked)
        name = _checked_name(request.name or default_name(asked))
        ways = await self._ways(asked, name)
        self._require_engine(ways[0].engine)
        if context.face is not Face.API and (problem := await self._obstacle()):
            raise problem
        notes = _of_state(asked, self._clock.now())
        for way in ways:
            try:
                deployment = await self._served(context, asked, name, way, notes)
                break
            except EngineRefused as refused:
                if way is ways[-1] or refused.reason not in _NOT_EXPORTABLE:
                    raise
                notes.append(f"{refused.what} {refused.why}")
        notes += await self._front(context, name)
        return self._view_of(deployment, await self._store.models.get(deployment.model_id), notes)

    async def _ways(self, asked: Model, name: str) -> list["_Way"]:
        """How the model may be served, best first: each after the first only where the one before
        can't, whatever is tried. What is served by that name already stays as it is."""
        found = await self._store.deployments.get(name)
        lives = found is not None and found.name == name and not found.state.ended
        if found and lives and found.model_id in (asked.id, merged_id(asked.id)):
            return [_Way(found.engine, merged=found.model_id != asked.id)]
        wanted = self._settings.serving_engine
        engine = self._engines.chosen(wanted)
        live = self._engines.holds_adapters(engine)
        adapter = asked.kind is ModelKind.ADAPTER
        ways = []
        if adapter and live and names_its_form(asked.path or ""):
            ways.append(_Way(engine, merged=False))
        ways.append(_Way(engine, merged=adapter))
        other = wanted == "auto" and engine != _LAST and not self._engines.missing(_LAST)
        if other and (adapter or _is_folder(asked)):
            ways.append(_Way(_LAST, merged=adapter))
        return ways

    async def _served(
        self, context: Context, asked: Model, name: str, way: "_Way", notes: list[str]
    ) -> Deployment:
        model = await self._merged(context, asked) if way.merged else asked
        if not weights_are_there(model) or (way.engine == _LAST and not _is_folder(model)):
            raise weights_missing(model)
        notes += [each for each in await _changes(model) if each not in notes]
        deployment = await self._living(name, model)
        group: list[Deployment] = []
        if deployment is None:
            group = await self._deployments.sharers(way.engine, model)
            deployment = await self._deployments.begin(model, name, context.actor, way.engine)
        elif not self._engines.fresh(deployment.folder or ""):
            deployment = await self._deployments.restart(deployment, model)
            notes.append(_("Its files changed since it was served: its engine was restarted."))
        elif deployment.state is DeploymentState.READY and not await self._recovers(
            context, deployment, model
        ):
            deployment = await self._deployments.restart(deployment, model)
            notes.append(_("It was served already and did not answer: its engine was restarted."))
        if deployment.state is not DeploymentState.READY:
            deployment = await self._started(context, deployment, model, asked)
        if group:
            await self._deployments.gather(deployment, group)
            names = ", ".join(sorted(each.name for each in group))
            notes.append(_("One engine answers for it and for {names}.").format(names=names))
        return deployment

    async def _started(
        self, context: Context, deployment: Deployment, model: Model, asked: Model
    ) -> Deployment:
        stage = _("starting {name}").format(name=deployment.name)

        def tell(seconds: int) -> None:
            context.progress(Progress(stage, seconds, None, _("seconds")))

        left = _("Its engine was ended.")
        if model.id != asked.id:
            kept = _("The merged model {model} remains.").format(model=model.id)
            left = f"{left} {kept}"
        return await self._deployments.until_ready(deployment, model, context.cancel, tell, left)

    async def _recovers(self, context: Context, deployment: Deployment, model: Model) -> bool:
        """Whether an engine that is served already answers, told within seconds; one that is at a
        long answer gets some more."""
        import asyncio

        loop = asyncio.get_running_loop()
        begun = loop.time()
        limit = min(_BUSY_SECONDS, self._settings.serving_stuck_seconds)
        stage = _("{name} is served already and does not answer; it is restarted soon").format(
            name=deployment.name
        )
        while loop.time() - begun < limit:
            context.cancel.check()
            if await self._deployments.answers(deployment, model, min(_QUICK_SECONDS, limit)):
                return True
            context.progress(Progress(stage, round(loop.time() - begun), None, _("seconds")))
            await asyncio.sleep(0.3)  # one whose port is closed says no at once
        return False

    @operation("serve.list", N_("List the served models, newest first, and whether they live."))
    async def page(self, context: Context, request: ServePage) -> ServeList:
        found = await self._store.deployments.listed(request.wanted(), living=not request.all)
        return ServeList(
            items=[await self._view(each) for each in found],
            total=found.total,
            unfiltered=found.unfiltered,
            api=await self._api_view(),
        )

    @operation(
        "serve.show",
        N_("Show one served model as it really is now."),
        target="name",
        positional=("name",),
    )
    async def show(self, context: Context, request: ServedName) -> DeploymentView:
        return await self._view(await self._find(request.name))

    @operation(
        "serve.stop",
        N_("Stop serving a model: its engine ends and its name is unknown."),
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
        target="name",
        positional=("name",),
    )
    async def stop(self, context: Context, request: ServeStop) -> ServeList:
        """Raises UsageError M438, NotFoundError M439, ConflictError M444."""
        if request.name is None and not request.api:
            raise UsageError(
                "M438",
                _("Nothing is named to be stopped."),
                remedy=_("Give the name of a served model, or --api."),
            )
        stopped = []
        if request.name is not None:
            stopped.append(await self._deployments.stop(await self._find(request.name)))
        if request.api:
            await self._api.stop()
        items = [
            DeploymentView.of(each, notes=await self._warning(each.name) if self._warning else ())
            for each in stopped
        ]
        return ServeList(items=items, api=await self._api_view())

    @property
    def _address(self) -> str:
        return f"{self._api.address}/v1"

    async def _view(self, deployment: Deployment) -> DeploymentView:
        truth = self._deployments.truth(deployment)
        model = await self._store.models.get(deployment.model_id)
        return self._view_of(seen(deployment, truth), model)

    def _view_of(
        self, deployment: Deployment, model: Model | None, notes: Sequence[str] = ()
    ) -> DeploymentView:
        precision = None
        if model is not None and deployment.folder:
            access = self._engines.access(deployment.engine, model, deployment.folder)
            precision = access.precision
        return DeploymentView.of(deployment, self._address, notes, precision)

    async def _api_view(self) -> ApiView:
        identity, problem = self._api.identity(), None
        answers = await self._api.answers()
        if not answers:
            problem = await self._obstacle()
        return ApiView(
            address=self._api.address,
            answers=answers,
            error=problem.as_dict() if problem else None,
            pid=identity.pid if identity else None,
        )

    async def _find(self, reference: str) -> Deployment:
        found = await self._store.deployments.get(reference)
        if found is None:
            raise NotFoundError(
                "M439",
                _("No model is served as {name}.").format(name=textsafe.visible(reference)),
                remedy=_("`sophia serve list` lists them."),
            )
        return found

    def _require_engine(self, engine: str) -> None:
        missing = self._engines.missing(engine)
        if missing:
            raise OutsideError(
                "M437",
                _("The engine {engine} is not installed.").format(engine=engine),
                _("Missing: {packages}.").format(packages=", ".join(missing)),
                _('In the checkout: pip install -c requirements.lock ".[serving,training,api]"'),
            )

    async def _merged(self, context: Context, adapter: Model) -> Model:
        """The adapter and its base as one model, made now where it is not there."""
        merged = await whole_merged(self._store, adapter.id)
        if merged is None:
            job = await self._merges.begin(context, adapter)
            merged = await self._merges.finished(context, job.id)
        return merged

    async def _living(self, name: str, model: Model) -> Deployment | None:
        """The deployment that has this name now, if it is this model's and really lives.

        Raises ConflictError M420 where another model has the name.
        """
        found = await self._store.deployments.get(name)
        if found is None or found.name != name or found.state.ended:
            return None
        truth: Truth = self._deployments.truth(found)
        if truth.state.ended or truth.state is DeploymentState.STOPPING:
            await self._deployments.stop(found)
            return None
        if found.identity is not None and found.identity.host != self._engines.host:
            raise served_elsewhere(found)
        if found.model_id != model.id:
            raise ConflictError(
                "M420",
                _("The name {name} is served already.").format(name=name),
                _("It stands for {model}.").format(model=found.model_id),
                _("Stop it first, or serve the model under another name."),
            )
        return found

    async def _front(self, context: Context, name: str) -> list[str]:
        """See to it that clients can ask; what the person should know about it.

        Raises UnavailableError M491 to M494: a name that nobody can ask is not served.
        """
        notes: list[str] = []
        if context.face is not Face.API and not await self._api.answers():
            if problem := await self._obstacle():
                raise problem
            tokens = (
                self._settings.model_token,
                self._settings.operator_token,
                self._settings.finetune_token,
            )
            if not any(tokens):
                key = _("The key for clients is in {path}; SOPHIA_MODEL_TOKEN sets another.")
                notes.append(key.format(path=self._api.make_key()))
            if not await self._api.start():
                raise OutsideError(
                    "M493",
                    _("The HTTP API could not be started at {address}.").format(
                        address=self._api.address
                    ),
                    _("The engine runs, but clients can't ask it."),
                    _("Its log is logs/api.log in the data folder."),
                )
        status = 200 if context.face is Face.API else await self._status(name)
        if status != 200:
            raise OutsideError(
                "M494",
                _("The HTTP API at {address} does not know {name} (status {status}).").format(
                    address=self._api.address, name=name, status=status
                ),
                _("It may be another Sophia's, or an older one."),
                _("Restart it with these settings, or set API_URL; the engine runs meanwhile."),
            )
        asks = _("Clients ask for {name} at OPENAI_BASE_URL={address}.").format(
            name=name, address=self._address
        )
        return [asks, *notes]

    async def _obstacle(self) -> UnavailableError | None:
        """Why clients could not ask, where no API answers and none can be started."""
        if await self._api.answers():
            return None
        if self._api.unit is not None:
            return UnavailableError(
                "S391",
                _("Clients can't ask: no API answers at {address}.").format(
                    address=self._api.address
                ),
                _("It is the service {unit}, which does not run.").format(unit=self._api.unit),
                _("sophia setup restart {unit} --yes; `sophia setup services` says more.").format(
                    unit=self._api.unit
                ),
            )
        if not self._api.startable():
            return OutsideError(
                "M492",
                _("Clients can't ask: no API answers at {address}.").format(
                    address=self._api.address
                ),
                _("API_URL is not this machine's own address."),
                _("Start `sophia serve api` there, or correct API_URL."),
            )
        if await self._api.taken():
            return OutsideError(
                "M491",
                _("Clients can't ask: another program answers at {address}.").format(
                    address=self._api.address
                ),
                _("API_URL names its port, so Sophia's HTTP API can't be started there."),
                _("Set API_URL to a free port, e.g. http://localhost:8010, or end that program."),
            )
        return None

    async def _status(self, name: str) -> int:
        import asyncio

        status = 0
        for _try in range(_SEEN_TRIES):
            status = await self._api.serves(name)
            if status == 200:
                break
            await asyncio.sleep(0.3)
        return status


@dataclass(frozen=True)
class _Way:
    """An engine, and whether an adapter is merged before that serves it."""

    engine: str
    merged: bool


def _of_state(model: Model, now: datetime) -> list[str]:
    """What must be said where people don't want this model. Raises RefusedError M541 where their
    consent has run out."""
    if model.state in (ModelState.REJECTED, ModelState.RETIRED):
        told = _("Mind: {model} is {state}.").format(model=model.id, state=_(model.state.value))
        return [" ".join(filter(None, [told, model.state_reason]))]
    if model.state is ModelState.CONDITIONAL and model.state_until and model.state_until <= now:
        raise RefusedError(
            "M541",
            _("{model} was approved for a time that is over.").format(model=model.id),
            _("Its conditions held until {until}.").format(until=model.state_until.isoformat()),
            _("`sophia models state {model}` gives it another state.").format(model=model.id),
        )
    return []


async def _changes(model: Model) -> list[str]:
    import asyncio

    return await asyncio.to_thread(changed_since_made, model)


def _is_folder(model: Model) -> bool:
    return (Path(model.path or "") / "config.json").is_file()


def _refuse_hosted(asked: Model) -> None:
    if asked.kind is ModelKind.HOSTED:
        raise UsageError(
            "M435",
            _("{model} is served by its provider.").format(model=asked.id),
            _("Its weights are not on this machine."),
            _("Promote it as it is; OPENAI_BASE_URL says where it answers."),
        )


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            "M436",
            _("{name} can't be a served name.").format(name=textsafe.visible(name)),
            _("Letters, digits and . : @ _ - are allowed, at most 128."),
        )
    return name
