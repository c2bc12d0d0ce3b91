"""Which model production named when: from the promotions, and from what the env files say now.

A promotion is known to the second. Where a file names something else than the last promotion wrote,
somebody changed it by hand in between, and the time is only known to lie between two others.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field

from sophia_tui import envfile
from sophia_tui.domain.context import Context
from sophia_tui.domain.managed import MODEL_KEYS, RootHelper
from sophia_tui.domain.models import Promotion, PromotionState
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _
from sophia_tui.services.managed_env import ManagedEnv, refers_to
from sophia_tui.services.model_states import every_promotion
from sophia_tui.services.operations import operation
from sophia_tui.services.promotion_recovery import cut_off_note
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Values of one env file by key.
Values = Mapping[str, str]


class ProductionRequest(Input):
    at: datetime | None = Field(
        default=None,
        description=N_("Only what was named then, e.g. 2026-11-20 or 2026-11-20T14:00."),
    )
    model: str | None = Field(default=None, description=N_("Only where this model was named."))


class ProductionSpan(Output):
    """A model that one variable of one env file named for a time. `until` empty: it does now.
    `exact` is False where a change by hand makes one of the ends uncertain: then it was named from
    some time after `since`, or until some time before `until`, or nobody knows since when."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "model",
        "key",
        "since",
        "until",
        "exact",
        "how",
        "by",
        "file",
    )

    model: str = Field(title=N_("Model"))
    key: str = Field(title=N_("Variable"))
    file: str = Field(title=N_("File"))
    since: datetime | None = Field(default=None, title=N_("From"))
    until: datetime | None = Field(default=None, title=N_("Until"))
    exact: bool = Field(default=True, title=N_("Exact"))
    now: bool = Field(default=False, title=N_("Now"))
    how: str = Field(title=N_("How"))
    by: str | None = Field(default=None, title=N_("By"))
    promotion: str | None = Field(default=None, title=N_("Promotion"))


class AttemptView(Output):
    """A promotion that did not come to an end: for moments its files may have named the model."""

    table_columns: ClassVar[tuple[str, ...]] = ("promotion", "model", "state", "at", "until", "why")

    promotion: str = Field(title=N_("Promotion"))
    model: str = Field(title=N_("Model"))
    state: str = Field(title=N_("State"))
    at: datetime = Field(title=N_("Begun"))
    until: datetime | None = Field(default=None, title=N_("Ended"))
    why: str = Field(default="", title=N_("Why"))


class DeployedView(Output):
    name: str = Field(title=N_("Name"))
    model: str = Field(title=N_("Model"))
    state: str = Field(title=N_("State"))
    since: datetime = Field(title=N_("From"))


class ProductionView(Output):
    at: datetime | None = Field(default=None, title=N_("Time"))
    items: list[ProductionSpan] = Field(title=N_("Named in production"))
    attempts: list[AttemptView] = Field(default_factory=list, title=N_("Failed and pending"))
    deployed: list[DeployedView] = Field(default_factory=list, title=N_("Served now"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))


@dataclass(frozen=True)
class _Change:
    """What one promotion changed in one variable."""

    at: datetime
    before: str | None
    after: str | None
    promotion: Promotion


@dataclass(frozen=True)
class Named:
    """A time in which a variable named a model, with how it began."""

    model: str
    key: str
    file: str
    how: str  # promotion, rollback, by_hand, found
    since: datetime | None = None
    until: datetime | None = None
    exact: bool = True
    now: bool = False
    promotion: Promotion | None = None

    def covers(self, at: datetime) -> bool:
        begun = self.since is None or self.since <= at
        return begun and (self.until is None or at < self.until)


def spans(promotions: Sequence[Promotion], files: Mapping[str, Values]) -> list[Named]:
    """Newest first, from promotions in the order of their time. `files` are the env files that can
    be read now, with their values."""
    changes: dict[tuple[str, str], list[_Change]] = {}
    for promotion in promotions:
        if promotion.state not in (PromotionState.DONE, PromotionState.ROLLED_BACK):
            continue
        at = promotion.finished_at or promotion.created_at
        for change in promotion.changes:
            for key, after in change.after.items():
                place = changes.setdefault((change.path, key), [])
                place.append(_Change(at, change.before.get(key), after, promotion))
    for path, values in files.items():
        for key in MODEL_KEYS:
            if values.get(key) and not refers_to(values[key], values):
                changes.setdefault((path, key), [])
    found: list[Named] = []
    for (path, key), made in changes.items():
        made.sort(key=lambda each: each.at)
        found += _of_one(path, key, made, files.get(path))
    return sorted(
        reversed(found),
        key=lambda each: (
            not each.now,
            -(each.since.timestamp() if each.since else 0.0),
            each.file,
            each.key,
        ),
    )


def _of_one(path: str, key: str, changes: Sequence[_Change], values: Values | None) -> list[Named]:
    """The spans of one variable, oldest first."""
    found: list[Named] = []
    for change in changes:
        rolled = change.promotion.rolls_back is not None
        _close(found, path, key, change.before, change.at)
        if change.after:
            found.append(
                Named(
                    model=change.after,
                    key=key,
                    file=path,
                    how="rollback" if rolled else "promotion",
                    since=change.at,
                    promotion=change.promotion,
                )
            )
    if values is None:  # nobody can say what it names now
        return found
    current = values.get(key)
    if current and refers_to(current, values):
        current = None
    _close(found, path, key, current, None)
    if found and found[-1].until is None and found[-1].model == current:
        found[-1] = replace(found[-1], now=True)
    return found


def _close(found: list[Named], path: str, key: str, seen: str | None, at: datetime | None) -> None:
    """End the newest span at `at`, where the variable named `seen`; None: it still does. What else
    was seen than was written last was put there by hand, at a time that nobody knows."""
    last = found[-1] if found and found[-1].until is None else None
    if last is not None and last.model == seen:
        found[-1] = replace(last, until=at)
        return
    since = last.since if last is not None else None
    if last is not None:
        found[-1] = replace(last, until=at, exact=False)
    elif found:
        since = found[-1].until
    if seen:
        how = "by_hand" if found else "found"
        found.append(Named(seen, key, path, how, since, at, exact=False, now=at is None))


class ModelProductionService:
    """Tells what production named; changes nothing."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        helper: RootHelper | None = None,
        half_done: Callable[[], Awaitable[Promotion | None]] | None = None,
    ) -> None:
        self._half_done = half_done
        self._store = store
        self._settings = settings
        self._clock = clock
        self._env = ManagedEnv(helper)

    @operation(
        "models.production",
        N_("Show which model production named when, by env file and variable; and then alone."),
        target="model",
        positional=("model",),
    )
    async def production(self, context: Context, request: ProductionRequest) -> ProductionView:
        at = self._moment(request.at)
        promotions = await every_promotion(self._store)
        files, notes = await self.files(promotions)
        left = await self._half_done() if self._half_done else None
        if left is not None:
            notes.insert(0, cut_off_note(left))
        named = spans(promotions, files)
        if at is not None:
            named = [each for each in named if each.covers(at)]
        if request.model is not None:
            named = [each for each in named if each.model == request.model]
        if at is not None and not named:
            notes.append(_("Nothing that is recorded names a model at that time."))
        if any(not each.exact for each in named):
            notes.append(_not_exact())
        attempts = [
            _attempt(each)
            for each in reversed(promotions)
            if each.state in (PromotionState.UNDONE, PromotionState.PENDING)
            and request.model in (None, each.model_id)
            and (at is None or each.created_at <= at <= (each.finished_at or at))
        ]
        deployed = await self.deployed(request.model) if at is None else []
        return ProductionView(
            at=at,
            items=[span_view(each) for each in named],
            attempts=attempts,
            deployed=deployed,
            notes=notes,
        )

    async def deployed(self, model: str | None = None) -> list[DeployedView]:
        """What is served now."""
        living = await self._store.deployments.page(limit=500, living=True)
        return [
            DeployedView(
                name=each.name, model=each.model_id, state=each.state.value, since=each.created_at
            )
            for each in living
            if model in (None, each.model_id, each.name)
        ]

    async def warning(self, name: str) -> list[str]:
        """What to say where an env file of production names what is about to go; else nothing."""
        try:
            files, _unknown = await self.files(await every_promotion(self._store))
        except SophiaError as problem:
            told = _("Whether production names {name} is not known. {what}")
            return [told.format(name=name, what=problem.what)]
        found = [visible(path) for path, values in files.items() if name in values.values()]
        if not found:
            return []
        told = _(
            "PRODUCTION NAMES {name}: it must not go before something else is promoted. {files}"
        )
        return [told.format(name=name, files=", ".join(found))]

    async def files(self, promotions: Iterable[Promotion]) -> tuple[dict[str, Values], list[str]]:
        """The env files of production with their values now, and what can't be read."""
        paths = {str(each): None for each in self._settings.managed_files}
        paths |= {each.path: None for each in (await self._env.declared()).files if not each.own}
        paths |= {change.path: None for each in promotions for change in each.changes}
        found: dict[str, Values] = {}
        notes = []
        for path in paths:
            try:
                found[path] = envfile.values(await self._env.read(Path(path)))
            except SophiaError as problem:
                told = _("What {path} names now is not known. {what}")
                notes.append(told.format(path=visible(path), what=problem.what))
        return found, notes

    def _moment(self, at: datetime | None) -> datetime | None:
        """A time without a zone is one of the house's."""
        if at is None or at.tzinfo is not None:
            return at
        return at.replace(tzinfo=ZoneInfo(self._settings.timezone))


def span_view(named: Named) -> ProductionSpan:
    promotion = named.promotion
    return ProductionSpan(
        model=named.model,
        key=named.key,
        file=named.file,
        since=named.since,
        until=named.until,
        exact=named.exact,
        now=named.now,
        how=named.how,
        by=promotion.created_by if promotion else None,
        promotion=promotion.id if promotion else None,
    )


def _attempt(promotion: Promotion) -> AttemptView:
    why = str((promotion.error or {}).get("what") or "")
    return AttemptView(
        promotion=promotion.id,
        model=promotion.model_id,
        state=promotion.state.value,
        at=promotion.created_at,
        until=promotion.finished_at,
        why=why,
    )


def _not_exact() -> str:
    return _(
        "Where it is not exact, somebody changed the file by hand, or it named the model before"
        " anything was recorded: the times are the nearest that are known."
    )
