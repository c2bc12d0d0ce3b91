"""Runs checks at once, each within its own time; one that breaks says so and disturbs no other."""

import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sophia_tui.errors import SophiaError
from sophia_tui.i18n import _
from sophia_tui.services.checks.views import CheckView

_log = logging.getLogger("sophia")
_SECONDS = 8.0
Value = TypeVar("Value")


@dataclass(frozen=True)
class Found:
    """What a check found: `state` is ok, attention or problem; `step` what mends it (see
    CheckView)."""

    state: str
    told: str
    detail: tuple[str, ...] = ()
    remedy: str = ""
    step: str = ""


@dataclass(frozen=True)
class Check:
    """One condition; `title` is in English, `seconds` the longest that it may take."""

    id: str
    title: str
    look: Callable[[], Awaitable[Found]]
    seconds: float = _SECONDS


async def run_checks(checks: Sequence[Check]) -> list[CheckView]:
    """All of them at once, in their order."""
    import asyncio

    return list(await asyncio.gather(*(_run(each) for each in checks)))


async def _run(check: Check) -> CheckView:
    import asyncio

    try:
        found = await asyncio.wait_for(check.look(), check.seconds)
    except TimeoutError:
        told = _("no answer within {seconds} s").format(seconds=round(check.seconds))
        found = Found("unknown", told)
    except SophiaError as problem:
        found = trouble(problem)
    except Exception as problem:
        # a check that breaks is this check's news alone; its text may hold what is nobody's
        _log.warning("check %s broke: %s", check.id, type(problem).__name__)
        told = _("can't be checked here ({kind})").format(kind=type(problem).__name__)
        found = Found("unknown", told)
    return CheckView(
        id=check.id,
        name=_(check.title),
        state=found.state,
        found=found.told,
        detail=list(found.detail),
        remedy=found.remedy,
        remedy_step=found.step,
    )


def trouble(problem: SophiaError, step: str = "") -> Found:
    """An error of ours as what a check found."""
    told = f"{problem.code} {problem.what} {problem.why}".strip()
    return Found("problem", told, remedy=problem.remedy, step=step)


async def aside(work: Callable[[], Value]) -> Value:
    """The answer of what may block for ever (a file system that is gone): in a thread that nobody
    waits for at the end."""
    import asyncio

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Value] = loop.create_future()
    context = contextvars.copy_context()

    def settle(act: Callable[[Any], None], value: Any) -> None:
        if not answer.done():
            act(value)

    def run() -> None:
        try:
            found = context.run(work)
        except Exception as problem:  # raised where it is awaited
            _back(settle, answer.set_exception, problem)
        else:
            _back(settle, answer.set_result, found)

    def _back(*given: Any) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(*given)

    threading.Thread(target=run, daemon=True, name="sophia-check").start()
    return await answer
