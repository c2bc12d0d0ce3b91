"""Train: from a data set version and a base model to a queued job. The worker does the rest."""

import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import PAIRS, DatasetVersion
from sophia_tui.domain.hosted import DPO, OPENAI
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, OutsideError, RefusedError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.paths import Paths
from sophia_tui.services import quality_gate, train_hosted
from sophia_tui.services.datasets import notice_text
from sophia_tui.services.jobs_hosted import OpenTrainer
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, load_prices
from sophia_tui.services.recipe_problems import recipe_problem
from sophia_tui.services.views import DryJobView, JobView
from sophia_tui.validation import where_and_what

if TYPE_CHECKING:
    from finetune.schema import Recipe
    from sophia_tui.services.plan_views import TrainPlan
    from sophia_tui.services.train_plan import Gate, Planner
    from sophia_tui.settings import Settings

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
#: Names of models that only their providers can train.
_HOSTED = re.compile(r"(gpt-|chatgpt-|o\d(-|$)|ft:|claude-|gemini-|davinci|babbage)[^/]*", re.I)
#: The recipe that is chosen by the base's size and the number of examples.
AUTO = "auto"
_MIDDLE_PARAMETERS, _LARGE_PARAMETERS = 1_000_000_000, 9_000_000_000
_FEW_EXAMPLES = 2000
TRAINING_PACKAGES = ("torch", "transformers", "peft", "accelerate")


class TrainRequest(Input):
    dataset: str | None = Field(
        default=None,
        description=N_(
            "The data set version (name, name@hash or hash); default: the newest that was "
            "prepared, and none that an upload, events or a persona made."
        ),
    )
    base: str | None = Field(
        default=None,
        description=N_(
            "The base model: a folder, a GGUF file, a hub id or a hosted name; "
            "default FINETUNE_BASE."
        ),
    )
    provider: Literal["auto", "local", "openai"] | None = Field(
        default=None,
        description=N_(
            "Where it trains: on this machine (local), at the OpenAI-compatible service (openai), "
            "or as the base's name says (auto); default SOPHIA_TRAINING_PROVIDER."
        ),
    )
    recipe: str | None = Field(
        default=None, description=N_("A recipe's name, or a YAML file; default SOPHIA_RECIPE.")
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description=N_("Passes over the data."),
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000_000, description=N_("Optimizer steps, in place of epochs.")
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=100, allow_inf_nan=False, description=N_("The learning rate.")
    )
    seed: int | None = Field(
        default=None, ge=0, le=2147483647, description=N_("The seed of order and weights.")
    )
    time_budget_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        allow_inf_nan=False,
        description=N_("Seconds the whole run may take; steps are fitted."),
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=9999,
        description=N_("Processor threads; default: chosen by a short probe."),
    )
    suffix: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description=N_("Hosted only: what the tuned model's name ends with."),
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=256, description=N_("Hosted only: examples in a batch.")
    )
    learning_rate_multiplier: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description=N_("Hosted only: a factor on the provider's learning rate."),
    )
    beta: float | None = Field(
        default=None,
        gt=0,
        le=2,
        allow_inf_nan=False,
        description=N_("For preference pairs (DPO): how far it may go from the base."),
    )
    queue: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$",
        description=N_("Only a worker that serves this queue takes it: gpu, or a name of yours."),
    )
    history: str | None = Field(
        default=None, description=N_("The history file; default FINETUNE_HISTORY.")
    )
    change: list[str] = Field(
        default_factory=list,
        max_length=20,
        description=N_("A field of the recipe as name=value, e.g. batch_size=1; may be repeated."),
    )
    budget: float | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        allow_inf_nan=False,
        description=N_("The most USD it may cost; default SOPHIA_TRAINING_BUDGET_USD."),
    )
    accept_few: bool = Field(
        default=False,
        description=N_("Accept that there are fewer examples than SOPHIA_QUALITY_GATE wants."),
    )
    try_one_step: bool = Field(
        default=False,
        description=N_("One step alone: its seconds, its memory, the time of the whole; no model."),
    )


#: Fields of a recipe that `change` takes: none that names a file or a program.
CHANGEABLE = (
    "batch_size",
    "gradient_accumulation",
    "activation_checkpointing",
    "quantization",
    "sequence_length",
    "precision",
    "optimizer",
    "packing",
    "length_grouping",
    "rows_without_answer",
)


@dataclass(frozen=True)
class LocalOrder:
    """A training on this machine as it was asked for; `recipe_name` names the recipe."""

    base: str
    recipe: "Recipe"
    recipe_name: str
    version: DatasetVersion
    budget: float | None = None


@dataclass(frozen=True)
class Door:
    """What a door of its own (our OpenAI-compatible endpoint, section 3, section 5) adds to a
    training of this machine: parts of the job's request, and changes of the recipe."""

    request: Mapping[str, Any] = field(default_factory=dict)
    changes: Callable[["Recipe"], dict[str, Any]] = lambda recipe: {}
    warnings: tuple[str, ...] = ()


def new_job_id() -> str:
    return "ftjob-" + "".join(secrets.choice(_ALPHABET) for _each in range(12))


class TrainService:
    """Checks a training before anything is queued, and queues it."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
        prices: Load | None = None,
        open_trainer: OpenTrainer | None = None,
        planner: "Planner | None" = None,
    ) -> None:
        self._open_trainer = open_trainer
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._wake = wake
        self._prices = prices or (lambda: load_prices(settings, paths))
        self._planner = planner or _planner(store, settings, paths, clock, self._prices)

    @operation(
        "train.start",
        N_("Train on a data set version: an adapter on this machine, or at a hosted provider."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        trains=True,
        one_only=True,
        target="dataset",
        makes="id",
        positional=("dataset",),
    )
    async def start(self, context: Context, request: TrainRequest) -> JobView:
        """Raises UsageError J414, J415, J430, J432, J513, J516, J538, J539, J566, NotFoundError
        J420 to J422, J431, RefusedError J433, J449, UnconfirmedError D574, UnavailableError J501,
        what the planner's gate raises, and for a hosted base what plan_hosted and ask_provider
        raise; nothing is queued then.
        """
        return await self.begin(context, request, Door())

    async def begin(self, context: Context, request: TrainRequest, door: Door) -> JobView:
        """The same for another service, whose own operation was permitted and is audited."""
        require_recipe_name(context, request.recipe)
        named = request.base or self._settings.finetune_base
        if is_hosted(named, request.provider, self._settings):
            return await self._start_hosted(context, request, str(named))
        order = await local_order(self._store, self._settings, request)
        order = replace(order, recipe=_changed_by(door, order.recipe))
        require_training_packages()
        if not door.request:  # a door of its own has rules of its own for how few will do
            door = self._warned(context, request, order.version, door)
        if context.dry_run:
            job = self._job(context, request, order)
            plan = await plan_local(self._planner, context, request, order)
            return DryJobView.planned(job, plan, job.request["run"], plan.steps)
        gate = await self._planner.gate(context, order)
        job = self._job(context, request, order, gate)
        job.request.update(door.request)
        if told := [*job.request.get("warnings", ()), *door.warnings]:
            job.request["warnings"] = told
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    def _warned(
        self, context: Context, request: TrainRequest, version: DatasetVersion, door: Door
    ) -> Door:
        """With what the quality gate says of the data. Raises UnconfirmedError D574."""
        found = quality_gate.before_training(
            context, version, self._settings, self._paths, request.accept_few, self._clock.now()
        )
        warnings = found.pop("warnings", ())
        return replace(
            door, request={**door.request, **found}, warnings=(*door.warnings, *warnings)
        )

    async def _start_hosted(self, context: Context, request: TrainRequest, base: str) -> JobView:
        version = await dataset_version(self._store, request.dataset)
        now = self._clock.now()
        plan = await train_hosted.plan_hosted(
            request, base, version, self._settings, self._prices(), now
        )
        if self._open_trainer is not None:
            plan = await train_hosted.ask_provider(plan, version.id, self._open_trainer, now)
        door = self._warned(context, request, version, Door())
        plan = replace(plan, warnings=(*plan.warnings, *door.warnings))
        job = Job(
            id=new_job_id(),
            kind=JobKind.TRAIN,
            state=JobState.QUEUED.value,
            base=base,
            dataset=version.id,
            request={
                **plan.request(self._history(request.history)),
                **door.request,
                "language": get_language(),
            },
            provider=OPENAI,
            files=source_files(version),
            created_by=context.actor,
            created_at=now,
        )
        if context.dry_run:
            told = await self._planner.hosted_plan(context, plan, version, request.budget)
            return DryJobView.planned(job, told, plan.estimate)
        usd = plan.estimate.get("usd_estimated")
        self._planner.hold(context, usd, request.budget, hosted=True)
        job.request.update(self._planner.confirmed(context, usd, hosted=True))
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    def _job(
        self, context: Context, request: TrainRequest, order: LocalOrder, gate: "Gate | None" = None
    ) -> Job:
        from finetune.schema import RunSpec

        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="train",
            base=order.base,
            dataset_path=order.version.folder,
            dataset_hash=order.version.hash,
            recipe=order.recipe,
            threads=request.threads or chosen_threads(self._settings),
        )
        return Job(
            id=job_id,
            kind=JobKind.TRAIN,
            state=JobState.QUEUED.value,
            base=order.base,
            dataset=order.version.id,
            request={
                "run": run.model_dump(mode="json"),
                "recipe_name": order.recipe_name,
                "language": get_language(),
                "history_file": str(self._history(request.history)),
                **({"planned_steps": planned_steps(order)} if request.try_one_step else {}),
                **(_told(gate) if gate else {}),
                **self._planner.confirmed(context, gate.cost_usd if gate else None),
            },
            files=source_files(order.version),
            created_by=context.actor,
            created_at=self._clock.now(),
            queue=request.queue or "",
        )

    def _history(self, given: str | None) -> Path:
        return Path(given).expanduser().absolute() if given else self._settings.history_file


def _changed_by(door: Door, recipe: "Recipe") -> "Recipe":
    """Raises UsageError J415."""
    from pydantic import ValidationError

    from finetune.schema import Recipe

    try:
        return Recipe.model_validate({**recipe.model_dump(), **door.changes(recipe)})
    except ValidationError as problem:
        raise _unusable(where_and_what(problem.errors())) from problem


def _unusable(why: str) -> UsageError:
    return UsageError(
        "J415",
        _("The training's settings can't be used."),
        why,
        _("Correct the fields that are named, or leave them out: then the recipe's own count."),
    )


def recipe_name(request: TrainRequest, settings: "Settings", base: str, examples: int) -> str:
    """The recipe's name; `auto` is the one for the base's size, as far as that can be known, and
    `small` only for as few examples as it is made for."""
    named = request.recipe or settings.training_recipe
    if named != AUTO:
        return named
    from finetune.estimates import UnknownShape
    from sophia_tui.services import estimates

    try:
        size = estimates.shape_of(base).parameters
    except (UnknownShape, OSError):
        return "default"
    if size >= _MIDDLE_PARAMETERS:
        return "middle" if size <= _LARGE_PARAMETERS else "large"
    return "small" if examples <= _FEW_EXAMPLES else "default"


def asked_recipe(request: TrainRequest, named: str) -> "Recipe":
    """The recipe of that name or file, with what was asked for over it.

    Raises UsageError J414, J415, J566.
    """
    from pydantic import ValidationError

    from finetune.schema import ContractError, Recipe, load_recipe, recipe_names

    try:
        recipe = load_recipe(named)
    except ContractError as problem:
        why = recipe_problem(problem)
        if named not in recipe_names() and not Path(named).exists():
            why = _("No recipe and no file has that name. The recipes: {names}.").format(
                names=", ".join(recipe_names())
            )
        raise UsageError(
            "J414",
            _("The recipe {recipe} can't be used.").format(recipe=textsafe.visible(named)),
            why,
            _("Name one of the recipes that come along, or a YAML file."),
        ) from problem
    names = ("epochs", "max_steps", "learning_rate", "seed", "time_budget_seconds")
    asked = {name: getattr(request, name) for name in names}
    changes = {name: value for name, value in asked.items() if value is not None}
    if "epochs" in changes and "max_steps" not in changes:
        changes["max_steps"] = None  # a recipe's own limit would win over the person's epochs
    changes |= _changed_fields(request.change)
    if request.try_one_step:
        changes["try_one_step"] = True
    try:
        return Recipe.model_validate({**recipe.model_dump(), **changes})
    except ValidationError as problem:
        raise _unusable(where_and_what(problem.errors())) from problem


async def local_order(store: Store, settings: "Settings", request: TrainRequest) -> LocalOrder:
    """The training as it would run here.

    Raises UsageError J414, J415, J430, J432, J516, J538, J539, J566, NotFoundError J420-J422, J431.
    """
    named = request.base or settings.finetune_base
    train_hosted.refuse_hosted_options(request)
    base = resolve_base(named, settings)
    version = await dataset_version(store, request.dataset)
    name = recipe_name(request, settings, base, version.counts.get("train", 0))
    recipe = asked_recipe(request, name)
    return LocalOrder(
        base=base,
        recipe=fitted(recipe, version, request.beta),
        recipe_name=name,
        version=version,
        budget=request.budget,
    )


async def plan_local(
    planner: "Planner", context: Context, request: TrainRequest, order: LocalOrder
) -> "TrainPlan":
    """The plan of a training of this machine."""
    steps = planned_steps(order)
    asked = request.model_dump(exclude_defaults=True)
    return await planner.plan(context, order, steps, asked)


def _planner(
    store: Store, settings: "Settings", paths: Paths, clock: Clock, prices: Load
) -> "Planner":
    from sophia_tui.services.train_plan import Planner

    return Planner(store, settings, paths, clock, prices)


def _told(gate: "Gate") -> dict[str, Any]:
    """What the gate learned, for the job's request; nothing where it learned nothing."""
    found: dict[str, Any] = {"estimate": gate.estimate(), "warnings": list(gate.warnings)}
    return {name: each for name, each in found.items() if each}


def _changed_fields(changes: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs as fields of a recipe. Raises UsageError J566."""
    import yaml

    found: dict[str, Any] = {}
    for each in changes:
        name, sign, text = (part.strip() for part in each.partition("="))
        try:
            if name not in CHANGEABLE or not sign:
                raise ValueError(name)
            found[name] = yaml.safe_load(text)
        except (ValueError, yaml.YAMLError) as problem:
            raise UsageError(
                "J566",
                _("{change} can't be changed in a recipe.").format(change=textsafe.visible(each)),
                _("It takes name=value, of the fields {names}.").format(
                    names=", ".join(CHANGEABLE)
                ),
                _("Everything else is said in a recipe file: --recipe FILE."),
            ) from problem
    return found


def fitted(recipe: "Recipe", version: DatasetVersion, beta: float | None) -> "Recipe":
    """The recipe for what the version holds: preference pairs are trained on by DPO.

    Raises UsageError J538 for a beta, J539 for a recipe of DPO, where the version holds chats.
    """
    train_hosted.check_beta(beta, version)
    if version.form == PAIRS:
        settings = recipe.dpo if beta is None else recipe.dpo.model_copy(update={"beta": beta})
        return recipe.model_copy(update={"method": DPO, "dpo": settings})
    if recipe.method == DPO:
        raise UsageError(
            "J539",
            _("The recipe trains on preference pairs."),
            _("The data set {dataset} holds chats.").format(dataset=version.id),
            _("Take another recipe, or name a data set of preference pairs."),
        )
    return recipe


def require_recipe_name(context: Context, recipe: str | None) -> None:
    """Over HTTP a recipe is one of those that come along. Raises RefusedError J449."""
    from finetune.schema import recipe_names

    if recipe in (None, AUTO) or not context.from_afar or recipe in recipe_names():
        return
    raise RefusedError(
        "J449",
        _("Over HTTP a recipe is named, and is no file."),
        _("It would open any file of the server."),
        _("Name one of: {names}.").format(names=", ".join(recipe_names())),
    )


def planned_steps(order: LocalOrder) -> int:
    """Optimizer steps of the whole training, also where one of them is only tried."""
    return estimate_steps(order.recipe, order.version.counts.get("train", 0))


def estimate_steps(recipe: "Recipe", examples: int) -> int:
    """Optimizer steps that the recipe plans; a time budget may fit them down later."""
    from finetune.schema import rehearsal_path

    examples *= recipe.dataset_repeats
    rehearsal = rehearsal_path(recipe)
    if rehearsal is not None and rehearsal.is_file():  # else the run itself refuses, with a remedy
        examples += sum(1 for line in rehearsal.read_text("utf-8").split("\n") if line.strip())
    passes = math.ceil(examples / (recipe.batch_size * recipe.gradient_accumulation))
    return recipe.max_steps or math.ceil(recipe.epochs * passes)


def chosen_threads(settings: "Settings") -> Any:
    """SOPHIA_TRAINING_THREADS as run.yaml takes it."""
    text = settings.training_threads
    return text if text == "auto" else int(text)


def source_files(version: DatasetVersion) -> tuple[str, ...]:
    """The files that the version was merged from, as its manifest names them."""
    names = []
    for each in version.manifest.get("sources") or []:
        name = each.get("path") or each.get("file") if isinstance(each, dict) else each
        if name:
            names.append(str(name))
    return tuple(names)


async def dataset_version(store: Store, reference: str | None) -> DatasetVersion:
    """The version asked for, or the newest that people prepared.

    Raises NotFoundError J420, J421, J422, RefusedError D602 for one that holds who asked to be
    forgotten.
    """
    if reference is None:
        found = await store.datasets.newest_prepared()
        if found is None:
            raise NotFoundError(
                "J420",
                _("There is no data set to train on yet."),
                remedy=_(
                    "Make one: `sophia collect`, then `sophia prepare`. One of uploads, "
                    "events or a persona is trained on only by its name."
                ),
            )
    else:
        found = await store.datasets.get(reference)
    if found is None:
        raise NotFoundError(
            "J421",
            _("There is no data set {dataset}.").format(dataset=textsafe.visible(reference or "")),
            remedy=_("`sophia datasets list` lists the versions."),
        )
    if notice := notice_text(found):
        raise RefusedError(
            "D602",
            _("The data set {dataset} must not be used any more.").format(dataset=found.id),
            notice,
            _("Name the version without them, or the data set's name: that is its newest one."),
        )
    if not (Path(found.folder) / "train.jsonl").is_file():
        raise NotFoundError(
            "J422",
            _("The folder of data set {dataset} is not there.").format(dataset=found.id),
            found.folder,
            _("Put it back, or prepare the data set again."),
        )
    return found


def is_hosted(text: str | None, wanted: str | None, settings: "Settings") -> bool:
    """Whether the base trains at the provider.

    A path trains here; a hosted name (gpt-…) there; where a name could be either, what was asked
    for decides, else the setting. Raises UsageError J513 for a path that is to train there,
    RefusedError J433 for a hosted name that is to train here.
    """
    if not text:
        return False
    choice = wanted or settings.training_provider
    here = text.startswith(("/", ".", "~")) or text.lower().endswith(".gguf")
    if here or _path_of(text, settings) is not None:
        if wanted != OPENAI:
            return False
        raise UsageError(
            "J513",
            _("{base} can't be trained at a provider.").format(base=textsafe.visible(text)),
            _("It is a file or a folder of this machine."),
            _("Leave --provider out, or name a hosted model as the base."),
        )
    if not _HOSTED.fullmatch(text):
        return choice == OPENAI
    if choice == "local":
        raise RefusedError(
            "J433",
            _("{base} can only be trained by its provider.").format(base=textsafe.visible(text)),
            _("Trainings are to stay on this machine: --provider or SOPHIA_TRAINING_PROVIDER."),
            _("Name a model folder, a GGUF file or a hub id as the base."),
        )
    return True


def _path_of(text: str, settings: "Settings") -> Path | None:
    """The file or folder that the base names, if there is one."""
    given = Path(text).expanduser()
    tries = [given] if given.is_absolute() else [Path.cwd() / given, settings.root / given]
    return next((each for each in tries if each.exists()), None)


def resolve_base(text: str | None, settings: "Settings") -> str:
    """The base as the run gets it: an absolute path, or a hub id.

    Raises UsageError J430 (none) and J432 (no model), NotFoundError J431.
    """
    if not text:
        raise UsageError(
            "J430",
            _("No base model is named."),
            _("FINETUNE_BASE is not set, and none was given."),
            _("Set FINETUNE_BASE to a model folder, a GGUF file or a hub id, or name one."),
        )
    path = _path_of(text, settings)
    if path is not None:
        return _checked_path(path.absolute())
    if _HUB_ID.fullmatch(text) and not text.lower().endswith(".gguf"):
        return text
    raise NotFoundError(
        "J431",
        _("The base model {base} does not exist.").format(base=textsafe.visible(text)),
        _("It is no file or folder here, and it can't be the name of a model on the hub."),
        _("Correct FINETUNE_BASE, or name another base."),
    )


def _checked_path(path: Path) -> str:
    if path.is_dir():
        usable = (path / "config.json").is_file()
    else:
        with path.open("rb") as stream:
            usable = stream.read(4) == b"GGUF"
    if not usable:
        raise UsageError(
            "J432",
            _("{path} holds no model.").format(path=textsafe.visible(str(path))),
            _("A model is a folder with config.json, or a GGUF file."),
            _("Correct FINETUNE_BASE, or name another base."),
        )
    return str(path)


def require_training_packages() -> None:
    """Raises UnavailableError J501 where work on weights is not installed."""
    from importlib.util import find_spec

    missing = [name for name in TRAINING_PACKAGES if find_spec(name) is None]
    if missing:
        raise OutsideError(
            "J501",
            _("Work on weights needs packages that are not installed."),
            _("Missing: {packages}.").format(packages=", ".join(missing)),
            _('In the checkout: pip install -c requirements.lock torch ".[training]"'),
        )
