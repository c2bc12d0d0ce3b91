"""The demo cut off at every step and run again: it goes on, and the result is the same.

Real processes, a real Postgres, a real worker, real weights: a tiny model, so that a whole demo
takes a minute and not six.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import reachable_folder
from tests.finetune.tiny_model import build_tiny_model
from tests.representatives import every

STEPS = 9
PROGRAM = (sys.executable, "-m", "sophia_tui.cli.main")
PATIENCE = 240.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class House:
    """One data folder, and the demo's processes in it."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.base = base
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **kept,
            "SOPHIA_DATA_DIR": str(folder),
            "API_URL": f"http://127.0.0.1:{free_port()}",
            "SOPHIA_TRAINING_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "LANG": "C.UTF-8",
        }

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            [*PROGRAM, *words, "--json"],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PROGRAM, "demo", "--base", str(self.base), "--plain"],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def cut_off(self, step: int, how: signal.Signals) -> None:
        """Begin a demo, and end it as soon as it says that it is at `step`."""
        demo = self.start()
        seen = []
        deadline = time.monotonic() + PATIENCE
        assert demo.stderr is not None
        for line in demo.stderr:
            seen.append(line)
            assert time.monotonic() < deadline, "".join(seen)
            if line.startswith(f"[{step}/{STEPS}]"):
                demo.send_signal(how)
                break
        demo.communicate(timeout=PATIENCE)
        assert demo.returncode != 0, "".join(seen)
        assert any(line.startswith(f"[{step}/{STEPS}]") for line in seen), "".join(seen)

    def result(self) -> dict[str, Any]:
        """What must be the same however often the demo was cut off."""
        summary = self.ask("demo", "--base", str(self.base))
        run = self.folder / "runs" / summary["job"]
        manifest = json.loads((run / "manifest.json").read_text())
        models = [each["id"] for each in self.ask("models", "list")["items"]]
        return {
            "dataset": summary["dataset"],
            "rows": (summary["rows_in"], summary["rows_kept"], summary["rows_rejected"]),
            "adapter": manifest["adapter_files"]["adapter_model.safetensors"]["sha256"],
            "scores": summary["scores"],
            "graded": summary["graded"],
            "models": models,
            "diff": summary["diff"],
            "answered": bool(summary["served_answer"]),
        }

    def close(self) -> None:
        for words in (("serve", "stop", "--api"), ("store", "stop")):
            subprocess.run(
                [*PROGRAM, *words, "--yes", "--json"],
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                timeout=60,
            )
        _end_processes(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end_processes(folder: Path) -> None:
    """Whatever still works in the folder: engines, workers, runs."""
    marks = (f"SOPHIA_DATA_DIR={folder}".encode(), str(folder).encode())
    for each in Path("/proc").glob("[0-9]*"):
        try:
            about = (each / "environ").read_bytes() + (each / "cmdline").read_bytes()
            if int(each.name) != os.getpid() and any(mark in about for mark in marks):
                os.kill(int(each.name), signal.SIGKILL)
        except (OSError, ValueError):
            continue


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def house(tiny: Path) -> Iterator[House]:
    made = House(reachable_folder(), tiny)
    yield made
    made.close()


@pytest.fixture(scope="module")
def undisturbed(tiny: Path) -> Iterator[dict[str, Any]]:
    """The result of a demo that nobody cut off."""
    made = House(reachable_folder(), tiny)
    try:
        yield made.result()
    finally:
        made.close()


@pytest.mark.timeout(900)
def test_a_demo_killed_at_each_step_in_turn_ends_with_the_same_result(
    house: House, undisturbed: dict[str, Any]
) -> None:
    for step in every(range(1, STEPS + 1), everyday=3):
        house.cut_off(step, signal.SIGKILL)
    assert house.result() == undisturbed


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", range(1, STEPS + 1))
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGHUP])
def test_a_demo_cut_off_once_ends_with_the_same_result(
    house: House, undisturbed: dict[str, Any], step: int, how: signal.Signals
) -> None:
    house.cut_off(step, how)
    assert house.result() == undisturbed
