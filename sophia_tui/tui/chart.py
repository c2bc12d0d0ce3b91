"""Small charts of text, in braille or blocks, or in ASCII alone: a curve over steps, columns over
time. Figures stand beside the lines, since nothing may be told by a shape alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rich.cells import cell_len

from sophia_tui.i18n import number

_BRAILLE = 0x2800
#: The bit of each dot of a braille sign, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " ...::##"

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Points (x, y) by rising x. With `mark` each point is that sign, else they make a line."""

    points: Sequence[Point]
    mark: str = ""


def curves(found: Sequence[Curve], width: int, height: int, ascii_only: bool) -> list[str]:
    """`height` lines of at most `width` cells: the scale of y at the left, of x below.

    Points that are no numbers are left out; fewer than two points make no chart.
    """
    kept = [
        Curve(
            [each for each in curve.points if isfinite(each[0]) and isfinite(each[1])], curve.mark
        )
        for curve in found
    ]
    points = [point for curve in kept for point in curve.points]
    if len(points) < 2 or height < 3:
        return []
    low, high = min(y for _x, y in points), max(y for _x, y in points)
    first, last = min(x for x, _y in points), max(x for x, _y in points)
    labels = [_figure(high), _figure((high + low) / 2), _figure(low)]
    left = max(map(cell_len, labels))
    columns, lines = width - left - 2, height - 1
    if columns < 8:
        return []
    grid = _Grid(columns, lines, ascii_only)
    for curve in kept:
        spots = [(_share(x, first, last), _share(y, low, high)) for x, y in curve.points]
        grid.marks(spots, curve.mark) if curve.mark else grid.line(spots)
    side = {0: labels[0], (lines - 1) // 2: labels[1], lines - 1: labels[2]}
    bar = "|" if ascii_only else "│"
    drawn = [
        f"{side.get(index, ''):>{left}} {bar}{row}".rstrip()
        for index, row in enumerate(grid.rows())
    ]
    begin, end = _figure(first), _figure(last)
    return [*drawn, " " * (left + 2) + begin + end.rjust(columns - cell_len(begin))]


class _Grid:
    """Cells to draw on; x and y are shares from 0 to 1, y upwards."""

    def __init__(self, columns: int, rows: int, ascii_only: bool) -> None:
        self._wide, self._high = (1, 1) if ascii_only else (2, 4)
        self._columns, self._rows, self._ascii = columns, rows, ascii_only
        self._dots = [[0] * columns for _row in range(rows)]
        self._marks: dict[tuple[int, int], str] = {}

    def line(self, spots: Sequence[Point]) -> None:
        heights: dict[int, list[float]] = {}
        for x, y in spots:
            heights.setdefault(round(x * (self._columns * self._wide - 1)), []).append(y)
        before: tuple[int, int] | None = None
        for column, several in sorted(heights.items()):
            here = (column, self._down(sum(several) / len(several)))
            self._join(before or here, here)
            before = here

    def _join(self, start: Point, end: tuple[int, int]) -> None:
        across = max(1, abs(end[0] - int(start[0])), abs(end[1] - int(start[1])))
        for step in range(across + 1):
            x = round(start[0] + (end[0] - start[0]) * step / across)
            y = round(start[1] + (end[1] - start[1]) * step / across)
            self._dots[y // self._high][x // self._wide] |= _DOTS[y % self._high][x % self._wide]

    def marks(self, spots: Sequence[Point], sign: str) -> None:
        for x, y in spots:
            row = self._down(y) // self._high
            self._marks[row, round(x * (self._columns - 1))] = sign

    def _down(self, y: float) -> int:
        return round((1 - y) * (self._rows * self._high - 1))

    def rows(self) -> list[str]:
        return [
            "".join(
                self._marks.get((row, column)) or self._sign(dots)
                for column, dots in enumerate(cells)
            )
            for row, cells in enumerate(self._dots)
        ]

    def _sign(self, dots: int) -> str:
        if not dots:
            return " "
        return "*" if self._ascii else chr(_BRAILLE + dots)


def columns(values: Sequence[float | None], width: int, height: int, ascii_only: bool) -> list[str]:
    """Columns from zero up, newest at the right, as many values as fit; None leaves a gap."""
    values = list(values)[-width:]
    known = [value for value in values if value is not None and isfinite(value)]
    if not known or height < 1 or width < 1:
        return []
    top = max(known) or 1.0
    wide = max(1, min(3, width // len(values)))
    signs = _ASCII_BLOCKS if ascii_only else _BLOCKS
    parts = len(signs) - 1
    filled = [
        0 if value is None else max(1 if value > 0 else 0, round(value / top * height * parts))
        for value in values
    ]
    return [
        "".join(signs[max(0, min(parts, full - row * parts))] * wide for full in filled).rstrip()
        for row in reversed(range(height))
    ]


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _figure(value: float) -> str:
    if value == int(value) and abs(value) < 1e9:
        return number(int(value))
    return number(value, 2 if abs(value) < 100 else 0)
