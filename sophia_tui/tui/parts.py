"""Pieces of text that screens put together: titles, names with values, aligned rows.

What comes from outside is made harmless here, so that no screen has to remember it.
"""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.textsafe import visible
from sophia_tui.tui.words import Glyphs

Part = str | tuple[str, str] | Content
#: A cell of a grid: a text, or a text with a style.
Cell = str | tuple[str, str]


def title(text: str, note: str = "") -> list[Part]:
    """A title on a line of its own, after an empty one."""
    return ["\n", (text, "bold"), (f"  {note}" if note else "", "dim"), "\n"]


def pairs(found: Iterable[tuple[str, str]]) -> list[Part]:
    """Names and values, one pair a line; pairs without a value are left out."""
    kept = [(name, value) for name, value in found if value]
    wide = max((cell_len(name) for name, _value in kept), default=0)
    parts: list[Part] = []
    for name, value in kept:
        parts += [(name + " " * (wide - cell_len(name)), "dim"), f"  {visible(value)}\n"]
    return parts


def grid(
    titles: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, glyphs: Glyphs
) -> list[Part]:
    """Aligned rows under their titles; no cell is cut.

    Where they are too wide for `width` cells, the first column stands on lines of its own; the last
    one goes on below in any case.
    """
    if not rows:
        return []
    wide = [
        max(cell_len(head), *(cell_len(_text(row[index])) for row in rows))
        for index, head in enumerate(titles)
    ]
    tall = len(titles) > 2 and sum(wide[:-1]) + 2 * len(wide) + min(wide[-1], 8) > width
    parts: list[Part] = []
    if any(titles):
        parts += _line([(each, "dim") for each in titles], wide, glyphs, tall)
    for row in rows:
        parts += _line(row, wide, glyphs, tall)
    return parts


def _line(row: Sequence[Cell], wide: Sequence[int], glyphs: Glyphs, tall: bool) -> list[Part]:
    parts: list[Part] = []
    for index, cell in enumerate(row):
        text = _text(cell)
        if tall and index == 0:
            text += "\n  "
        elif index < len(row) - 1:
            text = glyphs.fit(text, wide[index]) + "  "
        parts.append((text, cell[1]) if isinstance(cell, tuple) else text)
    return [*parts, "\n"]


def _text(cell: Cell) -> str:
    return visible(cell[0] if isinstance(cell, tuple) else cell)
