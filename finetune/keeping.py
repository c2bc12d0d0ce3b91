"""A training's checkpoints: what is saved when, and from which one a sitting goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from finetune import schema
from finetune.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from finetune.checkpoints import CheckpointStore, records_of
from finetune.failures import Refused
from finetune.runner import RunContext
from finetune.training import Trainer


class Keeper:
    """Saves and restores; all processes of a training call it together, the first one writes."""

    def __init__(self, context: RunContext, trainer: Trainer, fingerprint: str) -> None:
        self._context = context
        self._trainer = trainer
        self._fingerprint = fingerprint
        self._saved_step = -1
        self._store: CheckpointStore | None = None
        if trainer.ranks.first:
            folder = context.folder / schema.CHECKPOINTS_FOLDER
            self._store = CheckpointStore(folder, context.spec.recipe.save_total_limit)

    def resume(self) -> int | None:
        """Go back to the last good checkpoint; returns its step, None where there is none.

        Raises Refused 103 where all that there are belong to another training.
        """
        found = self._trainer.ranks.tell(self._last_good())
        if found is None:
            return None
        manifest, path = found
        self._trainer.restore(manifest, path)
        self._saved_step = manifest.step
        return manifest.step

    def begin_anew(self) -> None:
        """Set aside what an earlier training has left here."""
        if self._store is not None and (names := self._store.set_aside_all()):
            self._context.journal.warning(
                "run.yaml says resume: false; earlier checkpoints were set aside",
                reason="superseded_checkpoints",
                names=names,
            )

    def _last_good(self) -> tuple[schema.CheckpointManifest, Path] | None:
        def on_unusable(step: int, reason: str, name: str) -> None:
            self._context.journal.warning(
                f"checkpoint of step {step} is broken ({reason}) and was moved aside",
                reason="corrupt_checkpoint",
                step=step,
                moved_to=f"{schema.CHECKPOINTS_FOLDER}/{name}",
            )

        if self._store is None:
            return None
        found, foreign = self._store.last_good(self._fingerprint, on_unusable)
        if found is None and foreign:
            raise Refused(
                103,
                "The checkpoints of this folder belong to another training.",
                "Data, base, template or recipe changed since they were written, or this machine "
                "computes in another way (precision, quantisation, optimizer).",
                "Start a new run, or set resume: false in run.yaml to begin anew "
                "(the checkpoints are kept aside).",
            )
        return found

    def save(self, total_steps: int) -> None:
        """Write a checkpoint, unless this step has one (or there is nothing to keep yet)."""
        step = self._trainer.counters.step
        if step in (0, self._saved_step) or self._context.spec.recipe.try_one_step:
            return
        started = time.monotonic()
        files = self._trainer.checkpoint_files()
        self._saved_step = step
        if self._store is None:
            return
        manifest = schema.CheckpointManifest(
            layout=schema.CHECKPOINT_LAYOUT,
            job_id=self._context.spec.job_id,
            at=schema.now(),
            step=step,
            total_steps=total_steps,
            run_fingerprint=self._fingerprint,
            state=self._trainer.counters.as_state(),
            files=records_of(files),
        )
        if self._context.spec.recipe.keep_best:
            self._store.spared = self._trainer.counters.best_step
        path = self._store.save(manifest, files)
        self._context.journal.write(
            "checkpoint",
            {
                "step": step,
                "path": f"{schema.CHECKPOINTS_FOLDER}/{path.name}",
                "bytes": sum(len(content) for content in files.values()),
                "seconds": round(time.monotonic() - started, 2),
            },
        )

    def adapter_of(self, step: int) -> Mapping[str, bytes] | None:
        """The adapter as it was after a step; None where its checkpoint is not whole any more."""
        folder = self._store.proved(step) if self._store is not None else None
        if folder is None:
            return None
        return {name: (folder / name).read_bytes() for name in (ADAPTER_WEIGHTS, ADAPTER_CONFIG)}
