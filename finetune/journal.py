"""Writes events.jsonl: numbered without gaps, whole lines only, over crashes and resumes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune import schema

_DURABLE = {"state", "checkpoint", "result"}


class Journal:
    """The one writer of a run's events (the run's lock sees to that). Safe between threads."""

    def __init__(self, path: Path) -> None:
        """Open the journal; a torn last line is cut off, numbers go on from the last whole one."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._lock = threading.Lock()
        self._size = 0
        self.last_number = 0
        self.last_state: str | None = None
        try:
            self._adopt(path)
        except BaseException:
            self.close()
            raise

    def _adopt(self, path: Path) -> None:
        batch = schema.read_events(path)
        for event in batch.events:
            if event.number != self.last_number + 1:
                raise schema.ContractError(
                    f"{path}: event {event.number} follows {self.last_number}"
                )
            self.last_number = event.number
            if event.kind == "state":
                self.last_state = str(event.data.get("state"))
        self._size = batch.offset
        os.ftruncate(self._descriptor, self._size)

    def write(self, kind: schema.EventKind, data: Mapping[str, Any]) -> schema.RunEvent:
        """Append one event; raises OSError, and then the file is as it was before."""
        with self._lock:
            event = schema.RunEvent(
                number=self.last_number + 1, at=schema.now(), kind=kind, data=dict(data)
            )
            line = schema.event_line(event)
            try:
                written = os.pwrite(self._descriptor, line, self._size)
                if written != len(line):
                    # A full disk takes part of a line; the rest tells the true reason.
                    os.pwrite(self._descriptor, line[written:], self._size + written)
                if kind in _DURABLE:
                    os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(line)
            self.last_number = event.number
            if kind == "state":
                self.last_state = str(data.get("state"))
            return event

    def state(self, state: schema.RunState, **data: Any) -> None:
        """Write a state event."""
        self.write("state", {"state": state, **data})

    def warning(self, message: str, **data: Any) -> None:
        """Write a warning event."""
        self.write("warning", {"message": message, **data})

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SilentJournal(Journal):
    """The journal of a process beside the one that writes: it takes events and keeps none."""

    def __init__(self) -> None:
        self._descriptor = -1
        self.last_number = 0
        self.last_state = None

    def write(self, kind: schema.EventKind, data: Mapping[str, Any]) -> schema.RunEvent:
        """The event, written nowhere."""
        return schema.RunEvent(number=1, at=schema.now(), kind=kind, data=dict(data))
