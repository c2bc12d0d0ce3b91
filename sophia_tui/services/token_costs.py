"""What training on the tokens of a data set costs: at each provider of the price list, and here."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from finetune import estimates as model
from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_, _, number
from sophia_tui.services.prices import Prices
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.services.train_plan import Planner
    from sophia_tui.settings import Settings

#: Tokens that chat templates put around a message, of ChatML as of most others.
_TEMPLATE_TOKENS = 5


class HostedTokens(Output):
    """Training at one base of a provider with as many epochs as it takes by itself. `exact`: its
    own encoding counted; else the tokens are an estimate."""

    table_columns: ClassVar[tuple[str, ...]] = (
        *("model", "tokens", "exact", "epochs", "usd", "as_of", "ends"),
    )

    model: str = Field(title=N_("Model"))
    tokens: int = Field(title=N_("Tokens"))
    exact: bool = Field(title=N_("Exact"))
    epochs: int = Field(title=N_("Epochs"))
    usd: float = Field(title=N_("USD"))
    as_of: date = Field(title=N_("As of"))
    source: str = Field(title=N_("Source"))
    ends: date | None = Field(default=None, title=N_("Ends"))


class LocalTokens(Output):
    """Training on this machine. `exact`: the base's own tokenizer counted, on a sample."""

    base: str = Field(title=N_("Base"))
    tokens: int = Field(title=N_("Tokens"))
    exact: bool = Field(title=N_("Exact"))
    seconds: float | None = Field(default=None, title=N_("Seconds"))
    tokens_per_second: float | None = Field(default=None, title=N_("Tokens/s"))
    by: str | None = Field(default=None, title=N_("Measured by"))
    usd: float | None = Field(default=None, title=N_("USD"))
    told: str = Field(title=N_("Note"))


def hosted(tokens: Mapping[str, Any], prices: Prices) -> list[HostedTokens]:
    """Of an inspection's section `tokens`, the cheapest first; none of no rows."""
    from sophia_tui.datasets.hosted_rules import default_epochs
    from sophia_tui.datasets.tokens import encoding_of

    rows = int(tokens["rows"])
    if not rows:
        return []
    counted = {each["encoding"]: int(each["tokens"]) for each in tokens["counts"]}
    epochs = default_epochs(rows)
    found = []
    for name, price in prices.training_prices.items():
        encoding = encoding_of(name)
        own = counted.get(encoding.name)
        count = next(iter(counted.values())) if own is None else own
        ending = prices.shutdown(name)
        found.append(
            HostedTokens(
                model=name,
                tokens=count,
                exact=encoding.exact and own is not None,
                epochs=epochs,
                usd=round(count * epochs * price.price / 1_000_000, 4),
                as_of=price.as_of,
                source=price.source,
                ends=ending.at if ending else None,
            )
        )
    return sorted(found, key=lambda each: (each.usd, each.model))


async def local(
    context: Context,
    tokens: Mapping[str, Any],
    turns: int,
    base: str,
    planner: "Planner",
    settings: "Settings",
) -> LocalTokens | None:
    """The same for a base that trains here; `turns` are the messages of all rows. None of no rows.

    The time is that of the recipe for the base and so many rows, by the speed that was measured.
    """
    from sophia_tui.services.train import TrainRequest, asked_recipe, estimate_steps, recipe_name

    rows = int(tokens["rows"])
    if not rows:
        return None
    chosen = tokens.get("model") or {}
    own = chosen.get("own") if chosen.get("name") == base else None
    first = tokens["counts"][0]
    content = int(own["content_tokens"]) if own else int(first["content_tokens"])
    share = content / max(1, int(first["content_tokens"]))
    total = content + _TEMPLATE_TOKENS * turns
    lengths = model.Lengths(
        tokens=total,
        answer_tokens=round(share * int(first["answer_tokens"])),
        longest=round(share * int(first["lengths"]["longest"])),
        examples=rows,
    )
    recipe = asked_recipe(TrainRequest(), recipe_name(TrainRequest(), settings, base, rows))
    time = await planner.forecast(base, recipe, lengths, estimate_steps(recipe, rows))
    price = settings.machine_usd_per_hour
    told = _("No training here has shown the speed yet: `sophia train plan` measures it.")
    if time is not None:
        text = _("About {minutes} min at {rate} tokens/s.")
        told = text.format(
            minutes=number(time.seconds / 60, 1), rate=number(time.tokens_per_second, 0)
        )
    return LocalTokens(
        base=visible(base),
        tokens=total,
        exact=own is not None,
        seconds=time.seconds if time else None,
        tokens_per_second=time.tokens_per_second if time else None,
        by=time.by if time else None,
        usd=None if time is None or price is None else round(time.seconds / 3600 * price, 4),
        told=told,
    )


def turns_of(roles: Sequence[Any]) -> int:
    """Messages of all rows, by the orders of roles that an inspection counted."""
    return sum(len(each.roles.split()) * each.rows for each in roles)
