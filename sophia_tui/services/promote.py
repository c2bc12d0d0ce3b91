"""Promotion: the plan as a diff, the files whole or not at all, the record, and the way back.

The order that makes a crash harmless: lock, snapshot, row `pending` in Postgres, files one by one,
units restarted and seen to stay up, line in history.jsonl, row `done`. What is found pending later
is put back before anything else.
"""

import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.managed import MODEL_KEYS, RootHelper
from sophia_tui.domain.models import FileChange, Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.operations import Danger
from sophia_tui.domain.protocols import Clock, Prober, Store
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    PromotionError,
    SophiaError,
    UnavailableError,
    UsageError,
)
from sophia_tui.files import append_line, write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.managed_env import ManagedEnv, content_hash, planned, refers_to
from sophia_tui.services.models import unknown_model
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, ending_warning
from sophia_tui.services.promotion_probe import SKIPPED, Probing, probe_notes
from sophia_tui.services.promotion_views import (
    FileDiff,
    PromoteRollback,
    PromoteRun,
    PromotionList,
    PromotionView,
)
from sophia_tui.services.views import Page

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_log = logging.getLogger("sophia")

#: The variables the RAG reads (mission section 1).
#: Keys that name what training starts from: never a use of the model in production.
BASE_KEYS = frozenset({"FINETUNE_BASE", "AION_LORA_BASE"})


class PromoteService:
    """Puts a model's name into the managed env files, and takes it out again."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        prober: Prober,
        prices: Load | None = None,
        helper: RootHelper | None = None,
    ) -> None:
        self._prices = prices
        self._store = store
        self._env = ManagedEnv(helper)
        self._probing = Probing(prober, settings, self._env.read)
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "promote.run",
        N_("Put a model into production: change the managed env files that name the model."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        target="model",
        positional=("model",),
    )
    async def run(self, context: Context, request: PromoteRun) -> PromotionView:
        model = await self._store.models.get(request.model)
        if model is None:
            raise unknown_model(request.model)
        with self._locked():
            await self._recover(write=not context.dry_run)
            changes = await self._plan(model.id, await self._files(request.env_file))
            promotion = await self._draft(context, model.id, changes)
            endings = self._endings(model)
            if context.dry_run:
                notes = [*endings, *_foretold(promotion)]
                if request.probe:
                    notes += await self._probing.foretold(model, changes)
                return self._view(promotion, notes)
            told = await self._probing.required(model, changes) if request.probe else SKIPPED
            promotion = replace(promotion, notes={**promotion.notes, "probe": told})
            history = self._history(request.history)
            view = await self._carry_out(promotion, history, model.job_id)
            return view.model_copy(update={"notes": [*endings, *view.notes]})

    def _endings(self, model: Model) -> list[str]:
        """A hosted model that ends takes production with it: say when."""
        if self._prices is None or model.kind is not ModelKind.HOSTED:
            return []
        prices = self._prices()
        ending = prices.shutdown(model.id) or prices.shutdown(model.base)
        warning = ending_warning(model.id, ending, self._clock.now())
        return [warning] if warning else []

    @operation(
        "promote.rollback",
        N_("Take a promotion back: the env files name the previous model again."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        dry_run=True,
        target="promotion",
        positional=("promotion",),
    )
    async def rollback(self, context: Context, request: PromoteRollback) -> PromotionView:
        with self._locked():
            await self._recover(write=not context.dry_run)
            target = await self._to_take_back(request.promotion)
            changes = tuple([await self._reversed(change) for change in target.changes])
            promotion = replace(
                await self._draft(context, target.previous_model or "-", changes),
                previous_model=target.model_id,
                rolls_back=target.id,
            )
            if context.dry_run:
                return self._view(promotion, _foretold(promotion))
            # by default into the history that has the promotion
            history = request.history or target.notes.get("history")
            view = await self._carry_out(promotion, self._history(history), None)
            await self._store.promotions.update(target.id, state=PromotionState.ROLLED_BACK)
            return view

    @operation("promote.history", N_("List promotions and rollbacks, newest first."))
    async def page(self, context: Context, request: Page) -> PromotionList:
        found = await self._store.promotions.page(request.limit, request.offset)
        return PromotionList(items=[self._view(each) for each in found])

    async def _files(self, given: list[str]) -> tuple[Path, ...]:
        if given:
            root = self._settings.root
            files = tuple((root / Path(each).expanduser()).absolute() for each in given)
        else:
            files = (*self._settings.managed_files, *await self._env.to_promote())
        if not files:
            raise UsageError(
                "P001",
                _("There is no env file to promote into."),
                _("SOPHIA_MANAGED_ENV_FILES names none, none is declared, and none was given."),
                _(
                    "Set SOPHIA_MANAGED_ENV_FILES, declare one (`sophia env declare`), or give "
                    "--env-file FILE."
                ),
            )
        # the same file by its name and by a link is one file
        return tuple({os.path.realpath(each): each for each in reversed(files)}.values())[::-1]

    async def _plan(self, model_id: str, files: tuple[Path, ...]) -> tuple[FileChange, ...]:
        """What changes in each file. Raises ConflictError P003 where nothing would change."""
        found = {path: await self._env.read(path) for path in files}
        parsed = {path: envfile.values(text) for path, text in found.items()}
        previous = {
            values[key]
            for values in parsed.values()
            for key in MODEL_KEYS
            if values.get(key) and not refers_to(values[key], values)
        }
        nobody = not any(key in values for values in parsed.values() for key in MODEL_KEYS)
        changes = []
        for number, path in enumerate(files):
            values = parsed[path]
            keys = [
                key
                for key, value in values.items()
                if key not in BASE_KEYS
                and (key in MODEL_KEYS or value in previous)
                and not refers_to(value, values)
            ]
            if nobody and number == 0:
                keys = list(MODEL_KEYS)
            after: dict[str, str | None] = {
                key: model_id for key in keys if values.get(key) != model_id
            }
            if after:
                before = {key: values.get(key) for key in after}
                changes.append(planned(path, found[path], before, after))
                new = envfile.change(found[path], after)
                await self._env.checked(path, new.encode("utf-8"))
        if not changes:
            raise ConflictError(
                "P003",
                _("{model} is in production already.").format(model=model_id),
                _("No managed env file would change."),
            )
        return tuple(changes)

    async def _reversed(self, change: FileChange) -> FileChange:
        """The way back. Raises ConflictError P004 where a key was changed since."""
        path = Path(change.path)
        text = await self._env.read(path)
        values = envfile.values(text)
        for key, value in change.after.items():
            if values.get(key) != value:
                raise ConflictError(
                    "P004",
                    _("{key} in {path} was changed since.").format(key=key, path=path),
                    _("It no longer names the model that the promotion wrote."),
                    _("Promote the model you want, or set the key back by hand."),
                )
        as_we_left_it = content_hash(text.encode("utf-8")) == change.after_hash
        kept = change.snapshot if as_we_left_it and _is_there(change.snapshot) else None
        return planned(path, text, dict(change.after), dict(change.before), restores=kept)

    async def _draft(
        self, context: Context, model_id: str, changes: tuple[FileChange, ...]
    ) -> Promotion:
        units = await self._env.units(changes)
        named = [change.before.get(key) for key in MODEL_KEYS for change in changes]
        return Promotion(
            id=f"promotion-{secrets.token_hex(6)}",
            model_id=model_id,
            previous_model=next((each for each in named if each), None),
            state=PromotionState.PENDING,
            changes=changes,
            created_by=context.actor,
            created_at=self._clock.now(),
            notes={"units": list(units)} if units else {},
        )

    async def _carry_out(
        self, promotion: Promotion, history: Path, job_id: str | None
    ) -> PromotionView:
        notes = {**promotion.notes, "history": str(history)}
        promotion = await self._snapshot(replace(promotion, notes=notes))
        await self._store.promotions.add(promotion)
        try:
            for change in promotion.changes:
                await self._env.write(change)
            await self._env.restart(_units(promotion))
            append_line(history, _history_line(promotion, job_id))
            done = await self._store.promotions.update(
                promotion.id, state=PromotionState.DONE, finished_at=self._clock.now()
            )
        except BaseException as problem:
            from asyncio import CancelledError

            if not isinstance(problem, Exception | CancelledError):
                raise
            why = problem.what if isinstance(problem, SophiaError) else type(problem).__name__
            down = await self._put_back(promotion, why)
            if isinstance(problem, CancelledError):
                raise
            if down:
                why = f"{why} {_not_up(down)}"
            raise PromotionError(
                "P002",
                _("The promotion failed; every file is as it was before."),
                why,
                _("Mend the cause, then promote again."),
            ) from problem
        return self._view(
            done,
            [
                _restarted(promotion),
                *probe_notes(done),
                _("The way back: `sophia promote rollback {id}`.").format(id=promotion.id),
            ],
        )

    async def _put_back(self, promotion: Promotion, why: str) -> list[str]:
        """As `_undo`. Raises PromotionError P067 where a file can't be put back now."""
        try:
            return await self._undo(promotion, why)
        except SophiaError as problem:
            raise PromotionError(
                "P067",
                _("The promotion failed, and not everything could be put back yet."),
                f"{why} {problem.what} {problem.why}",
                _("Mend the cause; the next promote or rollback puts it back before all else."),
            ) from problem

    async def _snapshot(self, promotion: Promotion) -> Promotion:
        """Keep each file as it is, readable by us alone, before the first one is touched."""
        folder = self._paths.promotions / promotion.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        changes = []
        for number, change in enumerate(promotion.changes):
            copy = folder / f"{number}.env"
            content = (await self._env.read(Path(change.path))).encode("utf-8")
            if content_hash(content) != change.before_hash:
                raise ConflictError(
                    "P005",
                    _("{path} was changed by somebody else just now.").format(path=change.path),
                    remedy=_("Look at it again, then do it again."),
                )
            write_whole(copy, content)
            changes.append(replace(change, snapshot=str(copy)))
        return replace(promotion, changes=tuple(changes))

    async def _undo(self, promotion: Promotion, why: str, restart: bool = False) -> list[str]:
        """Put every file back that still is as we wrote it, restart its units, and record that; the
        units that are not up again. A file that can't be put back is told once the others are.
        `restart`: nobody knows whether units run with what was written."""
        failed: Exception | None = None
        for change in promotion.changes:
            try:
                restart = await self._env.put_back(change) or restart
            except Exception as problem:
                failed = failed or problem
        down = await self._env.restart_all(_units(promotion) if restart else [])
        if down:
            _log.error("promotion %s: not up again: %s", promotion.id, ", ".join(down))
        if failed is not None:
            raise failed
        history = Path(promotion.notes["history"])
        if _stands_in(history, promotion.id):
            undone = {"kind": "promotion_undone", "id": promotion.id, "why": why}
            undone["at"] = self._clock.now().isoformat()
            append_line(history, json.dumps(undone, ensure_ascii=False).encode("utf-8"))
        try:
            await self._store.promotions.update(
                promotion.id,
                state=PromotionState.UNDONE,
                finished_at=self._clock.now(),
                error={"what": why},
            )
        except UnavailableError as problem:
            # the row stays pending; the next promote or rollback finds it and records the same
            _log.warning(
                "promotion %s is put back but not recorded: %s", promotion.id, problem.code
            )
        return down

    async def _recover(self, write: bool) -> None:
        """Undo what a killed process left half done. The lock proves that nobody is at it."""
        for promotion in await self._store.promotions.page(20):
            if promotion.state is PromotionState.PENDING:
                if not write:
                    raise ConflictError(
                        "P006",
                        _("The promotion {id} was left half done.").format(id=promotion.id),
                        remedy=_("It is put back by the next real promote or rollback."),
                    )
                await self._undo(promotion, "interrupted", restart=True)

    async def _to_take_back(self, promotion_id: str | None) -> Promotion:
        if promotion_id is None:
            for each in await self._store.promotions.page(50):
                if each.state is PromotionState.DONE and each.rolls_back is None:
                    return each
            raise NotFoundError("P404", _("There is no promotion to take back."))
        found = await self._store.promotions.get(promotion_id)
        if found is None:
            raise NotFoundError(
                "P405",
                _("There is no promotion {id}.").format(id=promotion_id),
                remedy=_("`sophia promote history` lists them."),
            )
        if found.state is not PromotionState.DONE:
            raise ConflictError(
                "P007",
                _("The promotion {id} can't be taken back.").format(id=promotion_id),
                _("Its state is {state}.").format(state=_(found.state.value)),
            )
        return found

    def _history(self, given: str | None) -> Path:
        return Path(given).expanduser().absolute() if given else self._settings.history_file

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One promotion at a time on this machine. Raises ConflictError P008."""
        self._paths.promotions.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self._paths.promotions / "lock", "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    "P008",
                    _("Another promotion is running."),
                    remedy=_("Wait until it ends, then look at the plan again."),
                ) from None
            yield

    def _view(self, promotion: Promotion, notes: list[str] | None = None) -> PromotionView:
        return PromotionView(
            id=promotion.id,
            model=promotion.model_id,
            previous_model=promotion.previous_model,
            state=promotion.state.value,
            files=[FileDiff(path=each.path, diff=list(each.diff)) for each in promotion.changes],
            created_by=promotion.created_by,
            created_at=promotion.created_at,
            rolls_back=promotion.rolls_back,
            notes=notes or [],
        )


def _units(promotion: Promotion) -> list[str]:
    """The units that restart with it, as they were declared when it was planned."""
    return [str(each) for each in promotion.notes.get("units", [])]


def _foretold(promotion: Promotion) -> list[str]:
    units = _units(promotion)
    told = [_("Nothing was changed: this is the plan.")]
    if units:
        told.append(_("These units would restart: {units}.").format(units=", ".join(units)))
    return told


def _restarted(promotion: Promotion) -> str:
    units = _units(promotion)
    if units:
        return _("Restarted, and up: {units}.").format(units=", ".join(units))
    return _("Restart the services that read these files: no unit is declared for them.")


def _not_up(units: list[str]) -> str:
    return _("Not up again: {units}.").format(units=", ".join(units))


def _history_line(promotion: Promotion, job_id: str | None) -> bytes:
    line: dict[str, Any] = {
        "kind": "rollback" if promotion.rolls_back else "promotion",
        "id": promotion.id,
        "at": promotion.created_at.isoformat(),
        "job": job_id,
        "model": promotion.model_id,
        "previous_model": promotion.previous_model,
        "by": promotion.created_by,
        "files": [{"path": each.path, "keys": sorted(each.after)} for each in promotion.changes],
    }
    if promotion.rolls_back:
        line["rolls_back"] = promotion.rolls_back
    if "probe" in promotion.notes:
        line["probe"] = promotion.notes["probe"]
    return json.dumps(line, ensure_ascii=False).encode("utf-8")


def _stands_in(history: Path, promotion_id: str) -> bool:
    """Whether the history has the promotion's line already."""
    if not history.is_file():
        return False
    with history.open("rb") as lines:
        return any(promotion_id.encode() in line for line in lines)


def _is_there(snapshot: str | None) -> bool:
    return snapshot is not None and Path(snapshot).is_file()
