"""Served models: a deployment is one engine behind one name; requests are counted, never kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from sophia_tui.domain.jobs import RunIdentity
from sophia_tui.domain.models import Model


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


#: Marks Sophia's own questions (probes, golden prompts, parity): the front does not count them as
#: the traffic of production. finetune/parity_http.py says the same.
PROBE_HEADER = "x-sophia-probe"
PROBE_HEADERS = {PROBE_HEADER: "1"}


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


@dataclass(frozen=True)
class LoadedAdapter:
    """A LoRA adapter that an engine holds beside its base, by its model's id."""

    model: str
    path: str


@dataclass(frozen=True)
class EngineLoad:
    """What one engine process is to serve: a base and any number of adapters.

    `base` is a model's folder, a hub id or a .gguf file; `template` a chat template other than the
    base's own. Only models that agree in both can share a process.
    """

    base: str
    adapters: tuple[LoadedAdapter, ...] = ()
    template: str | None = None

    def shares(self, other: "EngineLoad") -> bool:
        return (self.base, self.template) == (other.base, other.template)

    def with_adapters(self, others: Iterable["EngineLoad"]) -> "EngineLoad":
        """Each adapter once, in an order that does not depend on who came first."""
        found = {each.model: each for load in (*others, self) for each in load.adapters}
        return replace(self, adapters=tuple(found[key] for key in sorted(found)))


@dataclass(frozen=True)
class EngineOptions:
    """How engines that can choose serve: the numbers of the weights, how many tokens their context
    holds at most, how many requests they answer at once."""

    precision: str = "f16"
    context: int = 8192
    slots: int = 4


@dataclass(frozen=True)
class Access:
    """How a request reaches one model of an engine: what it must name, what its body and headers
    bear beside, and what the engine can do. `precision` is of its weights, where that is known."""

    model: str
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    context: int | None = None
    precision: str | None = None
    #: Parameters of a request that this engine heeds and others don't.
    heeds: frozenset[str] = frozenset()
    #: Whether any other parameter than OpenAI's is kept from it: it would mean something there.
    strict: bool = False


class Engine(Protocol):
    """A program that serves models with an OpenAI-compatible protocol on loopback."""

    name: str
    #: Python packages it needs.
    packages: tuple[str, ...]
    #: Whether one process serves a base and adapters by name; else an adapter is merged first.
    adapters: bool

    def prepare(self, load: EngineLoad, options: EngineOptions, folder: Path) -> None:
        """Write what it reads at its start into its folder."""

    def command(self, load: EngineLoad, port: int, folder: Path) -> tuple[str, ...]:
        """What is started, so that it serves on 127.0.0.1 and this port."""

    def environment(self, folder: Path) -> dict[str, str]:
        """What it needs beside the clean environment of a run."""

    def access(self, model: Model, folder: Path) -> Access:
        """How to ask for this model of the engine that was started in the folder."""


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
