"""The console as `sophia` opens it: the real house over a real store, in a real terminal."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tui.test_terminal import QUIET_SECONDS, Terminal

FIRST_SCREEN = """
import asyncio, json, os, sys
from sophia_tui.tui.app import SophiaApp
from sophia_tui.domain.context import Face
from sophia_tui.wiring import House

async def main():
    house = House(os.environ)
    app = SophiaApp(house.dispatcher, lambda **given: house.context(Face.CONSOLE, **given))
    async with app.run_test(size=(80, 24)) as pilot:
        for _attempt in range(1000):
            if app.screen.state == "full":
                break
            await pilot.pause(0.05)
        state = app.screen.state
    await house.close()
    print(json.dumps([state, sorted(name for name in sys.modules if "." not in name)]))

asyncio.run(main())
"""


@pytest.fixture
def environment(store_url: str, tmp_path: Path) -> dict[str, str]:
    """What a person's shell would hold: a store, a data folder, a folder for the data."""
    return {
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": store_url,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "FINETUNE_DIR": str(tmp_path / "finetune"),
        "LANG": "C.UTF-8",
    }


def opened(environment: dict[str, str]) -> Terminal:
    return Terminal(["-m", "sophia_tui.cli.main"], environment=environment)


def test_idle_overview_on_a_real_store_sends_nothing(environment: dict[str, str]) -> None:
    terminal = opened(environment)
    try:
        assert b"Collect" in terminal.read(30.0, until=b"Next")
        terminal.settle()
        # a busy machine's store is slow at first: the head says once or twice how fast it is now
        assert any(terminal.read(QUIET_SECONDS) == b"" for _attempt in range(5))
    finally:
        terminal.close()


def test_sigterm_leaves_the_terminal_as_it_was(environment: dict[str, str]) -> None:
    terminal = opened(environment)
    try:
        terminal.read(30.0, until=b"Next")
        terminal.settle()
        terminal.process.send_signal(signal.SIGTERM)
        assert b"\x1b[?1049l" in terminal.read(10.0, until=b"\x1b[?1049l")
        assert terminal.process.wait(10) == 0
    finally:
        terminal.close()


def test_it_ends_where_its_terminal_is_gone_untold(environment: dict[str, str]) -> None:
    terminal = opened(environment)  # not its controlling terminal: no SIGHUP comes
    try:
        assert b"Collect" in terminal.read(30.0, until=b"Next")
        os.close(terminal.master)
        assert terminal.process.wait(60) == -signal.SIGHUP
    finally:
        terminal.process.kill()
        terminal.process.wait()


def test_portuguese_where_the_environment_asks_for_it(environment: dict[str, str]) -> None:
    terminal = opened({**environment, "LC_ALL": "pt_BR.UTF-8"})
    try:
        assert b"pt_BR" in terminal.read(30.0, until=b"pt_BR")
    finally:
        terminal.close()


def test_no_color_sends_no_colours(environment: dict[str, str]) -> None:
    terminal = opened({**environment, "NO_COLOR": "1"})
    try:
        sent = terminal.read(30.0, until=b"Next") + terminal.read(1.0)
    finally:
        terminal.close()
    import re

    codes = {code for found in re.findall(rb"\x1b\[([0-9;]*)m", sent) for code in found.split(b";")}
    assert b"Collect" in sent
    assert not codes & {b"31", b"32", b"33", b"34", b"35", b"36", b"38", b"48", b"41", b"42"}


def test_the_first_screen_with_its_data_loads_nothing_heavy(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SCREEN],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    state, loaded = json.loads(done.stdout.splitlines()[-1])
    assert state == "full"
    assert not set(loaded) & {"duckdb", "openai", "httpx", "procrastinate", "torch", "fastapi"}
