"""One training while everything around it is killed, stopped, filled and set to another time.

Seeded: the same blows in the same order. `python -m pytest -m long tests/integration/test_chaos.py`
is the whole of it; CHAOS_SEED and CHAOS_SECONDS choose another one.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from finetune import schema
from sophia_tui.errors import SophiaError
from sophia_tui.store.embedded import EmbeddedServer
from tests.conftest import reachable_folder
from tests.finetune.tiny_model import build_tiny_model
from tests.integration.chaos_house import CLOCK
from tests.tui.test_terminal import Terminal

PROGRAM = (sys.executable, "-m", "sophia_tui.cli.main")
ROOT = Path(__file__).parents[2]
#: Disk for data, checkpoints and Postgres; filled up now and then.
DISK = "450m"
RECIPE = {
    "learning_rate": 5e-3,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "sequence_length": 128,
    "logging_steps": 1,
    "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
}


class World:
    """A data folder on a small disk of its own, the person's commands, and what hurts them."""

    def __init__(self, folder: Path, base: Path, seed: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.base = base
        self.chance = random.Random(seed)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.blows: list[str] = []
        self.worker: subprocess.Popen[bytes] | None = None
        self.console: Terminal | None = None
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.environment = {
            **kept,
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "SOPHIA_DATA_DIR": str(self.data),
            "SOPHIA_MAXIMUM_RESUMES": "1000",
            "SOPHIA_STALLED_SECONDS": "5",
            "SOPHIA_DISK_FLOOR_MB": "40",  # the disk is a small one
            "SOPHIA_TRAINING_THREADS": "1",
            "FINETUNE_DIR": str(folder / "finetune"),
            CLOCK: str(self.clock),
        }

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            [*PROGRAM, *words, "--json"],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def patiently(self, *words: str, seconds: float = 120) -> Any:
        """Ask again while something is away."""
        end = time.monotonic() + seconds
        while True:
            try:
                return self.ask(*words)
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    # -- what hurts

    def start_worker(self) -> None:
        """As a service manager would: again whenever it is gone."""
        if self.worker is None or self.worker.poll() is not None:
            with (self.folder / "worker.txt").open("ab") as log:
                self.worker = subprocess.Popen(
                    [sys.executable, "-m", "tests.integration.chaos_house", "worker"],
                    env=self.environment,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def kill_worker(self) -> None:
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
        time.sleep(self.chance.uniform(0, 2))
        self.start_worker()

    def kill_run(self) -> None:
        for process in self.processes("tests/integration/chaos_house.py"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def open_console(self) -> None:
        if self.console is None:
            self.console = Terminal(["-m", "sophia_tui.cli.main"], environment=self.environment)
            self.console.read(2, until=b"Overview")
            self.console.type(b"4")

    def kill_console(self) -> None:
        self.open_console()
        assert self.console is not None
        self.console.read(0.5)
        self.console.process.kill()
        self.console.close()
        self.console = None

    def kill_postgres(self) -> None:
        server = EmbeddedServer(self.data / "postgres")
        with contextlib.suppress(SophiaError, ProcessLookupError):
            pid = server.look().pid
            if pid:
                os.kill(pid, signal.SIGKILL)

    def stop_postgres(self) -> None:
        server = EmbeddedServer(self.data / "postgres")
        with contextlib.suppress(SophiaError):
            server.halt()
        time.sleep(self.chance.uniform(0.5, 4))
        with contextlib.suppress(SophiaError):  # then the worker or a person starts it
            server.start()

    def fill_disk(self) -> None:
        ballast = self.data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(b"\0" * 65536)
        time.sleep(self.chance.uniform(1, 5))
        ballast.unlink()

    def jump(self) -> None:
        hours = self.chance.choice([-24, -1, -0.1, 0.1, 1, 24 * 30])
        self.clock.write_text(str(float(self.clock.read_text()) + hours * 3600))

    def processes(self, part: str) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if part in line and str(self.folder) in line + str(process.environ()):
                    found.append(process)
        return found

    def chaos(self, seconds: float, ended: Callable[[], bool], small_disk: bool) -> None:
        blows: list[Callable[[], None]] = [
            self.kill_worker,
            self.kill_run,
            self.kill_run,
            self.kill_console,
            self.kill_postgres,
            self.stop_postgres,
            self.jump,
            *([self.fill_disk] if small_disk else []),
        ]
        order: list[Callable[[], None]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end and not ended():
            if not order:  # each once before any comes again
                order = self.chance.sample(blows, len(blows))
            blow = order.pop()
            self.blows.append(blow.__name__)
            blow()
            self.start_worker()
            time.sleep(self.chance.uniform(0.5, 6))

    def close(self) -> None:
        if self.console is not None:
            self.console.close()
        if self.worker is not None:
            self.worker.terminate()
            self.worker.wait(30)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small disk of its own at `folder`; whether it could be had (root alone may mount)."""
    folder.mkdir(mode=0o711)
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=711", "sophia-chaos", str(folder)],
            check=False,
            capture_output=True,
        ).returncode
        == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def pairs() -> str:
    lines = [
        {"question": f"Who keeps the key of room {n}?", "answer": f"Dona {n % 7} keeps key {n}."}
        for n in range(48)
    ]
    return "".join(json.dumps(each) + "\n" for each in lines)


def losses_of(events: list[Any]) -> dict[int, float]:
    """Loss by step, as it was said last."""
    return {
        each["data"]["step"]: each["data"]["loss"]
        for each in events
        if each["kind"] == "metric" and "eval_loss" not in each["data"] and "loss" in each["data"]
    }


def undisturbed(world: World, request: dict[str, Any]) -> dict[int, float]:
    """The same run by the program alone."""
    folder = world.folder / "undisturbed"
    folder.mkdir()
    spec = schema.RunSpec.model_validate(request)
    schema.write_run_spec(folder, spec)
    done = subprocess.run(
        [sys.executable, "-m", "finetune", "train", str(folder)],
        env=world.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    read = schema.read_events(folder / schema.EVENTS_FILE).events
    return losses_of([each.model_dump(mode="json") for each in read])


def all_events(world: World, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := world.ask("jobs", "events", job, "--after", str(len(found)), "--limit", "5000")[
        "items"
    ]:
        found += page
    return found


def one_life(tiny: Path, seed: int, seconds: float, steps: int) -> None:
    """A training through `seconds` of chaos; then what came out."""
    folder = reachable_folder()
    with disk(folder / "data") as small_disk:
        world = World(folder, tiny, seed)
        if not small_disk:
            print("no small disk could be mounted: it is not filled up")
        try:
            (folder / "finetune").mkdir()
            (folder / "finetune" / "pairs.jsonl").write_text(pairs())
            recipe = folder / "recipe.yaml"
            recipe.write_text(yaml.safe_dump({**RECIPE, "max_steps": steps, "save_steps": 20}))
            world.ask("prepare", "run", "--name", "town")
            world.start_worker()
            job = world.ask(
                "train", "start", "town", "--base", str(tiny), "--recipe", str(recipe), "--yes"
            )["id"]

            def ended() -> bool:
                manifest = world.data / "runs" / job / schema.MANIFEST_FILE
                return manifest.exists()

            world.chaos(seconds, ended, small_disk)
            world.start_worker()
            end = time.monotonic() + 300
            while (view := world.patiently("jobs", "show", job))["status"] != "succeeded":
                assert view["status"] not in ("failed", "cancelled"), view
                assert time.monotonic() < end, view
                world.start_worker()
                time.sleep(1)
            _judge(world, job, view)
        finally:
            told = f"seed {seed}: {len(world.blows)} blows: {' '.join(world.blows)}"
            print(told)
            world.close()
            with contextlib.suppress(AssertionError):
                world.ask("store", "stop", "--yes")
            left = [each for each in world.processes("") if each.pid != os.getpid()]
            lines = [" ".join(each.cmdline()) for each in left]
            for each in left:
                each.kill()
    shutil.rmtree(folder, ignore_errors=True)
    assert lines == []  # nothing is left running


def _judge(world: World, job: str, view: dict[str, Any]) -> None:
    stored = all_events(world, job)
    assert [each["number"] for each in stored] == list(range(1, len(stored) + 1))
    run = world.data / "runs" / job
    written = [
        each.model_dump(mode="json") for each in schema.read_events(run / "events.jsonl").events
    ]
    told = [(each["number"], each["kind"], each["data"]) for each in stored]
    assert told == [(each["number"], each["kind"], each["data"]) for each in written]
    request = schema.load_run_spec(run).model_dump(mode="json")
    assert losses_of(stored) == undisturbed(world, request)
    assert world.ask("models", "show", view["resulting_model"])["job"] == job
    interesting = [each for each in world.blows if each == "kill_run"]
    assert not interesting or view["resumes"] >= 1


@pytest.mark.timeout(600)
def test_a_training_survives_a_short_chaos(tiny: Path) -> None:
    one_life(tiny, seed=7, seconds=16, steps=120)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("offset", range(2))
def test_a_training_survives_a_long_chaos(tiny: Path, offset: int) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "100")) + offset
    one_life(tiny, seed, float(os.environ.get("CHAOS_SECONDS", "240")), steps=3000)
