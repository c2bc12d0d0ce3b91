"""Pictures of every screen in every state, at 80x24 and 120x40, in both languages.

The everyday run takes each scene of scenes.py once, in another size and language each time; all of
them are long. `pytest tests/tui/test_snapshots.py --renew-pictures` takes all of them anew; look at
the difference before committing it.
"""

import importlib
import pkgutil
import time
from collections.abc import Iterator

import pytest
from textual.screen import Screen

import sophia_tui.tui
from tests.representatives import LANGUAGES, SIZES, crossed
from tests.tui import picture, stub
from tests.tui.scenes import SCENES

NAMED = {each.name: each for each in SCENES}
#: What other screens are made of; never shown by themselves.
ABSTRACT = {
    "SophiaScreen",
    "LiveScreen",
    "TableScreen",
    "DetailScreen",
    "WaysScreen",
    "PickScreen",
    "EditsScreen",
    "RunsOperation",
}
PARTS = sorted(f"{width}x{height} {language}" for width, height in SIZES for language in LANGUAGES)


@pytest.fixture(autouse=True)
def _one_time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("name", "size", "language"), crossed(list(NAMED), SIZES, LANGUAGES))
async def test_scene(name: str, size: tuple[int, int], language: str, request) -> None:
    scene = NAMED[name]
    world = scene.world()
    app = stub.make_app(world, whole=not scene.few, language=language)
    async with app.run_test(size=size) as pilot:
        await scene.play(pilot, world)
        seen = picture.drawn(await picture.still(pilot))
        shown = type(app.screen).__name__
        world.block.set()  # who waits for an answer need not be stopped
    part = f"{size[0]}x{size[1]} {language}"
    renew = request.config.getoption("--renew-pictures")
    picture.compare(name, part, f"{shown}\n{seen}", renew)


def test_every_scene_has_its_pictures_and_every_picture_its_scene(request) -> None:
    if request.config.getoption("--renew-pictures"):
        for path in picture.FOLDER.glob("*.txt"):
            if path.stem not in NAMED:
                path.unlink()
        pytest.skip("the other pictures are being written")
    kept = {path.stem: list(picture.read(path)) for path in picture.FOLDER.glob("*.txt")}
    assert kept == dict.fromkeys(NAMED, PARTS), (
        "pytest tests/tui/test_snapshots.py --renew-pictures"
    )


def test_no_screen_lacks_a_picture() -> None:
    screens = set()
    for found in pkgutil.walk_packages(sophia_tui.tui.__path__, "sophia_tui.tui."):
        for each in vars(importlib.import_module(found.name)).values():
            if isinstance(each, type) and issubclass(each, Screen) and each is not Screen:
                screens.add(each.__name__)
    shown = {
        text.partition("\n")[0]
        for path in picture.FOLDER.glob("*.txt")
        for text in picture.read(path).values()
    }
    assert screens - shown - ABSTRACT - {"ModalScreen"} == set()
