"""Overview: one flow of six stages, what runs, what ends, what happened, and the next step."""

from datetime import timedelta
from typing import Any

import pytest
from rich.cells import cell_len
from textual.content import Content

from sophia_tui.domain.jobs import JobEvent
from sophia_tui.services.calendar_looks import EndingModelView
from sophia_tui.services.overview import HappenedView, OverviewView, steps_per_minute
from sophia_tui.tui import words
from sophia_tui.tui.screens.overview import _shortened, board
from tests.tui import stub
from tests.tui.test_console import screen_text, settled
from tests.tui.test_screens import whole_world

PLACES = {"datasets": "3 Data", "jobs": "4 Jobs", "models": "5 Models", "audit": "9 Log"}
SIGNS = "✓!✗·?+x-"


def drawn(view: OverviewView, width: int, plain: bool = False, away: str = "") -> list[str]:
    told = board(view, width, stub.NOW, words.Glyphs(plain), away, PLACES)
    return told.plain.splitlines()


def full(**changes: Any) -> OverviewView:
    return stub.full_overview().model_copy(update=changes)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("width", [58, 78])
def test_below_a_hundred_columns_each_stage_is_a_line_with_sign_word_and_figure(
    width: int, plain: bool
) -> None:
    lines = [line for line in drawn(full(), width, plain)[:8] if line and line[0] in SIGNS]
    assert [line.split()[1] for line in lines] == [
        "Collect",
        "Prepare",
        "Train",
        "Evaluate",
        "Promote",
        "Monitor",
    ]
    told = [line.split()[2] for line in lines]
    assert told == ["ok", "attention", "ok", "ok", "ok", "not"]
    assert "8,112 rows" in lines[1] and "3 h ago" in lines[0] and "4" in lines[2]
    assert all(cell_len(line) <= width for line in lines)
    assert any("newer than" in line for line in drawn(full(), width)[2:4])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("width", [98, 118, 158])
def test_from_a_hundred_columns_on_they_are_one_flow(width: int, plain: bool) -> None:
    lines = drawn(full(), width, plain)
    assert lines[0].count("->" if plain else "─→") == 5
    assert lines[1].split() == ["ok", "attention", "ok", "ok", "ok", "not", "known"]
    assert "3 Data" in lines[5] and "5 Models" in lines[5]
    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].isascii() is plain


@pytest.mark.parametrize("width", [58, 78, 118])
def test_a_running_job_has_step_rate_time_left_and_its_loss(width: int) -> None:
    line = next(each for each in drawn(full(), width) if each.startswith("ftjob-7f2a"))
    for told in ("310/500", "10", "18 min", "1.31"):
        assert told in line
    assert ("█" in line) == (width > 76)
    assert cell_len(line) <= width


def test_models_that_end_come_first_with_their_days_and_the_key_of_the_way_off() -> None:
    gone = EndingModelView(
        model="gpt-3.5-turbo",
        keys=["EXPANSION_MODEL"],
        state="ended",
        severity="error",
        told="",
        command="sophia models succeed gpt-3.5-turbo",
    )
    soon = gone.model_copy(
        update={"model": "gpt-4o-mini", "state": "ends", "severity": "warning", "days_left": 54}
    )
    lines = drawn(full(endings=[gone, soon]), 78)
    rows = lines[lines.index(next(each for each in lines if each.startswith("Models"))) + 1 :]
    assert rows[0].startswith("✗ gpt-3.5-turbo") and rows[0].endswith("ended")
    assert rows[1].startswith("! gpt-4o-mini") and rows[1].endswith("in 54 days")
    assert rows[2].startswith("✓ sophia-v6") and rows[2].endswith("never")
    assert rows[3] == "d models that end   n move off it"


def test_what_has_no_room_since_one_left_is_counted_and_leads_to_the_log() -> None:
    lines = drawn(full(happened=9, by_others=1), 78, away="2 h 0 min")
    assert "Since you left (2 h 0 min)" in lines
    assert "7 more, 1 change by others   9 Log" in lines
    quiet = drawn(full(lately=[]), 78, away="< 1 min")
    assert quiet[-1] == "Since you left (< 1 min)   nothing happened"


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize("size", [(60, 15), (80, 24), (120, 40)])
async def test_the_next_step_and_its_key_are_in_sight_however_much_there_is(
    size: tuple[int, int], language: str
) -> None:
    world = whole_world()
    view = world.overview
    blocked = [each.model_copy(update={"blocked": "x" * 90}) for each in view.stages]
    happened = [HappenedView(at=stub.NOW, text=f"thing {n}", health="ok") for n in range(5)]
    world.overview = view.model_copy(
        update={
            "stages": [each.model_copy(update={"health": "problem"}) for each in blocked],
            "running": view.running * 5,
            "models": view.models * 2,
            "lately": happened,
        }
    )
    app = stub.make_app(world, whole=True, language=language)
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.pause()
        text = screen_text(app)
    step = next(line for line in text.splitlines() if "Watch job" in line)
    assert step.startswith("Next" if language == "en" else "A seguir") and "enter" in step


async def test_all_of_it_fits_into_the_design_size() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.pause()
        assert app.screen.query_one("VerticalScroll").max_scroll_y == 0
        assert "promotion of sophia-v6" in screen_text(app)


def _event(number: int, seconds: float, kind: str = "metric", **data: Any) -> JobEvent:
    return JobEvent("j", number, stub.NOW + timedelta(seconds=seconds), kind, data)


@pytest.mark.parametrize(
    ("events", "rate"),
    [
        ([], None),
        ([_event(1, 0, step=5)], None),
        ([_event(1, 0, step=5), _event(2, 30, loss=1.0), _event(3, 60, step=17)], 12.0),
        ([_event(n, 60 * n, step=n) for n in range(100)], 1.0),
        # what was before a pause tells nothing of the pace now
        (
            [
                _event(1, 0, step=1),
                _event(2, 1, "state", state="paused"),
                _event(3, 900, step=2),
                _event(4, 930, step=3),
            ],
            2.0,
        ),
        ([_event(1, 0, step=9), _event(2, 60, step=9)], None),
    ],
)
def test_the_rate_of_a_run_is_that_of_its_newest_events(
    events: list[JobEvent], rate: float | None
) -> None:
    assert steps_per_minute(events) == rate


def test_a_long_next_step_is_cut_in_sight_with_its_key() -> None:
    lines = Content("word " * 60).wrap(60)
    cut = _shortened(lines, 60, "~", acts=True).plain.split("\n")
    assert len(cut) == 2 and cut[1].endswith(" ~   enter")
    assert all(len(each) <= 60 for each in cut)
