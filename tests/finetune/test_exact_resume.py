"""A training that is killed anywhere goes on to the very same losses, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import checkpoints, keeping, schema
from finetune.journal import Journal
from finetune.looks import Validation
from finetune.training import Trainer
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest
from tests.representatives import chosen

#: Accumulation, dropout, windows that no checkpoint ends with, validations in between.
COMMON: dict[str, Any] = {
    "max_steps": 9,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "save_steps": 4,
    "logging_steps": 3,
    "eval_steps": 3,
    "scheduler": "cosine",
    "warmup_ratio": 0.2,
    "weight_decay": 0.01,
    "lora": {"r": 4, "dropout": 0.1},
    "keep_best": True,
    "early_stopping": {"patience": 3},
}
METHODS: dict[str, dict[str, Any]] = {
    "plain": {},
    "packed": {"packing": True},
    "packed above frozen layers": {
        "packing": True,
        "lora": {"r": 4, "dropout": 0.1, "frozen_share": 0.5},
    },
    "rslora": {"lora": {"r": 4, "dropout": 0.1, "rank_stabilized": True}},
    "dora": {"lora": {"r": 4, "dropout": 0.1, "weight_decomposed": True}},
    "nf4": {"quantization": "nf4"},
    "neftune": {"neftune_alpha": 5},
    "neftune packed": {"neftune_alpha": 5, "packing": True},
    "length grouping": {"length_grouping": True},
    "activation checkpointing": {"activation_checkpointing": True},
    "bf16": {"precision": "bf16"},
    "everything": {
        "quantization": "nf4",
        "packing": True,
        "neftune_alpha": 5,
        "length_grouping": True,
        "activation_checkpointing": True,
        "lora": {"r": 4, "dropout": 0.1, "weight_decomposed": True, "rank_stabilized": True},
    },
}


def die() -> None:
    """End as the kernel or a power cut would end it."""
    os.kill(os.getpid(), signal.SIGKILL)


def before_call(place: Any, name: str, count: int, when: Callable[..., bool] | None = None) -> None:
    """Die just before the `count`th call of a function (of those calls that count)."""
    whole = getattr(place, name)
    calls = 0

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += when is None or when(*args, **named)
        if calls == count:
            die()
        return whole(*args, **named)

    setattr(place, name, counted)


def is_step(target: Any, *_rest: Any) -> bool:
    return Path(target).name.startswith("step-")


POINTS: dict[str, Callable[[], None]] = {
    "in an accumulation": lambda: before_call(Trainer, "_backward", 12),
    "between two files of a save": lambda: before_call(checkpoints, "write_bytes", 7),
    "before the manifest of a save": lambda: before_call(
        checkpoints, "write_bytes", 2, lambda path, _content: path.name == "checkpoint.json"
    ),
    "before the rename": lambda: before_call(
        checkpoints, "_swap_in", 2, lambda _from, target: is_step(target)
    ),
    "after the rename": lambda: before_call(
        checkpoints, "sync_folder", 4, lambda path: path.name == "checkpoints"
    ),
    "before the event of a save": lambda: before_call(
        Journal, "write", 2, lambda _self, kind, _data: kind == "checkpoint"
    ),
    "in a validation": lambda: before_call(Validation, "look", 2),
    "before the adapter is written": lambda: before_call(
        checkpoints, "_swap_in", 1, lambda _from, target: target.name == "adapter"
    ),
    "before the run is said to have succeeded": lambda: before_call(
        Journal, "write", 1, lambda _self, kind, _data: kind == "result"
    ),
}


def killed(run: Path, arm: Callable[[], None]) -> None:
    """Train in a process of its own, which dies where it was armed to."""
    import torch

    torch.set_num_threads(1)  # a fork has no threads of its own to wait for
    child = os.fork()
    if child == 0:
        try:
            arm()
            finetune("train", run)
        finally:
            os._exit(99)  # not reached by one that died
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def assert_the_same(run: Path, whole: Path) -> None:
    """Losses, validations and the adapter's bytes; events numbered without a gap."""
    assert losses(run) == losses(whole)
    seen = [
        {
            e.data["step"]: e.data["eval_loss"]
            for e in events(each, "metric")
            if "eval_loss" in e.data
        }
        for each in (run, whole)
    ]
    assert seen[0] == seen[1]
    assert manifest(run).adapter_files == manifest(whole).adapter_files
    assert manifest(run).adapter_step == manifest(whole).adapter_step
    numbers = [event.number for event in events(run)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not list(run.glob(".hook-*"))


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path
) -> Callable[[str], Path]:
    """The same training, never interrupted, by method; done once each."""
    from tests.finetune.helpers import write_run

    done: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in done:
            folder = tmp_path_factory.mktemp("whole") / "run"
            done[name] = write_run(folder, tiny_base, dataset, {**COMMON, **METHODS[name]})
            assert finetune("train", done[name]) == 0
        return done[name]

    return get


@pytest.mark.parametrize(
    "point",
    chosen(
        [*POINTS],
        everyday=[
            "in an accumulation",
            "before the event of a save",
            "before the adapter is written",
        ],
    ),
)
def test_killed_at_a_chosen_point(
    make_run: MakeRun, undisturbed: Callable[[str], Path], point: str
) -> None:
    run = make_run(recipe=COMMON)
    killed(run, POINTS[point])
    assert finetune("train", run) == 0
    assert_the_same(run, undisturbed("plain"))


@pytest.mark.parametrize(
    "method",
    chosen([*METHODS], everyday=["plain", "packed above frozen layers", "bf16", "everything"]),
)
def test_every_method_goes_on_exactly(
    make_run: MakeRun, undisturbed: Callable[[str], Path], method: str
) -> None:
    """Killed twice: within a step, and in the middle of a later save."""
    run = make_run(recipe={**COMMON, **METHODS[method]})
    # packed, a step's few tokens are one row
    killed(
        run, lambda: before_call(Trainer, "_backward", 6 if METHODS[method].get("packing") else 12)
    )
    killed(run, POINTS["between two files of a save"])
    assert finetune("train", run) == 0
    resumed = [e.data for e in events(run, "state") if "resumed_from_step" in e.data]
    assert resumed
    assert_the_same(run, undisturbed(method))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("method", METHODS)
def test_killed_at_random_again_and_again(
    make_run: MakeRun, undisturbed: Callable[[str], Path], method: str, seed: int
) -> None:
    run = make_run(recipe={**COMMON, **METHODS[method]})
    chance = random.Random(f"{method}/{seed}")
    for _ in range(3):
        place, name, most = chance.choice(
            [
                (Trainer, "_backward", 4),
                (checkpoints, "write_bytes", 7),
                (checkpoints, "sync_folder", 3),
                (Journal, "write", 6),
            ]
        )
        count = chance.randint(1, most)
        killed(run, lambda place=place, name=name, count=count: before_call(place, name, count))
    assert finetune("train", run) == 0
    assert_the_same(run, undisturbed(method))


def paused_at(run: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Train until SIGTERM comes in the middle of the step after `step`."""
    backward, calls = Trainer._backward, 0

    def counted(self: Trainer, *args: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2 * step + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return backward(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_backward", counted)
        assert finetune("train", run) == schema.EXIT_STOPPED
    assert events(run, "state")[-1].data["state"] == "paused"


def test_a_pause_by_sigterm_changes_nothing(
    make_run: MakeRun, undisturbed: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(recipe=COMMON)
    paused_at(run, monkeypatch, 5)
    paused = events(run, "state")[-1].data
    assert paused["step"] == 5
    assert finetune("train", run) == 0
    assert_the_same(run, undisturbed("plain"))


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("step-*"))[-1]


def cut_short(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-64])


def flip_a_bit(folder: Path) -> None:
    state = folder / "random.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(bytes(content))


def as_of_an_older_layout(folder: Path) -> None:
    path = folder / "checkpoint.json"
    path.write_text(path.read_text().replace('"layout": 2', '"layout": 1'))


def as_of_another_training(folder: Path) -> None:
    path = folder / "checkpoint.json"
    found = schema.read_document(path, schema.CheckpointManifest)
    path.write_text(found.model_copy(update={"run_fingerprint": "0" * 64}).model_dump_json())


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (cut_short, "corrupt"),
        (flip_a_bit, "corrupt"),
        (lambda folder: (folder / "optimizer.safetensors").unlink(), "corrupt"),
        (lambda folder: (folder / "checkpoint.json").unlink(), "corrupt"),
        (as_of_an_older_layout, "outdated"),
        (as_of_another_training, "foreign"),
    ],
    ids=["truncated", "one bit", "a file missing", "half-written", "older layout", "foreign"],
)
def test_a_checkpoint_that_cannot_be_used_is_set_aside_and_the_one_before_is_used(
    make_run: MakeRun,
    undisturbed: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    name: str,
) -> None:
    run = make_run(recipe=COMMON)
    paused_at(run, monkeypatch, 6)
    assert newest(run).name == "step-00000006"
    spoil(newest(run))
    assert finetune("train", run) == 0
    (warning,) = (
        e.data for e in events(run, "warning") if e.data["reason"] == "corrupt_checkpoint"
    )
    assert warning["step"] == 6
    assert warning["moved_to"].startswith(f"checkpoints/{name}-")
    assert (run / warning["moved_to"]).is_dir()
    assert manifest(run).resumed_from_step == 4
    assert_the_same(run, undisturbed("plain"))


def test_a_run_whose_checkpoints_are_all_broken_begins_anew(
    make_run: MakeRun, undisturbed: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(recipe=COMMON)
    paused_at(run, monkeypatch, 6)
    for folder in (run / "checkpoints").glob("step-*"):
        cut_short(folder)
    assert finetune("train", run) == 0
    assert manifest(run).resumed_from_step is None
    assert_the_same(run, undisturbed("plain"))


def test_a_broken_best_checkpoint_is_said_and_the_last_adapter_kept(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = {"measure": "judge.score", "higher_is_better": False, "patience": 9}
    program = "import os; print('{\"score\": ' + os.environ['FINETUNE_HOOK_STEP'] + '}')"
    judge = {"name": "judge", "command": [sys.executable, "-c", program]}
    run = make_run(
        recipe={"max_steps": 8, "keep_best": True, "hooks": [judge], "early_stopping": rule}
    )
    proved = keeping.CheckpointStore.proved

    def spoiled(self: Any, step: int) -> Path | None:
        cut_short(run / "checkpoints" / checkpoints.checkpoint_name(step))
        return proved(self, step)

    monkeypatch.setattr(keeping.CheckpointStore, "proved", spoiled)
    assert finetune("train", run) == 0
    assert "best_checkpoint_broken" in [e.data["reason"] for e in events(run, "warning")]
    assert manifest(run).adapter_step == manifest(run).steps == 8
