"""Tidying up by rules: what goes, what stays whatever they say, and what a dry run leaves alone."""

import fcntl
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobEvent, JobKind
from sophia_tui.domain.models import Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.operations import NoInput
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.paths import Paths
from sophia_tui.services.checkpoints import CheckpointsService
from sophia_tui.services.prune import PruneRequest, PruneService
from sophia_tui.services.views import JobReference
from tests.integration.worker_house import SystemClock, new_job

NOW = datetime.now(UTC)
CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.ADMIN, confirmed=True)


@pytest.fixture
def service(store: Store, paths: Paths) -> PruneService:
    return PruneService(store, paths, SystemClock())


async def a_run(
    store: Store, paths: Paths, state: str, days: float, model: str = "", **more: object
) -> Job:
    """A job that ended so many days ago, with its folder and, where named, its model."""
    job = new_job(state=state)
    folder = paths.runs / job.id
    for name in ("checkpoints/step-1/weights", "adapter/adapter_model.safetensors", "events.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 5000)
    (folder / "run.lock").touch()
    job = replace(
        job,
        run_folder=str(folder),
        finished_at=NOW - timedelta(days=days),
        **more,  # type: ignore[arg-type]
    )
    await store.jobs.add(job)
    if model:
        await store.models.add(
            Model(
                model, ModelKind.ADAPTER, "base", NOW, job_id=job.id, path=str(folder / "adapter")
            )
        )
    return job


def left(job: Job) -> set[str]:
    folder = Path(job.run_folder or "")
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


async def test_checkpoints_of_what_is_done_go_and_its_adapter_stays(
    store: Store, paths: Paths, service: PruneService
) -> None:
    old = await a_run(store, paths, "succeeded", 8, "sophia-v1")
    young = await a_run(store, paths, "succeeded", 6, "sophia-v2")
    report = await service.prune(CONTEXT, PruneRequest())
    assert [each.of for each in report.items] == [old.id] and report.freed_bytes > 4000
    assert left(old) == {"adapter", "events.jsonl", "run.lock"}
    assert "checkpoints" in left(young)


async def test_a_failed_run_may_be_resumed_for_a_month(
    store: Store, paths: Paths, service: PruneService
) -> None:
    young = await a_run(store, paths, "failed", 29)
    old = await a_run(store, paths, "failed", 31)
    await service.prune(CONTEXT, PruneRequest())
    assert "checkpoints" in left(young) and left(old) == set()
    assert await store.jobs.get(old.id) is not None  # what happened is still told


async def test_a_dry_run_lists_the_same_and_touches_nothing(
    store: Store, paths: Paths, service: PruneService
) -> None:
    old = await a_run(store, paths, "cancelled", 40)
    before = left(old)
    dry = await service.prune(replace(CONTEXT, dry_run=True), PruneRequest())
    assert left(old) == before
    real = await service.prune(CONTEXT, PruneRequest())
    assert dry.model_dump() == real.model_dump() and len(real.items) == 1


@pytest.mark.parametrize("use", ["promoted", "way back", "served", "evaluated"])
async def test_what_is_deployed_a_way_back_or_worked_on_stays(
    store: Store, paths: Paths, service: PruneService, use: str
) -> None:
    """Also through a merged model that was made of it."""
    job = await a_run(store, paths, "succeeded", 400, "sophia-v1")
    merging = replace(
        new_job(state="succeeded"),
        kind=JobKind.MERGE,
        run_folder=str(paths.runs / "merging"),
        finished_at=NOW - timedelta(days=400),
        resulting_model="sophia-v1-merged",
    )
    await store.jobs.add(merging)
    (paths.runs / "merging" / "merged").mkdir(parents=True)
    await store.models.add(
        Model(
            "sophia-v1-merged", ModelKind.MERGED, "base", NOW, job_id=merging.id, parent="sophia-v1"
        )
    )
    if use in ("promoted", "way back"):
        names = ("sophia-v1-merged", None) if use == "promoted" else ("other", "sophia-v1-merged")
        await store.promotions.add(
            Promotion("promo-1", names[0], names[1], PromotionState.DONE, (), "maria", NOW)
        )
    elif use == "served":
        await store.deployments.add(
            Deployment(
                id="d1",
                model_id="sophia-v1-merged",
                name="sophia",
                engine="transformers",
                state=DeploymentState.READY,
                created_by="maria",
                created_at=NOW,
            )
        )
    else:
        await store.jobs.add(replace(new_job(), kind=JobKind.EVALUATE, model_id="sophia-v1-merged"))
    report = await service.prune(CONTEXT, PruneRequest())
    assert report.items == [] and {each.of for each in report.kept} >= {job.id}
    assert "checkpoints" in left(job) and (paths.runs / "merging" / "merged").is_dir()


async def test_a_merged_model_that_nobody_uses_goes_and_its_adapter_stays(
    store: Store, paths: Paths, service: PruneService
) -> None:
    job = await a_run(store, paths, "succeeded", 100, "sophia-v1", kind=JobKind.MERGE)
    (Path(job.run_folder or "") / "merged").mkdir()
    await service.prune(CONTEXT, PruneRequest(checkpoint_days=365))
    assert left(job) == {"checkpoints", "adapter", "events.jsonl", "run.lock"}


async def test_what_runs_or_was_taken_up_again_stays(
    store: Store, paths: Paths, service: PruneService
) -> None:
    running = await a_run(store, paths, "running", 50)
    held = await a_run(store, paths, "failed", 50)
    descriptor = os.open(paths.runs / held.id / "run.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        report = await service.prune(CONTEXT, PruneRequest())
    finally:
        os.close(descriptor)
    assert report.items == [] and [each.of for each in report.kept] == [held.id]
    assert "adapter" in left(running) and "adapter" in left(held)


async def test_leftovers_of_killed_writers_go_after_a_day(
    paths: Paths, service: PruneService
) -> None:
    old, young = (
        paths.datasets / "town" / ".unfinished-a",
        paths.datasets / "town" / ".unfinished-b",
    )
    for each in (old, young):
        each.mkdir(parents=True)
    yesterday = (NOW - timedelta(days=2)).timestamp()
    os.utime(old, (yesterday, yesterday))
    await service.prune(CONTEXT, PruneRequest())
    assert not old.exists() and young.exists()


async def test_what_can_be_made_again_goes_when_it_is_old(
    paths: Paths, service: PruneService
) -> None:
    long_ago = (NOW - timedelta(days=31)).timestamp()
    old = [paths.inspections / "a", paths.indexes / "a.idx", paths.edits / ".a.jsonl.1-2.tmp"]
    young = [paths.inspections / "b", paths.indexes / "b.idx", paths.edits / "a.jsonl"]
    for path in (*old, *young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for path in (*old, young[-1]):  # an edit that nobody saved is never old
        os.utime(path, (long_ago, long_ago))
    await service.prune(CONTEXT, PruneRequest())
    assert [each.exists() for each in old] == [False] * 3
    assert all(each.exists() for each in young)
    shown = {each.what for each in (await service.usage(CONTEXT, NoInput())).items}
    assert {"inspections", "indexes of files", "unsaved edits"} <= shown


async def test_a_link_out_of_the_data_folder_is_not_followed(
    store: Store, paths: Paths, service: PruneService, tmp_path: Path
) -> None:
    job = await a_run(store, paths, "failed", 50)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (Path(job.run_folder or "") / "checkpoints" / "link").symlink_to(precious)
    await service.prune(CONTEXT, PruneRequest())
    assert left(job) == set() and (precious / "file").read_text() == "keep"


async def test_progress_of_old_jobs_leaves_the_store_and_metrics_stay(
    store: Store, paths: Paths, service: PruneService
) -> None:
    job = await a_run(store, paths, "succeeded", 200)
    kinds = ("state", "progress", "metric", "progress")
    told = [JobEvent(job.id, n, NOW, kind, {}) for n, kind in enumerate(kinds, start=1)]
    await store.jobs.append_events(job.id, told, 10)
    dry = await service.prune(replace(CONTEXT, dry_run=True), PruneRequest(checkpoint_days=999))
    assert len(await store.jobs.events(job.id)) == 4 and len(dry.items) == 1
    await service.prune(CONTEXT, PruneRequest(checkpoint_days=999))
    assert [each.kind for each in await store.jobs.events(job.id)] == ["state", "metric"]


async def test_sizes_are_shown_by_kind(store: Store, paths: Paths, service: PruneService) -> None:
    await a_run(store, paths, "succeeded", 1)
    report = await service.usage(CONTEXT, NoInput())
    sizes = {each.what: each.bytes for each in report.items}
    assert sizes["checkpoints"] >= 5000 and sizes["adapters"] >= 5000
    assert "merged models" not in sizes and report.free_bytes > 0


async def test_the_folder_of_converted_bases_is_counted_where_it_is(
    paths: Paths, tmp_path: Path, service: PruneService, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, other = tmp_path / "converted", tmp_path / "home"
    for folder in (cache, other / "sophia"):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"x" * 5000)
    monkeypatch.setenv("SOPHIA_MODEL_CACHE", str(cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(other))
    report = await service.usage(CONTEXT, NoInput())
    assert [each.path for each in report.items if each.what == "caches"] == [str(cache)]


async def test_checkpoints_that_were_pruned_are_no_longer_listed(
    store: Store, paths: Paths, service: PruneService
) -> None:
    job = await a_run(store, paths, "succeeded", days=30)
    made = JobEvent(job.id, 1, NOW, "checkpoint", {"step": 1, "path": "checkpoints/step-1"})
    lost = JobEvent(job.id, 2, NOW, "checkpoint", {"step": 2, "path": "checkpoints/step-2"})
    await store.jobs.append_events(job.id, [made, lost], 0)
    checkpoints = CheckpointsService(store)
    before = await checkpoints.list(CONTEXT, JobReference(job=job.id))
    await service.prune(CONTEXT, PruneRequest())
    after = await checkpoints.list(CONTEXT, JobReference(job=job.id))
    assert ([each.step for each in before.items], after.items) == ([1], [])
