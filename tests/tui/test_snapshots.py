"""Pictures of Overview and Jobs in each of their states, at the design size and wide.

Renewed by `pytest tests/tui/test_snapshots.py --snapshot-update`; look at them before committing.
"""

import time
from collections.abc import Iterator

import pytest

from tests.tui import stub
from tests.tui.test_console import settled, until

STATES = ("full", "empty", "error", "stale", "loading")


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def world_for(state: str) -> stub.World:
    world = stub.World() if state == "empty" else stub.full_world()
    if state == "loading":
        world.block.clear()
    if state == "error":
        world.trouble = stub.database_gone()
    return world


async def bring_to(pilot, world: stub.World, state: str) -> None:
    """Wait for the state on the screen that is open."""
    if state == "loading":
        await pilot.pause(0.1)
        return
    if state == "stale":
        await settled(pilot)
        world.trouble = stub.database_gone()
        await pilot.press("r")
    shows_empty = state == "empty" and hasattr(pilot.app.screen, "table")
    wanted = state if state in ("error", "stale") or shows_empty else "full"
    await settled(pilot, wanted)


@pytest.mark.parametrize("state", STATES)
def test_overview(state: str, snap_compare) -> None:
    world = world_for(state)

    async def before(pilot) -> None:
        await bring_to(pilot, world, state)

    assert snap_compare(stub.make_app(world), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("state", STATES)
def test_jobs(state: str, snap_compare) -> None:
    world = world_for(state)

    async def before(pilot) -> None:
        await pilot.press("4")
        await bring_to(pilot, world, state)

    assert snap_compare(stub.make_app(world), terminal_size=(80, 24), run_before=before)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_one_job(size: tuple[int, int], snap_compare) -> None:
    async def before(pilot) -> None:
        await settled(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: len(pilot.app.screen.events) == 13, "events")

    app = stub.make_app(stub.full_world())
    assert snap_compare(app, terminal_size=size, run_before=before)


def test_form(snap_compare) -> None:
    async def before(pilot) -> None:
        await settled(pilot)
        pilot.app.open("things.make", {"name": "box"})
        await pilot.pause(0.1)

    assert snap_compare(stub.make_app(stub.World()), terminal_size=(80, 40), run_before=before)
