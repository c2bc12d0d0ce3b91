"""The embedded Postgres: started on demand, shared by a user's processes, stopped by command.

The server is nobody's child. One lock file orders who starts and stops it. What is on disk:

    FOLDER/lock          held (flock) while the server is started or stopped
    FOLDER/cluster/      data, password and version; appears whole or not at all
    FOLDER/program/      the wheel's programs, only where Sophia runs as root
    FOLDER/run/          the socket (under /tmp where this path is too long for a socket)
    FOLDER/stopped       a person stopped it: living processes don't start it again
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sophia_tui.errors import SetupError, UnavailableError
from sophia_tui.files import write_problem
from sophia_tui.i18n import _
from sophia_tui.paths import names_below
from sophia_tui.store import embedded_cluster as cluster
from sophia_tui.store import embedded_program as program
from sophia_tui.textsafe import visible

DATABASE = "sophia"
LOCK_SECONDS = 120.0
STOP_SECONDS = 30.0
LEFTOVER_SECONDS = 2.0  # what backends get to notice that their postmaster is gone
_LOG_BYTES = 5_000_000
_OWN_NAMES = names_below() | {"worker.lock", "demo"}


@dataclass(frozen=True)
class Postmaster:
    """What postmaster.pid says of a server that lives."""

    pid: int
    port: int
    socket_folder: str
    ready: bool


@dataclass(frozen=True)
class EmbeddedStatus:
    """`version` is the server's; None where no cluster was made yet."""

    running: bool
    pid: int | None
    version: str | None
    folder: str
    stopped_by_command: bool


class EmbeddedServer:
    """One server over `folder`. `options` are further Postgres settings (used by tests).

    Methods block for at most some seconds; the `async` ones wait in a thread.
    """

    def __init__(self, folder: Path, options: Mapping[str, str] | None = None) -> None:
        self.folder = Path(os.path.realpath(folder))
        self.data = self.folder / "cluster" / "data"
        self.log = self.folder / "server.log"
        self._stopped = self.folder / "stopped"
        self._options = dict(options or {})
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        self.name = f"sophia-{digest}"

    async def ensure_running(self, unless_stopped: bool = False) -> str:
        """As `start`, without blocking the event loop."""
        if self.alive() and (found := self._postmaster()) and found.ready:
            return self._url(found)
        return await asyncio.to_thread(self.start, unless_stopped)

    async def status(self) -> EmbeddedStatus:
        return await asyncio.to_thread(self.look)

    async def stop(self) -> bool:
        """As `halt`, without blocking the event loop."""
        return await asyncio.to_thread(self.halt)

    def start(self, unless_stopped: bool = False) -> str:
        """The address (with password) of the database `sophia`; starts what is not running.

        With `unless_stopped` a server that a person stopped stays down: UnavailableError S029.
        Raises SetupError S020 to S026, S030, S031, S033, S101, UnavailableError S027.
        """
        if unless_stopped and self._stopped.exists():
            raise UnavailableError(
                "S029",
                _("The embedded Postgres was stopped."),
                _("A person stopped it by command."),
                _("`sophia store start` starts it again."),
            )
        if (found := self._answering()) is not None:
            return self._url(found)
        programs = program.packaged()
        account = program.account_for(self.data)
        program.make_reachable(account, self.folder.parent, _OWN_NAMES)
        self._make_folder(account)
        with self._locked():
            deadline = time.monotonic() + LOCK_SECONDS
            while (found := self._answering()) is None:
                if time.monotonic() > deadline:
                    raise self._start_problem()
                if self._settled(account) is None:
                    self._start(account, programs)
            self._stopped.unlink(missing_ok=True)
        return self._url(found)

    def _answering(self) -> Postmaster | None:
        """The server if it really answers and has our database (which is made if need be); one
        that was killed a moment ago still looks alive."""
        found = self._postmaster()
        if found is None or not found.ready:
            return None
        answers = cluster.ensure_database(self._url(found, "postgres"), DATABASE)
        return found if answers else None

    def halt(self) -> bool:
        """Stop the server cleanly; False where none was running. Raises SetupError S028."""
        if not self.folder.is_dir():
            return False
        account = program.account_for(self.data)
        with self._locked():
            living = self._processes(account)
            self._mark_stopped()
            main = self._main_pid()
            if main in living:
                self._end(account, main, signal.SIGINT, STOP_SECONDS)
            self._end_leftovers(account)
        return bool(living)

    def look(self) -> EmbeddedStatus:
        """What is there and whether it runs; starts and changes nothing."""
        found = self._postmaster()
        return EmbeddedStatus(
            running=found is not None and found.ready,
            pid=found.pid if found else None,
            version=cluster.recorded_version(self.folder / "cluster"),
            folder=str(self.folder),
            stopped_by_command=self._stopped.exists(),
        )

    def alive(self) -> bool:
        """A quick look whether the postmaster is there at all (some microseconds)."""
        main = self._main_pid()
        if main is None:
            return False
        try:
            return b") Z" not in Path("/proc", str(main), "stat").read_bytes()
        except OSError:
            return False

    def url(self, database: str = DATABASE) -> str:
        """The address of a database on the running server. Raises UnavailableError S026."""
        found = self._postmaster()
        if found is None:
            raise self._start_problem()
        return self._url(found, database)

    def _url(self, found: Postmaster, database: str = DATABASE) -> str:
        password = cluster.password(self.folder / "cluster")
        where = quote(found.socket_folder, safe="")
        user = f"{cluster.ROLE}:{password}"
        return f"postgresql://{user}@/{database}?host={where}&port={found.port}"

    def _lines(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(errors="replace").split("\n")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as problem:
            raise self._foreign(problem) from problem

    def _main_pid(self) -> int | None:
        lines = self._lines()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def _postmaster(self) -> Postmaster | None:
        """The living server, from postmaster.pid; None where that file is stale."""
        lines = self._lines()
        if len(lines) < 6 or not lines[0].isdigit():
            return None
        account = program.account_for(self.data)
        if int(lines[0]) not in self._processes(account):
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return Postmaster(int(lines[0]), int(lines[3] or 0), lines[4], ready)

    def _processes(self, account: program.Account) -> list[int]:
        return program.processes(account, self.data, self.name)

    def _make_folder(self, account: program.Account) -> None:
        try:
            self.folder.mkdir(exist_ok=True, mode=0o700)
            if account.switch and self.folder.stat().st_uid == 0:
                os.chown(self.folder, 0, account.gid)
                self.folder.chmod(0o710)
        except PermissionError as problem:
            raise self._foreign(problem) from problem
        except OSError as problem:
            raise write_problem(self.folder, problem) from problem
        program.require_reachable(account, self.folder)

    def _foreign(self, problem: OSError) -> SetupError:
        return SetupError(
            "S031",
            _("The folder of the embedded Postgres belongs to somebody else."),
            f"{self.folder}: {problem.strerror}",
            _("Run Sophia as its owner, or set SOPHIA_DATA_DIR to a folder of yours."),
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes that start or stop this server. Raises UnavailableError S027.

        The lock falls with its process, so a killed starter blocks nobody.
        """
        try:
            handle = os.open(
                self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except PermissionError as problem:
            raise self._foreign(problem) from problem
        try:
            self._give_to_owner(handle)
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._lock_problem() from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(handle)

    def _lock_problem(self) -> UnavailableError:
        return UnavailableError(
            "S027",
            _("Another process of Sophia is still starting or stopping the embedded Postgres."),
            str(self.folder),
            _("Wait a moment and try again."),
        )

    def _give_to_owner(self, handle: int) -> None:
        """What root makes in an ordinary user's folder must not shut that user out."""
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)

    def _mark_stopped(self) -> None:
        handle = os.open(self._stopped, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self._give_to_owner(handle)
        finally:
            os.close(handle)

    def _settled(self, account: program.Account) -> Postmaster | None:
        """Under the lock: the server once it is ready, or None once nothing of it is left.

        One that is starting is waited for; one that is shutting down is hurried; a stale
        postmaster.pid is removed after the last process that used its memory is gone.
        """
        deadline = time.monotonic() + LOCK_SECONDS
        while found := self._postmaster():
            if found.ready:
                return found
            status = (self._lines() + [""] * 8)[7].strip()
            if status == "stopping":
                self._end(account, found.pid, signal.SIGINT, STOP_SECONDS)
            if time.monotonic() > deadline:
                raise self._start_problem()
            time.sleep(0.05)
        self._end_leftovers(account)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        return None

    def _end(self, account: program.Account, pid: int, how: int, seconds: float) -> None:
        """Signal the postmaster and wait; then SIGQUIT (which recovery heals), then give up."""
        for each, patience in ((how, seconds), (signal.SIGQUIT, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, each)
            if self._gone(account, [pid], patience):
                return
        raise SetupError(
            "S028",
            _("The embedded Postgres did not stop."),
            _("Process {pid} still lives.").format(pid=pid),
            _("Look into {log}.").format(log=self.log),
        )

    def _end_leftovers(self, account: program.Account) -> None:
        """Backends whose postmaster was killed go by themselves as soon as they look up; the busy
        ones are told, then ended: what they had not committed is rolled back by recovery."""
        left = self._processes(account)
        if not left or self._gone(account, left, LEFTOVER_SECONDS):
            return
        for how in (signal.SIGQUIT, signal.SIGKILL):
            for pid in self._processes(account):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
            if self._gone(account, self._processes(account), LEFTOVER_SECONDS):
                return

    def _gone(self, account: program.Account, pids: list[int], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while set(pids) & set(self._processes(account)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def _start(self, account: program.Account, programs: program.Programs) -> Postmaster:
        """Under the lock, nothing running: make the cluster where there is none, and start."""
        if account.switch:
            programs = program.copied(programs, self.folder / "program")
        cluster.make(self.folder, account, programs)
        cluster.require_version(self.folder / "cluster", programs)
        self._open_log(account)
        # pg_ctl forks twice, so the server is nobody's child, and waits until it answers
        socket = cluster.socket_folder(self.folder, self.name, account)
        for left in socket.glob(".s.PGSQL.*"):  # its owner is gone, but perhaps not reaped
            left.unlink(missing_ok=True)
        command = [programs.path("pg_ctl"), "start", "--wait", "--timeout=90", "--silent"]
        command += [f"--pgdata={self.data}", f"--log={self.log}"]
        command += [f"--options={self._arguments(socket)}"]
        done = program.run_as(account, command)
        found = self._postmaster()
        if done.returncode != 0 or found is None or not found.ready:
            raise self._start_problem()
        return found

    def _arguments(self, socket_folder: Path) -> str:
        settings = {
            "unix_socket_directories": f'"{socket_folder}"',
            "listen_addresses": "",
            "cluster_name": self.name,
            **self._options,
        }
        return " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())

    def _open_log(self, account: program.Account) -> None:
        """A log that the server's account may append to; an old long one is kept once."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_BYTES:
                os.replace(self.log, self.log.with_suffix(".log.1"))
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            if account.switch:
                os.fchown(handle, account.uid, account.gid)
        finally:
            os.close(handle)

    def _start_problem(self) -> UnavailableError:
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.folder).free
            if free < 50_000_000:
                return UnavailableError(
                    "S035",
                    _("The embedded Postgres did not start."),
                    _("The disk is full: {free} MB are free.").format(free=free // 1_000_000),
                    _("Free disk space, then try again; nothing was lost."),
                )
        lines: list[str] = []
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
        serious = [each for each in lines[-40:] if "FATAL" in each or "PANIC" in each]
        why = (serious or lines or [""])[-1]
        return UnavailableError(
            "S026",
            _("The embedded Postgres did not start."),
            visible(why),
            _("Look into {log}.").format(log=self.log),
        )
