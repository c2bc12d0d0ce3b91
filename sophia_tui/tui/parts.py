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
    """Aligned rows under their titles; the last column is never cut, it goes on below."""
    if not rows:
        return []
    plain = [[_text(cell) for cell in row] for row in rows]
    room = max(8, (width - 2 * len(titles)) // 2)
    wide = [
        min(room, max(cell_len(head), *(cell_len(row[index]) for row in plain)))
        for index, head in enumerate(titles)
    ]
    parts: list[Part] = []
    if any(titles):
        heads = [glyphs.fit(head, wide[index]) for index, head in enumerate(titles[:-1])]
        parts += [("  ".join([*heads, titles[-1]]), "dim"), "\n"]
    for row in rows:
        for index, cell in enumerate(row):
            last = index == len(row) - 1
            text = _text(cell) if last else glyphs.fit(_text(cell), wide[index]) + "  "
            parts.append((text, cell[1]) if isinstance(cell, tuple) else text)
        parts.append("\n")
    return parts


def _text(cell: Cell) -> str:
    return visible(cell[0] if isinstance(cell, tuple) else cell)
