"""What people met who tried to break the console by hand: drafts, marks, pastes, keys, disks."""

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.widgets import Input

from sophia_tui.i18n import set_language
from sophia_tui.paths import Paths
from sophia_tui.services.settings import SettingList, SettingView
from sophia_tui.tui import state as state_module
from sophia_tui.tui.pastes import PasteParser, reads_pastes
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.review import ReviewScreen
from sophia_tui.tui.screens.settings import SettingsScreen
from sophia_tui.tui.state import ConsoleState
from sophia_tui.tui.widgets.plate import Plate
from tests.tui import answers, stub
from tests.tui.test_console import open_form, screen_text, settled, until
from tests.tui.test_lists import at_jobs, found, three_jobs
from tests.tui.test_screens import digit

SIZE = (80, 24)


def whole(folder: Path | None = None, **options: Any) -> Any:
    world = stub.full_world()
    world.answers = answers.full()
    world.answers["settings.list"] = SettingList(
        items=[
            SettingView(
                key=f"SOPHIA_{name}", value=value, source="sophia", changeable=True, help="x"
            )
            for name, value in (("WINDOW_DAYS", "30"), ("LANGUAGE", "en"))
        ]
    )
    return stub.make_app(world, folder=folder, whole=True, **options)


async def at_settings(pilot: Any) -> SettingsScreen:
    await settled(pilot)
    await pilot.press(digit("settings"))
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen), "settings")
    await until(pilot, lambda: pilot.app.screen.state == "full", "rows")
    return pilot.app.screen


async def edit(pilot: Any) -> FormScreen:
    await pilot.press("e")
    await until(pilot, lambda: isinstance(pilot.app.screen, FormScreen), "the form")
    return pilot.app.screen


async def test_a_form_opened_again_by_its_key_offers_the_draft_of_its_row(tmp_path: Path) -> None:
    app = whole(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        screen = await at_settings(pilot)
        form = await edit(pilot)
        of = form.typed["key"]
        before = form.typed["value"]
        form.query_one("#field-value", Input).value = "77"
        await until(pilot, lambda: form.typed["value"] == "77", "typed")
        await pilot.press("escape")
        form = await edit(pilot)
        assert (form.typed["key"], form.typed["value"]) == (of, "77")
        await until(pilot, lambda: "Your draft from before is here." in screen_text(app), "said")
        assert "F8 clear the draft" in screen_text(app)
        await pilot.press("f8")
        assert form.typed["value"] == before
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen, "the list")
        await pilot.press("down")
        other = await edit(pilot)
        assert other.typed["key"] != of
        assert not other.from_draft  # the draft of one row is not that of another


async def test_what_a_form_was_opened_with_is_no_draft(tmp_path: Path) -> None:
    state = ConsoleState(Paths(tmp_path), "ana")
    state.keep_draft(
        "x.y", {"key": "A", "value": "1", "more": "2"}, "A", {"key": "A", "value": "1"}
    )
    assert state.draft("x.y", "A") == {"more": "2"}


async def test_that_nothing_can_be_kept_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(state_module, "write_whole", full)
    monkeypatch.setattr(state_module, "replace_whole", full)
    caplog.set_level(logging.WARNING, "sophia")
    app = whole(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        app.remember()
        told = "Drafts and place can't be kept: No space left on device in"
        await until(pilot, lambda: told in screen_text(app), "said")
        app.state.keep_draft("x.y", {"a": "1"})
        app.remember()
    lines = [
        each.getMessage() for each in caplog.records if "can't be written" in each.getMessage()
    ]
    assert len(lines) == 1
    assert str(tmp_path) in lines[0]
    monkeypatch.undo()
    app.state.remember(stub.NOW)  # there is room again, and the place has not changed
    assert (tmp_path / "state" / "ana" / "console.json").exists()


async def test_a_draft_that_can_not_be_taken_away_ends_nothing(tmp_path: Path) -> None:
    state = ConsoleState(Paths(tmp_path), "ana")
    said: list[str] = []
    state.on_unkept = said.append
    (tmp_path / "state" / "ana" / "draft-x.y.json").mkdir(parents=True)
    state.drop_draft("x.y")
    assert len(said) == 1


async def test_marks_out_of_sight_are_counted_and_come_back_after_q(tmp_path: Path) -> None:
    world = three_jobs()
    app = stub.make_app(world, folder=tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        screen = await at_jobs(pilot)
        await pilot.press("space", "down", "space", "slash", *"ccc", "enter")
        await until(pilot, lambda: "2 marked, 2 of them not shown" in found(screen), "counted")
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running, "left")
    again = stub.make_app(world, folder=tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: getattr(again.screen, "state", "") == "full", "rows")
        assert again.screen.marked == ["ftjob-aaa", "ftjob-bbb"]
        await until(pilot, lambda: "2 of them not shown" in found(again.screen), "said again")


async def test_without_a_row_what_needs_one_is_neither_offered_nor_opened() -> None:
    app = whole()
    async with app.run_test(size=SIZE) as pilot:
        screen = await at_settings(pilot)
        assert "e edit" in screen_text(app)
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, lambda: not screen.rows, "no row")
        assert "e edit" not in screen_text(app)
        assert "u unset" not in screen_text(app)
        for key in "eu":
            await pilot.press(key)
            await until(pilot, lambda: "Nothing is selected." in screen_text(app), "said")
            assert app.screen is screen
        await pilot.press(digit("models"))
        await until(pilot, lambda: app.screen.state == "full", "models")
        assert not app.screen.not_now("promote.run")
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, lambda: not app.screen.rows, "no row")
        assert app.screen.not_now("promote.run") == "Nothing is selected."
        assert not app.screen.not_now("train.start")


async def test_a_draft_of_a_job_is_not_offered_to_be_resumed() -> None:
    world = stub.full_world()
    world.jobs = [stub.job("ftjob-aaa", "draft")]
    app = stub.make_app(world)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await at_jobs(pilot)
        assert "u resume" not in screen_text(app)
        assert "ftjob-aaa" in screen.not_now("jobs.resume")


async def test_a_filter_opened_again_gives_way_to_what_is_typed() -> None:
    app = stub.make_app(three_jobs())
    async with app.run_test(size=SIZE) as pilot:
        screen = await at_jobs(pilot)
        field = screen.query_one("#filter", Input)
        await pilot.press("slash", *"aaa", "enter", "slash", *"bb")
        assert field.value == "bb"
        await pilot.press("enter", "slash", "end", "b")
        assert field.value == "bbb"


async def test_a_list_says_that_it_takes_plain_text() -> None:
    app = stub.make_app(three_jobs())
    async with app.run_test(size=SIZE) as pilot:
        await at_jobs(pilot)
        await pilot.press("slash", *"re:aaa(", "enter")
        await until(pilot, lambda: "Lists take plain text" in screen_text(app), "said")


async def test_a_digit_on_a_button_leaves_no_form() -> None:
    app = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "settings.set", {"key": "SOPHIA_LANGUAGE"})
        form.query_one("#run").focus()
        await pilot.press(digit("jobs"))
        assert app.screen is form
        await pilot.press("escape")
        assert app.screen is not form


async def test_a_screen_that_does_not_look_tells_no_distance() -> None:
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await until(pilot, lambda: "db < 50 ms" in screen_text(app), "measured")
        await pilot.press(digit("review"))
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen), "review")
        assert "db " not in screen_text(app).splitlines()[0]


@pytest.mark.parametrize("language", ["en", "pt_BR"])
async def test_a_long_value_leaves_room_for_the_buttons(language: str) -> None:
    app = whole(language=language)
    try:
        async with app.run_test(size=SIZE) as pilot:
            await settled(pilot)
            form = await open_form(pilot, "settings.set", {"key": "SOPHIA_LANGUAGE"})
            form.query_one("#field-value", Input).value = "x" * 5000
            await pilot.pause()
            command = form.query_one("#command", Plate)
            await until(pilot, lambda: 0 < command.region.height <= 4, "a few lines")
            assert "F7" in command.text
            assert form.query_one("#run").region.bottom <= SIZE[1] - 2
            assert "x" * 5000 in form.copied()
    finally:
        set_language("en")


HOSTILE = "P\x1b[31mQ\u202eR\x85S\x1b"


@pytest.mark.parametrize("step", [1, 3, 7, 500])
def test_pasted_text_keeps_its_signs_and_their_order(step: int) -> None:
    sent = f"a\x1b[200~{HOSTILE}\x1b[201~b\x1b[20~"
    parser = PasteParser()
    got: list[Any] = []
    for start in range(0, len(sent), step):
        got += parser.feed(sent[start : start + step])
    told = [each.text if isinstance(each, events.Paste) else each.key for each in got]
    assert told == ["a", HOSTILE, "b", "f9"]


def test_a_key_that_comes_in_parts_is_no_paste() -> None:
    parser = PasteParser()
    got = [each for part in ("\x1b[20", "~", "0~x") for each in parser.feed(part)]
    assert [each.key for each in got if isinstance(each, events.Key)][:1] == ["f9"]
    assert not [each for each in got if isinstance(each, events.Paste)]


def test_the_terminal_of_the_console_reads_pastes_whole() -> None:
    from textual.drivers import linux_driver

    assert reads_pastes(linux_driver.LinuxDriver) is linux_driver.LinuxDriver
    assert linux_driver.XTermParser is PasteParser


async def test_hostile_signs_that_are_pasted_stay_in_the_value() -> None:
    app = whole()
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "settings.set", {"key": "SOPHIA_LANGUAGE"})
        field = form.query_one("#field-value", Input)
        field.focus()
        await pilot.pause()
        app.post_message(events.Paste(f"{HOSTILE}\r\nmore"))
        await until(pilot, lambda: bool(field.value), "pasted")
        assert field.value == HOSTILE
        assert form.typed["value"] == HOSTILE
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)
