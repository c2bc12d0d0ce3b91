"""Small widgets that send nothing over the line unless what they show has changed."""

from textual.content import Content
from textual.widgets import Static

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible, visible_lines


class Plate(Static):
    """Text without markup; drawn again only when text or style differ."""

    def __init__(
        self, content: Content | str = "", id: str | None = None, classes: str | None = None
    ) -> None:
        self._drawn = _plain(content)
        super().__init__(self._drawn, markup=False, id=id, classes=classes)

    def draw(self, content: Content | str) -> bool:
        """Show `content`; whether anything was drawn."""
        fresh = _plain(content)
        if fresh.plain == self._drawn.plain and fresh.spans == self._drawn.spans:
            return False
        # text of the same shape needs no new layout, which would send the rest once more
        layout = shape(fresh) != shape(self._drawn)
        self._drawn = fresh
        self.update(fresh, layout=layout)
        return True

    @property
    def text(self) -> str:
        """What it shows, without styles."""
        return self._drawn.plain


def shape(content: Content) -> list[int]:
    """The length of each line, in cells."""
    return [line.cell_length for line in content.split("\n", allow_blank=True)]


def _plain(content: Content | str) -> Content:
    return content if isinstance(content, Content) else Content(content)


def error_text(problem: SophiaError, log: str = "") -> Content:
    """An error in full: what, why, what to do, the code, where the log is."""
    parts: list[str | tuple[str, str]] = [(visible(problem.what), "bold $error")]
    if problem.why:
        parts.append("\n" + _("Why: {why}").format(why=visible_lines(problem.why)))
    if problem.remedy:
        parts.append("\n" + _("What to do: {remedy}").format(remedy=visible_lines(problem.remedy)))
    parts.append((f"\n{problem.code}", "dim"))
    if log:
        parts.append(("  " + _("The log: {path}").format(path=visible(log)), "dim"))
    return Content.assemble(*parts)
