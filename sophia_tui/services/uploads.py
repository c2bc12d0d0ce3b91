"""Uploads of large files in parts: what came so far lies in a folder of its own in uploads/.

The folder holds all there is to know, so an upload survives a restart of who receives it. What
comes of a complete one is a file of `files.add`.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sophia_tui.domain.protocols import Clock
from sophia_tui.errors import ConflictError, NotFoundError, UsageError
from sophia_tui.files import usable_folder, whole_file, write_whole
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.services.files import new_id, plain_name, too_large
from sophia_tui.textsafe import visible

#: How long an upload may take, and how long after its end its folder is kept.
LASTS, KEPT = timedelta(hours=1), timedelta(days=1)
PART_BYTES = 64 * 1024 * 1024
_ABOUT = "upload.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Upload:
    """One upload. `status` is pending, completed, cancelled or expired; times are epoch seconds."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int
    status: str = "pending"
    file_id: str | None = None


@dataclass(frozen=True)
class Part:
    id: str
    upload_id: str
    created_at: int


class Uploads:
    """Receives large files in parts."""

    def __init__(self, paths: Paths, clock: Clock, limit: int) -> None:
        self._folder = paths.uploads
        self._clock = clock
        self._limit = limit

    def create(self, filename: str, purpose: str, size: int) -> Upload:
        """Raises TooLargeError D395."""
        if size > self._limit:
            raise too_large(self._limit)
        usable_folder(self._folder)
        self._sweep()
        now = self._clock.now()
        upload = Upload(
            id=new_id("upload"),
            filename=plain_name(filename),
            purpose=purpose,
            bytes=size,
            created_at=int(now.timestamp()),
            expires_at=int((now + LASTS).timestamp()),
        )
        (self._folder / upload.id).mkdir(mode=0o700)
        self._write(upload)
        return upload

    def get(self, upload_id: str) -> Upload:
        """Raises NotFoundError D399."""
        try:
            if Path(upload_id).name != upload_id or not upload_id.startswith("upload-"):
                raise FileNotFoundError(upload_id)
            about = json.loads((self._folder / upload_id / _ABOUT).read_text("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                "D399",
                _("No such Upload object: {upload}.").format(upload=visible(upload_id)[:100]),
                openai={"code": None, "param": "upload_id"},
            ) from None
        upload = Upload(**about)
        late = self._clock.now().timestamp() > upload.expires_at
        return replace(upload, status="expired") if late and upload.status == "pending" else upload

    def part(self, upload_id: str) -> tuple[Part, Path]:
        """A new part, and where its bytes are to be written. Raises ConflictError J600."""
        upload = self._pending(upload_id)
        part = Part(new_id("part"), upload.id, int(self._clock.now().timestamp()))
        return part, self._folder / upload.id / part.id

    def cancel(self, upload_id: str) -> Upload:
        """Raises ConflictError J600 where it has ended."""
        upload = replace(self._pending(upload_id), status="cancelled")
        self._write(upload)
        self._drop_parts(upload)
        return upload

    def join(self, upload_id: str, parts: Sequence[str], md5: str | None) -> tuple[Upload, Path]:
        """The whole file of the parts in that order. Raises UsageError J601 where they are not what
        was announced, J602 for another checksum, ConflictError J600."""
        upload = self._pending(upload_id)
        folder = self._folder / upload.id
        found = [folder / name for name in parts]
        unknown = [p.name for p in found if p.parent != folder or not p.name.startswith("part-")]
        missing = [each.name for each in found if each.name not in unknown and not each.is_file()]
        size = 0 if unknown or missing else sum(each.stat().st_size for each in found)
        if unknown or missing or len(set(parts)) != len(parts) or size != upload.bytes:
            raise UsageError(
                "J601",
                _("The parts are not the file that was announced."),
                _("They hold {size} bytes; {bytes} were announced.").format(
                    size=size, bytes=upload.bytes
                )
                if not (unknown or missing)
                else _("Not there: {parts}.").format(
                    parts=visible(", ".join([*unknown, *missing]))[:200]
                ),
                _("Name every part once, in order; send again what is missing."),
                openai={"code": None, "param": "part_ids"},
            )
        whole = folder / "whole"
        checksum = hashlib.md5(usedforsecurity=False)
        with whole_file(whole) as target:
            for each in found:
                with each.open("rb") as stream:
                    while chunk := stream.read(_CHUNK):
                        checksum.update(chunk)
                        target.write(chunk)
        if md5 and md5.lower() != checksum.hexdigest():
            whole.unlink()
            raise UsageError(
                "J602",
                _("The file's MD5 checksum is not the one that was given."),
                remedy=_("Send it again."),
                openai={"code": None, "param": "md5"},
            )
        return upload, whole

    def complete(self, upload: Upload, file_id: str) -> Upload:
        """Note the file that it became."""
        done = replace(upload, status="completed", file_id=file_id)
        self._write(done)
        self._drop_parts(done)
        return done

    def _pending(self, upload_id: str) -> Upload:
        upload = self.get(upload_id)
        if upload.status != "pending":
            raise ConflictError(
                "J600",
                _("The upload has ended: {status}.").format(status=upload.status),
                remedy=_("Begin a new one."),
                openai={"code": None, "param": "upload_id"},
            )
        return upload

    def _write(self, upload: Upload) -> None:
        content = json.dumps(asdict(upload), ensure_ascii=False).encode()
        write_whole(self._folder / upload.id / _ABOUT, content)

    def _drop_parts(self, upload: Upload) -> None:
        for each in (self._folder / upload.id).iterdir():
            if each.name != _ABOUT:
                each.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Take away the folders of uploads that ended long ago."""
        before = self._clock.now() - KEPT
        for folder in self._folder.glob("upload-*"):
            written = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            if written < before:
                shutil.rmtree(folder, ignore_errors=True)
