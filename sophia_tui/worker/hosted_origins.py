"""Lines of a sent file that a provider names in its refusal, and the rows that they come from."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from sophia_tui.domain.hosted import HostedOrder
from sophia_tui.domain.jobs import Job
from sophia_tui.i18n import _
from sophia_tui.textsafe import visible

_LINES = re.compile(r"\blines?\b:?\s*((?:\d{1,9}(?:\s*(?:,|and|&)\s*)?)+)", re.I)
_EXAMPLE = re.compile(r"\bexample\s+(\d{1,9})\b", re.I)
_MOST = 100
_SAID = 10


def named_lines(text: str) -> list[int]:
    """The lines that a refusal names ("Flagged lines: 4, 13", "Example 100, message 2", "Line 1 is
    not a dictionary"), in order, each once."""
    found = [int(number) for match in _LINES.finditer(text) for number in _digits(match.group(1))]
    found += [int(match.group(1)) for match in _EXAMPLE.finditer(text)]
    return sorted({each for each in found if each > 0})[:_MOST]


async def origins(job: Job, order: HostedOrder, param: str, text: str) -> list[dict[str, Any]]:
    """Line, file, line of that file, and row of the owner's table, for each line named; nothing
    where the version's folder can't be read."""
    named = named_lines(text)
    if not named:
        return []
    path = order.validation if "validation" in param and order.validation else order.training
    try:
        return await asyncio.to_thread(_look_up, Path(path), named)
    except (OSError, ValueError, KeyError):
        return []


def told(found: list[dict[str, Any]]) -> str:
    """The same as a sentence for people."""
    said = []
    for each in found[:_SAID]:
        source = each.get("source")
        row = f" ({source['table']} {json.dumps(source['key'])})" if source else ""
        said.append(
            _("line {line} is {file}, line {source}").format(
                line=each["line"], file=each["file"], source=each["source_line"]
            )
            + row
        )
    return visible("; ".join(said))


def _digits(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _look_up(path: Path, named: list[int]) -> list[dict[str, Any]]:
    """Line n of a part is the n-th entry of that part in provenance.jsonl."""
    part, wanted = path.stem, set(named)
    found: list[dict[str, Any]] = []
    number = 0
    with (path.parent / "provenance.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            entry = json.loads(line)
            if entry["part"] != part:
                continue
            number += 1
            if number in wanted:
                about = {"line": number, "file": entry["file"], "source_line": entry["line"]}
                found.append({**about, "source": entry.get("source")})
                if len(found) == len(wanted):
                    break
    return found
