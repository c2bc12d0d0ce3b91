"""The files of models: their sizes and SHA-256 as they were made, and as they are on disk now."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, SetupError, UsageError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.services.models import ModelReference, known_model, with_row
from sophia_tui.services.operations import operation
from sophia_tui.textsafe import visible

_BLOCK = 1 << 22
#: A file by its name below the model's folder: bytes and sha256.
Files = dict[str, dict[str, Any]]


class FileDifference(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("name", "state", "bytes", "bytes_now")

    name: str = Field(title=N_("File"))
    state: str = Field(title=N_("State"))
    bytes: int | None = Field(default=None, title=N_("Bytes before"))
    bytes_now: int | None = Field(default=None, title=N_("Bytes now"))
    sha256: str | None = Field(default=None, title=N_("SHA-256 before"))
    sha256_now: str | None = Field(default=None, title=N_("SHA-256 now"))


class VerifyView(Output):
    """What the disk says. `state` is intact, differs, or kept (nothing was known before)."""

    model: str = Field(title=N_("Model"))
    path: str = Field(title=N_("Folder"))
    state: str = Field(title=N_("State"))
    files: int = Field(title=N_("Files"))
    bytes: int = Field(title=N_("Bytes"))
    differences: list[FileDifference] = Field(default_factory=list, title=N_("What differs"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))

    def exit_code(self) -> int:
        return int(self.state == "differs")


class ModelFilesService:
    """Reads the files of models; changes none of them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @operation(
        "models.verify",
        N_("Compare a model's files with the sizes and SHA-256 that they were made with."),
        role=Role.OPERATOR,
        writes=True,
        detaches=True,
        target="model",
        positional=("model",),
    )
    async def verify(self, context: Context, request: ModelReference) -> VerifyView:
        """Where nothing was known of them, what is found is kept. Raises NotFoundError M404, M510,
        UsageError M509, SetupError M511,
        CancelledError U499."""
        import asyncio

        model = await known_model(self._store, request.model, self._clock.now())
        path = _place(model)
        model = replace(model, path=str(path))
        try:
            found = await asyncio.to_thread(read_files, path, _teller(context))
        except FileNotFoundError:
            raise NotFoundError(
                "M510",
                _("The files of {model} are not there.").format(model=model.id),
                visible(str(path)),
                _("Put them back, or make them again."),
            ) from None
        except OSError as problem:
            raise SetupError(
                "M511",
                _("The files of {model} can't be read.").format(model=model.id),
                problem.strerror or type(problem).__name__,
                _("Check owner and mode of {path}.").format(path=visible(str(path))),
            ) from problem
        known = model.files or made_files(model) or {}
        if not known:
            model = await with_row(self._store, model)
            await self._store.models.update(model.id, version=model.version, files=found)
            note = _("Nothing was known of them before: this is what later looks compare with.")
            return _view(model, "kept", found, [], [note])
        differences = compared(known, found)
        if model.files is None and not differences:
            await self._store.models.update(model.id, version=model.version, files=found)
        count = len(differences)
        told = ngettext("{n} file differs.", "{n} files differ.", count).format(n=number(count))
        return _view(
            model,
            "differs" if differences else "intact",
            found,
            differences,
            [told] if differences else [],
        )


def read_files(path: Path, tell: Callable[[int, int], None] = lambda done, total: None) -> Files:
    """Every regular file below a folder, or the one file, with bytes and sha256. `tell` hears how
    many bytes of how many are read. Raises OSError."""
    files = [path] if path.is_file() else sorted(_below(path))
    sizes = {each: each.stat().st_size for each in files}
    total, done = sum(sizes.values()), 0
    found: Files = {}
    for each in files:
        digest = hashlib.sha256()
        length = 0
        with each.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
                length += len(block)
                done += len(block)
                tell(done, total)
        name = each.name if each == path else each.relative_to(path).as_posix()
        found[name] = {"bytes": length, "sha256": digest.hexdigest()}
    return found


def _below(folder: Path) -> list[Path]:
    """Raises FileNotFoundError where the folder is not there, OSError where it can't be read."""

    def fail(problem: OSError) -> None:
        raise problem

    return [
        Path(place) / name
        for place, _folders, names in os.walk(folder, onerror=fail)
        for name in names
        if (Path(place) / name).is_file()
    ]


def made_files(model: Model) -> Files | None:
    """What the run that made a model wrote down of its files; None where it can't be read."""
    from sophia_tui.providers.run_folder import made_by_run

    if model.path is None or model.kind not in (ModelKind.ADAPTER, ModelKind.MERGED):
        return None
    made = made_by_run(Path(model.path).parent, model.kind)
    return made.files if made else None


def compared(known: Mapping[str, Any], found: Files) -> list[FileDifference]:
    """Files that are missing, changed, or were not there before."""
    differences = []
    for name in sorted({*known, *found}):
        before, now = known.get(name), found.get(name)
        if before == now:
            continue
        state = "missing" if now is None else "added" if before is None else "changed"
        differences.append(
            FileDifference(
                name=name,
                state=state,
                bytes=before["bytes"] if before else None,
                bytes_now=now["bytes"] if now else None,
                sha256=before["sha256"] if before else None,
                sha256_now=now["sha256"] if now else None,
            )
        )
    return differences


def _place(model: Model) -> Path:
    if model.path is None and model.kind is ModelKind.BASE:
        from sophia_tui.services.serving_models import base_path

        if (lies := base_path(model.id)) is not None:
            return lies
    if model.path is None:
        raise UsageError(
            "M509",
            _("{model} has no files of Sophia's.").format(model=model.id),
            _("Its kind is {kind}.").format(kind=_(model.kind.value)),
            _("Adapters, merged and exported models have some, and bases of this machine."),
        )
    return Path(model.path)


def _teller(context: Context) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        context.cancel.check()
        megabytes = Progress(_("reading"), done // 1_000_000, total // 1_000_000 or 1, "MB")
        context.progress(megabytes)

    return tell


def _view(
    model: Model, state: str, found: Files, differences: list[FileDifference], notes: list[str]
) -> VerifyView:
    return VerifyView(
        model=model.id,
        path=model.path or "",
        state=state,
        files=len(found),
        bytes=sum(each["bytes"] for each in found.values()),
        differences=differences,
        notes=notes,
    )
