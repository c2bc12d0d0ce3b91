"""Reads what lies in a data set version's folder: its rows by part, each with its origin."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from sophia_tui.datasets.version import PARTS, PROVENANCE


class Origin(msgspec.Struct):
    """One line of provenance.jsonl. `source` is the row of the owner's table, as JSON."""

    part: str
    file: str
    line: int
    source: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of a version: its line (without line end), where that begins in its part's file, and
    its line in provenance.jsonl with the place of that. A version without origins has None."""

    part: str
    raw: bytes
    place: int
    origin: Origin | None
    origin_raw: bytes
    origin_place: int


_ORIGIN = msgspec.json.Decoder(Origin)


def parts_of(folder: Path) -> list[str]:
    """The parts that a version has a file of."""
    return [part for part in PARTS if (folder / f"{part}.jsonl").exists()]


def rows_of(folder: Path) -> Iterator[Kept]:
    """Every kept row, part by part, as it stands in the part's file. Raises OSError."""
    for part in parts_of(folder):
        with (folder / f"{part}.jsonl").open("rb") as stream:
            place = 0
            for raw, origin in zip(stream, _origins(folder, part), strict=False):
                yield Kept(part, raw.rstrip(b"\n"), place, *origin)
                place += len(raw)


def _origins(folder: Path, part: str) -> Iterator[tuple[Origin | None, bytes, int]]:
    """The origins of one part's rows in order (all parts are mixed in the file), then nothing."""
    try:
        stream = (folder / PROVENANCE).open("rb")
    except FileNotFoundError:
        stream = None
    if stream is not None:
        with stream:
            place = 0
            for raw in stream:
                origin = _ORIGIN.decode(raw)
                if origin.part == part:
                    yield origin, raw.rstrip(b"\n"), place
                place += len(raw)
    yield from itertools.repeat((None, b"", -1))


def line_at(stream: BinaryIO, place: int) -> dict[str, Any]:
    """The object of the line that begins at that byte."""
    stream.seek(place)
    found: dict[str, Any] = json.loads(stream.readline())
    return found


def said(row: dict[str, Any]) -> tuple[str, str, str | None]:
    """The last question, the (better) answer and the worse answer of one row."""
    messages = [(each.get("role"), str(each.get("content") or "")) for each in row["messages"]]
    asked = [text for role, text in messages if role == "user"]
    answers = row["chosen"] if "chosen" in row else row["messages"]
    answered = [
        str(each.get("content") or "") for each in answers if each.get("role") == "assistant"
    ]
    worse = str(row["rejected"][0].get("content") or "") if row.get("rejected") else None
    return asked[-1] if asked else "", answered[-1] if answered else "", worse
