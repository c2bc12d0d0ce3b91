"""Prepare: the files of FINETUNE_DIR become a data set version, in a process of its own."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, DatasetStore
from sophia_tui.i18n import N_
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.prepared import (
    ADVISED_MINIMUM,
    PROVIDER_MINIMUM,
    PrepareOutput,
    Preparer,
    RecipeOptions,
    RejectedCode,
    SplitOptions,
    name_field,
)

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

__all__ = [
    "ADVISED_MINIMUM",
    "PROVIDER_MINIMUM",
    "PrepareInput",
    "PrepareOutput",
    "PrepareService",
    "RejectedCode",
    "RepairInput",
    "RepairOutput",
    "RepairedFile",
]


class PrepareInput(SplitOptions, RecipeOptions):
    folder: str | None = Field(
        default=None, description=N_("The folder with the *.jsonl files; FINETUNE_DIR by default.")
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
    )
    name: str = name_field()
    held_out: list[str] = Field(
        default_factory=list,
        description=N_("Files of the folder that are for validation alone, by name; no split."),
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


class PrepareService:
    """Needs `settings` for the folder, `paths` for where versions lie."""

    def __init__(
        self, datasets: DatasetStore, settings: "Settings", paths: Paths, clock: Clock
    ) -> None:
        self._preparer = Preparer(datasets, settings, paths)
        self._settings = settings
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
        """Raises DataError D301 to D312 and D380, NotFoundError D305, RefusedError D505 and
        D522, SetupError S101, CancelledError."""
        from sophia_tui.datasets import recipe
        from sophia_tui.datasets.pipeline import Request

        steps = request.steps(context, self._settings.finetune_folder, recipe.USUAL)
        if not request.redact:
            steps = recipe.without_redacting(steps)
        return await self._preparer.make(
            context,
            Request(
                folder=str(self._preparer.folder(context, request.folder)),
                scratch="",
                name=request.name,
                created_at=self._clock.now(),
                files=tuple(request.files),
                history=str(self._settings.history_file),
                held_out=tuple(request.held_out),
                split=request.split,
                seed=request.seed,
                repair=request.repair,
                form=request.form,
                recipe=tuple(recipe.written(steps)),
                group=tuple(request.group),
                stratify=request.stratify,
            ),
        )

    @operation(
        "prepare.repair",
        N_("Turn files exported with COPY in text format into true JSON; originals are kept."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        positional=("files",),
    )
    async def repair(self, context: Context, request: RepairInput) -> RepairOutput:
        """Raises DataError D301 to D306, NotFoundError D305, RefusedError D505,
        ConflictError D310, SetupError."""
        import asyncio

        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.sources import select
        from sophia_tui.datasets.tasks import RepairTask

        folder = self._preparer.folder(context, request.folder)
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
