"""Every screen in both languages, from the smallest window on: nothing is cut without a way to read
it. Buttons and key lines fit, titles of columns are whole, words of ours end where they end."""

import re
from typing import Any

import pytest
from rich.cells import cell_len
from textual.screen import Screen
from textual.widgets import Button, Input

from sophia_tui.domain.context import Role
from sophia_tui.domain.operations import Danger
from sophia_tui.i18n import LANGUAGES, speaking
from sophia_tui.services.catalogue import registry
from sophia_tui.tui import keys
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.table import TableScreen
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import stub
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import digit, whole_world

SIZES = [(60, 15), (80, 24), (120, 40)]
NAMES = [each.target.removeprefix("screen.") for each in keys.SCREENS]


def cut(text: str) -> bool:
    return text.rstrip().endswith(("…", "~"))


def trouble(screen: Any, width: int) -> list[str]:
    """What is cut on the screen."""
    found = []
    for name in ("#head", "#keys"):
        for plate in screen.query(name).results(Plate):
            if cut(plate.text) or cell_len(plate.text.rstrip()) > width:
                found.append(f"{name}: {plate.text}")
    for button in screen.query(Button):
        if button.region.height and button.region.width < cell_len(str(button.label)):
            found.append(f"button: {button.label}")
        if button.region.right > width:
            found.append(f"button beyond the edge: {button.label}")
    if isinstance(screen, TableScreen):
        for title, room in screen._titled():
            if cell_len(title.rstrip("▲▼^v ")) > room:
                found.append(f"column: {title} in {room}")
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
async def test_no_title_key_or_button_is_cut_on_any_screen(language: str, size: Any) -> None:
    app = stub.make_app(whole_world(), whole=True, language=language, role=Role.OPERATOR)
    found = []
    async with app.run_test(size=size) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        for name in NAMES:
            await pilot.press(digit(name))
            await until(pilot, lambda at=name: app.state.screen == at, name)
            if name != "review":  # which asks for no data
                await settled(pilot)
            with speaking(language):
                found += [f"{name}: {each}" for each in trouble(app.screen, size[0])]
                assert app.screen.query_one("#keys", Plate).text.strip(), name
    assert not found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
async def test_every_form_shows_its_labels_buttons_and_command(language: str, size: Any) -> None:
    """A label may take two lines, never the edge; the buttons are in sight whatever scrolls."""
    app = stub.make_app(whole_world(), whole=True, language=language)
    found = []
    async with app.run_test(size=size) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        asked = ("train.start", "prepare.run", "models.state", "settings.set", "promote.run")
        for operation in [app.dispatcher.registry.get(each) for each in asked]:
            form = FormScreen(app, operation)
            await app.push_screen(form)
            await pilot.pause()
            with speaking(language):
                found += [f"{operation.name}: {each}" for each in trouble(form, size[0])]
            for button in form.query("#buttons Button").results(Button):
                assert 0 <= button.region.y < size[1] and button.region.height, operation.name
            for field in form.query("#form Input").results(Input):
                assert not field.region.height or field.region.width >= 20, operation.name
            await app.pop_screen()
    assert not found


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_question_shows_its_buttons_in_the_smallest_window(language: str) -> None:
    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(60, 15)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        for operation in [each for each in registry() if each.danger is not Danger.NONE]:
            effect = [f"{n}: a line that says what would be changed" for n in range(12)]
            with speaking(language):
                dialog = ConfirmScreen(app, operation, "town@5f2c88aa91d0", effect)
            await app.push_screen(dialog)
            await pilot.pause()
            for button in dialog.query(Button):
                assert 0 < button.region.y < 15 and button.region.right <= 60, operation.name
                assert button.region.width >= cell_len(str(button.label)), operation.name
            await pilot.press("escape")
            await pilot.pause()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_palette_tells_the_chosen_entry_whole(language: str) -> None:
    app = stub.make_app(whole_world(), whole=True, language=language)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        await pilot.press("colon")
        await pilot.pause()
        palette: Any = app.screen
        plate = palette.query_one("#chosen", Plate)
        for each in palette._entries:
            palette._matching, palette._marked = [each], 0
            palette._tell()
            lines = plate.text.split("\n")
            rows = sum(-(-cell_len(line) // (80 - 2)) for line in lines)
            assert rows <= 5, f"{each.name}: {rows}"


def test_the_same_words_are_told_in_both_languages() -> None:
    """No form of a key's text is so long that a footer of 60 cells could hold it alone."""
    for language in LANGUAGES:
        with speaking(language):
            from sophia_tui.i18n import _

            long = [_(each.text) for each in keys.KEYS if each.rank and cell_len(_(each.text)) > 26]
            assert not long


@pytest.mark.parametrize("size", [(59, 15), (60, 14), (20, 4), (1, 1)])
async def test_too_small_a_window_asks_for_a_larger_one(size: Any) -> None:
    app = stub.make_app(whole_world(), whole=True, language="pt_BR")
    async with app.run_test(size=size) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        if size[0] >= 20:
            assert re.search(r"\w", screen_text(app))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Sophia" in screen_text(app), "drawn")


async def test_a_window_of_one_column_comes_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts: list[str] = []
    lay_out = Screen._refresh_layout

    def counted(screen: Screen[object], *given: object, **named: object) -> None:
        layouts.append(screen.name or "")
        lay_out(screen, *given, **named)  # type: ignore[arg-type]

    app = stub.make_app(whole_world(), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, app.painted.is_set, "painted")
        await pilot.resize_terminal(1, 1)
        for key in ("1", "4"):
            await pilot.press(key)
            await pilot.pause(0.3)  # what came of the key has come
            with monkeypatch.context() as patched:
                patched.setattr(Screen, "_refresh_layout", counted)
                await pilot.pause(0.5)
            assert len(layouts) < 5, layouts  # it was 30, one a tick
