"""Pictures of every screen: full at both sizes and in both languages, the other states at 80x24.

The everyday run takes one picture of each screen, in another size and language each time; all of
them are long. Renewed by `pytest tests/tui/test_snapshots.py --snapshot-update`; look at them
before committing.
"""

import time
from collections.abc import Iterator

import pytest

from sophia_tui.services.setup_steps import ApplyView, StepLine
from sophia_tui.tui import keys
from sophia_tui.tui.screens.browser import BrowserScreen
from sophia_tui.tui.step_run import StepRun
from tests.representatives import LANGUAGES, SIZES, chosen, crossed
from tests.tui import answers, stub
from tests.tui.test_console import settled, until
from tests.tui.test_screens import digit, opened, whole_world

NAMES = list(keys.SHOWS)
#: Screens that one opens row by row; the wide window shows the first one by itself.
LISTS = [name for name in NAMES if name not in ("overview", "monitor")]
FILLED = [(name, "empty") for name in keys.FILLED_BY if name in NAMES]
STATES = ["loading", "error", "empty", "stale"]
DATA = ["browser", "record", "inspection", "issue", "editor", "diff"]


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("name", "size", "language"), crossed(NAMES, SIZES, LANGUAGES))
def test_full(name: str, size: tuple[int, int], language: str, snap_compare) -> None:
    """In the narrow window the list, in the wide one with the first row beside it."""

    async def before(pilot) -> None:
        await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
        await pilot.press(digit(name))
        await settled(pilot)
        if size[0] >= 100 and name in LISTS:
            await until(pilot, lambda: pilot.app.screen.told_of is not None, "told")
        await pilot.pause()

    app = stub.make_app(whole_world(), whole=True, language=language)
    assert snap_compare(app, terminal_size=size, run_before=before)


@pytest.mark.parametrize(("name", "language"), crossed(LISTS, LANGUAGES))
def test_one_row(name: str, language: str, snap_compare) -> None:
    async def before(pilot) -> None:
        await opened(pilot, name)
        await pilot.pause()

    app = stub.make_app(whole_world(), whole=True, language=language)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize(
    ("name", "state"),
    [
        *crossed(NAMES, ("loading", "error", "stale")),
        # the others always have something
        *chosen(FILLED, everyday=FILLED[:2]),
    ],
)
def test_state(name: str, state: str, snap_compare) -> None:
    world = whole_world(answers.empty() if state == "empty" else None)
    world.trouble = stub.database_gone() if state == "error" else None
    if state == "loading":
        world.block.clear()

    async def before(pilot) -> None:
        await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
        await pilot.press(digit(name))
        if state == "stale":
            await settled(pilot)
            world.trouble = stub.database_gone()
        await pilot.press("r")
        await settled(pilot, state)
        await pilot.pause()

    app = stub.make_app(world, whole=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize(("name", "size", "language"), crossed(DATA, SIZES, LANGUAGES))
def test_data(name: str, size: tuple[int, int], language: str, snap_compare) -> None:
    """The record browser and one record, the report and one issue, the editor, two versions."""

    async def before(pilot) -> None:
        await _at_data_screen(pilot, name)
        await pilot.pause(0.1)

    app = stub.make_app(whole_world(), whole=True, language=language)
    assert snap_compare(app, terminal_size=size, run_before=before)


async def _at_data_screen(pilot, name: str) -> None:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await pilot.press("3")
    await settled(pilot)
    if name == "diff":
        await pilot.press("space", "down", "d")
        await until(pilot, lambda: bool(pilot.app.screen.query("#result")), "the difference")
        return
    await pilot.press("i" if name in ("inspection", "issue") else "b")
    await until(pilot, lambda: bool(pilot.app.screen.query("#where")), "the screen")
    await settled(pilot)
    if name == "issue":
        await pilot.press(*["down"] * 5, "enter")
    elif name == "record":
        await pilot.press("down", "enter")
    elif name == "editor":
        pilot.app.screen.of = {"file": "/data/pairs.jsonl"}
        await pilot.press("e")
        await until(pilot, lambda: bool(pilot.app.screen.query("#record")), "the editor")
        return
    if name in ("issue", "record") or pilot.app.size.width >= 100:
        screen = pilot.app.screen
        await until(pilot, lambda: screen.shown and screen.told_of == screen.shown.key, "told")


#: The set-up's screens over others, and how one comes to them.
SETUP = ("check", "keys", "key", "value", "wizard", "database", "plan", "running", "failed")


@pytest.mark.parametrize(("name", "size", "language"), crossed(SETUP, SIZES, LANGUAGES))
def test_setup(name: str, size: tuple[int, int], language: str, snap_compare) -> None:
    """One check, env keys, one value, pages of the first set-up, a step that runs or has failed."""

    async def before(pilot) -> None:
        await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
        await pilot.press("2")
        await settled(pilot)
        await _at_setup_screen(pilot, name)
        await pilot.pause(0.1)

    app = stub.make_app(whole_world(), whole=True, language=language)
    assert snap_compare(app, terminal_size=size, run_before=before)


async def _at_setup_screen(pilot, name: str) -> None:
    app = pilot.app
    if name == "check":
        await pilot.press(*["down"] * 3, "enter")
        await until(pilot, lambda: app.screen.told_of == app.screen.shown.key, "told")
    elif name in ("keys", "key", "value"):
        await pilot.press("e")
        await until(pilot, lambda: app.screen.name_of_screen == "environment", "the keys")
        await settled(pilot)
        if name == "key":
            await pilot.press("enter")
            await until(pilot, lambda: app.screen.told_of is not None, "told")
        elif name == "value":
            await pilot.press("e")
            await until(pilot, lambda: bool(app.screen.query("#value")), "the value")
            await pilot.press(*"sk-1")
            await until(pilot, lambda: bool(app.screen.query_one("#state").text), "its state")
    elif name in ("wizard", "database", "plan"):
        await pilot.press("w")
        await until(pilot, lambda: bool(app.screen.query("#title")), "the first page")
        await pilot.pause()
        if name != "wizard":
            app.screen.query_one("#field-database_url").value = "postgresql://me@db/prod"
            await pilot.pause()
            app.screen._turn_to(1 if name == "database" else 7)
            await pilot.press("f2" if name == "database" else "end")
            await until(pilot, lambda: len(app.screen.query_one("#found").text) > 20, "found")
    else:
        run = StepRun("units")
        for line in ("step 1 of 1: units", "red \x1b[31mESC"):
            run.take(StepLine(line=line))
        if name == "failed":
            command = "sudo ./install_sophia_llm.sh --step units"
            view = ApplyView(step="units", outcome="failed", effect="", command=command, code=7)
            run.ended(view.model_copy(update={"log": "/var/log/sophia/install.log"}))
        app.step_run = run
        await pilot.press("o")
        await until(pilot, lambda: bool(app.screen.query("#output")), "the pane")


@pytest.mark.parametrize("state", chosen(STATES, everyday=["error"]))
def test_state_of_the_env_keys(state: str, snap_compare) -> None:
    world = whole_world()

    async def before(pilot) -> None:
        await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
        await pilot.press("2")
        await settled(pilot)
        if state == "empty":
            world.answers = answers.empty()
        elif state == "loading":
            world.block.clear()
        elif state == "error":
            world.trouble = stub.database_gone()
        await pilot.press("e")
        await until(pilot, lambda: pilot.app.screen.name_of_screen == "environment", "the keys")
        if state == "stale":
            await settled(pilot)
            world.trouble = stub.database_gone()
            await pilot.press("r")
        await settled(pilot, state)
        await pilot.pause()

    app = stub.make_app(world, whole=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("state", chosen(STATES, everyday=["stale"]))
def test_state_of_the_browser(state: str, snap_compare) -> None:
    world = whole_world()

    async def before(pilot) -> None:
        await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
        await pilot.press("3")
        await settled(pilot)
        if state == "empty":
            nothing = answers.page().model_copy(update={"items": []})
            world.answers["prepare.browse"] = nothing
        elif state == "loading":
            world.block.clear()
        elif state == "error":
            world.trouble = stub.database_gone()
        pilot.app.show(BrowserScreen(pilot.app, {"file": "/data/pairs.jsonl"}))
        await until(pilot, lambda: bool(pilot.app.screen.query("#where")), "the screen")
        if state == "stale":
            await settled(pilot)
            world.trouble = stub.database_gone()
            await pilot.press("r")
        await settled(pilot, state)
        await pilot.pause()

    app = stub.make_app(world, whole=True)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)


def test_overview_of_a_house_where_nothing_was_done(snap_compare) -> None:
    async def before(pilot) -> None:
        await settled(pilot)

    assert snap_compare(stub.make_app(stub.World()), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("language", chosen(LANGUAGES, everyday=["pt_BR"]))
def test_help(language: str, snap_compare) -> None:
    """Over the stand-ins' few operations: the page does not grow with Sophia."""

    async def before(pilot) -> None:
        await opened(pilot, "jobs")
        await pilot.press("f1")
        await pilot.pause(0.1)

    app = stub.make_app(stub.full_world(), language=language)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)


def test_form(snap_compare) -> None:
    async def before(pilot) -> None:
        await settled(pilot)
        pilot.app.open("things.make", {"name": "box"})
        await pilot.pause(0.1)

    assert snap_compare(stub.make_app(stub.World()), terminal_size=(80, 40), run_before=before)


@pytest.mark.parametrize(
    ("operation", "language"),
    crossed(["train.plan", "train.preview", "train.checklist"], LANGUAGES),
)
def test_before_a_training(operation: str, language: str, snap_compare) -> None:
    async def before(pilot) -> None:
        await settled(pilot)
        field = "job" if operation == "train.checklist" else "dataset"
        pilot.app.open(operation, {field: "town"})
        await until(pilot, lambda: bool(pilot.app.screen.query("#result")), "the answer")
        await pilot.pause(0.1)

    app = stub.make_app(whole_world(), whole=True, language=language)
    assert snap_compare(app, terminal_size=(80, 24), run_before=before)
