"""Documents of a preview: what a training would learn, token by token and over the whole data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from finetune.document import Document, VersionedDocument

#: How a line of a data set is written; the reader is chosen by the line's keys.
LineForm = Literal["chat", "preference", "alpaca", "critique"]
#: Why a line is not trained on, or not as a whole.
LineReason = Literal["unreadable", "no_answer_token", "truncated", "template_refuses", "other_form"]


class PreviewSettings(Document):
    """Which examples a preview shows in full: the first `count` of each file, and chosen lines."""

    count: int = Field(3, ge=0, le=1000, description="of train.jsonl, from its start")
    valid_count: int = Field(0, ge=0, le=1000, description="of valid.jsonl, from its start")
    lines: list[int] = Field(
        default_factory=list, max_length=1000, description="lines of train.jsonl, from 1"
    )


class Segment(Document):
    """An unbroken stretch of a rendered example that is trained on, or isn't."""

    text: str
    trained: bool
    tokens: int


class PreviewExample(Document):
    """One example as the model gets it. Segments end where the example is cut.

    `rejected` stands beside `segments` (the chosen answer) where the line is a preference pair;
    the counts are then those of both. `problem` says why an example can't be trained on.
    """

    file: str
    line: int
    form: LineForm | None = None
    segments: list[Segment] = Field(default_factory=list)
    rejected: list[Segment] | None = None
    tokens: int = Field(0, description="as trained on: what is cut off doesn't count")
    trained_tokens: int = 0
    cut_tokens: int = Field(0, description="beyond sequence_length")
    problem: LineReason | None = None
    why: str | None = Field(None, description="of an unreadable line; no text of the data set")


class Lengths(Document):
    """How long the examples are, in tokens before any cut."""

    mean: float
    p10: int
    p50: int
    p90: int
    p95: int
    p99: int
    longest: int
    longest_line: int


class ListedLines(Document):
    """Lines of a file for one reason: how many, the first thousand, and the file with them all."""

    reason: LineReason
    count: int
    lines: list[int] = Field(description="the first, at most 1,000")
    path: str | None = Field(None, description="in the run folder: every line, one a row")
    trained_tokens_lost: int = Field(0, description="of truncated lines")


class PartPreview(Document):
    """One file of the data set. Lines left out stand in `listed`; `examples` are those trained on.

    `listed` has no entry for a reason that no line has. `whys` counts unreadable lines by reason.
    """

    file: str
    lines: int = Field(description="that hold something")
    examples: int
    forms: dict[LineForm, int] = Field(default_factory=dict)
    tokens: int
    trained_tokens: int
    lengths: Lengths | None = None
    listed: list[ListedLines] = Field(default_factory=list)
    whys: dict[str, int] = Field(default_factory=dict)

    def count_of(self, reason: LineReason) -> int:
        """Lines with this reason."""
        return sum(each.count for each in self.listed if each.reason == reason)


class PreviewReport(VersionedDocument):
    """preview.json: what a training with this recipe would learn from this data set.

    `refused` is the reason for which the training itself would be refused at once, as its failure
    would be told (code, what, why, remedy); null where it would begin.
    """

    job_id: str
    base: str
    dataset_hash: str | None = None
    method: Literal["supervised", "dpo"]
    prompt_form: Literal["chat_template", "plain", "alpaca", "critique"]
    template_source: Literal["base", "plain", "alpaca"]
    template_fingerprint: str
    system_message: str | None = None
    sequence_length: int
    parts: list[PartPreview] = Field(description="train.jsonl, then valid.jsonl where it is there")
    examples: list[PreviewExample] = Field(default_factory=list)
    refused: dict[Literal["code", "what", "why", "remedy"], str] | None = None
    seconds: float
