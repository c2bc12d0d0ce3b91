"""What every document of a run folder is."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

FORMAT_VERSION: Final = 1


class Document(BaseModel):
    """A document of the contract: unknown keys are refused, values never appear in errors."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class VersionedDocument(Document):
    """A document that stands in a file of its own."""

    format_version: Literal[1] = FORMAT_VERSION
