"""What a promotion leaves that was cut off: it is finished where only the record is missing, else
undone. So there are two ends: all as it was, or all as it was meant."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sophia_tui.domain.models import AuditEntry, Promotion, PromotionState
from sophia_tui.domain.promotions import Step
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, SophiaError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.services import promotion_record as record
from sophia_tui.services.managed_env import ManagedEnv, PutBack
from sophia_tui.services.promotion_lock import PromotionLock

_log = logging.getLogger("sophia")

#: How often the worker and the API look for a promotion that was cut off, in seconds.
LOOK_SECONDS = 30.0

#: Before these steps no unit was told to restart, so it runs with the old content still.
_NOT_RESTARTED = (Step.OVERRIDE, Step.SNAPSHOT, Step.WRITE)


@dataclass(frozen=True)
class Undone:
    """`down` are units that are not up again, `left` files that somebody else changed meanwhile."""

    down: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repaired:
    """What was found half done, at which step, and what became of it: `done` or `undone`."""

    promotion: Promotion
    step: str
    undone: Undone


class Recovery:
    """Finishes and undoes. Whoever calls holds the lock, so nobody else is at it. `place` is where
    this Sophia is: files and units of another machine are out of reach."""

    def __init__(self, store: Store, env: ManagedEnv, clock: Clock, place: dict[str, str]) -> None:
        self._store = store
        self._env = env
        self._clock = clock
        self._place = place

    async def half_done(self, everywhere: bool = False) -> Promotion | None:
        """A promotion that was begun and did not end. Raises ConflictError P076 for one that
        another machine or data folder began."""
        found = await self._store.promotions.pending()
        if found is None or everywhere:
            return found
        place = found.notes.get("place", self._place)
        if place != self._place:
            raise ConflictError(
                "P076",
                _("The promotion {id} is under way, or was left half done, elsewhere.").format(
                    id=found.id
                ),
                _("Host {host}, data folder {folder}.").format(
                    host=place.get("host"), folder=place.get("folder")
                ),
                _(
                    "Wait for it, or start Sophia there; where that is gone for good, "
                    "`sophia promote repair --elsewhere` undoes it from here."
                ),
            )
        return found

    async def settle(self, promotion: Promotion) -> Repaired:
        """Finish it where all that is missing is the record, else undo it. Raises what keeps a file
        from being put back, or a unit from being restarted: it stays half done then."""
        step = promotion.step
        if step == Step.RECORD and await self._whole(promotion):
            done = await self.record(promotion)
            record.repair_line(done, "promotion_finished", self._clock.now(), "interrupted")
            await self._audit(promotion, done)
            return Repaired(done, step, Undone())
        undone = await self.undo(promotion, {"what": "interrupted"}, always=True)
        found = await self._store.promotions.get(promotion.id) or promotion
        await self._audit(promotion, found)
        return Repaired(found, step, undone)

    async def _audit(self, begun: Promotion, ended: Promotion) -> None:
        """What was cut off could not write its own row: who promoted what, and how that ended. One
        that failed alive (it has its error) has a row already."""
        if begun.error:
            return
        asked = begun.notes.get("asked", {})
        back = begun.rolls_back is not None or "taken_back" in begun.notes
        now = self._clock.now()
        entry = AuditEntry(
            at=now,
            actor=begun.created_by,
            face=asked.get("face", "unknown"),
            role=asked.get("role", "unknown"),
            operation="promote.rollback" if back else "promote.run",
            target=begun.id if back else begun.model_id,
            request={
                "promotion": begun.id,
                "model": begun.model_id,
                "begun": begun.created_at.isoformat(),
                "step": begun.step,
                "state": ended.state.value,
            },
            outcome="interrupted",
            seconds=round((now - begun.created_at).total_seconds(), 3),
        )
        try:
            await self._store.audit.add(entry)
        except UnavailableError as problem:
            _log.warning("promotion %s: its row of the audit is lost: %s", begun.id, problem.code)

    async def _whole(self, promotion: Promotion) -> bool:
        for each in promotion.changes:
            if not await self._env.stands(each):
                return False
        return not await self._env.not_up(record.units_of(promotion))

    async def record(self, promotion: Promotion) -> Promotion:
        """The last step: the line in the history, and the row; each once, whoever does it again."""
        record.record_line(promotion)
        taken_back = promotion.notes.get("taken_back", [])
        return await self._store.promotions.finish(promotion.id, self._clock.now(), taken_back)

    async def undo(
        self, promotion: Promotion, error: dict[str, Any], always: bool = False
    ) -> Undone:
        """Put every file back, restart its units, and record that. A file that can't be put back is
        told once the others are. `always`: the history gets a line of it in any case."""
        begun = promotion.step
        await self._note(promotion)
        failed: Exception | None = None
        restart = begun not in _NOT_RESTARTED
        left = []
        for change in promotion.changes:
            try:
                outcome = await self._env.put_back(change)
            except Exception as problem:
                failed = failed or problem
                continue
            restart = restart or outcome is PutBack.PUT_BACK
            if outcome is PutBack.LEFT:
                left.append(change.path)
        try:
            down = await self._env.restart_all(record.units_of(promotion) if restart else [])
        except SophiaError as problem:
            raise (failed or problem) from problem
        if down:
            _log.error("promotion %s: not up again: %s", promotion.id, ", ".join(down))
        if failed is not None:
            raise failed
        if always or record.stands(promotion):
            why = str(error.get("what", ""))
            record.repair_line(promotion, "promotion_undone", self._clock.now(), why)
        notes: dict[str, Any] = {"down": down, "left": left}
        told = {**error, "step": begun, **{key: each for key, each in notes.items() if each}}
        await self._record_undone(promotion, told)
        return Undone(tuple(down), tuple(left))

    async def _note(self, promotion: Promotion) -> None:
        """The way back is a step as well; where the store is away it is gone all the same."""
        entry = {"step": Step.UNDO.value, "at": self._clock.now().isoformat()}
        try:
            await self._store.promotions.update(
                promotion.id, step=Step.UNDO.value, steps=[*promotion.steps, entry]
            )
        except UnavailableError as problem:
            _log.warning("promotion %s is undone unrecorded: %s", promotion.id, problem.code)

    async def _record_undone(self, promotion: Promotion, error: dict[str, Any]) -> None:
        try:
            await self._store.promotions.update(
                promotion.id,
                state=PromotionState.UNDONE,
                finished_at=self._clock.now(),
                error=error,
            )
        except UnavailableError as problem:
            # the row stays pending; the next start finds it and records the same
            _log.warning(
                "promotion %s is put back but not recorded: %s", promotion.id, problem.code
            )


def place_of(host: str, folder: Path) -> dict[str, str]:
    """Where a Sophia is, as promotions keep it."""
    return {"host": host, "folder": str(folder)}


async def cut_off(store: Store, lock: PromotionLock, place: dict[str, str]) -> Promotion | None:
    """A promotion that was begun here and that nobody is at any more. One that is under way, or was
    begun elsewhere, is none."""
    found = await store.promotions.pending()
    if found is None or found.notes.get("place", place) != place:
        return None
    try:
        return found if lock.free() else None
    except OSError:  # a folder that is not ours to write: nobody can say
        return None


def cut_off_note(promotion: Promotion) -> str:
    """What people read of it, wherever production is shown."""
    return _(
        "The promotion {id} was cut off half way (step: {step}); an env file may name {model} "
        "already. `sophia promote repair` finishes or undoes it."
    ).format(
        id=promotion.id, step=promotion.step or "-", model=record.named_model(promotion.model_id)
    )
