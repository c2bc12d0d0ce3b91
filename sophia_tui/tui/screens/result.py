"""Any operation's result in full: titles and values as text; copied and saved as JSON."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible, visible_lines
from sophia_tui.tui import words
from sophia_tui.tui.screens.base import SophiaScreen
from sophia_tui.tui.widgets.plate import Plate

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp

Part = str | tuple[str, str]


class ResultScreen(SophiaScreen):
    """Shows one pydantic object."""

    CSS_PATH = "result.tcss"
    scopes = ("result",)

    def __init__(self, sophia: "SophiaApp", title: str, result: BaseModel) -> None:
        super().__init__(sophia)
        self.title_text = title
        self.result = result

    def heading(self) -> str:
        return visible(self.title_text)

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(classes="body"):
            yield Plate(result_text(self.result), id="result")

    def copied(self) -> str:
        return json.dumps(self.result.model_dump(mode="json"), ensure_ascii=False, indent=2)

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


def result_text(result: BaseModel) -> Content:
    """Titles and values, one below the other; nothing is cut, nothing is interpreted."""
    parts = list(_parts(result, ""))
    return Content.assemble(*parts) if parts else Content(_("Nothing there."))


def _parts(value: BaseModel, indent: str) -> Iterator[Part]:
    for name, info in type(value).model_fields.items():
        each = getattr(value, name)
        if each in (None, "", [], {}, ()):
            continue
        yield (f"{indent}{_(info.title or name)}: ", "bold")
        yield from _value(each, indent)


def _value(each: Any, indent: str) -> Iterator[Part]:
    deeper = indent + "  "
    if isinstance(each, BaseModel):
        yield "\n"
        yield from _parts(each, deeper)
    elif isinstance(each, list | tuple):
        yield "\n"
        for item in each:
            if isinstance(item, BaseModel):
                yield from _parts(item, deeper)
                yield "\n"
            else:
                yield f"{deeper}{words.shown(item)}\n"
    elif isinstance(each, dict):
        yield "\n"
        for key, item in each.items():
            yield f"{deeper}{visible(str(key))}: "
            yield from _value(item, deeper)
    elif isinstance(each, str) and "\n" in each:
        yield "\n"
        for line in visible_lines(each).split("\n"):
            yield f"{deeper}{line}\n"
    else:
        yield f"{words.shown(each)}\n"
