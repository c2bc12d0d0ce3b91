"""Connections to the store: clear errors without a password, restarts, poolers."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from sophia_tui.domain.jobs import Claimer, Job, JobKind
from sophia_tui.errors import SetupError, SophiaError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store.connection import Database, redact_url
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.own import open_store
from sophia_tui.store.source import open_source
from tests.conftest import administer

SECRET = "p4ss'w@rd %"


def with_password(url: str, password: str) -> str:
    head, _sign, tail = url.partition("@/")
    return f"{head.rpartition(':')[0]}:{quote(password, safe='')}@/{tail}"


def without_password(url: str) -> str:
    head, _sign, tail = url.partition("@/")
    return f"{head.rpartition(':')[0]}@/{tail}"


async def problem_of(**environment: str) -> SophiaError:
    with pytest.raises(SophiaError) as caught:
        await open_store(load(environment), Paths(Path("/nonexistent")))
    told = f"{caught.value} {caught.value.as_dict()}"
    for form in (SECRET, quote(SECRET), quote(SECRET, safe="")):
        assert form not in told
    return caught.value


async def test_wrong_password_is_told_as_that(store_url: str) -> None:
    found = await problem_of(DATABASE_URL=with_password(store_url, SECRET))
    assert (found.code, found.exit_code) == ("SOPHIA-S002", 5)
    assert found.remedy


async def test_missing_database_is_told_as_that(store_url: str) -> None:
    found = await problem_of(DATABASE_URL=store_url.replace("@/test_", "@/gone_"))
    assert found.code == "SOPHIA-S003"


async def test_nobody_listening_is_told_as_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"postgresql://u:{quote(SECRET, safe='')}@127.0.0.1:{port}/d"
    assert (await problem_of(DATABASE_URL=url)).code == "SOPHIA-S001"
    url = f"postgresql://u:{quote(SECRET, safe='')}@no-such-host.invalid/d"
    assert (await problem_of(SOPHIA_STORE_URL=url)).code == "SOPHIA-S001"


@pytest.mark.parametrize(
    "url",
    [f"postgresql://u:{SECRET}@[broken/d", f"password={SECRET} nonsense", "postgresql://h:x/"],
)
async def test_an_address_that_is_none_is_told_as_that(url: str) -> None:
    found = await problem_of(DATABASE_URL=url)
    assert found.code in ("SOPHIA-S008", "SOPHIA-S001")


BARE_SIGNS = ["Pl4@nted", "Pl4/nted", "12/nted", "Pl4@n/ted", "Pl4@n:ted", "@nted", "a@nted,b"]


@pytest.mark.parametrize("password", BARE_SIGNS)
@pytest.mark.parametrize("key", ["DATABASE_URL", "SOPHIA_STORE_URL"])
async def test_no_part_of_a_password_with_a_bare_sign_is_told(key: str, password: str) -> None:
    found = await problem_of(**{key: f"postgresql://reader:{password}@127.0.0.1/prod"})
    assert found.code == "SOPHIA-S008" and "%40" in found.remedy
    assert "ted" not in found.what + found.why and "Pl4" not in str(found)


@pytest.mark.parametrize("sign", ["?", "#", "[", "/", "@"])
def test_a_shown_address_holds_no_part_of_a_password_with_bare_signs(sign: str) -> None:
    shown = redact_url(f"postgresql://reader:Pl4{sign}nted@127.0.0.1:1/prod")
    assert "Pl4" not in shown and "nted" not in shown


async def test_db_pass_counts_where_the_address_has_no_password(
    store_url: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    password = store_url.split(":")[2].split("@")[0]
    bare = without_password(store_url)
    store = await open_store(load({"DATABASE_URL": bare, "DB_PASS": password}), Paths(tmp_path))
    assert await store.ping() > 0
    await store.close()
    assert (await problem_of(DATABASE_URL=bare)).code == "SOPHIA-S002"
    assert (await problem_of(DATABASE_URL=bare, DB_PASS=SECRET)).code == "SOPHIA-S002"


async def test_the_password_of_a_store_of_its_own_may_stand_apart_as_well(
    store_url: str, tmp_path: Path
) -> None:
    password = store_url.split(":")[2].split("@")[0]
    apart = {"SOPHIA_STORE_URL": without_password(store_url), "SOPHIA_STORE_PASS": password}
    store = await open_store(
        load({"DATABASE_URL": "postgresql://rag@prod.invalid/rag", "DB_PASS": SECRET, **apart}),
        Paths(tmp_path),
    )
    assert await store.ping() > 0
    await store.close()


@pytest.fixture
def own_role(postgres: EmbeddedServer, postgres_url: str) -> Iterator[tuple[str, str]]:
    """A role that owns the fresh database, with the password `old`; and its address without it."""
    role = f"role_{uuid.uuid4().hex[:12]}"
    database = str(conninfo_to_dict(postgres_url)["dbname"])
    administer(postgres, "CREATE ROLE {} LOGIN PASSWORD 'old'", role)
    administer(postgres, "ALTER DATABASE {} OWNER TO {}", database, role)
    yield role, without_password(postgres_url).replace("//sophia@", f"//{role}@")
    administer(postgres, "ALTER DATABASE {} OWNER TO sophia", database)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO sophia").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    administer(postgres, "DROP ROLE {}", role)


@pytest.mark.parametrize("key", ["DATABASE_URL", "SOPHIA_STORE_URL"])
@pytest.mark.parametrize("in_the_address", [False, True])
async def test_at_no_moment_of_a_change_the_password_in_force_is_refused(
    postgres: EmbeddedServer,
    own_role: tuple[str, str],
    tmp_path: Path,
    key: str,
    in_the_address: bool,
) -> None:
    role, address = own_role
    beside = {"DATABASE_URL": "DB_PASS", "SOPHIA_STORE_URL": "SOPHIA_STORE_PASS"}[key]
    chosen = {key: address, beside: "old"}
    if in_the_address:
        chosen = {key: address.replace(f"{role}@", f"{role}:old@")}
    during = load({**chosen, "SOPHIA_NEXT_PASS": "new"})
    store = await open_store(during, Paths(tmp_path))
    assert await store.ping() > 0
    administer(postgres, "ALTER ROLE {} PASSWORD 'new'", role)
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s",
            [role],
        )
    assert await store.ping() > 0, "a process that started before knows both"
    await store.close()
    fresh = await open_store(during, Paths(tmp_path))
    assert await fresh.ping() > 0, "and so does one that starts now"
    await fresh.close()
    if key == "DATABASE_URL":
        source = await open_source(during, Paths(tmp_path))
        assert len(await source.inspect()) == 6
        await source.close()
    administer(postgres, "ALTER ROLE {} PASSWORD 'third'", role)
    assert (await problem_of(**chosen, SOPHIA_NEXT_PASS="new")).code == "SOPHIA-S002"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ana:secret@host:5432/db?sslmode=require",
         "postgresql://ana:***@host:5432/db?sslmode=require"),
        ("postgresql://ana:se@cr:et@host/db", "postgresql://ana:***@host/db"),
        ("postgresql://ana@host/db?password=secret&x=1", "postgresql://ana@host/db?password=***&x=1"),
        ("postgresql:///db", "postgresql:///db"),
        ("host=h password='se cret' dbname=d", "host=h password=*** dbname=d"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown


async def test_a_query_after_the_server_cut_every_connection_succeeds(
    store_url: str, tmp_path: Path
) -> None:
    store = await open_store(load({"DATABASE_URL": store_url}), Paths(tmp_path))
    await asyncio.gather(*(store.jobs.page() for _ in range(8)))
    for _ in range(3):
        with psycopg.connect(store_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await asyncio.gather(*(store.jobs.page() for _ in range(8))) == [[]] * 8
    await store.close()


async def test_an_open_store_brings_a_killed_embedded_server_back(reachable: Path) -> None:
    paths = Paths(reachable / "data")
    store = await open_store(load({}), paths)
    server = EmbeddedServer(paths.postgres)
    try:
        await store.settings.set("SOPHIA_LOG_LEVEL", "DEBUG", "ana")
        await store.jobs.wait_for_wakeup(0.01)
        os.kill(server.look().pid, signal.SIGKILL)
        while server.look().running:
            await asyncio.sleep(0.01)
        assert await _patiently(store.settings.all) == {"SOPHIA_LOG_LEVEL": "DEBUG"}
        assert server.look().running is True
    finally:
        await store.close()
        server.halt()


async def _patiently(ask):
    """The query that met the dying server may fail with a clear error; the next one may not."""
    try:
        return await ask()
    except UnavailableError:
        return await ask()


async def test_more_askers_than_connections_all_get_an_answer(store_url: str) -> None:
    async def url() -> str:
        return store_url

    database = Database(url, size=2)
    found = await asyncio.gather(
        *(database.row(b"SELECT %(n)s::int AS n", {"n": n}) for n in range(40))
    )
    assert [each["n"] for each in found] == list(range(40))
    assert len({each["pid"] for each in await asyncio.gather(
        *(database.row(b"SELECT pg_backend_pid() AS pid") for _ in range(20))
    )}) <= 2  # fmt: skip
    await database.close()


async def test_a_server_that_can_only_be_read_is_told_as_that(
    store_url: str, tmp_path: Path
) -> None:
    store = await open_store(load({"DATABASE_URL": store_url}), Paths(tmp_path))
    await store.close()
    read_only = store_url + "&options=" + quote("-c default_transaction_read_only=on")
    store = await open_store(load({"DATABASE_URL": read_only}), Paths(tmp_path))
    with pytest.raises(SetupError) as caught:
        await store.settings.set("SOPHIA_LOG_LEVEL", "DEBUG", "ana")
    assert caught.value.code == "SOPHIA-S009"
    await store.close()


PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def pooled_url(store_url: str, reachable: Path) -> Iterator[str]:
    """The same database behind PgBouncer in transaction mode with two server connections."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian package pgbouncer)")
    name = store_url.partition("@/")[2].partition("?")[0]
    folder = store_url.partition("host=")[2].partition("&")[0]
    password = store_url.split(":")[2].split("@")[0]
    users = reachable / "users.txt"
    users.write_text(f'"sophia" "{password}"\n')
    config = reachable / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{name} = host={folder.replace('%2F', '/')} port=5432 dbname={name}\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {reachable}\nlisten_port = 6543\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
        "default_pool_size = 2\n"
    )
    command = [PGBOUNCER, "-q", str(config)]
    user = None
    if os.geteuid() == 0:
        from sophia_tui.store.embedded_program import SERVER_ACCOUNT

        user = SERVER_ACCOUNT  # pgbouncer refuses root, and the socket is that account's
        for each in (users, config, reachable):
            shutil.chown(each, user)
    process = subprocess.Popen(command, user=user, group=user, extra_groups=user and [])
    url = f"postgresql://sophia:{password}@/{name}?host={quote(str(reachable), safe='')}&port=6543"
    try:
        _wait_for(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(url: str) -> None:
    problem: Exception | None = None
    for _ in range(60):
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError as caught:
            problem = caught
            time.sleep(0.05)
    raise AssertionError("pgbouncer did not start") from problem


async def test_the_store_works_behind_a_pooler_in_transaction_mode(
    pooled_url: str, tmp_path: Path
) -> None:
    store = await open_store(load({"DATABASE_URL": pooled_url}), Paths(tmp_path))
    jobs = [
        Job(
            id=f"ftjob-{n}", kind=JobKind.TRAIN, state="queued", base="b", dataset=None, request={},
            created_by="ana", created_at=datetime.now(UTC),
        )
        for n in range(12)
    ]  # fmt: skip
    await asyncio.gather(*(store.jobs.add(each) for each in jobs))
    claimed = await asyncio.gather(*(store.jobs.claim(Claimer("w", "h")) for _ in range(12)))
    assert {each.id for each in claimed} == {each.id for each in jobs}
    await asyncio.gather(*(store.settings.set("A", str(n), "ana") for n in range(30)))
    assert await store.jobs.wait_for_wakeup(0.01) is False  # LISTEN does not pass: it polls
    await store.close()


async def test_a_fresh_schema_is_made_through_a_pooler(pooled_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pooled_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA sophia CASCADE")
    store = await open_store(load({"DATABASE_URL": pooled_url}), Paths(tmp_path))
    assert await store.jobs.page() == []
    await store.close()
