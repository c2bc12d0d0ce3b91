"""Pictures of the console for people who read about it: the real console on a data folder, as SVG.

python -m tests.tools.screenshots DATA_FOLDER TO_FOLDER [--lang en|pt_BR] [--size 100x30]

The folder is one that `sophia demo` has filled, say; nothing in it is changed, and the console runs
read-only. It writes overview.svg, jobs.svg, models.svg and monitor.svg, for Portuguese with the
language in the name.
"""

import argparse
import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sophia_tui.domain.context import Face
from sophia_tui.i18n import set_language
from sophia_tui.tui.app import SophiaApp
from sophia_tui.wiring import House

SCREENS = {"overview": "1", "jobs": "4", "models": "5", "monitor": "6"}
PATIENCE_SECONDS = 60.0
#: Fonts that the picture would load from elsewhere; a reader's own monospaced one does.
_FONTS = re.compile(r"@font-face\s*\{.*?\}", re.DOTALL)


async def pictures(
    environment: Mapping[str, str], folder: Path, language: str, size: tuple[int, int]
) -> list[Path]:
    """Write one picture for each screen; the files. Raises TimeoutError where one stays empty."""
    set_language(language)
    house = House(environment, readonly=True, language=language)
    app: Any = SophiaApp(
        house.dispatcher,
        lambda **given: house.context(Face.CONSOLE, **given),
        actor="maria",
        language=language,
    )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        async with app.run_test(size=size) as pilot:
            for name, key in SCREENS.items():
                await pilot.press(key)
                await _until(pilot, lambda: app.screen.state in ("full", "empty", "error"))
                if name in ("jobs", "models") and app.screen.state == "full":
                    await _open_best(pilot, name)
                await pilot.pause(0.3)
                suffix = "" if language == "en" else f"-{language}"
                path = folder / f"{name}{suffix}.svg"
                path.write_text(_FONTS.sub("", app.export_screenshot(title="sophia")) + "\n")
                written.append(path)
    finally:
        await house.close()
    return written


async def _open_best(pilot: Any, name: str) -> None:
    """Open the row that has most to show: the newest training, the newest evaluated model."""
    screen = pilot.app.screen
    rows = list(screen.rows.values())
    if name == "jobs":
        best = [each for each in rows if each.data.kind == "train" and each.data.step]
    else:
        best = [each for each in rows if each.data.model.evaluation]
    screen.follow((best or rows)[0].key)
    await _until(pilot, lambda: screen.told_of == screen.opened)


async def _until(pilot: Any, condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await pilot.pause(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("to", type=Path)
    parser.add_argument("--lang", choices=("en", "pt_BR"), default="en")
    parser.add_argument("--size", default="100x30")
    given = parser.parse_args()
    columns, _sign, rows = given.size.partition("x")
    environment = {**os.environ, "SOPHIA_DATA_DIR": str(given.data.absolute())}
    size = (int(columns), int(rows))
    for path in asyncio.run(pictures(environment, given.to, given.lang, size)):
        print(path)


if __name__ == "__main__":
    main()
