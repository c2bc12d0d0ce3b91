"""The contract with a run, held by the real trainer and by the stand-in that other tests use.

Each test is a process of its own: exit codes, signals and locks are part of the contract.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from tests.finetune.helpers import QUICK, events, manifest, states
from tests.finetune.tiny_model import build_dataset, build_tiny_model
from tests.integration.worker_house import ROOT, STAND_IN
from tests.representatives import chosen

PROGRAMS = {
    "the trainer": (sys.executable, "-m", "finetune"),
    "the stand-in": (sys.executable, str(STAND_IN)),
}
pytestmark = pytest.mark.filterwarnings("ignore")  # torch and peft warn about their own insides


class Trainer:
    """One of the two programs, and run folders that fit it."""

    def __init__(self, name: str, place: Path) -> None:
        self._program = PROGRAMS[name]
        self._place = place
        self._real = name == "the trainer"
        self._base = "stand-in:steady"
        self._data: str | None = None
        if self._real:
            self._base = str(build_tiny_model(place / "base"))
            self._data = str(build_dataset(place / "version"))

    def folder(self, steps: int) -> Path:
        run = self._place / f"run-{steps}"
        run.mkdir()
        changes: dict[str, Any] = {"max_steps": steps, "save_steps": 2}
        if not self._real:
            changes["learning_rate"] = 0.02  # its seconds a step
        spec = schema.RunSpec(
            job_id="ftjob-contract",
            base=self._base,
            dataset_path=self._data,
            recipe=schema.Recipe.model_validate({**QUICK, **changes}),
            threads=1,
        )
        schema.write_run_spec(run, spec)
        return run

    def start(self, run: Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self._program, "train", str(run)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def run(self, run: Path) -> int:
        process = self.start(run)
        process.communicate(timeout=180)
        return process.returncode


def wait(process: "subprocess.Popen[bytes]", true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not true():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def checkpoints(run: Path) -> list[int]:
    return [
        each.data["step"] for each in events(run, "checkpoint")
    ] if (run / schema.EVENTS_FILE).exists() else []  # fmt: skip


@pytest.fixture(params=PROGRAMS)
def trainer(request: pytest.FixtureRequest, tmp_path: Path) -> Trainer:
    return Trainer(request.param, tmp_path)


def assert_numbered(run: Path) -> None:
    found = events(run)
    assert [each.number for each in found] == list(range(1, len(found) + 1))


def test_a_whole_run_leaves_all_that_the_contract_names(trainer: Trainer) -> None:
    run = trainer.folder(6)
    process = trainer.start(run)
    wait(process, (run / schema.HEARTBEAT_FILE).exists)
    beat = schema.read_document(run / schema.HEARTBEAT_FILE, schema.Heartbeat)
    assert beat.pid == process.pid
    said, _nothing = process.communicate(timeout=180)
    assert process.returncode == schema.EXIT_DONE
    assert json.loads(said.splitlines()[-1])["state"] == "succeeded"
    assert_numbered(run)
    assert states(run)[0] == "starting" and states(run)[-2:] == ["running", "succeeded"]
    assert events(run, "state")[0].data["pid"] == process.pid
    (result,) = events(run, "result")
    assert result.data["steps"] == 6
    assert [each.data["step"] for each in events(run, "metric") if "loss" in each.data][-1] == 6
    told = manifest(run)
    assert (told.job_id, told.kind, told.steps) == ("ftjob-contract", "train", 6)
    for name, record in told.adapter_files.items():
        content = (run / schema.ADAPTER_FOLDER / name).read_bytes()
        assert (record.bytes, record.sha256) == (len(content), sha256(content).hexdigest())
    assert trainer.run(run) == schema.EXIT_DONE  # once more there is nothing to do
    assert states(run)[-1] == "succeeded" and states(run).count("starting") == 1


def test_it_pauses_and_stops_by_the_control_file_and_goes_on_where_it_was(
    trainer: Trainer,
) -> None:
    run = trainer.folder(4000)
    process = trainer.start(run)
    wait(process, lambda: len(checkpoints(run)) >= 1)
    assert trainer.run(run) == schema.EXIT_REFUSED  # its folder is in use
    schema.write_document(run / schema.CONTROL_FILE, schema.Control(action="pause"))
    process.communicate(timeout=180)
    assert process.returncode == schema.EXIT_STOPPED and states(run)[-1] == "paused"
    control = schema.read_document(run / schema.CONTROL_FILE, schema.Control)
    assert control.action == "none"
    paused_at = checkpoints(run)[-1]
    again = trainer.start(run)
    wait(again, lambda: checkpoints(run)[-1] > paused_at)
    schema.write_document(run / schema.CONTROL_FILE, schema.Control(action="stop"))
    again.communicate(timeout=180)
    assert again.returncode == schema.EXIT_STOPPED and states(run)[-1] == "cancelled"
    resumed = [each.data for each in events(run, "state") if each.data["state"] == "running"]
    assert resumed[-1]["resumed_from_step"] == paused_at
    assert_numbered(run)


@pytest.mark.parametrize(
    "trainer",
    # of the trainer itself tests/finetune/test_resume.py and test_exact_resume.py show it each day
    chosen([*PROGRAMS], everyday=["the stand-in"]),
    indirect=True,
)
def test_sigterm_pauses_and_what_kill_9_broke_is_set_aside(trainer: Trainer) -> None:
    run = trainer.folder(4001)
    process = trainer.start(run)
    wait(process, lambda: len(checkpoints(run)) >= 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=180)
    assert process.returncode == schema.EXIT_STOPPED
    last = events(run, "state")[-1].data
    assert (last["state"], last["reason"]) == ("paused", "received SIGTERM")
    good = checkpoints(run)[-1]
    killed = trainer.start(run)
    wait(killed, lambda: checkpoints(run)[-1] > good)
    killed.kill()
    killed.communicate(timeout=180)
    newest = sorted((run / schema.CHECKPOINTS_FOLDER).glob("step-*"))[-1]
    broken = max(
        (each for each in newest.iterdir() if each.name != schema.CHECKPOINT_MANIFEST_FILE),
        key=lambda each: each.stat().st_size,
    )
    broken.write_bytes(b"x" + broken.read_bytes()[1:])
    step = int(newest.name.rpartition("-")[2])
    seen = len(events(run))
    on = trainer.start(run)
    wait(on, lambda: any(each.number > seen and each.kind == "metric" for each in events(run)))
    on.kill()
    on.communicate(timeout=180)
    fresh = [each for each in events(run) if each.number > seen]
    running = next(
        each.data for each in fresh if each.kind == "state" and each.data["state"] == "running"
    )
    assert (running["resumed_from_step"] or 0) < step
    assert any(each.kind == "warning" for each in fresh)
    assert_numbered(run)
