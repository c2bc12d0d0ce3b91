"""Data set versions that exist: list them, look at one, and at what was rejected for it."""

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import DatasetStore
from sophia_tui.errors import NotFoundError, UsageError
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.services.lists import ListPage
from sophia_tui.services.operations import operation
from sophia_tui.services.views import MOST_ROWS, DatasetList, DatasetView
from sophia_tui.textsafe import visible


class DatasetReference(Input):
    dataset: str = Field(
        description=N_("name@hash, name@tag, a name (its newest version), or a hash's beginning.")
    )


class RejectedInput(DatasetReference):
    code: str | None = Field(default=None, description=N_("Only records rejected with this code."))
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class DatasetDetails(Output):
    dataset: DatasetView = Field(title=N_("Data set"))
    tags: list[str] = Field(default_factory=list, title=N_("Tags"))
    notice: str = Field(default="", title=N_("Notice"))
    deleted_at: datetime | None = Field(default=None, title=N_("Deleted on"))
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
    source: str | None = Field(
        default=None,
        description=N_("Only records of this source row: table:key, e.g. conversations:42."),
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


class DatasetsPage(ListPage):
    sorts = ("created_at", "id", "name", "rows_kept", "rows_rejected", "created_by")


class DatasetsService:
    def __init__(self, datasets: DatasetStore) -> None:
        self._datasets = datasets

    @operation("datasets.list", N_("List the data set versions, newest first."))
    async def list(self, context: Context, request: DatasetsPage) -> DatasetList:
        found = await self._datasets.listed(request.wanted())
        return DatasetList(
            items=[DatasetView.of(version) for version in found],
            total=found.total,
            unfiltered=found.unfiltered,
        )

    @operation(
        "datasets.show",
        N_("Show a data set version: files, steps, counts."),
        target="dataset",
        positional=("dataset",),
    )
    async def show(self, context: Context, request: DatasetReference) -> DatasetDetails:
        """Raises NotFoundError D404."""
        version = await self._datasets.get(request.dataset, deleted=True)
        if version is None:
            raise unknown_dataset(request.dataset)
        return DatasetDetails(
            dataset=DatasetView.of(version),
            tags=list(version.tags),
            notice=notice_text(version),
            deleted_at=version.deleted_at,
            manifest=version.manifest,
        )

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
        """Raises NotFoundError D404 (no such version) and D405 (its folder is gone), UsageError
        D559 (a source row that can't be read)."""
        import asyncio

        version = await self._get(request.dataset)
        if request.source is not None and not all(request.source.partition(":")):
            raise UsageError(
                "D559",
                _("{source} names no source row.").format(source=visible(request.source)),
                _("A source row is a table and a key, with a colon between them."),
                _("Write it like conversations:42 or qa_cache:qhash=0a1b."),
            )
        try:
            items = await asyncio.to_thread(_kept, Path(version.folder), request)
        except OSError as problem:
            raise _gone(version, problem) from problem
        return KeptList(dataset=version.id, items=items)

    async def _get(self, reference: str) -> DatasetVersion:
        version = await self._datasets.get(reference)
        if version is None:
            raise unknown_dataset(reference)
        return version


def notice_text(version: DatasetVersion) -> str:
    """Why it should be used no more, in the active language; empty where nothing is known."""
    notice = version.notice or {}
    if notice.get("kind") != "forgotten":
        return ""
    rows = int(notice.get("rows") or 0)
    told = ngettext(
        "Holds {count} row of a person who asked to be forgotten.",
        "Holds {count} rows of a person who asked to be forgotten.",
        rows,
    ).format(count=rows)
    successor = notice.get("successor")
    if not successor:
        return told
    return told + " " + _("Use {dataset} instead.").format(dataset=successor)


def unknown_dataset(reference: str) -> NotFoundError:
    return NotFoundError(
        "D404",
        _("There is no data set {reference}.").format(reference=visible(reference)),
        remedy=_("`sophia datasets list` lists the versions."),
    )


def files_gone(version: DatasetVersion, why: str) -> NotFoundError:
    return NotFoundError(
        "D405",
        _("The files of {dataset} can't be read.").format(dataset=version.id),
        why,
        _("Look whether {folder} is still there.").format(folder=visible(version.folder)),
    )


def _gone(version: DatasetVersion, problem: OSError) -> NotFoundError:
    return files_gone(version, problem.strerror or type(problem).__name__)


def is_source(source: dict[str, Any] | None, wanted: str) -> bool:
    """Whether that is the row that `table:key` names. The table's schema may be left out; the key
    is the value of any of its columns, or `column=value`."""
    if source is None:
        return False
    table, _colon, key = wanted.partition(":")
    if table not in (source["table"], source["table"].rpartition(".")[2]):
        return False
    column, sign, value = key.partition("=")
    keys = {name: str(each) for name, each in source["key"].items()}
    return key in keys.values() or (bool(sign) and keys.get(column) == value)


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
            mine = request.source is None or is_source(origin.get("source"), request.source)
            row = next(files[origin["part"]], "") if origin["part"] in files else ""
            record = _kept_record(origin, json.loads(row)) if row and mine else None
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
    from sophia_tui.datasets.contents import said

    question, answer, worse = said(row)
    return KeptRecord(
        part=origin["part"],
        file=origin["file"],
        line=origin["line"],
        source=origin.get("source"),
        question=question,
        answer=answer,
        rejected=worse,
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
