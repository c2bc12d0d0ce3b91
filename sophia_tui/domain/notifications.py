"""What people are told when a job or a model ends or needs them, by channels that they set up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class Channel(StrEnum):
    WEBHOOK = "webhook"
    EMAIL = "email"
    WHATSAPP = "whatsapp"


@dataclass(frozen=True)
class Notification:
    """One message by one channel. `job_id` is a job's, or model:NAME where it is about a model that
    ends. `event` is what happened to the job, numbered where it can happen
    again; `body` are its facts (never a word of a data set). `state` is waiting, sent or given_up.
    """

    id: int
    job_id: str
    event: str
    channel: str
    body: Mapping[str, Any]
    state: str
    tries: int
    next_at: datetime
    created_at: datetime
    sent_at: datetime | None = None
    error: str | None = None


class NotificationStore(Protocol):
    async def add(
        self, job_id: str, event: str, channels: tuple[str, ...], body: Mapping[str, Any]
    ) -> None:
        """One row for each channel; what was noted already changes nothing."""

    async def take(self, limit: int, seconds: float) -> list[Notification]:
        """Those that are due, for one worker: until that many seconds are over, nobody else gets
        them. Each taking counts as a try."""

    async def sent(self, notification_id: int) -> None: ...

    async def failed(self, notification_id: int, error: str, retry_in: float | None) -> None:
        """To be tried again in so many seconds; None gives it up."""

    async def waiting(self) -> int:
        """How many are still to be sent."""

    async def page(self, limit: int = 100, offset: int = 0) -> list[Notification]:
        """Newest first."""


@dataclass(frozen=True)
class Message:
    """What is sent: words for people in their language, and the facts for programs."""

    subject: str
    text: str
    facts: Mapping[str, Any]
    language: str


class Messenger(Protocol):
    """Sends a message by a channel. Blocks nobody: called in a task of its own."""

    async def send(self, channel: str, message: Message) -> None:
        """Raises UnavailableError J640 (try again) or JobError J641 (it will never go)."""
