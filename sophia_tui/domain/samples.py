"""What services know of the sample data: a protocol; wiring.py puts the real loader in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class SampleTable:
    """One sample table as it was loaded."""

    table: str
    rows: int


class SampleLoader(Protocol):
    """Makes the embedded server play the owner's database."""

    async def load(self, now: datetime) -> list[SampleTable]:
        """Make or replace the sample tables, all of them or none; row times count back from `now`.

        Raises RefusedError S320 for any server but the embedded one, ConflictError S321 where
        tables of those names exist that are not ours, S322 where something depends on them.
        """


#: The demo's base model below the folder of models; the installer puts it there.
DEMO_BASE = "SmolLM2-135M-Instruct.Q4_1.gguf"
#: Held-out wordings that the demo asks before and after (ids of heldout_questions.jsonl).
DEMO_QUESTIONS = ("heldout-005", "heldout-011", "heldout-027")
