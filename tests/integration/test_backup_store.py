"""The own store, copied out and put back, against the real Postgres."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sophia_tui.domain.backups import CopiedStore
from sophia_tui.errors import SetupError
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings, load
from sophia_tui.store import migrate
from sophia_tui.store.copying import PostgresCopier
from sophia_tui.store.own import open_store
from tests import seeded

Copied = tuple[CopiedStore, dict[str, list[bytes]]]


def everything(url: str) -> dict[str, list[str]]:
    """All rows of all our tables, as JSON, by table."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        names = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'sophia'"
        ).fetchall()
        return {
            name: sorted(
                each[0]
                for each in connection.execute(
                    f'SELECT to_jsonb(t)::text FROM sophia."{name}" AS t'.encode()
                ).fetchall()
            )
            for (name,) in names
        }


async def copied(settings: Settings, paths: Paths) -> Copied:
    pieces: dict[str, list[bytes]] = {}

    def take(name: str, found: Iterator[bytes]) -> None:
        pieces[name] = list(found)

    copy = await PostgresCopier(settings, paths).ready()
    return copy.dump(take), pieces


async def put_back(
    settings: Settings, paths: Paths, what: Copied, moved: dict[str, str] | None = None
) -> Any:
    store, pieces = what
    copy = await PostgresCopier(settings, paths).ready()
    tables = ((each.name, iter(pieces[each.name])) for each in store.tables)
    return copy.load(store, tables, moved or {}, lambda _transaction: None)


@pytest.fixture
async def filled(settings: Settings, paths: Paths, tmp_path: Path) -> Settings:
    store = await open_store(settings, paths)
    await seeded.fill(store, tmp_path / "data")
    await store.close()
    return settings


async def test_all_rows_come_back_into_an_empty_database(
    filled: Settings, paths: Paths, postgres_url: str, store_url: str
) -> None:
    what = await copied(filled, paths)
    other = load({"SOPHIA_STORE_URL": postgres_url})
    loaded = await put_back(other, paths, what)
    assert everything(postgres_url) == everything(store_url)
    assert loaded.rows["jobs"] == len(everything(store_url)["jobs"]) > 10
    assert sum(loaded.rows.values()) > 200


async def test_numbers_go_on_where_they_were(
    filled: Settings, paths: Paths, postgres_url: str
) -> None:
    what = await copied(filled, paths)
    await put_back(load({"SOPHIA_STORE_URL": postgres_url}), paths, what)
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "INSERT INTO sophia.persona_pairs (persona_id, input, output)"
            " SELECT id, 'a', 'b' FROM sophia.personas LIMIT 1 RETURNING id"
        ).fetchone()
        last = connection.execute("SELECT max(id) - 1 FROM sophia.persona_pairs").fetchone()
    assert row is not None
    assert last is not None
    assert row[0] == last[0] + 1


async def test_a_copy_is_of_one_moment(filled: Settings, paths: Paths, store_url: str) -> None:
    """A job that is added while the first tables are read is in none of them."""
    seen: dict[str, bytes] = {}

    def take(name: str, found: Iterator[bytes]) -> None:
        if not seen:
            with psycopg.connect(store_url, autocommit=True) as connection:
                connection.execute(
                    "INSERT INTO sophia.jobs (id, kind, state, base, request, created_by)"
                    " VALUES ('ftjob-late', 'train', 'draft', 'b', '{}', 'x')"
                )
        seen[name] = b"".join(found)

    (await PostgresCopier(filled, paths).ready()).dump(take)
    assert b"ftjob-late" not in seen["jobs"]
    assert len(seen) == len(everything(store_url)) - 1  # all but the version's own table


async def test_an_older_store_is_put_back_and_brought_up_to_date(
    filled: Settings, paths: Paths, postgres_url: str, store_url: str
) -> None:
    """Tables as of 0001 come back as such and are migrated with their rows."""
    from sqlalchemy import text

    old = load({"SOPHIA_STORE_URL": store_url})
    with psycopg.connect(store_url) as connection:
        connection.execute("DROP SCHEMA sophia CASCADE")
    engine = migrate._engine(store_url)
    with engine.begin() as changing:
        migrate._upgrade(changing, "0001")
        changing.execute(
            text(
                "INSERT INTO sophia.jobs (id, kind, state, base, request, provider, created_by,"
                " run_folder) VALUES ('ftjob-old', 'train', 'succeeded', 'b', '{}', 'openai', 'x',"
                " '/srv/s/runs/ftjob-old')"
            )
        )
    engine.dispose()
    what = await copied(old, paths)
    assert what[0].revision == "0001"
    await put_back(load({"SOPHIA_STORE_URL": postgres_url}), paths, what)
    [row] = [json.loads(each) for each in everything(postgres_url)["jobs"]]
    # what migration 0003 made of it
    assert (row["queue"], row["folder"]) == ("hosted", "/srv/s")
    with psycopg.connect(postgres_url) as connection:
        version = connection.execute("SELECT version_num FROM sophia.alembic_version").fetchone()
    assert version == (migrate.head(),)


async def test_what_fails_leaves_the_store_as_it_was(
    filled: Settings, paths: Paths, store_url: str
) -> None:
    store, pieces = await copied(filled, paths)
    before = everything(store_url)
    pieces["jobs"] = pieces["jobs"][:-1]
    with pytest.raises(SetupError, match=r"S41[23]"):
        await put_back(filled, paths, (store, pieces))
    assert everything(store_url) == before


async def test_the_audit_of_before_is_kept_behind_the_backups(
    filled: Settings, paths: Paths, store_url: str
) -> None:
    def add(operation: str) -> None:
        with psycopg.connect(store_url) as connection:
            connection.execute(
                "INSERT INTO sophia.audit (at, actor, face, role, operation, outcome)"
                " VALUES (now(), 'ana', 'cli', 'admin', %s, 'done')",
                [operation],
            )

    add("store.migrate")
    what = await copied(filled, paths)
    add("settings.set")
    loaded = await put_back(filled, paths, what)
    told = [json.loads(each)["operation"] for each in everything(store_url)["audit"]]
    assert sorted(told) == ["settings.set", "store.migrate"]
    assert loaded.audit_kept == 1


async def test_what_leans_on_our_tables_from_outside_is_not_dropped(
    filled: Settings, paths: Paths, store_url: str
) -> None:
    with psycopg.connect(store_url) as connection:
        connection.execute("CREATE VIEW public.board AS SELECT id FROM sophia.jobs")
    what = await copied(filled, paths)
    with pytest.raises(SetupError, match="board"):
        await put_back(filled, paths, what)


async def test_places_move_with_the_data_folder(
    filled: Settings, paths: Paths, tmp_path: Path, postgres_url: str
) -> None:
    """No row names the old folder any more; texts that only look like it stay."""
    old, new = str(tmp_path / "data"), '/srv/új "data" \\ folder'
    what = await copied(filled, paths)
    assert any(old in each for rows in what[1].values() for each in map(bytes.decode, rows))
    other = load({"SOPHIA_STORE_URL": postgres_url})
    await put_back(other, paths, what, {old: new})
    found = everything(postgres_url)
    left = {name for name, rows in found.items() if any(f'"{old}' in each for each in rows)}
    # a version's manifest is what its hash covers: where the rows once came from
    assert left <= {"dataset_versions"}
    [job] = [
        json.loads(each) for each in found["jobs"] if json.loads(each)["id"] == seeded.SUCCEEDED
    ]
    assert job["run_folder"] == f"{new}/runs/{seeded.SUCCEEDED}"
    assert job["request"]["run"]["dataset_path"].startswith(f"{new}/datasets/town/")
    assert job["files"] == [f"{new}/qa_cache.jsonl"]


async def test_whether_a_transaction_came_to_be_is_known(
    filled: Settings, paths: Paths, postgres_url: str
) -> None:
    store, pieces = await copied(filled, paths)
    copy = await PostgresCopier(load({"SOPHIA_STORE_URL": postgres_url}), paths).ready()
    told: list[str] = []

    def tables() -> Iterator[tuple[str, Iterator[bytes]]]:
        return ((each.name, iter(pieces[each.name])) for each in store.tables)

    def die(transaction: str) -> None:
        told.append(transaction)
        raise SetupError("S999", "killed")

    with pytest.raises(SetupError, match="killed"):
        copy.load(store, tables(), {}, die)
    copy.load(store, tables(), {}, told.append)
    assert [copy.committed(each) for each in told] == [False, True]
