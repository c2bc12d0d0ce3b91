"""Which models end when: the bounds of the warnings, and what a provider's list of models says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

#: From how many days on people are warned, each time once.
DEFAULT_DAYS = "90,30,7"
_MOST_BOUNDS = 10
_MOST_DAYS = 3650


def read_days(text: str) -> tuple[int, ...]:
    """Days from the largest to the smallest. Raises ValueError for what are no such numbers."""
    parts = [each.strip() for each in text.split(",") if each.strip()]
    found = sorted({int(each) for each in parts if each.isdecimal()}, reverse=True)
    if not found or len(found) != len(parts) or len(found) > _MOST_BOUNDS:
        raise ValueError(text)
    if found[0] > _MOST_DAYS or found[-1] < 1:
        raise ValueError(text)
    return tuple(found)


@dataclass(frozen=True)
class Listing:
    """What an address said to GET /models.

    `models` are those it lists, each with the first day without it where it says one. `complete`:
    what is not among them does not exist there. `why` says why there is no list, or none that
    tells what is missing; never a secret.
    """

    models: Mapping[str, date | None] = field(default_factory=dict)
    complete: bool = False
    why: str = ""


class Lister(Protocol):
    """Asks an OpenAI-compatible address for its models."""

    async def __call__(
        self, base_url: str | None, api_key: str | None, names: Sequence[str], seconds: float
    ) -> Listing:
        """Within so many seconds, whatever the address does; those of `names` that the list lacks
        are asked for one by one. `base_url` None is the provider's own address. Raises nothing that
        the address causes; UnavailableError M600 where the client is not installed."""
