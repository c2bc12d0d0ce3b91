"""What is asked of backups, and what they answer."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.i18n import N_, _
from sophia_tui.services.backup_archive import Manifest
from sophia_tui.services.disk_use import shown_size


class BackupInput(Input):
    folder: str | None = Field(
        default=None, description=N_("Where the archive is written; default: backups/.")
    )
    secrets: bool = Field(
        default=True,
        description=N_("Also Sophia's env file and keys. Whoever has the archive has them then."),
    )
    datasets: bool = Field(default=True, description=N_("Also the data set versions' files."))
    adapters: Literal["used", "all", "none"] = Field(
        default="used",
        description=N_("Which adapters: those promoted, a way back or served; all; or none."),
    )
    runs: bool = Field(
        default=False,
        description=N_("Also the run folders, with checkpoints and merged models: large."),
    )


class BackupsInput(Input):
    folder: str | None = Field(
        default=None, description=N_("The folder to look into; default: backups/.")
    )


class RestoreInput(Input):
    file: str = Field(description=N_("The archive; a name alone is looked for in backups/, too."))
    replace: str = Field(
        default="",
        description=N_(
            "This machine's name, typed: the store's rows are replaced by the backup's. A backup "
            "of them is made first."
        ),
    )
    secrets: bool = Field(
        default=True,
        description=N_("Also the env file's keys, but for those that say where the store is."),
    )


class PartView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("what", "size", "files", "why")

    what: str = Field(title=N_("What"))
    bytes: int = Field(title=N_("Bytes"))
    size: str = Field(title=N_("Size"))
    files: int = Field(title=N_("Files"))
    path: str = Field(default="", title=N_("Folder"))
    why: str = Field(default="", title=N_("Why"))


class BackupView(Output):
    """`bytes` is the archive's size; parts have their sizes unpacked."""

    path: str = Field(title=N_("File"))
    made_at: datetime = Field(title=N_("Made"))
    bytes: int = Field(title=N_("Bytes"))
    size: str = Field(title=N_("Size"))
    sha256: str = Field(title=N_("SHA-256"))
    rows: int = Field(title=N_("Rows of the store"))
    schema_version: str = Field(title=N_("Version of the tables"))
    secrets: bool = Field(title=N_("Holds secrets"))
    damaged: list[str] = Field(default_factory=list, title=N_("Damaged before"))
    items: list[PartView] = Field(title=N_("What it holds"))
    left_out: list[PartView] = Field(title=N_("What stays out"))

    def remarks(self) -> list[str]:
        told = []
        if self.secrets:
            told.append(
                _(
                    "The archive holds passwords and keys in plain text, readable by its owner "
                    "alone (mode 0600). Keep it as you keep those; --no-secrets leaves them out."
                )
            )
        told.append(
            _("It holds personal data as far as the data sets do, and is not encrypted by Sophia.")
        )
        if self.damaged:
            told.append(
                _("Otherwise than their version says, and packed as they are: {files}").format(
                    files=", ".join(self.damaged)
                )
            )
        return told


class BackupEntry(Output):
    """`state` is ok, or why the file can't be read; its contents are checked by a restore."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "file",
        "made_at",
        "size",
        "version",
        "schema_version",
        "secrets",
        "state",
    )

    file: str = Field(title=N_("File"))
    path: str = Field(title=N_("Path"))
    made_at: datetime | None = Field(default=None, title=N_("Made"))
    bytes: int = Field(title=N_("Bytes"))
    size: str = Field(title=N_("Size"))
    host: str = Field(default="", title=N_("Machine"))
    version: str = Field(default="", title=N_("Sophia"))
    schema_version: str = Field(default="", title=N_("Version of the tables"))
    secrets: bool | None = Field(default=None, title=N_("Holds secrets"))
    state: str = Field(title=N_("State"))


class BackupList(Output):
    folder: str = Field(title=N_("Folder"))
    items: list[BackupEntry] = Field(title=N_("Backups"))


class RestoreView(Output):
    """`rows` were put back and found again byte for byte; `files` are files put into their place,
    each with the SHA-256 that the manifest gives. `backup_before` is what was there before."""

    path: str = Field(title=N_("File"))
    made_at: datetime = Field(title=N_("Made"))
    host: str = Field(title=N_("Machine"))
    rows: int = Field(title=N_("Rows put back and compared"))
    tables: dict[str, int] = Field(title=N_("Rows by table"))
    schema_before: str = Field(title=N_("Version of the tables in it"))
    schema_version: str = Field(title=N_("Version of the tables"))
    files: int = Field(title=N_("Files put back and compared"))
    bytes: int = Field(title=N_("Bytes of files"))
    already_there: int = Field(default=0, title=N_("Files that were there already"))
    audit_kept: int = Field(default=0, title=N_("Log entries of this store kept"))
    backup_before: str | None = Field(default=None, title=N_("Backup of what was there"))
    resumed: bool = Field(default=False, title=N_("Resumed"))
    moved_aside: list[str] = Field(default_factory=list, title=N_("Moved aside"))
    notes: list[str] = Field(default_factory=list, title=N_("What is left to do"))

    def remarks(self) -> list[str]:
        return [
            _(
                "Checked: every row was read back before the commit and is the backup's, byte for "
                "byte; every file has the SHA-256 of the manifest."
            )
        ]


class RestorePlan(RestoreView):
    """The same of a dry run: the archive was checked whole, and nothing changed."""

    rows: int = Field(title=N_("Rows that would be put back"))
    files: int = Field(title=N_("Files that would be put back"))

    def remarks(self) -> list[str]:
        return [_("The archive is whole; nothing was changed.")]


#: What the units of an archive are called, by kind.
WORDS = {
    "dataset": N_("data sets"),
    "adapter": N_("adapters"),
    "run": N_("runs"),
    "data": N_("uploads, edits, personas and reports"),
    "env": N_("env file and keys"),
    "token": N_("env file and keys"),
    "history": "history.jsonl",
    "managed": "managed.conf",
    "prices": "prices.yaml",
}


def parts_of(manifest: Manifest) -> list[PartView]:
    """The store, then units by kind."""
    found = [_part(_("store"), manifest.store_bytes, len(manifest.tables))]
    kinds: dict[str, list[int]] = {}
    for unit in manifest.units:
        sums = kinds.setdefault(_(WORDS[unit.kind]), [0, 0])
        sums[0] += unit.bytes
        sums[1] += len(unit.files)
    return [*found, *(_part(word, size, files) for word, (size, files) in kinds.items())]


def left_out_of(manifest: Manifest) -> list[PartView]:
    return [
        _part(each.what, each.bytes, each.files, each.path, each.why) for each in manifest.left_out
    ]


def _part(what: str, size: int, files: int, path: str = "", why: str = "") -> PartView:
    return PartView(what=what, bytes=size, size=shown_size(size), files=files, path=path, why=why)
