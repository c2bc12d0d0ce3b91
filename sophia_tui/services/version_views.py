"""What is asked of the versions of data sets, and what they answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.datasets import DatasetUser, DatasetVersion
from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_
from sophia_tui.services.datasets import DatasetReference, notice_text
from sophia_tui.services.disk_use import shown_size
from sophia_tui.services.views import Page


class VersionsInput(Page):
    name: str | None = Field(default=None, description=N_("Only versions of this data set."))
    deleted: bool = Field(default=False, description=N_("Also versions that were deleted."))


class VersionView(Output):
    """A version and its life. `jobs` are trainings and other jobs on it, `models` what came of
    them. `notice` says why it should be used no more."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "created_at",
        "rows",
        "size",
        "tags",
        "models",
        "notice",
    )

    id: str = Field(title=N_("Data set"))
    name: str = Field(title=N_("Name"))
    hash: str = Field(title=N_("Hash"))
    tags: list[str] = Field(default_factory=list, title=N_("Tags"))
    protected: list[str] = Field(default_factory=list, title=N_("Protected by"))
    rows: int = Field(title=N_("Rows"))
    parts: dict[str, int] = Field(title=N_("Rows by part"))
    bytes: int = Field(title=N_("Bytes"))
    size: str = Field(title=N_("Size"))
    redacted: bool = Field(title=N_("Redacted"))
    jobs: list[str] = Field(default_factory=list, title=N_("Jobs"))
    models: list[str] = Field(default_factory=list, title=N_("Models"))
    notice: str = Field(default="", title=N_("Notice"))
    created_by: str = Field(default="", title=N_("Created by"))
    created_at: datetime | None = Field(default=None, title=N_("Created"))
    deleted_at: datetime | None = Field(default=None, title=N_("Deleted on"))
    deleted_by: str | None = Field(default=None, title=N_("Deleted by"))

    @classmethod
    def of(cls, version: DatasetVersion, users: Sequence[DatasetUser]) -> "VersionView":
        mine = [each for each in users if each.dataset == version.id]
        files = version.manifest.get("files") or {}
        size = sum(int(each.get("bytes") or 0) for each in files.values())
        counts = version.counts
        return cls(
            id=version.id,
            name=version.name,
            hash=version.hash,
            tags=list(version.tags),
            protected=list(version.protected),
            rows=counts.get("rows_kept", 0),
            parts={part: counts.get(part, 0) for part in ("train", "valid", "test")},
            bytes=size,
            size=shown_size(size),
            redacted=version.manifest.get("redacted") is True,
            jobs=[each.id for each in mine if each.what == "job"],
            models=[each.id for each in mine if each.what == "model" and not each.state],
            notice=notice_text(version),
            created_by=version.created_by,
            created_at=version.created_at,
            deleted_at=version.deleted_at,
            deleted_by=version.deleted_by,
        )


class VersionList(Output):
    items: list[VersionView] = Field(title=N_("Versions"))


class TagInput(DatasetReference):
    tag: str = Field(description=N_("Small letters, digits, dot, - and _; not digits alone."))
    protect: bool = Field(
        default=False, description=N_("The version can't be deleted while it has the tag.")
    )


class UntagInput(Input):
    dataset: str = Field(description=N_("The data set's name, or name@tag."))
    tag: str | None = Field(default=None, description=N_("The tag, where DATASET is a name."))


class TagView(Output):
    dataset: str = Field(title=N_("Data set"))
    tag: str = Field(title=N_("Tag"))
    reference: str = Field(title=N_("Named as"))
    protected: bool = Field(default=False, title=N_("Protected"))
    moved_from: str | None = Field(default=None, title=N_("Stood before at"))


class UntaggedView(Output):
    name: str = Field(title=N_("Data set"))
    tag: str = Field(title=N_("Tag"))
    removed: bool = Field(title=N_("Removed"))


class DiffInput(Page):
    first: str = Field(description=N_("The older version: name@hash, name@tag or a name."))
    second: str = Field(description=N_("The newer version: name@hash, name@tag or a name."))
    kind: Literal["changed", "removed", "added", "moved"] | None = Field(
        default=None, description=N_("Only rows that are changed, removed, added or moved.")
    )
    limit: int = Field(default=20, ge=1, le=500, description=N_("How many at most."))


class SideOfRow(Output):
    part: str = Field(title=N_("Part"))
    question: str = Field(title=N_("Question"))
    answer: str = Field(title=N_("Answer"))
    rejected: str | None = Field(default=None, title=N_("Worse answer"))
    file: str = Field(default="", title=N_("File"))
    line: int = Field(default=0, title=N_("Line"))
    source: dict[str, Any] | None = Field(default=None, title=N_("Source row"))


class DiffRow(Output):
    """`changed`: of the same source row, or with the same question, and another text. `moved`: the
    same text in another part."""

    kind: str = Field(title=N_("Kind"))
    before: SideOfRow | None = Field(default=None, title=N_("Before"))
    after: SideOfRow | None = Field(default=None, title=N_("After"))


class PartDiff(Output):
    part: str = Field(title=N_("Part"))
    first: int = Field(title=N_("First"))
    second: int = Field(title=N_("Second"))


class StepDiff(Output):
    """A step whose version or settings differ; None where one version has no such step."""

    step: str = Field(title=N_("Step"))
    first: dict[str, Any] | None = Field(default=None, title=N_("First"))
    second: dict[str, Any] | None = Field(default=None, title=N_("Second"))


class VersionDiff(Output):
    """first = same + removed + changed + moved and second = same + added + changed + moved, where
    no version holds one text twice."""

    first: str = Field(title=N_("First"))
    second: str = Field(title=N_("Second"))
    same: int = Field(title=N_("The same"))
    added: int = Field(title=N_("Added"))
    removed: int = Field(title=N_("Removed"))
    changed: int = Field(title=N_("Changed"))
    moved: int = Field(title=N_("In another part"))
    parts: list[PartDiff] = Field(title=N_("Rows by part"))
    steps: list[StepDiff] = Field(title=N_("Steps that differ"))
    items: list[DiffRow] = Field(title=N_("Rows"))
    more: bool = Field(default=False, title=N_("More"))


class ExportInput(DatasetReference):
    to: str | None = Field(
        default=None,
        description=N_(
            "A folder, or a file *.jsonl, *.jsonl.gz or *.jsonl.zst; default: exports/."
        ),
    )
    part: Literal["train", "valid", "test", "rejected"] | None = Field(
        default=None, description=N_("Only this part; default: all parts, into a folder.")
    )
    compression: Literal["none", "gz", "zst"] | None = Field(
        default=None, description=N_("How files are compressed; default: as the file's name says.")
    )


class ExportedFile(Output):
    file: str = Field(title=N_("File"))
    rows: int = Field(title=N_("Rows"))
    bytes: int = Field(title=N_("Bytes"))
    sha256: str = Field(title=N_("SHA-256"))


class ExportOutput(Output):
    dataset: str = Field(title=N_("Data set"))
    path: str = Field(title=N_("Written to"))
    manifest: str = Field(title=N_("Manifest"))
    files: list[ExportedFile] = Field(title=N_("Files"))
    replaced: bool = Field(default=False, title=N_("Replaced what was there"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))


class DeleteInput(DatasetReference):
    regardless: bool = Field(
        default=False,
        description=N_("Also where a protecting tag stands on it or what it taught is in use."),
    )


class DeletedDataset(Output):
    """`jobs` and `models` were made of it, and stay. `kept_by` is what --regardless overruled."""

    dataset: str = Field(title=N_("Data set"))
    deleted: bool = Field(title=N_("Deleted"))
    folder: str = Field(title=N_("Folder"))
    size: str = Field(title=N_("Size"))
    jobs: list[str] = Field(title=N_("Jobs on it"))
    models: list[str] = Field(title=N_("Models of it"))
    tags: list[str] = Field(title=N_("Tags taken away"))
    kept_by: list[str] = Field(default_factory=list, title=N_("What spoke against it"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))
