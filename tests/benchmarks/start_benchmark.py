"""From `sophia train start` to the first step, beside the bare imports and the load of the base.

python -m tests.benchmarks.start_benchmark BASE [repeats, default 3]

BASE is a model's folder. Bare: a Python process that imports transformers' AutoModelForCausalLM and
peft and loads the base. Ours: the command, the queue, the worker (once started by the command, once
living already), the run's process, its imports, the base, the data, up to where the first step
begins (the run's event `running`) and to where it has ended (the event of its loss). In turns, in a
data folder of its own; medians and ratios are printed, nothing is asserted. Budget: 1.3.
"""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from finetune import schema
from sophia_tui.paths import Paths
from sophia_tui.worker.lock import is_held, lock_path

SAMPLES = Path(schema.__file__).parent / "samples" / "source" / "qa_cache.jsonl"
BARE = (
    "from transformers import AutoModelForCausalLM; import peft, sys; "
    "AutoModelForCausalLM.from_pretrained(sys.argv[1])"
)
SOPHIA = (sys.executable, "-m", "sophia_tui.cli.main")
PATIENCE_SECONDS = 600


def bare(base: Path) -> float:
    """Seconds of the imports and the load, in a process of their own."""
    started = time.monotonic()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, "-c", BARE, str(base)], check=True, capture_output=True, env=environment
    )
    return time.monotonic() - started


def sophia(environment: dict[str, str], *arguments: str) -> str:
    """One command's output."""
    done = subprocess.run(
        [*SOPHIA, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"sophia {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def first_step(environment: dict[str, str], base: Path) -> tuple[float, float]:
    """Seconds from the command to where the first step begins, and to where it has ended."""
    started = time.time()
    told = sophia(
        environment, "train", "start", "--base", str(base), "--max-steps", "1", "--json", "--yes"
    )
    job = json.loads(told)["id"]
    events = Path(environment["SOPHIA_DATA_DIR"], "runs", job, schema.EVENTS_FILE)
    limit = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < limit:
        time.sleep(0.2)
        found = schema.read_events(events).events
        states = {event.data["state"]: event.at for event in found if event.kind == "state"}
        if "succeeded" in states:
            ended = next(event.at for event in found if event.kind == "metric")
            return states["running"].timestamp() - started, ended.timestamp() - started
        if "failed" in states:
            break
    raise SystemExit(f"{events} tells of no training that succeeded")


def end_worker(data: Path) -> None:
    """End the data folder's worker, which the first command started, and wait until it has."""
    paths = Paths(data)
    while is_held(paths):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(lock_path(paths).read_text()), signal.SIGTERM)
        time.sleep(0.5)


def prepare(folder: Path) -> dict[str, str]:
    """A data folder with a data set version in it; returns the environment."""
    environment = {
        **os.environ,
        "SOPHIA_DATA_DIR": str(folder / "s"),
        "FINETUNE_DIR": str(folder / "d"),
        "ALLOW_FINETUNE": "true",
        "SOPHIA_RECIPE": "small",
        "HF_HUB_OFFLINE": "1",
    }
    for name in ("DATABASE_URL", "SOPHIA_STORE_URL"):
        environment.pop(name, None)
    (folder / "d").mkdir()
    shutil.copy(SAMPLES, folder / "d" / "qa_cache.jsonl")
    sophia(environment, "prepare", "--yes", "--json")
    return environment


def main() -> None:
    base = Path(sys.argv[1])
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="sb-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # as root, the embedded Postgres runs under an account of its own
        environment = prepare(Path(folder))
        try:
            for repeat in range(repeats):
                found.setdefault("bare", []).append(bare(base))
                for worker in ("started", "living"):  # a worker stays a while when it is idle
                    begins, ends = first_step(environment, base)
                    found.setdefault(f"worker {worker}: step begins", []).append(begins)
                    found.setdefault(f"worker {worker}: step ended", []).append(ends)
                end_worker(Path(environment["SOPHIA_DATA_DIR"]))
                line = ", ".join(f"{name} {values[-1]:.1f} s" for name, values in found.items())
                print(f"  {repeat + 1}. {line}", flush=True)
        finally:
            end_worker(Path(environment["SOPHIA_DATA_DIR"]))
            sophia(environment, "store", "stop", "--yes")
    whole = statistics.median(found["bare"])
    print(f"medians of {repeats}, load {os.getloadavg()[0]:.1f}")
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{name:32}{median:7.1f} s{median / whole:7.2f}x")


if __name__ == "__main__":
    main()
