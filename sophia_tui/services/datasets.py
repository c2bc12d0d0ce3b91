"""Data set versions that exist: list them, look at one, and at what was rejected for it."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import DatasetStore
from sophia_tui.errors import NotFoundError
from sophia_tui.i18n import N_, _
from sophia_tui.services.operations import operation
from sophia_tui.services.views import MOST_ROWS, DatasetList, DatasetView, Page
from sophia_tui.textsafe import visible


class DatasetReference(Input):
    dataset: str = Field(
        description=N_("name@hash, a name (its newest version) or the beginning of a hash.")
    )


class RejectedInput(DatasetReference):
    code: str | None = Field(default=None, description=N_("Only records rejected with this code."))
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class DatasetDetails(Output):
    dataset: DatasetView = Field(title=N_("Data set"))
    manifest: dict[str, Any] = Field(title=N_("Manifest"))


class RejectedRecord(Output):
    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))
    source: dict[str, Any] | None = Field(default=None, title=N_("Source row"))


class RejectedList(Output):
    dataset: str = Field(title=N_("Data set"))
    total: int = Field(title=N_("Rejected"))
    items: list[RejectedRecord] = Field(title=N_("Records"))


class RowsInput(DatasetReference):
    part: Literal["train", "valid", "test"] | None = Field(
        default=None, description=N_("Only records of this part.")
    )
    text: str | None = Field(
        default=None, description=N_("Only records that hold this text, in any case of letters.")
    )
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class KeptRecord(Output):
    """One record that is trained on or measured with. `source` is the row of the owner's table."""

    table_columns: ClassVar[tuple[str, ...]] = ("part", "file", "line", "source", "question")
    as_is: ClassVar[frozenset[str]] = frozenset({"line"})

    part: str = Field(title=N_("Part"))
    file: str = Field(title=N_("File"))
    line: int = Field(title=N_("Line"))
    source: dict[str, Any] | None = Field(default=None, title=N_("Source row"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))
    rejected: str | None = Field(default=None, title=N_("Worse answer"))


class KeptList(Output):
    dataset: str = Field(title=N_("Data set"))
    items: list[KeptRecord] = Field(title=N_("Records"))


class DatasetsService:
    def __init__(self, datasets: DatasetStore) -> None:
        self._datasets = datasets

    @operation("datasets.list", N_("List the data set versions, newest first."))
    async def list(self, context: Context, request: Page) -> DatasetList:
        found = await self._datasets.page(request.limit, request.offset)
        return DatasetList(items=[DatasetView.of(version) for version in found])

    @operation(
        "datasets.show",
        N_("Show a data set version: files, steps, counts."),
        target="dataset",
        positional=("dataset",),
    )
    async def show(self, context: Context, request: DatasetReference) -> DatasetDetails:
        """Raises NotFoundError D404."""
        version = await self._get(request.dataset)
        return DatasetDetails(dataset=DatasetView.of(version), manifest=version.manifest)

    @operation(
        "datasets.rejected",
        N_("List the records that were not used for a data set version, with the reason."),
        target="dataset",
        positional=("dataset",),
    )
    async def rejected(self, context: Context, request: RejectedInput) -> RejectedList:
        """Raises NotFoundError D404 (no such version) and D405 (its folder is gone)."""
        import asyncio

        version = await self._get(request.dataset)
        total = version.counts.get(request.code or "rows_rejected", 0)
        try:
            entries = await asyncio.to_thread(_page, Path(version.folder), request)
        except OSError as problem:
            raise _gone(version, problem) from problem
        return RejectedList(dataset=version.id, total=total, items=[_record(e) for e in entries])

    @operation(
        "datasets.rows",
        N_("List the records of a data set version, each with the source row it comes from."),
        target="dataset",
        positional=("dataset",),
    )
    async def rows(self, context: Context, request: RowsInput) -> KeptList:
        """Raises NotFoundError D404 (no such version) and D405 (its folder is gone)."""
        import asyncio

        version = await self._get(request.dataset)
        try:
            items = await asyncio.to_thread(_kept, Path(version.folder), request)
        except OSError as problem:
            raise _gone(version, problem) from problem
        return KeptList(dataset=version.id, items=items)

    async def _get(self, reference: str) -> DatasetVersion:
        version = await self._datasets.get(reference)
        if version is None:
            raise NotFoundError(
                "D404",
                _("There is no data set {reference}.").format(reference=visible(reference)),
                remedy=_("`sophia datasets list` lists the versions."),
            )
        return version


def _gone(version: DatasetVersion, problem: OSError) -> NotFoundError:
    return NotFoundError(
        "D405",
        _("The files of {dataset} can't be read.").format(dataset=version.id),
        problem.strerror or type(problem).__name__,
        _("Look whether {folder} is still there.").format(folder=visible(version.folder)),
    )


def _kept(folder: Path, request: RowsInput) -> list[KeptRecord]:
    """Records and their origins stand in the same order: provenance.jsonl has all parts mixed."""
    parts = [request.part] if request.part else ["train", "valid", "test"]
    wanted = (request.text or "").casefold()
    found: list[KeptRecord] = []
    to_pass = request.offset
    with ExitStack() as stack:
        files = {
            part: stack.enter_context((folder / f"{part}.jsonl").open(encoding="utf-8"))
            for part in parts
            if (folder / f"{part}.jsonl").exists()
        }
        origins = stack.enter_context((folder / "provenance.jsonl").open(encoding="utf-8"))
        for line in origins:
            origin = json.loads(line)
            row = next(files[origin["part"]], "") if origin["part"] in files else ""
            record = _kept_record(origin, json.loads(row)) if row else None
            if record is None or wanted not in f"{record.question}\n{record.answer}".casefold():
                continue
            if to_pass:
                to_pass -= 1
                continue
            found.append(record)
            if len(found) == request.limit:
                break
    return found


def _kept_record(origin: dict[str, Any], row: dict[str, Any]) -> KeptRecord:
    said = [(each.get("role"), str(each.get("content") or "")) for each in row["messages"]]
    asked = [text for role, text in said if role == "user"]
    answers = row["chosen"] if "chosen" in row else row["messages"]
    answered = [str(each.get("content") or "") for each in answers if each["role"] == "assistant"]
    return KeptRecord(
        part=origin["part"],
        file=origin["file"],
        line=origin["line"],
        source=origin.get("source"),
        question=asked[-1] if asked else "",
        answer=answered[-1] if answered else "",
        rejected=row["rejected"][0]["content"] if "rejected" in row else None,
    )


def _page(folder: Path, request: RejectedInput) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    to_pass = request.offset
    with (folder / "rejected.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            entry: dict[str, Any] = json.loads(line)
            if request.code and entry["code"] != request.code:
                continue
            if to_pass:
                to_pass -= 1
                continue
            found.append(entry)
            if len(found) == request.limit:
                break
    return found


def _record(entry: dict[str, Any]) -> RejectedRecord:
    from sophia_tui.datasets.codes import explain

    return RejectedRecord(
        file=entry["file"],
        line=entry["line"],
        code=entry["code"],
        reason=explain(entry["code"], entry.get("details")),
        source=entry.get("source"),
    )
