"""The gate before production: may this model be promoted? By its evaluations, its parity and what
people said of it; measures nothing itself, but queues what is missing where it is asked to."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import envfile
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.managed import MODEL_KEYS
from sophia_tui.domain.model_gates import GateVerdict, Reason, read_rules
from sophia_tui.domain.models import (
    CheckKind,
    Evaluation,
    Model,
    ModelCheck,
    ModelKind,
    ModelState,
    PromotionState,
)
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import N_, _, clock_day, number, set_zone
from sophia_tui.services.job_states import has_ended
from sophia_tui.services.managed_env import ManagedEnv, refers_to
from sophia_tui.services.model_gate_rules import (
    Evidence,
    Judgement,
    Measured,
    Want,
    judge,
    shipped,
    state_reason,
    verdicts,
)
from sophia_tui.services.model_gate_views import (
    GateReason,
    ModelGateCheck,
    ModelGateView,
    base_name,
)
from sophia_tui.services.model_parity import changed_forms
from sophia_tui.services.models import unknown_model
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobView
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

#: Evaluations of one model that are looked through, newest first.
_LOOKED_AT = 50
#: A merged or exported model is made of another; so many steps back at most.
_GENERATIONS = 5
#: Models and deployments that are looked through for relatives.
_RELATIVES = 500


class ModelGateRequest(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))
    run: bool = Field(
        default=False,
        description=N_("Queue the evaluations and the parity check that are missing."),
    )
    items: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description=N_(
            "With run: how many of the general questions are asked, always the same ones; "
            "at least as many as the rules want; default: all."
        ),
    )
    against: str | None = Field(
        default=None,
        description=N_("The model it is compared with; default: the one that production names."),
    )


class ModelGateService:
    """Implements domain.model_gates.Gate, and the operation for people.

    A failed parity of the model's own forms, and files that changed since they were measured, are
    not overridable, as little as a state that people gave: merge again, check parity again.
    """

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        env: ManagedEnv,
        call: Call,
        host: str | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._env = env
        self._call = call
        self._host = host

    @operation(
        "models.gate",
        N_("Say whether a model may be promoted: loss, parity and general questions by the rules."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        target="model",
        positional=("model",),
    )
    async def gate(self, context: Context, request: ModelGateRequest) -> ModelGateView:
        """Keeps the verdict in model_checks, unless jobs are still to measure something or it is a
        dry run. Raises NotFoundError M404, UsageError M596, M599, and what the evaluation and the
        parity check raise that can't be queued."""
        if request.items is not None and not request.run:
            raise UsageError(
                "M599",
                _("Without --run nobody is asked anything."),
                _("--items says how many of the general questions are asked."),
                _("Add --run, or leave --items out."),
            )
        self._require_enough(request.items)
        model = await self._model(request.model)
        against = await self._model(request.against) if request.against else None
        verdict = await self.verdict(model, against)
        jobs: list[JobView] = []
        problems: list[str] = []
        if request.run and not context.dry_run:
            jobs, problems = await self._queue(context, model, verdict, request.items)
        kept = None
        if not jobs and not context.dry_run:
            kept = f"gate-{secrets.token_hex(6)}"
            await self._store.checks.add(
                ModelCheck(
                    id=kept,
                    model_id=model.id,
                    kind=CheckKind.GATE,
                    passed=verdict.passed,
                    report=dict(verdict.report),
                    created_at=verdict.checked_at,
                    created_by=context.actor,
                )
            )
        return _view(model, replace(verdict, notes=(*verdict.notes, *problems)), jobs, kept)

    async def verdict(self, model: Model, current: Model | str | None = None) -> GateVerdict:
        """See domain.model_gates.Gate."""
        set_zone(self._settings.timezone)
        now = self._clock.now()
        rules = read_rules(self._settings.model_gate)
        against = state_reason(model, now)
        found = Judgement(notes=_state_notes(model))
        subject = await self._adapter(model)
        compared: str | None = None
        if subject is None:
            found.notes.append(
                _(
                    "{model} was not trained on this machine: nothing of it can be measured here, "
                    "so no rule is applied."
                ).format(model=model.id)
            )
        elif not rules:
            found.notes.append(_("SOPHIA_MODEL_GATE switches the gate off: no rule is applied."))
        else:
            other = await self._other(model, subject, current, found.notes)
            compared = other.id if other else None
            notes, found = found.notes, judge(await self._evidence(model, subject, other), rules)
            found.notes[:0] = notes
        reasons = [*([against] if against else []), *found.reasons]
        return GateVerdict(
            passed=not reasons,
            reasons=tuple(reasons),
            checked_at=now,
            report=_report(reasons, found, rules, compared, subject),
            notes=tuple(found.notes),
            compared=compared,
            overridable=against is None and all(each.overridable for each in reasons),
        )

    def _require_enough(self, items: int | None) -> None:
        """Fewer questions than the rules want are asked for nothing. Raises UsageError M596."""
        rules = read_rules(self._settings.model_gate)
        least = int(rules.get("items", 0)) if "lost" in rules else 0
        if items is None or items >= least:
            return
        raise UsageError(
            "M596",
            _("{items} general questions are too few: the rules want at least {least}.").format(
                items=number(items), least=number(least)
            ),
            _("SOPHIA_MODEL_GATE has items>={least}, so nothing was asked.").format(least=least),
            _("Give --items {least} or more, or leave it out: then all are asked.").format(
                least=least
            ),
        )

    # -- what is looked at

    async def _model(self, model_id: str) -> Model:
        found = await self._store.models.get(model_id)
        if found is None:
            raise unknown_model(visible(model_id))
        return found

    async def _adapter(self, model: Model) -> Model | None:
        """The adapter that a model is, or was made of; None where nothing was trained here."""
        found: Model | None = model
        for _generation in range(_GENERATIONS):
            if found is None or found.kind is ModelKind.ADAPTER:
                return found
            found = await self._store.models.get(found.parent) if found.parent else None
        return None

    async def _other(
        self, model: Model, subject: Model, current: Model | str | None, notes: list[str]
    ) -> Model | None:
        """The adapter in production, where it is ours and not this one; says why it is not."""
        name = current.id if isinstance(current, Model) else current
        if name is None:
            name = await self._named_in_production(notes)
        if name is None:
            notes.append(
                _("No model is in production yet: it is compared with its base, {base}.").format(
                    base=base_name(subject.base)
                )
            )
            return None
        used = current if isinstance(current, Model) else await self._by_name(name)
        other = await self._adapter(used) if used is not None else None
        if other is None:
            notes.append(
                _(
                    "Production uses {current}, which can't be measured here: it is compared with "
                    "the base, {base}."
                ).format(current=visible(name), base=base_name(subject.base))
            )
            return None
        if other.id == subject.id:
            notes.append(
                _("{model} is in production already: it is compared with its base, {base}.").format(
                    model=model.id, base=base_name(subject.base)
                )
            )
            return None
        return other

    async def _named_in_production(self, notes: list[str]) -> str | None:
        """What the managed env files name, else what the last promotion left there."""
        try:
            files = (*self._settings.managed_files, *await self._env.to_promote())
        except SophiaError as problem:
            notes.append(f"{problem.what} {problem.why}".strip())
            files = self._settings.managed_files
        for path in files:
            try:
                values = envfile.values(await self._env.read(path))
            except SophiaError as problem:
                notes.append(problem.what)
                continue
            for key in MODEL_KEYS:
                value = values.get(key)
                if value and not refers_to(value, values):
                    return value
        for each in await self._store.promotions.page(_LOOKED_AT):
            if each.state is PromotionState.DONE:
                return each.model_id
        return None

    async def _by_name(self, name: str) -> Model | None:
        """A model by its id, or by the name that it is served under."""
        found = await self._store.models.get(name)
        if found is not None:
            return found
        served = await self._store.deployments.get(name)
        return await self._store.models.get(served.model_id) if served else None

    async def _evidence(self, model: Model, subject: Model, other: Model | None) -> Evidence:
        import asyncio

        known = set(shipped())
        chain = await self._chain(model)
        served = await self._served(model)
        own = (*served, *(each.id for each in chain if each.kind is not ModelKind.ADAPTER))
        parity = await self._parity(chain, served)
        counted = {*own, _("the adapter")}
        changed = await asyncio.to_thread(changed_forms, parity) if parity else []
        mine = await self._store.evaluations.page(subject.id, limit=_LOOKED_AT)
        held_out = next(
            (each for each in mine if each.dataset == subject.dataset and _sum(each)), None
        )
        current = None
        if other is not None:
            theirs = await self._store.evaluations.page(other.id, limit=_LOOKED_AT)
            same = held_out and next(
                (each for each in theirs if _sum(each) == _sum(held_out)), None
            )
            current = Measured(
                other, same, _asked(theirs, known), await asyncio.to_thread(weights, other)
            )
        return Evidence(
            name=model.id,
            mine=Measured(
                subject, held_out, _asked(mine, known), await asyncio.to_thread(weights, subject)
            ),
            current=current,
            parity=parity,
            changed=tuple(each for each in changed if each in counted),
            form=_form(chain),
            served=served,
            own=own,
            now=self._clock.now(),
        )

    async def _chain(self, model: Model) -> list[Model]:
        """The model and what it was made of, the adapter last."""
        found = [model]
        while len(found) <= _GENERATIONS and (parent := found[-1].parent):
            above = await self._store.models.get(parent)
            if above is None:
                break
            found.append(above)
        return found

    async def _parity(self, chain: list[Model], served: tuple[str, ...]) -> ModelCheck | None:
        """The newest check of the model, or of what it was made of; an earlier one where it was the
        last to ask the model's file or a name that serves it now, and that failed: a check that
        leaves a form out says nothing for it."""
        found: list[ModelCheck] = []
        for each in chain:
            found += await self._store.checks.page(each.id, CheckKind.PARITY, _LOOKED_AT)
        found.sort(key=lambda check: check.created_at, reverse=True)
        last: dict[tuple[str, bool], tuple[bool, ModelCheck]] = {}
        for check in found:
            for each in check.report.get("results") or []:
                key = (each["name"], each.get("kind") == "served")
                last.setdefault(key, (bool(each.get("passed", True)), check))
        own = {(_form(chain), False), *((name, True) for name in served)}
        failed = [check for form, (fine, check) in last.items() if not fine and form in own]
        return next(iter([*failed, *found]), None)

    async def _served(self, model: Model) -> tuple[str, ...]:
        """The names that serve this very model on this machine, its own first. What serves its
        relatives is not what is promoted."""
        living = await self._store.deployments.page(limit=_RELATIVES, living=True)
        names = [
            each.name
            for each in living
            if each.model_id == model.id
            and (each.identity is None or self._host in (None, each.identity.host))
        ]
        return tuple(sorted(names, key=lambda name: (name != model.id, name)))

    # -- what is missing

    async def _queue(
        self, context: Context, model: Model, verdict: GateVerdict, items: int | None
    ) -> tuple[list[JobView], list[str]]:
        """Jobs for what the verdict wants, those that are under way among them; and why others
        can't be queued. Raises the first such error where nothing can."""
        wants: list[Want] = verdict.report["wants"]
        subject = await self._adapter(model)
        asked = items or len(shipped())
        work: list[Awaitable[JobView]] = []
        if "evaluate" in wants and subject is not None:
            work.append(self._evaluation(context, subject, subject, asked))
        if "evaluate_current" in wants and subject is not None:
            current = await self._model(str(verdict.compared))
            work.append(self._evaluation(context, current, subject, asked))
        if "parity" in wants:
            work.append(self._call("models.parity", {"model": model.id}, context))
        jobs: list[JobView] = []
        problems: list[SophiaError] = []
        for each in work:
            try:
                jobs.append(await each)
            except SophiaError as problem:
                problems.append(problem)
        if problems and not jobs:
            raise problems[0]
        return jobs, [f"{each.what} {each.why} {each.remedy}".strip() for each in problems]

    async def _evaluation(self, context: Context, of: Model, subject: Model, asked: int) -> JobView:
        """`of` on the held-out part of `subject`, and so many general questions."""
        living = await self._under_way(of.id, subject.dataset)
        if living is not None:
            return JobView.of(living)
        request = {
            "model": of.id,
            "dataset": subject.dataset,
            "regression": asked,
            "text_sample": 0,
            "latency_sample": 0,
        }
        view: JobView = await self._call("evaluate.run", request, context)
        return view

    async def _under_way(self, model_id: str, dataset: str | None) -> Job | None:
        """An evaluation that asks the general questions and has not ended."""
        from finetune.schema import REGRESSION_SET

        for job in await self._store.jobs.page(limit=_LOOKED_AT, kinds=(JobKind.EVALUATE.value,)):
            asked = (job.request.get("run", {}).get("evaluation") or {}).get("question_sets") or []
            if (
                (job.model_id, job.dataset) == (model_id, dataset)
                and not has_ended(job)
                and any(each.get("name") == REGRESSION_SET for each in asked)
            ):
                return job
        return None


def _form(chain: list[Model]) -> str | None:
    """The model where it is a file of its own that could answer; an adapter's export is none."""
    model = chain[0]
    if model.kind is ModelKind.EXPORTED and chain[1:2] and chain[1].kind is ModelKind.ADAPTER:
        return None
    return None if model.kind is ModelKind.ADAPTER else model.id


def weights(model: Model) -> dict[str, str]:
    """The sha256 of an adapter's weights as they lie there, by name; nothing where they don't."""
    found: dict[str, str] = {}
    for path in sorted(Path(model.path or "/nowhere").glob("adapter_model.*")):
        try:
            with path.open("rb") as stream:
                found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            return {}  # as good as gone: no evaluation is of it
    return found


def _sum(evaluation: Evaluation | None) -> str | None:
    """The sha256 of the held-out part that an evaluation was measured on, where it says."""
    if evaluation is None or not evaluation.report.get("difference"):
        return None
    return (evaluation.report.get("held_out") or {}).get("sha256")


def _asked(evaluations: list[Evaluation], known: set[Any]) -> Evaluation | None:
    """The newest one that put general questions."""
    return next((each for each in evaluations if verdicts(each.report, "after_right", known)), None)


def _state_notes(model: Model) -> list[str]:
    if model.state is ModelState.CONDITIONAL and model.state_until is not None:
        return [
            _("{model} is allowed until {until}, on conditions: {conditions}").format(
                model=model.id,
                until=clock_day(model.state_until),
                conditions="; ".join(map(visible, model.state_conditions)) or "-",
            )
        ]
    return []


def _report(
    reasons: list[Reason],
    found: Judgement,
    rules: Mapping[str, float],
    compared: str | None,
    subject: Model | None,
) -> dict[str, Any]:
    return {
        "reasons": [
            {"code": each.code, "what": each.what, "remedy": each.remedy} for each in reasons
        ],
        "notes": list(found.notes),
        "checks": [each.model_dump(mode="json") for each in found.checks],
        "wants": list(dict.fromkeys(found.wants)),
        "rules": dict(rules),
        "compared": compared,
        "adapter": subject.id if subject else None,
        "base": subject.base if subject else None,
        "regression": found.regression,
    }


def _view(
    model: Model, verdict: GateVerdict, jobs: list[JobView], kept: str | None
) -> ModelGateView:
    report = verdict.report
    return ModelGateView(
        model=model.id,
        passed=verdict.passed,
        compared=verdict.compared or report["base"],
        items=[ModelGateCheck.model_validate(each) for each in report["checks"]],
        reasons=[
            GateReason(code=f"SOPHIA-{each.code}", what=each.what, remedy=each.remedy)
            for each in verdict.reasons
        ],
        notes=list(verdict.notes),
        jobs=jobs,
        overridable=verdict.overridable,
        checked_at=verdict.checked_at,
        check=kept,
        rules=report["rules"],
        regression=report["regression"],
    )
