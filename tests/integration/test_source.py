"""The source: found wherever it is, reported column by column, reached through poolers."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sophia_tui.domain.protocols import TableReport
from sophia_tui.errors import SophiaError, UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store.source import open_source
from tests.integration.collect_support import Variant, collect, fill, lines_of, reference_pairs


async def inspect(url: str, **settings: str) -> dict[str, TableReport]:
    chosen = load({"DATABASE_URL": url, **settings})
    source = await open_source(chosen, Paths(Path("/nonexistent")))
    return {each.table: each for each in await source.inspect()}


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


async def test_every_table_is_reported_with_place_kind_and_columns(postgres_url: str) -> None:
    fill(postgres_url, Variant("other", schema='Sophia "RAG"', partitioned=True))
    found = await inspect(postgres_url)
    cache = found["qa_cache"]
    assert (cache.found, cache.kind) == ('Sophia "RAG".qa_cache', "partitioned table")
    assert cache.usable and found["feedback"].usable and found["messages"].usable
    assert {each.column: each.found for each in cache.columns}["citations"] == "jsonb"
    assert not found["customers"].usable and found["customers"].found is None


async def test_what_does_not_fit_is_said_for_each_column(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE TABLE qa_cache (qhash bytea, question integer, answer text, created_at bigint)",
        "CREATE TABLE docs (id float8)",
    )
    found = await inspect(postgres_url)
    problems = {each.column: each.problem for each in found["qa_cache"].columns if not each.usable}
    assert set(problems) == {"qhash", "question", "created_at"}
    assert "bytea" in problems["qhash"] and "bigint" in problems["created_at"]
    assert {each.column for each in found["docs"].columns if not each.usable} == {"id", "content"}


async def test_a_missing_right_is_said_for_the_column(postgres_url: str) -> None:
    fill(postgres_url, Variant("plain"))
    role = f"few_{conninfo_to_dict(postgres_url)['dbname']}"
    execute(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT SELECT (qhash, question, created_at) ON qa_cache TO {role}",
    )
    url = make_conninfo(postgres_url, user=role, password="x")
    try:
        found = await inspect(url)
        cache = found["qa_cache"]
        assert [each.column for each in cache.columns if not each.usable] == ["answer"]
        assert "GRANT SELECT" in {each.column: each.problem for each in cache.columns}["answer"]
        assert not found["docs"].readable and "GRANT SELECT" in found["docs"].problem
    finally:
        execute(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_the_search_path_decides_and_a_setting_decides_over_it(postgres_url: str) -> None:
    for schema in ("one", "two"):
        fill(postgres_url, Variant("plain", schema=schema))
    unclear = await inspect(postgres_url)
    assert unclear["docs"].found is None and "SOPHIA_SOURCE_SCHEMA" in unclear["docs"].problem
    chosen = await inspect(postgres_url, SOPHIA_SOURCE_SCHEMA="two")
    assert chosen["docs"].found == "two.docs"
    database = conninfo_to_dict(postgres_url)["dbname"]
    execute(postgres_url, f"ALTER DATABASE {database} SET search_path = one, two")
    assert (await inspect(postgres_url))["docs"].found == "one.docs"


async def test_a_table_of_the_same_name_elsewhere_is_not_mixed_in(postgres_url: str) -> None:
    fill(postgres_url, Variant("plain", schema="rag"))
    execute(postgres_url, "CREATE TABLE public.docs (id int, content text)")
    assert (await inspect(postgres_url))["docs"].found == "rag.docs"


async def test_sophias_own_schema_is_no_source(postgres_url: str) -> None:
    fill(postgres_url, Variant("plain", schema="sophia"))
    assert (await inspect(postgres_url))["docs"].found is None


async def test_row_level_security_is_noted(postgres_url: str) -> None:
    fill(postgres_url, Variant("plain"))
    role = f"secured_{conninfo_to_dict(postgres_url)['dbname']}"
    execute(
        postgres_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
        f"GRANT SELECT ON qa_cache TO {role}",
        "ALTER TABLE qa_cache ENABLE ROW LEVEL SECURITY",
    )
    try:
        found = await inspect(make_conninfo(postgres_url, user=role, password="x"))
        assert "Row-level security" in found["qa_cache"].note
    finally:
        execute(postgres_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def test_domains_and_enums_count_as_what_they_stand_for(postgres_url: str) -> None:
    execute(
        postgres_url,
        "CREATE DOMAIN hash AS text CHECK (value <> '')",
        "CREATE TYPE sender AS ENUM ('customer', 'bot')",
        "CREATE TABLE qa_cache (qhash hash, question text, answer text, created_at timestamptz)",
        "CREATE TABLE messages (id int, conversation_id int, content text, sender_type sender,"
        " created_at timestamptz)",
    )
    found = await inspect(postgres_url)
    assert found["qa_cache"].usable and found["messages"].usable


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "wrong-secret"}, "D102"),
        ({"dbname": "no_such_database"}, "D103"),
        ({"host": "127.0.0.1", "port": "1"}, "D105"),
    ],
)
async def test_a_source_that_can_not_be_reached_is_one_clear_error(
    postgres_url: str, change: dict[str, str], code: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        await inspect(make_conninfo(postgres_url, **change))
    assert caught.value.code == f"SOPHIA-{code}"
    assert "wrong-secret" not in str(caught.value)


async def test_an_address_that_can_not_be_read_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="SOPHIA-D101") as caught:
        await inspect("postgresql//user:top-secret@host")
    assert "top-secret" not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize("password", ["Pl4@nted", "Pl4/nted", "12/nted", "Pl4@n/ted", "Pl4?nted"])
async def test_no_part_of_a_password_with_a_bare_sign_is_told(password: str) -> None:
    with pytest.raises(UsageError, match="SOPHIA-D101") as caught:
        await inspect(f"postgresql://reader:{password}@127.0.0.1/prod")
    assert "%40" in caught.value.remedy
    assert "nted" not in str(caught.value) and "Pl4" not in str(caught.value)


async def test_a_refused_connection_names_its_cause_and_no_advice_of_libpq() -> None:
    with pytest.raises(UnavailableError, match="SOPHIA-D105") as caught:
        await inspect("postgresql://u@127.0.0.1:1/d")
    assert "refused" in caught.value.why
    assert "Is the server running" not in caught.value.why and "\u2409" not in caught.value.why


async def test_addresses_of_other_programs_and_a_password_apart_are_understood(
    postgres_url: str,
) -> None:
    parts = conninfo_to_dict(postgres_url)
    address = postgres_url.replace("postgresql://", "postgresql+psycopg2://")
    address = address.replace(f":{parts['password']}@", "@") + "&pgbouncer=true&connection_limit=1"
    found = await inspect(address, DB_PASS=str(parts["password"]))
    assert len(found) == 6


async def test_a_limit_of_the_server_ends_in_one_clear_error(
    postgres_url: str, tmp_path: Path
) -> None:
    database = conninfo_to_dict(postgres_url)["dbname"]
    execute(
        postgres_url,
        "CREATE TABLE kept (x int)",
        "INSERT INTO kept VALUES (1)",
        "CREATE VIEW qa_cache AS SELECT 'h'::text AS qhash, pg_sleep(30)::text AS question,"
        " 'a'::text AS answer, '2026-11-20Z'::timestamptz - interval '1 day' * x AS created_at"
        " FROM kept",
        f"ALTER DATABASE {database} SET statement_timeout = '300ms'",
    )
    with pytest.raises(UnavailableError, match="SOPHIA-D108"):
        await collect(postgres_url, tmp_path, what=["qa_cache"])
    assert not (tmp_path / "qa_cache.jsonl").exists()


async def test_a_server_that_ends_the_connection_is_one_clear_error(
    postgres_url: str, tmp_path: Path
) -> None:
    fill(postgres_url, Variant("plain"))
    with psycopg.connect(postgres_url) as lock:
        lock.execute("LOCK TABLE messages")
        task = asyncio.create_task(collect(postgres_url, tmp_path))
        while not list(tmp_path.glob(".conversations.jsonl.*.tmp")):
            await asyncio.sleep(0.01)
        lock.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(SophiaError, match="SOPHIA-D106"):
            await task
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.fixture
def pooler(postgres_url: str, reachable: Path) -> Iterator[str]:
    """The source's address through PgBouncer in transaction mode, with one server connection."""
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.path.exists(program):
        pytest.skip("pgbouncer is not installed")
    parts = conninfo_to_dict(postgres_url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (reachable / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"{parts['dbname']} = host={parts['host']} port={parts.get('port', 5432)}"
        f" user={parts['user']} password={parts['password']}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        "auth_type = any\npool_mode = transaction\ndefault_pool_size = 1\n"
    )
    command = [program, str(reachable / "pgbouncer.ini")]
    if os.geteuid() == 0:  # PgBouncer refuses root
        owner = Path(str(parts["host"])).stat().st_uid
        command[1:1] = ["-u", pwd.getpwuid(owner).pw_name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _attempt in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield make_conninfo(host="127.0.0.1", port=port, dbname=parts["dbname"], user="anyone")
    process.terminate()
    process.wait(timeout=20)


async def test_a_pooler_in_transaction_mode_gives_the_same_and_keeps_nothing(
    postgres_url: str, pooler: str, tmp_path: Path
) -> None:
    fill(postgres_url, Variant("plain"))
    await collect(pooler, tmp_path)
    assert lines_of(tmp_path / "qa_cache.jsonl") == reference_pairs(postgres_url, Variant("plain"))
    # the one server connection is the next client's now: nothing of ours is set in it
    async with await psycopg.AsyncConnection.connect(pooler, autocommit=True) as connection:
        for name in ("transaction_read_only", "TimeZone", "transaction_isolation"):
            cursor = await connection.execute(
                "SELECT setting = reset_val OR name LIKE 'transaction%%', setting FROM pg_settings"
                " WHERE name = %s",
                [name],
            )
            row = await cursor.fetchone()
            assert row is not None and row[0] and row[1] not in ("on", "repeatable read")


async def test_exports_through_one_pooled_connection_at_once_do_not_mix(
    postgres_url: str, pooler: str, tmp_path: Path
) -> None:
    fill(postgres_url, Variant("plain"))
    folders = [tmp_path / str(number) for number in range(3)]
    await asyncio.gather(*(collect(pooler, folder) for folder in folders))
    first, *others = [(folder / "qa_cache.jsonl").read_bytes() for folder in folders]
    assert first and all(other == first for other in others)
