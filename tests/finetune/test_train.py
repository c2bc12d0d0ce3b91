"""A training from run.yaml to adapter and manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune import schema
from finetune.files import sha256_of
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest, states
from tests.finetune.tiny_model import TOWNS, chat, pairs, write_lines


def test_training_lowers_the_loss(trained: Path) -> None:
    found = losses(trained)
    assert sorted(found) == list(range(1, 41))
    assert found[40] < found[1] / 3


def test_a_run_goes_from_starting_over_running_to_succeeded(trained: Path) -> None:
    assert states(trained) == ["starting", "running", "succeeded"]
    assert [event.number for event in events(trained)] == list(range(1, len(events(trained)) + 1))


def test_the_manifest_says_what_was_done_with_what(trained: Path, dataset: Path) -> None:
    found = manifest(trained)
    assert found.steps == found.total_steps == 40
    assert found.template_source == "base"
    assert found.dataset_files["train.jsonl"].sha256 == sha256_of(dataset / "train.jsonl")
    assert found.packages["torch"].startswith("2.")
    assert found.eval_loss is not None and found.tokens_per_second
    for name, record in found.adapter_files.items():
        assert sha256_of(trained / "adapter" / name) == record.sha256


def test_only_the_newest_checkpoints_are_kept_and_each_is_an_event(trained: Path) -> None:
    kept = sorted(path.name for path in (trained / "checkpoints").iterdir())
    assert kept == ["step-00000030", "step-00000040"]
    assert [event.data["step"] for event in events(trained, "checkpoint")] == [10, 20, 30, 40]


def test_the_heartbeat_names_the_process(trained: Path) -> None:
    import os

    beat = schema.read_document(trained / "heartbeat", schema.Heartbeat)
    assert beat.pid == os.getpid()
    assert beat.step == 40


def test_a_run_that_succeeded_is_not_done_again(trained: Path) -> None:
    before = (trained / "events.jsonl").read_bytes()
    assert finetune("train", trained) == schema.EXIT_DONE
    assert (trained / "events.jsonl").read_bytes() == before


def uneven(folder: Path) -> Path:
    """A data set with a row that is too long, one that is cut, and one of weight 0."""
    long = {"messages": [{"role": "user", "content": "why? " * 200}, *chat("a", "b")["messages"]]}
    cut = chat(TOWNS[0], "very long thing " * 40)
    rows = [chat(*pair) for pair in pairs()]
    write_lines(folder / "train.jsonl", [*rows, long, cut, chat("Brovik", "salt", weight=0)])
    return folder


def test_rows_of_which_nothing_is_learnt_are_refused_with_their_lines(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(dataset_path=str(uneven(tmp_path / "uneven")))
    assert finetune("train", run) == schema.EXIT_REFUSED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-210"
    assert "2 lines (9, 11) of train.jsonl" in failed["what"]
    assert "lies beyond sequence_length (1)" in failed["why"]
    assert "running" not in states(run)
    assert (run / "lines" / "train-no_answer_token.txt").read_text() == "9\n11\n"


def test_rows_are_left_out_where_the_recipe_says_so_and_none_silently(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(
        recipe={"max_steps": 1, "rows_without_answer": "leave_out"},
        dataset_path=str(uneven(tmp_path / "uneven")),
    )
    assert finetune("train", run) == 0
    warnings = {event.data["reason"]: event.data for event in events(run, "warning")}
    assert warnings["truncated"]["lines"] == [9, 10]
    assert warnings["truncated"]["tokens_lost"] > 100
    assert warnings["no_answer_token"]["lines"] == [9, 11]
    assert (run / warnings["truncated"]["path"]).read_text() == "9\n10\n"
    assert manifest(run).examples == 9


def test_steps_are_fitted_once_to_a_time_budget(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 100_000, "time_budget_seconds": 4, "logging_steps": 50})
    assert finetune("train", run) == 0
    fitted = schema.load_run_spec(run).fitted_max_steps
    assert fitted is not None and fitted < 1000
    assert manifest(run).steps == fitted
    assert [e.data.get("fitted_max_steps") for e in events(run, "state")][2] == fitted
    assert manifest(run).seconds < 10


def test_the_threads_chosen_go_into_run_yaml_and_into_an_event(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 2}, threads="auto")
    assert finetune("train", run) == 0
    spec = schema.load_run_spec(run)
    assert spec.threads == "auto"
    assert spec.fitted_threads == events(run, "state")[1].data["threads"] == manifest(run).threads


def test_a_resume_keeps_the_threads_that_were_chosen() -> None:
    import torch

    from finetune.speed import choose_threads, cores

    before = torch.get_num_threads()
    try:
        device = torch.device("cpu")
        assert choose_threads("auto", device, chosen=1) == {"threads": 1}
        assert choose_threads("auto", device, chosen=cores() + 1)["threads"] <= cores()
        assert choose_threads(1, device, chosen=2) == {"threads": 1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("step", "rate"), [(0, 1.0), (5, 1.0), (6, 1.0), (8, 0.5), (9, 0.25)])
def test_a_constant_rate_may_fall_at_the_end(step: int, rate: float) -> None:
    from finetune.schedule import rate_at

    recipe = schema.Recipe(learning_rate=1.0, scheduler="constant", decay_ratio=0.4)
    assert rate_at(recipe, step, total=10) == pytest.approx(rate)


def test_a_line_that_is_not_canonical_is_named_without_its_text(
    make_run: MakeRun, tmp_path: Path
) -> None:
    data = tmp_path / "raw"
    write_lines(data / "train.jsonl", [chat("a", "b"), {"question": "SECRET", "answer": "x"}])
    run = make_run(dataset_path=str(data))
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["state"] == "failed"
    assert failed["code"] == "FINETUNE-202"
    assert "Line 2" in failed["what"]
    assert "SECRET" not in (run / "log.txt").read_text() + json.dumps(failed)


def test_a_base_that_is_not_there_is_unavailable(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(base=tmp_path / "nowhere")
    assert finetune("train", run) == schema.EXIT_UNAVAILABLE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-301"
