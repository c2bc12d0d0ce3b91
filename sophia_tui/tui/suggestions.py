"""What a field may be completed with while it is typed: names from the store, words, files."""

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.suggester import Suggester

from sophia_tui.domain.operations import Operation
from sophia_tui.errors import SophiaError
from sophia_tui.services import completion, fields
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: How long names that were asked for last are good.
_FRESH_SECONDS = 5.0
#: Entries of a folder that are looked at.
_MOST_ENTRIES = 2000
_SHOWN = 6


class Names:
    """Asks for names when a field wants them; nothing is asked for a field that takes any text."""

    def __init__(self, sophia: "Console", operation: Operation) -> None:
        self._sophia = sophia
        self._operation = operation
        self._known: dict[str, tuple[float, list[str]]] = {}
        #: Where files are looked for that are named without a folder.
        self.folder: Path | None = None
        #: The env files that a promotion may write.
        self.managed: list[str] = []

    def helps(self, name: str) -> bool:
        """Whether there is anything to complete this field with."""
        info = self._operation.input.model_fields[name]
        if fields.is_switch(info) or fields.is_secret(info) or fields.choices_of(info):
            return False
        return bool(self._kind(name)) or name in completion.FILES

    def _kind(self, name: str) -> str:
        return completion.kind_of(self._operation, name)

    async def matching(self, name: str, typed: str) -> list[str]:
        """Whole values for the field, the best first; what begins as typed goes before what only
        holds it. None where nobody can tell now: completing is no place for errors."""
        info = self._operation.input.model_fields[name]
        before, last = ("", typed)
        if fields.is_list(info):
            head, blank, last = typed.rpartition(" ")
            before = head + blank
        found = [before + each for each in await self._found(name, last)]
        return [each for each in found if each != typed]

    async def _found(self, name: str, typed: str) -> list[str]:
        kind = self._kind(name)
        if name == "env_file":
            return await self._env_files(typed)
        if not kind:
            return await asyncio.to_thread(_files, typed, self.folder)
        known = kind.split("|") if not kind.startswith("@") else await self._names(kind[1:])
        wanted = typed.casefold()
        begin = [each for each in known if each.casefold().startswith(wanted)]
        return begin + [each for each in known if each not in begin and wanted in each.casefold()]

    async def _env_files(self, typed: str) -> list[str]:
        """The managed ones, then those of the folder that is typed."""
        managed = [
            each for each in self.managed if each.startswith(typed) and visible(each) == each
        ]
        found = await asyncio.to_thread(_files, typed, None) if "/" in typed else []
        some = [each for each in found if each.endswith(("/", ".env"))]
        return list(dict.fromkeys([*managed, *some]))

    async def _names(self, kind: str) -> list[str]:
        at, found = self._known.get(kind, (float("-inf"), []))
        if time.monotonic() - at < _FRESH_SECONDS or not self._sophia.may(f"{kind}.list"):
            return found
        try:
            found = await completion.names_of(kind, self._sophia.call)
        except SophiaError:
            found = []
        self._known[kind] = (time.monotonic(), found)
        return found

    def suggester(self, name: str) -> Suggester:
        """For the field itself: the rest of the best one, in grey; right takes it."""
        return _Rest(self, name)


class _Rest(Suggester):
    def __init__(self, names: Names, name: str) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._names = names
        self._name = name

    async def get_suggestion(self, value: str) -> str | None:
        found = await self._names.matching(self._name, value)
        return next((each for each in found if each.startswith(value)), None)


def told(found: list[str], width: int, glyphs: Any) -> str:
    """Some of them on one line."""
    shown = [visible(each) for each in found[:_SHOWN]]
    rest = len(found) - len(shown)
    line = "  ".join(shown) + (f"  +{rest}" if rest > 0 else "")
    return str(glyphs.fit(line, width)).rstrip()


def _files(typed: str, folder: Path | None) -> list[str]:
    """Files and folders that begin as typed; a folder with a slash behind it."""
    place, _slash, begun = typed.rpartition("/")
    head = typed[: len(typed) - len(begun)]
    found = []
    try:
        at = Path(place or "/").expanduser() if _slash else (folder or Path.cwd())
        if not at.is_absolute():
            at = (folder or Path.cwd()) / at
        with os.scandir(at) as entries:
            for number, each in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    break
                if each.name.startswith(begun) and (begun or not each.name.startswith(".")):
                    found.append(head + each.name + ("/" if each.is_dir() else ""))
    except (OSError, ValueError, RuntimeError):  # what was pasted need be no path at all
        return []
    # a name that the terminal could act on can't be typed as it is shown
    return sorted(each for each in found if each == visible(each))
