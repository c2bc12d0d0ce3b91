"""The sample loader against a real embedded server: what it makes, replaces and refuses."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.errors import ConflictError, RefusedError
from sophia_tui.paths import Paths
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.settings import Settings, load
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.store.samples import MARK, TABLES, EmbeddedSamples, source_folder
from tests.integration.collect_support import NOW as COLLECTED
from tests.integration.collect_support import FixedClock, collect

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def home() -> Iterator[Paths]:
    """A data folder whose embedded server runs."""
    from tests.conftest import FAST, reachable_folder

    folder = reachable_folder()
    server = EmbeddedServer(folder / "postgres", FAST)
    server.start()
    yield Paths(folder)
    server.halt()
    shutil.rmtree(folder)


@pytest.fixture
def url(home: Paths) -> Iterator[str]:
    """The address of the server's own database, without any of the sample's names before."""
    address = EmbeddedServer(home.postgres).url()
    yield address
    with psycopg.connect(address) as connection:
        for table in TABLES:
            connection.execute(f"DROP VIEW IF EXISTS public.v_{table}")
            connection.execute(f"DROP TABLE IF EXISTS public.{table} CASCADE")


@pytest.fixture
def bare() -> Settings:
    return load({})


async def test_every_row_of_the_files_is_in_its_table(
    home: Paths, url: str, bare: Settings
) -> None:
    loaded = await EmbeddedSamples(bare, home).load(NOW)
    with psycopg.connect(url) as connection:
        for each in loaded:
            lines = (source_folder() / f"{each.table}.jsonl").read_text().splitlines()
            row = connection.execute(f"SELECT count(*) FROM public.{each.table}").fetchone()
            assert row == (len(lines),) == (each.rows,)
    assert {each.table for each in loaded} == set(TABLES)


async def test_texts_and_json_arrive_as_they_are(home: Paths, url: str, bare: Settings) -> None:
    await EmbeddedSamples(bare, home).load(NOW)
    wanted = {}
    for line in (source_folder() / "qa_cache.jsonl").read_text().splitlines():
        row = json.loads(line)
        wanted[row["qhash"]] = (row["question"], row["answer"], row["citations"])
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT qhash, question, answer, citations FROM qa_cache")
        assert {row[0]: tuple(row[1:]) for row in found} == wanted


async def test_times_count_back_from_the_load(home: Paths, url: str, bare: Settings) -> None:
    await EmbeddedSamples(bare, home).load(NOW)
    first = json.loads((source_folder() / "qa_cache.jsonl").read_text().splitlines()[0])
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT created_at FROM qa_cache WHERE qhash = %s", (first["qhash"],)
        ).fetchone()
    assert row == (NOW - timedelta(minutes=first["created_at_minutes_ago"]),)


async def test_loading_again_replaces_what_was_changed(
    home: Paths, url: str, bare: Settings
) -> None:
    loader = EmbeddedSamples(bare, home)
    before = await loader.load(NOW)
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM docs")
        connection.execute("DROP TABLE messages")
    assert await loader.load(NOW) == before
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT min(id), max(id), count(*) FROM feedback").fetchone()
    assert row is not None and row[0] == 1 and row[1] == row[2]


async def test_two_loaders_at_once_leave_one_whole_sample(
    home: Paths, url: str, bare: Settings
) -> None:
    await asyncio.gather(*(EmbeddedSamples(bare, home).load(NOW) for _each in range(3)))
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM docs").fetchone()
    assert row == (len((source_folder() / "docs.jsonl").read_text().splitlines()),)


async def test_a_table_that_is_not_ours_is_refused_and_left_alone(
    home: Paths, url: str, bare: Settings
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE customers (id int)")
        connection.execute("INSERT INTO customers VALUES (7)")
    with pytest.raises(ConflictError) as refused:
        await EmbeddedSamples(bare, home).load(NOW)
    assert refused.value.code == "SOPHIA-S321" and "customers" in refused.value.what
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM customers").fetchall() == [(7,)]
        assert connection.execute("SELECT to_regclass('public.docs')").fetchone() == (None,)


async def test_a_view_with_our_mark_is_still_not_ours(
    home: Paths, url: str, bare: Settings
) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE VIEW docs AS SELECT 1 AS id")
        connection.execute(f"COMMENT ON VIEW docs IS '{MARK.replace(chr(39), chr(39) * 2)}'")
    with pytest.raises(ConflictError) as refused:
        await EmbeddedSamples(bare, home).load(NOW)
    assert refused.value.code == "SOPHIA-S321"
    with psycopg.connect(url) as connection:
        connection.execute("DROP VIEW docs")


async def test_what_depends_on_the_sample_stops_the_replacing(
    home: Paths, url: str, bare: Settings
) -> None:
    await EmbeddedSamples(bare, home).load(NOW)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE VIEW v_docs AS SELECT * FROM docs")
    with pytest.raises(ConflictError) as refused:
        await EmbeddedSamples(bare, home).load(NOW)
    assert refused.value.code == "SOPHIA-S322"
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) > 0 FROM v_docs").fetchone()
    assert row == (True,)


@pytest.mark.parametrize("key", ["DATABASE_URL", "SOPHIA_STORE_URL"])
async def test_any_other_server_is_refused(key: str, postgres_url: str, home: Paths) -> None:
    with pytest.raises(RefusedError) as refused:
        await EmbeddedSamples(load({key: postgres_url}), home).load(NOW)
    assert refused.value.code == "SOPHIA-S320" and key in refused.value.why
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT to_regclass('public.docs')").fetchone() == (None,)


async def test_the_word_embedded_is_the_embedded_server(home: Paths, url: str) -> None:
    loaded = await EmbeddedSamples(load({"SOPHIA_STORE_URL": "embedded"}), home).load(NOW)
    assert len(loaded) == len(TABLES)


async def test_a_broken_sample_changes_nothing(
    home: Paths, url: str, bare: Settings, tmp_path: Path
) -> None:
    await EmbeddedSamples(bare, home).load(NOW)
    for each in source_folder().iterdir():
        content = each.read_bytes()
        (tmp_path / each.name).write_bytes(b'{"id": 1}\n{' if each.stem == "messages" else content)
    with pytest.raises(ValueError):
        await EmbeddedSamples(bare, home, tmp_path).load(NOW)
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) > 2 FROM messages").fetchone()
    assert row == (True,)


async def test_collect_and_prepare_reject_what_the_manifest_says(
    home: Paths, url: str, bare: Settings, tmp_path: Path
) -> None:
    await EmbeddedSamples(bare, home).load(COLLECTED)
    collected = await collect(url, tmp_path)
    rejected = {each.name: each.rejected_by for each in collected.items}

    settings = load({"FINETUNE_DIR": str(tmp_path)})
    # a dry run records nothing, so the store's part is never touched
    service = PrepareService(None, settings, home, FixedClock())  # type: ignore[arg-type]
    context = Context("tester", Face.CLI, Role.OPERATOR, dry_run=True)
    prepared = await service.run(context, PrepareInput())
    rejected["prepare"] = {each.code: each.count for each in prepared.rejected}

    manifest = yaml.safe_load((source_folder().parent / "manifest.yaml").read_text("utf-8"))
    assert rejected == manifest["rejected"]
