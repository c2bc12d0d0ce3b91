"""Variations of constitutional examples (mission section 4), by any OpenAI-compatible model."""

import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import ChatModel
from sophia_tui.errors import (
    ConflictError,
    DataError,
    RefusedError,
    UnconfirmedError,
)
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import ChatPrice, Load
from sophia_tui.services.train_hosted import check_address, require_client
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.codes import Problem
    from sophia_tui.datasets.variations import Order, Original
    from sophia_tui.settings import Settings

Technique = Literal["depth", "simplification", "application", "history", "comparison", "critique"]
#: Characters of a token, for estimates; prose of European languages has 3 to 4.
_CHARACTERS = 3.5
#: Of how many lines it is said why they are no examples, where none is.
_REASONS = 5
OpenChat = Callable[[str | None], ChatModel]


class VaryInput(Input):
    file: str = Field(description=N_("The file of FINETUNE_DIR with the examples, by its name."))
    model: str = Field(min_length=1, description=N_("The model that writes, at OPENAI_BASE_URL."))
    target: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description=N_("How many variations; default: SOPHIA_VARIATIONS_TARGET."),
    )
    techniques: list[Technique] = Field(
        default_factory=list, description=N_("Which techniques; default: all six.")
    )
    seed: int = Field(
        default=42, ge=0, le=2147483647, description=N_("The seed of the order: a whole number.")
    )
    temperature: float = Field(
        default=0.8, ge=0, le=2, description=N_("How freely the model writes.")
    )
    tokens: int = Field(
        default=2048, ge=64, le=32768, description=N_("How long one answer may be, in tokens.")
    )
    parallel: int = Field(default=4, ge=1, le=64, description=N_("How many are asked at once."))
    budget: float | None = Field(
        default=None, ge=0, le=1_000_000, description=N_("At most so many USD, in all.")
    )


class UnusedLine(Output):
    line: int = Field(title=N_("Line"))
    code: str = Field(title=N_("Code"))
    reason: str = Field(title=N_("Reason"))


class VaryOutput(Output):
    """`made` counts all that are there, `made_before` those of earlier runs. `refused` counts the
    answers that were not taken, by the rule they break. `file` is there once it is complete."""

    source: str = Field(title=N_("File"))
    model: str = Field(title=N_("Model"))
    address: str = Field(title=N_("Address"))
    originals: int = Field(title=N_("Examples"))
    unused: list[UnusedLine] = Field(title=N_("Lines that are not used"))
    target: int = Field(title=N_("To be made"))
    made_before: int = Field(title=N_("Made before"))
    made: int = Field(title=N_("Made"))
    together: int = Field(title=N_("Together with the examples"))
    by_technique: dict[str, int] = Field(title=N_("By technique"))
    refused: dict[str, int] = Field(title=N_("Answers not taken"))
    tokens: int = Field(title=N_("Tokens"))
    estimate_usd: float | None = Field(title=N_("Estimate for the rest (USD)"))
    cost_usd: float | None = Field(title=N_("Cost so far (USD)"))
    complete: bool = Field(title=N_("Complete"))
    file: str | None = Field(default=None, title=N_("Written to"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))

    def exit_code(self) -> int:
        """1 where the target was not reached, though it was asked for."""
        return 0 if self.complete or not self.warnings else 1


class VaryService:
    """Needs the settings for folder, address and key, and `open_chat` for the model there."""

    def __init__(
        self, settings: "Settings", paths: Paths, prices: Load, open_chat: OpenChat
    ) -> None:
        self._settings = settings
        self._paths = paths
        self._prices = prices
        self._open_chat = open_chat

    @operation(
        "prepare.vary",
        N_("Make variations of constitutional examples by six techniques, by any chat model."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        detaches=True,
        target="file",
        positional=("file",),
    )
    async def vary(self, context: Context, request: VaryInput) -> VaryOutput:
        """What was made stays when it ends early, and the same request goes on.

        Raises DataError D301 to D306, D603, NotFoundError D305, UsageError J510, J511, RefusedError
        D604 (budget), UnconfirmedError D605 (costs), DataError D606 (the model is not fit),
        ConflictError D607 (another process does it), JobError and UnavailableError of the provider,
        SetupError S101, CancelledError.
        """
        import asyncio

        from sophia_tui.datasets import variations
        from sophia_tui.services.vary_run import Run

        address = check_address(self._settings)
        require_client(self._settings, address)
        work = await asyncio.to_thread(self._read, request, address)
        ledger = variations.Ledger(work.folder)
        work.tally = ledger.read()
        work.before = len(work.tally.made)
        for each in (*(one.record for one in work.originals), *work.tally.made):
            work.seen.add(each)
        self._hold(context, work)
        if context.dry_run:
            return work.told(None)
        with ledger.held() as ours:
            if not ours:
                raise _taken(request.file)
            ledger.begin(work.about)
            chat = self._open_chat(address)
            try:
                warnings = await Run(context, work, ledger, chat).run()
            finally:
                await chat.close()
            target = None
            if work.complete:
                target = self._settings.finetune_folder / f"{work.stem}.variations.jsonl"
                await asyncio.to_thread(
                    variations.write_file, target, work.tally.made[: work.target]
                )
        return work.told(target, warnings)

    def _read(self, request: VaryInput, address: str | None) -> "Work":
        from sophia_tui.datasets.constitutional import FIELDS
        from sophia_tui.datasets.sources import select, unreadable
        from sophia_tui.datasets.variations import TECHNIQUES, read_originals, work_folder

        folder = self._settings.finetune_folder
        [path] = select(folder, [request.file], self._settings.history_file).files
        try:
            originals, wrong, sha256 = read_originals(path)
        except OSError as problem:
            raise unreadable(path, problem) from problem
        if not originals:
            raise DataError(
                "D603",
                _("{file} holds no constitutional example.").format(file=visible(request.file)),
                " ".join(
                    [
                        ngettext(
                            "{count} line was looked at.",
                            "{count} lines were looked at.",
                            len(wrong),
                        ).format(count=len(wrong)),
                        *_reasons(wrong),
                    ]
                ),
                _("Each has these fields: {names}.").format(names=", ".join(FIELDS)),
                lines=[line for line, _problem in wrong[:20]],
            )
        techniques: list[str] = [*request.techniques] or [*TECHNIQUES]
        about = {
            "sha256": sha256,
            "model": request.model,
            "address": address or "",
            "techniques": techniques,
            "seed": request.seed,
            "temperature": request.temperature,
        }
        target = request.target or self._settings.variations_target
        work = Work(request, address, originals, wrong, target, self._prices().chat(request.model))
        work.folder = work_folder(self._paths.variations, path.stem, **about)
        work.about = {"source": path.name, "target": target, **about}
        work.techniques = techniques
        return work

    def _hold(self, context: Context, work: "Work") -> None:
        """The budget, and a yes where it costs or may cost."""
        usd, budget = work.estimate(), work.request.budget
        spent = work.cost() or 0.0
        if budget is not None and usd is not None and spent + usd > budget:
            raise RefusedError(
                "D604",
                _("The variations would cost about {usd:.2f} USD, above the budget.").format(
                    usd=spent + usd
                ),
                _("The budget is {budget:.2f} USD; {spent:.2f} USD are spent.").format(
                    budget=budget, spent=spent
                ),
                _("Raise --budget, lower --target, or choose a cheaper model."),
                usd=round(spent + usd, 4),
            )
        costs = bool(usd) or (usd is None and not _is_loopback(work.address))
        unasked = context.confirmed or context.dry_run or context.inner
        if not costs or unasked or context.face is Face.WORKER or not work.missing:
            return
        told = ngettext(
            "{count} variation by {model} costs nobody knows how much.",
            "{count} variations by {model} cost nobody knows how much.",
            work.missing,
        )
        if usd is not None:
            told = ngettext(
                "{count} variation by {model} costs about {usd:.2f} USD.",
                "{count} variations by {model} cost about {usd:.2f} USD.",
                work.missing,
            )
        raise UnconfirmedError(
            "D605",
            told.format(count=work.missing, model=visible(work.request.model), usd=usd or 0.0),
            _("Nobody has confirmed that yet."),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            usd=None if usd is None else round(usd, 4),
        )


def _is_loopback(address: str | None) -> bool:
    """Whether that is this machine: a model here costs nothing by the token."""
    host = urlsplit(address or "").hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _reasons(wrong: "list[tuple[int, Problem]]") -> list[str]:
    """What is wrong with the first lines."""
    from sophia_tui.datasets.codes import explain

    told = _("Line {line}: {reason}")
    return [
        told.format(line=line, reason=explain(each.code, each.details))
        for line, each in wrong[:_REASONS]
    ]


def _taken(file: str) -> ConflictError:
    return ConflictError(
        "D607",
        _("Variations of {file} are being made already.").format(file=visible(file)),
        remedy=_("Wait until that is done; asked again, it goes on where it stood."),
    )


class Work:
    """What is to be made, and how far it is."""

    def __init__(
        self,
        request: VaryInput,
        address: str | None,
        originals: "list[Original]",
        wrong: "list[tuple[int, Problem]]",
        target: int,
        price: ChatPrice | None,
    ) -> None:
        from sophia_tui.datasets.variations import Seen, Tally

        self.request = request
        self.address = address
        self.originals = originals
        self.wrong = wrong
        self.target = target
        self.price = price
        self.stem = Path(request.file).stem
        self.folder = Path()
        self.about: dict[str, Any] = {}
        self.techniques: list[str] = []
        self.seen = Seen()
        self.tally: Tally = Tally()
        self.before = 0

    @property
    def missing(self) -> int:
        return max(0, self.target - len(self.tally.made))

    @property
    def complete(self) -> bool:
        return not self.missing

    def orders(self) -> "Iterator[Order]":
        """What was not answered yet."""
        from sophia_tui.datasets.variations import orders

        every = orders(self.originals, self.techniques, self.request.seed)
        return (each for each in every if each.id not in self.tally.done)

    def cost(self) -> float | None:
        if self.price is None:
            return 0.0 if _is_loopback(self.address) else None
        return self.price.cost(self.tally.prompt_tokens, self.tally.completion_tokens)

    def estimate(self) -> float | None:
        """USD for what is missing; None where nobody knows the price."""
        if self.price is None:
            return 0.0 if _is_loopback(self.address) else None
        asked, answered = self.tokens_of_one()
        return self.price.cost(asked * self.missing, answered * self.missing)

    def tokens_of_one(self) -> tuple[float, float]:
        """Of one question and one answer: as they were, or by the characters of the examples."""
        if answered := len(self.tally.done):
            made = max(1, len(self.tally.made))  # answers that were not taken cost the same
            if self.tally.prompt_tokens and answered >= 20:
                return self.tally.prompt_tokens / made, self.tally.completion_tokens / made
        from sophia_tui.datasets.variations import Order, messages_for

        sample = self.originals[:50]
        asked = sum(
            len(message["content"])
            for each in sample
            for message in messages_for(Order(each, "depth", 1))
        )
        told = sum(len(str(value)) for each in sample for value in each.record.values())
        return asked / len(sample) / _CHARACTERS, told / len(sample) / _CHARACTERS

    def told(self, target: Path | None, warnings: "list[str] | None" = None) -> VaryOutput:
        from sophia_tui.datasets.codes import explain

        cost, estimate = self.cost(), self.estimate()
        made = len(self.tally.made)
        return VaryOutput(
            source=self.request.file,
            model=self.request.model,
            address=self.address or "https://api.openai.com/v1",
            originals=len(self.originals),
            unused=[
                UnusedLine(line=line, code=each.code, reason=explain(each.code, each.details))
                for line, each in self.wrong
            ],
            target=self.target,
            made_before=self.before,
            made=made,
            together=len(self.originals) + made,
            by_technique=dict(sorted(self.tally.techniques.items())),
            refused=dict(sorted(self.tally.codes.items())),
            tokens=self.tally.prompt_tokens + self.tally.completion_tokens,
            estimate_usd=None if estimate is None else round(estimate, 4),
            cost_usd=None if cost is None else round(cost, 4),
            complete=self.complete,
            file=str(target) if target else None,
            warnings=warnings or [],
        )
