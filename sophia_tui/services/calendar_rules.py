"""What is to be said of one named model: its date and whose it is, the days left, and how grave it
is. Pure functions.

Whose date counts: an operator's own, since a person wrote it for this place; then the provider's
`shutdown_date`, its word about this very model; then the one that Sophia came with, which is what
OpenAI announced for its own address and is no more than a warning for any other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from urllib.parse import urlsplit

from sophia_tui.domain.hosted import OPENAI
from sophia_tui.domain.managed import MODEL_KEYS
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.services.calendar_files import Named
from sophia_tui.services.calendar_lists import Known
from sophia_tui.services.calendar_views import CalendarEntry, Severity
from sophia_tui.services.prices import Prices, days_until
from sophia_tui.services.train_hosted import own_address
from sophia_tui.textsafe import visible

OPERATOR, PROVIDER, SHIPPED = "operator", "provider", "shipped"
_WHOSE = {
    OPERATOR: N_("the operator's price file"),
    PROVIDER: N_("the provider's list of models"),
    SHIPPED: N_("the dates that Sophia came with"),
}


@dataclass(frozen=True)
class World:
    """What all entries are judged by. `served` are names that somebody serves here; `ours` the
    models that Sophia knows. Without the store neither is known: `store` says so. `successors` are
    by the old model: its succession's id, and the new model's."""

    now: datetime
    bounds: Sequence[int]
    prices: Prices
    ours: Mapping[str, Model] = field(default_factory=dict)
    served: Collection[str] = ()
    store: bool = True
    successors: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Date:
    at: date
    source: str
    why: str
    #: Whether the word is for another address than ours.
    foreign: bool = False


def judged(
    named: Named, known: Known, world: World, address: str, our_front: bool, hosted_base: bool
) -> CalendarEntry:
    """The entry. `our_front`: the service asks us; `hosted_base`: a base that a provider trains."""
    entry = CalendarEntry(
        model=visible(named.model) if "@" not in named.model else "***",
        file=named.file,
        key=named.key,
        use=named.use,
        address=address,
        provider_key="***" if named.place.api_key else "",
        key_of=named.place.key_of if named.place.api_key else "",
        state="unknown",
        severity="unknown",
        as_of=known.as_of,
    )
    if named.use == "base" and not hosted_base:
        told = _("{model} is trained on this machine, and ends with nobody's date.")
        return _with(entry, "local", "ok", told, address="", provider_key="", key_of="", as_of=None)
    succession, successor = world.successors.get(named.model, ("", ""))
    entry = entry.model_copy(update={"succession": succession, "successor": successor})
    if our_front:
        return _of_ours(entry, named, world)
    model = world.ours.get(named.model)
    here = model is not None and model.kind is not ModelKind.HOSTED
    if here and named.model not in known.models:
        if not named.place.said:
            return _of_ours(entry, named, world)
        told = _("{model} is a model of this machine, and {file} sends its service to {address}.")
        command = f"sophia serve model {named.model}"
        return _with(entry, "unserved", "error", told, command=command, as_of=None)
    return _of_provider(entry, named, known, world)


def _with(
    entry: CalendarEntry, state: str, severity: Severity, told: str, **more: object
) -> CalendarEntry:
    words = {"model": entry.model, "file": visible(entry.file), "address": entry.address}
    words |= {"key": entry.key, "date": str(entry.ends), "as_of": _moment(entry.as_of)}
    update = {"state": state, "severity": severity, "told": told.format(**words), **more}
    return entry.model_copy(update=update)


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else "-"


def _of_ours(entry: CalendarEntry, named: Named, world: World) -> CalendarEntry:
    """A name that is asked at our own front: whether anybody serves it."""
    entry = entry.model_copy(update={"as_of": None})
    if not world.store:
        return _with(entry, "unknown", "unknown", _("Whether {model} is served is not known now."))
    if named.model in world.served:
        return _with(entry, "ok", "ok", _("{model} is served here."), listed=True)
    if named.model in world.ours:
        command = f"sophia serve model {named.model}"
        told = _(
            "Nobody serves {model}, which {file} names as {key}. Serve it, or put another model "
            "in its place: `sophia promote MODEL`."
        )
        return _with(entry, "unserved", "error", told, listed=False, command=command)
    told = _(
        "No model is served as {model} here, and none has that name; {file} names it as {key}. "
        "`sophia serve list` shows what is served, `sophia promote MODEL` puts another model "
        "in its place."
    )
    command = f"sophia models succeed {named.model}"
    return _with(entry, "gone", "error", told, listed=False, command=command)


def _of_provider(entry: CalendarEntry, named: Named, known: Known, world: World) -> CalendarEntry:
    base = named.use == "base"
    found = _closing(named, known, world) if base else _date(named, known, world)
    listed = _listed(named, known)
    entry = entry.model_copy(update={"listed": listed})
    command = "sophia env set FINETUNE_BASE" if base else f"sophia models succeed {named.model}"
    if base and named.key != "FINETUNE_BASE":
        command = f"sophia env set {named.key}"
    if found is not None:
        days = days_until(found.at, world.now)
        passed = [each for each in world.bounds if days <= each]
        entry = entry.model_copy(
            update={
                "ends": found.at,
                "source": found.source,
                "why": found.why,
                "days_left": days,
                "threshold": min(passed) if passed else None,
            }
        )
    if listed is False and (_must_be_listed(named, known, world) or base):
        last = known.before.get(named.model)
        told = _("{address} lists no model {model} (as of {as_of}); {file} names it as {key}.")
        if last is not None:
            told = _("{address} lists {model} no more (as of {as_of}); {file} names it as {key}.")
        return _with(entry, "gone", "error", told, command=command)
    if found is None:
        if listed:
            told = _("{address} lists {model}, and no date is known (list as of {as_of}).")
            return _with(entry, "ok", "ok", told)
        told = _("Nothing is known of {model} at {address}: {why}").replace(
            "{why}", _untold(known, listed).replace("{", "(").replace("}", ")")
        )
        return _with(entry, "unknown", "unknown", told)
    return _dated(entry, named, known, found, world, command)


def _dated(
    entry: CalendarEntry, named: Named, known: Known, found: _Date, world: World, command: str
) -> CalendarEntry:
    """An entry with a date: how long it still lasts."""
    days = entry.days_left or 0
    base = named.use == "base"
    if days <= 0:
        if entry.listed and known.as_of and known.as_of.astimezone(UTC).date() >= found.at:
            told = _("{model} should have ended on {date}; {address} lists it still ({as_of}).")
            return _with(entry, "ends", "urgent", told, command=command)
        if found.foreign:
            told = _("OpenAI ended {model} on {date}; {address} may keep it.")
            return _with(entry, "ends", "warning", told, command=command)
        if base:
            told = _("{model} takes no new training since {date}; {file} names it as {key}.")
            return _with(entry, "untrainable", "error", told, command=command)
        told = _("{model} stopped answering on {date}; {file} names it as {key}.")
        return _with(entry, "ended", "error", told, command=command)
    if entry.threshold is None:
        told = _("{model} lasts until {date}.")
        return _with(entry, "ok", "ok", told)
    left = ngettext("in {days} day", "in {days} days", days).format(days=days)
    if base:
        told = _("{model} takes no new training from {date} on, {left}; {file} names it as {key}.")
    else:
        told = _("{model} stops answering on {date}, {left}; {file} names it as {key}.")
    nearest = entry.threshold == world.bounds[-1]
    severity: Severity = "urgent" if nearest and not found.foreign else "warning"
    return _with(entry, "ends", severity, told.replace("{left}", left), command=command)


def _listed(named: Named, known: Known) -> bool | None:
    """True, False, or None where the list can't be had or does not tell."""
    if named.model in known.models:
        return True
    return False if known.complete and known.as_of is not None else None


def _untold(known: Known, listed: bool | None) -> str:
    """Why nothing is known of a model."""
    if known.why:
        return visible(known.why)
    if listed is False:
        return _("its list lacks the name, which may run elsewhere")
    return _("its list says nothing of it")


def _must_be_listed(named: Named, known: Known, world: World) -> bool:
    """Whether a name that the provider's list lacks is an error. A keyless server of this machine
    may answer to any name, and a key such as EMBEDDING_MODEL may hold a hub id (owner/name) that
    runs elsewhere: no provider's list ever has it."""
    if named.place.api_key is None and is_loopback(named.place.base_url):
        return named.model in known.before
    return (
        named.key in MODEL_KEYS
        or "/" not in named.model
        or named.model in known.before
        or named.model.startswith("ft:")
        or world.prices.knows(named.model)
    )


def _date(named: Named, known: Known, world: World) -> _Date | None:
    """The first day without an answer; see the module's text for which date counts."""
    in_file, operators = world.prices.shutdown(named.model), world.prices.by_operator(named.model)
    told = known.models.get(named.model)
    if told is None and named.model.startswith("ft:"):
        told = known.models.get(named.model.split(":")[1])
    own = own_address(named.place.base_url)
    if in_file is not None and operators:
        return _Date(in_file.at, OPERATOR, _whose(OPERATOR, {PROVIDER: told}))
    if told is not None:
        others = {SHIPPED: in_file.at} if in_file else {}
        return _Date(told, PROVIDER, _whose(PROVIDER, others))
    if in_file is None:
        return None
    why = _whose(SHIPPED, {})
    if not own:
        why += " " + _("It is OpenAI's date; this address may keep another one.")
    return _Date(in_file.at, SHIPPED, why, foreign=not own)


def _closing(named: Named, known: Known, world: World) -> _Date | None:
    """The first day on which the base can't be trained any more: the provider takes no new job, or
    the base itself ends."""
    ending = _date(named, known, world)
    own = own_address(named.place.base_url)
    closes = world.prices.training_closes.get(OPENAI) if own else None
    if closes is None or (ending is not None and ending.at <= closes.at):
        return ending
    return _Date(closes.at, SHIPPED, visible(closes.source) or _(_WHOSE[SHIPPED]))


def _whose(source: str, others: Mapping[str, date | None]) -> str:
    told = _("By {whose}.").format(whose=_(_WHOSE[source]))
    for other, at in others.items():
        if at is not None:
            told += " " + _("By {whose} it would be {date}.").format(
                whose=_(_WHOSE[other]), date=at
            )
    return told


def is_loopback(address: str | None) -> bool:
    return (urlsplit(address or "").hostname or "") in ("localhost", "127.0.0.1", "::1")


def moment_of(at: date) -> datetime:
    """A first day without, as the moment at which it begins."""
    return datetime.combine(at, time(), UTC)
