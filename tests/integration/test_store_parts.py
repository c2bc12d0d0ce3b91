"""Data sets, models, promotions, settings and audit in the own store; the operations on it."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Claimer
from sophia_tui.domain.models import (
    AuditEntry,
    FileChange,
    Happened,
    Model,
    ModelKind,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.operations import NoInput
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import ConflictError, InternalError, NotFoundError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.services.store import StoreService
from sophia_tui.settings import Settings
from sophia_tui.store import own
from sophia_tui.store.admin import PostgresAdmin
from sophia_tui.store.embedded import EmbeddedServer

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def version(name: str, digits: str, minutes: int = 0) -> DatasetVersion:
    return DatasetVersion(
        name=name,
        hash=digits * 32,
        folder=f"/data/{name}",
        counts={"rows_in": 3, "rows_kept": 2, "rows_rejected": 1},
        manifest={"seed": 42},
        created_by="ana",
        created_at=NOW + timedelta(minutes=minutes),
    )


def promotion(name: str, state: PromotionState = PromotionState.PENDING) -> Promotion:
    change = FileChange("/etc/rag.env", {"GEN_MODEL": None}, {"GEN_MODEL": "m"}, "a", "b")
    return Promotion(name, "m", None, state, (change,), "ana", NOW)


async def test_a_dataset_is_found_by_id_by_name_and_by_hash(store: Store) -> None:
    old, new, other = version("a", "1a"), version("a", "2b", 5), version("b", "3c", 1)
    for each in (new, old, other, old):  # the same version again changes nothing
        await store.datasets.add(each)
    assert await store.datasets.get(old.id) == old
    assert await store.datasets.get("a") == new
    assert await store.datasets.get("3c3c3c") == other
    assert await store.datasets.get("3c3c3") is None
    assert await store.datasets.get("b@9") is None
    assert await store.datasets.get("%") is None
    assert await store.datasets.page() == [new, other, old]


async def test_model_numbers_are_never_given_twice(store: Store) -> None:
    await store.models.add(Model("sophia-v2", ModelKind.BASE, "b", NOW))
    given = await asyncio.gather(*(store.models.next_id() for _ in range(8)))
    assert sorted(given) == [f"sophia-v{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)]
    assert await store.models.next_id("other") == "other-v1"


async def test_a_model_comes_back_and_changes(store: Store) -> None:
    model = Model("m", ModelKind.ADAPTER, "base", NOW, path="/runs/x/adapter")
    await store.models.add(model)
    assert await store.models.get("m") == model
    changed = await store.models.update("m", evaluation={"loss": 1.0})
    assert changed == replace(model, evaluation={"loss": 1.0}, version=2)
    with pytest.raises(ConflictError):
        await store.models.add(model)
    with pytest.raises(NotFoundError):
        await store.models.update("none", path="x")
    with pytest.raises(InternalError):
        await store.models.update("m", nonsense=1)


async def test_only_one_promotion_is_pending_at_a_time(store: Store) -> None:
    first = promotion("p1")
    await store.promotions.add(first)
    assert await store.promotions.get("p1") == first
    with pytest.raises(ConflictError) as caught:
        await store.promotions.add(promotion("p2"))
    assert caught.value.code == "SOPHIA-P409"
    done = await store.promotions.update("p1", state=PromotionState.DONE, finished_at=NOW)
    assert done == replace(first, state=PromotionState.DONE, finished_at=NOW)
    await store.promotions.add(promotion("p2"))
    assert {each.id for each in await store.promotions.page()} == {"p1", "p2"}
    with pytest.raises(NotFoundError):
        await store.promotions.update("none", notes={"a": 1})


async def test_the_changes_of_a_promotion_can_be_completed(store: Store) -> None:
    first = promotion("p1")
    await store.promotions.add(first)
    completed = tuple(replace(each, snapshot="/snap") for each in first.changes)
    changed = await store.promotions.update("p1", changes=completed, notes={"probe": "skipped"})
    assert (changed.changes, changed.notes) == (completed, {"probe": "skipped"})


async def test_a_setting_is_set_replaced_and_forgotten(store: Store) -> None:
    await store.settings.set("A", "1", "ana")
    await store.settings.set("A", "2", "bia")
    await store.settings.set("B", "3", "bia")
    assert await store.settings.all() == {"A": "2", "B": "3"}
    await store.settings.set("A", None, "ana")
    assert await store.settings.all() == {"B": "3"}


async def test_the_audit_is_read_newest_first(store: Store) -> None:
    entries = [
        AuditEntry(NOW, "ana", "cli", "admin", f"a.{n}", None, {"n": n}, "done", None, 0.5)
        for n in range(3)
    ]
    for each in entries:
        await store.audit.add(each)
    assert await store.audit.page() == entries[::-1]
    assert await store.audit.page(limit=1, offset=1) == [entries[1]]


async def test_the_operations_tell_where_the_store_is(settings: Settings, paths: Paths) -> None:
    service = StoreService(PostgresAdmin(settings, paths))
    context = Context(actor="ana", face=Face.CLI, role=Role.ADMIN)
    for ask in (service.status, service.start, service.migrate):
        view = await ask(context, NoInput())
        assert (view.kind, view.running) == ("server", True)
        assert view.schema_version == view.program_version
        assert "***" in view.where


def test_a_store_that_is_up_to_date_opens_without_the_migration_library(store_url: str) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from sophia_tui.paths import Paths\n"
        "from sophia_tui.settings import load\n"
        "from sophia_tui.store.own import open_store\n"
        "async def main():\n"
        "    settings = load({'DATABASE_URL': sys.stdin.read()})\n"
        "    store = await open_store(settings, Paths(pathlib.Path('/nonexistent')))\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
        "print([n for n in ('alembic', 'sqlalchemy') if n in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=store_url, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


async def test_a_process_that_ends_starts_no_server_again(reachable: Path) -> None:
    """Who ends the server may end this process too: a session that is closed, a shutdown."""
    paths = Paths(reachable)
    store = await own.open_store(Settings(), paths)
    server = EmbeddedServer(paths.postgres)
    try:
        assert await store.ping() > 0
        store.leave()
        assert await store.ping() > 0  # what is open may be used
        await server.stop()
        (paths.postgres / "stopped").unlink(missing_ok=True)  # as if the system had ended it
        with pytest.raises(UnavailableError):
            await store.ping()
        assert not server.alive()
    finally:
        await store.close()
        await server.stop()


async def test_what_happened_since_is_counted_without_ones_own_changes(store: Store) -> None:
    def entry(actor: str, operation: str, outcome: str = "done", minutes: int = 0) -> AuditEntry:
        at = NOW + timedelta(minutes=minutes)
        return AuditEntry(at, actor, "cli", "admin", operation, None, {}, outcome)

    for each in (
        entry("ana", "settings.set"),
        entry("bia", "settings.set"),
        entry("bia", "prepare.run", "queued"),
        entry("bia", "promote.run"),
        entry("bia", "settings.set", "refused"),
        entry("caio", "settings.set", minutes=-1),
    ):
        await store.audit.add(each)
    done = replace(promotion("p-1", PromotionState.DONE), finished_at=NOW)
    await store.promotions.add(done)
    scheduled = {"asked": {"face": "worker"}}
    back = replace(done, id="p-2", model_id="old", created_by="bia", rolls_back="p-1")
    found = await store.audit.happened_since(NOW, "ana")
    assert found == [Happened("changed", "bia", 2)]
    await store.promotions.add(back)
    await store.promotions.add(replace(done, id="p-3", model_id="n", notes=scheduled))
    found = await store.audit.happened_since(NOW, "ana")
    assert found == [
        Happened("returned", "old", 1, "old"),
        Happened("promoted", "n", 1, "n"),
        Happened("changed", "bia", 2),
    ]


async def test_a_moment_is_another_once_anything_but_a_beat_was_written(store: Store) -> None:
    worker = Claimer("here:1:a", "here", "/data", ("training",), 1)

    async def same_after(write: Callable[[], Awaitable[Any]]) -> bool:
        before, _milliseconds = await store.moment()
        await write()
        return (await store.moment())[0] == before

    async def nothing() -> None: ...

    async def beat() -> None:
        await store.jobs.beat(worker, 1)

    async def hindered() -> None:
        await store.jobs.beat(worker, 1, {"why": "no room"})

    async def setting() -> None:
        await store.settings.set("LOG_LEVEL", "info", "ana")

    assert not await same_after(beat)  # a worker that was not there
    # the server writes by itself, too, now and then
    assert any([await same_after(nothing) for _time in range(20)])
    assert any([await same_after(beat) for _time in range(20)])
    assert not await same_after(hindered)
    assert not await same_after(setting)
