"""What an engine of llama.cpp is told to serve, and what it says of it; as light as schema."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from finetune.document import Document, VersionedDocument

#: In the engine's folder: what it is to serve, what it serves, why it can't, that it may go.
SERVE_FILE = "engine.json"
SERVED_FILE = "served.json"
REFUSED_FILE = "refused.json"
RETIRE_FILE = "retire"

#: The numbers that weights are served in; a .gguf file is served as it is.
ServePrecision = Literal["f32", "f16", "bf16", "q8_0"]


def state_of(place: str) -> str:
    """Sums up a folder's files, or one file, as they lie there now, and nothing in them: weights
    are large. Empty where nothing lies there, as for a hub id."""
    path = Path(place).expanduser()
    try:
        files = [path] if path.is_file() else list(path.iterdir())
        found = sorted(
            (each.name, state.st_size, state.st_mtime_ns, state.st_ino)
            for each in files
            if each.is_file() and (state := each.stat())
        )
    except OSError:
        return ""
    text = json.dumps([str(path.resolve()), found])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


class ServedAdapter(Document):
    """A LoRA adapter beside the base: its model's id, and its folder or .gguf file."""

    model: str
    path: str
    weights: str = Field("", description="state of its files as the engine was started")


class ServeSpec(VersionedDocument):
    """engine.json: a base and its adapters, whose places in this list requests name."""

    base: str = Field(min_length=1, description="folder, hub id or .gguf file")
    weights: str = Field("", description="state of the base's files as the engine was started")
    precision: ServePrecision = "q8_0"
    adapters: list[ServedAdapter] = Field(default_factory=list)
    template: str | None = Field(None, description="chat template, where not the base's own")
    context: int = Field(8192, ge=1, description="tokens, shared by the requests under way")
    slots: int = Field(4, ge=1, description="requests answered at once")
    threads: int | None = Field(None, ge=1)
    key: str = Field(description="what requests must bear; the front's alone")


class Served(VersionedDocument):
    """served.json: the files that were loaded, and what is known of them."""

    base: str = Field(description=".gguf file")
    adapters: list[str] = Field(default_factory=list, description=".gguf files, in spec's order")
    precision: str = Field(description="of most weights, as the file says")
    context: int = Field(description="tokens that requests share")


class EngineRefusal(VersionedDocument):
    """refused.json: why it can't serve this, in the words of a RunFailure."""

    code: str
    what: str
    why: str
    remedy: str
