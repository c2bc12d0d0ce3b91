"""The schema `sophia`: made by itself, inside its borders, under few rights, never downgraded."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from sophia_tui.errors import RefusedError, SetupError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store import migrate
from sophia_tui.store.admin import PostgresAdmin
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.own import is_embedded, open_store, own_database
from sophia_tui.store.sql import queries
from tests.conftest import FAST

OUTSIDE = """
SELECT 'class', n.nspname, c.relname, c.relkind::text FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname NOT IN ('sophia', 'pg_toast')
UNION ALL SELECT 'function', n.nspname, p.proname, '' FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'sophia'
UNION ALL SELECT 'type', n.nspname, t.typname, '' FROM pg_type t
    JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname NOT IN ('sophia', 'pg_toast')
UNION ALL SELECT 'schema', nspname, '', '' FROM pg_namespace
    WHERE nspname <> 'sophia'
UNION ALL SELECT 'extension', extname, '', '' FROM pg_extension
UNION ALL SELECT 'setting', setdatabase::text, setrole::text, setconfig::text
    FROM pg_db_role_setting
UNION ALL SELECT 'trigger', evtname, '', '' FROM pg_event_trigger
ORDER BY 1, 2, 3, 4
"""


def rows(url: str, query: str):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def execute(url: str, statement: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def restricted(postgres_url: str) -> Iterator[str]:
    """The address of the same database for a role that may connect, and nothing more."""
    role = f"role {postgres_url.split('?')[0][-8:]}"  # with a blank: it must be quoted
    execute(postgres_url, "CREATE ROLE {} LOGIN PASSWORD 'secret-of-role'", role)
    start, _sign, rest = postgres_url.partition("//")
    yield f"{start}//{role.replace(' ', '%20')}:secret-of-role@{rest.partition('@')[2]}"
    execute(postgres_url, "DROP OWNED BY {} CASCADE", role)
    execute(postgres_url, "DROP ROLE {}", role)


async def test_missing_schema_is_made_by_itself_and_nothing_outside_it(
    postgres_url: str, tmp_path: Path
) -> None:
    before = rows(postgres_url, OUTSIDE)
    store = await open_store(load({"DATABASE_URL": postgres_url}), Paths(tmp_path))
    await store.settings.set("SOPHIA_LOG_LEVEL", "DEBUG", "ana")
    await store.close()
    assert rows(postgres_url, OUTSIDE) == before
    made = {
        name
        for (name,) in rows(
            postgres_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'sophia'"
        )
    }
    assert made >= {
        "dataset_versions", "dataset_tags", "jobs", "job_events", "workers", "models", "promotions",
        "settings", "audit",
        "message_reactions", "conversation_ratings", "problem_flags", "review_queue",
        "review_scores", "ai_events", "ai_daily", "personas", "persona_pairs",
        "persona_interactions",
    }  # fmt: skip


async def test_four_processes_opening_a_fresh_database_at_once_make_it_once(
    postgres_url: str, tmp_path: Path
) -> None:
    settings = load({"DATABASE_URL": postgres_url})
    stores = await asyncio.gather(*(open_store(settings, Paths(tmp_path)) for _ in range(4)))
    for each in stores:
        assert await each.jobs.page() == []
        await each.close()
    assert rows(postgres_url, "SELECT version_num FROM sophia.alembic_version") == [
        (migrate.head(),)
    ]


async def test_a_newer_store_is_refused_and_left_alone(store_url: str, tmp_path: Path) -> None:
    execute(store_url, "UPDATE sophia.alembic_version SET version_num = '9999'")
    for key in ("DATABASE_URL", "SOPHIA_STORE_URL"):
        with pytest.raises(SetupError) as caught:
            await open_store(load({key: store_url}), Paths(tmp_path))
        assert caught.value.code == "SOPHIA-S011"
        assert "9999" in caught.value.why
    with pytest.raises(SetupError):
        await PostgresAdmin(load({"DATABASE_URL": store_url}), Paths(tmp_path)).migrate()
    assert rows(store_url, "SELECT version_num FROM sophia.alembic_version") == [("9999",)]


async def test_an_older_store_on_a_server_asks_for_the_migration(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = [*migrate.known(), "9998"]
    monkeypatch.setattr(migrate, "known", lambda: newer)
    with pytest.raises(SetupError) as caught:
        await open_store(load({"DATABASE_URL": store_url}), Paths(tmp_path))
    assert caught.value.code == "SOPHIA-S012"
    assert "sophia store migrate" in caught.value.remedy


async def test_a_role_that_may_not_create_gets_the_sql_and_the_way_out(
    restricted: str, tmp_path: Path
) -> None:
    with pytest.raises(SetupError) as caught:
        await open_store(load({"DATABASE_URL": restricted}), Paths(tmp_path))
    assert caught.value.code == "SOPHIA-S010"
    assert 'CREATE SCHEMA sophia AUTHORIZATION "role ' in caught.value.remedy
    assert "SOPHIA_STORE_URL=embedded" in caught.value.remedy
    assert "secret-of-role" not in str(caught.value.as_dict())


async def test_the_sql_of_the_message_is_all_that_the_administrator_must_run(
    restricted: str, postgres_url: str, tmp_path: Path
) -> None:
    settings = load({"DATABASE_URL": restricted})
    with pytest.raises(SetupError) as caught:
        await open_store(settings, Paths(tmp_path))
    execute(postgres_url, caught.value.details["sql"])
    store = await open_store(settings, Paths(tmp_path))
    assert await store.jobs.page() == []
    await store.close()


async def test_a_schema_of_another_role_is_named_with_the_sql(
    restricted: str, postgres_url: str, tmp_path: Path
) -> None:
    execute(postgres_url, "CREATE SCHEMA sophia")
    with pytest.raises(SetupError) as caught:
        await open_store(load({"DATABASE_URL": restricted}), Paths(tmp_path))
    assert caught.value.code == "SOPHIA-S018"
    execute(postgres_url, caught.value.details["sql"])
    store = await open_store(load({"DATABASE_URL": restricted}), Paths(tmp_path))
    await store.close()


async def test_a_failing_migration_changes_nothing(postgres_url: str, tmp_path: Path) -> None:
    execute(postgres_url, "CREATE SCHEMA sophia")
    execute(postgres_url, "CREATE TABLE sophia.personas (somebody text)")
    with pytest.raises(SetupError) as caught:
        await open_store(load({"DATABASE_URL": postgres_url}), Paths(tmp_path))
    assert caught.value.code == "SOPHIA-S014"
    tables = rows(postgres_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'sophia'")
    assert tables == [("personas",)]


async def test_an_unfitting_search_path_changes_nothing(store_url: str, tmp_path: Path) -> None:
    execute(store_url, "CREATE SCHEMA other")
    execute(store_url, "CREATE TABLE other.jobs (id text)")
    name = store_url.partition("@/")[2].partition("?")[0]
    execute(store_url, "ALTER DATABASE {} SET search_path = other", name)
    execute(store_url, "ALTER DATABASE {} SET timezone = 'America/Sao_Paulo'", name)
    store = await open_store(load({"DATABASE_URL": store_url}), Paths(tmp_path))
    assert await store.jobs.page() == []
    await store.close()


async def test_the_audit_can_only_be_added_to(store_url: str) -> None:
    execute(
        store_url,
        "INSERT INTO sophia.audit (at, actor, face, role, operation, outcome)"
        " VALUES (now(), 'ana', 'cli', 'admin', 'a.b', 'done')",
    )
    for statement in (
        "UPDATE sophia.audit SET actor = 'eve'",
        "DELETE FROM sophia.audit",
        "TRUNCATE sophia.audit",
    ):
        with pytest.raises(psycopg.errors.RaiseException):
            execute(store_url, statement)


@pytest.fixture(scope="module")
def planner(postgres: EmbeddedServer, migrated_template: str) -> Iterator[psycopg.Connection]:
    """A connection to the migrated schema for what changes nothing."""
    name = f"{migrated_template}_planned"  # nobody may be connected to what is copied
    execute(postgres.url("postgres"), "CREATE DATABASE {} TEMPLATE {}", name, migrated_template)
    with psycopg.connect(postgres.url(name)) as connection:
        yield connection
    execute(postgres.url("postgres"), "DROP DATABASE {} WITH (FORCE)", name)


@pytest.mark.parametrize("name", sorted(set(queries()) - {"listen", "wake"}))
def test_every_named_query_fits_the_schema(planner: psycopg.Connection, name: str) -> None:
    """Planned with every parameter NULL: names and types are checked, nothing is changed."""
    text = queries()[name].decode()
    parameters = {each.split(")s")[0]: None for each in text.split("%(")[1:]}
    with planner.transaction(force_rollback=True):
        assert planner.execute(f"EXPLAIN {text}", parameters).fetchall()


def test_which_database_is_the_store() -> None:
    server = "postgresql://u@h/d"
    assert is_embedded(load({}))
    assert not is_embedded(load({"DATABASE_URL": server}))
    assert is_embedded(load({"DATABASE_URL": server, "SOPHIA_STORE_URL": "embedded"}))
    assert not is_embedded(load({"SOPHIA_STORE_URL": server}))


async def test_with_nothing_set_the_embedded_store_starts_migrates_and_stops(
    reachable: Path,
) -> None:
    paths = Paths(reachable / "data")
    settings = load({})
    admin = PostgresAdmin(settings, paths)
    assert (await admin.status()).running is False
    store = await open_store(settings, paths)
    try:
        assert await store.jobs.page() == []
        status = await admin.status()
        assert (status.kind, status.running, status.schema_version) == (
            "embedded", True, migrate.head(),
        )  # fmt: skip
        assert (await admin.stop()).running is False
        with pytest.raises(UnavailableError) as caught:
            await store.jobs.page()
        assert caught.value.code == "SOPHIA-S029"
        assert (await admin.start()).running is True
        assert await store.jobs.page() == []
    finally:
        await store.close()
        await admin.stop()


async def test_a_server_of_others_is_never_stopped(store_url: str, tmp_path: Path) -> None:
    admin = PostgresAdmin(load({"DATABASE_URL": store_url}), Paths(tmp_path))
    with pytest.raises(RefusedError) as caught:
        await admin.stop()
    assert caught.value.code == "SOPHIA-S032"
    status = await admin.status()
    assert (status.kind, status.running) == ("server", True)
    assert "password" not in status.where and "***" in status.where


async def test_the_embedded_store_is_migrated_by_itself(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = EmbeddedServer(reachable / "postgres", FAST)
    url = server.start()
    try:
        execute(url, "CREATE SCHEMA sophia")
        execute(url, "CREATE TABLE sophia.alembic_version (version_num varchar(32) PRIMARY KEY)")
        database = own_database(load({}), Paths(reachable))
        assert (await migrate.ensure(database, automatic=True)).current
        await database.close()
    finally:
        server.halt()
