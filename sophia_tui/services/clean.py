"""Clean: any file or folder becomes a data set version by a recipe of steps; what the steps would
do is shown before; a version, or a file as it is, is split anew.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, DatasetStore
from sophia_tui.errors import NotFoundError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.prepared import (
    PrepareOutput,
    Preparer,
    RecipeOptions,
    SplitOptions,
    name_field,
)
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.steps import Step
    from sophia_tui.settings import Settings


class SourceInput(Input):
    source: str | None = Field(
        default=None,
        description=N_("A file, or a folder with *.jsonl files; FINETUNE_DIR by default."),
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
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


class CleanInput(SplitOptions, RecipeOptions, SourceInput):
    name: str = name_field()


class PreviewInput(RecipeOptions, SourceInput):
    steps_of: Literal["run", "clean"] = Field(
        default="run",
        description=N_(
            "Where no steps are named: those of `prepare run`, or those of `prepare clean`."
        ),
    )
    rows: int = Field(default=200, ge=1, le=5000, description=N_("How many rows to look at."))
    shown: int = Field(
        default=5, ge=0, le=100, description=N_("How many changes and leaving rows to show a step.")
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of the sample: a whole number.")
    )


class ResplitInput(SplitOptions):
    dataset: str | None = Field(
        default=None,
        description=N_("name@hash, a name (its newest version) or the beginning of a hash."),
    )
    file: str | None = Field(
        default=None, description=N_("A file to split as it is, in place of a data set.")
    )
    name: str | None = name_field(None)


class TextChange(Output):
    """A text that a step changes; personal data is masked. `turn` counts from 1."""

    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    turn: int = Field(title=N_("Turn"))
    role: str = Field(title=N_("Role"))
    before: str = Field(title=N_("Before"))
    after: str = Field(title=N_("After"))


class LeavingRow(Output):
    """A row that a step turns away; personal data is masked."""

    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))
    text: str = Field(title=N_("Text"))


class PreviewedStep(Output):
    """`rows` of the sample came as far as this step; it changes some, and some leave."""

    step: str = Field(title=N_("Step"))
    settings: dict[str, Any] = Field(title=N_("Settings"))
    rows: int = Field(title=N_("Rows"))
    changed: int = Field(title=N_("Changed"))
    leave: int = Field(title=N_("Leave"))
    changes: list[TextChange] = Field(title=N_("Changes"))
    leaving: list[LeavingRow] = Field(title=N_("Leaving rows"))


class PreviewOutput(Output):
    """`of_all` are steps that a sample can't tell of: they compare all rows."""

    rows: int = Field(title=N_("Rows"))
    stay: int = Field(title=N_("Stay"))
    steps: list[PreviewedStep] = Field(title=N_("Steps"))
    of_all: list[str] = Field(title=N_("Steps of all rows together"))


class CleanService:
    """Needs `settings` for the folder, `paths` for where versions lie."""

    def __init__(
        self, datasets: DatasetStore, settings: "Settings", paths: Paths, clock: Clock
    ) -> None:
        self._preparer = Preparer(datasets, settings, paths)
        self._datasets = datasets
        self._settings = settings
        self._clock = clock

    @operation(
        "prepare.clean",
        N_("Make a data set version of a file or folder by a recipe of cleaning steps."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        detaches=True,
        target="name",
        positional=("source",),
    )
    async def clean(self, context: Context, request: CleanInput) -> PrepareOutput:
        """Raises DataError D301 to D312, D380, D501 and D542 to D548, NotFoundError D305
        and D550, UsageError D540 and D543 to D546, RefusedError D505 and D522, SetupError
        S101, CancelledError."""
        from sophia_tui.datasets.pipeline import Request

        folder, files = self._source(context, request)
        return await self._preparer.make(
            context,
            Request(
                folder=str(folder),
                scratch="",
                name=request.name,
                created_at=self._clock.now(),
                files=files,
                history=str(self._settings.history_file),
                split=request.split,
                seed=request.seed,
                repair=request.repair,
                form=request.form,
                recipe=self._recipe(context, request),
                group=tuple(request.group),
                stratify=request.stratify,
            ),
        )

    @operation(
        "prepare.preview",
        N_("Show on a sample what each step of cleaning would change, and which rows would leave."),
        positional=("source",),
    )
    async def preview(self, context: Context, request: PreviewInput) -> PreviewOutput:
        """Raises DataError D301 to D306, NotFoundError D305 and D550, UsageError D540 and
        D543 to D546, RefusedError D505 and D522."""
        from sophia_tui.datasets import recipe
        from sophia_tui.datasets.codes import explain
        from sophia_tui.datasets.pipeline import Request
        from sophia_tui.datasets.preview import PreviewTask
        from sophia_tui.datasets.process import run_engine

        folder, files = self._source(context, request)
        usual = recipe.USUAL if request.steps_of == "run" else recipe.THOROUGH
        with tempfile.TemporaryDirectory(prefix="sophia-preview-") as scratch:
            asked = Request(
                folder=str(folder),
                name="preview",
                created_at=self._clock.now(),
                scratch=scratch,
                files=files,
                history=str(self._settings.history_file),
                seed=request.seed,
                repair=request.repair,
                form=request.form,
                recipe=self._recipe(context, request, usual),
                pseudonym_key=self._preparer.pseudonym_key,
            )
            task = PreviewTask(context.language, asked, request.rows, request.shown)
            told = await run_engine(task, context)
        for step in told["steps"]:
            for row in step["leaving"]:
                row["reason"] = explain(row["code"], row.pop("details"))
        return PreviewOutput.model_validate(told)

    @operation(
        "prepare.split",
        N_("Split a data set version, or a file as it is, anew; nothing is cleaned."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        detaches=True,
        target="dataset",
        positional=("dataset",),
    )
    async def split(self, context: Context, request: ResplitInput) -> PrepareOutput:
        """Raises NotFoundError D404, UsageError D549, and what prepare.clean raises."""
        from sophia_tui.datasets.pipeline import Request

        if (request.dataset is None) == (request.file is None):
            raise UsageError(
                "D549",
                _("Either a data set or a file is to be split."),
                remedy=_("Name one of both: `sophia prepare split NAME`, or --file FILE."),
            )
        shared: dict[str, Any] = {
            "created_at": self._clock.now(),
            "split": request.split,
            "seed": request.seed,
            "recipe": (),
            "group": tuple(request.group),
            "stratify": request.stratify,
        }
        if request.file is not None:
            path = self._preparer.source(context, request.file)
            asked = Request(
                folder=str(path.parent),
                scratch="",
                name=request.name or "default",
                files=(path.name,),
                history=str(self._settings.history_file),
                **shared,
            )
            return await self._preparer.make(context, asked)
        version = await self._version(str(request.dataset))
        steps = tuple(
            {"version": 1, "settings": {}, **each}
            for each in version.manifest["steps"]
            if each["step"] != "split"
        )
        parts = [f"{part}.jsonl" for part in ("train", "valid", "test")]
        asked = Request(
            folder=version.folder,
            scratch="",
            name=request.name or version.name,
            files=tuple(part for part in parts if version.manifest["files"].get(part)),
            form=version.form,
            done_before=steps,
            version=True,
            **shared,
        )
        return await self._preparer.make(context, asked)

    def _recipe(
        self, context: Context, request: RecipeOptions, usual: "tuple[Step, ...] | None" = None
    ) -> tuple[dict[str, Any], ...]:
        """The steps as plain data: those asked for, else the usual ones (thorough by default)."""
        from sophia_tui.datasets import recipe

        folder = self._settings.finetune_folder
        return tuple(recipe.written(request.steps(context, folder, usual or recipe.THOROUGH)))

    def _source(self, context: Context, request: SourceInput) -> tuple[Path, tuple[str, ...]]:
        """The folder, and the chosen files of it."""
        path = self._preparer.source(context, request.source)
        if request.source and (context.from_afar or path.is_file()):
            return path.parent, (path.name,)
        return path, tuple(request.files)

    async def _version(self, reference: str) -> DatasetVersion:
        version = await self._datasets.get(reference)
        if version is None:
            raise NotFoundError(
                "D404",
                _("There is no data set {reference}.").format(reference=visible(reference)),
                remedy=_("`sophia datasets list` lists the versions."),
            )
        return version
