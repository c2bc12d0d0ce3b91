"""Wrong tokens, counted: who sends too many of them waits before the next one is looked at.

The rule. A token that was sent and is none of ours counts against its sender's address and against
all senders together; a request without a token is refused and counts nothing. An address has
SOPHIA_WRONG_TOKENS of them at once and gets one back each minute's share later (ten: every six
seconds); all together have ten times as many. Who has none left is answered 429 with the seconds
until the next one, and the token is not looked at, so that nothing can be learned by going on; what
is refused that way counts nothing, so that going on does not lengthen the wait either. A token that
was right from an address within the last day is still let in from there, whatever others send from
the same address: who works here is never locked out by a neighbour, a new one for seconds.

IPv6 senders are counted by /64, for who has one has all of it. Behind a proxy all clients have the
proxy's address, and share what it has, unless SOPHIA_API_PROXIES names the proxy: then the last
address in X-Forwarded-For that is no such proxy counts.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from sophia_tui.errors import TooManyError
from sophia_tui.i18n import _

#: What is remembered at most: addresses that sent a wrong token, and tokens that were right there.
#: An address that is forgotten begins anew; the limit of all together still holds.
MOST_ADDRESSES = 4096
MOST_PROVEN = 1024
_ALL_TOGETHER = 10
_MINUTE = 60.0
_DAY = 86_400.0


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
        self._proven: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def check(self, who: str, given: Iterable[bytes]) -> None:
        """Whether a token from there may be looked at; `given` are the digests of those that came.

        Raises TooManyError R470.
        """
        now = self._clock()
        wait = self._all.wait(now, self._limit * _ALL_TOGETHER)
        bucket = self._buckets.get(who)
        if bucket is not None:
            wait = max(wait, bucket.wait(now, self._limit))
        if wait <= 0 or any(self._is_proven(who, each, now) for each in given):
            return
        seconds = math.ceil(wait)
        raise TooManyError(
            "R470",
            _("Too many wrong tokens came."),
            _("They came from your address, or from many at once."),
            _("Wait {seconds} s, then send the right token.").format(seconds=seconds),
            retry_after=seconds,
        )

    def wrong(self, who: str) -> None:
        """Note that a token from there was none of ours."""
        now = self._clock()
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = _Bucket(now)
            if len(self._buckets) > MOST_ADDRESSES:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        for each, limit in ((bucket, self._limit), (self._all, self._limit * _ALL_TOGETHER)):
            each.wait(now, limit)
            each.level += 1

    def right(self, who: str, digest: bytes) -> None:
        """Note that a token from there was right."""
        key = (who, digest)
        self._proven[key] = self._clock()
        self._proven.move_to_end(key)
        if len(self._proven) > MOST_PROVEN:
            self._proven.popitem(last=False)

    def _is_proven(self, who: str, digest: bytes, now: float) -> bool:
        at = self._proven.get((who, digest))
        return at is not None and now - at < _DAY
