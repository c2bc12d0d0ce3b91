"""The calendar of models: every model id that an env file names, and until when it answers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sophia_tui.domain.calendar import Lister, read_days
from sophia_tui.domain.context import Context
from sophia_tui.domain.models import Model
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import RefusedError, SophiaError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.calendar_files import (
    Named,
    NamedModels,
    Place,
    same_address,
    shown_address,
)
from sophia_tui.services.calendar_lists import Known, ProviderLists
from sophia_tui.services.calendar_rules import World, judged
from sophia_tui.services.calendar_views import (
    CalendarEntry,
    CalendarRequest,
    CalendarView,
    ProviderListView,
    UnreadFile,
)
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load
from sophia_tui.services.train import is_hosted
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_MOST_MODELS = 1000
_GRAVITY = {"error": 0, "urgent": 1, "warning": 2, "unknown": 3, "ok": 4}


@dataclass(frozen=True)
class _Seen:
    """What files name, judged, and by what."""

    world: World
    entries: list[CalendarEntry]
    known: Mapping[Place, Known]
    unread: tuple[UnreadFile, ...]
    problem: str


class CalendarService:
    """Reads env files and the store; asks providers when it is told to. The store may be away: then
    lists and served names are unknown."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        settings: "Settings",
        clock: Clock,
        prices: Load,
        env: ManagedEnv,
        lister: Lister,
    ) -> None:
        self._open_store = open_store
        self._settings = settings
        self._clock = clock
        self._prices = prices
        self._names = NamedModels(settings, env)
        self._lists = ProviderLists(settings, lister, clock)

    @operation(
        "models.calendar",
        N_("Show until when each model answers that an env file names, and what lasts no longer."),
    )
    async def calendar(self, context: Context, request: CalendarRequest) -> CalendarView:
        """Raises UsageError T430 to T432 for a price file that can't be used."""
        return await self.look(refresh=request.refresh)

    async def look(self, refresh: bool = False, daily: bool = False) -> CalendarView:
        """The calendar now; with `daily`, lists older than a day are asked for again."""
        return self._view(await self._seen(refresh, daily))

    async def _seen(
        self, refresh: bool = False, daily: bool = False, files: Sequence[Path] | None = None
    ) -> _Seen:
        """What these files name, by default all that are known, each judged."""
        prices = self._prices()
        store, problem = await self._store()
        ours = await _models(store)
        read = await self._names.read(ours, prices, files)
        places = list(dict.fromkeys(each.place for each in read.named if self._asks(each)))
        known = await self._lists.known(store, places)
        if refresh or daily:
            due = {each: at for each, at in known.items() if refresh or self._lists.due(at)}
            known |= await self._lists.ask(store, read.named, due)
        world = World(
            now=self._clock.now(),
            bounds=read_days(self._settings.calendar_days),
            prices=prices,
            ours=ours,
            served=await _served(store),
            store=store is not None,
            successors=await _successors(store),
        )
        items = [self._entry(each, known.get(each.place, Known()), world) for each in read.named]
        return _Seen(world, items, known, read.unread, problem)

    async def models_in(self, files: Sequence[Path]) -> list[CalendarEntry]:
        """Where these files name a model for answers that the calendar warns of, or that Sophia
        knows. Raises UsageError T430 to T432."""
        seen = await self._seen(files=files)
        return [
            each
            for each in seen.entries
            if each.use == "asked"
            and (
                each.severity in ("error", "urgent", "warning")
                or each.model in seen.world.ours
                or seen.world.prices.chat(each.model) is not None
            )
        ]

    async def still_named(self, model: str) -> list[Named]:
        """Where the env files of services, Sophia's own aside, name that model for answers."""
        files = await self._names.of_services()
        read = await self._names.read((model,), self._prices(), files)
        return [each for each in read.named if each.model == model and each.use == "asked"]

    async def place_of(self, model: str) -> Place:
        """Where services ask for that model: as the first env file that names it says, else as
        Sophia's own settings do."""
        named = (await self._names.read((model,), self._prices())).named
        found = [each.place for each in named if each.model == model and each.use == "asked"]
        return found[0] if found else self._names.own_place()

    def is_ours(self, place: Place) -> bool:
        """Whether that is our own front, which costs nothing by the token."""
        return place.base_url is not None and same_address(place.base_url, self._settings.api_url)

    async def sent_elsewhere(self, model: str) -> list[str]:
        """Sentences on env files that name the model and send their service to somebody else: a
        model of this machine is asked for at our own front."""
        named = (await self._names.read((model,), self._prices())).named
        files = {
            each.file: each.place
            for each in named
            if each.model == model and each.use == "asked" and not self.is_ours(each.place)
        }
        told = _(
            "{file} sends its service to {address}: set OPENAI_BASE_URL={ours} and the key of "
            "served models there, else the new model is not found."
        )
        ours = f"{self._settings.api_url.rstrip('/')}/v1"
        return [
            told.format(
                file=visible(file), address=shown_address(place.base_url), ours=visible(ours)
            )
            for file, place in files.items()
        ]

    def _view(self, seen: _Seen) -> CalendarView:
        world, items = seen.world, list(seen.entries)
        far = max((each.days_left or 0 for each in items), default=0) + 1
        items.sort(
            key=lambda each: (
                _GRAVITY[each.severity],
                far if each.days_left is None else each.days_left,
                each.model,
                each.file,
                each.key,
            )
        )
        return CalendarView(
            now=world.now,
            bounds=list(world.bounds),
            dates_as_of=world.prices.as_of,
            files=[str(each) for each in world.prices.files],
            items=items,
            lists=[_list_view(place, found) for place, found in seen.known.items()],
            unread=list(seen.unread),
            problem=seen.problem,
        )

    async def _store(self) -> tuple[Store | None, str]:
        try:
            return await self._open_store(), ""
        except SophiaError as problem:
            return None, f"{problem.code} {problem.what}".strip()

    def _asks(self, named: Named) -> bool:
        """Whether what is named is asked for at its place at all."""
        return named.use == "asked" or self._hosted(named.model)

    def _entry(self, named: Named, known: Known, world: World) -> CalendarEntry:
        place = named.place
        front = self.is_ours(place)
        hosted = named.use == "base" and self._hosted(named.model)
        return judged(named, known, world, shown_address(place.base_url), front, hosted)

    def _hosted(self, base: str) -> bool:
        try:
            return is_hosted(base, None, self._settings)
        except RefusedError:  # a hosted name, where trainings are to stay here
            return True
        except UsageError:
            return False


async def _models(store: Store | None) -> dict[str, Model]:
    found = await store.models.page(_MOST_MODELS) if store else []
    return {each.id: each for each in found}


async def _served(store: Store | None) -> frozenset[str]:
    """Names that clients may ask for here."""
    if store is None:
        return frozenset()
    found = await store.deployments.page(limit=200, living=True)
    return frozenset(each.name for each in found)


async def _successors(store: Store | None) -> dict[str, tuple[str, str]]:
    """By the old model: its newest succession, and the new model."""
    found = await store.successions.page() if store else []
    return {each.model_id: (each.id, each.new_model or "") for each in reversed(found)}


def _list_view(place: Place, known: Known) -> ProviderListView:
    return ProviderListView(
        address=shown_address(place.base_url),
        provider_key="***" if place.api_key else "",
        as_of=known.as_of,
        models=len(known.models),
        complete=known.complete and known.as_of is not None,
        problem=visible(known.why),
    )
