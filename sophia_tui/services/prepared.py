"""What every way to make a data set version has in common: the options of its steps and split, the
call of the engine, and what is told in the end.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import DatasetStore
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.data_files import existing, named_file
from sophia_tui.services.passed_over import not_read
from sophia_tui.services.views import DatasetView
from sophia_tui.textsafe import visible
from sophia_tui.validation import SHARES

if TYPE_CHECKING:
    from sophia_tui.datasets.pipeline import Request
    from sophia_tui.datasets.steps import Step
    from sophia_tui.settings import Settings

#: Below the first a hosted provider refuses the file; below the second a person should know.
PROVIDER_MINIMUM = 10
ADVISED_MINIMUM = 500

Bond = Literal["question", "conversation", "document", "example", "near"]
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"


def name_field(default: str | None = "default") -> Any:
    """The name of the data set that is made."""
    return Field(
        default=default,
        pattern=NAME,
        description=N_("The data set's name: small letters, digits, - and _."),
    )


class SplitOptions(Input):
    split: str = Field(
        default="80/20",
        max_length=40,
        pattern=SHARES,
        description=N_("Percent for training, validation and test, like 80/20 or 70/15/15."),
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of the split: a whole number.")
    )
    group: list[Bond] = Field(
        default_factory=lambda: list[Bond](("question", "conversation", "document", "example")),
        description=N_(
            "What examples have in common to stand on one side; near: nearly the same words."
        ),
    )
    stratify: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description=N_(
            "Split each value of this field by itself: category, language or another one that "
            "stands beside the text or in its metadata."
        ),
    )


class RecipeOptions(Input):
    step: list[str] = Field(
        default_factory=list,
        description=N_(
            "A step of cleaning, in order: a name like normalise, or one with settings like "
            "length:max_characters=4000. Names are normalise, redact, drop, keep, length, "
            "language, feedback, leakage, exact_duplicates, near_duplicates and balance."
        ),
    )
    recipe: str | None = Field(
        default=None, description=N_("A YAML file with the list of steps, in place of --step.")
    )

    def steps(
        self, context: Context, folder: Path, usual: "tuple[Step, ...]"
    ) -> "tuple[Step, ...]":
        """From afar files of steps are named by their names in `folder`.

        Raises UsageError D540 and D543 to D546, DataError D306, RefusedError D505 and D522.
        """
        from sophia_tui.datasets import recipe
        from sophia_tui.errors import UsageError

        if self.step and self.recipe:
            raise UsageError(
                "D540",
                _("Steps are said twice: by options and by a recipe."),
                remedy=_("Use either --step or --recipe."),
            )
        if self.recipe and context.from_afar:
            raise RefusedError(
                "D522",
                _("Over HTTP no recipe is read from a file."),
                _("A path would open any file of the server."),
                _("Say the steps themselves, in the field `step`."),
            )
        if self.recipe:
            return recipe.of_file(Path(self.recipe).expanduser())
        steps = recipe.of_options(self.step) if self.step else usual
        if context.from_afar:
            return recipe.with_files(steps, lambda name: str(named_file(folder, name)))
        return steps


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


@dataclass(frozen=True)
class _Report:
    manifest: dict[str, Any]
    folder: str | None
    existed: bool
    sources: list[dict[str, Any]]
    rejected: dict[str, list[str]]


class Preparer:
    """Runs the engine, and records what it made."""

    def __init__(self, datasets: DatasetStore, settings: "Settings", paths: Paths) -> None:
        self._datasets = datasets
        self._settings = settings
        self._paths = paths

    def folder(self, context: Context, chosen: str | None) -> Path:
        """A folder, or a file: absolute; a relative one is resolved as FINETUNE_DIR is. From afar
        only FINETUNE_DIR, or a file that lies in it. Raises RefusedError D505."""
        if not chosen:
            return self._settings.finetune_folder
        if context.from_afar:
            return named_file(self._settings.finetune_folder, chosen).absolute()
        path = Path(chosen).expanduser()
        return (path if path.is_absolute() else self._settings.root / path).absolute()

    def source(self, context: Context, chosen: str | None) -> Path:
        """A file or folder, absolute: as it stands, then in FINETUNE_DIR; from afar only a file
        that lies there. Raises NotFoundError D550, RefusedError D505."""
        if not chosen or context.from_afar:
            return self.folder(context, chosen)
        given = Path(chosen).expanduser()
        places = (given, self.folder(context, chosen), self._settings.finetune_folder / given)
        return existing(chosen, places, "D550")

    @property
    def pseudonym_key(self) -> str:
        key = self._settings.pseudonym_key
        return key.get_secret_value() if key else ""

    async def make(self, context: Context, request: "Request") -> PrepareOutput:
        """The version that a request asks for; target and scratch are filled in here.

        Raises DataError D301 to D312, D380, D501 and D542 to D548, SetupError S101, CancelledError.
        """
        from dataclasses import replace

        from sophia_tui.datasets.pipeline import PrepareTask
        from sophia_tui.datasets.process import run_engine

        target = None if context.dry_run else self._paths.datasets / request.name
        async with _room(target) as (scratch, lock):
            request = replace(request, target=str(target) if target else None, scratch=str(scratch))
            task = PrepareTask(context.language, request)
            locks = (lock,) if lock is not None else ()
            report = _Report(**await run_engine(task, context, locks))
            version = _version(context, report)
            if not context.dry_run:
                await self._record(version, report)
        output = _output(version, report)
        if not request.files:
            output.warnings.extend(_unread(report.manifest))
        return output

    async def _record(self, version: DatasetVersion, report: _Report) -> None:
        """A folder that the store does not know is taken back."""
        try:
            await self._datasets.add(version)
        except BaseException:
            if not report.existed:
                shutil.rmtree(version.folder, ignore_errors=True)
            raise


def _version(context: Context, report: _Report) -> DatasetVersion:
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


@asynccontextmanager
async def _room(target: Path | None) -> AsyncIterator[tuple[Path, int | None]]:
    """A folder for spool files, and the lock on the data set; without a target nothing of ours is
    touched."""
    from sophia_tui.datasets.process import locked, scratch_folder

    if target is None:
        with tempfile.TemporaryDirectory(prefix="sophia-prepare-") as folder:
            yield Path(folder), None
        return
    async with locked(target) as lock:
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
        warnings=[
            *_warnings(counts, manifest),
            *_file_warnings(report.sources),
        ],
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
            ngettext(
                "{count} usable example; {least} or more are advised.",
                "{count} usable examples; {least} or more are advised.",
                kept,
            ).format(count=kept, least=ADVISED_MINIMUM)
        )
    if not counts["valid"]:
        found.append(_("Nothing is held out: all examples ask the same question."))
    if not manifest["redacted"]:
        found.append(_("Personal data was not replaced: this version must not leave the machine."))
    return found


def _unread(manifest: dict[str, Any]) -> list[str]:
    """Files that look like data and were not read, since nobody named them."""
    passed = [(each["file"], each["code"]) for each in manifest["passed_over"]]
    return [not_read(file, code) for file, code in passed if code == "unasked"]


def _file_warnings(sources: list[dict[str, Any]]) -> list[str]:

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
