"""What the engine's process can be asked to do: a struct for each task, which runs itself.

A task may live in any module of this package, next to what it does; it is named to the process by
module and class, and nothing else is imported there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

#: Told while the work goes on: stage (a word of `process.STAGES`), done, and the total if known.
Tell = Callable[[str, int, int | None], None]


class Task(msgspec.Struct):
    """One piece of work. Its fields are plain data; what `run` returns must be, too."""

    language: str

    def run(self, tell: Tell) -> Any:
        """Do it. Raises errors of Sophia's tree for what the asker should read."""
        raise NotImplementedError


class StreamingTask(Task):
    """A task that also tells parts of its result while it works."""

    def run_telling(self, tell: Tell, part: Callable[[Any], None]) -> Any:
        """Do it; each `part` is plain data."""
        raise NotImplementedError

    def run(self, tell: Tell) -> Any:
        return self.run_telling(tell, lambda _part: None)


class RepairTask(Task):
    files: list[str]
    suspected: bool
    dry_run: bool

    def run(self, tell: Tell) -> Any:
        from sophia_tui.datasets.repair import repair_file

        return [
            repair_file(
                Path(name),
                self.suspected,
                self.dry_run,
                lambda lines: tell("repair", lines, None),
            )
            for name in self.files
        ]


class CheckTask(Task):
    """`training` False: only that every line is a JSON object."""

    path: str
    training: bool
    validation: str | None = None
    pairs: bool = False

    def run(self, tell: Tell) -> Any:
        from sophia_tui.datasets import openai_rules

        if not self.training:
            return openai_rules.check_lines(Path(self.path))
        validation = Path(self.validation) if self.validation else None
        return openai_rules.check_training(Path(self.path), validation, self.pairs)


class AnswersTask(Task):
    """Build training pairs of the answer events in a file."""

    events: str
    target: str
    limit: int
    tenant: str | None = None

    def run(self, tell: Tell) -> Any:
        from sophia_tui.datasets import answers

        return answers.build(Path(self.events), Path(self.target), self.limit, self.tenant)
