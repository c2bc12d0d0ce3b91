"""Promotion: the plan, the files whole or not at all, the record, the way back, the crash."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui import envfile, settings
from sophia_tui.domain.calendar import Listing
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import Model, ModelKind, PromotionState
from sophia_tui.domain.promotions import Answerer, HealthLook, Outside
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import ChatAnswer, Deployment, DeploymentState, Probe
from sophia_tui.errors import ConflictError, NotFoundError, PromotionError, SophiaError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services import managed_env
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.prices import Prices, load_prices
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_views import PromoteRollback, PromoteRun
from sophia_tui.services.views import Page

ENV = (
    "# the assistant's settings\n"
    "DB_PASSWORD='s3cr3t # not a comment'\n"
    "export GEN_MODEL=gpt-4o-mini\n"
    'EXPANSION_MODEL="gpt-4o-mini"\n'
    "RERANK_MODEL=gpt-4o-mini\n"
    "FINETUNE_BASE=gpt-4o-mini\n"
    "OTHER=untouched value\r\n"
)


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class World:
    """What a promotion asks outside: every model answers, every health address is well. What the
    real ones do is shown by test_promotion_probe and test_promotion_health."""

    def __init__(self) -> None:
        #: Names that answer nothing.
        self.dead: set[str] = set()
        #: Golden prompts as they were asked: name and question.
        self.asked: list[tuple[str, str]] = []
        #: What answers them, and looks at health addresses, where a test has its own.
        self.answers: Answerer | None = None
        self.looks: HealthLook | None = None

    async def probe(
        self, base_url: str | None, api_key: str | None, model: str, seconds: float
    ) -> Probe:
        return Probe(model not in self.dead, "http://models.test/v1", "dead", seconds=0.1)

    async def answer(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        question: str,
        most_tokens: int,
        seconds: float,
    ) -> ChatAnswer:
        if self.answers is not None:
            return await self.answers(base_url, api_key, model, question, most_tokens, seconds)
        self.asked.append((model, question))
        return ChatAnswer("Yes.", 0.1)

    async def look(self, url: str, seconds: float) -> str:
        return "" if self.looks is None else await self.looks(url, seconds)

    @property
    def outside(self) -> Outside:
        return Outside(self.probe, self.answer, self.look)


class Bench:
    """A service with one known model and one env file."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.file = folder / "app.env"
        self.file.write_text(ENV, newline="")
        self.file.chmod(0o640)
        self.history = folder / "history.jsonl"
        chosen = settings.load(
            {
                "SOPHIA_MANAGED_ENV_FILES": str(self.file),
                "FINETUNE_HISTORY": str(self.history),
                "OPENAI_BASE_URL": "http://models.test/v1",
            }
        )
        self.world = World()
        paths = Paths(folder / "data")

        async def the_store() -> Store:
            return store

        async def lister(
            base_url: str | None, api_key: str | None, names: Sequence[str], seconds: float
        ) -> Listing:
            raise AssertionError("a promotion asks no provider for its list")

        def prices() -> Prices:
            return load_prices(chosen, paths)

        calendar = CalendarService(the_store, chosen, Clock(), prices, ManagedEnv(), lister)
        self.service = PromoteService(
            store, chosen, paths, Clock(), self.world.outside, calendar=calendar
        )

    def context(self, dry_run: bool = False) -> Context:
        return Context("maria", Face.CLI, Role.ADMIN, dry_run=dry_run, confirmed=True)

    async def promote(self, model: str = "sophia-v1", dry_run: bool = False, **more: Any):  # type: ignore[no-untyped-def]
        return await self.service.run(self.context(dry_run), PromoteRun(model=model, **more))

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.history.read_text().splitlines()]


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> Bench:
    for name in ("sophia-v1", "sophia-v2"):
        await store.models.add(
            Model(name, ModelKind.ADAPTER, "base", datetime.now(UTC), job_id=None, path="/x")
        )
    return Bench(store, tmp_path)


async def test_changes_every_key_that_named_the_previous_model_and_nothing_else(
    bench: Bench,
) -> None:
    view = await bench.promote()
    assert bench.file.read_bytes().decode() == (
        ENV.replace("GEN_MODEL=gpt-4o-mini", "GEN_MODEL=sophia-v1")
        .replace('EXPANSION_MODEL="gpt-4o-mini"', 'EXPANSION_MODEL="sophia-v1"')
        .replace("RERANK_MODEL=gpt-4o-mini", "RERANK_MODEL=sophia-v1")
    )
    assert view.previous_model == "gpt-4o-mini"
    assert view.state == "done"
    [line] = bench.lines()
    assert (line["kind"], line["model"], line["by"]) == ("promotion", "sophia-v1", "maria")
    [row] = await bench.store.promotions.page(10)
    assert row.state is PromotionState.DONE


async def test_a_served_name_is_promoted_and_the_model_behind_it_recorded(bench: Bench) -> None:
    made = await bench.store.models.get("sophia-v1")
    assert made is not None
    served = Deployment(
        "deployment-1", made.id, "ada", "llamacpp", DeploymentState.READY, "maria", made.created_at
    )
    await bench.store.deployments.add(served)
    bench.world.dead.add(made.id)
    with pytest.raises(SophiaError) as caught:
        await bench.promote()
    assert caught.value.code == "SOPHIA-P012" and "sophia promote ada" in caught.value.remedy
    view = await bench.promote(model="ada")
    assert (view.model, view.state) == ("sophia-v1", "done")
    assert envfile.values(bench.file.read_text())["GEN_MODEL"] == "ada"


async def test_the_plan_shows_only_changed_lines_and_writes_nothing(bench: Bench) -> None:
    view = await bench.promote(dry_run=True)
    assert view.files[0].diff == [
        "-export GEN_MODEL=gpt-4o-mini",
        '-EXPANSION_MODEL="gpt-4o-mini"',
        "-RERANK_MODEL=gpt-4o-mini",
        "+export GEN_MODEL=sophia-v1",
        '+EXPANSION_MODEL="sophia-v1"',
        "+RERANK_MODEL=sophia-v1",
    ]
    assert "s3cr3t" not in view.model_dump_json()
    assert bench.file.read_bytes().decode() == ENV
    assert not bench.history.exists()
    assert await bench.store.promotions.page(10) == []


async def test_rollback_restores_the_file_byte_for_byte(bench: Bench) -> None:
    odd = ENV + "GEN_MODEL='first' # twice\r\nGEN_MODEL=gpt-4o-mini # last\n"
    bench.file.write_text(odd, newline="")
    await bench.promote()
    view = await bench.service.rollback(bench.context(), PromoteRollback())
    assert bench.file.read_bytes().decode() == odd
    assert view.model == "gpt-4o-mini"
    assert [line["kind"] for line in bench.lines()] == ["promotion", "rollback"]
    states = {each.state for each in await bench.store.promotions.page(10)}
    assert states == {PromotionState.DONE, PromotionState.ROLLED_BACK}


async def test_mode_owner_and_link_stay(bench: Bench, tmp_path: Path) -> None:
    link = tmp_path / "link.env"
    link.symlink_to(bench.file)
    await bench.service.run(bench.context(), PromoteRun(model="sophia-v1", env_file=[str(link)]))
    assert link.is_symlink()
    assert bench.file.stat().st_mode & 0o7777 == 0o640
    assert "GEN_MODEL=sophia-v1" in bench.file.read_text()


async def test_a_second_file_that_fails_puts_the_first_one_back(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "worker.env"
    second.write_text("GEN_MODEL=gpt-4o-mini\n")
    real = managed_env.write_env

    def failing(change):  # type: ignore[no-untyped-def]
        if change.path == str(second):
            raise OSError(28, "No space left on device")
        real(change)

    monkeypatch.setattr(managed_env, "write_env", failing)
    request = PromoteRun(model="sophia-v1", env_file=[str(bench.file), str(second)])
    with pytest.raises(PromotionError) as caught:
        await bench.service.run(bench.context(), request)
    assert caught.value.code == "SOPHIA-P002"
    assert bench.file.read_bytes().decode() == ENV
    [row] = await bench.store.promotions.page(10)
    assert row.state is PromotionState.UNDONE


@pytest.mark.parametrize("breaks", ["history", "store"])
async def test_a_record_that_fails_puts_the_files_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    if breaks == "history":
        bench.history.mkdir()
    else:

        async def failing(*_given: object, **_more: object) -> None:
            raise OSError("gone")

        monkeypatch.setattr(bench.store.promotions, "finish", failing)
    with pytest.raises(PromotionError):
        await bench.promote()
    assert bench.file.read_bytes().decode() == ENV
    if breaks == "store":
        assert [line["kind"] for line in bench.lines()] == ["promotion", "promotion_undone"]


async def test_refuses_what_can_not_be_done(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await bench.promote("sophia-v99")
    assert unknown.value.code == "SOPHIA-M404"
    with pytest.raises(NotFoundError) as missing:
        await bench.service.run(
            bench.context(), PromoteRun(model="sophia-v1", env_file=[str(tmp_path / "none.env")])
        )
    assert missing.value.code == "SOPHIA-P406"
    bench.file.chmod(0o440)
    with pytest.raises(PromotionError):
        await bench.promote()
    assert bench.file.read_bytes().decode() == ENV
    bench.file.chmod(0o640)
    await bench.promote()
    with pytest.raises(ConflictError) as again:
        await bench.promote()
    assert again.value.code == "SOPHIA-P003"
    bench.file.write_text("GEN_MODEL=other\nEXPANSION_MODEL=sophia-v1\nRERANK_MODEL=sophia-v1\n")
    with pytest.raises(ConflictError) as changed:
        await bench.service.rollback(bench.context(), PromoteRollback())
    assert changed.value.code == "SOPHIA-P004"


async def test_without_managed_files_it_says_what_to_set(store: Store, tmp_path: Path) -> None:
    bench = Bench(store, tmp_path)
    await store.models.add(Model("m", ModelKind.ADAPTER, "base", datetime.now(UTC)))
    service = PromoteService(
        store, settings.load({}), Paths(tmp_path), Clock(), bench.world.outside
    )
    with pytest.raises(UsageError) as caught:
        await service.run(bench.context(), PromoteRun(model="m"))
    assert "SOPHIA_MANAGED_ENV_FILES" in caught.value.remedy


async def test_history_lists_newest_first(bench: Bench) -> None:
    await bench.promote("sophia-v1")
    await bench.promote("sophia-v2")
    listed = await bench.service.page(bench.context(), Page())
    assert [each.model for each in listed.items] == ["sophia-v2", "sophia-v1"]
    second = await bench.service.page(bench.context(), Page(limit=1, offset=1))
    assert [each.model for each in second.items] == ["sophia-v1"]


async def test_two_promotions_at_once_one_is_refused(bench: Bench) -> None:
    async with bench.service._lock.held():
        with pytest.raises(ConflictError) as caught:
            await bench.promote()
    assert caught.value.code == "SOPHIA-P008"
    assert bench.file.read_bytes().decode() == ENV


async def test_a_rollback_is_written_where_the_promotion_was(bench: Bench, tmp_path: Path) -> None:
    own = tmp_path / "own-history.jsonl"
    request = PromoteRun(model="sophia-v1", history=str(own))
    await bench.service.run(bench.context(), request)
    await bench.service.rollback(bench.context(), PromoteRollback())
    kinds = [json.loads(line)["kind"] for line in own.read_text().splitlines()]
    assert kinds == ["promotion", "rollback"]
    assert not bench.history.exists()


async def test_rollback_keeps_what_others_changed_since(bench: Bench) -> None:
    await bench.promote()
    bench.file.write_text(bench.file.read_text() + "ADDED=since\n")
    await bench.service.rollback(bench.context(), PromoteRollback())
    after = envfile.values(bench.file.read_text())
    assert after == {**envfile.values(ENV), "ADDED": "since"}


async def test_what_only_refers_to_another_key_is_left_alone(bench: Bench) -> None:
    bench.file.write_text("GEN_MODEL=a\nEXPANSION_MODEL=${GEN_MODEL}\nOTHER_MODEL=$GEN_MODEL\n")
    view = await bench.promote()
    assert bench.file.read_text() == (
        "GEN_MODEL=sophia-v1\nEXPANSION_MODEL=${GEN_MODEL}\nOTHER_MODEL=$GEN_MODEL\n"
    )
    assert view.previous_model == "a"


async def test_pipes_devices_and_folders_are_refused(bench: Bench, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.env"
    os.mkfifo(pipe)
    folder = tmp_path / "folder.env"
    folder.mkdir()
    for odd in (pipe, folder):
        with pytest.raises(PromotionError) as caught:
            await bench.service.run(
                bench.context(), PromoteRun(model="sophia-v1", env_file=[str(odd)])
            )
        assert caught.value.code == "SOPHIA-P011"
    assert pipe.is_fifo()


async def test_a_file_and_a_link_to_it_are_one_file(bench: Bench, tmp_path: Path) -> None:
    link = tmp_path / "link.env"
    link.symlink_to(bench.file)
    view = await bench.service.run(
        bench.context(), PromoteRun(model="sophia-v1", env_file=[str(bench.file), str(link)])
    )
    assert [each.path for each in view.files] == [str(bench.file)]


LEGACY = "OPENAI_MODEL=gpt-4o-mini\nFALLBACK_MODEL=gpt-3.5-turbo\nFINETUNE_BASE=gpt-4o-mini\n"


async def test_replaces_changes_every_key_that_names_the_old_model_and_adds_none(
    bench: Bench, tmp_path: Path
) -> None:
    bench.file.write_text(LEGACY)
    second = tmp_path / "worker.env"
    second.write_text("CHAT=gpt-4o-mini\nEMBEDDING_MODEL=own-embedder\n")
    request: dict[str, Any] = {
        "replaces": ["gpt-4o-mini"],
        "env_file": [str(bench.file), str(second)],
    }
    plan = await bench.promote(dry_run=True, **request)
    view = await bench.promote(**request)
    assert bench.file.read_text() == LEGACY.replace(
        "OPENAI_MODEL=gpt-4o-mini", "OPENAI_MODEL=sophia-v1"
    )
    assert second.read_text() == "CHAT=sophia-v1\nEMBEDDING_MODEL=own-embedder\n"
    assert view.previous_model == "gpt-4o-mini"
    changed = [(each.file, each.key, each.before, each.after) for each in view.keys]
    assert changed == [
        (str(bench.file), "OPENAI_MODEL", "gpt-4o-mini", "sophia-v1"),
        (str(second), "CHAT", "gpt-4o-mini", "sophia-v1"),
    ]
    for notes in (plan.notes, view.notes):
        [left] = [each for each in notes if "goes on naming" in each]
        assert "FALLBACK_MODEL" in left and "own-embedder" not in left
        assert "`sophia promote sophia-v1 --replaces gpt-3.5-turbo`" in left
    again = await bench.promote(replaces=["gpt-3.5-turbo"], env_file=request["env_file"])
    assert [each.key for each in again.keys] == ["FALLBACK_MODEL"]
    assert not any("goes on naming" in each for each in again.notes)
    with pytest.raises(ConflictError, match="P003"):  # no GEN_MODEL is added the second time either
        await bench.promote(**request)
    await bench.service.rollback(bench.context(), PromoteRollback(before=view.id))
    assert bench.file.read_text() == LEGACY


async def test_what_replaces_names_changes_beside_what_changes_anyway(bench: Bench) -> None:
    bench.file.write_text("GEN_MODEL=first\nRERANK_MODEL=first\nOPENAI_MODEL=second\n")
    await bench.promote(replaces=["second"])
    assert set(envfile.values(bench.file.read_text()).values()) == {"sophia-v1"}


async def test_keys_that_are_left_alone_are_told_where_the_usual_ones_are_added(
    bench: Bench,
) -> None:
    bench.file.write_text(LEGACY)
    view = await bench.promote()
    assert bench.file.read_text().startswith(LEGACY)
    told = [each for each in view.notes if "goes on naming" in each]
    assert [("gpt-4o-mini (OPENAI_MODEL)" in each, "gpt-3.5-turbo" in each) for each in told] == [
        (True, False),
        (False, True),
    ]
    assert {each.before for each in view.keys} == {None}


async def test_a_price_file_that_can_not_be_used_stops_no_promotion(bench: Bench) -> None:
    broken = bench.folder / "prices.toml"
    broken.write_text("not toml")
    chosen = bench.service._settings
    bench.service._calendar._prices = lambda: load_prices(  # type: ignore[union-attr]
        chosen.model_copy(update={"prices_file": str(broken)}), Paths(bench.folder / "data")
    )
    view = await bench.promote()
    assert view.state == "done" and any("is not known" in each for each in view.notes)
