"""Pictures of the console as text: what is written, and below it which cells have which style.

A picture is a file below pictures/, one for each scene, with a part for each size and language. It
is compared as it stands; `pytest --renew-pictures` writes what is seen in its place.
"""

import difflib
import fcntl
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.segment import Segment
from textual.widgets import Input, TextArea

FOLDER = Path(__file__).parent / "pictures"
_PART = "==== "
_STYLES = "---- styles"
_STILL = 40


async def still(pilot: Any) -> list[list[Segment]]:
    """What is on the screen, once it stays as it is."""
    before: list[list[Segment]] = []
    for _attempt in range(_STILL):
        for field in pilot.app.screen.query("Input, TextArea"):
            assert isinstance(field, Input | TextArea)
            field.cursor_blink = False
        await pilot.pause()
        now = _seen(pilot.app)
        if now == before:
            return now
        before = now
    raise AssertionError(f"the screen does not come to rest\n{drawn(before)}")


def _seen(app: Any) -> list[list[Segment]]:
    behind = app._background_screens
    update = app.screen._compositor.render_update(full=True, screen_stack=behind)
    return [[each for strip in line for each in strip if each.text] for line in update.strips]


def drawn(lines: list[list[Segment]]) -> str:
    """The lines as text, then the cells of each line that are not plain, from 0 on."""
    text = ["".join(each.text for each in line).rstrip() for line in lines]
    styles = []
    for number, line in enumerate(lines):
        told, at = [], 0
        for style, run in groupby(line, key=_style):
            width = sum(each.cell_length for each in run)
            if style:
                told.append(f"{at}-{at + width - 1} {style}")
            at += width
        if told:
            styles.append(f"{number}: {', '.join(told)}")
    return "\n".join([*text, _STYLES, *styles]) + "\n"


def _style(segment: Segment) -> str:
    """Attributes and colours that are not the terminal's own; blanks show no colour of letters."""
    style = segment.style
    if style is None:
        return ""
    blank = not segment.text.strip()
    told = [
        name
        for name in ("bold", "dim", "italic", "underline", "reverse", "strike", "blink")
        if getattr(style, name) and not (blank and name in ("bold", "dim", "italic"))
    ]
    if style.color is not None and not style.color.is_default and not blank:
        told.append(style.color.name)
    if style.bgcolor is not None and not style.bgcolor.is_default:
        told.append(f"on {style.bgcolor.name}")
    return " ".join(told)


def compare(scene: str, part: str, seen: str, renew: bool) -> None:
    """The picture of a scene in one size and language (`part`) is what is seen now."""
    path = FOLDER / f"{scene}.txt"
    if renew:
        _write(path, part, seen)
        return
    kept = read(path).get(part, "")
    if seen == kept:
        return
    change = difflib.unified_diff(
        kept.splitlines(), seen.splitlines(), f"{path.name} {part}", "now", n=1
    )
    raise AssertionError(
        "\n".join(
            [
                f"{path.name}, {part}: not as in the repository; look at it, then renew it:",
                "pytest tests/tui/test_snapshots.py --renew-pictures",
                *(line.rstrip("\n") for line in change),
            ]
        )
    )


def _write(path: Path, part: str, seen: str) -> None:
    """Several processes may write parts of one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        parts = {**read(path), part: seen}
        stream.truncate(0)
        stream.write("".join(f"{_PART}{name}\n{parts[name]}" for name in sorted(parts)))


def read(path: Path) -> dict[str, str]:
    """The parts of a file of pictures; none where there is no file."""
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    for part in ("\n" + path.read_text(encoding="utf-8")).split(f"\n{_PART}")[1:]:
        name, _sign, text = part.partition("\n")
        found[name] = text if text.endswith("\n") else text + "\n"
    return found
