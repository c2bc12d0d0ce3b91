"""Curves in few points, log and events by pages, with what a job works, jobs side by side."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobEvent
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import NotFoundError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.job_compare import CompareRequest
from sophia_tui.services.job_curves import CurveRequest
from sophia_tui.services.job_insight import JobInsightService
from sophia_tui.services.jobs import EventsRequest, JobsService, LogRequest
from sophia_tui.services.views import JobReference
from sophia_tui.settings import load
from tests.integration.test_watching import _wake
from tests.integration.worker_house import SystemClock, new_job

CONTEXT = Context("ana", Face.CLI, Role.VIEWER)
NOW = SystemClock().now()


def insight(store: Store) -> JobInsightService:
    return JobInsightService(store, load({}), SystemClock())


def jobs(store: Store, paths: Paths) -> JobsService:
    return JobsService(store, load({}), paths, SystemClock(), _wake)


async def told(
    store: Store, events: list[tuple[str, dict[str, Any]]], job: Job | None = None
) -> str:
    """A job with these events, ten seconds apart."""
    job = job or replace(new_job(), state="succeeded", step=len(events))
    await store.jobs.add(job)
    rows = [
        JobEvent(job.id, number, NOW + timedelta(seconds=10 * number), kind, data)
        for number, (kind, data) in enumerate(events, 1)
    ]
    await store.jobs.append_events(job.id, rows, 1)
    return job.id


def metric(step: int, **figures: Any) -> tuple[str, dict[str, Any]]:
    return "metric", {"step": step, **figures}


async def test_a_curve_has_as_many_points_as_were_asked_for_with_mean_and_bounds(
    store: Store,
) -> None:
    events = [metric(step, loss=float(step)) for step in range(1, 1001)]
    events.append(metric(1000, eval_loss=0.5))
    job = await told(store, events, replace(new_job(), state="succeeded", step=1000))
    found = await insight(store).curve(CONTEXT, CurveRequest(job=job, points=10))
    loss, held_out = found.series
    assert (loss.events, len(loss.points)) == (1000, 10)
    first = loss.points[0]
    assert (first.low, first.high, first.count) == (1.0, 100.0, 100)
    assert first.value == pytest.approx(50.5) and first.step == 100
    assert (loss.best, loss.best_step) == (1.0, 1.0)
    assert (held_out.best, held_out.best_step, len(held_out.points)) == (0.5, 1000.0, 1)


async def test_a_job_that_is_behind_its_events_has_no_more_points_for_it(store: Store) -> None:
    events = [metric(step, loss=float(step)) for step in range(1, 501)]
    job = await told(store, [*events, ("warning", {})], replace(new_job(), state="failed", step=1))
    found = await insight(store).curve(CONTEXT, CurveRequest(job=job, points=10))
    assert (found.series[0].events, len(found.series[0].points)) == (500, 10)


async def test_few_points_are_given_as_they_are_and_what_is_no_number_is_left_out(
    store: Store,
) -> None:
    events = [
        metric(1, loss=3.0, learning_rate=2e-4),
        metric(2, loss="high"),
        ("metric", {"step": "x", "loss": 1.0}),
        ("metric", {"loss": 1.0}),
        ("progress", {"step": 3, "loss": 9.0}),
        metric(4, loss=2.0),
    ]
    job = await told(store, events)
    asked = CurveRequest(job=job, series=["loss", "learning_rate", "never"])
    found = await insight(store).curve(CONTEXT, asked)
    by_name = {
        each.name: [(point.step, point.value) for point in each.points] for each in found.series
    }
    assert by_name == {"loss": [(1, 3.0), (4, 2.0)], "learning_rate": [(1, 2e-4)], "never": []}


async def test_what_an_attempt_told_after_the_step_gone_on_from_is_void(store: Store) -> None:
    events = [
        ("state", {"state": "starting"}),
        ("state", {"state": "running"}),
        metric(10, loss=3.0),
        metric(20, loss=9.0),
        ("state", {"state": "starting"}),
        ("state", {"state": "running", "resumed_from_step": 10}),
        metric(15, loss=2.0),
        metric(20, loss=1.0),
    ]
    job = await told(store, events)
    (loss,) = (await insight(store).curve(CONTEXT, CurveRequest(job=job, series=["loss"]))).series
    assert [(each.step, each.value) for each in loss.points] == [(10, 3.0), (15, 2.0), (20, 1.0)]
    # the ten seconds before the second start are no time at work
    assert [each.seconds for each in loss.points] == [20, 50, 60]


async def test_events_come_by_pages_from_the_newest_back(store: Store, paths: Paths) -> None:
    events = [metric(step) for step in range(1, 8)] + [("warning", {"message": "Hot."})]
    job = await told(store, events)
    service = jobs(store, paths)
    newest = await service.events(CONTEXT, EventsRequest(job=job, newest=True, limit=3))
    assert [each.number for each in newest.items] == [6, 7, 8]
    assert (newest.first, newest.last) == (6, 8)
    older = await service.events(CONTEXT, EventsRequest(job=job, before=newest.first, limit=3))
    assert [each.number for each in older.items] == [3, 4, 5]
    last = await service.events(CONTEXT, EventsRequest(job=job, before=1))
    assert (last.items, last.first) == ([], None)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"match": "hot"}, [2, 3]),
        ({"match": "re:^warning .*Hot"}, [2]),
        ({"kind": ["warning"]}, [2]),
        ({"kind": ["warning", "state"], "match": "re:o"}, [2, 4]),
        ({"match": "nowhere"}, []),
    ],
)
async def test_events_are_filtered_by_kind_text_and_expression(
    store: Store, paths: Paths, asked: dict[str, Any], numbers: list[int], backwards: bool
) -> None:
    job = await told(
        store,
        [
            metric(1),
            ("warning", {"message": "Hot."}),
            ("progress", {"message": "hot"}),
            ("state", {"state": "stopped"}),
        ],
    )
    request = EventsRequest(job=job, newest=backwards, **asked)
    found = await jobs(store, paths).events(CONTEXT, request)
    assert [each.number for each in found.items] == numbers


async def test_an_expression_that_is_none_is_refused(store: Store, paths: Paths) -> None:
    job = await told(store, [metric(1)])
    with pytest.raises(UsageError) as caught:
        await jobs(store, paths).events(CONTEXT, EventsRequest(job=job, match="re:("))
    assert caught.value.code == "SOPHIA-D566"


async def a_log(store: Store, folder: Path, content: bytes) -> str:
    (folder / "log.txt").write_bytes(content)
    return await told(store, [], replace(new_job(), state="succeeded", run_folder=str(folder)))


async def test_the_whole_log_is_reached_by_pages(
    store: Store, paths: Paths, tmp_path: Path
) -> None:
    lines = [f"line {number} " + "x" * (number % 3000) for number in range(500)]
    job = await a_log(store, tmp_path, ("\n".join(lines) + "\n").encode())
    service = jobs(store, paths)
    pages: list[str] = []
    before = None
    for _turn in range(10):
        page = await service.log(CONTEXT, LogRequest(job=job, lines=100, before=before))
        pages = [*page.lines, *pages]
        before = page.start
        if not before:
            break
    assert pages == lines and not before


async def test_only_what_is_new_of_a_log_comes_and_a_line_that_grows_comes_again(
    store: Store, paths: Paths, tmp_path: Path
) -> None:
    job = await a_log(store, tmp_path, b"one\ntwo\nthr")
    service = jobs(store, paths)
    first = await service.log(CONTEXT, LogRequest(job=job))
    assert (first.lines, first.unfinished, first.end) == (["one", "two", "thr"], True, 8)
    with (tmp_path / "log.txt").open("ab") as log:
        log.write(b"ee\nfour\n")
    more = await service.log(CONTEXT, LogRequest(job=job, after=first.end))
    assert (more.lines, more.unfinished, more.end) == (["three", "four"], False, 19)
    assert (await service.log(CONTEXT, LogRequest(job=job, after=more.end))).lines == []


async def test_a_log_is_searched_in_any_case_or_by_expression_and_shows_marks(
    store: Store, paths: Paths, tmp_path: Path
) -> None:
    job = await a_log(store, tmp_path, b"Error: \x1b[31mred\x1b[0m\nfine\nno error 12\n")
    service = jobs(store, paths)
    found = await service.log(CONTEXT, LogRequest(job=job, match="ERROR"))
    assert found.lines == ["Error: ␛[31mred␛[0m", "no error 12"]
    found = await service.log(CONTEXT, LogRequest(job=job, match=r"re:\d+$"))
    assert found.lines == ["no error 12"]


async def test_settings_say_what_differs_from_the_recipe(store: Store, tmp_path: Path) -> None:
    from finetune.schema import load_recipe

    recipe = load_recipe("small").model_dump(mode="json")
    recipe["learning_rate"] = 1e-4
    recipe["lora"]["r"] = 8
    job = replace(
        new_job(),
        state="running",
        request={"recipe_name": "small", "run": {"recipe": recipe, "dataset_hash": "ab"}},
    )
    events = [("state", {"state": "running", "device": "cpu", "threads": 2, "examples": 48})]
    found = await insight(store).settings(CONTEXT, JobReference(job=await told(store, events, job)))
    changed = {row.name: (row.default, row.value) for row in found.settings if row.changed}
    assert changed == {"learning_rate": (8e-4, 1e-4), "lora.r": (16, 8)}
    assert (found.device, found.threads, found.examples, found.seed) == ("cpu", 2, 48, 42)
    assert (found.recipe, found.dataset_hash) == ("small", "ab")


async def test_jobs_are_compared_by_what_differs_and_the_better_one_is_named(store: Store) -> None:
    def training(rate: float) -> Job:
        recipe = {"learning_rate": rate, "seed": 7}
        return replace(new_job(), state="succeeded", step=2, request={"run": {"recipe": recipe}})

    first = await told(
        store, [metric(1, loss=3.0), metric(2, loss=2.0, eval_loss=2.5)], training(1e-4)
    )
    second = await told(
        store, [metric(1, loss=3.0), metric(2, loss=1.0, eval_loss=2.6)], training(2e-4)
    )
    found = await insight(store).compare(CONTEXT, CompareRequest(jobs=[first, second]))
    rows = {each.name: (each.values, each.better) for each in found.rows}
    assert rows["learning_rate"] == ([1e-4, 2e-4], None)
    assert rows["loss"] == ([2.0, 1.0], "b")
    assert rows["eval_loss"] == ([2.5, 2.6], "a")
    assert "seed" not in rows and "base" not in rows
    whole = await insight(store).compare(CONTEXT, CompareRequest(jobs=[first, second], all=True))
    assert {"seed", "base"} <= {each.name for each in whole.rows}
    assert [each.letter for each in found.jobs] == ["a", "b"]
    assert [each.examples_per_step for each in found.jobs] == [16, 16]
    assert json.loads(found.model_dump_json())["jobs"][0]["curve"]["series"]


async def test_a_job_without_losses_says_so_and_one_job_alone_is_refused(store: Store) -> None:
    from sophia_tui.domain.jobs import JobKind

    job = await told(store, [metric(1, loss=3.0)])
    merge = await told(store, [], replace(new_job(), kind=JobKind.MERGE, state="succeeded"))
    found = await insight(store).compare(CONTEXT, CompareRequest(jobs=[job, merge]))
    assert [each.note for each in found.jobs] == [
        "",
        "A job of this kind has no losses over steps.",
    ]
    with pytest.raises(UsageError) as caught:
        await insight(store).compare(CONTEXT, CompareRequest(jobs=[job, job]))
    assert caught.value.code == "SOPHIA-J340"
    with pytest.raises(NotFoundError):
        await insight(store).compare(CONTEXT, CompareRequest(jobs=[job, "ftjob-none"]))
