"""Convert: training lines of any known form, packed or in tables, into another form."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.errors import ConflictError, RefusedError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.data_files import chosen_files
from sophia_tui.services.operations import operation
from sophia_tui.services.standard_input import STANDARD_INPUT, standard_input
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_WRITTEN = (".jsonl", ".jsonl.gz", ".jsonl.zst")
#: Appended to the name of what is written; not a data file's name, so it never becomes data.
REJECTED = ".rejected"


class ConvertInput(Input):
    source: str = Field(
        description=N_(
            "A file (.jsonl, .csv or .parquet; .gz or .zst), a folder of *.jsonl, or - for "
            "standard input."
        )
    )
    to: Literal[
        "chat",
        "pairs",
        "hosted_pairs",
        "question_answer",
        "prompt_completion",
        "instruction",
        "conversations",
        "input_output",
        "events",
        "constitutional",
    ] = Field(default="chat", description=N_("The form to write."))
    output: str | None = Field(
        default=None,
        description=N_(
            "The file to write, packed by its end (.jsonl, .jsonl.gz, .jsonl.zst); without it "
            "nothing is written, only counted."
        ),
    )
    replace: bool = Field(default=False, description=N_("Write over a file that is there."))


class ConvertRejected(Output):
    """All rows that were not written for one reason; `examples` are file:line, the first 20."""

    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))
    count: int = Field(title=N_("Count"))
    examples: list[str] = Field(title=N_("Places"))


class ConvertOutput(Output):
    """`left_out` are fields that the new form has no place for, and how many rows had them.
    `constitutional` are the figures of constitutional examples, where there are any."""

    files: list[str] = Field(title=N_("Files"))
    form: str = Field(title=N_("Form"))
    rows_in: int = Field(title=N_("Rows"))
    rows_written: int = Field(title=N_("Rows written"))
    rows_rejected: int = Field(title=N_("Rejected"))
    sum: str = Field(title=N_("Rows in = written + rejected"))
    forms: dict[str, int] = Field(title=N_("Forms"))
    rejected: list[ConvertRejected] = Field(title=N_("Rejected"))
    left_out: dict[str, int] = Field(title=N_("Fields left out"))
    notes: dict[str, Any] = Field(title=N_("Notes"))
    constitutional: dict[str, Any] | None = Field(title=N_("Constitutional examples"))
    output: str | None = Field(title=N_("Written to"))
    rejected_list: str | None = Field(title=N_("List of rejected rows"))


class ConvertService:
    """Needs `settings` for the folder of training data."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    @operation(
        "prepare.convert",
        N_("Convert files of training data into another form; nothing is dropped unlisted."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        target="source",
        positional=("source",),
        detaches=True,
    )
    async def convert(self, context: Context, request: ConvertInput) -> ConvertOutput:
        """Raises DataError D301 to D306, D511 and D514, NotFoundError D513, ConflictError D512,
        UsageError D515, RefusedError D516 to D518, SetupError S101, CancelledError."""
        from sophia_tui.datasets.codes import summary
        from sophia_tui.datasets.conversion import ConvertTask
        from sophia_tui.datasets.process import run_engine

        target = self._target(context, request)
        rejected = None if target is None else target.with_name(target.name + REJECTED)
        async with self._sources(context, request.source) as files:
            task = ConvertTask(
                context.language,
                [str(path) for path in files],
                request.to,
                str(target) if target and not context.dry_run else None,
                str(rejected) if rejected and not context.dry_run else None,
            )
            done = await run_engine(task, context)
        listed = [
            ConvertRejected(reason=summary(each["code"]), **each) for each in done.pop("rejected")
        ]
        written = None if context.dry_run else target
        return ConvertOutput(
            files=[path.name for path in files],
            form=request.to,
            rejected=listed,
            output=str(written) if written else None,
            rejected_list=str(rejected) if written else None,
            **done,
        )

    def _target(self, context: Context, request: ConvertInput) -> Path | None:
        if request.output is None:
            return None
        if context.from_afar:
            raise RefusedError(
                "D516",
                _("Over HTTP no file is written."),
                _("A path would write anywhere on the server."),
                _("Ask without output for the counts, or convert on the server."),
            )
        path = Path(request.output).expanduser().absolute()
        if not path.name.endswith(_WRITTEN):
            raise UsageError(
                "D515",
                _("{file} does not end as a file of training lines does.").format(
                    file=visible(path.name)
                ),
                remedy=_("Let it end in one of {ends}.").format(ends=", ".join(_WRITTEN)),
            )
        if path.exists() and not request.replace:
            raise ConflictError(
                "D512",
                _("{file} exists already.").format(file=visible(str(path))),
                remedy=_("Choose another name, or say --replace."),
            )
        return path

    @asynccontextmanager
    async def _sources(self, context: Context, source: str) -> AsyncIterator[Sequence[Path]]:
        import asyncio

        if source == STANDARD_INPUT:
            async with standard_input(context) as path:
                yield [path]
            return
        selection = await asyncio.to_thread(
            chosen_files, context, self._settings, source, (), "D517", "D513"
        )
        yield selection.files
