"""The small charts: shape, scale, gaps, ASCII."""

import math

import pytest

from sophia_tui.services.job_curves import CurvePoint
from sophia_tui.tui.chart import Curve, Drawn, columns, grown, plotted
from sophia_tui.tui.job_curve import smoothed

FALLING = [(float(step), 4.0 - step / 100) for step in range(0, 301, 10)]


def rows_of(drawn: Drawn, ascii_only: bool) -> list[str]:
    """What is drawn right of the scale, without the line below."""
    bar = "|" if ascii_only else "│"
    return [line.partition(bar)[2] for line in drawn.plain[:-1]]


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_curve_falls_from_the_top_left_to_the_bottom_right(ascii_only: bool) -> None:
    drawn = plotted([Curve(FALLING)], 60, 8, ascii_only)
    assert len(drawn.lines) == 8 and all(len(line) <= 60 for line in drawn.plain)
    rows = [row for row in rows_of(drawn, ascii_only) if row.strip()]
    first = [len(row) - len(row.lstrip()) for row in rows]
    assert first == sorted(first) and first[0] == 0
    assert not ascii_only or "".join(drawn.plain).isascii()


def test_scales_have_round_figures_and_room_for_the_steps_to_come() -> None:
    drawn = plotted([Curve(FALLING)], 60, 8, True, ends_at=500)
    assert [line.split("|")[0].strip() for line in drawn.plain[:-1]] == [
        "4",
        "",
        "3",
        "",
        "2",
        "",
        "1",
    ]
    assert drawn.plain[-1].split() == ["0", "200", "400"]
    assert max(len(row.rstrip()) for row in rows_of(drawn, True)) <= 36


def test_a_new_point_moves_no_other() -> None:
    before = plotted([Curve(FALLING[:20])], 60, 8, True, ends_at=500)
    after = plotted([Curve(FALLING[:21])], 60, 8, True, ends_at=500)
    both = list(zip("\n".join(before.plain), "\n".join(after.plain), strict=True))
    assert sum(old != new for old, new in both) <= 4


def test_slopes_in_ascii_have_three_heights_in_a_line_and_strokes_where_they_are_steep() -> None:
    gentle = [(float(x), 1 - x / 60) for x in range(61)]
    signs = set("".join(rows_of(plotted([Curve(gentle)], 64, 4, True), True)))
    assert {"'", "-", "_"} <= signs and not {"|", "\\"} & signs
    steep = [(0.0, 1.0), (29.0, 1.0), (30.0, 0.0), (60.0, 0.0)]
    signs = set("".join(rows_of(plotted([Curve(steep)], 64, 8, True), True)))
    assert {"|", "\\"} <= signs


def test_huge_values_at_the_beginning_do_not_flatten_the_rest_and_that_is_said() -> None:
    early = [(float(x), 1.0 + 40 * 0.5**x + (100 - x) / 100) for x in range(101)]
    drawn = plotted([Curve(early)], 60, 8, True)
    assert drawn.cut is not None and drawn.cut < 3
    rows = rows_of(drawn, True)
    assert "^" in rows[0] and sum(bool(row.strip()) for row in rows) >= 5
    late = [*early[:90], (90.0, 50.0)]
    assert plotted([Curve(late)], 60, 8, True).cut is None  # what explodes at the end is in sight


def test_marks_stand_above_the_line_where_their_values_are_higher() -> None:
    marks = [(100.0, 4.0), (200.0, 4.0)]
    rows = rows_of(plotted([Curve(FALLING), Curve(marks, "o")], 60, 8, False), False)
    assert rows[0].count("o") == 2 and "o" not in "".join(rows[1:])


def test_curves_of_letters_are_joined_and_say_where_they_meet() -> None:
    other = [(x, 1.0) for x, _y in FALLING]
    rows = rows_of(
        plotted([Curve(FALLING, "a", joined=True), Curve(other, "b", joined=True)], 60, 8, True),
        True,
    )
    text = "".join(rows)
    assert {"a", "b", "*"} <= set(text) and all("a" in row for row in rows[:-1])
    assert rows[-1].count("b") > 40


def test_what_is_no_number_is_left_out_and_one_point_is_no_chart() -> None:
    broken = [(0.0, math.nan), (1.0, math.inf), (2.0, 3.0)]
    assert plotted([Curve(broken)], 60, 8, False).lines == []
    assert plotted([Curve([*broken, (3.0, 2.0)])], 60, 8, False).lines != []


def test_a_curve_without_change_is_drawn_in_the_middle() -> None:
    rows = rows_of(plotted([Curve([(0.0, 1.0), (9.0, 1.0)])], 40, 6, True), True)
    assert [index for index, row in enumerate(rows) if row.strip()] == [2]


@pytest.mark.parametrize(
    ("step", "ends_at"),
    [(0, 8), (9, 16), (62, 63), (64, 125), (400, 500), (501, 1000), (1000, 1000)],
)
def test_an_axis_grows_by_halves_of_the_whole(step: int, ends_at: int) -> None:
    assert grown(step, 1000) == ends_at


def test_noise_is_smoothed_by_a_mean_that_is_said() -> None:
    def point(step: int, value: float, count: int = 1) -> CurvePoint:
        return CurvePoint(step=step, value=value, low=value, high=value, count=count, seconds=0)

    few = [point(step, float(step)) for step in range(10)]
    assert smoothed(few) == ([(each.step, each.value) for each in few], 1)
    noisy = [point(step, 2.0 + (-1) ** step) for step in range(500)]
    line, mean = smoothed(noisy)
    assert mean == 20 and all(abs(y - 2.0) < 0.01 for _x, y in line[19:])
    assert smoothed([point(step, 1.0, 50) for step in range(100)])[1] == 200


@pytest.mark.parametrize("ascii_only", [False, True])
def test_columns_grow_from_the_ground_and_leave_gaps(ascii_only: bool) -> None:
    lines = columns([1.0, None, 4.0], 3, 2, ascii_only)
    full = "#" if ascii_only else "█"
    assert [line[2:] for line in lines] == [full, full]
    assert lines[1][1] == " " and lines[0][:2].strip() == "" and lines[1][0] != " "


def test_columns_keep_the_newest_that_fit_and_show_the_smallest() -> None:
    assert columns([9.0, 1.0, 1000.0], 2, 1, False) == ["▁█"]
    assert columns([None, None], 5, 2, False) == []
