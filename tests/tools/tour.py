"""The picture tour: the real console on a recorded run of the demo, as SVG.

    python -m tests.tools.tour

writes the pictures of the README anew; tests/tui/test_tour.py says when that is due. Clock, person,
host and paths are fixed, so that the same pictures come out on any machine.
"""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from pydantic import BaseModel
from textual.pilot import Pilot

from sophia_tui.domain.context import Context, Face
from sophia_tui.store.embedded import EmbeddedServer
from sophia_tui.tui import keys
from sophia_tui.tui.app import SophiaApp
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.form import FormScreen
from sophia_tui.tui.screens.job_compare import JobCompareScreen
from sophia_tui.wiring import House
from tests.tools import demo_record
from tests.tui import picture

FOLDER = Path(__file__).parents[1] / "tui" / "screenshots"
SIZE = (100, 30)
#: Where the data seem to lie.
SHOWN = "/home/maria/.local/share/sophia"
#: The fonts that a picture would load from elsewhere; a reader's own monospaced one does.
_FONTS = re.compile(r"@font-face\s*\{.*?\}\s*", re.DOTALL)
_ID = re.compile(r"terminal-\d+-")
_PATIENCE = 60.0


class Elsewhere:
    """The dispatcher as a console knows it whose data lie in SHOWN."""

    def __init__(self, house: House) -> None:
        self._inner = house.dispatcher
        self._data = str(house.paths.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def call(
        self, name: str, request: Mapping[str, Any] | BaseModel, context: Context
    ) -> BaseModel:
        wanted = self._inner.registry.get(name).input
        if not isinstance(request, BaseModel):
            request = wanted.model_validate(request)
        there = request.model_dump_json(exclude_unset=True).replace(SHOWN, self._data)
        answer = await self._inner.call(name, wanted.model_validate_json(there), context)
        here = answer.model_dump_json().replace(self._data, SHOWN)
        found = type(answer).model_validate_json(here)
        if "store_milliseconds" in type(found).model_fields:
            found = found.model_copy(update={"store_milliseconds": 3.0})
        return found


@dataclass
class Guide:
    """Leads the console from picture to picture."""

    pilot: Pilot[Any]

    @property
    def screen(self) -> Any:
        return self.pilot.app.screen

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not condition():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            seen = picture.drawn(await picture.still(self.pilot))
            raise AssertionError(f"never happened: {what}\n{seen}") from None

    async def at(self, name: str) -> None:
        """At a screen of the digits, once it is full."""
        while len(self.pilot.app.screen_stack) > 2:
            self.pilot.app.pop_screen()
        key = next(each.key for each in keys.SCREENS if each.target == f"screen.{name}")
        await self.pilot.press(key)
        await self.until(lambda: getattr(self.screen, "state", "") == "full", name)

    async def row(self, fitting: Callable[[str, Any], bool]) -> None:
        """Open the first row that fits, and wait for what is told of it."""
        key = next(key for key, row in self.screen.rows.items() if fitting(key, row.data))
        self.screen.follow(key)
        self.screen.table.move_cursor(row=list(self.screen.rows).index(key))
        await self.until(lambda: self.screen.opened == key == self.screen.told_of, key)

    async def press(self, key: str, shown: Callable[[], Any]) -> None:
        await self.pilot.press(key)
        await self.until(shown, key)


async def _overview(guide: Guide) -> None:
    await guide.at("overview")


async def _issues(guide: Guide) -> None:
    """The report of an inspection, on a problem that was found."""
    await guide.at("datasets")
    await guide.press("i", lambda: getattr(guide.screen, "name_of_screen", "") == "inspection")
    await guide.until(lambda: guide.screen.state == "full", "the report")
    await guide.row(lambda key, data: key.startswith("issue"))


async def _browser(guide: Guide) -> None:
    await guide.at("datasets")
    await guide.row(lambda key, data: True)
    await guide.press("b", lambda: getattr(guide.screen, "name_of_screen", "") == "browser")
    await guide.until(lambda: guide.screen.state == "full", "the records")
    await guide.row(lambda key, data: key != next(iter(guide.screen.rows)))


def _trained(key: str, data: Any) -> bool:
    return bool(data.kind == "train")


async def _job(guide: Guide) -> None:
    await guide.at("jobs")
    await guide.row(lambda key, data: data.resulting_model == "sophia-v1")


async def _compared(guide: Guide) -> None:
    """Two trainings that differ in the learning rate, by their losses."""
    await guide.at("jobs")
    screen = guide.screen
    for key, row in screen.rows.items():
        if _trained(key, row.data):
            screen.follow(key)
            screen.table.move_cursor(row=list(screen.rows).index(key))
            await guide.until(lambda key=key: screen.selected_key == key, key)
            await guide.pilot.press("space")
    await guide.press("x", lambda: isinstance(guide.screen, JobCompareScreen))


async def _model(guide: Guide) -> None:
    await guide.at("models")
    await guide.row(lambda key, data: data.model.evaluation)


async def _promotion(guide: Guide) -> None:
    """What a promotion would change, and the name that has to be typed."""
    await guide.at("models")
    asked = {"model": "sophia-v2", "probe": False, "override": "A demonstration."}
    guide.pilot.app.open("promote.run", asked)
    await guide.until(lambda: isinstance(guide.screen, FormScreen), "the form")
    await guide.press("f2", lambda: isinstance(guide.screen, ConfirmScreen))


async def _monitor(guide: Guide) -> None:
    await guide.at("monitor")


TOUR: dict[str, Callable[[Guide], Awaitable[None]]] = {
    "overview": _overview,
    "inspection": _issues,
    "browser": _browser,
    "jobs": _job,
    "comparison": _compared,
    "models": _model,
    "promotion": _promotion,
    "monitor": _monitor,
}


async def pictures(data: Path) -> dict[str, str]:
    """Each picture by its name, from a data folder that is filled for it."""
    house, clock = await demo_record.replay(data)
    clock.at += timedelta(minutes=4)
    app: Any = SophiaApp(
        Elsewhere(house),  # type: ignore[arg-type]
        lambda **given: house.context(Face.CONSOLE, **given),
        actor=demo_record.PERSON,
        clock=clock.now,
    )
    found = {}
    try:
        async with app.run_test(size=SIZE) as pilot:
            guide = Guide(pilot)
            await guide.until(app.painted.is_set, "the first paint")
            for name, lead in TOUR.items():
                await lead(guide)
                await picture.still(pilot)
                found[name] = _plain(app.export_screenshot(title="sophia"))
    finally:
        await house.close()
    return found


def _plain(svg: str) -> str:
    text = _ID.sub("t-", _FONTS.sub("", svg))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def made() -> dict[str, str]:
    """The pictures, from a store that is made for them and taken away again."""
    with (
        tempfile.TemporaryDirectory(prefix="sophia-tour-", ignore_cleanup_errors=True) as folder,
        mock.patch.dict(os.environ, {"TZ": "UTC"}),
    ):
        time.tzset()
        Path(folder).chmod(0o711)  # the server's account passes through
        data = Path(folder) / "data"
        try:
            return asyncio.run(pictures(data))
        finally:
            EmbeddedServer(data / "postgres").halt()


def main() -> None:
    for name, svg in made().items():
        path = FOLDER / f"{name}.svg"
        path.write_text(svg, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
