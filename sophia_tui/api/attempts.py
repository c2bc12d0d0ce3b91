"""Wrong tokens, counted: who sends too many of them is told to wait.

The rule. Every token that comes is compared, in constant time, and a right one always passes:
nobody is locked out by who works at the same address or behind the same proxy. A request whose
token is none of ours counts against its sender's address and against all senders together; one
without a token is refused and counts nothing. An address has SOPHIA_WRONG_TOKENS of them at once
and gets one back each minute's share later (ten: every six seconds); all together have ten times as
many. They are answered 401, and one beyond them 429 with the seconds until the next; that one
counts nothing, so that going on does not lengthen the wait.

The bound hides no token: those that the installer makes have 40 signs, which nobody guesses at any
pace, and a short one of somebody's own is as weak as it is. It keeps the noise down, and the access
log and the figures show the operator that somebody tries.

IPv6 senders are counted by /64, for who has one has all of it. Behind a proxy all clients have the
proxy's address, and share what it has, unless SOPHIA_API_PROXIES names the proxy: then the last
address in X-Forwarded-For that is no such proxy counts.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from sophia_tui.errors import TooManyError
from sophia_tui.i18n import _

#: So many addresses are remembered. One that is forgotten begins anew; the limit of all together
#: still holds.
MOST_ADDRESSES = 4096
_ALL_TOGETHER = 10
_MINUTE = 60.0


class _Bucket:
    """How many wrong ones are counted now; each is forgotten after its share of a minute."""

    __slots__ = ("at", "level")

    def __init__(self, now: float) -> None:
        self.level = 0.0
        self.at = now

    def wait(self, now: float, limit: int) -> float:
        """Seconds until one more may be wrong; 0 for now."""
        self.level = max(0.0, self.level - (now - self.at) * limit / _MINUTE)
        self.at = now
        return max(0.0, (self.level + 1 - limit) * _MINUTE / limit)


class Attempts:
    """Counts wrong tokens by address; see the module's docstring. Never keeps a token."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._all = _Bucket(clock())
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wrong(self, who: str) -> None:
        """Note that a token from there was none of ours.

        Raises TooManyError R470 beyond the bound.
        """
        now = self._clock()
        bucket = self._buckets.setdefault(who, _Bucket(now))
        self._buckets.move_to_end(who)
        if len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        together = self._all.wait(now, self._limit * _ALL_TOGETHER)
        wait = max(together, bucket.wait(now, self._limit))
        if wait <= 0:
            bucket.level += 1
            self._all.level += 1
            return
        seconds = math.ceil(wait)
        raise TooManyError(
            "R470",
            _("Too many wrong tokens came."),
            _("They came from your address, or from many at once."),
            _("Send the right token, which passes at once; or wait {seconds} s.").format(
                seconds=seconds
            ),
            retry_after=seconds,
        )
