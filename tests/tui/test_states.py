"""Every screen with data in each of its other states: loading, error, stale, empty. A new one that
lacks a word of a state fails."""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches

from sophia_tui.domain.context import Role
from sophia_tui.tui import keys, screens
from sophia_tui.tui.screens.jobs import JobsScreen
from sophia_tui.tui.screens.live import LiveScreen
from tests.tui import answers, stub
from tests.tui.test_calendar_screen import entry, world_with
from tests.tui.test_console import screen_text, settled, until
from tests.tui.test_screens import whole_world

#: How a screen is made that needs more than the app.
_MADE: dict[str, Callable[[Any, Any], LiveScreen]] = {
    "BrowserScreen": lambda kind, app: kind(app, {"file": "/data/qa.jsonl"}),
    "InspectionScreen": lambda kind, app: kind(app, {"files": []}),
    "JobCompareScreen": lambda kind, app: kind(app, {"jobs": ["a", "b"]}, answers.jobs_compared()),
}
#: They open with the answer that their operation gave: neither loading nor an error comes first.
OPENED_WITH_DATA = {"JobCompareScreen"}
#: They always have something: the checks, the keys that are declared, the sum of all files.
NEVER_EMPTY = {"SetupScreen", "SettingsScreen", "EnvironmentScreen", "InspectionScreen"}


def _live_classes() -> list[Any]:
    for each in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{each.name}")
    found, left = [], [LiveScreen]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.scopes not in ((), ("table",), ("table", "list")) and kind.__module__.startswith(
            screens.__name__
        ):
            found.append(kind)
    return sorted(found, key=lambda kind: kind.__name__)


LIVE = _live_classes()


def _made(kind: Any, app: Any) -> LiveScreen:
    made: LiveScreen = _MADE.get(kind.__name__, lambda kind, app: kind(app))(kind, app)
    return made


async def _painted(pilot) -> None:
    await until(pilot, lambda: pilot.app.painted.is_set(), "painted")
    await settled(pilot)


def test_every_screen_that_a_digit_opens_is_among_them() -> None:
    # Review has no data
    assert {screens.CLASSES[name] for name in keys.SHOWS} <= {kind.__name__ for kind in LIVE}


async def _loads_and_fails(pilot, world: stub.World) -> None:
    assert "Loading" in screen_text(pilot.app)
    world.trouble = stub.database_gone()
    world.block.set()
    await settled(pilot, "error")
    told = " ".join(screen_text(pilot.app).split())
    for part in (
        "The database does not answer.",
        "Why: Connection refused.",
        "What to do: Start it again.",
        "SOPHIA-S001",
        "/data/logs/sophia.log",
    ):
        assert part in told, part


@pytest.mark.parametrize("kind", LIVE, ids=lambda kind: kind.__name__)
async def test_loading_error_and_stale_say_what_a_person_needs(kind: Any, tmp_path: Path) -> None:
    world = world_with(entry())
    app = stub.make_app(world, whole=True, folder=tmp_path)
    now = stub.NOW
    app.now = lambda: now
    async with app.run_test(size=(80, 24)) as pilot:
        await _painted(pilot)
        world.block.clear()
        screen = _made(kind, app)
        app.show(screen)
        await until(pilot, lambda: app.screen is screen and screen.is_mounted, "shown")
        await pilot.pause()
        if kind.__name__ in OPENED_WITH_DATA:
            world.block.set()
        else:
            await _loads_and_fails(pilot, world)
        world.trouble = None
        await pilot.press("r")
        await settled(pilot)
        before = screen_text(app).splitlines()[3:-2]
        world.trouble = stub.database_gone()
        now += timedelta(seconds=40)
        screen.refresh_now()
        await settled(pilot, "stale")
        text = screen_text(app)
        assert "stale, 40 s: The database does not answer. (SOPHIA-S001)" in text
        kept = [line for line in before if line.strip() and line in text]
        assert kept  # the last data stay in sight
        now += timedelta(minutes=5)
        screen.refresh_now()
        await until(pilot, lambda: "stale, 5 min: " in screen_text(app), "it grows older")
        refused = await app.refusal(app.dispatcher.registry.get("prepare.run"), dry_run=False)
        assert refused is not None and refused.code == "SOPHIA-R503"


@pytest.mark.parametrize(
    "kind",
    [kind for kind in LIVE if kind.__name__ not in NEVER_EMPTY | OPENED_WITH_DATA],
    ids=lambda kind: kind.__name__,
)
@pytest.mark.parametrize("role", [Role.ADMIN, Role.VIEWER])
async def test_an_empty_screen_names_what_fills_it(kind: Any, role: Role) -> None:
    world = whole_world(answers.empty())
    world.overview = stub.empty_overview()
    page = answers.full()["prepare.browse"]
    world.answers["prepare.browse"] = lambda asked: page(asked).model_copy(update={"items": []})
    app = stub.make_app(world, whole=True, role=role)
    async with app.run_test(size=(80, 24)) as pilot:
        await _painted(pilot)
        screen = _made(kind, app)
        app.show(screen)
        await until(pilot, lambda: app.screen is screen and screen.state != "loading", "shown")
        await pilot.pause()
        text = screen_text(app)
        if kind.__name__ == "OverviewScreen":
            assert "Make the first thing.   enter" in text
            return
        assert screen.state == "empty", text
        if kind.__name__ == "BrowserScreen":
            assert "The file has no lines. esc leads back." in text
            return
        operation = keys.FILLED_BY[screen.name_of_screen]
        bound = [each for each in keys.KEYS if each.target == operation]
        here = [each for each in bound if each.scope == screen.name_of_screen]
        command = app.dispatcher.registry.get(operation).command
        if not app.may(operation):
            assert f"Who has the right to it fills it: {command}" in " ".join(text.split())
        elif here:
            assert f"Nothing here yet. {here[0].shown}: {here[0].text}" in text
        else:
            assert f"Nothing here yet. In a shell: {command}" in text


async def test_an_answer_that_comes_while_its_screen_is_taken_down_does_no_harm() -> None:
    app = stub.make_app(whole_world(answers.full()), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await _painted(pilot)
        screen = JobsScreen(app)
        app.show(screen)
        await until(pilot, lambda: app.screen is screen and screen.state == "full", "shown")
        missed = []

        async def answered() -> Any:
            with suppress(asyncio.CancelledError):  # the answer came at the same time
                while screen.query("#told"):
                    await asyncio.sleep(0)
            missed.append(not screen.query("#told"))
            return screen.pager

        work: Any = answered
        worker = screen.run_worker(work, name="late")
        await app.pop_screen()
        await until(pilot, lambda: worker.is_finished, "the end of the work")
        assert missed == [True]


async def test_a_widget_that_a_standing_screen_lacks_is_an_error_as_before() -> None:
    app = stub.make_app(whole_world(answers.full()), whole=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await _painted(pilot)

        async def wrong() -> Any:
            return app.screen.query_one("#nowhere")

        work: Any = wrong
        worker = app.screen.run_worker(work, name="wrong", exit_on_error=False)
        await until(pilot, lambda: worker.is_finished, "the end of the work")
        assert isinstance(worker.error, NoMatches)
