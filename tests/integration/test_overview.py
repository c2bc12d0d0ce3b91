"""Overview over a real store: each stage from nothing to done, and the next step that it names."""

import asyncio
import os
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobEvent, JobKind
from sophia_tui.domain.models import (
    AuditEntry,
    Evaluation,
    FileChange,
    Model,
    ModelKind,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.protocols import ColumnReport, Store, TableReport
from sophia_tui.domain.serving import Deployment, DeploymentState, ServedRequest
from sophia_tui.errors import UnavailableError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services import overview, stages
from sophia_tui.services.calendar_views import CalendarEntry, CalendarView, UnreadFile
from sophia_tui.services.overview import OverviewRequest, OverviewService, OverviewView
from sophia_tui.services.views import KIND_WORDS
from sophia_tui.settings import Settings
from sophia_tui.tui import words
from sophia_tui.tui.screens.overview import board

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)
LOOKING = Context("ana", Face.CONSOLE, Role.VIEWER)
EVALUATION = {"before": {"perplexity": 12.0}, "after": {"perplexity": 6.0}}


class Clock:
    def now(self) -> datetime:
        return NOW


class ReadySource:
    async def inspect(self) -> list[TableReport]:
        column = ColumnReport("question", "text", True, True)
        return [TableReport("qa", "public.qa", "table", True, 10, (column,))]

    async def close(self) -> None:
        """Nothing to let go of."""


async def ready() -> Any:
    return ReadySource()


async def hanging() -> Any:
    await asyncio.sleep(3600)


async def broken() -> Any:
    raise UnavailableError("D501", "The source does not answer.")


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is a look; what is kept from the one before has a test of its own."""
    monkeypatch.setattr(overview, "UNCHANGED_SECONDS", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "finetune"
    made.mkdir()
    return made


@pytest.fixture
def chosen(settings: Settings, folder: Path) -> Settings:
    env = folder / "rag.env"
    return settings.model_copy(update={"finetune_dir": str(folder), "managed_env_files": str(env)})


def service(store: Store, settings: Settings, paths: Paths, source: Any = ready) -> OverviewService:
    return OverviewService(store, source, settings, paths, Clock())


async def look(made: OverviewService) -> OverviewView:
    return await made.show(LOOKING, OverviewRequest())


def collect_one(folder: Path, at: datetime) -> None:
    path = folder / "qa_cache.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n')
    os.utime(path, (at.timestamp(), at.timestamp()))


async def prepare_one(store: Store, at: datetime) -> DatasetVersion:
    counts = {"rows_in": 12, "rows_kept": 10, "rows_rejected": 2, "train": 9, "valid": 1}
    version = DatasetVersion("ground", "ab" * 32, "/datasets/x", counts, {}, "ana", at)
    await store.datasets.add(version)
    return version


def training(state: str, at: datetime, **changes: Any) -> Job:
    given: dict[str, Any] = {
        "id": "ftjob-aaaaaaaaaaaa",
        "kind": JobKind.TRAIN,
        "state": state,
        "base": "/models/base",
        "dataset": "ground@abababababab",
        "request": {},
        "created_by": "ana",
        "created_at": at,
    }
    return Job(**{**given, **changes})


async def serve(store: Store, model: str, state: str = "ready") -> None:
    made = Deployment(
        "deploy-1", model, model, "transformers", DeploymentState(state), "ana", NOW, ready_at=NOW
    )
    await store.deployments.add(made)


async def ask(store: Store, seconds: float, minutes_ago: float, failed: int = 0) -> None:
    """100 requests for sophia-v1, so many of them failed."""
    at = NOW - timedelta(minutes=minutes_ago)
    await store.traffic.add(
        [
            ServedRequest(at, "sophia-v1", 502 if number < failed else 200, seconds)
            for number in range(100)
        ]
    )


def stage(view: OverviewView, name: str) -> Any:
    return next(each for each in view.stages if each.stage == name)


def test_every_kind_of_job_has_a_word() -> None:
    assert {kind.value for kind in JobKind} <= set(KIND_WORDS)


async def test_an_empty_house_says_collect_first(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    view = await look(service(store, chosen, paths))
    names = [each.stage for each in view.stages]
    assert names == ["collect", "prepare", "train", "evaluate", "promote", "monitor"]
    assert {each.health for each in view.stages} <= {"empty", "unknown"}
    assert view.next.operation == "collect.run"
    assert view.store_milliseconds > 0


async def test_collected_files_newer_than_the_version_ask_for_prepare(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    await prepare_one(store, NOW - timedelta(hours=2))
    collect_one(folder, NOW - timedelta(hours=1))
    view = await look(service(store, chosen, paths))
    assert (view.next.operation, view.next.command) == ("prepare.run", "sophia prepare")
    assert stage(view, "prepare").health == "attention"
    assert stage(view, "prepare").blocked


async def test_the_journal_of_jobs_is_no_collected_file(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    (folder / "history.jsonl").write_text("{}\n")
    view = await look(service(store, chosen, paths))
    assert stage(view, "collect").health == "empty"


async def test_a_version_not_trained_on_asks_for_training_with_it(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    collect_one(folder, NOW - timedelta(hours=2))
    version = await prepare_one(store, NOW - timedelta(hours=1))
    view = await look(service(store, chosen, paths))
    assert view.next.operation == "train.start"
    assert view.next.request == {"dataset": version.id}
    assert stage(view, "prepare").health == "ok"


async def test_a_waiting_job_is_shown_with_its_losses(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    collect_one(folder, NOW - timedelta(hours=2))
    await prepare_one(store, NOW - timedelta(hours=1))
    job = training("queued", NOW)
    await store.jobs.add(job)
    events = [
        JobEvent(job.id, 1, NOW, "state", {"state": "running"}),
        JobEvent(job.id, 2, NOW, "metric", {"step": 1, "loss": 3.0}),
        JobEvent(job.id, 3, NOW, "metric", {"step": 2, "loss": 2.0}),
    ]
    await store.jobs.append_events(job.id, events, 100)
    view = await look(service(store, chosen, paths))
    assert [each.losses for each in view.running] == [[3.0, 2.0]]
    assert view.running[0].steps_per_minute is None  # it waits
    assert (view.next.operation, view.next.request) == ("jobs.show", {"job": job.id})


def test_what_runs_goes_before_what_waits_behind_it() -> None:
    running = training("running", NOW - timedelta(hours=1), step=31, total_steps=50)
    queued = replace(training("queued", NOW), id="ftjob-bbbbbbbbbbbb")
    standing = stages.Standing(
        now=NOW,
        source=stages.SourceState(configured=True, reached=True, usable=("qa",)),
        collected=stages.Collected(1, 10, NOW),
        jobs=((queued, "queued"), (running, "running")),
    )
    train = next(each for each in stages.all_stages(standing) if each.stage == "train")
    assert (train.figure, train.detail) == ("62 %", "running")
    assert stages.next_step(standing).request == {"job": running.id}
    assert [job.id for job, _state in standing.foremost] == [running.id, queued.id]


def test_figure_time_and_model_of_an_evaluation_belong_together() -> None:
    older, newer = NOW - timedelta(days=2), NOW - timedelta(hours=1)
    models = tuple(
        Model(name, ModelKind.ADAPTER, "/models/base", older, evaluation=EVALUATION)
        for name in ("sophia-v2", "sophia-v1")
    )
    second = {"before": {"perplexity": 9.0}, "after": {"perplexity": 4.0}}
    standing = stages.Standing(
        now=NOW,
        source=stages.SourceState(configured=True, reached=True, usable=("qa",)),
        collected=stages.Collected(1, 10, NOW),
        models=models,
        evaluations=(
            Evaluation("ftjob-c", "base", None, {"before": {"perplexity": 9.0}}, NOW),
            Evaluation("ftjob-b", "sophia-v1", None, second, newer),
            Evaluation("ftjob-a", "sophia-v2", None, EVALUATION, older),
        ),
    )
    told = next(each for each in stages.all_stages(standing) if each.stage == "evaluate")
    assert (told.figure, told.at) == ("9.0 > 4.0", newer)
    assert told.detail == "sophia-v1, perplexity"


def _standing(*jobs: tuple[Job, str]) -> stages.Standing:
    return stages.Standing(
        now=NOW,
        source=stages.SourceState(configured=True, reached=True, usable=("qa",)),
        collected=stages.Collected(1, 10, NOW),
        jobs=jobs,
    )


def _train_of(standing: stages.Standing) -> stages.StageView:
    return next(each for each in stages.all_stages(standing) if each.stage == "train")


def test_a_draft_does_not_hide_a_training_that_was_cut_off() -> None:
    draft = replace(training("draft", NOW), id="ftjob-bbbbbbbbbbbb")
    cut_off = training("running", NOW - timedelta(hours=1), step=180, total_steps=300)
    other = replace(training("succeeded", NOW), id="ftjob-cccccccccccc", kind=JobKind.EVALUATE)
    for jobs in (
        ((draft, "draft"), (cut_off, "interrupted")),
        ((draft, "draft"), (other, "succeeded"), (cut_off, "interrupted")),
    ):
        train = _train_of(_standing(*jobs))
        assert (train.health, train.figure) == ("attention", "interrupted")
        assert cut_off.id in train.blocked
        step = stages.next_step(_standing(*jobs))
        assert (step.operation, step.request) == ("jobs.resume", {"job": cut_off.id})


def test_a_draft_alone_is_no_training_and_a_failure_after_success_no_problem() -> None:
    draft = training("draft", NOW)
    failed = replace(training("failed", NOW), id="ftjob-bbbbbbbbbbbb")
    before = replace(training("succeeded", NOW), id="ftjob-cccccccccccc")
    for jobs, told in (
        (((draft, "draft"),), ("empty", "draft")),
        (((draft, "draft"), (failed, "failed")), ("problem", "failed")),
        (((failed, "failed"), (before, "succeeded")), ("attention", "failed")),
        (((draft, "draft"), (before, "succeeded")), ("ok", "succeeded")),
    ):
        train = _train_of(_standing(*jobs))
        assert (train.health, train.figure) == told


async def test_a_failed_job_is_a_problem_and_its_log_the_next_step(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    await store.jobs.add(training("failed", NOW, finished_at=NOW))
    view = await look(service(store, chosen, paths))
    assert stage(view, "train").health == "problem"
    assert view.next.operation == "jobs.log"
    assert [each.health for each in view.lately] == ["problem"]


async def test_after_training_comes_evaluation_then_serving_then_promotion_then_rest(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    collect_one(folder, NOW - timedelta(hours=3))
    version = await prepare_one(store, NOW - timedelta(hours=2))
    at = NOW - timedelta(hours=1)
    await store.jobs.add(training("succeeded", at, finished_at=at, resulting_model="sophia-v1"))
    model = Model(
        "sophia-v1", ModelKind.ADAPTER, "/models/base", at, "ftjob-aaaaaaaaaaaa", version.id
    )
    await store.models.add(model)
    made = service(store, chosen, paths)
    assert (await look(made)).next.operation == "evaluate.run"
    await store.models.update("sophia-v1", evaluation=EVALUATION)
    view = await look(made)
    # a promotion asks whether the model answers, so it is served first
    assert (view.next.operation, view.next.request) == ("serve.model", {"model": "sophia-v1"})
    assert stage(view, "evaluate").figure == "12.0 > 6.0"
    merged = Model("sophia-v1-merged", ModelKind.MERGED, "base", NOW, model.job_id, None, "/m")
    await store.models.add(replace(merged, parent="sophia-v1"))
    await serve(store, "sophia-v1-merged")
    assert (await look(made)).next.request == {"model": "sophia-v1"}
    assert (await look(made)).next.operation == "promote.run"
    promotion = Promotion("promo-1", "sophia-v1", None, PromotionState.DONE, (), "ana", NOW)
    await store.promotions.add(promotion)
    view = await look(made)
    assert view.next.operation == "collect.run"
    assert stage(view, "promote").figure == "sophia-v1"
    assert [(each.model, each.served_as) for each in view.models] == [
        ("sophia-v1-merged", ["sophia-v1-merged"]),
        ("sophia-v1", []),
    ]
    await ask(store, 2.4, 5)
    view = await look(made)
    assert view.next.operation == "monitor.show"
    assert "the target is 2 s" in view.next.text


async def test_a_house_that_serves_nothing_says_so(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    found = stage(await look(service(store, chosen, paths)), "monitor")
    assert (found.health, found.figure) == ("empty", "not served")
    assert "sophia serve model" in found.blocked


@pytest.mark.parametrize(
    ("seconds", "minutes_ago", "failed", "health", "figure", "detail"),
    [
        (1.2, 5, 0, "ok", "p95 1.2 s", "0 % errors"),
        (1.2, 300, 1, "ok", "p95 1.2 s", "1 % errors"),
        (2.4, 5, 0, "attention", "slow", "p95 2.4 s"),
        (1.2, 5, 3, "attention", "failing", "3 % errors"),
        (1.2, 1500, 3, "ok", "no requests", "in 24 hours"),
    ],
)
async def test_the_monitor_stage_shows_the_last_hours_figures_and_what_misses_its_target(
    store: Store,
    chosen: Settings,
    paths: Paths,
    seconds: float,
    minutes_ago: float,
    failed: int,
    health: str,
    figure: str,
    detail: str,
) -> None:
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW))
    await serve(store, "sophia-v1")
    await ask(store, seconds, minutes_ago, failed)
    found = stage(await look(service(store, chosen, paths)), "monitor")
    assert (found.health, found.figure, found.detail) == (health, figure, detail)
    assert bool(found.blocked) == (health == "attention")


async def test_a_target_of_the_settings_counts(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW))
    await serve(store, "sophia-v1")
    await ask(store, 2.4, 5, 3)
    patient = {"targets": "latency<3, errors<0.05"}
    found = await look(service(store, chosen.model_copy(update=patient), paths))
    assert stage(found, "monitor").health == "ok"


async def test_figures_of_an_engine_that_is_gone_are_shown_with_that(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    await ask(store, 1.0, 5)
    found = stage(await look(service(store, chosen, paths)), "monitor")
    assert (found.health, found.figure) == ("attention", "p95 1.0 s")
    assert "No served model is ready now." in found.blocked


async def test_a_time_without_zone_is_read_in_the_zone_of_the_settings(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    await store.jobs.add(training("failed", NOW, finished_at=NOW))
    made = service(store, chosen, paths)
    # 14:00 in UTC is 11:00 in São Paulo
    before = OverviewRequest(since=datetime(2026, 11, 21, 10, 59))
    after = OverviewRequest(since=datetime(2026, 11, 21, 11, 1))
    assert len((await made.show(LOOKING, before)).lately) == 1
    assert (await made.show(LOOKING, after)).lately == []


async def test_since_one_left_others_changes_failed_engines_and_missed_targets_are_told(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    left = NOW - timedelta(hours=5)
    mine = AuditEntry(NOW, "ana", "cli", "admin", "prepare.run", None, {}, "done")
    for each in (
        mine,
        replace(mine, actor="maria"),
        replace(mine, actor="maria", outcome="refused"),
        replace(mine, actor="maria", at=left - timedelta(minutes=1)),
    ):
        await store.audit.add(each)
    await store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", NOW))
    await serve(store, "sophia-v1")
    await store.deployments.update("deploy-1", state="failed", stopped_at=NOW - timedelta(hours=1))
    await ask(store, 2.4, 120)
    made = service(store, chosen, paths)
    view = await made.show(LOOKING, OverviewRequest(since=left))
    assert (view.since, view.by_others, view.happened) == (left, 1, 2)
    assert [each.text.split(";")[0] for each in view.lately] == [
        "Meanwhile: One answer in twenty takes longer than 2.4 s",
        "serving sophia-v1: failed",
    ]
    later = await made.show(LOOKING, OverviewRequest(since=NOW - timedelta(minutes=30)))
    assert later.lately == []


async def test_models_in_managed_files_are_shown_with_their_keys(
    store: Store, chosen: Settings, paths: Paths, folder: Path
) -> None:
    (folder / "rag.env").write_text(
        "GEN_MODEL=sophia-v1\nEXPANSION_MODEL=gpt-4o-mini\nFINETUNE_BASE=x\nAPI_KEY=secret\n"
    )
    view = await look(service(store, chosen, paths))
    assert {each.model: each.used_as for each in view.models} == {
        "sophia-v1": ["GEN_MODEL"],
        "gpt-4o-mini": ["EXPANSION_MODEL"],
    }


async def test_a_source_that_hangs_holds_nothing_up(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    made = service(store, chosen, paths, hanging)
    async with asyncio.timeout(20):
        view = await look(made)
    assert stage(view, "collect").health == "unknown"


async def test_a_source_that_fails_is_named_and_the_check_is_the_next_step(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    view = await look(service(store, chosen, paths, broken))
    assert stage(view, "collect").health == "problem"
    assert "does not answer" in stage(view, "collect").blocked
    assert view.next.operation == "setup.check"


async def test_the_source_is_asked_once_in_ten_seconds(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    asked = 0

    async def counting() -> Any:
        nonlocal asked
        asked += 1
        return ReadySource()

    made = service(store, chosen, paths, counting)
    await look(made)
    await look(made)
    assert asked == 1


async def test_a_model_promoted_into_a_file_named_by_hand_is_shown_as_used(
    store: Store, chosen: Settings, paths: Paths, tmp_path: Path
) -> None:
    file = tmp_path / "by-hand.env"
    file.write_text("GEN_MODEL=sophia-v1\n")
    change = FileChange(str(file), {"GEN_MODEL": "old"}, {"GEN_MODEL": "sophia-v1"}, "", "")
    promotion = Promotion("promo-1", "sophia-v1", "old", PromotionState.DONE, (change,), "ana", NOW)
    await store.promotions.add(promotion)
    view = await look(service(store, chosen, paths))
    assert [(each.model, each.used_as) for each in view.models] == [("sophia-v1", ["GEN_MODEL"])]


async def test_a_look_brings_the_worker_back_that_a_job_waits_for(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    woken = []

    async def wake() -> None:
        woken.append(1)

    await store.jobs.add(training("queued", NOW))
    embedded = chosen.model_copy(update={"store_url": None})
    made = OverviewService(store, ready, embedded, paths, Clock(), wake)
    await look(made)  # by a viewer
    assert woken == []
    await made.show(Context("ana", Face.CONSOLE, Role.OPERATOR), OverviewRequest())
    assert woken == [1]


async def test_a_model_in_a_file_that_only_root_reads_is_the_one_that_was_promoted(
    store: Store, chosen: Settings, paths: Paths, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "/srv/of-another/rag.env"
    for number, model in enumerate(("sophia-v1", "sophia-v2")):
        change = FileChange(away, {}, {"GEN_MODEL": model, "FLAG": "on"}, "", "")
        at = NOW + timedelta(minutes=number)
        promotion = Promotion(
            f"p{number}", model, None, PromotionState.DONE, (change,), "maria", at, at
        )
        await store.promotions.add(promotion)
    made = service(store, chosen, paths)
    assert "sophia-v2" not in {each.model for each in (await look(made)).models if each.used_as}
    monkeypatch.setattr(overview, "_out_of_reach", lambda path: str(path) == away)
    view = await look(made)
    assert {each.model: each.used_as for each in view.models if each.used_as} == {
        "sophia-v2": ["GEN_MODEL"]
    }


def named(model: str, severity: str, state: str, command: str, **more: Any) -> CalendarEntry:
    told = f"{model} is {state}."
    given = {"file": "rag.env", "key": "GEN_MODEL", "use": "asked", "address": "https://x"}
    return CalendarEntry(
        model=model, state=state, severity=severity, told=told, command=command, **given, **more
    )


async def test_models_that_end_are_shown_and_one_that_is_gone_comes_first(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    soon = named(
        "gpt-4o",
        "warning",
        "ends",
        "sophia models succeed gpt-4o",
        ends=date(2027, 1, 14),
        days_left=49,
    )
    items = [soon]

    async def calendar() -> CalendarView:
        return CalendarView(
            now=NOW, bounds=[90], dates_as_of=NOW.date(), files=[], items=items, lists=[]
        )

    def opened() -> OverviewService:
        return OverviewService(store, ready, chosen, paths, Clock(), calendar=calendar)

    Path(chosen.managed_env_files).write_text("GEN_MODEL=gpt-4o\n")
    view = await look(opened())
    assert [(each.model, each.days_left) for each in view.endings] == [("gpt-4o", 49)]
    assert view.models[0].ends == datetime(2027, 1, 14, tzinfo=UTC)
    assert view.next.operation == "collect.run"
    gone = named("gpt-3.5-turbo", "error", "ended", "sophia models succeed gpt-3.5-turbo")
    items.insert(0, gone)
    view = await look(opened())
    assert (view.next.operation, view.next.request) == (
        "models.succeed",
        {"model": "gpt-3.5-turbo"},
    )
    assert view.next.text == "gpt-3.5-turbo is ended."


async def test_an_env_file_that_can_not_be_read_is_told(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    unread = UnreadFile(file="/x/rag.env", why="The env file /x/rag.env does not exist.")

    async def calendar() -> CalendarView:
        return CalendarView(
            now=NOW,
            bounds=[90],
            dates_as_of=NOW.date(),
            files=[],
            items=[],
            lists=[],
            unread=[unread],
        )

    view = await look(OverviewService(store, ready, chosen, paths, Clock(), calendar=calendar))
    assert view.unread == [unread] and view.endings == []
    assert unread.why in board(view, 100, NOW, words.Glyphs(True)).plain


async def test_a_price_file_that_can_not_be_used_does_not_take_overview_away(
    store: Store, chosen: Settings, paths: Paths
) -> None:
    async def broken_file() -> CalendarView:
        raise UsageError("T431", "not YAML")

    made = OverviewService(store, ready, chosen, paths, Clock(), calendar=broken_file)
    assert (await look(made)).endings == []


async def test_a_console_looks_through_the_store_only_where_something_was_written(
    store: Store, chosen: Settings, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, page = [], store.jobs.page
    written = 0

    async def counting(**given: Any) -> list[Job]:
        looked.append(given)
        return await page(**given)

    async def moment() -> tuple[int, float]:
        return written, 0.4

    monkeypatch.setattr(store.jobs, "page", counting)
    monkeypatch.setattr(store, "moment", moment)
    monkeypatch.setattr(overview, "UNCHANGED_SECONDS", 1e9)
    made = service(store, chosen, paths)
    first = await look(made)
    again = await look(made)
    assert len(looked) == 1 and again == first
    await store.jobs.add(training("running", NOW))
    written = 1
    assert [each.job for each in (await look(made)).running] == ["ftjob-aaaaaaaaaaaa"]
    assert len(looked) == 2
    await made.show(LOOKING, OverviewRequest(since=NOW))
    await made.show(Context("maria", Face.CONSOLE, Role.VIEWER), OverviewRequest(since=NOW))
    assert len(looked) == 4  # another question, another person
    await made.show(Context("maria", Face.API, Role.VIEWER), OverviewRequest(since=NOW))
    assert len(looked) == 5  # who asks once is told what is so now
    monkeypatch.setattr(overview, "UNCHANGED_SECONDS", 0.0)
    await look(made)
    assert len(looked) == 6  # what lies in files changes without the store
