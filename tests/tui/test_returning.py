"""Coming back after the line dropped: the place, what was typed, and what happened meanwhile."""

import json
import os
import re
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.widgets import Input

from sophia_tui.errors import NotFoundError
from sophia_tui.paths import Paths
from sophia_tui.tui.screens.browser import BrowserScreen
from sophia_tui.tui.screens.bulk import BulkScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.models import ModelsScreen
from sophia_tui.tui.screens.pick import DraftsScreen, TypedScreen
from sophia_tui.tui.state import Above, ConsoleState, Origin
from tests.tui import answers, stub
from tests.tui.test_console import open_form, screen_text, settled, until
from tests.tui.test_screens import digit
from tests.tui.test_terminal import Terminal

SIZE = (80, 24)
NOW = stub.NOW


def words_of(sent: bytes) -> str:
    """What a terminal was sent, without styles and places: words with a space between them."""
    plain = re.sub(r"\x1b\[[0-9;?>]*[A-Za-z$]", " ", sent.decode(errors="replace"))
    return " ".join(plain.split())


def seen(terminal: Terminal, text: str) -> bool:
    """Whether the terminal shows a text soon."""
    sent = b""
    for _attempt in range(300):
        sent += terminal.read(0.1)
        if text in words_of(sent):
            return True
    return False


def whole_world() -> stub.World:
    world = stub.full_world()
    world.answers = answers.full()
    return world


def console(folder: Path, world: stub.World | None = None, **options: Any) -> Any:
    return stub.make_app(world or whole_world(), folder=folder, whole=True, **options)


def left(folder: Path, **place: Any) -> ConsoleState:
    """A memory as a console left it that was killed two hours ago."""
    state = ConsoleState(Paths(folder), "ana")
    state.seen_at = NOW - timedelta(hours=2)
    for name, value in place.items():
        setattr(state, name, value)
    state.remember(NOW)
    return ConsoleState(Paths(folder), "ana")


# -- the files


def test_the_place_is_written_once_while_nothing_changes(tmp_path: Path) -> None:
    state = ConsoleState(Paths(tmp_path), "ana")
    file = tmp_path / "state" / "ana" / "console.json"
    state.memories["jobs"] = {"row": "a"}
    state.remember(NOW)
    file.unlink()
    state.remember(NOW + timedelta(seconds=5))
    assert not file.exists()
    state.memories["jobs"] = {"row": "b"}
    state.remember(NOW + timedelta(seconds=6))
    assert json.loads(file.read_text())["screens"] == {"jobs": {"row": "b"}}


def test_who_is_seen_again_is_noted_though_the_place_is_the_same(tmp_path: Path) -> None:
    state = ConsoleState(Paths(tmp_path), "ana")
    for seconds in (0, 10, 60):
        state.seen_at = NOW + timedelta(seconds=seconds)
        state.remember(NOW)
    assert ConsoleState(Paths(tmp_path), "ana").left_at == NOW + timedelta(seconds=60)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"x"', '{"format": 99, "screen": "jobs"}', '{"format": "x"}', "\0"]
)
def test_a_damaged_or_later_file_is_passed_over_and_said(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state" / "ana"
    folder.mkdir(parents=True)
    (folder / "console.json").write_text(content)
    with caplog.at_level("WARNING", logger="sophia"):
        state = ConsoleState(Paths(tmp_path), "ana")
    assert (state.screen, state.above, state.memories) == ("overview", [], {})
    assert not state.first
    assert "console.json" in caplog.text


def test_parts_that_are_not_as_they_must_be_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "ana"
    folder.mkdir(parents=True)
    kept = {
        "format": 2,
        "screen": "jobs",
        "screens": {"jobs": 3, "models": {"row": "m"}},
        "above": [1, {"how": "form"}, {"how": "form", "of": "a.b", "with": {}, "memory": {}}],
        "left_at": "yesterday",
    }
    (folder / "console.json").write_text(json.dumps(kept))
    state = ConsoleState(Paths(tmp_path), "ana")
    assert state.memories == {"models": {"row": "m"}}
    assert [each.origin.of for each in state.above] == ["a.b"]
    assert state.left_at is None


def test_of_two_consoles_the_last_that_writes_is_believed(tmp_path: Path) -> None:
    one, other = (ConsoleState(Paths(tmp_path), "ana") for _each in range(2))
    one.screen, other.screen = "jobs", "models"
    one.remember(NOW)
    other.remember(NOW)
    assert ConsoleState(Paths(tmp_path), "ana").screen == "models"
    assert [each.name for each in (tmp_path / "state" / "ana").iterdir()] == ["console.json"]


def test_a_draft_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "ana"
    folder.mkdir(parents=True)
    (folder / "draft-things.make.json").write_text('{"name": "box"}')
    state = ConsoleState(Paths(tmp_path), "ana")
    assert state.draft("things.make") == {"name": "box"}
    state.keep_draft("things.make", {"name": "crate"}, "it", {"name": "it"})
    (found,) = state.drafts()
    assert (found.operation, found.target, found.typed) == ("things.make", "it", {"name": "crate"})


# -- in the console


async def test_a_form_comes_back_over_its_list_with_what_was_typed_over_what_was_given(
    tmp_path: Path,
) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(digit("jobs"))
        await settled(pilot)
        form = await open_form(pilot, "prepare.split", {"dataset": "town", "seed": "3"})
        form.query_one("#field-seed", Input).value = "7"
        form.query_one("#field-group", Input).focus()
        await pilot.pause()
        form.keep_draft()
        app.remember()
    again = console(tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(again.screen, FormScreen), "the form")
        form = again.screen
        assert isinstance(again.screen_stack[1], JobsScreen)
        assert (form.typed["dataset"], form.typed["seed"]) == ("town", "7")
        await until(pilot, lambda: "Your draft from before is here" in screen_text(again), "told")
        assert form.focused.id == "field-group"


async def test_a_form_for_marked_rows_comes_back_with_its_marks_and_what_was_typed(
    tmp_path: Path,
) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(digit("models"))
        await settled(pilot)
        await pilot.press("space", "down", "space", "j")
        await until(pilot, lambda: isinstance(app.screen, BulkScreen), "the form")
        form = app.screen
        marked = [each.key for each in form.targets]
        form.query_one("#field-reason", Input).value = "measured"
        form.query_one("#field-reason", Input).focus()
        await until(pilot, lambda: form.typed["reason"] == "measured", "typed")
        form.keep_draft()
        app.remember()
    again = console(tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(again.screen, BulkScreen), "the form again")
        form = again.screen
        assert [each.key for each in form.targets] == marked
        assert form.typed["reason"] == "measured"
        await until(pilot, lambda: "Your draft from before is here" in screen_text(again), "told")
        assert form.focused.id == "field-reason"
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(again.screen, TypedScreen), "the commands")
        told = [each.command for each in again.screen.found]
        assert [each for each in marked if any(each in line for line in told)] == marked
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(again.screen, ModelsScreen), "the list")
        await pilot.press("space")  # another set of rows: what was typed was not meant for it
        await pilot.press("j")
        await until(pilot, lambda: isinstance(again.screen, FormScreen), "another form")
        assert again.screen.typed["reason"] == ""
        await pilot.press("escape")
        again.go("act.drafts", again.screen)
        await until(pilot, lambda: isinstance(again.screen, DraftsScreen), "the drafts")
        await until(pilot, lambda: again.screen.marked == 0, "one of them")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(again.screen, BulkScreen), "opened from there")
        assert [each.key for each in again.screen.targets] == marked
        await pilot.press("f8")
        await until(pilot, lambda: again.screen.typed["reason"] == "", "cleared")
        assert again.state.drafts() == []


async def test_an_answer_is_asked_again_and_recalled(tmp_path: Path) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        app.open("prepare.browse", {"file": "pairs.jsonl", "line": 1})
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "the browser")
        await pilot.press("f1")  # help is not brought back
        await pilot.pause()
        app.remember()
    assert [each.origin.of for each in ConsoleState(Paths(tmp_path), "ana").above] == [
        "prepare.browse"
    ]
    again = console(tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(again.screen, BrowserScreen), "the browser again")
        assert again.screen.of["file"] == "pairs.jsonl"


async def test_a_record_browser_comes_back_at_its_record(tmp_path: Path) -> None:
    origin = Origin("answer", "prepare.browse", {"file": "pairs.jsonl", "line": 1})
    kept = {"place": {"line": 1}, "row": 2, "opened": True, "view": "exact"}
    left(tmp_path, screen="datasets", above=[Above(origin, kept)])
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, BrowserScreen), "the browser")
        await until(pilot, lambda: app.screen.told_of == "2", "its record")
        assert (app.screen.opened, app.screen.view) == ("2", "exact")
        app.remember()
    (found,) = ConsoleState(Paths(tmp_path), "ana").above
    assert (found.memory["row"], found.memory["opened"]) == (2, True)


async def test_a_list_comes_back_with_filter_order_and_row(tmp_path: Path) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(digit("settings"))
        await settled(pilot)
        await pilot.press("slash", *"a", "enter")
        await settled(pilot)
        await pilot.press("end")
        await pilot.pause()
        row = app.screen.selected_key
        app.remember()
    again = console(tmp_path)
    async with again.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await until(pilot, lambda: again.screen.selected_key == row, "the row")
        assert again.screen.memory()["filter"] == "a"


async def test_what_can_not_be_opened_again_is_said_and_the_list_stays(tmp_path: Path) -> None:
    left(tmp_path, above=[Above(Origin("answer", "datasets.rejected", {"dataset": "gone"}))])
    world = whole_world()

    def gone(_request: Any) -> Any:
        raise NotFoundError("D404", "There is no data set gone.")

    world.answers["datasets.rejected"] = gone
    app = console(tmp_path, world)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await until(pilot, lambda: "There is no data set gone." in screen_text(app), "said")
        assert len(app.screen_stack) == 2


async def test_an_act_that_writes_is_never_done_again_by_itself(tmp_path: Path) -> None:
    left(
        tmp_path,
        above=[
            Above(Origin("answer", "jobs.cancel", {"job": "ftjob-7f2a9c0d1e2f"})),
            Above(Origin("act", "exit")),
            Above(Origin("answer", "no.such", {})),
        ],
    )
    world = whole_world()
    app = console(tmp_path, world)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await until(pilot, lambda: not app._bringing_back, "done with it")
        assert "jobs.cancel" not in world.calls and len(app.screen_stack) == 2


async def test_a_store_that_is_away_delays_the_answer_and_keeps_the_place(tmp_path: Path) -> None:
    left(tmp_path, above=[Above(Origin("answer", "models.calendar", {}))])
    world = whole_world()
    world.trouble = stub.database_gone()
    app = console(tmp_path, world)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot, "error")
        app.remember()
        assert ConsoleState(Paths(tmp_path), "ana").above
        world.trouble = None
        app.screen.refresh_now()
        await until(pilot, lambda: "calendar" in app.screen.scopes, "the calendar")


async def test_who_comes_back_anywhere_is_told_how_long_and_what_happened(tmp_path: Path) -> None:
    left(tmp_path, screen="jobs")
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        told = "Away 2 h: 1 job succeeded, 2 changes by maria. 1 shows more."
        await until(pilot, lambda: told in " ".join(screen_text(app).split()), "told")
        assert isinstance(app.screen, JobsScreen)


async def test_a_row_that_is_gone_is_said(tmp_path: Path) -> None:
    left(tmp_path, screen="jobs", memories={"jobs": {"row": "ftjob-gone", "opened": None}})
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        told = "ftjob-gone is no longer in the list."
        await until(pilot, lambda: told in " ".join(screen_text(app).split()), "said")


async def test_who_was_away_from_an_open_console_is_told_with_the_first_key(
    tmp_path: Path,
) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        app.state.seen_at = NOW - timedelta(hours=3)
        await pilot.press("down")
        await until(pilot, lambda: "Away 3 h: 1 job succeeded" in screen_text(app), "told")
        app.state.seen_at = NOW - timedelta(minutes=3)
        await pilot.press("down", "r")
        await pilot.pause()
        assert "Away 3 min" not in screen_text(app)


async def test_a_screen_that_is_being_taken_down_keeps_what_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken_down(self: Any) -> dict[str, Any]:
        raise NoMatches("no table")

    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(digit("jobs"))
        await settled(pilot)
        await pilot.press("down")
        await pilot.pause()
        app.remember()
        noted = dict(app.state.memories["jobs"])
        monkeypatch.setattr(JobsScreen, "memory", taken_down)
        app.remember()
        assert app.state.memories["jobs"] == noted and noted["row"]
        app.exit()  # nothing is noted of what is taken down after it
        app.state.memories.clear()
        app.remember()
    assert ConsoleState(Paths(tmp_path), "ana").memories["jobs"] == noted


async def test_q_comes_back_to_the_list_as_it_was_and_to_nothing_above(tmp_path: Path) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press(digit("models"))
        await settled(pilot)
        app.open("models.calendar", {"refresh": False})
        await until(pilot, lambda: "calendar" in app.screen.scopes, "the calendar")
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running, "left")
    state = ConsoleState(Paths(tmp_path), "ana")
    assert (state.screen, state.above) == ("models", [])


async def test_a_secret_is_neither_in_the_place_nor_in_a_draft(tmp_path: Path) -> None:
    app = console(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        form = await open_form(pilot, "env.set", {"key": "DB_PASS", "value": "geheim"})
        form.query_one("#field-value", Input).value = "geheim2"
        await pilot.pause()
        form.keep_draft()
        app.remember()
    for file in (tmp_path / "state" / "ana").iterdir():
        assert "geheim" not in file.read_text()


# -- in a real terminal


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGKILL, signal.SIGTERM])
def test_a_console_that_was_killed_comes_back_as_it_was(
    tmp_path: Path, end: signal.Signals
) -> None:
    play = ["-m", "tests.tui.play", "whole", "en", str(tmp_path)]
    place = tmp_path / "state" / "ana" / "console.json"
    terminal = Terminal(play)
    try:
        assert seen(terminal, "Next")
        terminal.type(digit("jobs").encode())
        assert seen(terminal, "succeeded")
        terminal.type(b"t")
        assert seen(terminal, "dry run")
        terminal.type(b"gro")
        draft = tmp_path / "state" / "ana" / "draft-train.start.json"
        for _attempt in range(200):
            terminal.read(0.1)
            if draft.exists() and "gro" in draft.read_text() and "train.start" in place.read_text():
                break
        os.killpg(terminal.process.pid, end)
        terminal.process.wait(10)
    finally:
        terminal.close()
    again = Terminal(play)
    try:
        assert seen(again, "draft from before is here")
    finally:
        again.close()
