"""Monitor: one model or all, and what brings it back as it was."""

from sophia_tui.tui.screens.monitor import MonitorScreen
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import digit, opened, whole_world


async def test_one_model_is_looked_at_and_escape_shows_all_again() -> None:
    world = whole_world()
    app = stub.make_app(world, whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "monitor")
        assert "m one model" in screen_text(app)
        await pilot.press("m")
        await until(pilot, lambda: getattr(world.got, "model", "") == "sophia-v2", "asked for one")
        assert "Monitor: sophia-v2" in screen_text(app)
        await pilot.press("p")
        await until(pilot, lambda: getattr(world.got, "days", 0) == 30, "another period")
        assert world.got.model == "sophia-v2"
        kept = app.screen.memory()
        await pilot.press("escape")
        await until(pilot, lambda: getattr(world.got, "model", "") is None, "all of them")
        again = MonitorScreen(app)
        again.recall(kept)
        assert again.memory() == kept == {"period": 1, "model": "sophia-v2"}
        again.recall({"period": "x", "model": None})  # of an earlier version
        assert again.memory() == kept


async def test_where_nobody_asked_a_model_the_key_says_so() -> None:
    app = stub.make_app(whole_world(answers.empty()), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, "monitor", "empty")
        assert "m one model" not in screen_text(app)
        await pilot.press("m")
        await pilot.pause()
        assert "No model was asked in this period." in screen_text(app)


async def test_set_up_says_in_its_head_how_much_is_amiss_and_sorts_the_gravest_first() -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.painted.is_set(), "painted")
        await pilot.press(digit("setup"))
        await settled(pilot)
        assert "Set-up  ✗ problem: 2  ! attention: 1" in screen_text(app).splitlines()[0]
        await pilot.press("equals_sign", "1")
        first = "✗ problem"
        await until(pilot, lambda: next(iter(app.screen.rows.values())).cells[0] == first, "sorted")
        found = [row.cells[0] for row in app.screen.rows.values()]
        assert found[:3] == ["✗ problem", "✗ problem", "! attention"]
