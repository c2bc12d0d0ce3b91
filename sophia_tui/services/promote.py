"""Promotion: a model's name into the managed env files as one transaction, and every way back.

The plan is promotion_plan's, the steps promotion_steps', what a crash leaves promotion_recovery's.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.managed import RootHelper
from sophia_tui.domain.model_gates import Gate
from sophia_tui.domain.models import (
    AuditEntry,
    FileChange,
    Model,
    ModelKind,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.operations import Danger
from sophia_tui.domain.promotions import Outside
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import (
    ConflictError,
    NotFoundError,
    OutsideError,
    RefusedError,
    SophiaError,
    UsageError,
)
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.models import unknown_model
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, ending_warning
from sophia_tui.services.promotion_gate import Gatekeeper, gate_notes
from sophia_tui.services.promotion_health import Asked, HealthCheck, health_notes
from sophia_tui.services.promotion_lock import PromotionLock
from sophia_tui.services.promotion_plan import Planner, WayBack
from sophia_tui.services.promotion_probe import SKIPPED, Probing, probe_notes
from sophia_tui.services.promotion_record import NO_MODEL, by_hand, elsewhere_of, units_of
from sophia_tui.services.promotion_recovery import (
    Recovery,
    Repaired,
    cut_off,
    cut_off_note,
    place_of,
)
from sophia_tui.services.promotion_steps import Transaction, told_of
from sophia_tui.services.promotion_views import (
    ElsewhereView,
    FileDiff,
    KeyChange,
    PromoteConfirm,
    PromoteRepair,
    PromoteRollback,
    PromoteRun,
    PromotionList,
    PromotionView,
    RepairView,
    StepView,
)
from sophia_tui.services.views import Page
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


class PromoteService:
    """Puts a model's name into the managed env files, and takes it out again."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        outside: Outside,
        prices: Load | None = None,
        helper: RootHelper | None = None,
        gate: Gate | None = None,
        host: str = "",
        calendar: CalendarService | None = None,
    ) -> None:
        self._prices = prices
        self._store = store
        self._settings = settings
        self._clock = clock
        place = self._place = place_of(host, paths.data)
        env = self._env = ManagedEnv(helper)
        self._probing = Probing(outside.probe, settings, env.read, self._known)
        self._health = HealthCheck(env, settings, outside, self._probing)
        self._gate = Gatekeeper(store, gate)
        self._calendar = calendar
        self._lock = PromotionLock(paths)
        self._planner = Planner(store, settings, env, clock, place)
        self._recovery = Recovery(store, env, clock, place)
        self._transaction = Transaction(store, env, paths, clock, self._recovery)

    @operation(
        "promote.run",
        N_("Put a model into production: change the managed env files that name the model."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.TYPE_NAME,
        dry_run=True,
        one_only=True,
        target="model",
        positional=("model",),
    )
    async def run(self, context: Context, request: PromoteRun) -> PromotionView:
        """Raises RefusedError P070, P071, P087, P088, UsageError P086, PromotionError P002,
        P067, P077, and what the plan and the probe refuse."""
        model = await self._named(request.model)
        async with self._lock.held(request.wait, context.cancel):
            await self._clear(context)
            files = await self._planner.files(request.env_file)
            await self._fit(context, files, request)
            # a name that is served is what clients ask for; the model behind it is what counts
            changes = await self._planner.forward(request.model, files, request.replaces)
            left = await self._left(request.model, files, changes)
            promotion = await self._planner.draft(context, model.id, changes, job=model.job_id)
            asked = Asked(bounds=request.bounds, blindly=not request.probe)
            self._health.planned(units_of(promotion), promotion, asked)
            verdict = await self._gate.verdict(model, promotion.previous_model)
            if context.dry_run:
                told = self._gate.foretold(context, verdict, request.override)
                refused = self._gate.refusal(context, verdict, request.override)
                told = [*self._endings(model), *left, *told]
                return await self._plan(promotion, changes, asked, request.probe, told, refused)
            gate = self._gate.require(context, model, verdict, request.override)
            notes = {"gate": gate} if gate else {}
            notes["probe"] = await self._probed(model, changes) if request.probe else SKIPPED
            promotion = self._noted(context, promotion, request.history, **notes)
            view = await self._carry_out(context, promotion, asked)
            notes_of_it = [*self._endings(model), *left, *view.notes]
            return view.model_copy(update={"notes": notes_of_it})

    @operation(
        "promote.rollback",
        N_("Take a promotion back, or return to any earlier state of production."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        dry_run=True,
        one_only=True,
        target="promotion",
        makes="id",
        positional=("promotion",),
    )
    async def rollback(self, context: Context, request: PromoteRollback) -> PromotionView:
        """Raises ConflictError P004, P007, P084, NotFoundError P404, P405, UsageError P081,
        RefusedError P088, and what the transaction raises."""
        async with self._lock.held(request.wait, context.cancel):
            _no_history_from_afar(context, request.history)
            await self._clear(context)
            way = await self._way(request)
            changes = await self._planner.back(way)
            promotion = replace(
                await self._planner.draft(context, way.model or NO_MODEL, changes, **way.notes),
                rolls_back=way.undone[-1].id if way.undone else None,
            )
            if way.base is None:
                promotion = replace(promotion, previous_model=way.undone[0].model_id)
            asked = Asked(golden=request.probe, decides=False)
            self._health.planned(units_of(promotion), promotion, asked)
            if context.dry_run:
                return await self._plan(promotion, changes, asked, request.probe)
            taken_back = [each.id for each in way.undone if each.rolls_back is None]
            probed = await self._probing.required(changes, True) if request.probe else SKIPPED
            # by default into the history that has the promotion
            known = way.base or way.undone[-1]
            history = request.history or known.notes.get("history")
            promotion = self._noted(
                context, promotion, history, taken_back=taken_back, probe=probed
            )
            return await self._carry_out(context, promotion, asked)

    @operation(
        "promote.repair",
        N_("Finish or undo a promotion that was cut off; the worker and the API do it as well."),
        role=Role.ADMIN,
        writes=True,
        dry_run=True,
        makes="promotion",
    )
    async def repair(self, context: Context, request: PromoteRepair) -> RepairView:
        """Raises ConflictError P008 while a promotion runs, P076, and what keeps it half done."""
        async with self._lock.held():
            found = await self._recovery.half_done(request.elsewhere)
            if found is None:
                return RepairView(notes=[_("No promotion is half done.")])
            if context.dry_run:
                return RepairView(
                    promotion=found.id,
                    model=found.model_id,
                    step=found.step,
                    state=found.state.value,
                    notes=[_("Nothing was changed: this is the plan.")],
                )
            return _repaired(await self._recovery.settle(found))

    @operation(
        "promote.confirm",
        N_("Say that units of other hosts were restarted by hand after a promotion."),
        role=Role.ADMIN,
        writes=True,
        one_only=True,
        target="promotion",
        positional=("promotion",),
    )
    async def confirm(self, context: Context, request: PromoteConfirm) -> PromotionView:
        """Raises NotFoundError P405, P085."""
        async with self._lock.held():
            found = await self._planner.known(request.promotion)
            every = elsewhere_of(found)
            names = [each["unit"] for each in every]
            strange = [each for each in request.unit if each not in names]
            if strange or not names:
                raise NotFoundError(
                    "P085",
                    _("The promotion {id} names no such unit of another host.").format(id=found.id),
                    ", ".join(strange or request.unit),
                    _("It names: {units}.").format(units=", ".join(names) or "-"),
                )
            said = {"confirmed_by": context.actor, "confirmed_at": self._clock.now().isoformat()}
            wanted = set(request.unit or names)
            told = [{**each, **(said if each["unit"] in wanted else {})} for each in every]
            notes = {**found.notes, "elsewhere": told}
            return self._view(await self._store.promotions.update(found.id, notes=notes))

    @operation("promote.history", N_("List promotions and rollbacks, newest first."))
    async def page(self, context: Context, request: Page) -> PromotionList:
        found = await self._store.promotions.page(request.limit, request.offset)
        left = await cut_off(self._store, self._lock, self._place)
        return PromotionList(
            items=[self._view(each) for each in found],
            notes=[cut_off_note(left)] if left else [],
        )

    async def _fit(self, context: Context, files: Sequence[Path], request: PromoteRun) -> None:
        """Whether these files may be named, and are env files at all. Raises RefusedError P087,
        UsageError P086."""
        if context.from_afar:
            _no_history_from_afar(context, request.history)
            known = [*map(str, self._settings.managed_files)]
            known += [each.path for each in (await self._env.declared()).files if not each.own]
            real = {os.path.realpath(each) for each in known}
            strange = [each for each in files if os.path.realpath(each) not in real]
            if strange:
                raise RefusedError(
                    "P087",
                    _("Over HTTP only managed env files are promoted into."),
                    _("A path would open any file of the server: {path}.").format(
                        path=visible(str(strange[0]))
                    ),
                    _("Leave `env_file` out, or declare the file: `sophia env declare`."),
                )
        for path in files:
            wrong = envfile.strange_lines(await self._env.read(path))
            if wrong:
                raise UsageError(
                    "P086",
                    _("{path} is no env file; nothing was changed.").format(path=path),
                    _("Line {line}: {why}").format(
                        line=wrong[0], why=_("It is no KEY=VALUE line.")
                    ),
                    _("Correct that line, or name another file with --env-file."),
                    lines=wrong[:20],
                )

    async def _named(self, name: str) -> Model:
        """Raises NotFoundError M404."""
        model = await self._known(name)
        if model is None:
            raise unknown_model(visible(name))
        return model

    async def _known(self, name: str) -> Model | None:
        """The model of that id, or the one that is served by that name now."""
        model = await self._store.models.get(name)
        if model is not None:
            return model
        served = await self._store.deployments.get(name)
        if served is None or served.name != name or served.state.ended:
            return None
        return await self._store.models.get(served.model_id)

    async def _probed(self, model: Model, changes: tuple[FileChange, ...]) -> dict[str, Any]:
        """What the promotion keeps of the probe. Raises what it raises; where the model is served
        by another name than was promoted, its remedy says so."""
        try:
            return await self._probing.required(changes)
        except OutsideError as problem:
            living = await self._store.deployments.page(limit=500, living=True)
            names = sorted(each.name for each in living if each.model_id == model.id)
            asked = {name for change in changes for name in change.after.values()}
            if not names or asked & set(names):
                raise
            way = _("It is served as {names}: promote that name, `sophia promote {first}`.").format(
                names=", ".join(names), first=names[0]
            )
            raise OutsideError(
                problem.code.removeprefix("SOPHIA-"), problem.what, problem.why, way
            ) from problem

    async def _clear(self, context: Context) -> None:
        """Nothing begins while something is half done. Raises ConflictError P006 for a plan."""
        found = await self._recovery.half_done()
        if found is None:
            return
        if context.dry_run:
            raise ConflictError(
                "P006",
                _("The promotion {id} was left half done.").format(id=found.id),
                remedy=_("`sophia promote repair` finishes or undoes it."),
            )
        begun = self._clock.now()
        repaired = await self._recovery.settle(found)
        await self._store.audit.add(
            AuditEntry(
                at=begun,
                actor=context.actor,
                face=context.face.value,
                role=context.role.value,
                operation="promote.repair",
                target=found.id,
                request={"step": repaired.step, "state": repaired.promotion.state.value},
                outcome="done",
                seconds=round((self._clock.now() - begun).total_seconds(), 3),
            )
        )

    async def _way(self, request: PromoteRollback) -> WayBack:
        given = [each for each in (request.promotion, request.to, request.before) if each]
        if len(given) > 1:
            raise UsageError(
                "P081",
                _("Name one promotion: the one to take back, or one of --to and --before."),
            )
        if request.to:
            return await self._planner.back_to(request.to)
        if request.before:
            return await self._planner.back_before(request.before)
        return await self._planner.one_back(request.promotion)

    async def _carry_out(
        self, context: Context, promotion: Promotion, asked: Asked
    ) -> PromotionView:
        async def health(now: Promotion) -> dict[str, Any]:
            return await self._health.check(now, units_of(now), asked)

        async def override(now: Promotion) -> None:
            await self._gate.remember(now.model_id, now.id, now.notes["gate"])

        overridden = "override" in promotion.notes.get("gate", {})
        done = await self._transaction.carry_out(
            context, promotion, health, override if overridden else None
        )
        notes = [
            _restarted(done),
            *gate_notes(done.notes.get("gate")),
            *probe_notes(done),
            *health_notes(done),
        ]
        if any(not each.get("confirmed_by") for each in elsewhere_of(done)):
            notes.append(
                _("Not restarted yet on other hosts; then: `sophia promote confirm {id}`.").format(
                    id=done.id
                )
            )
        if done.rolls_back is None:
            notes.append(
                _("The way back: `sophia promote rollback {id}`.").format(id=done.id),
            )
        return self._view(done, notes)

    def _noted(
        self, context: Context, promotion: Promotion, history: str | None, **notes: Any
    ) -> Promotion:
        path = Path(history).expanduser().absolute() if history else self._settings.history_file
        asked = {"face": context.face.value, "role": context.role.value}
        kept = {**promotion.notes, **notes, "asked": asked, "history": str(path)}
        return replace(promotion, notes=kept)

    def _endings(self, model: Model) -> list[str]:
        """A hosted model that ends takes production with it: say when."""
        if self._prices is None or model.kind is not ModelKind.HOSTED:
            return []
        prices = self._prices()
        ending = prices.shutdown(model.id) or prices.shutdown(model.base)
        warning = ending_warning(model.id, ending, self._clock.now())
        return [warning] if warning else []

    async def _left(
        self, model_id: str, files: tuple[Path, ...], changes: tuple[FileChange, ...]
    ) -> list[str]:
        """Keys that go on naming another model, and how they would change as well."""
        if self._calendar is None:
            return []
        changed = {(each.path, key) for each in changes for key in each.after}
        try:
            named = await self._calendar.models_in(files)
        except SophiaError as problem:  # a price file that can't be used stops no promotion
            return [
                _("Whether other keys name a model is not known: {why}").format(why=problem.what)
            ]
        found: dict[tuple[str, str], list[str]] = {}
        for each in named:
            if (each.file, each.key) not in changed and each.model != model_id:
                found.setdefault((each.file, each.model), []).append(each.key)
        told = _("{file} goes on naming {model} ({keys}). To change that as well: `{command}`")
        return [
            told.format(
                file=visible(file),
                model=visible(model),
                keys=", ".join(map(visible, keys)),
                command=f"sophia promote {shlex.quote(model_id)} "
                f"--replaces {shlex.quote(visible(model))}",
            )
            for (file, model), keys in found.items()
        ]

    async def _plan(
        self,
        promotion: Promotion,
        changes: tuple[FileChange, ...],
        asked: Asked,
        probe: bool,
        told: Sequence[str] = (),
        refused: str | None = None,
    ) -> PromotionView:
        """`told` and `refused` are what is known before the model is asked."""
        golden = asked.golden
        if probe:
            said, silent = await self._probing.foretold(changes, not asked.decides)
            refused = refused or silent
        else:
            unasked, golden = await self._probing.unasked(changes, golden)
            said = [unasked]
        told = [*told, *said]
        asked = replace(asked, golden=golden)
        checks = self._health.planned(units_of(promotion), promotion, asked)
        notes = [_("Nothing was changed: this is the plan.")]
        units = units_of(promotion)
        if units:
            notes.append(_("These units would restart: {units}.").format(units=", ".join(units)))
        view = self._view(promotion, [*notes, *told])
        return view.model_copy(update={"checks": checks, "would_be_refused": refused})

    def _view(self, promotion: Promotion, notes: list[str] | None = None) -> PromotionView:
        error = promotion.error
        return PromotionView(
            id=promotion.id,
            model=promotion.model_id,
            previous_model=promotion.previous_model,
            state=promotion.state.value,
            files=[FileDiff(path=each.path, diff=list(each.diff)) for each in promotion.changes],
            keys=[
                KeyChange(file=each.path, key=key, before=each.before.get(key), after=after)
                for each in promotion.changes
                for key, after in each.after.items()
            ],
            restarts=units_of(promotion),
            elsewhere=[
                ElsewhereView(command=by_hand(each["unit"]), **each)
                for each in elsewhere_of(promotion)
            ],
            gate=promotion.notes.get("gate"),
            golden=promotion.notes.get("golden"),
            steps=[StepView(**each) for each in promotion.steps],
            error=error,
            created_by=promotion.created_by,
            created_at=promotion.created_at,
            rolls_back=promotion.rolls_back,
            notes=notes or [],
        )


def _no_history_from_afar(context: Context, history: str | None) -> None:
    """Raises RefusedError P088."""
    if context.from_afar and history is not None:
        raise RefusedError(
            "P088",
            _("Over HTTP the history is the one of FINETUNE_HISTORY."),
            _("A path would open any file of the server: {path}.").format(path=visible(history)),
            _("Leave `history` out."),
        )


def _restarted(promotion: Promotion) -> str:
    units = units_of(promotion)
    if units:
        return _("Restarted, and up: {units}.").format(units=", ".join(units))
    return _("Restart the services that read these files: no unit is declared for them.")


def _repaired(repaired: Repaired) -> RepairView:
    found = repaired.promotion
    finished = found.state is PromotionState.DONE
    told = (
        _("Only its record was missing: it is finished, {model} is in production.")
        if finished
        else _("It is undone: every file is as it was before, and its units were restarted.")
    )
    return RepairView(
        promotion=found.id,
        model=found.model_id,
        step=repaired.step,
        state=found.state.value,
        notes=[told.format(model=found.model_id), *told_of(repaired.undone)],
    )
