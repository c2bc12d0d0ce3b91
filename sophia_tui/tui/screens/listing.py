"""A generic screen over any list operation: its `items` as a table, one item in full on enter."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sophia_tui.i18n import _
from sophia_tui.services.views import Page
from sophia_tui.tui import words
from sophia_tui.tui.screens.result import ResultScreen
from sophia_tui.tui.screens.table import MOST_ROWS, Row, TableScreen, widths_of

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp

#: The field of an operation's input that a row of a screen fills.
_FILLS = {"datasets": "dataset", "models": "model", "settings": "key"}


class ListScreen(TableScreen):
    """Rows are the items of `operation`'s output; columns their fields."""

    def __init__(
        self, sophia: "SophiaApp", name: str, title: str, operation: str, interval: float
    ) -> None:
        self.scopes = ("table", name)
        self.name_of_screen = name
        super().__init__(sophia)
        self.title_text = title
        self.operation = operation
        self.interval = interval
        self._names: list[str] = []
        self._titled: tuple[tuple[str, int], ...] = ()

    def heading(self) -> str:
        return _(self.title_text)

    async def fetch(self) -> list[BaseModel]:
        declared = self.sophia.dispatcher.registry.get(self.operation)
        pages = issubclass(declared.input, Page)
        found: Any = await self.sophia.call(self.operation, {"limit": MOST_ROWS} if pages else {})
        return list(found.items)

    def to_rows(self, data: list[BaseModel]) -> list[Row]:
        if not data:
            return []
        kind = type(data[0])
        plain = [[words.shown_field(item, name) for name in kind.model_fields] for item in data]
        self._choose_columns(kind, plain)
        names = list(kind.model_fields)
        kept = [names.index(name) for name in self._names]
        return [
            Row(self._key(item, index, data), tuple(cells[each] for each in kept), item)
            for index, (item, cells) in enumerate(zip(data, plain, strict=True))
        ]

    def _key(self, item: BaseModel, index: int, data: list[BaseModel]) -> str:
        """The item's first field where that is one of its kind, else its place from the end.

        A log grows at its top, so counting from the end keeps the keys.
        """
        first = next(iter(type(item).model_fields))
        if self.name_of_screen in _FILLS or first in ("id", "key", "name"):
            return words.shown(getattr(item, first))
        return str(len(data) - index)

    def _choose_columns(self, kind: type[BaseModel], plain: list[list[str]]) -> None:
        titles = [_(info.title or name) for name, info in kind.model_fields.items()]
        filled = [any(row[index] != "-" for row in plain) for index in range(len(titles))]
        widths = widths_of(
            [title if some else "" for title, some in zip(titles, filled, strict=True)],
            [
                [cell if some else "" for cell, some in zip(row, filled, strict=True)]
                for row in plain
            ],
            max(40, self.size.width - 2),
        )
        fresh = [
            (name, title, width)
            for name, title, width, some in zip(
                kind.model_fields, titles, widths, filled, strict=True
            )
            if width and some
        ]
        # widths are kept until the window changes or a column appears: a table that jumps is noise
        shape = (self.size.width, tuple(name for name, _title, _width in fresh))
        if shape != getattr(self, "_shape", None):
            self._shape = shape
            self._names = [name for name, _title, _width in fresh]
            self._titled = tuple((title, width) for _name, title, width in fresh)

    def columns(self) -> Sequence[tuple[str, int]]:
        return self._titled

    def open_row(self, row: Row) -> None:
        self.sophia.push_screen(ResultScreen(self.sophia, row.key, row.data))

    def prefill(self, operation: str) -> dict[str, Any]:
        field = _FILLS.get(self.name_of_screen)
        declared = self.sophia.dispatcher.registry.get(operation)
        if field and self.selected and field in declared.input.model_fields:
            return {field: self.selected.key}
        return {}
