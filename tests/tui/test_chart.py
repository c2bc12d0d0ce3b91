"""The small charts: shape, scale, gaps, ASCII."""

import math

import pytest

from sophia_tui.tui.chart import Curve, columns, curves

FALLING = [(float(step), 4.0 - step / 100) for step in range(0, 301, 10)]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_curve_falls_from_the_top_left_to_the_bottom_right(ascii_only: bool) -> None:
    lines = curves([Curve(FALLING)], 60, 8, ascii_only)
    assert len(lines) == 8 and all(len(line) <= 60 for line in lines)
    bar = "|" if ascii_only else "│"
    drawn = [line.partition(bar)[2] for line in lines[:-1]]
    first = [len(row) - len(row.lstrip()) for row in drawn]
    assert first == sorted(first) and first[0] == 0
    assert lines[0].split()[0] == "4" and lines[-2].split()[0] == "1"
    assert lines[-1].split() == ["0", "300"]
    assert not ascii_only or "".join(lines).isascii()


def test_marks_stand_above_the_line_where_their_values_are_higher() -> None:
    marks = [(100.0, 4.0), (200.0, 4.0)]
    lines = curves([Curve(FALLING), Curve(marks, "◆")], 60, 8, False)
    assert lines[0].count("◆") == 2 and "◆" not in "".join(lines[1:])


def test_what_is_no_number_is_left_out_and_one_point_is_no_chart() -> None:
    broken = [(0.0, math.nan), (1.0, math.inf), (2.0, 3.0)]
    assert curves([Curve(broken)], 60, 8, False) == []
    assert curves([Curve([*broken, (3.0, 2.0)])], 60, 8, False) != []


def test_a_curve_without_change_is_drawn_in_the_middle() -> None:
    lines = curves([Curve([(0.0, 1.0), (9.0, 1.0)])], 40, 6, True)
    assert [line for line in lines[:-1] if "*" in line] == [lines[2]]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_columns_grow_from_the_ground_and_leave_gaps(ascii_only: bool) -> None:
    lines = columns([1.0, None, 4.0], 3, 2, ascii_only)
    full = "#" if ascii_only else "█"
    assert [line[2:] for line in lines] == [full, full]
    assert lines[1][1] == " " and lines[0][:2].strip() == "" and lines[1][0] != " "


def test_columns_keep_the_newest_that_fit_and_show_the_smallest() -> None:
    assert columns([9.0, 1.0, 1000.0], 2, 1, False) == ["▁█"]
    assert columns([None, None], 5, 2, False) == []
