"""Personas: documents that describe an assistant, and the pairs that teach it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True)
class Persona:
    """One row of personas. `id` is a DID; `model_id` is the newest model that was tuned for it;
    `pairs` counts what it was given to learn."""

    id: str
    name: str
    version: str
    document: dict[str, Any]
    document_hash: str
    created_by: str
    created_at: datetime
    model_id: str | None = None
    pairs: int = 0


@dataclass(frozen=True)
class Pair:
    """What is said to the persona, and what it is to answer."""

    input: str
    output: str


class PersonaStore(Protocol):
    async def add(self, persona: Persona) -> Persona:
        """Insert; where one with the same document exists, that one is given back."""

    async def get(self, persona_id: str) -> Persona | None: ...

    async def page(self, limit: int = 100, offset: int = 0) -> list[Persona]:
        """Newest first."""

    async def add_pairs(self, persona_id: str, pairs: Sequence[Pair]) -> int:
        """Insert those that the persona does not have yet; how many were new."""

    async def pairs(self, persona_id: str) -> list[Pair]:
        """All of them, in the order in which they came."""

    async def used(self, persona_id: str, job_id: str) -> None:
        """Note the first tuning of the pairs that had none."""

    async def tuned(self, persona_id: str, model_id: str) -> None:
        """Note the newest model."""
