"""Golden answers: the old model is asked what people asked in production; what was answered is kept
answer by answer, so that nothing is paid twice."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Face, Progress
from sophia_tui.domain.protocols import ChatModel
from sophia_tui.domain.serving import ChatAnswer
from sophia_tui.errors import (
    DataError,
    JobError,
    NotFoundError,
    OutsideError,
    RefusedError,
    SophiaError,
    UnavailableError,
    UnconfirmedError,
)
from sophia_tui.files import append_line
from sophia_tui.i18n import _, ngettext
from sophia_tui.services.prices import ChatPrice
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.golden import Prompt

#: Characters of a token, for estimates; prose of European languages has 3 to 4.
_CHARACTERS = 3.5
_PER_MESSAGE = 8
_AT_ONCE = 4
#: Words of a provider for a model that it has no more.
_GONE = ("model_not_found", "model_deprecated", "deployment_not_found", "HTTP 410")

OpenChat = Callable[[str | None, str | None], ChatModel]


@dataclass(frozen=True)
class Order:
    """What is asked, of whom, and at which price. `free`: a model of this machine."""

    model: str
    prompts: "Sequence[Prompt]"
    tokens: int
    price: ChatPrice | None
    free: bool
    budget: float | None = None

    def estimate(self, prompts: "Sequence[Prompt]") -> float | None:
        """USD at most for these; None where nobody knows the price."""
        if self.price is None:
            return 0.0 if self.free else None
        asked = sum(len(each.question) / _CHARACTERS + _PER_MESSAGE for each in prompts)
        return self.price.cost(asked, self.tokens * len(prompts))

    def cost(self, answers: Sequence[dict[str, Any]]) -> float | None:
        """USD of what was answered, by the provider's own counts."""
        if self.price is None:
            return 0.0 if self.free else None
        counts = [
            sum(each.get(name) or 0 for each in answers)
            for name in ("prompt_tokens", "completion_tokens")
        ]
        return round(self.price.cost(*counts), 6)


@dataclass(frozen=True)
class Golden:
    """What came of it; `why_cached` says why production's own answers were taken."""

    answers: tuple[dict[str, Any], ...]
    why_cached: str = ""


class Recorder:
    """Asks for what is not answered yet, some at once; `path` keeps what was."""

    def __init__(self, order: Order, path: Path) -> None:
        self._order = order
        self._path = path

    def answered(self) -> dict[str, dict[str, Any]]:
        """By prompt."""
        from sophia_tui.datasets.golden import read_lines

        found = read_lines(self._path) or []
        return {each["prompt"]: each for each in found if each.get("model") == self._order.model}

    def missing(self) -> "list[Prompt]":
        known = self.answered()
        return [each for each in self._order.prompts if each.question not in known]

    def hold(self, context: Context) -> None:
        """The budget, and a yes where it costs or may cost. Raises RefusedError M603,
        UnconfirmedError M604."""
        missing = self.missing()
        usd, budget = self._order.estimate(missing), self._order.budget
        spent = self._order.cost(list(self.answered().values())) or 0.0
        if budget is not None and usd is not None and spent + usd > budget:
            raise RefusedError(
                "M603",
                _("Golden answers may cost {usd:.4f} USD, above the budget.").format(
                    usd=spent + usd
                ),
                _("The budget is {budget:.4f} USD; {spent:.4f} USD are spent.").format(
                    budget=budget, spent=spent
                ),
                _("Raise --budget, lower --prompts or --tokens, or take --answers cache."),
                usd=round(spent + usd, 6),
            )
        asks = bool(missing) and (usd is None or usd > 0)
        if not asks or context.confirmed or context.dry_run or context.face is Face.WORKER:
            return
        told = ngettext(
            "{count} golden answer of {model} costs nobody knows how much.",
            "{count} golden answers of {model} cost nobody knows how much.",
            len(missing),
        )
        if usd is not None:
            told = ngettext(
                "{count} golden answer of {model} costs at most {usd:.4f} USD.",
                "{count} golden answers of {model} cost at most {usd:.4f} USD.",
                len(missing),
            )
        raise UnconfirmedError(
            "M604",
            told.format(count=len(missing), model=visible(self._order.model), usd=usd or 0.0),
            _("Nobody has confirmed that yet."),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            usd=None if usd is None else round(usd, 6),
        )

    async def ask(self, context: Context, chat: ChatModel, may_be_gone: bool) -> Golden:
        """Raises UnavailableError M605 where the model can't be asked; what was answered stays."""
        import asyncio

        waiting = self.missing()
        total = len(self._order.prompts)
        done = total - len(waiting)
        problems: list[SophiaError] = []

        async def work() -> None:
            """One after the other; after a failure nobody begins a new one, and what is under way
            is waited for, since it is paid."""
            nonlocal done
            while waiting and not problems:
                prompt = waiting.pop(0)
                try:
                    context.cancel.check(_("What was answered is kept; the same again goes on."))
                    asked = [{"role": "user", "content": prompt.question}]
                    told = await chat.ask(self._order.model, asked, self._order.tokens, 0.0)
                    self._keep(prompt, told)
                except SophiaError as problem:
                    problems.append(problem)
                    return
                done += 1
                context.progress(Progress(_("golden answers"), done, total, _("answers")))

        first = waiting[1:]
        del waiting[1:]
        await work()  # one that is refused is not asked many times
        waiting += first
        await asyncio.gather(*(work() for _worker in range(_AT_ONCE)))
        if not problems:
            return Golden(tuple(self._in_order(self.answered())))
        problem = problems[0]
        if may_be_gone and _is_gone(problem):
            return self.cached(problem.why or problem.what, self.answered())
        if isinstance(problem, UnavailableError | NotFoundError | JobError):
            raise _unasked(self._order.model, problem) from problem
        raise problem

    def cached(self, why: str, known: Mapping[str, dict[str, Any]] | None = None) -> Golden:
        """What production itself answered, in place of what the model did not."""
        known = known or {}
        answers = [
            known.get(each.question)
            or {
                "prompt": each.question,
                "answer": each.cached,
                "model": self._order.model,
                "source": "cache",
                "from": each.source,
            }
            for each in self._order.prompts
        ]
        return Golden(tuple(answers), why or _("It was asked for."))

    def _in_order(self, known: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [known[each.question] for each in self._order.prompts if each.question in known]

    def _keep(self, prompt: "Prompt", told: ChatAnswer) -> None:
        line = {
            "prompt": prompt.question,
            "answer": told.text,
            "model": self._order.model,
            "source": "provider",
            "seconds": told.seconds,
            "prompt_tokens": told.prompt_tokens,
            "completion_tokens": told.completion_tokens,
        }
        append_line(self._path, json.dumps(line, ensure_ascii=False).encode("utf-8"))


def _is_gone(problem: SophiaError) -> bool:
    """Whether the provider says that it has the model no more."""
    if isinstance(problem, NotFoundError):
        return True
    told = f"{problem.details.get('provider_code', '')} {problem.why}"
    return isinstance(problem, JobError) and any(each in told for each in _GONE)


def _unasked(model: str, problem: SophiaError) -> OutsideError:
    return OutsideError(
        "M605",
        _("{model} can't be asked for golden answers.").format(model=visible(model)),
        f"{problem.what} {problem.why}".strip(),
        _("Try again later: what was answered is kept. Or take what production kept:")
        + " --answers cache",
    )


def required(golden: Golden, model: str) -> Golden:
    """Raises DataError M606 where nothing was answered."""
    if not any(str(each["answer"]).strip() for each in golden.answers):
        raise DataError(
            "M606",
            _("There is no golden answer of {model}.").format(model=visible(model)),
            _("Every answer is empty."),
        )
    return golden
