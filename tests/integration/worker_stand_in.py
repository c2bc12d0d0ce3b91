"""A light run program for tests of the worker: finetune's own frame (lock, journal, heartbeat,
control file, signals) around work without weights. `base` says how it behaves."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.cli import _KINDS
from finetune.failures import WorkFailure
from finetune.runner import RunContext, run

ROOT = Path(__file__).resolve().parents[2]


def work(context: RunContext) -> dict[str, Any]:
    """Counts steps; each one is a checkpoint. Goes on behind the last one."""
    behaviour = context.spec.base.rpartition(":")[2]
    total = context.spec.recipe.max_steps or 5
    saved = context.folder / schema.CHECKPOINTS_FOLDER / "step"
    saved.parent.mkdir(exist_ok=True)
    done = int(saved.read_text()) if saved.exists() else 0
    context.journal.state("running", total_steps=total, resumed_from_step=done)
    for step in range(done + 1, total + 1):
        context.ears.check()
        time.sleep(context.spec.recipe.learning_rate)
        if behaviour == "crash" and step == done + 2:
            os._exit(9)
        if behaviour == "fail" and step == 2:
            raise WorkFailure(404, "The training diverged.", "The loss grew.", "Lower the rate.")
        context.journal.write("metric", {"step": step, "loss": 1 / step, "learning_rate": 0.1})
        context.progress("train", step, total, force=True, seconds_left=0.1 * (total - step))
        saved.write_text(str(step))
        context.journal.write("checkpoint", {"step": step, "path": "checkpoints/step"})
    adapter = context.folder / schema.ADAPTER_FOLDER
    adapter.mkdir(exist_ok=True)
    (adapter / "adapter_config.json").write_text("{}")
    return {"steps": total, "train_loss": 1 / total, "eval_loss": 0.5, "seconds": 1.0}


def print_environment(folder: Path) -> None:
    """What a run knows of its surroundings, for the tests of the launcher."""
    facts = {
        "environment": dict(os.environ),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "nice": os.nice(0),
        "umask": os.umask(0o077),
        "descriptors": sorted(int(each) for each in os.listdir("/proc/self/fd")),
        "folder": os.getcwd(),
    }
    (folder / "facts.part").write_text(json.dumps(facts))
    os.rename(folder / "facts.part", folder / "facts.json")
    time.sleep(60)


if __name__ == "__main__":
    verb, given = sys.argv[1], Path(sys.argv[2])
    if verb == "facts":
        print_environment(given)
    assert verb in _KINDS
    sys.exit(run(verb, given, lambda: work))  # type: ignore[arg-type]
