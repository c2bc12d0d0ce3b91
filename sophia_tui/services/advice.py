"""Advice whether tuning is worth it at all, by the five criteria of mission section 2.

Each is answered from the data where that can be, else by what a person says; what nobody knows is
asked back.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.gates import Range, read_ranges
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import DatasetStore
from sophia_tui.domain.targets import DEFAULT, read_targets
from sophia_tui.errors import CancelledError, SophiaError, UsageError
from sophia_tui.i18n import N_, _, number
from sophia_tui.i18n import money as sum_of
from sophia_tui.paths import Paths
from sophia_tui.services import quality_gate
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load
from sophia_tui.services.quality import percent
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_MONTH_DAYS = 30
_LIMIT = 1_000_000_000
#: Of so many criteria against it, tuning is not worth it yet; for it, all five have to speak.
_MAJORITY = 3

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]
Answer = Literal["for", "against", "between", "unknown"]
Said = Literal["yes", "no"]


class AdviceInput(Input):
    """What is not given is looked up where it can be."""

    conversations: int | None = Field(
        default=None, ge=0, le=_LIMIT, description=N_("Conversations a month.")
    )
    usd: float | None = Field(
        default=None,
        ge=0,
        le=_LIMIT,
        allow_inf_nan=False,
        description=N_("USD a month that the API costs now."),
    )
    model: str | None = Field(
        default=None,
        description=N_("The hosted model in use, to estimate its cost by the price list."),
    )
    messages: float = Field(
        default=10,
        gt=0,
        le=10_000,
        allow_inf_nan=False,
        description=N_("Answers in a conversation, for that estimate."),
    )
    tokens_in: float = Field(
        default=500,
        ge=0,
        le=_LIMIT,
        allow_inf_nan=False,
        description=N_("Tokens sent for an answer, for that estimate."),
    )
    tokens_out: float = Field(
        default=300,
        ge=0,
        le=_LIMIT,
        allow_inf_nan=False,
        description=N_("Tokens of an answer, for that estimate."),
    )
    improve: Said | None = Field(
        default=None, description=N_("Whether answers need to improve; no: prompts work.")
    )
    people: Said | None = Field(
        default=None, description=N_("Whether there are people and time to keep a tuned model.")
    )
    good_data: Said | None = Field(
        default=None, description=N_("Whether the data is good; default: what the gate says.")
    )
    facts_change: Said | None = Field(
        default=None, description=N_("Whether the facts that are asked for change often.")
    )
    dataset: str | None = Field(
        default=None, description=N_("Whose gate counts; default: the newest that was prepared.")
    )


class Criterion(Output):
    """One of the five. `by`: the data, or what was said."""

    table_columns: ClassVar[tuple[str, ...]] = ("what", "speaks", "told")
    machine_only: ClassVar[frozenset[str]] = frozenset({"name", "figure", "by"})

    name: str
    what: str = Field(title=N_("Criterion"))
    speaks: Answer = Field(title=N_("Speaks"))
    told: str = Field(title=N_("Reason"))
    figure: float | None = None
    by: Literal["data", "said", "nobody"] = "nobody"


class OtherWay(Output):
    """What else there is. Shares are those of the API's cost."""

    table_columns: ClassVar[tuple[str, ...]] = ("what", "told")
    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"name", "saves_low", "saves_high", "usd_low", "usd_high"}
    )

    name: str
    what: str = Field(title=N_("Way"))
    told: str = Field(title=N_("Reason"))
    saves_low: float | None = None
    saves_high: float | None = None
    usd_low: float | None = None
    usd_high: float | None = None


class Advice(Output):
    machine_only: ClassVar[frozenset[str]] = frozenset({"outcome"})

    outcome: Literal["tune", "not_yet", "undecided"]
    told: str = Field(title=N_("Advice"))
    items: list[Criterion] = Field(title=N_("Criteria"))
    other_ways: list[OtherWay] = Field(title=N_("Before it, or in its place"))
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))


@dataclass(frozen=True)
class Facts:
    """What is known of the five. None: nobody knows. `why` says, by criterion, where a figure is
    from or why there is none."""

    conversations: float | None = None
    usd: float | None = None
    improve: bool | None = None
    people: bool | None = None
    good_data: bool | None = None
    why: Mapping[str, str] | None = None
    said: frozenset[str] = frozenset()


class AdviceService:
    """`call` is the dispatcher's: the source is counted by collect, satisfaction by monitor."""

    def __init__(
        self,
        call: Call,
        datasets: DatasetStore,
        settings: "Settings",
        paths: Paths,
        prices: Load,
    ) -> None:
        self._call = call
        self._datasets = datasets
        self._settings = settings
        self._paths = paths
        self._prices = prices

    @operation(
        "prepare.advice",
        N_("Say whether tuning is worth it at all, with the reasons and what else there is."),
        role=Role.OPERATOR,
    )
    async def advice(self, context: Context, request: AdviceInput) -> Advice:
        """Raises UsageError D575 for a model that the price file doesn't know, CancelledError."""
        why: dict[str, str] = {}
        conversations = await self._conversations(context, request, why)
        facts = Facts(
            conversations=conversations,
            usd=self._usd(request, conversations, why),
            improve=await self._improve(context, request, why),
            people=_yes(request.people),
            good_data=await self._good_data(request, why),
            why=why,
            said=frozenset(
                name
                for name in ("conversations", "usd", "improve", "people", "good_data")
                if getattr(request, name) is not None
            ),
        )
        return advised(facts, read_ranges(self._settings.advice), _yes(request.facts_change))

    async def _conversations(
        self, context: Context, request: AdviceInput, why: dict[str, str]
    ) -> float | None:
        """Those that the source has of the last 30 days; where it has none, its questions."""
        if request.conversations is not None:
            return request.conversations
        asked = {"what": ["conversations", "qa_cache"], "window_days": _MONTH_DAYS}
        try:
            found = await self._call("collect.run", asked, replace(context, dry_run=True))
        except CancelledError:
            raise
        except SophiaError as problem:
            why["conversations"] = f"{problem.what} {problem.why}".strip()
            return None
        counts = {each.name: each.rows_read for each in found.items if each.available}
        if counts.get("conversations"):
            why["conversations"] = _("Complete conversations of the last 30 days in the source.")
            return float(counts["conversations"])
        if counts.get("qa_cache"):
            why["conversations"] = _("Questions of the last 30 days in the source.")
            return float(counts["qa_cache"])
        why["conversations"] = _("The source holds none of the last 30 days.")
        return None

    def _usd(
        self, request: AdviceInput, conversations: float | None, why: dict[str, str]
    ) -> float | None:
        if request.usd is not None or request.model is None:
            return request.usd
        prices = self._prices()
        price = prices.chat(request.model)
        if price is None:
            raise UsageError(
                "D575",
                _("What {model} costs is not known.").format(model=visible(request.model)),
                _("It stands in no price file."),
                _("See `sophia prices list`, write it into your price file, or give --usd."),
            )
        if conversations is None:
            return None
        answers = conversations * request.messages
        why["usd"] = _(
            "Estimated: {answers} answers at {tokens_in} + {tokens_out} tokens, prices of {date}."
        ).format(
            answers=number(round(answers)),
            tokens_in=f"{request.tokens_in:g}",
            tokens_out=f"{request.tokens_out:g}",
            date=price.as_of,
        )
        return answers * price.cost(request.tokens_in, request.tokens_out)

    async def _improve(
        self, context: Context, request: AdviceInput, why: dict[str, str]
    ) -> bool | None:
        """By people's feedback of the last 30 days, where there is enough of it to tell."""
        if request.improve is not None:
            return request.improve == "yes"
        try:
            found = await self._call("monitor.show", {"days": _MONTH_DAYS}, context)
        except CancelledError:
            raise
        except SophiaError as problem:
            why["improve"] = f"{problem.what} {problem.why}".strip()
            return None
        shares = [
            each.satisfaction
            for each in (found.conversations, found.documents)
            if each.satisfaction is not None
        ]
        if not shares:
            why["improve"] = _("There is no feedback of the last 30 days.")
            return None
        targets = {**read_targets(DEFAULT), **read_targets(self._settings.targets)}
        wanted = targets["satisfaction"]
        text = _("Satisfaction of the last 30 days is {share}; the target is {target}.")
        why["improve"] = text.format(share=percent(shares[0]), target=percent(wanted.value))
        return not wanted.met(shares[0])

    async def _good_data(self, request: AdviceInput, why: dict[str, str]) -> bool | None:
        if request.good_data is not None:
            return request.good_data == "yes"
        version = (
            await self._datasets.get(request.dataset)
            if request.dataset
            else await self._datasets.newest_prepared()
        )
        if version is None:
            why["good_data"] = _("There is no data set yet: `sophia prepare` makes one.")
            return None
        report = quality_gate.kept(self._paths, version)
        if report is None:
            why["good_data"] = _(
                "Hold it to the gate first: `sophia prepare gate {dataset}`."
            ).format(dataset=version.id)
            return None
        failed = [each.what for each in report.items if each.state in ("attention", "refused")]
        if failed:
            why["good_data"] = _("The gate of {dataset} names: {checks}.").format(
                dataset=version.id, checks=", ".join(failed)
            )
        else:
            why["good_data"] = _("{dataset} passed the gate.").format(dataset=version.id)
        return report.passed


def _yes(said: Said | None) -> bool | None:
    return None if said is None else said == "yes"


def advised(facts: Facts, ranges: Mapping[str, Range], facts_change: bool | None = None) -> Advice:
    """The advice. Tuning wants all five criteria for it; three against it mean not yet; everything
    else is undecided."""
    items = [
        _amount(facts, "conversations", _("Conversations a month"), ranges["conversations"]),
        _amount(facts, "usd", _("API cost a month, USD"), ranges["usd"]),
        _judged(facts, "improve", _("Answers need to improve")),
        _judged(facts, "people", _("People and time to keep it")),
        _judged(facts, "good_data", _("Good data")),
    ]
    answers = [each.speaks for each in items]
    notes = [
        _("Not known: {criteria}. Say it with --{option}.").format(
            criteria=each.what, option=each.name.replace("_", "-")
        )
        for each in items
        if each.speaks == "unknown"
    ]
    ways = _other_ways(facts.usd, ranges, facts_change)
    if all(each == "for" for each in answers):
        return Advice(
            outcome="tune",
            told=_("Tune: all five criteria speak for it."),
            items=items,
            other_ways=ways,
            notes=notes,
        )
    against = [each.what for each in items if each.speaks == "against"]
    if len(against) >= _MAJORITY:
        told = _("Not yet: {criteria} speak against it. Better prompts first.").format(
            criteria=", ".join(against)
        )
        return Advice(outcome="not_yet", told=told, items=items, other_ways=ways, notes=notes)
    told = _("Undecided: {for_it} of five criteria speak for it, {against} against it.").format(
        for_it=answers.count("for"), against=len(against)
    )
    return Advice(outcome="undecided", told=told, items=items, other_ways=ways, notes=notes)


def _amount(facts: Facts, name: str, what: str, bounds: Range) -> Criterion:
    figure: float | None = getattr(facts, name)
    answer: Answer = "unknown"
    told = _("Not known.")
    if figure is not None:
        low, high = number(bounds.low, 0), number(bounds.high, 0)
        shown = number(round(figure)) if name == "conversations" else sum_of(figure)
        if figure > bounds.high:
            answer, told = "for", _("{figure}: above {high}.").format(figure=shown, high=high)
        elif figure < bounds.low:
            answer, told = "against", _("{figure}: below {low}.").format(figure=shown, low=low)
        else:
            answer = "between"
            told = _("{figure}: between {low} and {high}.").format(figure=shown, low=low, high=high)
    return _criterion(facts, name, what, answer, told, figure)


def _judged(facts: Facts, name: str, what: str) -> Criterion:
    known: bool | None = getattr(facts, name)
    if known is None:
        return _criterion(facts, name, what, "unknown", _("Not known."), None)
    told = {
        ("improve", True): _("They do."),
        ("improve", False): _("They do not: prompts work."),
        ("people", True): _("There are."),
        ("people", False): _("There are none."),
        ("good_data", True): _("It is good."),
        ("good_data", False): _("It is poor."),
    }[name, known]
    return _criterion(facts, name, what, "for" if known else "against", told, None)


def _criterion(
    facts: Facts, name: str, what: str, answer: Answer, told: str, figure: float | None
) -> Criterion:
    where = (facts.why or {}).get(name, "")
    by: Literal["data", "said", "nobody"] = "said" if name in facts.said else "data"
    return Criterion(
        name=name,
        what=what,
        speaks=answer,
        told=f"{told} {where}".strip(),
        figure=None if figure is None else round(figure, 4),
        by="nobody" if answer == "unknown" else by,
    )


def _other_ways(
    usd: float | None, ranges: Mapping[str, Range], facts_change: bool | None
) -> Sequence[OtherWay]:
    rag = _("Where facts change often, retrieval keeps answers right; a tuned model would age.")
    if facts_change is False:
        rag = _("Facts do not change often here: it is no reason against tuning.")
    return [
        _saving("prompts", _("Better prompts"), usd, ranges["prompts"]),
        OtherWay(name="rag", what=_("Retrieval (RAG)"), told=rag),
        _saving("smaller_model", _("A smaller model"), usd, ranges["smaller_model"]),
    ]


def _saving(name: str, what: str, usd: float | None, shares: Range) -> OtherWay:
    told = _("Saves {low} to {high}").format(low=percent(shares.low), high=percent(shares.high))
    if usd is not None:
        told = _("{saving}: {low} to {high} USD a month").format(
            saving=told, low=sum_of(usd * shares.low), high=sum_of(usd * shares.high)
        )
    return OtherWay(
        name=name,
        what=what,
        told=told + ".",
        saves_low=shares.low,
        saves_high=shares.high,
        usd_low=None if usd is None else round(usd * shares.low, 4),
        usd_high=None if usd is None else round(usd * shares.high, 4),
    )
