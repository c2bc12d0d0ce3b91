"""Files that were sent to be trained on: taken in whole, listed, shown, deleted.

How they are sent over HTTP is the API's matter; here a file lies on this machine already.
"""

import hashlib
import os
import re
import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.domain.uploads import FINE_TUNE, UploadedFile
from sophia_tui.errors import NotFoundError, TooLargeError, UsageError
from sophia_tui.files import usable_folder, whole_file
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.data_files import as_given
from sophia_tui.services.operations import operation
from sophia_tui.services.views import MOST_ROWS
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_CHUNK = 1 << 20
Purpose = Literal["fine-tune", "batch", "assistants", "vision", "user_data", "evals"]


class FileReference(Input):
    file: str = Field(description=N_("The file's id (file-…)."))


class FileAdd(Input):
    path: str = Field(
        description=N_("The file on this machine; over HTTP one in FINETUNE_DIR, by its name.")
    )
    purpose: Purpose = Field(default="fine-tune", description=N_("What the file is for."))
    filename: str | None = Field(
        default=None, max_length=255, description=N_("The name to keep; default: the file's own.")
    )


class FilesPage(Input):
    purpose: str | None = Field(default=None, description=N_("Only files for this purpose."))
    after: str | None = Field(default=None, description=N_("Only files after this one, by id."))
    order: Literal["asc", "desc"] = Field(
        default="desc", description=N_("asc: oldest first; desc: newest first.")
    )
    limit: int = Field(default=100, ge=1, le=10_000, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class FileView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("id", "purpose", "bytes", "created_at", "filename")

    id: str = Field(title=N_("File"))
    filename: str = Field(title=N_("Name"))
    purpose: str = Field(title=N_("Purpose"))
    bytes: int = Field(title=N_("Bytes"))
    sha256: str = Field(title=N_("SHA-256"))
    path: str = Field(title=N_("Place"))
    host: str = Field(title=N_("Machine"))
    created_by: str = Field(title=N_("Created by"))
    created_at: datetime = Field(title=N_("Created"))

    @classmethod
    def of(cls, file: UploadedFile) -> "FileView":
        return cls(**{name: getattr(file, name) for name in cls.model_fields})


class FileList(Output):
    items: list[FileView] = Field(title=N_("Files"))
    more: bool = Field(default=False, title=N_("More"))


class DeletedFile(Output):
    id: str = Field(title=N_("File"))
    deleted: bool = Field(title=N_("Deleted"))


def unknown_file(file_id: str) -> NotFoundError:
    return NotFoundError(
        "D394",
        _("No such File object: {file}.").format(file=visible(file_id)[:100]),
        remedy=_("`sophia files list` lists the files."),
        openai={"code": None, "param": "id"},
    )


def new_id(kind: str) -> str:
    return f"{kind}-" + "".join(secrets.choice(_ALPHABET) for _each in range(12))


def plain_name(name: str) -> str:
    """The last part of a name that somebody gave, without what no file name should hold."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", last).strip()[:255] or "file"


def too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        "D395",
        _("The file is too large."),
        _("At most {bytes} bytes are taken (SOPHIA_UPLOAD_BYTES).").format(bytes=limit),
        _("Send a smaller file."),
        openai={"code": None, "param": "file"},
    )


class FilesService:
    """Keeps files in the data folder's uploads/, each under its id, and tells of them."""

    def __init__(
        self, store: Store, settings: "Settings", paths: Paths, clock: Clock, host: str
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._host = host

    @operation(
        "files.add",
        N_("Take a file in, to train on it."),
        role=Role.OPERATOR,
        writes=True,
        target="path",
        positional=("path",),
    )
    async def add(self, context: Context, request: FileAdd) -> FileView:
        """Raises NotFoundError D396, UsageError D397 (empty), RefusedError D398, TooLargeError
        D395, DataError D390 (no JSON Lines)."""
        import asyncio

        source = self._source(context, request.path)
        file_id = new_id("file")
        name = plain_name(request.filename or source.name)
        usable_folder(self._paths.uploads)
        suffix = ".jsonl" if request.purpose == FINE_TUNE else ".bin"
        place = self._paths.uploads / f"{file_id}{suffix}"
        try:
            size, digest = await asyncio.to_thread(self._take, source, place, context.inner)
            if request.purpose == FINE_TUNE:
                await self._check(context, place)
            file = UploadedFile(
                id=file_id,
                filename=name,
                purpose=request.purpose,
                bytes=size,
                sha256=digest,
                path=str(place),
                host=self._host,
                created_by=context.actor,
                created_at=self._clock.now(),
            )
            await self._store.files.add(file)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        return FileView.of(file)

    @operation("files.list", N_("List the files that were taken in."))
    async def page(self, context: Context, request: FilesPage) -> FileList:
        """Raises NotFoundError D394 for an unknown `after`."""
        if request.after is not None:
            await self._get(request.after)
        found = await self._store.files.page(
            request.limit + 1,
            request.offset,
            request.after,
            request.purpose,
            oldest_first=request.order == "asc",
        )
        items = [FileView.of(each) for each in found[: request.limit]]
        return FileList(items=items, more=len(found) > request.limit)

    @operation("files.show", N_("Show one file."), target="file", positional=("file",))
    async def show(self, context: Context, request: FileReference) -> FileView:
        """Raises NotFoundError D394."""
        return FileView.of(await self._get(request.file))

    @operation(
        "files.delete",
        N_("Delete a file; data sets and models made of it stay."),
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
        target="file",
        positional=("file",),
    )
    async def delete(self, context: Context, request: FileReference) -> DeletedFile:
        """Raises NotFoundError D394."""
        found = await self._get(request.file)
        await self._store.files.delete(found.id, self._clock.now())
        if found.host == self._host:
            Path(found.path).unlink(missing_ok=True)
        return DeletedFile(id=found.id, deleted=True)

    async def _get(self, file_id: str) -> UploadedFile:
        found = await self._store.files.get(file_id)
        if found is None:
            raise unknown_file(file_id)
        return found

    def _source(self, context: Context, text: str) -> Path:
        """The file to take. From afar only what lies in FINETUNE_DIR, by its name."""
        found = as_given(context, self._settings.finetune_folder, text, "D398")
        if found is None:
            raise NotFoundError(
                "D396",
                _("There is no file {path}.").format(path=visible(text)),
                _("Over HTTP only files of FINETUNE_DIR are named; others are sent.")
                if context.from_afar
                else "",
                _("Correct the path, or send the file to POST /v1/files."),
            )
        return found

    def _take(self, source: Path, place: Path, moved: bool) -> tuple[int, str]:
        """Copy or move `source` to `place`; its size and SHA-256."""
        limit = self._settings.upload_bytes
        if source.stat().st_size > limit:
            raise too_large(limit)
        if moved:
            os.replace(source, place)
        else:
            with source.open("rb") as stream, whole_file(place) as target:
                shutil.copyfileobj(stream, target, _CHUNK)
        with place.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = place.stat().st_size
        if not size:
            raise UsageError(
                "D397",
                _("The file is empty."),
                remedy=_("Send a file that holds something."),
                openai={"code": None, "param": "file"},
            )
        return size, digest

    async def _check(self, context: Context, place: Path) -> None:
        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.tasks import CheckTask

        await run_engine(CheckTask(context.language, str(place), False), context)
