"""Data set versions that exist: list them, look at one, and at what was rejected for it."""

import json
from pathlib import Path
from typing import Any, ClassVar

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
            raise NotFoundError(
                "D405",
                _("The files of {dataset} can't be read.").format(dataset=version.id),
                problem.strerror or type(problem).__name__,
                _("Look whether {folder} is still there.").format(folder=visible(version.folder)),
            ) from problem
        return RejectedList(dataset=version.id, total=total, items=[_record(e) for e in entries])

    async def _get(self, reference: str) -> DatasetVersion:
        version = await self._datasets.get(reference)
        if version is None:
            raise NotFoundError(
                "D404",
                _("There is no data set {reference}.").format(reference=visible(reference)),
                remedy=_("`sophia datasets list` lists the versions."),
            )
        return version


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
