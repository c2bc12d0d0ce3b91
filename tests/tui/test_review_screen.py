"""Review's place: what is not there is said, and every key leads to what is."""

import pytest

from sophia_tui.domain.context import Role
from sophia_tui.tui import keys
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.review import ReviewScreen
from tests.tui import stub
from tests.tui.test_console import screen_text, until
from tests.tui.test_screens import digit, whole_world


async def _opened(pilot) -> None:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await pilot.press(digit("review"))
    await until(pilot, lambda: isinstance(pilot.app.screen, ReviewScreen), "review")
    await pilot.pause()


@pytest.mark.parametrize("language", ["en", "pt_BR"])
async def test_it_says_that_it_is_not_there_and_where_to_look(language: str) -> None:
    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await _opened(pilot)
        text = screen_text(app)
    assert ("not part of this version" if language == "en" else "não faz parte desta") in text
    assert "Monitor" in text


@pytest.mark.parametrize("key", [each for each in keys.KEYS if each.scope == "review"], ids=str)
async def test_each_of_its_keys_opens_something(key: keys.Key) -> None:
    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await _opened(pilot)
        lines = app.screen.copied().splitlines()
        assert sum(line.startswith(f"{key.key}  ") for line in lines) == 1
        await pilot.press(key.key)
        await until(pilot, lambda: not isinstance(app.screen, ReviewScreen), key.target)
        assert isinstance(app.screen, FormScreen) or app.screen.name_of_screen in key.target


async def test_what_a_person_may_not_is_not_named() -> None:
    app = stub.make_app(whole_world(), whole=True, role=Role.VIEWER)
    async with app.run_test(size=(80, 24)) as pilot:
        await _opened(pilot)
        text = screen_text(app)
    assert "a served model answers" not in text and "day by day" in text
