"""Prepare: the files of FINETUNE_DIR become a data set version, in a process of its own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, DatasetStore
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.views import DatasetView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Below the first a hosted provider refuses the file; below the second a person should know.
PROVIDER_MINIMUM = 10
ADVISED_MINIMUM = 500


class PrepareInput(Input):
    folder: str | None = Field(
        default=None, description=N_("The folder with the *.jsonl files; FINETUNE_DIR by default.")
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
    )
    name: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$",
        description=N_("The data set's name: small letters, digits, - and _."),
    )
    held_out: list[str] = Field(
        default_factory=list,
        description=N_("Files of the folder that are for validation alone, by name; no split."),
    )
    split: Literal["80/20", "90/10", "80/10/10", "100/0"] = Field(
        default="80/20", description=N_("Percent for training, validation and test.")
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of the split: a whole number.")
    )
    redact: bool = Field(
        default=True, description=N_("Replace personal data by placeholders such as [EMAIL_1].")
    )
    repair: Literal["none", "certain", "suspected"] = Field(
        default="none",
        description=N_("Repair, while reading, files exported with COPY in text format."),
    )
    form: Literal["auto", "chat", "pairs"] = Field(
        default="auto",
        description=N_(
            "Make it of chats or of preference pairs alone; auto: of what the lines are, if all "
            "are of one form."
        ),
    )


class RejectedCode(Output):
    """All records that were rejected for one reason; `examples` are file:line, the first 20."""

    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))
    count: int = Field(title=N_("Count"))
    examples: list[str] = Field(title=N_("Places"))


class StepView(Output):
    step: str = Field(title=N_("Step"))
    version: int = Field(title=N_("Version"))
    settings: dict[str, Any] = Field(title=N_("Settings"))


class SourceView(Output):
    """One file that was read. `copy_export` is no, certain or suspected."""

    file: str = Field(title=N_("File"))
    rows: int = Field(title=N_("Rows"))
    bytes: int = Field(title=N_("Bytes"))
    sha256: str = Field(title=N_("SHA-256"))
    copy_export: str = Field(title=N_("COPY export"))
    repaired: bool = Field(title=N_("Repaired"))
    provenance: str = Field(title=N_("Provenance"))
    rows_traced: int = Field(title=N_("Rows traced"))
    notes: dict[str, Any] = Field(title=N_("Notes"))


class PrepareOutput(Output):
    dataset: DatasetView = Field(title=N_("Data set"))
    sum: str = Field(title=N_("Rows in = kept + rejected"))
    rejected: list[RejectedCode] = Field(title=N_("Rejected"))
    redactions: dict[str, int] = Field(title=N_("Redactions"))
    files: list[SourceView] = Field(title=N_("Files"))
    passed_over: list[dict[str, str]] = Field(title=N_("Passed over"))
    steps: list[StepView] = Field(title=N_("Steps"))
    warnings: list[str] = Field(title=N_("Warnings"))
    existed: bool = Field(title=N_("Was there already"))
    written: bool = Field(title=N_("Written"))


class RepairInput(Input):
    folder: str | None = Field(
        default=None, description=N_("The folder with the *.jsonl files; FINETUNE_DIR by default.")
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
    )
    suspected: bool = Field(
        default=False, description=N_("Also files that may be such exports, but need not be.")
    )


class RepairedFile(Output):
    """`original` is where the damaged file is kept; None where nothing was done."""

    file: str = Field(title=N_("File"))
    verdict: str = Field(title=N_("COPY export"))
    lines: int = Field(title=N_("Lines"))
    lines_changed: int = Field(title=N_("Lines changed"))
    original: str | None = Field(default=None, title=N_("Original"))


class RepairOutput(Output):
    items: list[RepairedFile] = Field(title=N_("Files"))


@dataclass(frozen=True)
class _Report:
    manifest: dict[str, Any]
    folder: str | None
    existed: bool
    sources: list[dict[str, Any]]
    rejected: dict[str, list[str]]


class PrepareService:
    """Needs `settings` for the folder, `paths` for where versions lie."""

    def __init__(
        self, datasets: DatasetStore, settings: "Settings", paths: Paths, clock: Clock
    ) -> None:
        self._datasets = datasets
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "prepare.run",
        N_("Make a data set version of the files in FINETUNE_DIR."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        detaches=True,
        target="name",
    )
    async def run(self, context: Context, request: PrepareInput) -> PrepareOutput:
        """Raises DataError D301 to D312 and D380, NotFoundError D305, SetupError S101,
        CancelledError."""
        target = None if context.dry_run else self._paths.datasets / request.name
        with _room(target) as (scratch, lock):
            report = await self._prepare(context, request, target, scratch, lock)
            version = self._version(context, report)
            if not context.dry_run:
                await self._record(version, report)
        return _output(version, report)

    @operation(
        "prepare.repair",
        N_("Turn files exported with COPY in text format into true JSON; originals are kept."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        positional=("files",),
    )
    async def repair(self, context: Context, request: RepairInput) -> RepairOutput:
        """Raises DataError D301 to D306, NotFoundError D305, ConflictError D310, SetupError."""
        import asyncio

        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.sources import select
        from sophia_tui.datasets.tasks import RepairTask

        folder = self._folder(request.folder)
        chosen = await asyncio.to_thread(
            select, folder, request.files, self._settings.history_file, True
        )
        task = RepairTask(
            context.language,
            [str(path) for path in chosen.files],
            request.suspected,
            context.dry_run,
        )
        done = await run_engine(task, context)
        return RepairOutput(items=[RepairedFile(**each) for each in done])

    def _folder(self, chosen: str | None) -> Path:
        """Absolute; a relative one is resolved as FINETUNE_DIR is."""
        if not chosen:
            return self._settings.finetune_folder
        path = Path(chosen).expanduser()
        return (path if path.is_absolute() else self._settings.root / path).absolute()

    async def _prepare(
        self,
        context: Context,
        request: PrepareInput,
        target: Path | None,
        scratch: Path,
        lock: int | None,
    ) -> _Report:
        from sophia_tui.datasets.pipeline import PrepareTask, Request
        from sophia_tui.datasets.process import run_engine

        task = PrepareTask(
            context.language,
            Request(
                folder=str(self._folder(request.folder)),
                scratch=str(scratch),
                name=request.name,
                created_at=self._clock.now(),
                target=str(target) if target else None,
                files=tuple(request.files),
                history=str(self._settings.history_file),
                held_out=tuple(request.held_out),
                split=request.split,
                seed=request.seed,
                redact=request.redact,
                repair=request.repair,
                form=request.form,
            ),
        )
        return _Report(**await run_engine(task, context, (lock,) if lock is not None else ()))

    def _version(self, context: Context, report: _Report) -> DatasetVersion:
        manifest = report.manifest
        return DatasetVersion(
            name=manifest["name"],
            hash=manifest["hash"],
            folder=report.folder or "",
            counts=manifest["counts"],
            manifest=manifest,
            created_by=context.actor,
            created_at=datetime.fromisoformat(manifest["created_at"]),
        )

    async def _record(self, version: DatasetVersion, report: _Report) -> None:
        """A folder that the store does not know is taken back."""
        try:
            await self._datasets.add(version)
        except BaseException:
            if not report.existed:
                shutil.rmtree(version.folder, ignore_errors=True)
            raise


@contextmanager
def _room(target: Path | None) -> Iterator[tuple[Path, int | None]]:
    """A folder for spool files, and the lock on the data set; without a target nothing of ours is
    touched."""
    from sophia_tui.datasets.process import locked, scratch_folder

    if target is None:
        with tempfile.TemporaryDirectory(prefix="sophia-prepare-") as folder:
            yield Path(folder), None
        return
    with locked(target) as lock:
        yield scratch_folder(target), lock


def _output(version: DatasetVersion, report: _Report) -> PrepareOutput:
    from sophia_tui.datasets.codes import summary

    manifest = report.manifest
    counts = manifest["counts"]
    return PrepareOutput(
        dataset=DatasetView.of(version),
        sum=manifest["sum"],
        rejected=[
            RejectedCode(code=code, reason=summary(code), count=counts[code], examples=examples)
            for code, examples in report.rejected.items()
        ],
        redactions=manifest["redactions"],
        files=[SourceView(**each) for each in report.sources],
        passed_over=manifest["passed_over"],
        steps=[StepView(**each) for each in manifest["steps"]],
        warnings=[*_warnings(counts, manifest), *_file_warnings(report.sources)],
        existed=report.existed,
        written=bool(report.folder) and not report.existed,
    )


def _warnings(counts: dict[str, int], manifest: dict[str, Any]) -> list[str]:
    """What a person should know before training on the version."""
    found: list[str] = []
    kept = counts["rows_kept"]
    if kept < PROVIDER_MINIMUM:
        found.append(
            ngettext(
                "Only {count} usable example: hosted providers refuse fewer than {least}.",
                "Only {count} usable examples: hosted providers refuse fewer than {least}.",
                kept,
            ).format(count=kept, least=PROVIDER_MINIMUM)
        )
    elif kept < ADVISED_MINIMUM:
        found.append(
            _("{count} usable examples; {least} or more are advised.").format(
                count=kept, least=ADVISED_MINIMUM
            )
        )
    if not counts["valid"]:
        found.append(_("Nothing is held out: all examples ask the same question."))
    if not manifest["redacted"]:
        found.append(_("Personal data was not replaced: this version must not leave the machine."))
    return found


def _file_warnings(sources: list[dict[str, Any]]) -> list[str]:
    from sophia_tui.textsafe import visible

    texts = {
        "certain": _(
            "{file} was exported with COPY in text format: its lines with backslashes are damaged "
            "and were rejected. `sophia prepare repair` repairs it."
        ),
        "suspected": _(
            "{file} may have been exported with COPY in text format, and was used as it is. Look "
            "at it; if so, `sophia prepare repair --suspected` repairs it."
        ),
    }
    found: list[str] = []
    for source in sources:
        file = visible(source["file"])
        if source["copy_export"] in texts and not source["repaired"]:
            found.append(texts[source["copy_export"]].format(file=file))
        if source["provenance"] == "stale":
            found.append(
                _(
                    "{file} was changed since it was collected: the origin of some rows is unknown."
                ).format(file=file)
            )
    return found
