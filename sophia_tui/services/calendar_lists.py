"""What providers' lists of models said last: kept in the store, asked for again when due.

A row of the store holds the objects of the list as they were read, each with the time at which it
was listed last (`seen_at`), so that a model that disappeared is known to have been there; and one
object without an id that says how the last asking went.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.calendar import Lister, Listing
from sophia_tui.domain.models import ProviderModels
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.calendar_files import Named, Place, same_address
from sophia_tui.services.train_hosted import own_address

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: A list older than this is asked for again by the worker.
DAILY = timedelta(hours=24)
#: Models that a list has no more are remembered, this many at most.
_MOST_REMEMBERED = 500


@dataclass(frozen=True)
class Known:
    """A provider's list as it is known. `as_of` None: it was never had. `before` are models that
    it listed once, with the time at which it did last."""

    models: Mapping[str, date | None] = field(default_factory=dict)
    before: Mapping[str, datetime] = field(default_factory=dict)
    as_of: datetime | None = None
    tried_at: datetime | None = None
    complete: bool = False
    why: str = ""

    @classmethod
    def of(cls, row: ProviderModels) -> "Known":
        models: dict[str, date | None] = {}
        before: dict[str, datetime] = {}
        about: Mapping[str, Any] = {}
        for each in row.models:
            if "id" not in each:
                about = each
            elif each.get("listed"):
                day = each.get("shutdown_date")
                models[str(each["id"])] = date.fromisoformat(day) if day else None
            else:
                before[str(each["id"])] = datetime.fromisoformat(each["seen_at"])
        tried = about.get("tried_at")
        return cls(
            models,
            before,
            row.seen_at if about.get("had") else None,
            datetime.fromisoformat(tried) if tried else None,
            bool(about.get("complete")),
            str(about.get("why") or ""),
        )

    def after(self, listing: Listing, now: datetime) -> "Known":
        """With what was answered just now; a list that can't be had leaves the last one."""
        if not listing.models:
            return Known(self.models, self.before, self.as_of, now, self.complete, listing.why)
        gone = {each: self.as_of or now for each in self.models if each not in listing.models}
        before = {
            each: at for each, at in {**self.before, **gone}.items() if each not in listing.models
        }
        kept = sorted(before.items(), key=lambda each: each[1], reverse=True)[:_MOST_REMEMBERED]
        return Known(listing.models, dict(kept), now, now, listing.complete, listing.why)

    def objects(self) -> list[dict[str, Any]]:
        """As the store keeps it."""
        tried = self.tried_at.isoformat() if self.tried_at else None
        about = {"tried_at": tried, "complete": self.complete, "why": self.why}
        return [
            {**about, "had": self.as_of is not None},
            *(
                {"id": each, "listed": True, "shutdown_date": day.isoformat() if day else None}
                for each, day in self.models.items()
            ),
            *(
                {"id": each, "listed": False, "seen_at": at.isoformat()}
                for each, at in self.before.items()
            ),
        ]


def name_of(place: Place) -> str:
    """The row of a place: its address, and a mark of the key, since what is tuned is listed to its
    owner alone."""
    mark = hashlib.sha256((place.key or "").encode()).hexdigest()[:8] if place.key else "-"
    return f"{place.base_url or ''}#{mark}"


def askable(place: Place, settings: "Settings") -> bool:
    """Whether that is a provider with a list of its own: our front's is known without asking, and
    the provider's own address says nothing without a key."""
    if place.base_url is not None and same_address(place.base_url, settings.api_url):
        return False
    return place.key is not None or not own_address(place.base_url)


class ProviderLists:
    """The lists of all places that env files name."""

    def __init__(self, settings: "Settings", lister: Lister, clock: Clock) -> None:
        self._settings = settings
        self._lister = lister
        self._clock = clock

    async def known(self, store: Store | None, places: Sequence[Place]) -> dict[Place, Known]:
        """What is kept of each; nothing where the store can't be had."""
        found: dict[Place, Known] = {}
        for place in places:
            row = await store.provider_models.get(name_of(place)) if store else None
            found[place] = Known.of(row) if row else Known(why=self._unasked(place))
        return found

    def _unasked(self, place: Place) -> str:
        if askable(place, self._settings):
            return _("It was not asked yet.")
        return _("No key is set for it.") if own_address(place.base_url) else ""

    def due(self, known: Known) -> bool:
        return known.tried_at is None or self._clock.now() - known.tried_at >= DAILY

    async def ask(
        self, store: Store | None, named: Sequence[Named], known: Mapping[Place, Known]
    ) -> dict[Place, Known]:
        """Ask every place of `known` at once, each within its time, and keep what it says."""
        import asyncio

        async def one(place: Place, before: Known) -> Known:
            names = list(dict.fromkeys(each.model for each in named if each.place == place))
            seconds = self._settings.calendar_seconds
            try:
                listing = await self._lister(place.base_url, place.key, names, seconds)
            except SophiaError as problem:  # the client is not installed
                listing = Listing(why=f"{problem.what} {problem.remedy}".strip())
            now = self._clock.now()
            after = before.after(listing, now)
            if store is not None:
                await store.provider_models.put(name_of(place), after.as_of or now, after.objects())
            return after

        asked = [each for each in known if askable(each, self._settings)]
        found = await asyncio.gather(*(one(each, known[each]) for each in asked))
        return {**known, **dict(zip(asked, found, strict=True))}
