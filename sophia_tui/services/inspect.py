"""Inspect: what lies in files of training data and what is wrong with it, line by line.

Changes nothing. Reports are kept in a cache and shown again while the files are as they were.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.gates import read_bounds
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.passages import Passage
from sophia_tui.errors import RefusedError, UsageError
from sophia_tui.files import whole_file, whole_folder, write_problem
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.data_files import chosen_files
from sophia_tui.services.kept_reports import file_states, key_of, sweep
from sophia_tui.services.operations import operation
from sophia_tui.services.passed_over import PassedFile, passed_files
from sophia_tui.services.standard_input import STANDARD_INPUT, standard_input
from sophia_tui.services.views import MOST_ROWS
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.inspection import Asked
    from sophia_tui.datasets.sources import Passed
    from sophia_tui.settings import Settings

#: Raised when reports of an earlier version can't be shown by this one.
_FORMAT = 1


class InspectedInput(Input):
    path: str | None = Field(
        default=None,
        description=N_(
            "A file, a folder with *.jsonl files, or - for standard input; FINETUNE_DIR by default."
        ),
    )
    files: list[str] = Field(
        default_factory=list, description=N_("Only these files of the folder, by name.")
    )
    also: list[str] = Field(
        default_factory=list,
        description=N_(
            "What to look at besides structure and duplicates: near, contradictions, personal, "
            "secrets, tokens, languages, topics, answers, constitutional."
        ),
    )
    everything: bool = Field(default=False, description=N_("Look at everything there is."))
    model: str | None = Field(
        default=None, description=N_("The model whose context the rows should fit into.")
    )
    whole: bool = Field(
        default=False, description=N_("Tell from all rows what is else told from a sample.")
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of samples: a whole number.")
    )


class InspectInput(InspectedInput):
    again: bool = Field(
        default=False, description=N_("Read the files again, though a report of them is kept.")
    )
    issues: str | None = Field(
        default=None,
        description=N_("Write every line of every issue into this file, as JSON Lines."),
    )


class IssuesInput(InspectedInput):
    code: list[str] = Field(
        default_factory=list, description=N_("Only issues with one of these codes.")
    )
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class InspectedFile(Output):
    """`rows` are lines that are not blank, `usable` those that can be trained on."""

    file: str = Field(title=N_("File"))
    bytes: int = Field(title=N_("Bytes"))
    lines: int = Field(title=N_("Lines"))
    rows: int = Field(title=N_("Rows"))
    usable: int = Field(title=N_("Usable"))


class FoundIssue(Output):
    """All lines with one issue; `places` are file:line, the first 20."""

    code: str = Field(title=N_("Code"))
    severity: str = Field(title=N_("Severity"))
    count: int = Field(title=N_("Count"))
    reason: str = Field(title=N_("Reason"))
    places: list[str] = Field(title=N_("Places"))


class FormCount(Output):
    form: str = Field(title=N_("Format"))
    rows: int = Field(title=N_("Rows"))


class RoleOrder(Output):
    """`roles` in the order of the turns; after the eighth one sign for more."""

    roles: str = Field(title=N_("Roles in their order"))
    rows: int = Field(title=N_("Rows"))


class Bin(Output):
    """Values of at least `least` and less than `below`."""

    least: int = Field(title=N_("From"))
    below: int = Field(title=N_("Below"))
    rows: int = Field(title=N_("Rows"))


class Distribution(Output):
    """`p5`: so many percent of the rows have this value or less."""

    least: int = Field(title=N_("Least"))
    p5: int = Field(title=N_("5 % up to"))
    p25: int = Field(title=N_("25 % up to"))
    p50: int = Field(title=N_("Half up to"))
    p75: int = Field(title=N_("75 % up to"))
    p95: int = Field(title=N_("95 % up to"))
    p99: int = Field(title=N_("99 % up to"))
    greatest: int = Field(title=N_("Greatest"))
    mean: float = Field(title=N_("Mean"))
    histogram: list[Bin] = Field(title=N_("Histogram"))


class DestinationView(Output):
    """What the data can be used for as it is, and what to do."""

    table_columns: ClassVar[tuple[str, ...]] = ("name", "verdict", "why")
    machine_only: ClassVar[frozenset[str]] = frozenset({"destination"})

    destination: Literal["openai", "local", "constitutional"]
    name: str = Field(title=N_("What for"))
    verdict: str = Field(title=N_("Verdict"))
    why: list[str] = Field(title=N_("Why"))
    todo: list[str] = Field(title=N_("What to do"))


class InspectOutput(Output):
    """`report` is the report's name in the cache; `kept`: it was there already."""

    shown_first: ClassVar[tuple[str, ...]] = (
        *("files", "lines", "rows", "usable", "duplicates"),
        *("report", "kept"),
    )

    files: list[InspectedFile] = Field(title=N_("Files"))
    lines: int = Field(title=N_("Lines"))
    rows: int = Field(title=N_("Rows"))
    usable: int = Field(title=N_("Usable"))
    duplicates: int = Field(title=N_("Exact duplicates"))
    forms: list[FormCount] = Field(title=N_("Formats"))
    issues: list[FoundIssue] = Field(title=N_("Issues"))
    roles: list[RoleOrder] = Field(title=N_("Roles"))
    turns: Distribution | None = Field(title=N_("Turns"))
    characters: Distribution | None = Field(title=N_("Characters"))
    sections: dict[str, Any] = Field(title=N_("Sections"))
    destinations: list[DestinationView] = Field(
        default_factory=list, title=N_("What it can be used for")
    )
    passed_over: list[PassedFile] = Field(default_factory=list, title=N_("Passed over"))
    report: str = Field(title=N_("Report"))
    kept: bool = Field(title=N_("Shown from the cache"))

    def passages(self, name: str) -> Sequence[Passage] | None:
        from sophia_tui.services import inspection_words as words

        if name == "sections":
            return words.Teller(self).sections()
        if name == "issues":
            return [Passage("", tuple(words.Teller(self).issues()))]
        if name == "roles" and self.roles:
            return [Passage("", tuple(words.Teller(self).roles()))]
        if name == "destinations" and self.destinations:
            return [Passage("", tuple(words.destinations(self.destinations)))]
        value = getattr(self, name)
        if isinstance(value, Distribution):
            return [Passage("", tuple(words.distribution(value)))]
        return None


class IssueLine(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("file", "line", "severity", "code", "reason")
    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    code: str = Field(title=N_("Code"))
    severity: str = Field(title=N_("Severity"))
    reason: str = Field(title=N_("Reason"))
    details: dict[str, Any] = Field(title=N_("Details"))


class IssueList(Output):
    total: int = Field(title=N_("Issues"))
    items: list[IssueLine] = Field(title=N_("Lines"))


class InspectService:
    """Needs `settings` for the folder, `paths` for where reports are kept."""

    def __init__(self, settings: "Settings", paths: Paths) -> None:
        self._settings = settings
        self._paths = paths

    @operation(
        "prepare.inspect",
        N_("Look through files of training data: formats, issues, duplicates; changes nothing."),
        detaches=True,
        positional=("path",),
    )
    async def inspect(self, context: Context, request: InspectInput) -> InspectOutput:
        """Raises DataError D301 to D306, D501, D511, NotFoundError D305, D502, UsageError D503,
        RefusedError D504, D505, D509 and D518, CancelledError."""
        if request.path == STANDARD_INPUT:
            async with standard_input(context) as path:
                return await self._inspect(context, request.model_copy(update={"path": str(path)}))
        return await self._inspect(context, request)

    async def _inspect(self, context: Context, request: InspectInput) -> InspectOutput:
        import asyncio

        if request.issues and context.from_afar:
            raise RefusedError(
                "D504",
                _("Over HTTP no file is written."),
                _("A path would write anywhere on the server."),
                _("Ask prepare.issues for the lines, page by page."),
            )
        if request.issues and (context.readonly or not context.role.allows(Role.OPERATOR)):
            raise RefusedError(
                "D509",
                _("Who only looks writes no file of issues."),
                remedy=_("`sophia prepare issues` lists the lines, page by page."),
            )
        asked, passed = await self._asked(context, request)
        identity = _identity(asked)
        folder = self._reports / key_of(identity)
        kept = not request.again and (folder / "report.json").is_file()
        if not kept:
            await self._read(context, asked, identity, folder)
        report = json.loads(await asyncio.to_thread((folder / "report.json").read_bytes))
        if request.issues:
            await asyncio.to_thread(_write_issues, folder, report, Path(request.issues))
        return _output(report, folder.name, kept, self._advised()).model_copy(
            update={"passed_over": passed_files(passed)}
        )

    @operation(
        "prepare.issues",
        N_("List the lines that an inspection found something in, page by page."),
        positional=("path",),
    )
    async def issues(self, context: Context, request: IssuesInput) -> IssueList:
        """Of the report that `prepare.inspect` makes for the same request; made if there is none.

        Raises what `inspect` raises.
        """
        import asyncio

        asked, _passed = await self._asked(context, request)
        identity = _identity(asked)
        folder = self._reports / key_of(identity)
        if not (folder / "report.json").is_file():
            await self._read(context, asked, identity, folder)
        return await asyncio.to_thread(_page, folder, request)

    @property
    def _reports(self) -> Path:
        return self._paths.inspections

    def _advised(self) -> int:
        """How many examples the quality gate wants."""
        least = read_bounds(self._settings.quality_gate).get("examples")
        return int(least.value) if least else 0

    async def _asked(
        self, context: Context, request: InspectedInput
    ) -> tuple["Asked", "Sequence[Passed]"]:
        """What is to be looked at, and the files of the folder that are not."""
        import asyncio

        from sophia_tui.datasets.inspection import PROBES, Asked

        unknown = sorted(set(request.also) - set(PROBES))
        if unknown:
            raise UsageError(
                "D503",
                _("There is no section {name}.").format(name=visible(unknown[0])),
                remedy=_("There are: {names}.").format(names=", ".join(PROBES) or "-"),
            )
        selection = await asyncio.to_thread(
            chosen_files, context, self._settings, request.path, request.files, "D505", "D502"
        )
        files = selection.files
        asked = Asked(
            files=tuple(str(path) for path in files),
            size=sum(path.stat().st_size for path in files),
            sections=tuple(name for name in PROBES if request.everything or name in request.also),
            model=request.model,
            seed=request.seed,
            whole=request.whole,
        )
        return asked, selection.passed

    async def _read(
        self, context: Context, asked: "Asked", identity: dict[str, Any], folder: Path
    ) -> None:
        """Whole or not at all: what a cancelled inspection left is removed. The report is known by
        what the files were before they were read."""
        import asyncio

        from sophia_tui.datasets.inspection import InspectTask
        from sophia_tui.datasets.process import run_engine

        await asyncio.to_thread(sweep, self._reports, "[!.]*/asked.json", _holds)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        try:
            with whole_folder(folder) as made:
                task = InspectTask(context.language, asked, str(made))
                report = await run_engine(task, context)
                (made / "asked.json").write_bytes(json.dumps(identity).encode())
                (made / "report.json").write_bytes(json.dumps(report).encode())
        except OSError as problem:
            raise write_problem(folder, problem) from problem


def _identity(asked: "Asked") -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "files": file_states(asked.files),
        "sections": asked.sections,
        "model": asked.model,
        "seed": asked.seed,
        "whole": asked.whole,
    }


def _holds(identity: dict[str, Any]) -> bool:
    """Whether its files are as they were."""
    states = identity["files"]
    return bool(identity["format"] == _FORMAT and states == file_states(each[0] for each in states))


def _output(report: dict[str, Any], name: str, kept: bool, advised: int) -> InspectOutput:
    from sophia_tui.datasets.codes import summary
    from sophia_tui.datasets.destinations import verdicts

    files = [Path(each["file"]).name for each in report["files"]]
    issues = [
        FoundIssue(
            code=each["code"],
            severity=each["severity"],
            count=each["count"],
            reason=summary(each["code"]),
            places=[f"{files[file]}:{line}" for file, line in each["places"]],
        )
        for each in report["issues"]
    ]
    return InspectOutput(
        files=[InspectedFile(**each) for each in report["files"]],
        lines=report["lines"],
        rows=report["rows"],
        usable=report["usable"],
        duplicates=report["duplicates"],
        forms=[FormCount(form=form, rows=rows) for form, rows in report["forms"].items()],
        issues=issues,
        roles=[
            RoleOrder(roles=" ".join(each["roles"]), rows=each["rows"]) for each in report["roles"]
        ],
        turns=report["turns"] or None,
        characters=report["characters"] or None,
        sections=report["sections"],
        destinations=[
            DestinationView(
                destination=each.destination,
                name=each.name,
                verdict=each.verdict,
                why=list(each.why),
                todo=list(each.todo),
            )
            for each in verdicts(report, advised)
        ],
        report=name,
        kept=kept,
    )


def _page(folder: Path, request: IssuesInput) -> IssueList:
    from itertools import islice

    from sophia_tui.datasets.codes import explain
    from sophia_tui.datasets.inspection import severity
    from sophia_tui.datasets.issues import read_issues

    report = json.loads((folder / "report.json").read_bytes())
    files = [Path(each["file"]).name for each in report["files"]]
    counts = {each["code"]: each["count"] for each in report["issues"]}
    codes = [code for code in counts if not request.code or code in request.code]
    found = read_issues(folder, codes, request.offset)
    return IssueList(
        total=sum(counts[code] for code in codes),
        items=[
            IssueLine(
                file=files[each.file],
                line=each.line,
                code=each.code,
                severity=severity(each.code),
                reason=explain(each.code, each.details),
                details=each.details,
            )
            for each in islice(found, request.limit)
        ],
    )


def _write_issues(folder: Path, report: dict[str, Any], target: Path) -> None:
    import msgspec

    from sophia_tui.datasets.codes import reason
    from sophia_tui.datasets.inspection import severity
    from sophia_tui.datasets.issues import as_line, read_issues

    files = [each["file"] for each in report["files"]]
    codes = [each["code"] for each in report["issues"]]
    encode = msgspec.json.Encoder().encode
    try:
        with whole_file(target.expanduser().absolute()) as stream:
            for each in read_issues(folder, codes):
                told = reason(each.code, each.details)
                stream.write(encode(as_line(each, files, severity(each.code), told)) + b"\n")
    except OSError as problem:
        raise write_problem(target, problem) from problem
