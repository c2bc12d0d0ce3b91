"""What a base's name says: a folder, a GGUF file or a hub id. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

BaseKind = Literal["path", "hub", "gguf"]
_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


@dataclass(frozen=True)
class BaseName:
    """A base as it was written, and what kind of thing it names."""

    text: str
    kind: BaseKind

    @property
    def path(self) -> Path:
        """The folder or file (kinds path and gguf)."""
        return Path(self.text).expanduser().absolute()


def read_base_name(text: str) -> BaseName:
    """The kind of a base: what lies on the disk goes before what the hub could have."""
    path = Path(text).expanduser()
    if path.suffix.lower() == ".gguf":
        return BaseName(text, "gguf")
    if path.exists() or not _HUB_ID.match(text):
        return BaseName(text, "path")
    return BaseName(text, "hub")
