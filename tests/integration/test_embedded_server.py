"""The embedded Postgres: started on demand, shared, killed, stopped."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sophia_tui.errors import SetupError, UnavailableError
from sophia_tui.files import usable_folder
from sophia_tui.paths import names_below
from sophia_tui.store import embedded_program as program
from sophia_tui.store.embedded import EmbeddedServer
from tests.conftest import FAST, reachable_folder

ROOT = os.geteuid() == 0
STARTER = """
import sys, pathlib
from sophia_tui.store.embedded import EmbeddedServer
server = EmbeddedServer(pathlib.Path(sys.argv[1]), {"fsync": "off"})
print(server.start(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def fresh(reachable: Path) -> Iterator[EmbeddedServer]:
    """A server whose folder does not exist yet."""
    made = EmbeddedServer(reachable / "postgres", FAST)
    yield made
    made.halt()


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """The folder of a server that was made and stopped, to be copied: making takes seconds."""
    folder = reachable_folder()
    server = EmbeddedServer(folder / "postgres", FAST)
    server.start()
    server.halt()
    yield server.folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(fresh: EmbeddedServer, made_once: Path) -> EmbeddedServer:
    """A server that was made and stopped before."""
    subprocess.run(["cp", "-a", made_once, fresh.folder], check=True)
    return fresh


def starter(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def rows(url: str, query: str):
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


async def test_starts_with_nothing_set_and_speaks_utf8_in_utc(fresh: EmbeddedServer) -> None:
    url = await fresh.ensure_running()
    found = rows(
        url, "SELECT current_database(), getdatabaseencoding(), current_setting('TimeZone')"
    )
    assert found == [("sophia", "UTF8", "UTC")]
    assert rows(url, "SELECT lower('ÇÃO')") == [("ção",)]
    status = await fresh.status()
    assert status.running and status.version and status.version.startswith("18")


def test_listens_on_no_network_and_wants_a_password(server: EmbeddedServer) -> None:
    url = server.start()
    assert rows(url, "SHOW listen_addresses") == [("",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(url.split(":")[2].split("@")[0], "wrong"))


def test_password_socket_and_data_are_private_and_no_argument_holds_the_password(
    fresh: EmbeddedServer,
) -> None:
    url = fresh.start()
    password = url.split(":")[2].split("@")[0]
    cluster = fresh.folder / "cluster"
    assert stat.S_IMODE((cluster / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE((cluster / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((fresh.folder / "run").stat().st_mode) == 0o700
    assert not fresh.folder.stat().st_mode & 0o007
    account = program.account_for(fresh.data)
    main = fresh.look().pid
    assert main in program.processes(account, fresh.data, fresh.name)
    for name in ("cmdline", "environ"):
        assert password.encode() not in Path(f"/proc/{main}/{name}").read_bytes()
    assert password not in fresh.log.read_text()


def test_two_processes_at_once_share_one_server(fresh: EmbeddedServer) -> None:
    both = [starter(fresh.folder), starter(fresh.folder)]
    urls = {each.stdout.readline().strip() for each in both}
    assert len(urls) == 1
    assert rows(urls.pop(), "SELECT 1") == [(1,)]
    for each in both:
        each.communicate("")


def test_server_outlives_the_killed_process_that_started_it_and_then_stops(
    server: EmbeddedServer,
) -> None:
    first = starter(server.folder)
    url = first.stdout.readline().strip()
    first.kill()
    first.communicate()
    assert rows(url, "SELECT 1") == [(1,)]
    assert server.halt() is True
    assert server.look().running is False
    account = program.account_for(server.data)
    assert program.processes(account, server.data, server.name) == []


def test_starts_at_once_after_kill_9_of_the_postmaster_with_busy_backends(
    server: EmbeddedServer,
) -> None:
    url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (number int)")
        connection.execute("INSERT INTO kept VALUES (42)")
    busy = threading.Thread(target=_run_long, args=(url,))
    busy.start()
    _wait_until_busy(url)
    os.kill(server.look().pid, signal.SIGKILL)
    assert rows(server.start(), "SELECT number FROM kept") == [(42,)]
    busy.join(30)
    assert not busy.is_alive()


def _run_long(url: str) -> None:
    with pytest.raises(psycopg.OperationalError), psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) /* busy */ FROM generate_series(1, 20000000000)")


def _wait_until_busy(url: str) -> None:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%* busy *%'"
    )
    deadline = time.monotonic() + 20
    while rows(url, query + " AND pid <> pg_backend_pid()") == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_stale_pid_file_of_another_process_is_no_server(server: EmbeddedServer) -> None:
    server.start()
    server.halt()
    foreign = f"{os.getpid()}\n{server.data}\n0\n5432\n/nowhere\n\n\nready\n"
    (server.data / "postmaster.pid").write_text(foreign)
    assert server.look().running is False
    assert rows(server.start(), "SELECT 1") == [(1,)]


async def test_stopped_by_command_stays_down_for_those_that_only_reconnect(
    server: EmbeddedServer,
) -> None:
    await server.ensure_running()
    assert await server.stop() is True
    with pytest.raises(UnavailableError) as caught:
        await server.ensure_running(unless_stopped=True)
    assert caught.value.code == "SOPHIA-S029"
    await server.ensure_running()
    await server.ensure_running(unless_stopped=True)


async def test_stopping_what_does_not_run_is_no_error(reachable: Path) -> None:
    assert await EmbeddedServer(reachable / "postgres").stop() is False


def test_long_folder_gets_a_short_private_socket(reachable: Path) -> None:
    folder = reachable / ("a folder with 'quotes' and spaces " + "x" * 60) / "postgres"
    folder.parent.mkdir(mode=0o711)
    made = EmbeddedServer(folder, FAST)
    try:
        assert rows(made.start(), "SELECT 1") == [(1,)]
        socket = Path(f"/tmp/{made.name}-{program.account_for(made.data).uid}")
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    finally:
        made.halt()
    socket.rmdir()


def test_data_of_another_major_version_is_refused(server: EmbeddedServer) -> None:
    server.start()
    server.halt()
    (server.data / "PG_VERSION").write_text("14\n")
    with pytest.raises(SetupError) as caught:
        server.start()
    assert caught.value.code == "SOPHIA-S024"
    assert "14" in caught.value.why
    (server.data / "PG_VERSION").write_text("18\n")


def test_interrupted_making_leaves_nothing_half_done(fresh: EmbeddedServer) -> None:
    left = fresh.folder / ".cluster-dead"
    (left / "data").mkdir(parents=True)
    fresh.start()
    assert not left.exists()


def test_failing_initdb_leaves_no_cluster(
    fresh: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sophia_tui.store import embedded_cluster

    monkeypatch.setitem(embedded_cluster._SETTINGS, "shared_buffers", "nonsense")
    with pytest.raises(SetupError) as caught:
        fresh.start()
    assert caught.value.code == "SOPHIA-S025"
    assert not (fresh.folder / "cluster").exists()
    assert list(fresh.folder.glob(".cluster-*")) == []


def test_missing_wheel_is_named(fresh: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MODULE", "no_such_module")
    with pytest.raises(SetupError) as caught:
        fresh.start()
    assert caught.value.code == "SOPHIA-S020"


def test_account_without_passwd_entry_is_named(
    fresh: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(SetupError) as caught:
        fresh.start()
    assert caught.value.code == "SOPHIA-S021"


@pytest.mark.skipif(not ROOT, reason="only root runs the server under another account")
def test_root_runs_it_as_the_system_account(fresh: EmbeddedServer) -> None:
    fresh.start()
    owner = pwd.getpwuid(Path(f"/proc/{fresh.look().pid}").stat().st_uid).pw_name
    assert owner == program.SERVER_ACCOUNT
    assert (fresh.folder / "cluster" / "password").stat().st_uid == 0


@pytest.mark.skipif(not ROOT, reason="only root runs the server under another account")
def test_root_passes_the_account_through_a_folder_that_sophia_made(reachable: Path) -> None:
    data = reachable / "data"
    usable_folder(data)
    for name in names_below() - {"postgres"}:
        usable_folder(data / name)  # as verbs make them before the store is ever opened
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    server = EmbeddedServer(data / "postgres", FAST)
    try:
        assert rows(server.start(), "SELECT 1") == [(1,)]
    finally:
        server.halt()
    assert stat.S_IMODE(data.stat().st_mode) == 0o710
    others = {stat.S_IMODE((data / name).stat().st_mode) for name in names_below() - {"postgres"}}
    assert others == {0o700}


@pytest.mark.skipif(not ROOT, reason="only root runs the server under another account")
def test_root_in_a_closed_folder_gets_a_clear_error_and_opens_nothing(reachable: Path) -> None:
    closed = reachable / "closed"
    closed.mkdir(mode=0o700)
    (closed / "somebody's letter").touch()
    with pytest.raises(SetupError) as caught:
        EmbeddedServer(closed / "data" / "postgres").start()
    assert caught.value.code == "SOPHIA-S023"
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child touches no lock
@pytest.mark.skipif(not ROOT, reason="only root can become an ordinary user")
def test_ordinary_user_has_a_server_of_their_own(reachable: Path) -> None:
    user = pwd.getpwnam("nobody")
    home = reachable / "home"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    program_copy = program.copied(program.packaged(), reachable / "program")
    server = EmbeddedServer(home / "postgres", FAST)
    ready, report = os.pipe()
    child = os.fork()
    if child == 0:  # the ordinary user
        try:
            os.setgroups([])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            program.packaged = lambda: program_copy  # the checkout may be out of their reach
            server.start()
            os.write(report, b"started")
        finally:
            os._exit(0)
    os.close(report)
    os.waitpid(child, 0)
    with os.fdopen(ready, "rb") as answer:
        assert answer.read() == b"started"
    assert (home / "postgres" / "cluster" / "data").stat().st_uid == user.pw_uid
    assert rows(server.start(), "SELECT 1") == [(1,)]  # root in their folder: same server
    server.halt()
