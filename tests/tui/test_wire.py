"""What goes over the line: less than a limit, and enough that the terminal shows the picture."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import get_character_cell_size
from rich.color import ColorSystem
from rich.control import Control
from rich.segment import Segment
from rich.style import Style

from sophia_tui.tui import keys
from sophia_tui.tui.screens.live import LiveScreen
from sophia_tui.tui.wire import Wire
from tests.tui import answers, stub
from tests.tui.paper import Paper
from tests.tui.test_console import settled, until

LIMIT_OF_A_SCREEN = 6_000
#: A second of a watched job; its screen looks each other second.
LIMIT_OF_A_SECOND = 400
SIZE = (80, 24)
_TICKS = count(1)


PLAIN, BOLD, MARKED = Style(), Style(bold=True, color="green"), Style(reverse=True)
_pieces = st.tuples(st.text("ab Ã…◆漢", max_size=9), st.sampled_from([PLAIN, BOLD, MARKED]))
_lines = st.lists(_pieces, max_size=3)
_pictures = st.lists(st.lists(st.tuples(st.integers(0, 3), _lines), max_size=4), max_size=5)


def segments(picture: list[tuple[int, list[tuple[str, Style]]]], width: int) -> Iterator[Segment]:
    for row, line in picture:
        yield Control.move_to(0, row).segment
        for text, style in line:
            yield Segment(text, style)
        yield Segment(" " * width)  # a line is drawn whole, what is too much is cut off


def expected(line: list[tuple[str, Style]], width: int) -> list[tuple[str, bool]]:
    """The cells of a line: what is written in each, and whether it is marked."""
    cells: list[tuple[str, bool]] = []
    for text, style in [*line, (" " * width, PLAIN)]:
        for sign in text:
            taken = get_character_cell_size(sign)
            if len(cells) + taken > width:
                sign, taken = " ", min(1, width - len(cells))
            cells += [(sign, style is MARKED), ("", style is MARKED)][:taken]
    return cells


@given(_pictures)
@settings(deadline=None)
def test_whatever_is_drawn_after_whatever_the_terminal_shows_it(pictures) -> None:
    wire, paper = Wire(), Paper(12, 4)
    lines: list[list[tuple[str, Style]]] = [[], [], [], []]
    for picture in [list(enumerate(lines)), *pictures]:
        for row, line in picture:
            # as Textual does: a line is drawn once in a picture
            lines[row] = line
        drawn = {row: lines[row] for row, _line in picture}
        sent = wire.sent(segments(list(drawn.items()), 12), (12, 4), (0, 0), ColorSystem.STANDARD)
        paper.take(sent)
        shown = [[(sign, "7" in drawn.split(";")) for sign, drawn in row] for row in paper.rows]
        assert shown == [expected(line, 12) for line in lines]


def test_the_same_picture_again_sends_nothing() -> None:
    wire = Wire()
    picture = [(0, [("same", BOLD)])]
    assert wire.sent(segments(picture, 12), (12, 4), (0, 0), ColorSystem.STANDARD)
    assert wire.sent(segments(picture, 12), (12, 4), (0, 0), ColorSystem.STANDARD) == ""


def test_after_another_size_and_after_forgetting_all_is_sent() -> None:
    wire, picture = Wire(), [(0, [("same", PLAIN)])]
    wire.sent(segments(picture, 12), (12, 4), (0, 0), None)
    assert "same" in wire.sent(segments(picture, 13), (13, 4), (0, 0), None)
    assert wire.sent(segments(picture, 13), (13, 4), (0, 0), None) == ""
    wire.forget()
    assert "same" in wire.sent(segments(picture, 13), (13, 4), (0, 0), None)


class Line:
    """Between an app under test and its terminal: counts, and keeps what the terminal shows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, app) -> None:
        self.app, self.size = app, 0
        self.paper = Paper(*SIZE)
        monkeypatch.setattr(app, "_display", self._display)

    def _display(self, _screen, picture) -> None:
        if picture is not None and not self.app._batch_count:
            sent = self.app.changes(picture)
            self.size += len(sent.encode())
            self.paper.take(sent)
        self.app.post_display_hook()

    def counted(self) -> int:
        size, self.size = self.size, 0
        return size

    def check(self) -> None:
        """The terminal shows what the app has drawn."""
        drawn = [strip.text for strip in self.app.screen._compositor.render_strips()]
        assert [line.rstrip() for line in self.paper.text] == [line.rstrip() for line in drawn]


async def looked_again(pilot) -> None:
    """One look at the data more, whatever the screen's rhythm."""
    pilot.app.now = lambda: stub.NOW + timedelta(microseconds=next(_TICKS))
    seen = pilot.app.screen._good_at
    pilot.app.screen.refresh_now()
    await until(pilot, lambda: pilot.app.screen._good_at != seen, "another look")


@pytest.mark.parametrize("language", ["en", "pt_BR"])
async def test_opening_any_screen_costs_little_and_standing_there_nothing(
    language, monkeypatch
) -> None:
    world = stub.full_world()
    world.answers = answers.full()
    app = stub.make_app(world, whole=True, language=language)
    line = Line(monkeypatch, app)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert line.counted() <= LIMIT_OF_A_SCREEN
        for key in [*keys.SCREENS[1:], keys.SCREENS[0]]:
            await pilot.press(key.key)
            await until(pilot, partial(_arrived, app, key.target), key.target)
            assert 0 < line.counted() <= LIMIT_OF_A_SCREEN, key.target
            line.check()
            if isinstance(app.screen, LiveScreen):
                await looked_again(pilot)
            assert line.counted() == 0, key.target
        for key in ("question_mark", "colon"):
            await pilot.press(key)
            await pilot.pause()
            assert 0 < line.counted() <= LIMIT_OF_A_SCREEN, key
            line.check()
            await pilot.press("escape")
            await pilot.pause()
            assert 0 < line.counted() <= LIMIT_OF_A_SCREEN, key
            line.check()


def _arrived(app, target: str) -> bool:
    live = not isinstance(app.screen, LiveScreen) or app.screen.state == "full"
    return app.state.screen == target.removeprefix("screen.") and live


async def test_a_watched_job_sends_what_is_new(monkeypatch) -> None:
    world = stub.full_world()
    app = stub.make_app(world)
    line = Line(monkeypatch, app)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(*_open_first_job())
        await settled(pilot)
        await until(pilot, lambda: app.screen.told_of is not None, "the job is told of")
        sizes = []
        for tick in range(12):
            line.counted()
            _one_metric_more(world, tick)
            await looked_again(pilot)
            sizes.append(line.counted())
            line.check()
        # one event in each look, of which there is one in two seconds
        assert sum(sizes) / len(sizes) <= 2 * LIMIT_OF_A_SECOND, sizes
        assert min(sizes) > 0


def _open_first_job() -> list[str]:
    digit = next(each.key for each in keys.SCREENS if each.target == "screen.jobs")
    return [digit, "enter"]


def _one_metric_more(world, tick: int) -> None:
    last = world.events[-1]
    data = {"step": 320 + 10 * tick, "loss": 1.3 - tick * 0.01 + 0.05 * (tick % 3)}
    event = last.model_copy(update={"number": last.number + 1, "kind": "metric", "data": data})
    world.events = [*world.events, event]
    world.jobs[0] = world.jobs[0].model_copy(update={"step": data["step"], "loss": data["loss"]})


async def test_refreshing_sends_the_whole_picture_again(monkeypatch) -> None:
    app = stub.make_app(stub.full_world())
    line = Line(monkeypatch, app)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        line.paper.rows = [[("x", "")] * SIZE[0] for _row in range(SIZE[1])]  # `wall`, say
        await pilot.press("r")
        await pilot.pause()
        line.check()
