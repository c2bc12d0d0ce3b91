"""What the console's first screen must not pay for, proved in a fresh process."""

import json
import subprocess
import sys

HEAVY = {
    "duckdb",
    "openai",
    "httpx",
    "procrastinate",
    "torch",
    "transformers",
    "peft",
    "fastapi",
    "alembic",
    "sqlalchemy",
}

DOOR = """
import json, sys
import sophia_tui.tui.app
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""

#: All that the first paint takes: the house, the app, the first screen and its style sheets.
FIRST_PAINT = """
import asyncio, json, sys
from sophia_tui.tui.app import prepare_terminal
from sophia_tui.wiring import House
prepare_terminal()
from sophia_tui.tui.console import SophiaApp

async def painted(app):
    app.exit(sorted(name for name in sys.modules if "." not in name))

SophiaApp._paint = painted

async def main():
    house = House({"SOPHIA_DATA_DIR": "/nowhere"})
    app = SophiaApp(lambda: house.dispatcher, house.context)
    print(json.dumps(await app.run_async(headless=True)))

asyncio.run(main())
"""

FIRST_SCREEN = """
import asyncio, json, sys
from tests.tui import stub

async def main():
    app = stub.make_app(stub.full_world())
    async with app.run_test(size=(80, 24)) as pilot:
        while app.screen.state != "full":
            await pilot.pause(0.05)
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)))

asyncio.run(main())
"""


def modules_after(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_door_of_the_console_does_not_open_textual() -> None:
    loaded = modules_after(DOOR)
    assert not loaded & {*HEAVY, "textual", "rich", "psycopg", "pydantic_settings"}


def test_the_first_paint_waits_for_no_declaration() -> None:
    loaded = modules_after(FIRST_PAINT)
    assert "textual" in loaded
    # pydantic and all operations take three times as long to load as Textual itself
    assert not loaded & {*HEAVY, "psycopg", "pydantic"}


def test_the_first_screen_loads_nothing_heavy() -> None:
    loaded = modules_after(FIRST_SCREEN)
    assert "textual" in loaded
    assert not loaded & {*HEAVY, "psycopg"}
