"""Small widgets that send nothing over the line unless what they show has changed."""

from collections.abc import Callable

from textual.content import Content
from textual.geometry import Region
from textual.widgets import Static

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.textsafe import HOSTILE, visible, visible_lines


class Plate(Static):
    """Text without markup; of what is drawn again, only the lines that differ are sent."""

    def __init__(
        self, content: Content | str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        self._drawn = _plain(content)
        super().__init__("", markup=False, id=id, classes=classes)

    def render(self) -> Content:
        return self._drawn

    def draw(self, content: Content | str) -> bool:
        """Show `content`; whether anything was drawn."""
        fresh, before = _plain(content), self._drawn
        if fresh.plain == before.plain and fresh.spans == before.spans:
            return False
        self._drawn = fresh
        if shape(fresh) != shape(before):
            self.refresh(layout=True)
        else:
            # text of the same shape needs no new layout, which would send the rest once more
            self.refresh(*self._changed(before, fresh))
        return True

    def _changed(self, before: Content, fresh: Content) -> list[Region]:
        """Where lines differ; nothing (which means everything) where a line takes several rows."""
        pairs = list(zip(_lines(before), _lines(fresh), strict=True))
        width = self.content_size.width
        if any(line.cell_length > width for _before, line in pairs):
            return []
        return [
            Region(0, row, width, 1)
            for row, (old, new) in enumerate(pairs)
            if old.plain != new.plain or old.spans != new.spans
        ]

    @property
    def text(self) -> str:
        """What it shows, without styles."""
        return self._drawn.plain


def shape(content: Content) -> list[int]:
    """The length of each line, in cells."""
    return [line.cell_length for line in _lines(content)]


def _lines(content: Content) -> list[Content]:
    return list(content.split("\n", allow_blank=True))


def _plain(content: Content | str) -> Content:
    """As content. What a terminal could act on is a mark already; here is the last door."""
    made = content if isinstance(content, Content) else Content(content)
    if any(HOSTILE.search(line) for line in made.plain.split("\n")):
        return Content(visible_lines(made.plain))
    return made


def error_text(problem: SophiaError, log: str = "", keyed: Callable[[str], str] = str) -> Content:
    """An error in full: what, why, what to do, the code, where the log is. `keyed` puts keys beside
    the commands that it names."""
    parts: list[str | tuple[str, str]] = [(visible(problem.what), "bold $error")]
    if problem.why:
        parts.append("\n" + _("Why: {why}").format(why=visible_lines(keyed(problem.why))))
    if problem.remedy:
        parts.append(
            "\n" + _("What to do: {remedy}").format(remedy=visible_lines(keyed(problem.remedy)))
        )
    parts.append((f"\n{problem.code}", "dim"))
    if log:
        parts.append(("  " + _("The log: {path}").format(path=visible(log)), "dim"))
    return Content.assemble(*parts)
