"""Any operation's result in full: titles and values as text; copied and saved as JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from rich.cells import cell_len
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.domain.operations import as_data
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.views import key_word, worded
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.training_text import told_otherwise
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

Part = str | tuple[str, str]


class ResultScreen(SophiaScreen):
    """Shows one pydantic object, below a note where there is one."""

    CSS_PATH = "result.tcss"
    scopes: tuple[str, ...] = ("result",)

    def __init__(self, sophia: "Console", title: str, result: BaseModel, note: str = "") -> None:
        super().__init__(sophia)
        self.note = note
        self.title_text = title
        self.result = result

    def heading(self) -> str:
        return visible(self.title_text)

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body"):
            shown = result_text(self.result, self.app.size.width - 2)
            if self.note:
                shown = Content.assemble((self.note, "bold $warning"), "\n\n", shown)
            yield Plate(shown, id="result")

    def copied(self) -> str:
        return json.dumps(as_data(self.result), ensure_ascii=False, indent=2)

    def act(self, name: str) -> bool:
        if name != "save":
            return False
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        safe = "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in self.title_text)
        try:
            path = self.sophia.state.save(f"{safe[:60]}-{stamp}.json", self.copied())
        except (SophiaError, OSError) as problem:
            self.say(_("Not saved: {why}").format(why=visible(str(problem))))
        else:
            self.say(_("Saved to {path}").format(path=visible(str(path))))
        return True


def result_text(result: BaseModel, width: int = 78) -> Content:
    """Titles and values, one below the other; nothing is cut, nothing is interpreted.

    Rows that fit into `width` cells stand as a table.
    """
    told = told_otherwise(result, width) or _of_its_own(result, width)
    if told is not None:
        return told
    parts = list(_parts(result, "", width))
    return Content.assemble(*parts) if parts else Content(_("Nothing there."))


def _of_its_own(result: BaseModel, width: int) -> Content | None:
    """What is told as a lineage or a difference, by modules of their own, on use."""
    name = type(result).__name__
    if name in ("LineageView", "ProductionView"):
        from sophia_tui.tui import model_text

        of_models = {"LineageView": model_text.lineage_text}
        return of_models.get(name, model_text.production_text)(result, width)
    if name not in ("VersionDiff", "PreviewOutput"):
        return None
    from sophia_tui.tui import diff_text

    found: Any = result
    if name == "VersionDiff":
        return diff_text.versions_text(found)
    return diff_text.preview_text(found)


def plain_parts(value: Any, width: int) -> list[Part]:
    """Plain data (a section of a report, say) as titles and values."""
    return list(_value(value, "", width))


def _parts(value: BaseModel, indent: str, width: int) -> Iterator[Part]:
    hidden = getattr(type(value), "machine_only", ())
    for name, info in type(value).model_fields.items():
        if name in hidden:
            continue
        each = getattr(value, name)
        if each in (None, "", [], {}, ()):
            continue
        yield (f"{indent}{_(info.title or name)}: ", "bold")
        if name in getattr(type(value), "as_is", ()) or worded(name, each) != each:
            yield f"{words.shown_field(value, name)}\n"
        else:
            yield from _value(each, indent, width)


def _value(each: Any, indent: str, width: int) -> Iterator[Part]:
    deeper = indent + "  "
    if isinstance(each, BaseModel):
        yield "\n"
        yield from _parts(each, deeper, width)
    elif isinstance(each, list | tuple) and (table := _table(each, width - len(deeper))):
        yield "\n"
        yield (f"{deeper}{table[0]}\n", "dim")
        for line in table[1:]:
            yield f"{deeper}{line}\n"
    elif isinstance(each, list | tuple):
        yield "\n"
        for item in each:
            if isinstance(item, BaseModel):
                yield from _parts(item, deeper, width)
                yield "\n"
            else:
                yield f"{deeper}{words.shown(item)}\n"
    elif isinstance(each, dict):
        yield "\n"
        for key, item in each.items():
            yield f"{deeper}{key_word(key)}: "
            yield from _value(item, deeper, width)
    elif isinstance(each, str) and "\n" in each:
        yield "\n"
        for line in visible_lines(each).split("\n"):
            yield f"{deeper}{line}\n"
    else:
        yield f"{words.shown(each)}\n"


def _table(items: Sequence[Any], width: int) -> list[str]:
    """Rows of one kind as aligned lines under their titles; empty where that would not fit.

    What is only a little too wide has its first column on lines of its own.
    """
    if len(items) < 2 or not all(type(each) is type(items[0]) for each in items):
        return []
    if not isinstance(items[0], BaseModel):
        return []
    kind = type(items[0])
    names = list(getattr(kind, "table_columns", ()) or kind.model_fields)
    if any(
        isinstance(getattr(each, name), dict | list | BaseModel) for each in items for name in names
    ):
        return []
    lines = [[_(kind.model_fields[name].title or name) for name in names]]
    lines += [[words.shown_field(each, name) for name in names] for each in items]
    widths = [max(cell_len(line[column]) for line in lines) for column in range(len(lines[0]))]
    if sum(widths) + 2 * len(widths) <= width:
        return [_aligned(line, widths) for line in lines]
    if len(names) < 3 or sum(widths[1:]) + 2 * len(widths) > width:
        return []
    return [part for line in lines for part in (line[0], "  " + _aligned(line[1:], widths[1:]))]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell + " " * (space - cell_len(cell)) for cell, space in zip(cells, widths, strict=True)
    ).rstrip()
