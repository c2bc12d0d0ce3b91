"""Two texts beside each other, line by line; widths are cells."""

from itertools import zip_longest

from textual.content import Content

#: Fewer cells than these hold no two columns that a person reads.
LEAST = 70
_BETWEEN = " | "


def beside(left: Content, right: Content, width: int) -> Content:
    """Both within `width` cells, each wrapped into its column; nothing is cut."""
    room = (width - len(_BETWEEN)) // 2
    lines = []
    for mine, other in zip_longest(left.wrap(room), right.wrap(room), fillvalue=Content()):
        padded = mine.pad_right(max(0, room - mine.cell_length))
        lines.append(Content.assemble(padded, (_BETWEEN, "dim"), other))
    return Content("\n").join(lines)
