"""Rehearsal against forgetting: examples beside the data set, always counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune import schema
from finetune.files import sha256_of
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest
from tests.finetune.test_resume import ask, when_step
from tests.finetune.tiny_model import chat, write_lines


@pytest.fixture
def rehearsal(tmp_path: Path) -> Path:
    """Three general questions with their answers."""
    path = tmp_path / "general" / "rehearsal.jsonl"
    write_lines(path, [chat(town, "rain") for town in ("Sollan", "Ebrek", "Tindor")])
    return path


def test_rehearsal_is_trained_on_and_counted_apart(make_run: MakeRun, rehearsal: Path) -> None:
    run = make_run(
        recipe={"max_steps": None, "epochs": 2, "batch_size": 4, "rehearsal": str(rehearsal)}
    )
    assert finetune("train", run) == 0
    found = manifest(run)
    assert (found.examples, found.rehearsal_examples) == (16, 3)
    assert found.steps == 10  # two passes over 19 examples, four a step
    assert found.dataset_files["rehearsal.jsonl"].sha256 == sha256_of(rehearsal)
    running = events(run, "state")[1].data
    assert (running["examples"], running["rehearsal_examples"]) == (16, 3)
    result = events(run, "result")[-1].data
    assert (result["examples"], result["rehearsal_examples"]) == (16, 3)


def test_without_rehearsal_none_is_counted(trained: Path) -> None:
    assert manifest(trained).rehearsal_examples == 0
    assert "rehearsal.jsonl" not in manifest(trained).dataset_files


def test_a_rehearsal_file_that_is_not_there_is_named(make_run: MakeRun) -> None:
    run = make_run(recipe={"rehearsal": "samples/nowhere.jsonl"})
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-204"
    assert "samples/nowhere.jsonl" in failed["why"]


def test_another_rehearsal_is_another_training(make_run: MakeRun, rehearsal: Path) -> None:
    run = make_run(recipe={"max_steps": 500, "rehearsal": str(rehearsal)})
    when_step(run, 2, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    write_lines(rehearsal, [chat("Sollan", "fog")])
    assert finetune("train", run) == schema.EXIT_REFUSED
    assert events(run, "state")[-1].data["code"] == "FINETUNE-103"
