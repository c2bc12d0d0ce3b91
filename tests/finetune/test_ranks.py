"""Several processes by torchrun train as one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest, states
from tests.finetune.test_resume import wait_for_step

#: 16 examples in steps of 6 with micro-batches of 2: the last step of an epoch has 4.
RECIPE: dict[str, Any] = {
    "max_steps": 7,
    "batch_size": 2,
    "gradient_accumulation": 3,
    "save_steps": 3,
    "eval_steps": 3,
    "lora": {"r": 4, "dropout": 0.0},
}
pytestmark = pytest.mark.timeout(300)


def torchrun(run: Path) -> subprocess.Popen[bytes]:
    """Start two processes that train together, as the console's launcher does."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with open(run / "output", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", *command, "-m", "finetune", "train", str(run)],
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def ended(process: subprocess.Popen[bytes], run: Path) -> int:
    try:
        return process.wait(240)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        print((run / "output").read_text()[-3000:])


def assert_one_writer(run: Path) -> None:
    numbers = [event.number for event in events(run)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_two_processes_train_as_one(make_run: MakeRun) -> None:
    alone = make_run("alone", recipe=RECIPE)
    assert finetune("train", alone) == 0
    run = make_run(recipe=RECIPE)
    assert ended(torchrun(run), run) == 0
    assert states(run) == ["starting", "running", "succeeded"]
    assert_one_writer(run)
    assert losses(run) == pytest.approx(losses(alone), rel=1e-4)
    assert manifest(run).eval_loss == pytest.approx(manifest(alone).eval_loss, rel=1e-4)
    assert manifest(run).processes == 2
    assert [e.data["step"] for e in events(run, "checkpoint")] == [3, 6, 7]


def test_they_pause_together_and_one_goes_on_alone(make_run: MakeRun) -> None:
    # a low rate: rounding would grow from step to step on a steep course
    recipe = {**RECIPE, "max_steps": 60, "learning_rate": 1e-4, "save_steps": 100}
    alone = make_run("alone", recipe=recipe)
    assert finetune("train", alone) == 0
    run = make_run(recipe=recipe)
    process = torchrun(run)
    try:
        wait_for_step(run, 5, alive=lambda: process.poll() is None, seconds=200)
        process.send_signal(signal.SIGTERM)
    finally:
        ended(process, run)
    assert states(run)[-2:] == ["pausing", "paused"]
    paused = events(run, "state")[-1].data["step"]
    assert events(run, "checkpoint")[-1].data["step"] == paused >= 5
    assert finetune("train", run) == 0
    assert manifest(run).resumed_from_step == paused
    assert_one_writer(run)
    assert losses(run) == pytest.approx(losses(alone), rel=1e-3)


def test_they_end_when_torchrun_is_killed(make_run: MakeRun) -> None:
    run = make_run(recipe={**RECIPE, "max_steps": 5000, "save_steps": 5000})
    process = torchrun(run)
    try:
        wait_for_step(run, 3, alive=lambda: process.poll() is None, seconds=200)
    finally:
        process.kill()
        process.wait()
    end = time.monotonic() + 150
    while states(run)[-1] != "paused":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert events(run, "checkpoint")


@pytest.mark.long
def test_killed_and_paused_by_file_they_go_on_exactly(make_run: MakeRun) -> None:
    """With dropout: each process's random state is in the checkpoint."""
    recipe = {**RECIPE, "max_steps": 40, "lora": {"r": 4, "dropout": 0.2}}
    whole = make_run("whole", recipe=recipe)
    assert ended(torchrun(whole), whole) == 0
    run = make_run(recipe=recipe)
    process = torchrun(run)
    try:
        wait_for_step(run, 8, alive=lambda: process.poll() is None, seconds=200)
        beat = schema.read_document(run / "heartbeat", schema.Heartbeat)
        os.kill(beat.pid, signal.SIGKILL)
    finally:
        assert ended(process, run) != 0
    process = torchrun(run)

    def pause() -> None:
        wait_for_step(run, 20, seconds=200)
        schema.write_document(run / "control.json", schema.Control(action="pause"))

    watcher = threading.Thread(target=pause, daemon=True)
    watcher.start()
    ended(process, run)
    watcher.join()
    assert states(run)[-1] == "paused"
    started = time.monotonic()
    assert ended(torchrun(run), run) == 0
    assert time.monotonic() - started < 200
    assert losses(run) == losses(whole)
