"""Asks a chat model for variations until the target is reached; services/vary.py says for what."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.variations import Order, Result, Tally, messages_for, read_answer
from sophia_tui.domain.context import Context, Progress
from sophia_tui.domain.protocols import ChatModel
from sophia_tui.domain.serving import ChatAnswer
from sophia_tui.errors import DataError, JobError, SophiaError, UnavailableError
from sophia_tui.i18n import _, ngettext
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.services.vary import Work

#: So many answers of no use in a row, and the model is not fit for it.
_USELESS = 30
_TRIES = 6
_LONGEST_WAIT = 60.0
_LOOK_SECONDS = 0.2


class Run:
    """Asks until the target is reached: some at once, with the server's patience."""

    def __init__(self, context: Context, work: "Work", ledger: Any, chat: ChatModel) -> None:
        self._context = context
        self._work = work
        self._ledger = ledger
        self._chat = chat
        self._useless = 0
        self._wait_until = 0.0

    async def run(self) -> list[str]:
        """Why it ended early, for people; nothing where the target was reached."""
        orders = self._work.orders()
        pending: set[asyncio.Task[Result]] = set()
        exhausted = over_budget = False
        try:
            while True:
                while not (exhausted or over_budget) and self._has_room(len(pending)):
                    over_budget = self._over_budget(len(pending))
                    order = None if over_budget else next(orders, None)
                    exhausted = order is None and not over_budget
                    if order is not None:
                        pending.add(asyncio.ensure_future(self._ask(order)))
                if not pending:
                    break
                done, pending = await asyncio.wait(
                    pending, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                failures = []
                for each in done:  # what was answered is kept even where another one failed
                    if each.exception() is None:
                        self._take(each.result())
                    else:
                        failures.append(each.exception())
                self._tell()
                if failures and failures[0] is not None:
                    raise failures[0]
                self._context.cancel.check(_("What was made stays; asked again, it goes on."))
        finally:
            for each in pending:
                each.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return self._why_early(over_budget)

    def _has_room(self, asked: int) -> bool:
        return asked < min(self._work.request.parallel, self._work.missing)

    def _over_budget(self, under_way: int) -> bool:
        """Whether one answer more may cost more than the budget has left."""
        budget, price = self._work.request.budget, self._work.price
        if budget is None or price is None:
            return False
        one = price.cost(*self._work.tokens_of_one())
        spent = self._work.cost() or 0.0
        if answers := len(self._work.tally.done):
            one = max(one, spent / answers)
        return spent + one * (under_way + 1) > budget

    async def _ask(self, order: Order) -> Result:
        request = self._work.request
        try:
            answer = await self._patiently(messages_for(order))
        except JobError as problem:
            if problem.code != "SOPHIA-J521":  # it refuses this text alone, not us
                raise
            return Result(order.id, order.technique, code="answer_refused")
        result = Result(
            order.id,
            order.technique,
            prompt_tokens=answer.prompt_tokens or 0,
            completion_tokens=answer.completion_tokens or 0,
        )
        if result.completion_tokens >= request.tokens:
            result.code = "answer_cut"
            return result
        try:
            result.record = read_answer(order, answer.text)
        except Unusable as unusable:
            result.code = unusable.problem.code
        return result

    async def _patiently(self, messages: list[dict[str, str]]) -> ChatAnswer:
        """The answer; what passes is waited for, as long as the server asks for it."""
        request = self._work.request
        for attempt in range(1, _TRIES + 1):
            await asyncio.sleep(max(0.0, self._wait_until - time.monotonic()))
            try:
                return await self._chat.ask(
                    request.model, messages, request.tokens, request.temperature
                )
            except UnavailableError as problem:
                if attempt == _TRIES or problem.code not in ("SOPHIA-J520", "SOPHIA-J524"):
                    raise
                asked = problem.details.get("retry_after")
                seconds = float(asked) if asked else min(_LONGEST_WAIT, 0.5 * 2**attempt)
                # all wait: what one is told holds for the account
                self._wait_until = max(self._wait_until, time.monotonic() + seconds)
        raise AssertionError("the last try returns or raises")

    def _take(self, result: Result) -> None:
        work = self._work
        if result.record is not None:
            try:
                work.seen.check(result.record)
            except Unusable as unusable:
                result.record, result.code = None, unusable.problem.code
        self._ledger.add(result)
        work.tally.add(result)
        if result.record is not None:
            work.seen.add(result.record)
            self._useless = 0
            return
        self._useless += 1
        if self._useless >= _USELESS:
            raise _unfit(work.request.model, work.tally)

    def _tell(self) -> None:
        work = self._work
        cost = work.cost()
        self._context.progress(
            Progress(
                _("Varying"),
                len(work.tally.made),
                work.target,
                _("variations"),
                f"{cost:.2f} USD" if cost else "",
            )
        )

    def _why_early(self, over_budget: bool) -> list[str]:
        work = self._work
        if work.complete:
            return []
        if over_budget:
            return [
                ngettext(
                    "The budget is spent: {missing} variation is missing.",
                    "The budget is spent: {missing} variations are missing.",
                    work.missing,
                ).format(missing=work.missing)
            ]
        return [
            ngettext(
                "All techniques were tried on all examples: {missing} variation is missing.",
                "All techniques were tried on all examples: {missing} variations are missing.",
                work.missing,
            ).format(missing=work.missing)
        ]


def _unfit(model: str, tally: Tally) -> SophiaError:
    counts = ", ".join(f"{code} {count}" for code, count in tally.codes.most_common(5))
    return DataError(
        "D606",
        _("{model} writes no usable variations.").format(model=visible(model)),
        _("{count} answers in a row were not taken; in all: {codes}.").format(
            count=_USELESS, codes=counts
        ),
        _("Choose a larger model, or more --tokens. What was made stays."),
    )
