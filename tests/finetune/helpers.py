"""Makes run folders for the tests, runs the program in them and reads what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune import schema
from finetune.cli import main

QUICK: dict[str, Any] = {
    "max_steps": 12,
    "learning_rate": 5e-3,
    "scheduler": "constant",
    "batch_size": 4,
    "gradient_accumulation": 1,
    "save_steps": 4,
    "logging_steps": 1,
    "sequence_length": 128,
}


def write_run(
    folder: Path, base: Path, dataset: Path, recipe: dict[str, Any] | None = None, **more: Any
) -> Path:
    """A run folder with its run.yaml."""
    folder.mkdir()
    fields: dict[str, Any] = {
        "job_id": "ftjob-test",
        "base": str(base),
        "dataset_path": str(dataset),
        "recipe": schema.Recipe.model_validate({**QUICK, **(recipe or {})}),
        "threads": 1,
    }
    schema.write_run_spec(folder, schema.RunSpec(**{**fields, **more}))
    return folder


def finetune(kind: str, folder: Path) -> int:
    """Run the program in this process (torch is imported once for all tests)."""
    return main([kind, str(folder)])


def events(folder: Path, kind: str | None = None) -> list[schema.RunEvent]:
    """The events of a run folder."""
    found = schema.read_events(folder / schema.EVENTS_FILE).events
    return [event for event in found if kind in (None, event.kind)]


def states(folder: Path) -> list[str]:
    """The states a run went through."""
    return [event.data["state"] for event in events(folder, "state")]


def losses(folder: Path) -> dict[int, float]:
    """Training loss by step, the last one said of each step."""
    return {
        event.data["step"]: event.data["loss"]
        for event in events(folder, "metric")
        if "eval_loss" not in event.data
    }


def manifest(folder: Path) -> schema.RunManifest:
    """The manifest of a run that ended."""
    return schema.read_document(folder / schema.MANIFEST_FILE, schema.RunManifest)
