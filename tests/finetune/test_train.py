"""A training from run.yaml to adapter and manifest."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_nothing_is_dropped_silently(make_run: MakeRun, tmp_path: Path) -> None:
    data = tmp_path / "uneven"
    long = {"messages": [{"role": "user", "content": "why? " * 200}, *chat("a", "b")["messages"]]}
    cut = chat(TOWNS[0], "very long thing " * 40)
    rows = [chat(*pair) for pair in pairs()]
    write_lines(data / "train.jsonl", [*rows, long, cut, chat("Brovik", "salt", weight=0)])
    run = make_run(recipe={"max_steps": 1}, dataset_path=str(data))
    assert finetune("train", run) == 0
    warnings = {event.data["reason"]: event.data for event in events(run, "warning")}
    assert warnings["truncated"]["lines"] == [9, 10]
    assert warnings["no_answer_token"]["lines"] == [9, 11]
    assert manifest(run).examples == 9


def test_steps_are_fitted_once_to_a_time_budget(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 100_000, "time_budget_seconds": 4, "logging_steps": 50})
    assert finetune("train", run) == 0
    fitted = schema.load_run_spec(run).fitted_max_steps
    assert fitted is not None and fitted < 1000
    assert manifest(run).steps == fitted
    assert [e.data.get("fitted_max_steps") for e in events(run, "state")][2] == fitted
    assert manifest(run).seconds < 10


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
