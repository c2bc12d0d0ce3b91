"""Events of assistants in use, as far as they teach."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AnswerEvent:
    """An event of kind `answer`; `table` and `key` say where its row is. `meta` is as it was found:
    an object, or whatever else stands there."""

    table: str
    key: str
    meta: Any


@dataclass(frozen=True)
class FoundAnswers:
    """Answer events of the owner's table; `problem` says why there are none to be had, `table` is
    None where there is no such table."""

    items: tuple[AnswerEvent, ...] = ()
    table: str | None = None
    problem: str = ""
