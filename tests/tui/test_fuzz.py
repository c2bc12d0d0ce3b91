"""Keys, resizes, languages, hostile answers, slow answers and a store that goes away, at random:
the console never ends by itself, sends nothing that a terminal acts on, and can always be left.

A failure names its seed; SOPHIA_FUZZ_SEED repeats it, SOPHIA_FUZZ_SECONDS says for how long.
"""

import asyncio
import fcntl
import logging
import os
import random
import re
import signal
import struct
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import OutOfBounds
from textual.widgets import Input

from sophia_tui.errors import NotFoundError, OutsideError, SophiaError
from sophia_tui.i18n import LANGUAGES
from sophia_tui.services.catalogue import registry
from sophia_tui.tui import keys
from sophia_tui.tui.screens.base import SophiaScreen
from tests.hostile_texts import TEXTS, harm_in, poisoned
from tests.tui import answers, stub
from tests.tui.test_console import until
from tests.tui.test_hostile_console import harm_on_the_wire
from tests.tui.test_terminal import Terminal

SIZES = [(1, 1), (5, 3), (20, 8), (59, 14), (60, 15), (80, 24), (99, 30), (120, 40), (300, 100)]
NAMES = [each.name for each in registry()]
OUTPUTS = {each.name: each.output for each in registry()}
KEYS = sorted({key for each in keys.KEYS for key in (each.key, *each.others)})
MOVES = ["tab", "shift+tab", "up", "down", "left", "right", "pageup", "pagedown", "home", "end"]
MOVES += ["enter", "escape", "space", "backspace", "delete", "ctrl+c", "ctrl+q", "ctrl+z", "ctrl+u"]
SECONDS = float(os.environ.get("SOPHIA_FUZZ_SECONDS", "180"))


class Player:
    """One who does whatever comes to mind; the same of the same seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.folder = folder
        self.world = stub.full_world()
        self.world.answers = answers.full()
        self.done: list[str] = []

    def app(self) -> Any:
        return stub.make_app(
            self.world,
            folder=self.folder,
            whole=True,
            language=self.chance.choice(LANGUAGES),
            ascii_only=self.chance.random() < 0.3,
            readonly=self.chance.random() < 0.2,
        )

    async def act(self, pilot: Any) -> None:
        acts = [self.press, self.press, self.press, self.move, self.move, self.type, self.paste]
        acts += [self.resize, self.click, self.poison, self.trouble, self.delay, self.speak]
        act = self.chance.choice(acts)
        self.done.append(act.__name__)
        await act(pilot)

    async def press(self, pilot: Any) -> None:
        await self._press(pilot, self.chance.choice(KEYS))

    async def move(self, pilot: Any) -> None:
        await self._press(pilot, self.chance.choice(MOVES))

    async def _press(self, pilot: Any, key: str) -> None:
        self.done[-1] = key
        await pilot.press(key)

    async def type(self, pilot: Any) -> None:
        text = self.chance.choice(["80", "pt", "%", "a.b", "ção", "[", "'", "(", "1-9", "town"])
        if isinstance(pilot.app.focused, Input):
            await pilot.press(*text)

    async def paste(self, pilot: Any) -> None:
        pilot.app.screen.post_message(events.Paste(self.chance.choice(list(TEXTS.values()))))

    async def resize(self, pilot: Any) -> None:
        size = self.chance.choice(SIZES)
        self.done[-1] = f"{size[0]}x{size[1]}"
        await pilot.resize_terminal(*size)

    async def click(self, pilot: Any) -> None:
        width, height = pilot.app.size
        place = (self.chance.randrange(max(1, width)), self.chance.randrange(max(1, height)))
        try:
            await pilot.click(offset=place)
        except OutOfBounds:  # the window was made smaller, and nobody knows yet
            self.done[-1] = "no click"

    async def poison(self, pilot: Any) -> None:
        """An answer of an operation with a hostile text in every place, or the usual one."""
        name = self.chance.choice(NAMES)
        text = self.chance.choice(list(TEXTS))
        self.done[-1] = f"{name}: {text}"
        if self.chance.random() < 0.3 or name == "overview.show":
            self.world.answers = answers.full()
        elif name in self.world.answers and self.chance.random() < 0.5:
            self.world.answers[name] = answers.hostile(self.world.answers[name], TEXTS[text] or "-")
        else:
            self.world.answers[name] = poisoned(OUTPUTS[name], TEXTS[text])

    async def trouble(self, pilot: Any) -> None:
        hostile = self.chance.choice(list(TEXTS.values()))
        found: list[SophiaError | None] = [None, None, None, stub.database_gone()]
        found += [NotFoundError("U404", hostile), OutsideError("J533", "x", hostile, hostile)]
        self.world.trouble = self.chance.choice(found)

    async def delay(self, pilot: Any) -> None:
        """Answers stay away, or come again."""
        (self.world.block.clear if self.world.block.is_set() else self.world.block.set)()

    async def speak(self, pilot: Any) -> None:
        pilot.app.go("act.language", pilot.app.screen)

    async def play(self, seconds: float, most: int) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and len(self.done) < most:
            self.world.trouble = None
            self.world.block.set()
            app = self.app()
            async with app.run_test(size=self.chance.choice(SIZES)) as pilot:
                await until(pilot, app.painted.is_set, "painted")
                for _act in range(120):
                    if app._exit or len(self.done) >= most or time.monotonic() > end:
                        break
                    await self.act(pilot)
                    if not app._exit:
                        await pilot.pause()
                        self.look(app)
                if not app._exit:
                    await self.leave(app, pilot)

    def look(self, app: Any) -> None:
        """What would be sent: no sign that a terminal acts on, no link, no line too long."""
        for strip in app.screen._compositor.render_strips():
            assert not harm_in(strip.text, most_marks=20)
            assert not any(segment.style and segment.style.link for segment in strip)
            assert strip.cell_length <= max(1, app.size.width)

    async def leave(self, app: Any, pilot: Any) -> None:
        """From wherever it is, escape leads back and a digit to Overview."""
        self.world.block.set()
        self.world.trouble = None
        self.world.answers = answers.full()
        await pilot.resize_terminal(80, 24)
        for _attempt in range(40):
            await pilot.press("escape")
            await pilot.pause(0.02)
            if len(app.screen_stack) == 2 and not isinstance(app.focused, Input):
                break
        await pilot.press(next(each.key for each in keys.SCREENS if "overview" in each.target))
        await until(pilot, lambda: app.state.screen == "overview", "Overview")
        await until(pilot, lambda: getattr(app.screen, "state", "") == "full", "fresh data")
        assert isinstance(app.screen, SophiaScreen)


async def played(
    seed: int, seconds: float, most: int, folder: Path, log: pytest.LogCaptureFixture
) -> None:
    player = Player(seed, folder)
    try:
        with log.at_level(logging.WARNING):
            await player.play(seconds, most)
        await asyncio.sleep(0)
        defects = [each for each in log.records if each.levelno >= logging.ERROR]
        assert not defects, "\n".join(each.getMessage() for each in defects)
    except BaseException:
        print(f"SOPHIA_FUZZ_SEED={seed}, after {len(player.done)} acts:", *player.done[-30:])
        raise


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_is_done_it_goes_on_and_can_be_left(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await played(seed, 600.0, 130, tmp_path, caplog)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_for_minutes_whatever_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = int(os.environ.get("SOPHIA_FUZZ_SEED") or random.SystemRandom().randrange(1_000_000))
    await played(seed, SECONDS, 1_000_000, tmp_path, caplog)


#: What terminals send for keys.
SENT = [b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D", b"\x1b[5~", b"\x1b[6~", b"\x1b[H", b"\x1b[F"]
SENT += [b"\x1bOP", b"\x1bOQ", b"\x1bOR", b"\x1bOS", b"\x1b[15~", b"\x1b[17~", b"\x1b[19~"]
SENT += [b"\t", b"\r", b"\x1b", b"\x7f", b" ", b"\x03", b"\x10", b"\x1b[Z"]
SENT += [bytes([code]) for code in range(0x21, 0x7F)]


#: What `y` sends for the terminal's clipboard; never what the hostile text wants there.
_COPIED = re.compile(rb"\x1b\]52;c;(?!ZXZpbA==)[A-Za-z0-9+/=]*\x07")


def paste(text: str) -> bytes:
    return b"\x1b[200~" + text.encode("utf-8", "replace").replace(b"\x1b", b"") + b"\x1b[201~"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("house", ["real", "hostile"])
def test_for_minutes_in_a_real_terminal(house: str, store_url: str, tmp_path: Path) -> None:
    """The console as `sophia` opens it, over a real store, and over one with hostile answers."""
    seed = int(os.environ.get("SOPHIA_FUZZ_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"SOPHIA_FUZZ_SEED={seed}")  # pytest shows it where the test fails
    chance = random.Random(seed)
    environment = {
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": store_url,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "FINETUNE_DIR": str(tmp_path / "finetune"),
        "SOPHIA_ROLES": "*=viewer",  # a key at random trains nothing, and stops no server
        "LANG": "pt_BR.UTF-8",
    }
    program = ["-m", "sophia_tui.cli.main"]
    if house == "hostile":
        program = ["-m", "tests.tui.play", "hostile", "pt_BR", str(tmp_path)]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        terminal = Terminal(program, environment=environment)
        try:
            sent = terminal.read(60.0, until=b"Sophia")
            for _act in range(300):
                if terminal.process.poll() is not None or time.monotonic() > end:
                    break
                if chance.random() < 0.05:
                    resized(terminal, *chance.choice(SIZES))
                kind = paste(chance.choice(list(TEXTS.values())))
                terminal.type(chance.choice(SENT) if chance.random() < 0.95 else kind)
                sent += terminal.read(0.05)
            terminal.settle()
            if terminal.process.poll() is None:
                terminal.process.send_signal(signal.SIGTERM)
            sent += terminal.read(20.0, until=b"\x1b[?1049l")
            left = terminal.process.wait(30)
            # the stand-in's process has nobody who listens to signals
            assert left in ((0, -signal.SIGTERM) if house == "hostile" else (0,)), sent[-3000:]
            # what is typed when it has left already, the terminal itself shows
            shown, _left, after = sent.partition(b"\x1b[?1049l")
            assert b"Traceback" not in after, after[-3000:]
            assert not harm_on_the_wire(_COPIED.sub(b"", shown))
        finally:
            terminal.close()


def resized(terminal: Terminal, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
