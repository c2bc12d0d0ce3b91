"""Served models: a deployment is one engine behind one name; requests are counted, never kept."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from sophia_tui.domain.jobs import RunIdentity


class DeploymentState(StrEnum):
    """STARTING until the engine answers its health probe; FAILED keeps the cause in `error`."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (DeploymentState.STOPPED, DeploymentState.FAILED)


@dataclass(frozen=True)
class Deployment:
    """A model served under a name. `port` is the engine's own, on loopback, never a client's.

    `folder` holds the engine's log. `restarts` counts how often a vanished engine was started
    again by itself.
    """

    id: str
    model_id: str
    name: str
    engine: str
    state: DeploymentState
    created_by: str
    created_at: datetime
    folder: str | None = None
    port: int | None = None
    identity: RunIdentity | None = None
    ready_at: datetime | None = None
    stopped_at: datetime | None = None
    checked_at: datetime | None = None
    restarts: int = 0
    error: dict[str, Any] | None = None
    version: int = 1


class Engine(Protocol):
    """A program that serves one model folder with an OpenAI-compatible protocol on loopback."""

    name: str
    #: Python packages it needs.
    packages: tuple[str, ...]

    def command(self, model_folder: str, port: int) -> tuple[str, ...]:
        """What is started, so that it serves the folder on 127.0.0.1 and this port."""

    def environment(self) -> dict[str, str]:
        """What it needs beside the clean environment of a run."""

    def model_name(self, model_folder: str) -> str:
        """What its requests must name as their model."""


@dataclass(frozen=True)
class EngineProcess:
    """An engine that was started: which process it is, and its port on loopback."""

    identity: RunIdentity
    port: int


@dataclass(frozen=True)
class Probe:
    """Whether a model answered by its name. `why` says what came instead, without secrets."""

    answered: bool
    address: str
    why: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ChatAnswer:
    """What a model answered, and how long that took until the last word."""

    text: str
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class ServedRequest:
    """One request that the front answered: figures alone, never a word of it.

    `model` is the name asked for where it is known, else empty. `status` is the HTTP status given;
    `seconds` until the last byte, `first_token_seconds` until the first one of a stream.
    """

    at: datetime
    model: str
    status: int
    seconds: float
    deployment_id: str | None = None
    streamed: bool = False
    first_token_seconds: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None  # a code or kind, never a text


@dataclass(frozen=True)
class TrafficSummary:
    """Requests of one model over one bucket of time. Quantiles are of `seconds` of good answers."""

    start: datetime
    model: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    seconds_mean: float | None
    seconds_p50: float | None
    seconds_p95: float | None
    first_token_seconds_p50: float | None
