"""A stand-in trainer without torch: finetune's own frame (lock, journal, heartbeat, control file,
signals) around work without weights, with checkpoints, adapter and manifest as the contract has
them. `base` says how it behaves. It is held to the real one's tests in test_trainer_contract.py."""

import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.cli import _KINDS
from finetune.failures import WorkFailure
from finetune.runner import RunContext, run

ROOT = Path(__file__).resolve().parents[2]


#: Below the data folder: a line for each process that trained, for tests that count them.
STARTS = "starts.txt"


def save(context: RunContext, step: int, total: int) -> None:
    """A checkpoint, whole or not there; one is kept."""
    folder = context.folder / schema.CHECKPOINTS_FOLDER
    content = json.dumps({"step": step}).encode()
    record = schema.FileRecord(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    part = folder / f".unfinished-{step}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "state.json").write_bytes(content)
    schema.write_document(
        part / schema.CHECKPOINT_MANIFEST_FILE,
        schema.CheckpointManifest(
            job_id=context.spec.job_id,
            at=schema.now(),
            step=step,
            total_steps=total,
            run_fingerprint="stand-in",
            files={"state.json": record},
        ),
    )
    target = folder / f"step-{step:08d}"
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for old in sorted(folder.glob("step-*"))[:-1]:
        shutil.rmtree(old)
    path = f"{schema.CHECKPOINTS_FOLDER}/{target.name}"
    context.journal.write("checkpoint", {"step": step, "path": path})


def last_good(context: RunContext) -> int:
    """The step to go on from; what is not whole is set aside with a warning."""
    folder = context.folder / schema.CHECKPOINTS_FOLDER
    for each in sorted(folder.glob("step-*"), reverse=True):
        try:
            found = schema.read_document(
                each / schema.CHECKPOINT_MANIFEST_FILE, schema.CheckpointManifest
            )
            content = (each / "state.json").read_bytes()
            if hashlib.sha256(content).hexdigest() == found.files["state.json"].sha256:
                return found.step
        except (schema.ContractError, OSError):
            pass  # told below
        each.rename(folder / f"corrupt-{each.name}")
        context.journal.warning("checkpoint set aside", path=each.name)
    return 0


def write_manifest(context: RunContext, total: int, done: int, adapter: Path) -> None:
    content = (adapter / "adapter_config.json").read_bytes()
    record = schema.FileRecord(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    schema.write_document(
        context.folder / schema.MANIFEST_FILE,
        schema.RunManifest(
            job_id=context.spec.job_id,
            kind=context.spec.kind,
            base=context.spec.base,
            base_kind="path",
            base_fingerprint="stand-in",
            template_fingerprint="stand-in",
            template_source="plain",
            packages={},
            seed=context.spec.recipe.seed,
            device="none",
            threads=1,
            started_at=context.started_at,
            finished_at=schema.now(),
            seconds=context.elapsed(),
            steps=total,
            total_steps=total,
            resumed_from_step=done or None,
            adapter_files={"adapter_config.json": record},
        ),
    )


def work(context: RunContext) -> dict[str, Any]:
    """Counts steps; each one is a checkpoint. Goes on behind the last one."""
    behaviour = context.spec.base.rpartition(":")[2]
    total = context.spec.recipe.max_steps or 5
    if behaviour == "count":
        with (context.folder.parent.parent / STARTS).open("a") as starts:
            starts.write(f"{context.spec.job_id} {os.getpid()}\n")
    done = last_good(context)
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
        if behaviour != "unsaved":
            save(context, step, total)
    adapter = context.folder / schema.ADAPTER_FOLDER
    adapter.mkdir(exist_ok=True)
    (adapter / "adapter_config.json").write_text("{}")
    write_manifest(context, total, done, adapter)
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
    if not schema.load_run_spec(given).base.startswith("stand-in:"):  # one that is meant in earnest
        os.execv(sys.executable, [sys.executable, "-m", "finetune", verb, str(given)])
    sys.exit(run(verb, given, lambda: work))  # type: ignore[arg-type]
