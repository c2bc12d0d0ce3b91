"""The own store as it goes into a backup and comes out of one: tables, how they are told, who does
it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class CopiedTable:
    """One table of the own store, as Postgres' COPY writes it in its text form.

    `numbers` are its identity columns with the number that was given last (None: none yet).
    `sha256` is of all its bytes.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    sha256: str
    numbers: dict[str, int | None]


@dataclass(frozen=True)
class CopiedStore:
    """All tables, those first that others point to, read in one transaction. `revision` is the
    version of the tables, `server_version` the server's, `at_work` the jobs that had not ended."""

    revision: str
    server_version: str
    tables: tuple[CopiedTable, ...]
    at_work: tuple[str, ...]


@dataclass(frozen=True)
class StoreState:
    """What lies in the own store now. `revision` None: our tables were never made. `rows` names
    the tables that hold something, but for what fills itself (audit, workers); `at_work` are jobs
    whose process gave a sign within the last minutes. `bytes` is the size on the server's disk.
    `where` never holds a password; `kind` is embedded or server."""

    kind: str
    where: str
    revision: str | None
    rows: dict[str, int]
    at_work: tuple[str, ...]
    bytes: int

    @property
    def empty(self) -> bool:
        return not self.rows


@dataclass(frozen=True)
class LoadedStore:
    """What came of a restore: rows by table, all of them found again byte for byte; and how many
    entries of the audit of before were kept behind those of the backup."""

    revision: str
    rows: dict[str, int]
    audit_kept: int


#: Takes one table's bytes in pieces, before what is known of the table as a whole.
TakeTable = Callable[[str, Iterator[bytes]], None]


class StoreCopy(Protocol):
    """The store's copying, ready to begin. Its methods block, so they are called in a thread."""

    def dump(self, take: TakeTable) -> CopiedStore:
        """All of it, in one transaction that only reads. Raises UnavailableError, SetupError."""

    def load(
        self,
        store: CopiedStore,
        tables: Iterable[tuple[str, Iterator[bytes]]],
        moved: Mapping[str, str],
        before_commit: Callable[[str], None],
    ) -> LoadedStore:
        """Put it in the place of what is there, bring it to this program's version, in one
        transaction. `moved` are folders by where they were; `before_commit` is given the
        transaction's id when all but the commit is done.

        Raises SetupError S412, S413: nothing was changed then.
        """

    def committed(self, transaction: str) -> bool | None:
        """Whether that transaction came to be; None while it isn't decided."""


class StoreCopier(Protocol):
    """Says what is in the own store, whatever its version, and gets its copying ready."""

    async def state(self) -> StoreState:
        """Raises UnavailableError, SetupError S018."""

    async def ready(self) -> StoreCopy:
        """Raises UnavailableError, SetupError S010, S018."""

    def known_revisions(self) -> Sequence[str]:
        """The versions of the tables that this program knows, oldest first."""
