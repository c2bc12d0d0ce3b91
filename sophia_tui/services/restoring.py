"""One restore: what goes where, unpacked aside first, put into place once the store is committed.

    unpack into restoring/ -> load the store -> journal with the transaction's id -> commit
      -> renames -> away with restoring/

Killed before the commit, nothing has changed; killed after it, the next restore reads the journal,
asks the server whether that transaction came to be, and goes on with the renames or drops it all.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sophia_tui import envfile
from sophia_tui.domain.backups import LoadedStore, StoreCopy
from sophia_tui.errors import ConflictError, SetupError
from sophia_tui.files import usable_folder, write_problem, write_whole
from sophia_tui.i18n import _
from sophia_tui.paths import SERVER_PRICES, Paths
from sophia_tui.services.backup_archive import (
    WHOLE,
    Manifest,
    StoredFile,
    StoredUnit,
    Tick,
    member_of,
    store_pieces,
    unpack,
)
from sophia_tui.services.backup_parts import MANAGED

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Keys that say where this machine's store is: they stay as they are.
KEPT_KEYS = frozenset(
    {
        "DATABASE_URL",
        "DB_PASS",
        "SOPHIA_STORE_URL",
        "SOPHIA_STORE_PASS",
        "SOPHIA_NEXT_PASS",
        "SOPHIA_DATA_DIR",
        "SOPHIA_ENV_FILE",
    }
)
_JOURNAL = "journal.json"


@dataclass(frozen=True)
class Move:
    """What is unpacked, and where it belongs; what stands there is moved aside."""

    staged: Path
    target: Path


@dataclass
class Unfinished:
    """A restore whose store may have been committed and whose files are not all in place."""

    folder: Path
    transaction: str
    made_at: datetime
    moves: tuple[Move, ...]
    moved_aside: list[str]

    @classmethod
    def read(cls, folder: Path) -> "Unfinished | None":
        try:
            told = json.loads((folder / _JOURNAL).read_bytes())
        except FileNotFoundError:
            return None
        moves = tuple(Move(Path(staged), Path(target)) for staged, target in told["moves"])
        made_at = datetime.fromisoformat(told["made_at"])
        return cls(folder, told["transaction"], made_at, moves, [])

    def finish(self) -> None:
        """The renames that are left. Raises SetupError S416: what is left is done by the next."""
        for each in self.moves:
            if not os.path.lexists(each.staged):
                continue
            try:
                self._put(each)
            except OSError as problem:
                raise SetupError(
                    "S416",
                    _("{path} could not be put into its place.").format(path=each.target),
                    problem.strerror or type(problem).__name__,
                    _("The store is restored. Correct the cause and restore again: it goes on."),
                ) from problem
        self.drop()

    def _put(self, move: Move) -> None:
        move.target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.path.lexists(move.target):
            aside = _aside(move.target)
            os.rename(move.target, aside)
            self.moved_aside.append(str(aside))
        os.rename(move.staged, move.target)
        _sync(move.target.parent)

    def drop(self) -> None:
        """Away with the journal first: without one nobody takes up what is left."""
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        _sync(self.folder)
        clear(self.folder)


def clear(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


@contextlib.contextmanager
def under_way(paths: Paths) -> Iterator[Unfinished | None]:
    """One restore at a time; what a killed one left to be decided, else nothing of it is left.
    Raises ConflictError S415."""
    folder = paths.restoring
    usable_folder(paths.data)
    usable_folder(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                "S417",
                _("Another restore is going on."),
                remedy=_("Wait for it to end."),
            ) from None
        found = Unfinished.read(folder)
        if found is None:
            clear(folder)
        yield found
    finally:
        os.close(handle)


@dataclass
class Outcome:
    """What a restore did, or would do. `notes` say what is left for a person to do."""

    files: int = 0
    bytes: int = 0
    already_there: int = 0
    resumed: bool = False
    moved_aside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Restoring:
    """`outcome` is known from `plan` on, but for what was moved aside."""

    def __init__(
        self, path: Path, manifest: Manifest, settings: "Settings", paths: Paths, secrets: bool
    ) -> None:
        self._path = path
        self._manifest = manifest
        self._settings = settings
        self._paths = paths
        self._secrets = secrets
        self._staged = paths.restoring / "files"
        self._members: dict[str, Path] = {}
        self._moves: list[Move] = []
        self._env: Path | None = None
        self._moved: dict[str, str] = {}
        if Path(manifest.data_folder) != paths.data:
            self._moved[manifest.data_folder] = str(paths.data)
        self.outcome = Outcome()
        #: Keys of an env file that we may not write ourselves; the root helper may.
        self.for_helper: dict[str, str | None] = {}

    # --- what goes where ---

    def plan(self) -> None:
        """Looks at what is there already, and changes nothing."""
        for number, unit in enumerate(self._manifest.units):
            if unit.kind in ("env", "token") and not self._secrets:
                continue
            staged = self._staged / f"{number:06}"
            if unit.kind in WHOLE:
                self._plan_whole(unit, staged)
            elif unit.kind == "env":
                self._plan_env(unit, staged)
            elif unit.folder:
                target = self._paths.data / Path(unit.name).name
                for place, file in enumerate(unit.files):
                    one = staged / f"{place:06}"
                    self._plan_file(unit, file, one, target.joinpath(*file.path.split("/")))
            else:
                [file] = unit.files
                self._plan_file(unit, file, staged, self._place_of(unit))

    def _plan_whole(self, unit: StoredUnit, staged: Path) -> None:
        target = self._new_place(unit)
        if str(target) != unit.place:
            self._moved.setdefault(unit.place, str(target))
        if _same(target, unit):
            self.outcome.already_there += len(unit.files)
            return
        for file in unit.files:
            self._members[member_of(unit, file)] = staged.joinpath(*file.path.split("/"))
        self._moves.append(Move(staged, target))
        self._count(unit.files)

    def _plan_file(self, unit: StoredUnit, file: StoredFile, staged: Path, target: Path) -> None:
        if not _writable(target):
            self.outcome.notes.append(
                _("{path} may be written by root alone; the backup's lies in {there}.").format(
                    path=target, there=self._paths.restored / target.name
                )
            )
            target = self._paths.restored / target.name
        if _has(target, file):
            self.outcome.already_there += 1
            return
        self._members[member_of(unit, file)] = staged
        self._moves.append(Move(staged, target))
        self._count([file])

    def _plan_env(self, unit: StoredUnit, staged: Path) -> None:
        """The archive's file is unpacked, then merged into the one in force."""
        [file] = unit.files
        self._members[member_of(unit, file)] = staged
        self._env = staged
        self._count([file])

    def _count(self, files: list[StoredFile]) -> None:
        self.outcome.files += len(files)
        self.outcome.bytes += sum(each.bytes for each in files)

    def _new_place(self, unit: StoredUnit) -> Path:
        """Below the data folder of here where it was below that of there; else by its name."""
        old = Path(self._manifest.data_folder)
        place = Path(unit.place)
        if place.is_relative_to(old):
            return self._paths.data / place.relative_to(old)
        return self._paths.data.joinpath(*unit.name.split("/"))

    def _place_of(self, unit: StoredUnit) -> Path:
        if unit.kind == "history":
            return self._settings.history_file
        if unit.kind == "managed":
            return MANAGED
        if unit.kind == "token":
            return self._paths.model_token
        if self._settings.prices_file:
            return Path(self._settings.prices_file).expanduser().absolute()
        return SERVER_PRICES if unit.place == str(SERVER_PRICES) else self._paths.prices

    # --- doing it ---

    def perform(self, copy: StoreCopy, tick: Tick) -> LoadedStore:
        """Blocks. On failure everything is as it was, but for what `unfinished` tells of."""
        try:
            self._unpack(tick)
            if self._env is not None:
                self._merge_env(self._env)
            loaded = copy.load(
                self._manifest.store, store_pieces(self._path, tick), self._moved, self._note
            )
        except BaseException:
            if self.unfinished() is None:
                clear(self._paths.restoring)
            raise
        left = self.unfinished()
        assert left is not None  # written before the commit
        left.finish()
        self.outcome.moved_aside = left.moved_aside
        return loaded

    def unfinished(self) -> Unfinished | None:
        return Unfinished.read(self._paths.restoring)

    def _unpack(self, tick: Tick) -> None:
        try:
            self._staged.mkdir(mode=0o700)
            unpack(self._path, self._manifest, self._members.get, tick)
        except OSError as problem:
            raise write_problem(self._staged, problem) from problem

    def _note(self, transaction: str) -> None:
        told = {
            "transaction": transaction,
            "made_at": self._manifest.made_at.isoformat(),
            "moves": [[str(each.staged), str(each.target)] for each in self._moves],
        }
        write_whole(self._paths.restoring / _JOURNAL, json.dumps(told).encode())

    def _merge_env(self, staged: Path) -> None:
        """Every key of the backup's env file into this machine's, but for those that say where the
        store is: those name a server and a password of another machine."""
        staged.chmod(0o600)
        theirs = envfile.values(staged.read_text(encoding="utf-8"))
        target = self._settings.env_file
        if target is None or not _writable(target):
            whole = self._paths.restored / "whole.env"
            ready = self._paths.restored / "sophia.env"
            mine: dict[str, str | None] = {key: None for key in KEPT_KEYS & theirs.keys()}
            given = staged.with_name("ready.env")
            write_whole(given, envfile.change(staged.read_text("utf-8"), mine).encode("utf-8"))
            self._moves += [Move(staged, whole), Move(given, ready)]
            self.for_helper = {
                key: self._moved_value(value) for key, value in theirs.items() if key not in mine
            }
            self.outcome.notes.append(
                _(
                    "The env file is root's. The backup's keys, but for those that say where the "
                    "store is, lie in {ready}; `sudo ./install_sophia_llm.sh --auto --auto-env "
                    "{ready}` takes them in. The whole of it is {whole}: remove both then."
                ).format(ready=ready, whole=whole)
            )
            return
        text = target.read_text(encoding="utf-8")
        ours = envfile.values(text)
        wanted: dict[str, str | None] = {
            key: self._moved_value(value)
            for key, value in theirs.items()
            if key not in KEPT_KEYS and ours.get(key) != self._moved_value(value)
        }
        kept = sorted(key for key in KEPT_KEYS & theirs.keys() if theirs[key] != ours.get(key))
        if kept:
            self._moves.append(Move(staged, self._paths.restored / "sophia.env"))
            self.outcome.notes.append(
                _(
                    "{keys} stay as they are here: they say where this machine's store is. The "
                    "backup's env file lies in {there}."
                ).format(keys=", ".join(kept), there=self._paths.restored / "sophia.env")
            )
        if wanted:
            merged = staged.with_name("merged.env")
            write_whole(merged, envfile.change(text, wanted).encode("utf-8"))
            found = target.stat()
            with contextlib.suppress(PermissionError):  # only root may give a file away
                os.chown(merged, found.st_uid, found.st_gid)
            os.chmod(merged, found.st_mode & 0o7777)
            self._moves.append(Move(merged, target.resolve()))

    def _moved_value(self, value: str) -> str:
        for old, new in self._moved.items():
            if value == old or value.startswith(f"{old}/"):
                return new + value[len(old) :]
        return value


def _aside(target: Path) -> Path:
    """A hidden name beside it that is free."""
    number = 1
    while os.path.lexists(aside := target.with_name(f".{target.name}.before-restore-{number}")):
        number += 1
    return aside


def _writable(target: Path) -> bool:
    """Whether we may put a file there: into its folder, or into what has to be made."""
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _same(target: Path, unit: StoredUnit) -> bool:
    """Whether the folder is there with these very files."""
    return target.is_dir() and all(
        _has(target.joinpath(*each.path.split("/")), each) for each in unit.files
    )


def _has(target: Path, file: StoredFile) -> bool:
    try:
        if target.is_symlink() or target.stat().st_size != file.bytes:
            return False
        with target.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
