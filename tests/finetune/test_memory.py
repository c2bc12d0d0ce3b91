"""Lack of memory: injected, real, and by the kernel's hand; each answered by a smaller way."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import schema
from finetune.memory import (
    available_bytes,
    is_out_of_memory,
    kernel_kills,
    smaller,
    vanished_for_memory,
)
from finetune.packing import Padded
from finetune.training import Trainer
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest

#: 8 examples a step; no dropout, so that the split alone could make a difference.
EIGHT: dict[str, Any] = {
    "max_steps": 6,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "save_steps": 2,
    "lora": {"r": 4, "dropout": 0.0},
}
_losses = Padded.losses


def short_above(monkeypatch: pytest.MonkeyPatch, size: int, error: Exception) -> None:
    """Memory that holds `size` examples at once and no more."""

    def limited(self: Padded, examples: Any) -> torch.Tensor:
        found = _losses(self, examples)
        if len(examples) > size:
            raise error
        return found

    monkeypatch.setattr(Padded, "losses", limited)


def answers(run: Path) -> list[tuple[str, Any, Any]]:
    return [
        (e.data["setting"], e.data["from"], e.data["to"])
        for e in events(run, "warning")
        if e.data["reason"] == "out_of_memory"
    ]


ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to ..."),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "cpu too", "python"])
def test_a_smaller_micro_batch_does_the_same_training(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = make_run("whole", recipe=EIGHT)
    assert finetune("train", whole) == 0
    run = make_run(recipe=EIGHT)
    short_above(monkeypatch, 1, error)
    assert finetune("train", run) == 0
    assert answers(run) == [("batch_size", 4, 2), ("batch_size", 2, 1)]
    assert losses(run) == pytest.approx(losses(whole), rel=1e-5)
    assert manifest(run).batch_size == 1
    spec = schema.load_run_spec(run)
    assert spec.fitted_batch_size == 1 and spec.recipe.batch_size == 4


def test_lack_in_the_middle_of_an_accumulation_leaves_nothing_of_the_step_behind(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {**EIGHT, "lora": {"r": 4, "dropout": 0.1}, "neftune_alpha": 5, "batch_size": 1}
    recipe |= {"gradient_accumulation": 8}
    whole = make_run("whole", recipe={**recipe, "activation_checkpointing": True})
    assert finetune("train", whole) == 0
    backward, calls = Trainer._backward, 0

    def once_short(self: Trainer, *args: Any) -> bool:
        nonlocal calls
        calls += 1
        return backward(self, *args) if calls != 5 else False

    monkeypatch.setattr(Trainer, "_backward", once_short)
    run = make_run(recipe=recipe)
    assert finetune("train", run) == 0
    assert answers(run) == [("activation_checkpointing", False, True)]
    assert losses(run) == losses(whole)  # the same random numbers are drawn again


def test_a_resume_keeps_the_smaller_way(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_run("whole", recipe=EIGHT)
    assert finetune("train", whole) == 0
    run = make_run(recipe=EIGHT)
    with monkeypatch.context() as patch:
        short_above(patch, 2, MemoryError())
        step = Trainer.step

        def until_three(self: Trainer, total: int) -> float:
            if self.counters.step == 3:
                schema.write_document(run / "control.json", schema.Control(action="pause"))
            return step(self, total)

        patch.setattr(Trainer, "step", until_three)
        assert finetune("train", run) == schema.EXIT_STOPPED
    assert finetune("train", run) == 0
    assert answers(run) == [("batch_size", 4, 2)]
    started = [e.data["batch_size"] for e in events(run, "state") if "batch_size" in e.data]
    assert started == [4, 2]
    assert losses(run) == pytest.approx(losses(whole), rel=1e-5)


def test_at_the_end_of_its_wits_it_fails_with_a_remedy(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(recipe={**EIGHT, "batch_size": 2})
    short_above(monkeypatch, 0, MemoryError())
    assert finetune("train", run) == schema.EXIT_FAILED
    assert answers(run) == [("batch_size", 2, 1), ("activation_checkpointing", False, True)]
    said = events(run, "state")[-1].data
    assert said["code"] == "FINETUNE-403" and "sequence_length" in said["remedy"]


def test_other_errors_are_no_lack_of_memory(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(recipe=EIGHT)
    short_above(monkeypatch, 1, RuntimeError("shapes do not match"))
    assert finetune("train", run) == schema.EXIT_FAILED
    assert answers(run) == []


def test_a_validation_that_is_too_large_is_split(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune import scoring

    whole = make_run("whole", recipe=EIGHT)
    assert finetune("train", whole) == 0
    answer_losses = scoring.answer_losses

    def limited(model: Any, batch: Any) -> torch.Tensor:
        if len(batch.ids) > 1:
            raise MemoryError
        return answer_losses(model, batch)

    monkeypatch.setattr(scoring, "answer_losses", limited)
    run = make_run(recipe=EIGHT)
    assert finetune("train", run) == 0
    assert manifest(run).eval_loss == pytest.approx(manifest(whole).eval_loss, rel=1e-5)


def test_a_real_limit_is_met_and_answered(make_run: MakeRun, tmp_path: Path) -> None:
    """RLIMIT_AS a little above what the process holds before its first step: really no room."""
    from tests.finetune.tiny_model import build_dataset

    data = build_dataset(tmp_path / "more", repeat=128)
    recipe = {**EIGHT, "batch_size": 512, "gradient_accumulation": 1, "max_steps": 2}
    run = make_run(recipe={**recipe, "logging_steps": 1}, dataset_path=str(data))
    program = (
        "import resource, sys\n"
        "from finetune.training import Trainer\n"
        "from finetune.cli import main\n"
        "step = Trainer.step\n"
        "def limited(self, total):\n"
        "    held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "    if self.counters.step == 0 and resource.getrlimit(resource.RLIMIT_AS)[0] < 0:\n"
        "        resource.setrlimit(resource.RLIMIT_AS, (held + (600 << 20), -1))\n"
        "    return step(self, total)\n"
        "Trainer.step = limited\n"
        "sys.exit(main(['train', sys.argv[1]]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(run)],
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert answers(run)[0] == ("batch_size", 512, 256)
    assert manifest(run).steps == 2
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A cgroup of 700 MB, where this user may make one."""
    first = Path("/sys/fs/cgroup/memory")
    root = first if first.is_dir() else Path("/sys/fs/cgroup")
    group = root / f"sophia-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if first.is_dir() else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(700 << 20))
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield group
    group.rmdir()


@pytest.mark.long  # everyday: a real limit, and what the next start answers to a kill
def test_the_kernels_kill_is_met_by_a_smaller_way_at_the_next_start(
    make_run: MakeRun, small_cgroup: Path, tmp_path: Path
) -> None:
    from tests.finetune.tiny_model import build_dataset

    if kernel_kills() is None:
        pytest.skip("this kernel does not count what it ends")
    data = build_dataset(tmp_path / "more", repeat=128)
    recipe = {**EIGHT, "batch_size": 1024, "gradient_accumulation": 1, "max_steps": 1}
    run = make_run(recipe=recipe, dataset_path=str(data))
    enter = (
        f"echo $$ > {small_cgroup}/cgroup.procs && exec {sys.executable} -m finetune train {run}"
    )
    done = subprocess.run(["sh", "-c", enter], capture_output=True, timeout=200)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    assert finetune("train", run) == 0
    assert answers(run) == [("batch_size", 1024, 512)]
    assert manifest(run).batch_size == 512


def test_the_heartbeat_carries_memory(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 1})
    assert finetune("train", run) == 0
    beat = schema.read_document(run / "heartbeat", schema.Heartbeat)
    assert beat.memory_bytes is not None and beat.memory_bytes > 50e6
    assert beat.available_bytes is not None
    assert 0 < beat.available_bytes <= available_bytes() * 2


def beat_of(**more: Any) -> schema.Heartbeat:
    fields = {"host": "h", "boot_id": "b", "pid": 1, "pid_start_time": 1, "kernel_kills": 3}
    fields |= {"memory_bytes": 1000, "available_bytes": 5000, "at": datetime.now(UTC)}
    return schema.Heartbeat(**{**fields, **more})


@pytest.mark.parametrize(
    ("beat", "state", "kills", "found"),
    [
        (beat_of(available_bytes=100), "running", 3, True),
        (beat_of(), "running", 4, True),
        (beat_of(), "running", 3, False),
        (beat_of(boot_id="before the reboot"), "running", 9, False),
        (beat_of(available_bytes=100), "paused", 4, False),
        (beat_of(available_bytes=100), "failed", 4, False),
        (beat_of(memory_bytes=None, kernel_kills=None), "running", None, False),
        (None, "running", 4, False),
    ],
)
def test_a_sitting_that_vanished_while_memory_was_low_is_recognised(
    beat: schema.Heartbeat | None, state: str, kills: int | None, found: bool
) -> None:
    assert vanished_for_memory(beat, state, kills, "b") is found


def test_the_next_start_answers_once_to_the_kernels_kill(make_run: MakeRun) -> None:
    run = make_run(recipe=EIGHT)
    schema.write_document(run / "heartbeat", beat_of(available_bytes=100, step=3))
    lines = [
        schema.event_line(
            schema.RunEvent(number=1, at=datetime.now(UTC), kind="state", data={"state": "running"})
        )
    ]
    (run / "events.jsonl").write_bytes(b"".join(lines))
    assert finetune("train", run) == 0
    assert answers(run) == [("batch_size", 4, 2)]
    assert manifest(run).batch_size == 2
    assert json.loads((run / "heartbeat").read_text())["memory_bytes"] > 1000


def test_the_answers_in_their_order() -> None:
    steps = []
    size, checkpointing = 6, False
    while (answer := smaller(size, checkpointing)) is not None:
        steps.append(answer.after)
        if answer.setting == "batch_size":
            size = int(answer.after)
        else:
            checkpointing = True
    assert steps == [3, 1, True]
    assert not is_out_of_memory(ValueError("out of memory"))
