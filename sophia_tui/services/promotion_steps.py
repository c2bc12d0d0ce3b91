"""A promotion as a transaction: each step is written down before it is done, and whatever fails
before the last one puts everything back."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from sophia_tui.domain.context import Context, Progress
from sophia_tui.domain.models import Promotion, PromotionState
from sophia_tui.domain.promotions import Step
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    PromotionError,
    SophiaError,
    UnavailableError,
)
from sophia_tui.files import write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.managed_env import ManagedEnv, content_hash
from sophia_tui.services.promotion_record import is_way_back, units_of
from sophia_tui.services.promotion_recovery import Recovery, Undone

#: What people read while a step is done.
STEP_WORDS = {
    Step.OVERRIDE: N_("keep the reason"),
    Step.SNAPSHOT: N_("keep the files as they are"),
    Step.WRITE: N_("write"),
    Step.RESTART: N_("restart"),
    Step.HEALTH: N_("health check"),
    Step.RECORD: N_("record"),
    Step.UNDO: N_("put back"),
}


#: Looks whether it works, and gives the figures; keeps the reason of an override.
Health = Callable[[Promotion], Awaitable[dict[str, Any]]]
Override = Callable[[Promotion], Awaitable[None]]


@dataclass
class _Course:
    """The promotion as the store has it now."""

    now: Promotion


class Transaction:
    """Carries out one promotion that is planned; whoever calls holds the lock."""

    def __init__(
        self, store: Store, env: ManagedEnv, paths: Paths, clock: Clock, recovery: Recovery
    ) -> None:
        self._store = store
        self._env = env
        self._paths = paths
        self._clock = clock
        self._recovery = recovery

    async def carry_out(
        self,
        context: Context,
        promotion: Promotion,
        health: Health,
        override: Override | None = None,
    ) -> Promotion:
        """The promotion, done. Raises PromotionError P002, with everything as it was; P067 where
        that is not so yet; P077 where it is done and only not recorded yet."""
        folder = self._paths.promotions / promotion.id
        changes = tuple(
            replace(each, snapshot=str(folder / f"{number}.env"))
            for number, each in enumerate(promotion.changes)
        )
        course = _Course(replace(promotion, changes=changes))
        await self._store.promotions.add(course.now)
        try:
            await self._steps(context, course, health, override)
        except BaseException as problem:
            await self._take_back(course.now, problem)
        return await self._record(context, course)

    async def _steps(
        self, context: Context, course: "_Course", health: Health, override: Override | None
    ) -> None:
        """Every step but the record."""
        if override is not None:
            await self._begin(context, course, Step.OVERRIDE)
            await override(course.now)
        await self._begin(context, course, Step.SNAPSHOT)
        await self._snapshot(course.now)
        for change in course.now.changes:
            await self._begin(context, course, Step.WRITE, change.path)
            await self._env.write(change)
        for unit in units_of(course.now):
            await self._begin(context, course, Step.RESTART, unit)
            await self._env.restart(unit)
        await self._begin(context, course, Step.HEALTH)
        figures = await health(course.now)
        if figures:
            notes = {**course.now.notes, "golden": figures}
            course.now = await self._store.promotions.update(course.now.id, notes=notes)

    async def _begin(
        self, context: Context, course: "_Course", step: Step, target: str = ""
    ) -> None:
        """Write down what is about to be done."""
        now = course.now
        if step is not Step.RECORD:
            context.cancel.check()
        context.progress(Progress(_(STEP_WORDS[step]), len(now.steps), message=target))
        entry = {"step": step.value, "at": self._clock.now().isoformat()}
        entry |= {"target": target} if target else {}
        course.now = await self._store.promotions.update(
            now.id, step=step.value, steps=[*now.steps, entry]
        )

    async def _snapshot(self, promotion: Promotion) -> None:
        """Keep each file as it is, readable by us alone, before the first one is touched."""
        for change in promotion.changes:
            copy = Path(change.snapshot or "")
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            content = (await self._env.read(Path(change.path))).encode("utf-8")
            if content_hash(content) != change.before_hash:
                raise ConflictError(
                    "P005",
                    _("{path} was changed by somebody else just now.").format(path=change.path),
                    remedy=_("Look at it again, then do it again."),
                )
            write_whole(copy, content)

    async def _record(self, context: Context, course: "_Course") -> Promotion:
        """The last step. Once it is begun, everything but the record stands."""
        try:
            await self._begin(context, course, Step.RECORD)
        except BaseException as problem:
            await self._take_back(course.now, problem)
        begun = course.now
        try:
            return await self._recovery.record(begun)
        except BaseException as problem:
            if not _ends_it(problem):
                raise
            state = await self._state(begun)
            if state is PromotionState.DONE:
                return replace(begun, state=state)
            if state is not None:
                await self._take_back(begun, problem)
            raise PromotionError(
                "P077",
                _("{model} is in production, but that could not be recorded yet.").format(
                    model=begun.model_id
                ),
                getattr(problem, "what", type(problem).__name__),
                _("The worker or the API records it soon; `sophia promote repair` does it now."),
                promotion=begun.id,
            ) from problem

    async def _state(self, promotion: Promotion) -> PromotionState | None:
        """What the store has of it; None where nobody knows."""
        try:
            found = await self._store.promotions.get(promotion.id)
        except UnavailableError:
            return None
        return found.state if found else None

    async def _take_back(self, promotion: Promotion, problem: BaseException) -> NoReturn:
        """Undo, and raise what a person reads."""
        if not _ends_it(problem):
            raise problem
        what = problem.what if isinstance(problem, SophiaError) else type(problem).__name__
        why = f"{what} {problem.why}".strip() if isinstance(problem, SophiaError) else what
        error: dict[str, Any] = {"what": what}
        if isinstance(problem, SophiaError):
            error |= {"code": problem.code, "why": problem.why, **problem.details}
        undone = await self._undone(promotion, error, why)
        if isinstance(problem, CancelledError) or not isinstance(problem, Exception):
            raise problem
        raise PromotionError(
            "P002",
            _failed(promotion, undone),
            " ".join([why, *told_of(undone)]),
            _("Mend the cause, then go back again; --no-probe asks the earlier model nothing.")
            if is_way_back(promotion)
            else _("Mend the cause, then promote again."),
            promotion=promotion.id,
            step=promotion.step,
            cause=error.get("code"),
        ) from problem

    async def _undone(self, promotion: Promotion, error: dict[str, Any], why: str) -> Undone:
        """Raises PromotionError P067 where a file can't be put back now."""
        try:
            return await self._recovery.undo(promotion, error)
        except SophiaError as problem:
            with suppress(UnavailableError):  # so that whoever mends it knows that it was told
                await self._store.promotions.update(promotion.id, error=error)
            raise PromotionError(
                "P067",
                _("The promotion failed, and not everything could be put back yet."),
                f"{why} {problem.what} {problem.why}",
                _("Mend the cause, then `sophia promote repair`; worker and API try it as well."),
                promotion=promotion.id,
            ) from problem


def _failed(promotion: Promotion, undone: Undone) -> str:
    if is_way_back(promotion):
        if undone.left:
            return _("The way back failed; what others changed meanwhile is as they left it.")
        return _("The way back failed; every file is as it was before.")
    if undone.left:
        return _("The promotion failed; what others changed meanwhile is as they left it.")
    return _("The promotion failed; every file is as it was before.")


def _ends_it(problem: BaseException) -> bool:
    """Whether we live on to put things back: a step that failed, or a task that was cancelled."""
    import asyncio

    return isinstance(problem, Exception | asyncio.CancelledError)


def told_of(undone: Undone) -> list[str]:
    """What is not as it should be after an undoing, in words."""
    told = []
    if undone.down:
        told.append(_("Not up again: {units}.").format(units=", ".join(undone.down)))
    if undone.left:
        told.append(
            _("Changed by somebody else meanwhile, and left: {files}.").format(
                files=", ".join(undone.left)
            )
        )
    return told
