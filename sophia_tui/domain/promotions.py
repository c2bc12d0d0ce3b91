"""Promotion: the names of its steps, what a new model must answer before it stays, who asks."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sophia_tui.domain.protocols import Prober
from sophia_tui.domain.serving import ChatAnswer


class Step(StrEnum):
    """The steps of a promotion in their order; each is written down before it is done. UNDO is the
    way back from any of them but the last: after RECORD only the record can be missing."""

    OVERRIDE = "override"
    SNAPSHOT = "snapshot"
    WRITE = "write"
    RESTART = "restart"
    HEALTH = "health"
    RECORD = "record"
    UNDO = "undo"


@dataclass(frozen=True)
class GoldenPrompt:
    """A question that a model in production answers; with `accepted`, by one of these texts."""

    question: str
    accepted: tuple[str, ...] = ()


#: The latency and the errors of mission section 2: target for the median, baseline for the p95.
BOUNDS_DEFAULT = "median<2, p95<3, errors<0.01"
_NAMES = ("median", "p95", "errors")
_PART = re.compile(rf"({'|'.join(_NAMES)})\s*<\s*(\d{{1,9}}(?:\.\d{{1,9}})?)")


def read_promotion_bounds(text: str) -> dict[str, float]:
    """Bounds by name: seconds, and a share for errors. One that is left out is not held. Raises
    ValueError that says which part can't be read."""
    found: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART.fullmatch(part)
        if match is None or match[1] in found:
            raise ValueError(part)
        found[match[1]] = float(match[2])
    return found


def quantile(values: Sequence[float], share: float) -> float | None:
    """The nearest rank: the smallest value that so many of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def read_named_urls(text: str) -> tuple[tuple[str, str], ...]:
    """Health addresses as pairs of name and address: `URL` is asked at every promotion (no name),
    `NAME=URL` where that unit or env file is part of it. Raises ValueError with the part."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        name, _sign, url = ("", "", part) if _is_url(part) else part.partition("=")
        if not _is_url(url):
            raise ValueError(part)
        found.append((name.strip(), url))
    return tuple(found)


def _is_url(text: str) -> bool:
    return re.fullmatch(r"https?://[^\s/?#]+\S*", text) is not None


class Answerer(Protocol):
    """Asks a model one question at an OpenAI-compatible address."""

    async def __call__(
        self,
        base_url: str,
        api_key: str | None,
        model: str,
        question: str,
        most_tokens: int,
        seconds: float,
    ) -> ChatAnswer:
        """Raises UnavailableError, NotFoundError."""


class HealthLook(Protocol):
    """Asks an HTTP health address."""

    async def __call__(self, url: str, seconds: float) -> str:
        """What is wrong with it, within so many seconds; empty where it answers 2xx."""


@dataclass(frozen=True)
class Outside:
    """What a promotion asks of the world: a token by the model's name, answers to golden prompts,
    health addresses."""

    probe: Prober
    answer: Answerer
    look: HealthLook
