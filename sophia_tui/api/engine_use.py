"""Which requests an engine has now, and whether it may be at work for nobody.

An engine that works at one request after the other does not always heed that a client has gone: one
request can keep it from everybody else. From outside that looks like a long answer, so only these
counts tell them apart.
"""

import math
import time
from dataclasses import dataclass, field


@dataclass
class EngineUse:
    """The requests of this API to one engine, whatever models they name."""

    under_way: int = 0
    #: One of those that it answers for.
    deployment_id: str = ""
    #: Since when there is none under way.
    idle_since: float = -math.inf
    #: Since when it may be lost: a request was left, and nothing was heard from it since.
    doubted_since: float | None = None
    _last_left: float = -math.inf

    def begin(self) -> "Turn":
        self.under_way += 1
        return Turn(self)

    def idle_in_doubt(self) -> float | None:
        """For how many seconds nobody waits for it, while it is in doubt; else None."""
        if self.under_way or self.doubted_since is None:
            return None
        return time.monotonic() - self.idle_since

    def silent_for(self) -> float:
        """For how many seconds it has been in doubt."""
        return 0.0 if self.doubted_since is None else time.monotonic() - self.doubted_since

    def trust(self) -> None:
        """It answers, or it is a new one."""
        self.doubted_since = None

    def heard(self, asked_at: float) -> None:
        """It gave text to the request of that moment: those before it are done."""
        if self.doubted_since is not None:
            self.doubted_since = time.monotonic() if asked_at < self._last_left else None

    def left(self, asked_at: float) -> None:
        self._last_left = max(self._last_left, asked_at)
        if self.doubted_since is None:
            self.doubted_since = time.monotonic()


@dataclass
class Turn:
    """One request to an engine, from begin to end."""

    use: EngineUse
    asked_at: float = field(default_factory=time.monotonic)
    _over: bool = False

    def heard(self) -> None:
        self.use.heard(self.asked_at)

    def left(self) -> None:
        """Nobody waits for it any more, whatever the engine does."""
        self.use.left(self.asked_at)

    def end(self) -> None:
        if not self._over:
            self._over = True
            self.use.under_way -= 1
            self.use.idle_since = time.monotonic()
