"""Files that were sent to our own OpenAI-compatible endpoint."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

#: What a file may be for: training data, and the metrics that a training leaves.
FINE_TUNE, RESULTS = "fine-tune", "fine-tune-results"


@dataclass(frozen=True)
class UploadedFile:
    """One row of uploaded_files. The bytes lie at `path` on the machine `host`."""

    id: str
    filename: str
    purpose: str
    bytes: int
    sha256: str
    path: str
    host: str
    created_by: str
    created_at: datetime
    deleted_at: datetime | None = None


class FileStore(Protocol):
    async def add(self, file: UploadedFile) -> None: ...

    async def get(self, file_id: str) -> UploadedFile | None:
        """One that was not deleted."""

    async def page(
        self,
        limit: int,
        offset: int = 0,
        after: str | None = None,
        purpose: str | None = None,
        oldest_first: bool = False,
    ) -> list[UploadedFile]:
        """Newest first; `after` is the id of the last file of the page before."""

    async def delete(self, file_id: str, at: datetime) -> None:
        """The row stays, for the lineage of what was trained on it."""
