"""Prices and shutdown dates: the dated file that Sophia brings, and an operator's over it."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import NoInput, Output
from sophia_tui.domain.protocols import Clock
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import SERVER_PRICES, Paths
from sophia_tui.services.operations import operation
from sophia_tui.textsafe import visible
from sophia_tui.validation import where_and_what

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

T = TypeVar("T")

OURS = Path(__file__).resolve().parent.parent / "data" / "prices.yaml"
#: A snapshot's date or number behind a model's name: -2024-07-18, -20250929, -0125.
_SNAPSHOT = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{4})$")

_Amount = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = ""


class ChatPrice(_Entry):
    """USD per million tokens."""

    input: _Amount
    output: _Amount
    tuned_input: _Amount | None = None
    tuned_output: _Amount | None = None
    as_of: date

    def cost(self, prompt_tokens: float, answer_tokens: float) -> float:
        """USD for so many tokens."""
        return (prompt_tokens * self.input + answer_tokens * self.output) / 1_000_000


class TrainingPrice(_Entry):
    """USD per million tokens trained (tokens of the file times epochs)."""

    price: _Amount
    as_of: date


class Rate(_Entry):
    """How many of the second currency one of the first buys."""

    rate: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
    as_of: date


class Item(BaseModel):
    """USD and hours of one piece of work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: _Amount
    hours: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class Rented(_Entry):
    """A training on a rented machine, by its items; `told_hours` is a document's own sum."""

    machine: str
    epoch: Item
    evaluation: Item
    merge: Item
    told_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    as_of: date


class Ending(_Entry):
    """`at` is the first day without: midnight UTC."""

    at: date

    @property
    def moment(self) -> datetime:
        return datetime.combine(self.at, time(), UTC)

    def days_left(self, now: datetime) -> int:
        """Whole days from now until then; 0 or less once it came."""
        return (self.at - now.astimezone(UTC).date()).days


class _PriceFile(BaseModel):
    """The shape of a price file; in an operator's, each part may be missing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date | None = None
    exchange: dict[str, Rate | None] = Field(default_factory=dict)
    chat: dict[str, ChatPrice | None] = Field(default_factory=dict)
    training: dict[str, TrainingPrice | None] = Field(default_factory=dict)
    rented: dict[str, Rented | None] = Field(default_factory=dict)
    shutdown: dict[str, Ending | None] = Field(default_factory=dict)
    training_closes: dict[str, Ending | None] = Field(default_factory=dict)


_PARTS = ("exchange", "chat", "training", "rented", "shutdown", "training_closes")


@dataclass(frozen=True)
class Prices:
    """All entries in force. Names are found with and without a snapshot's date; a tuned model's
    (`ft:BASE:…`) by its base. `files` are those read, ours first."""

    as_of: date
    files: tuple[Path, ...]
    exchange: Mapping[str, Rate]
    chat_prices: Mapping[str, ChatPrice]
    training_prices: Mapping[str, TrainingPrice]
    rented: Mapping[str, Rented]
    shutdowns: Mapping[str, Ending]
    training_closes: Mapping[str, Ending]
    #: Names of `shutdowns` whose date is the operator's own.
    operators: frozenset[str] = frozenset()

    def chat(self, model: str) -> ChatPrice | None:
        """What the model's answers cost; None where that is not known."""
        found = _by_name(self.chat_prices, model)
        if found is None or not _is_tuned(model):
            return found
        if found.tuned_input is None or found.tuned_output is None:
            return None
        return found.model_copy(update={"input": found.tuned_input, "output": found.tuned_output})

    def training(self, base: str) -> TrainingPrice | None:
        """What a million trained tokens cost; None where that is not known."""
        return _by_name(self.training_prices, base)

    def shutdown(self, model: str) -> Ending | None:
        """When the model, or the one it was tuned on, stops answering; None: nothing is known."""
        return _by_name(self.shutdowns, model)

    def by_operator(self, model: str) -> bool:
        """Whether the operator's own file says when the model stops answering."""
        found = self.shutdown(model)
        return found is not None and any(self.shutdowns[each] is found for each in self.operators)

    def knows(self, model: str) -> bool:
        """Whether any price or date is known by that name."""
        parts = (self.chat_prices, self.training_prices, self.shutdowns)
        return any(_by_name(part, model) is not None for part in parts)

    @property
    def usd_to_brl(self) -> float | None:
        """How many BRL a USD is; None where the operator took the rate away."""
        found = self.exchange.get("usd_to_brl")
        return found.rate if found else None


Load = Callable[[], Prices]


def _is_tuned(model: str) -> bool:
    return model.lower().startswith("ft:")


def _by_name(entries: Mapping[str, T], model: str) -> T | None:
    name = model.strip()
    if _is_tuned(name):
        if name in entries:
            return entries[name]
        name = name.split(":")[1]
    return entries.get(name) or entries.get(_SNAPSHOT.sub("", name))


def ending_warning(model: str, ending: Ending | None, now: datetime) -> str | None:
    """One sentence for people about a model that ends; None where it does not."""
    if ending is None:
        return None
    shown, days = visible(model), ending.days_left(now)
    if days <= 0:
        return _("{model} stopped answering on {date}.").format(model=shown, date=ending.at)
    return ngettext(
        "{model} stops answering on {date}, in {days} day.",
        "{model} stops answering on {date}, in {days} days.",
        days,
    ).format(model=shown, date=ending.at, days=days)


def price_file(settings: "Settings", paths: Paths) -> Path | None:
    """The operator's file: SOPHIA_PRICES_FILE, else /etc/sophia/prices.yaml, else prices.yaml in
    the data folder; None where there is none. A file that the setting names must be there."""
    if settings.prices_file:
        chosen = Path(settings.prices_file).expanduser()
        return (chosen if chosen.is_absolute() else settings.root / chosen).absolute()
    return next((each for each in (SERVER_PRICES, paths.prices) if each.is_file()), None)


def load_prices(settings: "Settings", paths: Paths) -> Prices:
    """Ours with the operator's file over it, entry by entry.

    Raises UsageError T430 (can't be read), T431 (no YAML), T432 (wrong values).
    """
    found = [_ours()]
    files = [OURS]
    chosen = price_file(settings, paths)
    if chosen is not None:
        found.append(_read(chosen))
        files.append(chosen)
    merged: dict[str, dict[str, Any]] = {}
    for part in _PARTS:
        entries = {name: each for file in found for name, each in getattr(file, part).items()}
        merged[part] = {name: each for name, each in entries.items() if each is not None}
    return Prices(
        as_of=next(each.as_of for each in reversed(found) if each.as_of),
        files=tuple(files),
        exchange=merged["exchange"],
        chat_prices=merged["chat"],
        training_prices=merged["training"],
        rented=merged["rented"],
        shutdowns=merged["shutdown"],
        training_closes=merged["training_closes"],
        operators=frozenset(
            name for file in found[1:] for name, each in file.shutdown.items() if each is not None
        ),
    )


@functools.cache
def _ours() -> _PriceFile:
    """Of this version of Sophia, so it is read once."""
    return _read(OURS)


def _read(path: Path) -> _PriceFile:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or _("It is not UTF-8.")
        raise _wrong_file(path, "T430", why) from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        line = _("line {number}").format(number=mark.line + 1) if mark else ""
        why = ": ".join(each for each in (line, getattr(problem, "problem", "")) if each)
        raise _wrong_file(path, "T431", why) from problem
    if content is not None and not isinstance(content, dict):
        raise _wrong_file(path, "T432", _("It holds no parts such as `chat:` or `shutdown:`."))
    try:
        return _PriceFile.model_validate(content or {})
    except ValidationError as problem:
        why = where_and_what(problem.errors(include_input=False, include_url=False))
        raise _wrong_file(path, "T432", why) from problem


def _wrong_file(path: Path, code: str, why: str) -> UsageError:
    what = {
        "T430": _("The price file {path} can't be read."),
        "T431": _("The price file {path} is not YAML."),
        "T432": _("The price file {path} holds a value that can't be used."),
    }[code]
    return UsageError(
        code,
        what.format(path=visible(str(path))),
        why,
        _("Correct the file, or take it away: then Sophia's own prices count."),
    )


class ChatPriceView(Output):
    """USD per million tokens."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "model",
        "input",
        "output",
        "tuned_input",
        "tuned_output",
        "as_of",
        "source",
    )

    model: str = Field(title=N_("Model"))
    input: float = Field(title=N_("USD/M in"))
    output: float = Field(title=N_("USD/M out"))
    tuned_input: float | None = Field(default=None, title=N_("Tuned in"))
    tuned_output: float | None = Field(default=None, title=N_("Tuned out"))
    as_of: date = Field(title=N_("As of"))
    source: str = Field(title=N_("Source"))


class TrainingPriceView(Output):
    """USD per million tokens trained."""

    table_columns: ClassVar[tuple[str, ...]] = ("model", "price", "as_of", "source")

    model: str = Field(title=N_("Model"))
    price: float = Field(title=N_("USD/M trained"))
    as_of: date = Field(title=N_("As of"))
    source: str = Field(title=N_("Source"))


class EndingView(Output):
    """`days_left` is 0 or less once the day came."""

    table_columns: ClassVar[tuple[str, ...]] = ("name", "at", "days_left", "source")

    name: str = Field(title=N_("Name"))
    at: date = Field(title=N_("Ends"))
    days_left: int = Field(title=N_("Days left"))
    source: str = Field(title=N_("Source"))


class RateView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("name", "rate", "as_of", "source")

    name: str = Field(title=N_("Name"))
    rate: float = Field(title=N_("Rate"))
    as_of: date = Field(title=N_("As of"))
    source: str = Field(title=N_("Source"))


class RentedPriceView(Output):
    """USD and hours of one epoch, one evaluation and one merge."""

    recipe: str = Field(title=N_("Recipe"))
    machine: str = Field(title=N_("Machine"))
    epoch_usd: float = Field(title=N_("USD an epoch"))
    epoch_hours: float = Field(title=N_("Hours an epoch"))
    evaluation_usd: float = Field(title=N_("USD an evaluation"))
    evaluation_hours: float = Field(title=N_("Hours an evaluation"))
    merge_usd: float = Field(title=N_("USD a merge"))
    merge_hours: float = Field(title=N_("Hours a merge"))
    as_of: date = Field(title=N_("As of"))
    source: str = Field(title=N_("Source"))

    @classmethod
    def of(cls, recipe: str, entry: Rented) -> "RentedPriceView":
        return cls(
            recipe=recipe,
            machine=entry.machine,
            epoch_usd=entry.epoch.usd,
            epoch_hours=entry.epoch.hours,
            evaluation_usd=entry.evaluation.usd,
            evaluation_hours=entry.evaluation.hours,
            merge_usd=entry.merge.usd,
            merge_hours=entry.merge.hours,
            as_of=entry.as_of,
            source=entry.source,
        )


class PriceList(Output):
    as_of: date = Field(title=N_("As of"))
    files: list[str] = Field(title=N_("Files"))
    chat: list[ChatPriceView] = Field(title=N_("Answers"))
    training: list[TrainingPriceView] = Field(title=N_("Training"))
    rented: list[RentedPriceView] = Field(title=N_("Rented machines"))
    shutdown: list[EndingView] = Field(title=N_("Models that end"))
    training_closes: list[EndingView] = Field(title=N_("Providers that take no new training"))
    exchange: list[RateView] = Field(title=N_("Exchange rates"))


class PricesService:
    """Shows what other services count with."""

    def __init__(self, load: Load, clock: Clock) -> None:
        self._load = load
        self._clock = clock

    @operation("prices.list", N_("Show prices, shutdown dates and the exchange rate in force."))
    async def page(self, context: Context, request: NoInput) -> PriceList:
        """Raises UsageError T430, T431, T432 for a price file that can't be used."""
        prices = self._load()
        return PriceList(
            as_of=prices.as_of,
            files=[str(each) for each in prices.files],
            chat=[
                ChatPriceView(model=name, **each.model_dump())
                for name, each in prices.chat_prices.items()
            ],
            training=[
                TrainingPriceView(model=name, **each.model_dump())
                for name, each in prices.training_prices.items()
            ],
            rented=[RentedPriceView.of(name, each) for name, each in prices.rented.items()],
            shutdown=self._endings(prices.shutdowns),
            training_closes=self._endings(prices.training_closes),
            exchange=[
                RateView(name=name, **each.model_dump()) for name, each in prices.exchange.items()
            ],
        )

    def _endings(self, entries: Mapping[str, Ending]) -> list[EndingView]:
        now = self._clock.now()
        ordered = sorted(entries.items(), key=lambda each: (each[1].at, each[0]))
        return [
            EndingView(name=name, at=each.at, days_left=each.days_left(now), source=each.source)
            for name, each in ordered
        ]
