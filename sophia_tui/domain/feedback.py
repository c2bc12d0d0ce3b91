"""People's judgement, counted by day; whoever gave it and on what stays where it is."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class FeedbackDay:
    """One day's signals. `other` is neither: a zero, or what can't be understood."""

    day: date
    positive: int
    negative: int
    other: int


@dataclass(frozen=True)
class FeedbackReport:
    """What a source's feedback says about a period: only days that have some, oldest first.

    `problem` says why it can't be counted; `days` is empty then and means nothing. `undated` counts
    signals without a time, which belong to no day. Where `time_column` (schema.table.column) has no
    zone, `assumed_zone` is the one that it was read in.
    """

    days: tuple[FeedbackDay, ...] = ()
    undated: int = 0
    table: str | None = None
    time_column: str | None = None
    assumed_zone: str | None = None
    problem: str = ""
