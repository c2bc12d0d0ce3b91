"""Builds training pairs of answer events: `{"instruction", "output"}`, one a line.

An event is one line of a file: `kind`, `meta` (with `prompt` or `q`, and `reply` or `a`, which may
also stand beside `kind`), perhaps `tenant_id`. Lines that can't be used are named in a file beside
the pairs; events of other kinds are none of its business. Pairs are redacted as data sets are.
"""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sophia_tui.datasets.codes import Problem, explain
from sophia_tui.datasets.compressed import open_lines
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.datasets.redact import redact
from sophia_tui.datasets.sources import unreadable
from sophia_tui.domain.datasets import Example, Message
from sophia_tui.files import whole_file
from sophia_tui.i18n import N_, _

#: Places of unusable events that are told; the file beside the pairs has them all.
_TOLD = 100
_REASONS = {
    "no_kind": N_("It has no kind; answers have kind answer."),
    "no_meta": N_("Its meta is no object."),
    "no_prompt": N_("It has neither prompt nor q."),
    "no_reply": N_("It has neither reply nor a."),
}


@dataclass(frozen=True)
class Named:
    """An event that can't be used: where it stands, and why not."""

    place: str
    reason: str


@dataclass(frozen=True)
class Built:
    pairs: int
    unusable: int
    named: list[Named]


def build(events: Path, target: Path, limit: int, tenant: str | None) -> Built:
    """Write the newest `limit` pairs to `target`, oldest first, whole or not at all.

    Raises DataError D306 (the events can't be read), SetupError S101.
    """
    pairs: deque[tuple[str, str]] = deque(maxlen=limit)
    named: list[Named] = []
    for found in _pairs(events, tenant):
        if isinstance(found, Named):
            named.append(found)
        else:
            pairs.append(found)
    with whole_file(target.with_name(f"{target.stem}.rejected.jsonl")) as stream:
        for each in named:
            stream.write(_line(asdict(each)))
    with whole_file(target) as stream:
        for asked, answered in pairs:
            stream.write(_line({"instruction": asked, "output": answered}))
    return Built(len(pairs), len(named), named[:_TOLD])


def _pairs(events: Path, tenant: str | None) -> Iterator[tuple[str, str] | Named]:
    try:
        with open_lines(events) as stream:
            for line in LineReader(stream):
                place = f"{events.name}:{line.number}"
                if line.value is None:
                    problem = line.problem or Problem("json")
                    yield Named(place, explain(problem.code, problem.details))
                elif "kind" not in line.value:
                    yield Named(place, _(_REASONS["no_kind"]))
                elif line.value["kind"] == "answer" and _is_of(line.value, tenant):
                    yield _pair(line.value, str(line.value.get("place") or place))
    except ReadFailed as failed:
        raise unreadable(events, failed.problem) from failed.problem
    except OSError as problem:
        raise unreadable(events, problem) from problem


def _is_of(event: dict[str, Any], tenant: str | None) -> bool:
    return tenant is None or str(event.get("tenant_id")) == tenant


def _pair(event: dict[str, Any], place: str) -> tuple[str, str] | Named:
    meta = event.get("meta", {})
    if isinstance(meta, str):  # a text column, or JSON within JSON
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError):
            meta = None
    if not isinstance(meta, dict):
        return Named(place, _(_REASONS["no_meta"]))
    said = event | meta
    asked, answered = (_text(said, *keys) for keys in (("prompt", "q"), ("reply", "a")))
    if asked is None:
        return Named(place, _(_REASONS["no_prompt"]))
    if answered is None:
        return Named(place, _(_REASONS["no_reply"]))
    return _redacted(asked, answered)


def _redacted(asked: str, answered: str) -> tuple[str, str]:
    """The pair as a data set of it would be redacted: the file outlives the training."""
    pair = Example((Message("user", asked), Message("assistant", answered)))
    row = f"{asked}\n{answered}".encode("utf-8", "replace")
    found, _counts = redact(pair, row)
    first, second = found.messages
    return first.content, second.content


def _text(meta: dict[str, Any], *keys: str) -> str | None:
    return next((t for key in keys if isinstance(t := meta.get(key), str) and t.strip()), None)


def _line(value: dict[str, str]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
