"""The return on an investment in tuning (mission section 2): sums alone, no models asked."""

from typing import ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Input, Output
from sophia_tui.errors import UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.prices import Prices
from sophia_tui.textsafe import visible

_LIMIT = 1_000_000_000_000
#: What the price file that came with Sophia says of its exchange rate.
SHIPPED_SOURCE = N_(
    "copy of the Banco Central do Brasil's PTAX, offer 5.2359, rounded; set the rate of your day"
)


class ReturnRequest(Input):
    """Defaults are the example of the owner's document; prices are USD per 1,000 tokens."""

    messages: int = Field(default=10_000, ge=0, le=_LIMIT, description=N_("Messages a month."))
    tokens_in_before: float = Field(
        default=500, ge=0, le=_LIMIT, description=N_("Tokens sent with a message now.")
    )
    tokens_out_before: float = Field(
        default=300, ge=0, le=_LIMIT, description=N_("Tokens of an answer now.")
    )
    tokens_in_after: float = Field(
        default=400, ge=0, le=_LIMIT, description=N_("Tokens sent with a message afterwards.")
    )
    tokens_out_after: float = Field(
        default=250, ge=0, le=_LIMIT, description=N_("Tokens of an answer afterwards.")
    )
    price_in_before: float = Field(
        default=0.03, ge=0, le=_LIMIT, description=N_("USD for 1,000 tokens sent now.")
    )
    price_out_before: float = Field(
        default=0.06, ge=0, le=_LIMIT, description=N_("USD for 1,000 tokens answered now.")
    )
    price_in_after: float = Field(
        default=0.012, ge=0, le=_LIMIT, description=N_("USD for 1,000 tokens sent afterwards.")
    )
    price_out_after: float = Field(
        default=0.016, ge=0, le=_LIMIT, description=N_("USD for 1,000 tokens answered afterwards.")
    )
    model_before: str | None = Field(
        default=None, description=N_("A hosted model of the price file in place of prices now.")
    )
    model_after: str | None = Field(
        default=None,
        description=N_("A hosted model of the price file in place of prices afterwards."),
    )
    jobs: int = Field(default=1, ge=0, le=10_000, description=N_("Trainings that it takes."))
    job_cost: float = Field(
        default=20, ge=0, le=_LIMIT, description=N_("USD that a training costs, 8 to 20 usually.")
    )
    monthly_cost: float = Field(
        default=0,
        ge=0,
        le=_LIMIT,
        description=N_("USD a month that come on top afterwards (a machine, say)."),
    )
    usd_to_brl: float | None = Field(
        default=None, gt=0, le=1_000_000, description=N_("BRL for a USD; default: the price file.")
    )


class ReturnRow(Output):
    """An amount in both currencies; BRL is missing where no rate is known."""

    table_columns: ClassVar[tuple[str, ...]] = ("label", "usd", "brl")

    item: str = Field(title=N_("Name"))
    label: str = Field(title=N_("Amount"))
    usd: float = Field(title=N_("USD"))
    brl: float | None = Field(default=None, title=N_("BRL"))


class ReturnView(Output):
    items: list[ReturnRow] = Field(title=N_("Cost and return"))
    saving_share: float | None = Field(default=None, title=N_("Saving, share"))
    months_to_pay_back: float | None = Field(default=None, title=N_("Months to pay back"))
    usd_to_brl: float | None = Field(default=None, title=N_("BRL for a USD"))
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))


def computed(request: ReturnRequest, prices: Prices) -> ReturnView:
    """Raises UsageError M460 for a model that the price file doesn't know."""
    price_before = _price(
        request.model_before, (request.price_in_before, request.price_out_before), prices
    )
    price_after = _price(
        request.model_after, (request.price_in_after, request.price_out_after), prices
    )
    before = _month(
        request.messages, request.tokens_in_before, request.tokens_out_before, price_before
    )
    after = request.monthly_cost + _month(
        request.messages, request.tokens_in_after, request.tokens_out_after, price_after
    )
    saving, invested = before - after, request.jobs * request.job_cost
    rate = request.usd_to_brl or prices.usd_to_brl
    amounts = (
        ("month_before", _("A month now"), before),
        ("month_after", _("A month afterwards"), after),
        ("saving_month", _("Saved in a month"), saving),
        ("saving_year", _("Saved in a year"), 12 * saving),
        ("investment", _("Cost of the trainings"), invested),
        ("first_year", _("First year, trainings paid"), 12 * saving - invested),
    )
    return ReturnView(
        items=[
            ReturnRow(
                item=item,
                label=text,
                usd=round(usd, 6),
                brl=None if rate is None else round(usd * rate, 6),
            )
            for item, text, usd in amounts
        ],
        saving_share=saving / before if before else None,
        months_to_pay_back=invested / saving if saving > 0 else None,
        usd_to_brl=rate,
        notes=_notes(request, prices, saving, rate),
    )


def _price(model: str | None, given: tuple[float, float], prices: Prices) -> tuple[float, float]:
    """USD for 1,000 tokens in and out."""
    if model is None:
        return given
    found = prices.chat(model)
    if found is None:
        raise UsageError(
            "M460",
            _("The price of {model} is not known.").format(model=visible(model)),
            _("It stands in none of: {files}.").format(
                files=", ".join(str(each) for each in prices.files)
            ),
            _("See `sophia prices list`, write it into your price file, or give prices."),
        )
    return found.input / 1000, found.output / 1000


def _month(messages: int, tokens_in: float, tokens_out: float, price: tuple[float, float]) -> float:
    return messages * (tokens_in * price[0] + tokens_out * price[1]) / 1000


def _notes(request: ReturnRequest, prices: Prices, saving: float, rate: float | None) -> list[str]:
    notes = []
    if saving <= 0:
        notes.append(_("Nothing is saved: it never pays back."))
    if request.model_before or request.model_after:
        notes.append(_("Prices as of {date}.").format(date=prices.as_of))
    exchange = prices.exchange.get("usd_to_brl")
    if request.usd_to_brl is None and exchange is not None:
        notes.append(
            _("Exchange rate as of {date}; source: {source}").format(
                date=exchange.as_of, source=visible(_(exchange.source))
            )
        )
    if rate is None:
        notes.append(_("No exchange rate is known: name one with --usd-to-brl."))
    return notes
