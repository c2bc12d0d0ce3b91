"""Whether another person changes what a form is about to change, while it is open."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.operations import Operation
from sophia_tui.errors import SophiaError
from sophia_tui.services import changes
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.tui.host import Console

#: Between two looks whether another person changed what the form would change.
LOOK_SECONDS = 3.0

_log = logging.getLogger("sophia")


class ChangeWatch:
    """Asks the audit. `number` is its newest entry that the person knows of; None: not known yet,
    or nothing that two people could change."""

    def __init__(self, sophia: "Console", operation: Operation) -> None:
        self._sophia = sophia
        self._operation = operation
        self.number: int | None = None
        self._said = ""

    @property
    def wanted(self) -> bool:
        """Whether there is anything to ask, and this person may."""
        known = self._operation.name in changes.WITH
        return known and self._sophia.may("audit.changes")

    async def look(self, asked: Mapping[str, Any]) -> str:
        """What another one did since the form was opened, to be said; empty where nothing, or where
        it was said already. A store that is away is no news of this."""
        if not changes.watched(self._operation, asked):
            return ""
        request = {"operation": self._operation.name, "since": self.number}
        record = changes.record_of(self._operation, asked)
        try:
            found: Any = await self._sophia.call("audit.changes", {**request, "target": record})
        except SophiaError as problem:
            _log.debug("changes of others are not known: %s", problem.code)
            return ""
        if self.number is None:
            self.number = found.number
        newest = str(found.items[0].at) if found.items else ""
        news, self._said = newest != self._said, newest
        return visible(found.told or "") if news else ""

    def knows(self, number: Any) -> None:
        """The person was told of everything up to there."""
        if isinstance(number, int):
            self.number, self._said = number, ""
