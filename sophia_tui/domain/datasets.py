"""The canonical form of training data, its versions, and where each record came from."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: What a version holds: chats to learn from, or preference pairs. Never both.
CHAT, PAIRS = "chat", "pairs"
#: What the names of data sets begin with that doors make of their own data: files sent to the
#: OpenAI-compatible endpoint, events, personas. A training takes them only by name.
DOOR_NAMES = ("upload", "adaptive", "persona")
ROLES = ("system", "developer", "user", "assistant", "tool")


@dataclass(frozen=True)
class Message:
    """One turn of a chat. `weight` 0 keeps an assistant turn out of the loss.

    `tool_calls` are the calls of an assistant's turn in the form of the chat completions API (each
    a mapping with id, type and function), `tool_call_id` is which of them a tool's turn answers.
    `parts` are content parts (text and image_url) as they came, where content is a list; `content`
    is then the text in them. An assistant's turn that only calls tools has content "".
    """

    role: str
    content: str
    weight: int | None = None
    name: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    tool_call_id: str | None = None
    parts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Example:
    """One canonical training example: a chat that ends with the assistant's turn.

    `tools` are the functions offered to the assistant, in the form of the chat completions API.
    `critique` is that of a constitutional example (mission section 4): three labelled lines.
    """

    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...] = ()
    critique: str | None = None


@dataclass(frozen=True)
class Pair:
    """One canonical preference pair: a prompt, and two answers to it, the first one the better.

    `tools` are as in an example.
    """

    messages: tuple[Message, ...]
    chosen: Message
    rejected: Message
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class SourceRow:
    """Where a record comes from: a database row (table, key) or a line of a file."""

    table: str
    key: dict[str, Any]


@dataclass(frozen=True)
class DatasetVersion:
    """One immutable version: the folder datasets/<name>/<hash12>/.

    `counts` holds rows_in, rows_kept, rows_rejected, train, valid, test, redacted and one entry
    for each rejection code; rows_in = rows_kept + rows_rejected always. `tags` are people's names
    for it, `protected` those of them that keep it from being deleted. `notice` says why it should
    be used no more (kind, successor, rows, at, by). A deleted one stays as a row for the lineage of
    what was trained on it, and is found no more.
    """

    name: str
    hash: str
    folder: str
    counts: dict[str, int]
    manifest: dict[str, Any] = field(default_factory=dict)
    created_by: str = ""
    created_at: datetime | None = None
    tags: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    notice: dict[str, Any] | None = None
    deleted_at: datetime | None = None
    deleted_by: str | None = None

    @property
    def form(self) -> str:
        """CHAT or PAIRS: what its lines are."""
        return str(self.manifest.get("form", CHAT))

    @property
    def id(self) -> str:
        return f"{self.name}@{self.hash[:12]}"


@dataclass(frozen=True)
class DatasetUser:
    """A job or a model (`what`) that names a version. `kind` is the job's or the model's, `state`
    the job's; of a model it is `deleted` or empty."""

    dataset: str
    what: str
    id: str
    kind: str
    state: str
