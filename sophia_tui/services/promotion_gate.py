"""The gate as a promotion meets it: asked in the plan, refused, or overridden with a reason."""

from typing import Any

from sophia_tui.domain.context import Context, Face
from sophia_tui.domain.model_gates import Gate, GateVerdict
from sophia_tui.domain.models import Model, RemarkKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import RefusedError
from sophia_tui.i18n import _, get_language
from sophia_tui.services.model_gate_views import kept_text


class Gatekeeper:
    """Asks the gate; without one (a house that has none) every model passes and nothing is kept.
    A state that a person gave (rejected, retired) is changed by people, and overridden by none; nor
    is a failed parity, nor files that changed: they are made and measured anew."""

    def __init__(self, store: Store, gate: Gate | None) -> None:
        self._store = store
        self._gate = gate

    async def verdict(self, model: Model, current: str | None) -> GateVerdict | None:
        return None if self._gate is None else await self._gate.verdict(model, current)

    def require(
        self, context: Context, model: Model, verdict: GateVerdict | None, override: str | None
    ) -> dict[str, Any]:
        """What the promotion keeps of it. Raises RefusedError P070, P071."""
        if verdict is None:
            return {}
        kept = _kept(verdict)
        if verdict.passed:
            return kept
        if override is None or not verdict.overridable:
            raise RefusedError(
                "P070",
                _("The gate refuses {model}; nothing was changed.").format(model=model.id),
                _why(verdict),
                _remedy(verdict),
                reasons=kept["reasons"],
            )
        if context.face is Face.WORKER:
            raise RefusedError(
                "P071",
                _("The gate refuses {model}, and a schedule can't override it.").format(
                    model=model.id
                ),
                _why(verdict),
                _("A person promotes it, with --override REASON."),
            )
        return {**kept, "override": {"by": context.actor, "reason": override}}

    def foretold(
        self, context: Context, verdict: GateVerdict | None, override: str | None
    ) -> list[str]:
        """What a plan says of it."""
        if verdict is None:
            return []
        notes = list(verdict.notes)
        if verdict.passed:
            return [_("The gate lets it pass."), *notes]
        if override is None or not verdict.overridable or context.face is Face.WORKER:
            why = f"{_why(verdict)} {_remedy(verdict)}"
            return [_("It would be refused: {why}").format(why=why), *notes]
        return [
            _("The gate refuses it: {why}").format(why=_why(verdict)),
            _("That would be overridden: {reason}").format(reason=override),
            *notes,
        ]

    def refusal(
        self, context: Context, verdict: GateVerdict | None, override: str | None
    ) -> str | None:
        """The code of what a promotion would be refused with, where it would be."""
        if verdict is None or verdict.passed:
            return None
        if override is None or not verdict.overridable:
            return "SOPHIA-P070"
        return "SOPHIA-P071" if context.face is Face.WORKER else None

    async def remember(self, model_id: str, promotion_id: str, gate: dict[str, Any]) -> None:
        """A remark on the model: who let it pass, why, in which promotion, what the gate said."""
        await self._store.remarks.add(
            model_id,
            gate["override"]["by"],
            RemarkKind.NOTE,
            _("{reason} (Promotion {id}, past the gate: {codes}.)").format(
                reason=gate["override"]["reason"],
                id=promotion_id,
                codes=", ".join(dict.fromkeys(each["code"] for each in gate["reasons"])),
            ),
            {"kind": "gate_override", "promotion": promotion_id, "reasons": gate["reasons"]},
        )


def gate_notes(gate: dict[str, Any] | None) -> list[str]:
    """What people read of the gate when the promotion is done."""
    if not gate:
        return []
    notes = [kept_text(each, gate.get("language")) for each in gate["notes"]]
    if "override" in gate:
        return [
            _("The gate was overridden: {reason}").format(reason=gate["override"]["reason"]),
            *(
                _("Passed over: [{code}] {what}").format(code=each["code"], what=each["what"])
                for each in gate["reasons"]
            ),
            *notes,
        ]
    return [_("The gate let it pass."), *notes]


def _kept(verdict: GateVerdict) -> dict[str, Any]:
    return {
        "passed": verdict.passed,
        "language": get_language(),
        "reasons": [{"code": each.code, "what": each.what} for each in verdict.reasons],
        "notes": list(verdict.notes),
        "checked_at": verdict.checked_at.isoformat(),
        "compared": verdict.compared,
    }


def _why(verdict: GateVerdict) -> str:
    return " ".join(f"[{each.code}] {each.what}" for each in verdict.reasons)


def _remedy(verdict: GateVerdict) -> str:
    remedies = dict.fromkeys(each.remedy for each in verdict.reasons if each.remedy)
    if verdict.overridable:
        by_hand = _("Who knows better gives --override REASON.")
    else:
        by_hand = _("Nobody overrides that.")
    return " ".join([*remedies, by_hand])
