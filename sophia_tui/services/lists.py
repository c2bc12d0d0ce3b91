"""What lists have in common: a text that rows must show, an order, a page, and how many there are.

The store does it all where it has the rows; `arranged` does the same for the few that it has not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.lists import Found, Wanted
from sophia_tui.i18n import N_, _
from sophia_tui.services.views import KIND_WORDS, VALUE_WORDS, Page

T = TypeVar("T")

#: Our own values that people read in their language.
_WORDS = (
    *VALUE_WORDS,
    *KIND_WORDS,
    *(state.value for state in JobState),
    *("expired", "exported"),
)


class ListPage(Page):
    """Input of lists that can be looked through and sorted; `sorts` are the columns by which."""

    sorts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """What describes the API names the columns."""
        made: dict[str, Any] = handler(core)
        told = handler.resolve_ref_schema(made)["properties"]["sort"]
        told["enum"] = ["", *cls.sorts, *(f"-{each}" for each in cls.sorts)]
        return made

    match: str = Field(
        default="",
        max_length=200,
        description=N_("Only rows that show this text, in any case of letters."),
    )
    sort: str = Field(
        default="",
        max_length=100,
        description=N_("By which column, with - before it for descending."),
    )

    @field_validator("sort")
    @classmethod
    def _known_column(cls, value: str) -> str:
        if value and value.removeprefix("-") not in cls.sorts:
            raise PydanticCustomError(
                "unknown_column", "one of {columns}", {"columns": ", ".join(cls.sorts)}
            )
        return value

    def wanted(self) -> Wanted:
        """As the store is asked."""
        return Wanted(self.match, words_with(self.match), self.sort, self.limit, self.offset)


def words_with(match: str) -> tuple[str, ...]:
    """Those of our values whose name in the active language holds the text."""
    wanted = match.casefold()
    if not wanted:
        return ()
    said = ((each, KIND_WORDS.get(each, each)) for each in _WORDS)
    found = {raw for raw, name in said if wanted in _(name).casefold() or wanted in raw}
    return tuple(sorted(found))


def arranged(
    rows: Sequence[T],
    wanted: Wanted,
    seen: Callable[[T], Sequence[Any]],
    columns: Mapping[str, Callable[[T], Any]],
) -> Found[T]:
    """As the store does it, for rows that are in memory: `seen` are the texts of a row, `columns`
    what it is sorted by; what has no value comes last."""
    text, words = wanted.match.casefold(), frozenset(wanted.words)

    def matches(row: T) -> bool:
        told = [str(each) for each in seen(row) if each is not None]
        return text in "\n".join(told).casefold() or not words.isdisjoint(told)

    kept = [each for each in rows if not text or matches(each)]
    if wanted.sort:
        value = columns[wanted.column]
        some = [each for each in kept if value(each) is not None]
        some.sort(key=value, reverse=wanted.descending)
        kept = [*some, *(each for each in kept if value(each) is None)]
    page = kept[wanted.offset : wanted.offset + wanted.limit]
    return Found(page, len(kept), len(rows))
