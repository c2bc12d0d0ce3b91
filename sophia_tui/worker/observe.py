"""Copies what a run tells into the store, without gap or repeat, and sums it up for the job."""

from dataclasses import dataclass, field
from typing import Any

from finetune.schema import RunEvent
from sophia_tui.domain.jobs import Job, JobEvent
from sophia_tui.domain.protocols import JobStore
from sophia_tui.providers import run_folder

_BATCH = 500
#: Columns of the job's row that come from events.
_FIGURES = ("step", "total_steps", "loss", "seconds_left")


@dataclass
class Observed:
    """What a run said so far; `state` is its own word, of the attempt with process `pid`."""

    number: int = 0
    state: str | None = None
    state_data: dict[str, Any] = field(default_factory=dict)
    pid: int | None = None
    result: dict[str, Any] | None = None
    figures: dict[str, Any] = field(default_factory=dict)
    #: The step of the last checkpoint, from which the next attempt goes on.
    saved: int | None = None

    def take(self, event: RunEvent) -> None:
        """Fold one event in."""
        kind, data = event.kind, event.data
        self.number = event.number
        if kind == "state":
            before, self.state, self.state_data = self.state, str(data.get("state")), data
            if self.state == "starting":
                self.pid, self.result = data.get("pid"), None
                self._go_back(self.saved)
            elif self.state == "running" and before == "starting":
                self._go_back(data.get("resumed_from_step"))
        elif kind == "checkpoint":
            self.saved = data.get("step")
        elif kind == "result":
            self.result = data
        if kind in ("state", "progress", "metric"):
            self._take_figures(data)

    def _go_back(self, step: int | None) -> None:
        """An attempt begins after that step: what an earlier one said of later ones is void."""
        reached = self.figures.get("step")
        if reached is not None and reached != (step or 0):
            self.figures |= {"step": step or 0, "loss": None, "seconds_left": None}

    def _take_figures(self, data: dict[str, Any]) -> None:
        if data.get("total_steps") == 0:  # loading has no steps
            return
        for name in _FIGURES:
            value = data.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.figures[name] = value


class Observer:
    """Keeps what each watched run said; after a worker's restart it reads the file once more."""

    def __init__(self) -> None:
        self._seen: dict[str, Observed] = {}

    def forget(self, job_id: str) -> None:
        self._seen.pop(job_id, None)

    async def copy(self, jobs: JobStore, job: Job) -> Observed:
        """Copy new events into the store; returns the sum of all events of the run.

        Raises ContractError where events.jsonl can't be understood, OSError where it can't be read.
        """
        events, offset = run_folder.new_events(job)
        for start in range(0, len(events), _BATCH):
            batch = [
                JobEvent(job.id, each.number, each.at, each.kind, each.data)
                for each in events[start : start + _BATCH]
            ]
            last = start + _BATCH >= len(events)
            # a batch in the middle leaves the offset behind: its lines are read again and known
            await jobs.append_events(job.id, batch, offset if last else job.event_offset)
        observed = self._seen.get(job.id)
        if observed is None or observed.number != job.last_event:
            # first sight, or an answer of the store was lost on the way
            observed = Observed()
            everything = run_folder.all_events(job.run_folder or "")
        else:
            everything = events
        for event in everything:
            observed.take(event)
        self._seen[job.id] = observed
        return observed
