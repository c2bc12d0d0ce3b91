"""With what a job works: hyperparameters, data, base, machine. It comes from its row, its run's
manifest, and what it told when it began; what nothing says is left out."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.operations import Output
from sophia_tui.domain.passages import Passage, Table
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import N_, _, number
from sophia_tui.services.job_states import host_of

if TYPE_CHECKING:
    from finetune.schema import RunManifest, RunSpec

_STATES = 500
#: What is asked of a run beside its recipe, by kind.
_PARTS = {
    JobKind.EVALUATE: "evaluation",
    JobKind.MERGE: "merge",
    JobKind.PARITY: "parity",
    JobKind.EXPORT: "export",
    JobKind.UPLOAD: "upload",
}


class SettingRow(Output):
    """One hyperparameter: dots stand between the names of its parts. `default` is the recipe's own,
    where the recipe is known, else the program's."""

    table_columns: ClassVar[tuple[str, ...]] = ("name", "value", "default", "changed")

    name: str = Field(title=N_("Name"))
    value: Any = Field(default=None, title=N_("Value"))
    default: Any = Field(default=None, title=N_("Default"))
    changed: bool = Field(default=False, title=N_("Changed"))


class JobSettings(Output):
    """`recipe` is the name or file of the recipe that the defaults are of; None: the program's."""

    as_is: ClassVar[frozenset[str]] = frozenset({"seed"})

    job: str = Field(title=N_("Job"))
    kind: str = Field(title=N_("Kind"))
    provider: str | None = Field(default=None, title=N_("Provider"))
    base: str = Field(title=N_("Base"))
    base_revision: str | None = Field(default=None, title=N_("Revision of the base"))
    base_fingerprint: str | None = Field(default=None, title=N_("Fingerprint of the base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    dataset_hash: str | None = Field(default=None, title=N_("Hash of the data"))
    dataset_counts: dict[str, int] = Field(default_factory=dict, title=N_("Counts"))
    examples: int | None = Field(default=None, title=N_("Examples"))
    recipe: str | None = Field(default=None, title=N_("Recipe"))
    settings: list[SettingRow] = Field(default_factory=list, title=N_("Hyperparameters"))
    seed: int | None = Field(default=None, title=N_("Seed"))
    host: str | None = Field(default=None, title=N_("Machine"))
    device: str | None = Field(default=None, title=N_("Device"))
    threads: int | None = Field(default=None, title=N_("Threads"))
    processes: int | None = Field(default=None, title=N_("Processes"))
    precision: str | None = Field(default=None, title=N_("Precision"))
    quantization: str | None = Field(default=None, title=N_("Quantization"))
    optimizer: str | None = Field(default=None, title=N_("Optimizer"))
    trained_tokens: int | None = Field(default=None, title=N_("Tokens trained on"))
    memory_bytes: int | None = Field(default=None, title=N_("Peak memory (bytes)"))
    gpu_memory_bytes: int | None = Field(default=None, title=N_("Peak memory of the GPU (bytes)"))
    packages: dict[str, str] = Field(default_factory=dict, title=N_("Packages"))
    started_at: datetime | None = Field(default=None, title=N_("Started"))
    finished_at: datetime | None = Field(default=None, title=N_("Finished"))
    seconds_running: float | None = Field(default=None, title=N_("Seconds at work"))
    cost_usd: float | None = Field(default=None, title=N_("Cost so far (USD)"))

    def passages(self, name: str) -> "list[Passage] | None":
        """The hyperparameters as a table in which what was changed stands first."""
        if name != "settings" or not self.settings:
            return None
        rows = tuple(
            (("* " if each.changed else "  ") + each.name, told(each.value), told(each.default))
            for each in sorted(self.settings, key=lambda each: not each.changed)
        )
        titles = (_("Hyperparameter"), _("Value"), _("Default"))
        return [Passage(_("Hyperparameters; * is changed"), (Table(titles, rows),))]


def told(value: Any) -> str:
    """A setting as it is written in a recipe."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list | tuple):
        return ", ".join(told(each) for each in value) or "-"
    if isinstance(value, float):
        return _real(value)
    return str(value)


def _real(value: float) -> str:
    """With the signs of the language; very small and very large ones as powers of ten."""
    text = f"{value:g}"
    if "e" in text or "n" in text:
        return text.replace(".", number(0.5, 1)[1])
    return number(value, len(text.partition(".")[2]))


async def settings_of(
    store: Store, job: Job, seconds: float | None, cost: float | None
) -> JobSettings:
    """`seconds` at work and `cost` in USD as far as they are known."""
    manifest, spec = _documents(job)
    begun = await _begun(store, job)
    version = await store.datasets.get(job.dataset) if job.dataset else None
    run = spec.model_dump(mode="json") if spec is not None else dict(job.request.get("run") or {})
    machine: dict[str, Any] = {name: begun.get(name) for name in _BEGUN}
    if manifest is not None:
        machine |= {
            name: getattr(manifest, name)
            for name in (*_BEGUN, "memory_bytes", "gpu_memory_bytes", "packages", "trained_tokens")
            if getattr(manifest, name) is not None
        }
    recipe = job.request.get("recipe_name")
    return JobSettings.model_validate(
        {
            **{name: value for name, value in machine.items() if value is not None},
            "job": job.id,
            "kind": job.kind.value,
            "provider": None if job.provider == "local" else job.provider,
            "base": job.base,
            "base_revision": manifest.base_revision if manifest else run.get("base_revision"),
            "base_fingerprint": manifest.base_fingerprint if manifest else None,
            "dataset": job.dataset,
            "dataset_hash": run.get("dataset_hash") or (version.hash if version else None),
            "dataset_counts": version.counts if version is not None else {},
            "recipe": recipe,
            "settings": _rows(job, run, recipe),
            "seed": manifest.seed if manifest else (run.get("recipe") or {}).get("seed"),
            "host": host_of(job),
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "seconds_running": seconds,
            "cost_usd": cost,
        }
    )


#: What a run says of itself when it begins.
_BEGUN = (
    "device",
    "threads",
    "processes",
    "precision",
    "quantization",
    "optimizer",
    "examples",
)
_COUNTED = frozenset({"threads", "processes", "examples"})


def _documents(job: Job) -> "tuple[RunManifest | None, RunSpec | None]":
    """What the run folder holds, where it is on this machine."""
    from finetune import schema

    if not job.run_folder:
        return None, None
    manifest: RunManifest | None = None
    spec: RunSpec | None = None
    folder = Path(job.run_folder)
    try:
        manifest = schema.read_document(folder / schema.MANIFEST_FILE, schema.RunManifest)
    except schema.ContractError:
        manifest = None
    try:
        spec = schema.load_run_spec(folder)
    except schema.ContractError:
        spec = None
    return manifest, spec


async def _begun(store: Store, job: Job) -> Mapping[str, Any]:
    """What the last attempt said of itself when it began; only what has the right kind."""
    for event in await store.trainings.events_before(job.id, None, _STATES, ["state"]):
        if event.data.get("state") == "running" and "device" in event.data:
            return {
                name: value
                for name, value in event.data.items()
                if name in _BEGUN and type(value) is (int if name in _COUNTED else str)
            }
    return {}


def _rows(job: Job, run: Mapping[str, Any], recipe: str | None) -> list[SettingRow]:
    if hosted := job.request.get("hosted"):
        names = ("method", "n_epochs", "batch_size", "learning_rate_multiplier", "beta", "seed")
        return [
            SettingRow(name=name, value=hosted.get(name), changed=hosted.get(name) is not None)
            for name in (*names, "suffix")
        ]
    if job.kind is JobKind.DATA:
        asked = job.request.get("request") or {}
        return [SettingRow(name=name, value=each) for name, each in flat(asked).items()]
    if job.kind is JobKind.TRAIN:
        return _recipe_rows(run.get("recipe") or {}, recipe)
    part = flat(run.get(_PARTS.get(job.kind, "")) or {})
    return [SettingRow(name=name, value=each) for name, each in part.items()]


def _recipe_rows(given: Mapping[str, Any], recipe: str | None) -> list[SettingRow]:
    from pydantic import ValidationError

    from finetune.schema import ContractError, Recipe, load_recipe

    try:
        base = load_recipe(recipe) if recipe else Recipe()
    except ContractError:  # a file that is gone: its own defaults are not known any more
        base = Recipe()
    try:
        values = flat(Recipe.model_validate(given).model_dump(mode="json"))
    except ValidationError:  # of another version: as it stands
        values = flat(given)
    defaults = flat(base.model_dump(mode="json"))
    return [
        SettingRow(
            name=name,
            value=value,
            default=defaults.get(name),
            changed=value != defaults.get(name),
        )
        for name, value in values.items()
        if not (value is None and defaults.get(name) is None)
    ]


def flat(given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Names with dots in place of parts within parts."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("format_version", "language"):
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            found[f"{prefix}{name}"] = len(value)
        else:
            found[f"{prefix}{name}"] = value
    return found
