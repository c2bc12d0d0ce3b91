"""What people say of models: notes, and the states they give; and all that became of one, by time.

Only `candidate` is set by itself; every other state is a person's.
"""

from collections.abc import Awaitable, Callable
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import Field

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import (
    CheckKind,
    Decision,
    Model,
    ModelState,
    Promotion,
    PromotionState,
    Remark,
    RemarkKind,
    standing,
)
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import ConflictError, DataError, UnconfirmedError, UsageError
from sophia_tui.i18n import N_, _, number
from sophia_tui.services.changes import ago
from sophia_tui.services.model_gate_views import kept_reasons
from sophia_tui.services.model_parity_views import reasons_of
from sophia_tui.services.models import (
    ModelReference,
    known_model,
    named_in_production,
    with_row,
)
from sophia_tui.services.operations import operation
from sophia_tui.services.promotion_record import NO_MODEL, named_model
from sophia_tui.services.standard_input import STANDARD_INPUT, standard_input
from sophia_tui.services.views import MOST_ROWS
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_LONGEST = 20_000  # signs of a note


#: States after which nobody should ask a model any more.
_GOING = (ModelState.REJECTED, ModelState.RETIRED)


class NoteRequest(ModelReference):
    piped: ClassVar[frozenset[str]] = frozenset({"text"})

    text: str = Field(
        min_length=1,
        max_length=_LONGEST,
        description=N_("The note; - reads it from standard input."),
    )


class StateRequest(ModelReference):
    state: Literal["candidate", "approved", "conditional", "rejected", "retired"] = Field(
        description=N_("The state: candidate, approved, conditional, rejected or retired.")
    )
    reason: str = Field(
        min_length=1, max_length=_LONGEST, description=N_("Why; it is kept for good.")
    )
    condition: list[str] = Field(
        default_factory=list,
        description=N_("What a conditional approval depends on; may be repeated."),
    )
    until: date | None = Field(
        default=None,
        description=N_("The last day of a conditional approval (YYYY-MM-DD, SOPHIA_TIMEZONE)."),
    )
    seen_version: int | None = Field(
        default=None,
        ge=0,
        le=2147483647,
        description=N_("The version that you saw: if another person was faster, you are told."),
    )


class HistoryRequest(ModelReference):
    limit: int = Field(default=100, ge=1, le=500, description=N_("How many at most."))
    offset: int = Field(default=0, ge=0, le=MOST_ROWS, description=N_("How many to pass over."))


class StateView(Output):
    as_is: ClassVar[frozenset[str]] = frozenset({"version"})

    model: str = Field(title=N_("Model"))
    state: str = Field(title=N_("State"))
    reason: str = Field(title=N_("Reason"))
    conditions: list[str] = Field(default_factory=list, title=N_("Conditions"))
    until: datetime | None = Field(default=None, title=N_("Until"))
    before: str = Field(title=N_("Before"))
    by: str = Field(title=N_("Decided by"))
    at: datetime = Field(title=N_("Decided"))
    version: int = Field(title=N_("Version"))
    notes: list[str] = Field(default_factory=list, title=N_("Notes"))


class RemarkView(Output):
    model: str = Field(title=N_("Model"))
    at: datetime = Field(title=N_("Time"))
    by: str = Field(title=N_("By"))
    text: str = Field(title=N_("Note"))


class HappeningView(Output):
    """Something that became of a model. `kind` says what it was."""

    table_columns: ClassVar[tuple[str, ...]] = ("at", "kind", "state", "by", "what")

    at: datetime = Field(title=N_("Time"))
    kind: str = Field(title=N_("Kind"))
    state: str | None = Field(default=None, title=N_("State"))
    by: str | None = Field(default=None, title=N_("By"))
    what: str = Field(title=N_("What"))
    reference: str | None = Field(default=None, title=N_("Reference"))


class HistoryView(Output):
    model: str = Field(title=N_("Model"))
    state: str = Field(title=N_("State"))
    items: list[HappeningView] = Field(title=N_("What became of it"))


class ModelStatesService:
    """Keeps what people decide; decides nothing itself."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        clock: Clock,
        warning: Callable[[str], Awaitable[list[str]]] | None = None,
    ) -> None:
        self._warning = warning
        self._store = store
        self._settings = settings
        self._clock = clock

    @operation(
        "models.note",
        N_("Keep a note on a model, for good."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        positional=("model", "text"),
    )
    async def note(self, context: Context, request: NoteRequest) -> RemarkView:
        """Raises NotFoundError M404, DataError M505 (standard input that is no note)."""
        text = request.text
        if text == STANDARD_INPUT and context.face is Face.CLI:
            text = await _piped(context)
        model = await self._row(request.model)
        kept = await self._store.remarks.add(model.id, context.actor, RemarkKind.NOTE, text)
        return RemarkView(model=model.id, at=kept.at, by=kept.by, text=kept.text)

    @operation(
        "models.state",
        N_("Give a model a state, with the reason: approved, conditional, rejected, retired."),
        role=Role.ADMIN,
        writes=True,
        target="model",
        positional=("model", "state"),
    )
    async def state(self, context: Context, request: StateRequest) -> StateView:
        """Raises NotFoundError M404, UsageError M506, M507, M508, ConflictError M500,
        UnconfirmedError M514 (production names a model that is to be rejected or retired)."""
        state = ModelState(request.state)
        now = self._clock.now()
        until = self._end_of(request.until)
        _require_sense(request, state, until, now)
        if state in (ModelState.REJECTED, ModelState.RETIRED) and not context.confirmed:
            await self._require_unused(request.model, state)
        model = await self._row(request.model)
        decision = Decision(
            state=state,
            reason=request.reason,
            by=context.actor,
            at=now,
            conditions=tuple(request.condition),
            until=until,
        )
        seen = model.version if request.seen_version is None else max(1, request.seen_version)
        try:
            changed = await self._store.models.decide(model.id, seen, decision)
        except ConflictError as problem:
            raise await self._faster(problem, model.id, now) from problem
        return StateView(
            model=changed.id,
            state=changed.state.value,
            reason=request.reason,
            conditions=list(changed.state_conditions),
            until=changed.state_until,
            before=standing(model, now),
            by=context.actor,
            at=now,
            version=changed.version,
            notes=await self._warning(changed.id) if self._warning and state in _GOING else [],
        )

    @operation(
        "models.history",
        N_("Show what became of a model, newest first: states, notes, checks, use in production."),
        target="model",
        positional=("model",),
    )
    async def history(self, context: Context, request: HistoryRequest) -> HistoryView:
        """Raises NotFoundError M404."""
        now = self._clock.now()
        model = await known_model(self._store, request.model, now)
        items = sorted(await self._happenings(model), key=lambda each: each.at, reverse=True)
        chosen = items[request.offset : request.offset + request.limit]
        return HistoryView(model=model.id, state=standing(model, now), items=chosen)

    async def _happenings(self, model: Model) -> list[HappeningView]:
        found = [_made(model)]
        found += [_remarked(each) for each in await self._store.remarks.page(model.id, 500)]
        for check in await self._store.checks.page(model.id, limit=200):
            found.append(
                HappeningView(
                    at=check.created_at,
                    kind=check.kind.value,
                    state="done" if check.passed else "failed",
                    by=check.created_by or None,
                    what=_checked(check.kind, check.passed, check.report),
                    reference=check.id,
                )
            )
        for evaluation in await self._store.evaluations.page(model.id, limit=200):
            found.append(
                HappeningView(
                    at=evaluation.created_at,
                    kind="evaluate",
                    what=_("Evaluated on {dataset}.").format(dataset=evaluation.dataset or "-"),
                    reference=evaluation.id,
                )
            )
        for deployment in await self._store.deployments.page(limit=500):
            if deployment.model_id == model.id:
                found.append(
                    HappeningView(
                        at=deployment.created_at,
                        kind="deployment",
                        state=deployment.state.value,
                        by=deployment.created_by,
                        what=_("Served as {name}.").format(name=deployment.name),
                        reference=deployment.id,
                    )
                )
        for promotion in await every_promotion(self._store):
            if model.id in (promotion.model_id, promotion.previous_model):
                found.append(_promoted(promotion, model.id))
        return found

    async def _require_unused(self, model_id: str, state: ModelState) -> None:
        """Production goes on asking for it whatever its state says: so a person is asked."""
        newest = await self._store.promotions.page(500)
        done = next((each for each in newest if each.state is PromotionState.DONE), None)
        in_force = done is not None and done.model_id == model_id
        if not in_force and not named_in_production(self._settings.managed_files, model_id):
            return
        raise UnconfirmedError(
            "M514",
            _("Production names {model}, which is to be {state}.").format(
                model=visible(model_id), state=_(state.value)
            ),
            _("The state changes no env file: production goes on asking for it."),
            _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
        )

    async def _row(self, model_id: str) -> Model:
        known = await known_model(self._store, model_id, self._clock.now())
        return await with_row(self._store, known)

    def _end_of(self, day: date | None) -> datetime | None:
        """The last second of that day in the house's time zone."""
        if day is None:
            return None
        zone = ZoneInfo(self._settings.timezone)
        return datetime.combine(day, time(23, 59, 59), tzinfo=zone)

    async def _faster(self, problem: ConflictError, model_id: str, now: datetime) -> ConflictError:
        """The same, with who was faster and how long ago."""
        model = await self._store.models.get(model_id)
        if model is None or model.state_at is None or model.state_by is None:
            return problem
        return ConflictError(
            "M500",
            _("{model} was changed meanwhile.").format(model=model_id),
            _("Its state is {state}: {who} gave it, {age}.").format(
                who=model.state_by, state=_(model.state.value), age=ago(now, model.state_at)
            ),
            problem.remedy,
            version=model.version,
            changed_by=model.state_by,
            changed_at=model.state_at.isoformat(),
        )


async def every_promotion(store: Store) -> list[Promotion]:
    """All of them, oldest first."""
    found: list[Promotion] = []
    while page := await store.promotions.page(500, len(found)):
        found += page
    return found[::-1]


async def _piped(context: Context) -> str:
    async with standard_input(context, _("The note, then Ctrl-D:")) as path:
        content = path.read_bytes()
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _LONGEST:
        raise DataError(
            "M505",
            _("Standard input holds no note."),
            _("A note is text in UTF-8 of at most {most} signs.").format(most=number(_LONGEST)),
        )
    return text


def _require_sense(
    request: StateRequest, state: ModelState, until: datetime | None, now: datetime
) -> None:
    conditional = state is ModelState.CONDITIONAL
    if conditional and not (request.condition and until):
        raise UsageError(
            "M506",
            _("A conditional approval needs its conditions and its last day."),
            remedy=_("Say --condition TEXT and --until YYYY-MM-DD."),
        )
    if not conditional and (request.condition or until):
        raise UsageError(
            "M507",
            _("Conditions and a last day belong to a conditional approval alone."),
            remedy=_("Leave them out, or choose conditional."),
        )
    if until is not None and until <= now:
        raise UsageError(
            "M508",
            _("The last day is over already."),
            remedy=_("Name a day that is to come."),
        )


def _made(model: Model) -> HappeningView:
    words = {
        "hosted": _("First named here."),
        "base": _("First trained from."),
        "adapter": _("Trained from {base}.").format(base=model.base),
        "merged": _("Merged from {parent}.").format(parent=model.parent or "-"),
        "exported": _("Exported from {parent}.").format(parent=model.parent or "-"),
    }
    what = words[model.kind.value]
    if model.kind.value == "hosted" and model.job_id:
        what = _("Trained from {base}.").format(base=model.base)
    return HappeningView(
        at=model.created_at, kind=model.kind.value, what=what, reference=model.job_id
    )


def _remarked(remark: Remark) -> HappeningView:
    if remark.kind is RemarkKind.NOTE:
        return HappeningView(at=remark.at, kind="note", by=remark.by, what=remark.text)
    detail: dict[str, Any] = remark.detail
    parts = [remark.text if remark.text.endswith((".", "!", "?")) else f"{remark.text}."]
    if conditions := detail.get("conditions"):
        parts.append(_("On condition: {what}.").format(what="; ".join(conditions)))
    if until := detail.get("until"):
        parts.append(_("Until {day}.").format(day=str(until)[:10]))
    return HappeningView(
        at=remark.at,
        kind="state",
        state=str(detail.get("state") or ""),
        by=remark.by,
        what=" ".join(parts),
    )


def _checked(kind: CheckKind, passed: bool, report: dict[str, Any]) -> str:
    if passed:
        words = {CheckKind.PARITY: _("Parity holds."), CheckKind.GATE: _("It may be promoted.")}
        return words[kind]
    if kind is CheckKind.GATE:
        reasons = kept_reasons(report)
    elif "results" in report:  # parity keeps codes and values: said anew for who reads
        reasons = [each["what"] for each in reasons_of(report)]
    else:
        reasons = [str(each.get("what") or "") for each in report.get("reasons") or []]
    words = {
        CheckKind.PARITY: _("Parity does not hold."),
        CheckKind.GATE: _("It may not be promoted."),
    }
    return " ".join([words[kind], *filter(None, reasons)])


def _promoted(promotion: Promotion, model_id: str) -> HappeningView:
    came = promotion.model_id == model_id
    what = _("Put into production.") if came else _("{model} took its place.")
    if promotion.rolls_back:
        what = _("Put back into production.") if came else _("Taken back for {model}.")
        if promotion.model_id == NO_MODEL:
            what = _("Taken back; no model was named before it.")
    if promotion.state is PromotionState.UNDONE:
        what = _("A promotion of {model} failed, and was undone.")
    return HappeningView(
        at=promotion.finished_at or promotion.created_at,
        kind="rollback" if promotion.rolls_back else "promotion",
        state=promotion.state.value,
        by=promotion.created_by,
        what=what.format(model=named_model(promotion.model_id)),
        reference=promotion.id,
    )
