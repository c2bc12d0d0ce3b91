"""Hooks that judge the adapter of a moment, early stopping, and the best adapter kept."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.hooks import without_secrets
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest


def hook(program: str, **more: Any) -> dict[str, Any]:
    """A hook that runs a line of Python."""
    lead = "import json, os, sys; step = int(os.environ['FINETUNE_HOOK_STEP']); "
    return {"name": "judge", "command": [sys.executable, "-I", "-c", lead + program], **more}


def told(run: Path, name: str) -> dict[int, float]:
    """A score by step."""
    return {e.data["step"]: e.data[name] for e in events(run, "metric") if name in e.data}


def test_a_hook_sees_the_adapter_of_the_moment_and_its_scores_become_a_metric(
    make_run: MakeRun,
) -> None:
    say = (
        "here = os.environ['FINETUNE_HOOK_ADAPTER']; print('talk'); "
        "print(json.dumps({'files': len(os.listdir(here)), 'step': step, "
        "'bytes': os.path.getsize(here + '/adapter_model.safetensors'), "
        "'here': os.path.samefile(os.getcwd(), os.path.dirname(os.path.dirname(here)))+0}))"
    )
    run = make_run(recipe={"max_steps": 10, "hooks": [hook(say, every_steps=4)]})
    assert finetune("train", run) == 0
    assert told(run, "judge.step") == {4: 4, 8: 8, 10: 10}
    assert set(told(run, "judge.files").values()) == {4}  # weights, config, and the form
    assert set(told(run, "judge.here").values()) == {1}
    size = (run / "adapter" / "adapter_model.safetensors").stat().st_size
    assert told(run, "judge.bytes")[10] == size
    assert not list(run.glob(".hook-*"))


def test_a_hook_without_steps_is_asked_after_each_epoch(make_run: MakeRun) -> None:
    say = "print(json.dumps({'epoch': float(os.environ['FINETUNE_HOOK_EPOCH'])}))"
    run = make_run(recipe={"max_steps": 8, "eval_steps": 100, "hooks": [hook(say)]})
    assert finetune("train", run) == 0
    assert told(run, "judge.epoch") == {4: 1, 8: 2}


def test_a_hook_gets_no_secrets(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_zzyx")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-zzyx")
    monkeypatch.setenv("PROXY", "http://me:zzyx@proxy:3128")
    monkeypatch.setenv("KEYBOARD", "pt")
    say = (
        "print(json.dumps({'secrets': sum('zzyx' in v for v in os.environ.values()), "
        "'keyboard': int('KEYBOARD' in os.environ)}))"
    )
    run = make_run(recipe={"max_steps": 2, "hooks": [hook(say)]})
    assert finetune("train", run) == 0
    assert told(run, "judge.secrets") == {2: 0}
    assert told(run, "judge.keyboard") == {2: 1}


def test_what_counts_as_a_secret_goes_by_its_name() -> None:
    named = ["HF_TOKEN", "DB_PASS", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "KEY", "OPENAI_APIKEY"]
    plain = ["PATH", "HOME", "MONKEY", "KEYBOARD_LAYOUT", "LANG"]
    assert list(without_secrets(dict.fromkeys(named + plain, "x"))) == plain


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("sys.exit(3)", "status 3"),
        ("print('fine')", "no JSON object"),
        ("pass", "no JSON object"),
        ("print('[1]')", "no JSON object"),
        ("print(json.dumps({'score': 'good'}))", "no finite number"),
        ("print('{\"score\": NaN}')", "no finite number"),
        ("import time; time.sleep(60)", "longer than 0.5 s"),
    ],
)
def test_a_hook_that_fails_is_a_warning_and_ends_nothing(
    make_run: MakeRun, program: str, why: str
) -> None:
    bad = hook(program, timeout_seconds=0.5 if "sleep" in program else 60)
    run = make_run(recipe={"max_steps": 2, "hooks": [bad]})
    assert finetune("train", run) == 0
    (warning,) = (event.data for event in events(run, "warning"))
    assert warning["reason"] == "hook_failed" and warning["hook"] == "judge"
    assert why in warning["message"]
    assert not list(run.glob(".hook-*"))


def test_a_hook_that_cannot_be_started_is_a_warning(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 2, "hooks": [{"command": ["/nowhere/judge"]}]})
    assert finetune("train", run) == 0
    assert "can't be started" in events(run, "warning")[0].data["message"]


def test_what_a_hook_leaves_running_is_ended_with_it(make_run: MakeRun, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import subprocess; child = subprocess.Popen(['sleep', '60']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); print(json.dumps({{'ok': 1}}))"
    )
    run = make_run(recipe={"max_steps": 1, "hooks": [hook(program)]})
    assert finetune("train", run) == 0
    status = Path(f"/proc/{note.read_text()}/status")
    end = time.monotonic() + 10
    while status.exists() and "(zombie)" not in status.read_text():
        assert time.monotonic() < end


def test_a_pause_ends_the_hook_and_it_is_asked_again(make_run: MakeRun, tmp_path: Path) -> None:
    flag = tmp_path / "asked"
    program = (
        f"import time; first = not os.path.exists({str(flag)!r}); open({str(flag)!r}, 'w'); "
        f"first and (os.kill({os.getpid()}, {int(signal.SIGTERM)}), time.sleep(60)); "
        "print(json.dumps({'ok': 1}))"
    )
    run = make_run(
        recipe={"max_steps": 4, "save_steps": 50, "hooks": [hook(program, every_steps=2)]}
    )
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert events(run, "state")[-1].data["step"] == 2
    assert told(run, "judge.ok") == {}
    assert finetune("train", run) == 0
    assert told(run, "judge.ok") == {2: 1, 4: 1}
    assert max(losses(run)) == 4


#: The score falls from the second step on: step 2 is the best.
FALLING = "print(json.dumps({'score': 5 if step < 2 else 12 - step}))"


def test_the_best_adapter_by_a_hooks_score_is_kept_and_the_training_stops(
    make_run: MakeRun,
) -> None:
    recipe = {
        "max_steps": 12,
        "save_steps": 1,
        "save_total_limit": 1,
        "hooks": [hook(FALLING, every_steps=1)],
        "keep_best": True,
        "early_stopping": {"patience": 3, "measure": "judge.score", "higher_is_better": True},
    }
    run = make_run(recipe=recipe)
    assert finetune("train", run) == 0
    found = manifest(run)
    assert found.steps == 5 and found.total_steps == 12
    assert found.stopped_early is not None and "best was 10 at step 2" in found.stopped_early
    assert found.adapter_step == 2
    assert found.adapter_reason == "best validation: judge.score 10"
    kept = {path.name for path in (run / "checkpoints").iterdir()}
    assert kept == {"step-00000002", "step-00000005"}  # the best is never pruned
    other = make_run(
        "other",
        recipe={
            **recipe,
            "early_stopping": None,
            "keep_best": False,
            "max_steps": 2,
            "scheduler": "constant",
        },
    )
    assert finetune("train", other) == 0
    assert (
        manifest(other).adapter_files["adapter_model.safetensors"]
        == (found.adapter_files["adapter_model.safetensors"])
    )
    result = events(run, "result")[-1].data
    assert result["adapter_step"] == 2 and result["stopped_early"]


def test_early_stopping_goes_by_the_validation_loss(make_run: MakeRun) -> None:
    """A rate of next to nothing: no validation is better by the improvement asked for."""
    recipe = {
        "max_steps": 12,
        "learning_rate": 1e-9,
        "eval_steps": 2,
        "early_stopping": {"patience": 2, "minimum_improvement": 0.01},
    }
    run = make_run(recipe=recipe)
    assert finetune("train", run) == 0
    assert manifest(run).steps == 6
    stopped = [e.data for e in events(run, "state") if "stopped_early" in e.data]
    assert [data["step"] for data in stopped] == [6]


def test_early_stopping_says_when_its_hook_fails(make_run: MakeRun) -> None:
    rule = {"measure": "judge.score", "higher_is_better": True}
    recipe = {"hooks": [hook("print(json.dumps({'other': 1}))")], "early_stopping": rule}
    run = make_run(recipe=recipe)
    assert finetune("train", run) == schema.EXIT_FAILED
    said = events(run, "state")[-1].data
    assert said["code"] == "FINETUNE-411"
    assert "judge.score" in said["what"] and "gave no score score" in said["why"]


@pytest.mark.parametrize("measure", ["judge.score", "accuracy"])
def test_a_measure_that_nothing_gives_is_refused_before_the_first_step(
    make_run: MakeRun, measure: str
) -> None:
    run = make_run(recipe={"early_stopping": {"measure": measure}})
    assert finetune("train", run) == schema.EXIT_USAGE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-113"
    assert losses(run) == {}


def test_the_scores_stand_in_the_checkpoint(make_run: MakeRun) -> None:
    run = make_run(recipe={"max_steps": 4, "hooks": [hook(FALLING)]})
    assert finetune("train", run) == 0
    state = json.loads((run / "checkpoints" / "step-00000004" / "checkpoint.json").read_text())
    assert state["state"]["seen.judge.score"] == 8
