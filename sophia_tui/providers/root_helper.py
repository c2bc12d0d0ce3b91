"""The root helper as services ask it: by its socket, with limits in time and size."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sophia_tui import errors
from sophia_tui.domain.managed import Declared, FileText, ManagedFile, UnitState
from sophia_tui.errors import OutsideError, SophiaError, UnavailableError
from sophia_tui.i18n import _, get_language

_CONNECT_SECONDS = 5.0
#: A restart takes as long as systemd lets the unit take; everything else is short.
_ANSWER_SECONDS = {"restart": 220.0, "status": 60.0}
_SHORT_SECONDS = 45.0
_MOST_ANSWER = 4 * 1024 * 1024


class SocketHelper:
    """Implements domain.managed.RootHelper. `person` is who acts, for the helper's journal."""

    def __init__(self, path: Path, person: str = "") -> None:
        self._path = path
        self._person = person

    async def declared(self) -> Declared:
        if not os.access(self._path, os.W_OK):  # no helper here, or none for us
            return Declared()
        try:
            found = await self._ask({"verb": "declared"})
            files = tuple(_managed(each) for each in found["files"])
        except (KeyError, TypeError) as problem:
            raise _odd() from problem
        return Declared(files, found.get("problem"))

    async def read(self, path: str) -> FileText:
        found = await self._ask({"verb": "read", "file": path})
        return _text(found.get("content"), found.get("sha256"))

    async def replace(self, path: str, expected: str, content: str) -> FileText:
        message = {"verb": "replace", "file": path, "sha256": expected, "content": content}
        found = await self._ask(message)
        return _text(content, found.get("sha256"))

    async def restart(self, unit: str) -> UnitState:
        return _unit(await self._ask({"verb": "restart", "unit": unit}))

    async def status(self, units: Sequence[str]) -> tuple[UnitState, ...]:
        found = await self._ask({"verb": "status", "units": list(units)})
        return tuple(_unit(each) for each in found.get("units", ()))

    async def _ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer. Raises UnavailableError P064, P065 and what the helper refuses."""
        asked = {**message, "lang": get_language()}
        if self._person:
            asked["person"] = self._person
        seconds = _ANSWER_SECONDS.get(message["verb"], _SHORT_SECONDS)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._path, limit=_MOST_ANSWER)
            try:
                async with asyncio.timeout(seconds):
                    writer.write(json.dumps(asked).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
            finally:
                writer.close()
        except (OSError, ValueError) as problem:  # TimeoutError is an OSError
            raise OutsideError(
                "P064",
                _("The root helper does not answer."),
                getattr(problem, "strerror", None) or type(problem).__name__,
                _("See `systemctl status sophia-helper.socket` and `journalctl -t sophia-helper`."),
            ) from problem
        return _answer(line)


def _answer(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if found["ok"] is True:
            return dict(found)
        problem = _problem(found["error"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise _odd() from wrong
    raise problem


def _problem(told: Mapping[str, Any]) -> SophiaError:
    """The helper's error as it raised it: same kind, code and texts."""
    kind = getattr(errors, told["kind"], None)
    if told["kind"] not in errors.__all__ or not isinstance(kind, type):
        kind = errors.PromotionError
    problem: SophiaError = kind(
        str(told["code"]).removeprefix("SOPHIA-"),
        str(told["what"]),
        str(told["why"]),
        str(told["remedy"]),
        **told.get("details", {}),
    )
    return problem


def _managed(told: Mapping[str, Any]) -> ManagedFile:
    known = {each.name for each in fields(ManagedFile)}
    given = {key: value for key, value in told.items() if key in known}
    for key in ("restart", "read_by", "keys", "elsewhere"):
        given[key] = tuple(given.get(key, ()))
    return ManagedFile(**given)


def _unit(told: Mapping[str, Any]) -> UnitState:
    try:
        return UnitState(told["unit"], told["state"], told["detail"], told["healthy"] is True)
    except KeyError as problem:
        raise _odd() from problem


def _text(content: Any, sha256: Any) -> FileText:
    if not (isinstance(content, str) and isinstance(sha256, str)):
        raise _odd()
    return FileText(content, sha256)


def _odd() -> UnavailableError:
    return OutsideError(
        "P065",
        _("The root helper's answer can't be read."),
        remedy=_("Helper and program may be of different releases: upgrade Sophia again."),
    )
