"""What belongs into a backup, and what stays out of it: where it lies, how large it is, and why."""

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.schema import ADAPTER_FOLDER
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.i18n import _
from sophia_tui.paths import SERVER_ENV, SERVER_PRICES, Paths
from sophia_tui.services.backup_archive import Kind, LeftOut
from sophia_tui.services.disk_use import size_of
from sophia_tui.services.prune_rules import needed_jobs

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_PAGE = 500
MANAGED = SERVER_ENV.parent / "managed.conf"


@dataclass(frozen=True)
class Source:
    """One unit to be packed: a folder's files by relative path, or one file (path empty).
    `expected` are the SHA-256 that the version's manifest gives."""

    name: str
    kind: Kind
    place: Path
    files: tuple[str, ...]
    of: str = ""
    expected: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> bool:
        return self.files != ("",)

    def path(self, file: str) -> Path:
        return self.place / file if file else self.place


@dataclass(frozen=True)
class Wanted:
    """Which of it is asked for. `adapters` is used, all or none."""

    secrets: bool = True
    datasets: bool = True
    adapters: str = "used"
    runs: bool = False


@dataclass(frozen=True)
class Parts:
    """What is packed, in order, and what is not."""

    sources: tuple[Source, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def bytes(self) -> int:
        paths = (source.path(file) for source in self.sources for file in source.files)
        return sum(path.lstat().st_size for path in paths if path.is_file())


async def parts(store: Store | None, settings: "Settings", paths: Paths, wanted: Wanted) -> Parts:
    """Of this machine's data. Without a store (it can't be opened) nothing that only it knows."""
    sources = list(_single(settings, paths, wanted.secrets))
    sources += _trees(paths)
    left_out = list(_never(settings, paths))
    if not wanted.secrets:
        for each in _secrets(settings, paths):
            left_out.append(_left(_("env file and keys"), each.place, _("asked to leave it out")))
    versions = [each async for each in _versions(store)] if store else []
    left_out += _of_versions(versions, paths, wanted, sources)
    models = [each async for each in _adapters(store)] if store else []
    used = await needed_jobs(store) if store else {}
    for model_id, job_id, place in models:
        chosen = wanted.adapters == "all" or (wanted.adapters == "used" and job_id in used)
        inside = wanted.runs and place.parent.parent == paths.runs
        if not chosen and not inside:
            why = _("not promoted, no way back, not served")
            left_out.append(_left(_("adapter of {model}").format(model=model_id), place, why))
        elif not inside and place.is_dir():
            name = f"adapters/{place.parent.name}/{place.name}"
            sources.append(Source(name, "adapter", place, tuple(_files_below(place)), of=model_id))
    left_out += _of_runs(paths, wanted.runs, sources)
    return Parts(tuple(_once(sources)), tuple(each for each in left_out if each.files))


def _single(settings: "Settings", paths: Paths, secrets: bool) -> Iterator[Source]:
    if secrets:
        yield from _secrets(settings, paths)
    one = ("",)
    if (history := settings.history_file).is_file():
        yield Source("history.jsonl", "history", history, one)
    if MANAGED.is_file():
        yield Source("managed.conf", "managed", MANAGED, one)
    for place in _price_files(settings, paths):
        yield Source("prices.yaml", "prices", place, one)


def _secrets(settings: "Settings", paths: Paths) -> Iterator[Source]:
    if settings.env_file is not None:
        yield Source("env/sophia.env", "env", settings.env_file, ("",))
    if paths.model_token.is_file():
        yield Source("env/model-token", "token", paths.model_token, ("",))


def _price_files(settings: "Settings", paths: Paths) -> Iterator[Path]:
    """The one in force."""
    named = [Path(settings.prices_file).expanduser()] if settings.prices_file else []
    for each in (*named, SERVER_PRICES, paths.prices):
        if each.is_file():
            yield each
            return


def _trees(paths: Paths) -> Iterator[Source]:
    """Folders of the data folder that can be made by nobody again."""
    trees = (paths.uploads, paths.personas, paths.variations, paths.edits)
    for place in (*trees, paths.promotions, paths.reports):
        files = tuple(_files_below(place))
        if files:
            yield Source(f"data/{place.name}", "data", place, files)


def _never(settings: "Settings", paths: Paths) -> Iterator[LeftOut]:
    again = _("can be made again")
    yield _left(_("base models"), paths.models, _("can be fetched again"))
    for place in (paths.exports, paths.previews, paths.inspections, paths.indexes):
        yield _left(place.name, place, again)
    yield _left(_("logs of served models"), paths.deployments, _("logs"))
    yield _left(_("logs"), paths.logs, _("logs"))
    yield _left(_("earlier backups"), paths.backups, _("a backup holds no backups"))
    collected = [
        each for each in _listed(settings.finetune_folder) if each != settings.history_file
    ]
    size = sum(size_of(each).bytes for each in collected)
    yield LeftOut(
        what=_("collected files"),
        path=str(settings.finetune_folder),
        bytes=size,
        files=len(collected),
        why=_("`sophia collect` reads them from the source again"),
    )


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl")) if folder.is_dir() else []


async def _versions(store: Store) -> AsyncIterator[DatasetVersion]:
    offset = 0
    while page := await store.datasets.page(_PAGE, offset):
        for each in page:
            yield each
        offset += len(page)


def _of_versions(
    versions: Iterable[DatasetVersion], paths: Paths, wanted: Wanted, sources: list[Source]
) -> Iterator[LeftOut]:
    for each in versions:
        place = Path(each.folder)
        what = _("data set {dataset}").format(dataset=each.id)
        if not place.is_dir():
            yield LeftOut(
                what=what, path=str(place), bytes=0, files=1, why=_("its files are not here")
            )
        elif not wanted.datasets:
            yield _left(what, place, _("asked to leave it out"))
        else:
            listed = each.manifest.get("files") or {}
            expected = {
                name: str(told["sha256"])
                for name, told in listed.items()
                if isinstance(told, dict) and told.get("sha256")
            }
            files = tuple(_files_below(place))
            name = f"datasets/{each.name}/{place.name}"
            sources.append(Source(name, "dataset", place, files, each.id, expected))


async def _adapters(store: Store) -> AsyncIterator[tuple[str, str, Path]]:
    offset = 0
    while page := await store.models.page(_PAGE, offset):
        for each in page:
            if each.kind is ModelKind.ADAPTER and each.path and each.deleted_at is None:
                yield each.id, each.job_id or "", Path(each.path)
        offset += len(page)


def _of_runs(paths: Paths, wanted: bool, sources: list[Source]) -> Iterator[LeftOut]:
    for run in sorted(paths.runs.iterdir()) if paths.runs.is_dir() else ():
        if not run.is_dir() or run.is_symlink() or run.name.startswith("."):
            continue
        if wanted:
            files = tuple(_files_below(run))
            sources.append(Source(f"runs/{run.name}", "run", run, files, of=run.name))
            continue
        rest = size_of(run)
        inside = size_of(run / ADAPTER_FOLDER)
        yield LeftOut(
            what=_("run {job} but for its adapter").format(job=run.name),
            path=str(run),
            bytes=rest.bytes - inside.bytes,
            files=rest.files - inside.files,
            why=_("run folders come along with --runs"),
        )


def _files_below(place: Path) -> Iterator[str]:
    """Plain files, by relative path; no link is followed, and what writers left half done stays."""
    for each in sorted(place.rglob("*")) if place.is_dir() else ():
        relative = each.relative_to(place)
        if any(part.endswith(".tmp") for part in relative.parts):
            continue
        if each.is_file() and not each.is_symlink():
            yield relative.as_posix()


def _left(what: str, place: Path, why: str) -> LeftOut:
    size = size_of(place)
    return LeftOut(what=what, path=str(place), bytes=size.bytes, files=size.files, why=why)


def _once(sources: Iterable[Source]) -> Iterator[Source]:
    seen: set[str] = set()
    for each in sources:
        if each.name not in seen and each.files:
            seen.add(each.name)
            yield each
