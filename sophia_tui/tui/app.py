"""The console's door: light until it is opened. The app itself lives in console.py."""

import asyncio
import codecs
import gc
import io
import os
import signal
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Face
from sophia_tui.signs import sign_plainly, wants_plain_signs

if TYPE_CHECKING:
    from sophia_tui.tui.console import SophiaApp
    from sophia_tui.wiring import House

#: After the first paint, when the first figures are there, and when all that shows them is loaded.
_MEND_SECONDS, _LOADED_SECONDS = 1.0, 2.0

__all__ = ["SophiaApp", "run_console"]

#: Read by Textual when it is imported: nothing moves on a slow line, 16 colours, no greys that
#: NO_COLOR would have to take back. What a key changes is painted within 4 ms, not within one of 60
#: pictures a second: nothing is painted unless something changes, and of that only what differs.
TERMINAL = {
    "TEXTUAL_ANIMATIONS": "none",
    "TEXTUAL_SMOOTH_SCROLL": "0",
    "TEXTUAL_FPS": "240",
    "TEXTUAL_THEME": "ansi-dark",
}


#: Between two looks whether the terminal is still there.
_TERMINAL_SECONDS = 5.0


def __getattr__(name: str) -> Any:
    if name != "SophiaApp":
        raise AttributeError(name)
    prepare_terminal()
    from sophia_tui.tui.console import SophiaApp

    return SophiaApp


def prepare_terminal() -> None:
    """Set what Textual reads at import; a person's own choice stays."""
    for key, value in TERMINAL.items():
        os.environ.setdefault(key, value)


def wants_ascii(asked: bool) -> bool:
    """Whether to draw ASCII signs alone: a person wants it, or the terminal has no UTF-8."""
    utf8 = "utf" in (sys.stdout.encoding or "").lower()
    return asked or wants_plain_signs(os.environ) or not utf8


def spell_plainly(terminal: Any) -> None:
    """Where the terminal can't show a letter, write the nearest one it can: a for ã, never ?."""

    def nearest(problem: UnicodeError) -> tuple[str, int]:
        assert isinstance(problem, UnicodeEncodeError)
        lost = problem.object[problem.start : problem.end]
        bases = [unicodedata.normalize("NFKD", sign)[0] for sign in lost]
        return "".join(each if each.isascii() else "?" for each in bases), problem.end

    codecs.register_error("sophia_nearest", nearest)
    terminal.reconfigure(errors="sophia_nearest")


def run_console(house: "House", ascii_only: bool = False, language_given: bool = False) -> int:
    """Open the console and stay until the person leaves; the exit code.

    Raises SetupError S102 where the data folder can't be used, before the screen changes.
    """
    house.require_folder()
    prepare_terminal()
    if sys.__stderr__ is None or not sys.__stderr__.isatty():
        # Textual draws there, and `2>errors` must not swallow the screen
        sys.__stderr__ = sys.__stdout__  # type: ignore[misc]
    if isinstance(sys.__stderr__, io.TextIOWrapper):
        spell_plainly(sys.__stderr__)
        if wants_ascii(ascii_only):
            sign_plainly(
                sys.__stderr__
            )  # whatever draws it: marks in what people wrote, scrollbars
    return asyncio.run(_stay(house, wants_ascii(ascii_only), language_given))


async def _collect_again(app: "SophiaApp") -> None:
    """Collecting garbage while modules are loaded takes a tenth of a start and finds none; what
    stays for good is not looked through later."""
    gc.disable()
    try:
        await app.painted.wait()
        await asyncio.sleep(_LOADED_SECONDS)
        gc.freeze()
    finally:
        gc.enable()


async def _mend(house: "House", app: "SophiaApp") -> None:
    """Once the first figures are there: what a promotion left that was cut off."""
    await app.painted.wait()
    await asyncio.sleep(_MEND_SECONDS)
    if told := await house.mend(Face.CONSOLE):
        app.tell(told)


async def _hang_up() -> None:
    """End as a hang-up does once the terminal is gone: it told nobody where it was not the
    controlling one (a bare pseudo-terminal), and reading from what is gone would work for ever."""
    terminal = sys.__stdin__
    if terminal is None or not terminal.isatty():
        return
    while terminal.isatty():  # noqa: ASYNC110  nobody tells: that is why it looks
        await asyncio.sleep(_TERMINAL_SECONDS)
    signal.raise_signal(signal.SIGHUP)


async def _stay(house: "House", ascii_only: bool, language_given: bool) -> int:
    from sophia_tui.tui.console import SophiaApp

    def context(**given: Any) -> Context:
        # asks the settings, so it is called after the first paint
        return house.context(Face.CONSOLE, **given)

    app = SophiaApp(
        lambda: house.dispatcher,
        context,
        paths=house.paths,
        actor=house.actor,
        language=house.language,
        ascii_only=ascii_only,
        plain_curves=os.environ.get("TERM", "") == "linux",  # its letters have no braille
        key_changes=house.environment.get("SOPHIA_KEYS", ""),
        keeps_language=not language_given,
    )
    # Textual leaves the alternate screen on when SIGTERM kills it
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, app.exit)
    works = (_mend(house, app), _collect_again(app), _hang_up())
    beside = [asyncio.create_task(each) for each in works]
    try:
        await app.run_async()
    finally:
        for each in beside:
            each.cancel()
        await asyncio.wait(beside)
        await house.close()
    return app.return_code or 0
