"""Training at a hosted provider: which jobs go there, and what must hold before a byte is sent."""

import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sophia_tui.domain.datasets import PAIRS, DatasetVersion
from sophia_tui.domain.hosted import DPO, OPENAI, SUPERVISED, HostedOrder, HostedTrainer
from sophia_tui.errors import (
    JobError,
    NotFoundError,
    OutsideError,
    RefusedError,
    SophiaError,
    UnavailableError,
    UsageError,
)
from sophia_tui.i18n import _, ngettext
from sophia_tui.services import waiting
from sophia_tui.services.prices import Ending, Prices, ending_warning
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.services.jobs_hosted import OpenTrainer
    from sophia_tui.services.train import TrainRequest
    from sophia_tui.settings import Settings

#: What only trainings of this machine know, and what only a provider's do.
_LOCAL_OPTIONS = ("max_steps", "learning_rate", "time_budget_seconds", "threads")
_HOSTED_OPTIONS = ("suffix", "batch_size", "learning_rate_multiplier")
_MOST_EPOCHS = 50
#: How long a person who starts a job waits for the provider's word.
_ASKING_SECONDS = 8.0
_LOCAL_EXAMPLE = "mistralai/Mistral-7B-Instruct-v0.3"


@dataclass(frozen=True)
class HostedPlan:
    """What would be ordered, what a person should know before, and what it may cost."""

    order: HostedOrder
    warnings: tuple[str, ...]
    estimate: dict[str, Any]
    #: Whether the provider was asked and said nothing.
    unanswered: bool = False

    def request(self, history: Path) -> dict[str, Any]:
        """The job's request."""
        return {
            "hosted": asdict(self.order),
            "history_file": str(history),
            "warnings": list(self.warnings),
            "estimate": self.estimate,
        }


def own_address(base_url: str | None) -> bool:
    """Whether that is the provider's own service, whose dates and prices we know."""
    host = urlsplit(base_url or "https://api.openai.com").hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def check_address(settings: "Settings") -> str | None:
    """OPENAI_BASE_URL as jobs keep it; None where it is not set. Raises UsageError J511."""
    text = (settings.openai_base_url or "").strip().rstrip("/")
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError(
            "J511",
            _("OPENAI_BASE_URL can't be used."),
            _("It must be an http or https address, without user and password."),
            _("Write it like https://api.example.com/v1; the key goes into OPENAI_API_KEY."),
        )
    return text


def key_for(settings: "Settings", base_url: str | None) -> str | None:
    """Our key for a job that was ordered at that address; None for a keyless server.

    Raises UnavailableError J533 where this process knows another address, or no key: the key of one
    provider must not be shown to another.
    """
    address = check_address(settings)
    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else ""
    if address != base_url or (address is None and not key):
        told = waiting.reason(waiting.MISFIT, ours=address, theirs=base_url)
        texts = told["what"], told["why"], told["remedy"]
        raise OutsideError("J533", *texts, **told["details"])
    return key or None


def refuse_hosted_options(request: "TrainRequest") -> None:
    """Raises UsageError J516 for a training of this machine that asks for a provider's options."""
    given = [name for name in _HOSTED_OPTIONS if getattr(request, name) is not None]
    if given:
        raise _misfit(given, _("They are for hosted providers; this base trains on this machine."))


async def plan_hosted(
    request: "TrainRequest",
    base: str,
    version: DatasetVersion,
    settings: "Settings",
    prices: Prices,
    now: datetime,
) -> HostedPlan:
    """Everything that is checked before anything leaves this machine.

    Raises UsageError J510, J511, J516, J517, UnavailableError J512, RefusedError J514, J515, R410,
    DataError J518, J519, D381.
    """
    import asyncio

    _refuse_local_options(request)
    base_url = check_address(settings)
    require_client(settings, base_url)
    own = own_address(base_url)
    warnings = _endings(base, own, prices, now, version.id)
    require_redacted(version.id, version.manifest)
    order = HostedOrder(
        base=base,
        base_url=base_url,
        dataset_hash=version.hash,
        training=str(Path(version.folder) / "train.jsonl"),
        suffix=request.suffix,
        seed=request.seed,
        n_epochs=_epochs(request.epochs),
        batch_size=request.batch_size,
        learning_rate_multiplier=request.learning_rate_multiplier,
        method=DPO if version.form == PAIRS else SUPERVISED,
        beta=check_beta(request.beta, version),
    )
    return await asyncio.to_thread(_with_files, order, version, warnings, prices if own else None)


async def ask_provider(
    plan: HostedPlan, dataset: str, open_trainer: "OpenTrainer", now: datetime
) -> HostedPlan:
    """The plan, once the provider was asked whether it would take such a job at all.

    One that does not answer is no reason to refuse: the job waits for it. Raises JobError J522,
    J523, J525, RefusedError J515, UnavailableError J533.
    """
    import asyncio

    trainer = open_trainer(plan.order.base_url)
    told: list[str] = []
    unanswered = False
    try:
        async with asyncio.timeout(_ASKING_SECONDS):
            told = await door_is_open(trainer, plan.order, dataset, now)
    except TimeoutError:
        unanswered = True
        told.append(_("The provider does not answer in time; the job waits for it."))
    except UnavailableError as problem:
        unanswered = True
        told.append(f"{problem.what} {problem.why}")
    finally:
        await trainer.close()
    new = [each for each in told if not any(each in known for known in plan.warnings)]
    return replace(plan, warnings=(*plan.warnings, *new), unanswered=unanswered)


async def door_is_open(
    trainer: HostedTrainer, order: HostedOrder, dataset: str, now: datetime
) -> list[str]:
    """What a person should know of the base there, before a byte is sent.

    Servers without those calls are believed to be open. Raises JobError J522, J523 (training is
    closed to this account), J525, RefusedError J515 (the base has ended), UnavailableError.
    """
    try:
        await trainer.knock()
    except JobError as problem:
        if problem.code == "SOPHIA-J521":  # it does not like the question, which says nothing
            return []
        raise with_local_offer(problem, dataset) from problem
    except NotFoundError:
        return []
    try:
        model = await trainer.model(order.base)
    except NotFoundError:
        unknown = _("The provider does not know a model {base}; it may refuse the job.")
        return [unknown.format(base=visible(order.base))]
    except JobError:
        return []
    if model.shutdown_at is None:
        return []
    ending = Ending(at=model.shutdown_at, source="provider")
    warning = ending_warning(order.base, ending, now) or ""
    if ending.days_left(now) <= 0:
        raise _base_ended(order.base, warning, local_offer(dataset))
    return [warning]


def with_local_offer(problem: SophiaError, dataset: str) -> SophiaError:
    """A closed door's error with the way to train the same data here; others as they are."""
    if problem.code != "SOPHIA-J523":
        return problem
    problem.remedy = local_offer(dataset)
    return problem


def local_offer(dataset: str) -> str:
    """How to train that data set on this machine."""
    return _(
        "Train on this machine: `sophia train start {dataset} --provider local --base BASE`, where "
        "BASE is a model folder, a GGUF file or a hub id, such as {example}."
    ).format(dataset=dataset, example=_LOCAL_EXAMPLE)


def _base_ended(base: str, why: str, remedy: str) -> RefusedError:
    what = _("The base model {base} has ended.").format(base=visible(base))
    return RefusedError("J515", what, why, remedy)


def is_redacted(manifest: dict[str, Any]) -> bool:
    """Whether personal data was replaced when the version was made."""
    steps = [each.get("step") for each in manifest.get("steps") or []]
    return manifest.get("redacted") is True and "redact" in steps


def require_redacted(version_id: str, manifest: dict[str, Any]) -> None:
    """Raises RefusedError R410 unless personal data was replaced when the version was made."""
    if not is_redacted(manifest):
        raise RefusedError(
            "R410",
            _("The data set {dataset} must not leave this machine.").format(dataset=version_id),
            _("Personal data was not replaced in it, and a hosted provider gets redacted data."),
            _("Prepare it again without --no-redact, or train on this machine."),
        )


def _with_files(
    order: HostedOrder, version: DatasetVersion, warnings: list[str], prices: Prices | None
) -> HostedPlan:
    from sophia_tui.datasets import hosted_rules as rules

    training = rules.check_file(Path(order.training), version.form)
    held_out = Path(version.folder) / "valid.jsonl"
    validation: str | None = None
    rows = version.counts.get("valid", 0)
    if rows >= rules.MINIMUM_EXAMPLES:
        rules.check_apart(training, rules.check_file(held_out, version.form))
        validation = str(held_out)
    elif rows:
        warnings.append(
            ngettext(
                "The {count} held out example is not sent: a provider wants {least}.",
                "The {count} held out examples are not sent: a provider wants {least}.",
                rows,
            ).format(count=rows, least=rules.MINIMUM_EXAMPLES)
        )
    if training.too_long:
        warnings.append(
            ngettext(
                "{count} example is longer than {limit} tokens and is cut (line {line}).",
                "{count} examples are longer than {limit} tokens and are cut (first: line {line}).",
                len(training.too_long),
            ).format(
                count=len(training.too_long),
                limit=rules.CONTEXT_TOKENS,
                line=training.too_long[0],
            )
        )
    epochs = order.n_epochs or rules.default_epochs(training.examples)
    tokens = training.tokens * epochs
    estimate: dict[str, Any] = {
        "examples": training.examples,
        "epochs": epochs,
        "tokens_estimated": tokens,
    }
    price = prices.training(order.base) if prices else None
    if price is not None:
        estimate["usd_estimated"] = round(tokens * price.price / 1_000_000, 4)
        estimate["price_as_of"] = price.as_of.isoformat()
    order = HostedOrder(**{**asdict(order), "validation": validation})
    return HostedPlan(order, tuple(warnings), estimate)


def _endings(base: str, own: bool, prices: Prices, now: datetime, dataset: str) -> list[str]:
    """What the dates say. At another address they may be others, so there they only warn.

    Raises RefusedError J514 (no new jobs), J515 (the base has ended).
    """
    found: list[str] = []
    closing = prices.training_closes.get(OPENAI)
    if closing is not None and own:
        days = closing.days_left(now)
        if days <= 0:
            raise RefusedError(
                "J514",
                _("The provider takes no new training jobs since {date}.").format(date=closing.at),
                _("So says the price file ({source}).").format(source=visible(closing.source)),
                _local_remedy(dataset),
            )
        found.append(
            ngettext(
                "The provider takes new training jobs for {days} more day, until {date}.",
                "The provider takes new training jobs for {days} more days, until {date}.",
                days,
            ).format(days=days, date=closing.at)
        )
    ending = prices.shutdown(base)
    warning = ending_warning(base, ending, now)
    if ending is not None and warning is not None:
        if own and ending.days_left(now) <= 0:
            raise _base_ended(base, warning, _local_remedy(dataset))
        found.append(warning + " " + _("What is tuned on it ends with it."))
    return found


def _local_remedy(dataset: str) -> str:
    date_remedy = _("Where the date is another for you, write it into your own price file.")
    return f"{local_offer(dataset)} {date_remedy}"


def require_client(settings: "Settings", base_url: str | None) -> None:
    """Raises UsageError J510 (no key for the provider's own address), UnavailableError J512."""
    key = settings.openai_api_key
    if base_url is None and not (key and key.get_secret_value().strip()):
        raise UsageError(
            "J510",
            _("There is no key for the provider."),
            _("OPENAI_API_KEY is not set, and neither is OPENAI_BASE_URL."),
            _("Set OPENAI_API_KEY in Sophia's .env; a keyless server needs OPENAI_BASE_URL alone."),
        )
    if find_spec("openai") is None:
        raise OutsideError(
            "J512",
            _("Hosted training needs a package that is not installed."),
            _("Missing: {packages}.").format(packages="openai"),
            _('In the checkout: pip install -c requirements.lock ".[hosted]"'),
        )


def _refuse_local_options(request: "TrainRequest") -> None:
    given = [name for name in _LOCAL_OPTIONS if getattr(request, name) is not None]
    if request.recipe not in (None, "default", "auto"):
        given.append("recipe")
    if given:
        raise _misfit(given, _("They are for trainings on this machine; this base is hosted."))


def _misfit(given: list[str], why: str) -> UsageError:
    return UsageError(
        "J516",
        _("These options do not fit the base: {names}.").format(names=", ".join(given)),
        why,
        _("Leave them out, or choose with --provider where it trains."),
    )


def check_beta(given: float | None, version: DatasetVersion) -> float | None:
    """The beta as it was given. Raises UsageError J538 where the version holds no pairs."""
    if given is not None and version.form != PAIRS:
        raise UsageError(
            "J538",
            _("Beta is for preference pairs alone."),
            _("The data set {dataset} holds chats.").format(dataset=version.id),
            _("Leave it out, or name a data set of preference pairs."),
        )
    return given


def _epochs(given: float | None) -> int | None:
    if given is None:
        return None
    if not (math.isfinite(given) and given == int(given) and 1 <= given <= _MOST_EPOCHS):
        raise UsageError(
            "J517",
            _("A hosted provider can't train for {epochs} epochs.").format(epochs=f"{given:g}"),
            _("It takes whole numbers from 1 to {limit}.").format(limit=_MOST_EPOCHS),
            _("Give another number, or none: then the provider chooses."),
        )
    return int(given)
