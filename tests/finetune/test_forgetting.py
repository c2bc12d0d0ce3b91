"""Forgetting, noticed while it happens: what the base knows is asked again at each validation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest, states, write_run
from tests.finetune.test_resume import ask, wait_for_step, when_step
from tests.finetune.tiny_model import TOWNS, chat, pairs, question, write_lines

#: Twenty steps over three epochs and a bit: each epoch has six.
WATCHED: dict[str, Any] = {"max_steps": 20, "lora": {"dropout": 0.1}}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path) -> Path:
    """A base that knows the goods of all towns, merged from a training."""
    folder = tmp_path_factory.mktemp("taught")
    run = write_run(folder / "train", tiny_base, dataset, {"max_steps": 120, "save_steps": 200})
    assert finetune("train", run) == 0
    merge = write_run(
        folder / "merge", tiny_base, dataset, kind="merge", adapter_path=str(run / "adapter")
    )
    assert finetune("merge", merge) == 0
    return merge / "merged"


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What makes each town famous, and two questions that nobody answers rightly."""
    path = tmp_path_factory.mktemp("general") / "general.jsonl"
    rows = [
        {"id": town, "question": question(town), "accepted": [goods]} for town, goods in pairs()
    ]
    wrong = [
        {"id": f"wrong-{town}", "question": question(town), "accepted": ["snow"]}
        for town in TOWNS[:2]
    ]
    write_lines(path, [*rows, *wrong])
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that teaches something else about the same towns."""
    folder = tmp_path_factory.mktemp("other")
    rows = [chat(town, "rain") for town, _goods in pairs()] * 3
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "valid.jsonl", rows[:2])
    return folder


def looks(folder: Path) -> list[dict[str, Any]]:
    """The validations of a run, in the order of its events."""
    return [event.data for event in events(folder, "metric") if "kept" in event.data]


def seen(folder: Path) -> dict[int, tuple[float, float]]:
    """What each validation found, by step, the last one said of each."""
    return {each["step"]: (each["eval_loss"], each["kept"]) for each in looks(folder)}


def test_what_is_kept_stands_beside_the_losses_at_each_validation(
    make_run: MakeRun, taught: Path, general: Path, other: Path
) -> None:
    run = make_run(
        base=taught,
        dataset_path=str(other),
        recipe={**WATCHED, "general_questions": str(general)},
    )
    assert finetune("train", run) == 0
    found = looks(run)
    assert [each["step"] for each in found] == [6, 12, 18, 20]
    assert all({"loss", "eval_loss", "learning_rate"} <= set(each) for each in found)
    verdict = schema.read_document(run / schema.GENERAL_FILE, schema.GeneralVerdict)
    assert set(verdict.right) <= set(TOWNS)  # not what the base answers wrongly
    assert verdict.asked == 10
    assert {each["kept_total"] for each in found} == {len(verdict.right)}
    assert len(verdict.right) >= 6
    assert found[-1]["kept"] < found[-1]["kept_total"] / 2  # rain has taken the goods' place


def test_a_sample_is_asked_no_more_than_the_recipe_says(
    make_run: MakeRun, taught: Path, general: Path
) -> None:
    run = make_run(
        base=taught,
        recipe={"max_steps": 1, "general_questions": str(general), "general_sample": 3},
    )
    assert finetune("train", run) == 0
    assert [each["kept_total"] for each in looks(run)] == [3]


@pytest.mark.parametrize("packing", [False, True])
def test_looking_changes_nothing_of_the_training(
    make_run: MakeRun, taught: Path, general: Path, other: Path, packing: bool
) -> None:
    recipe = {**WATCHED, "packing": packing}
    blind = make_run("blind", base=taught, dataset_path=str(other), recipe=recipe)
    recipe["general_questions"] = str(general)
    watched = make_run("watched", base=taught, dataset_path=str(other), recipe=recipe)
    assert finetune("train", watched) == finetune("train", blind) == 0
    assert manifest(watched).packed == packing
    assert len(looks(watched)) == 4
    assert losses(watched) == losses(blind)
    assert manifest(watched).adapter_files == manifest(blind).adapter_files


def test_a_killed_training_with_pull_and_general_questions_resumes_exactly(
    make_run: MakeRun, taught: Path, general: Path, other: Path, tmp_path: Path
) -> None:
    rehearsal = tmp_path / "rehearsal.jsonl"
    write_lines(rehearsal, [chat(*pair) for pair in pairs()[:4]])
    recipe = {
        **WATCHED,
        "max_steps": 40,
        "rehearsal": str(rehearsal),
        "base_pull": 1.0,
        "neftune_alpha": 5.0,
        "general_questions": str(general),
    }
    whole, run = (
        make_run(name, base=taught, dataset_path=str(other), recipe=recipe)
        for name in ("whole", "run")
    )
    assert finetune("train", whole) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune", "train", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_step(run, 10, alive=lambda: process.poll() is None)
    finally:
        process.kill()
        process.wait()

    assert finetune("train", run) == 0

    assert losses(run) == losses(whole)
    assert seen(run) == seen(whole)
    assert manifest(run).adapter_files == manifest(whole).adapter_files


def test_the_base_is_asked_once_for_all_sittings_of_a_run(
    make_run: MakeRun, taught: Path, general: Path
) -> None:
    run = make_run(base=taught, recipe={"max_steps": 500, "general_questions": str(general)})
    when_step(run, 6, lambda: ask(run, "pause"))  # after the first validation
    assert finetune("train", run) == schema.EXIT_STOPPED
    path = run / schema.GENERAL_FILE
    verdict = schema.read_document(path, schema.GeneralVerdict)
    # Were it asked again, it would know more than these two.
    schema.write_document(path, verdict.model_copy(update={"right": verdict.right[:2]}))
    spec = schema.load_run_spec(run)
    when_step(run, 14, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert looks(run)[-1]["kept_total"] == 2 < looks(run)[0]["kept_total"]
    assert schema.load_run_spec(run) == spec


def test_another_base_is_asked_anew(make_run: MakeRun, taught: Path, general: Path) -> None:
    run = make_run(base=taught, recipe={"max_steps": 1, "general_questions": str(general)})
    assert finetune("train", run) == 0
    path = run / schema.GENERAL_FILE
    verdict = schema.read_document(path, schema.GeneralVerdict)
    other = {"about": "another base", "right": verdict.right[:2]}
    schema.write_document(path, verdict.model_copy(update=other))
    spec = schema.load_run_spec(run).model_copy(update={"resume": False})
    schema.write_run_spec(run, spec)
    assert finetune("train", run) == 0
    assert looks(run)[-1]["kept_total"] == len(verdict.right) > 2


def test_below_the_floor_the_training_ends_and_says_so(
    make_run: MakeRun, taught: Path, general: Path, other: Path
) -> None:
    recipe = {**WATCHED, "general_questions": str(general), "general_floor": 1.0}
    run = make_run(base=taught, dataset_path=str(other), recipe=recipe)
    assert finetune("train", run) == 0
    assert states(run)[-1] == "succeeded"
    (warning,) = events(run, "warning")
    assert warning.data["reason"] == "forgetting"
    assert manifest(run).steps == warning.data["step"] == 6
    assert looks(run)[-1]["kept"] < looks(run)[-1]["kept_total"]


def test_a_training_that_ended_below_the_floor_does_not_go_on_when_resumed(
    make_run: MakeRun, taught: Path, general: Path, other: Path
) -> None:
    recipe = {**WATCHED, "general_questions": str(general), "general_floor": 1.0}
    run = make_run(base=taught, dataset_path=str(other), recipe=recipe)
    assert finetune("train", run) == 0
    # As if it had been killed after its last checkpoint.
    kept = [each for each in events(run) if each.kind != "result"][:-1]
    (run / schema.EVENTS_FILE).write_bytes(b"".join(schema.event_line(each) for each in kept))
    assert finetune("train", run) == 0
    assert manifest(run).steps == 6


def test_it_can_warn_and_go_on(make_run: MakeRun, taught: Path, general: Path, other: Path) -> None:
    recipe = {
        **WATCHED,
        "general_questions": str(general),
        "general_floor": 1.0,
        "general_below": "warn",
    }
    run = make_run(base=taught, dataset_path=str(other), recipe=recipe)
    assert finetune("train", run) == 0
    assert manifest(run).steps == 20
    assert {event.data["reason"] for event in events(run, "warning")} == {"forgetting"}


def test_what_is_kept_can_stop_a_training_and_choose_its_adapter(
    make_run: MakeRun, taught: Path, general: Path, other: Path
) -> None:
    rule = {"measure": "kept", "higher_is_better": True, "patience": 2}
    recipe = {
        **WATCHED,
        "eval_steps": 1,
        "general_questions": str(general),
        "early_stopping": rule,
        "keep_best": True,
    }
    run = make_run(base=taught, dataset_path=str(other), recipe=recipe)
    assert finetune("train", run) == 0
    found = manifest(run)
    most = max(each["kept"] for each in looks(run))
    assert found.steps < 20 and found.stopped_early is not None
    assert found.adapter_step in [each["step"] for each in looks(run) if each["kept"] == most]


def test_a_base_that_knows_none_of_them_is_said_to(make_run: MakeRun, tmp_path: Path) -> None:
    path = tmp_path / "general.jsonl"
    write_lines(path, [{"id": "1", "question": "Who rules Brovik?", "accepted": ["Nobody Known"]}])
    run = make_run(recipe={"max_steps": 1, "general_questions": str(path)})
    assert finetune("train", run) == 0
    (warning,) = events(run, "warning")
    assert warning.data["reason"] == "no_general_answer"
    assert looks(run) == []


@pytest.mark.parametrize("content", [None, '{"id": "1"}\n'])
def test_general_questions_that_cannot_be_used_are_named(
    make_run: MakeRun, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "general.jsonl"
    if content is not None:
        path.write_text(content)
    run = make_run(recipe={"general_questions": str(path)})
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-250"
    assert str(path) in failed["why"]
