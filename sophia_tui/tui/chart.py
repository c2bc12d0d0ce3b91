"""Small charts of text: curves over steps, columns over time; in Unicode or in ASCII alone.

Round figures stand at their edges, since nothing may be told by a shape alone. Scales move in
steps, so that a new point leaves the others where they are: each cell that changes is sent.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite

from rich.cells import cell_len
from textual.content import Content

from sophia_tui.i18n import number

_BRAILLE = 0x2800
#: The bit of each dot of a braille sign, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLOCKS = " ▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = " ...::##"
#: High, middle and low in a cell: three heights in each line of ASCII.
_LEVELS = "'-_"
#: Where several curves that are told by letters meet.
MEET = "*"
#: What stands in the uppermost line for values above the scale.
ABOVE = "^"
#: The share of x at the beginning whose values may lie above the scale, and how much higher they
#: must be than all others to do so.
_EARLY, _FAR = 0.2, 4.0
_NICE = (1.0, 2.0, 5.0, 10.0)
_CELLS_PER_TICK = 14

Point = tuple[float, float]
Shown = Callable[[float], str]


@dataclass(frozen=True)
class Curve:
    """Points (x, y) by rising x. `mark` alone: each point is that sign; `joined`: that sign joins
    them. Without a mark they make a line."""

    points: Sequence[Point]
    mark: str = ""
    style: str = "$accent"
    joined: bool = False

    def finite(self) -> "Curve":
        kept = [each for each in self.points if isfinite(each[0]) and isfinite(each[1])]
        return Curve(kept, self.mark, self.style, self.joined)


@dataclass(frozen=True)
class Drawn:
    """A chart's lines. `cut`: values above it are not in their place; None: all are."""

    lines: list[Content] = field(default_factory=list)
    cut: float | None = None

    @property
    def plain(self) -> list[str]:
        return [each.plain for each in self.lines]


@dataclass(frozen=True)
class Axis:
    """A scale that ends at round figures or half-way between two, with round ticks."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, low: float, high: float, most: int) -> "Axis":
        """The scale for these values with at most so many ticks beside the first."""
        if not high > low:
            room = abs(high) / 2 or 1.0
            low, high = low - room, high + room
        step = _step((high - low) / max(1, most))
        half = step / 2
        # a value that ends at a tick ends there, whatever its last digits are
        return cls(math.floor(low / half + 1e-9) * half, math.ceil(high / half - 1e-9) * half, step)

    @property
    def ticks(self) -> list[float]:
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [index * self.step for index in range(first, last + 1)]

    def share(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def shown(self, value: float) -> str:
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return number(round(value, digits) + 0.0, digits)


def _step(least: float) -> float:
    """The round step that is not smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(each * power for each in _NICE if each * power >= least * (1 - 1e-9))


def grown(value: float, whole: float | None) -> float:
    """Where an axis ends that grows with a value: at the whole, or a half, a quarter … of it, so
    that points move seldom and the first ones are not squeezed at the edge."""
    if not whole or value >= whole:
        return max(value, 1.0)
    end = whole
    while end / 2 >= value and end > 8:
        end = math.ceil(end / 2)
    return end


def plotted(
    found: Sequence[Curve],
    width: int,
    height: int,
    ascii_only: bool,
    ends_at: float | None = None,
    x_shown: Shown | None = None,
) -> Drawn:
    """`height` lines of at most `width` cells: the scale of y at the left, of x below.

    Points that are no numbers are left out; fewer than two points make no chart. x begins at 0 and
    ends at `ends_at`, or at the last point. Huge values at the very beginning do not flatten the
    rest: the scale is cut, which the chart tells.
    """
    kept = [each.finite() for each in found]
    points = [point for curve in kept for point in curve.points]
    rows = height - 1
    if len(points) < 2 or rows < 2:
        return Drawn()
    last = max([x for x, _y in points] + ([ends_at] if ends_at else []))
    first = min(0.0, *(x for x, _y in points)) if last > 0 else min(x for x, _y in points)
    low = min(y for _x, y in points)
    high, is_cut = _height(points, low)
    y_axis = Axis.over(low, high, max(1, (rows - 1) // 2))
    labels = {
        row: y_axis.shown(tick) for tick in y_axis.ticks for row in [_row(y_axis, tick, rows)]
    }
    left = max(map(cell_len, labels.values()))
    columns = width - left - 2
    if columns < 8:
        return Drawn()
    last = last if last > first else first + 1.0
    grid = _Grid(columns, rows, ascii_only)
    for curve in kept:
        spots = [
            ((x - first) / (last - first), y_axis.share(y), y > y_axis.high + 1e-9)
            for x, y in curve.points
        ]
        grid.draw(spots, curve)
    bar = "|" if ascii_only else "│"
    lines = [
        Content.assemble((f"{labels.get(index, ''):>{left}} {bar}", "dim"), *row)
        for index, row in enumerate(grid.rows())
    ]
    below = _below(first, last, columns, x_shown or (lambda value: number(round(value))))
    lines.append(Content.assemble((" " * (left + 2) + below, "dim")))
    return Drawn(lines, y_axis.high if is_cut else None)


def _height(points: Sequence[Point], low: float) -> tuple[float, bool]:
    """The highest value that the scale has room for, and whether early ones lie above it."""
    highest = max(y for _x, y in points)
    first, last = min(x for x, _y in points), max(x for x, _y in points)
    late = [y for x, y in points if x >= first + _EARLY * (last - first)]
    high = max(late)
    if len(late) > 1 and high > low and highest - low > _FAR * (high - low) and len(points) > 8:
        return high + (high - low) / 4, True
    return highest, False


def _row(axis: Axis, value: float, rows: int) -> int:
    return round((1 - axis.share(value)) * (rows - 1))


def _below(first: float, last: float, columns: int, shown: Shown) -> str:
    """Round ticks of x, each below its column; the last one ends at the edge."""
    axis = Axis.over(first, last, max(1, columns // _CELLS_PER_TICK))
    line = ""
    for tick in axis.ticks:
        if tick > last * (1 + 1e-9):
            break
        text = shown(tick)
        at = round((tick - first) / (last - first) * (columns - 1)) - (len(text) // 2)
        at = max(0, min(at, columns - cell_len(text)))
        if not line or at >= len(line) + 2:
            line += " " * (at - len(line)) + text
    return line


Spot = tuple[float, float, bool]


class _Grid:
    """Cells to draw on; x and y are shares from 0 to 1, y upwards."""

    def __init__(self, columns: int, rows: int, ascii_only: bool) -> None:
        self._columns, self._rows, self._ascii = columns, rows, ascii_only
        self._dots: dict[tuple[int, int], int] = {}
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}
        self._line = "$accent"

    def draw(self, spots: Sequence[Spot], curve: Curve) -> None:
        if curve.mark and not curve.joined:
            for x, y, above in spots:
                self._put(self._down(y, 1), self._across(x), ABOVE if above else curve.mark, curve)
            return
        within = [each for each in spots if not each[2]]
        for x, _y, above in spots:
            if above:
                self._put(0, self._across(x), ABOVE, curve)
        if curve.mark:
            self._letters(within, curve)
        elif self._ascii:
            self._slopes(within, curve)
        else:
            self._line = curve.style
            self._braille(within)

    def _across(self, x: float, parts: int = 1) -> int:
        return round(x * (self._columns * parts - 1))

    def _down(self, y: float, parts: int) -> int:
        return round((1 - y) * (self._rows * parts - 1))

    def _put(self, row: int, column: int, sign: str, curve: Curve) -> None:
        before = self._cells.get((row, column))
        meets = before is not None and curve.joined and before[0] != sign
        self._cells[row, column] = (MEET, "bold") if meets else (sign, curve.style)

    def _by_column(
        self, spots: Sequence[Spot], x_parts: int, y_parts: int
    ) -> list[tuple[int, int]]:
        """One height for each column that has points; what lies between is joined straight."""
        heights: dict[int, list[float]] = {}
        for x, y, _above in spots:
            heights.setdefault(self._across(x, x_parts), []).append(y)
        known = [
            (column, self._down(sum(several) / len(several), y_parts))
            for column, several in sorted(heights.items())
        ]
        joined = known[:1]
        for (start, y), (end, to) in pairwise(known):
            joined += [
                (column, round(y + (to - y) * (column - start) / (end - start)))
                for column in range(start + 1, end + 1)
            ]
        return joined

    def _letters(self, spots: Sequence[Spot], curve: Curve) -> None:
        before: int | None = None
        for column, row in self._by_column(spots, 1, 1):
            step = 0 if before is None else (row > before) - (row < before)
            start = row if before is None or before == row else before + step
            for each in range(start, row + (step or 1), step or 1):
                self._put(each, column, curve.mark, curve)
            before = row

    def _slopes(self, spots: Sequence[Spot], curve: Curve) -> None:
        """Signs at three heights of a cell; slopes and strokes where it is steeper than that."""
        before: int | None = None
        for column, y in self._by_column(spots, 1, len(_LEVELS)):
            row, level = divmod(y, len(_LEVELS))
            sign = _LEVELS[level]
            if before is not None and abs(y - before) >= len(_LEVELS):
                sign = "\\" if y > before else "/"
                over, under = sorted((before // len(_LEVELS), row))
                for between in range(over + 1, under):
                    self._put(between, column, "|", curve)
            self._put(row, column, sign, curve)
            before = y

    def _braille(self, spots: Sequence[Spot]) -> None:
        before: tuple[int, int] | None = None
        for here in self._by_column(spots, 2, 4):
            start = before or here
            across = max(1, abs(here[1] - start[1]))
            for step in range(across + 1):
                y = round(start[1] + (here[1] - start[1]) * step / across)
                x = start[0] if step <= across // 2 and across > 1 else here[0]
                cell = (y // 4, x // 2)
                self._dots[cell] = self._dots.get(cell, 0) | _DOTS[y % 4][x % 2]
            before = here

    def rows(self) -> list[list[tuple[str, str]]]:
        """Each row as texts with styles, without blanks at its end."""
        return [self._row(row) for row in range(self._rows)]

    def _row(self, row: int) -> list[tuple[str, str]]:
        parts: list[tuple[str, str]] = []
        for column in range(self._columns):
            sign, style = self._cells.get((row, column)) or self._dotted(row, column)
            if parts and parts[-1][1] == style:
                parts[-1] = (parts[-1][0] + sign, style)
            else:
                parts.append((sign, style))
        return parts

    def _dotted(self, row: int, column: int) -> tuple[str, str]:
        dots = self._dots.get((row, column), 0)
        return (chr(_BRAILLE + dots), self._line) if dots else (" ", "")


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
