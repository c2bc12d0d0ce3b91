"""A run that is killed, paused, stopped, or finds its checkpoint broken."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.checkpoints import CheckpointStore
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest, states

LONG = {"max_steps": 60, "save_steps": 8}


def wait_for_step(
    folder: Path, step: int, alive: Callable[[], bool] = lambda: True, seconds: float = 60
) -> None:
    """Wait until the run has said the loss of a step."""
    end = time.monotonic() + seconds
    while max(losses(folder), default=0) < step:
        assert time.monotonic() < end and alive()
        time.sleep(0.01)


def when_step(folder: Path, step: int, act: Callable[[], object]) -> None:
    """Do something from another thread when the run has come to a step."""

    def watch() -> None:
        wait_for_step(folder, step)
        act()

    threading.Thread(target=watch, daemon=True).start()


def assert_no_gap_and_no_repeat(folder: Path) -> None:
    numbers = [event.number for event in events(folder)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path) -> Path:
    """The same training, never interrupted."""
    from tests.finetune.helpers import write_run

    folder = write_run(tmp_path_factory.mktemp("whole") / "run", tiny_base, dataset, LONG)
    assert finetune("train", folder) == 0
    return folder


def assert_same_result(folder: Path, whole: Path) -> None:
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-4)
    assert manifest(folder).steps == manifest(whole).steps
    assert manifest(folder).eval_loss == pytest.approx(manifest(whole).eval_loss, rel=1e-4)


def test_a_killed_run_resumes_to_the_same_result(make_run: MakeRun, whole: Path) -> None:
    run = make_run(recipe=LONG)
    with open(run / "stderr", "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "finetune", "train", str(run)],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        wait_for_step(run, 11, alive=lambda: process.poll() is None)
        assert finetune("train", run) == schema.EXIT_REFUSED  # a second one, while the first lives
    finally:
        process.kill()
        process.wait()
    killed_at = max(losses(run))
    assert killed_at < 60
    with open(run / "events.jsonl", "ab") as file:
        file.write(b'{"number": 99, "at": "20')  # what a kill in mid-write leaves

    assert finetune("train", run) == 0

    assert_no_gap_and_no_repeat(run)
    resumed = [e.data for e in events(run, "state") if "resumed_from_step" in e.data]
    assert [item["resumed_from_step"] for item in resumed] == [killed_at // 8 * 8]
    assert_same_result(run, whole)


def test_a_corrupt_checkpoint_is_moved_aside_and_the_one_before_is_used(
    make_run: MakeRun, whole: Path
) -> None:
    run = make_run(recipe=LONG)
    when_step(run, 20, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    newest = sorted((run / "checkpoints").glob("step-*"))[-1]
    weights = newest / "optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] + b"\0" * 100)

    assert finetune("train", run) == 0

    (warning,) = events(run, "warning")
    assert warning.data["reason"] == "corrupt_checkpoint"
    assert (run / warning.data["moved_to"]).is_dir()
    assert [e.data["resumed_from_step"] for e in events(run, "state")[5:6]] == [16]
    assert_same_result(run, whole)


def ask(folder: Path, action: Any) -> None:
    """Write the control file."""
    schema.write_document(folder / "control.json", schema.Control(action=action))


@pytest.mark.parametrize(
    ("act", "end"),
    [
        (lambda run: ask(run, "pause"), ["pausing", "paused"]),
        (lambda run: ask(run, "stop"), ["cancelled"]),
        (lambda run: os.kill(os.getpid(), signal.SIGTERM), ["pausing", "paused"]),
    ],
    ids=["pause", "stop", "SIGTERM"],
)
def test_a_run_ends_on_request_with_a_checkpoint(
    make_run: MakeRun, act: Callable[[Path], None], end: list[str]
) -> None:
    run = make_run(recipe={"max_steps": 500, "save_steps": 500})
    when_step(run, 3, lambda: act(run))
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert states(run) == ["starting", "running", *end]
    last = events(run, "state")[-1].data
    assert last["reason"]
    assert events(run, "checkpoint")[-1].data["step"] == last["step"] >= 3
    control = run / "control.json"
    if control.exists():
        assert schema.read_document(control, schema.Control).action == "none"


def test_a_request_made_before_the_start_is_heard(make_run: MakeRun) -> None:
    run = make_run()
    ask(run, "stop")
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert states(run) == ["starting", "cancelled"]


def test_a_stop_within_a_step_leaves_the_step_undone(make_run: MakeRun) -> None:
    """Dropout has drawn random numbers by then; they are drawn again."""
    run = make_run(recipe={**LONG, "batch_size": 1, "gradient_accumulation": 4})
    other = make_run("other", recipe={**LONG, "batch_size": 1, "gradient_accumulation": 4})
    when_step(run, 5, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert finetune("train", run) == 0
    assert finetune("train", other) == 0
    assert losses(run) == pytest.approx(losses(other), rel=1e-6)


def test_other_data_is_not_trained_on_from_an_old_checkpoint(
    make_run: MakeRun, tmp_path: Path
) -> None:
    from tests.finetune.tiny_model import build_dataset

    run = make_run(recipe={"max_steps": 500})
    when_step(run, 2, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    spec = schema.load_run_spec(run)
    spec.dataset_path = str(build_dataset(tmp_path / "other", repeat=3))
    schema.write_run_spec(run, spec)
    assert finetune("train", run) == schema.EXIT_REFUSED
    assert events(run, "state")[-1].data["code"] == "FINETUNE-103"


def test_a_full_disk_keeps_the_last_good_checkpoint(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    save = CheckpointStore.save

    def save_with_little_room(self: CheckpointStore, content: Any, files: Any) -> Path:
        if content.step < 8:
            return save(self, content, files)
        largest = max(len(data) for data in files.values())
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest // 2, hard))
        try:
            return save(self, content, files)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(CheckpointStore, "save", save_with_little_room)
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert (failed["state"], failed["code"]) == ("failed", "FINETUNE-401")
    assert "Free space" in failed["remedy"]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000004"]

    monkeypatch.undo()
    assert finetune("train", run) == 0
    assert_no_gap_and_no_repeat(run)
