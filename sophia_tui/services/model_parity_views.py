"""What is told of a parity check: each form of a model with its figures and what stands against it.

Texts of models and data are made harmless here.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.models import ModelCheck
from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_, _, number
from sophia_tui.textsafe import visible, visible_lines

_FINGERPRINT = 12
#: What stands against a form (finetune.parity_documents.ParityCode): its code, and the sentence.
REASONS: Mapping[str, tuple[str, str]] = {
    "template": ("M565", N_("Its chat template is {found}; the training's was {wanted}.")),
    "prompt": (
        "M566",
        N_(
            "It reads prompt {prompt} as {tokens} tokens, and not as the {wanted} that the form of "
            "the training makes of it."
        ),
    ),
    "weights": (
        "M567",
        N_(
            "{wrong} of the {checked} numbers in its files are not base plus adapter; the first is "
            "in {tensor}, at {place}: {stored} in place of {wanted}."
        ),
    ),
    "difference": (
        "M568",
        N_(
            "Its log-probabilities are off by {mean} nats in the mean, and at most {bound} is "
            "allowed; prompt {prompt} is off most."
        ),
    ),
    "greedy": (
        "M569",
        N_(
            "{equal} of {prompts} prompts are answered alike; the first that is not is {prompt}, "
            "from token {place} on."
        ),
    ),
    "broken": ("M570", N_("It can't be loaded ({kind}).")),
    "no_engine": ("M571", N_("llama.cpp (the package xllamacpp) is not installed here.")),
    "not_served": ("M572", N_("It is not served under that name (HTTP 404).")),
    "other_model": ("M573", N_("Another model answers: {named}.")),
    "refused": ("M574", N_("It answered with HTTP {status}. {told}")),
    "silent": ("M575", N_("No answer came within {seconds} seconds.")),
    "unreachable": ("M576", N_("Nobody answers at {address} ({kind}).")),
    "nonsense": ("M577", N_("What it answered is no answer of the OpenAI protocol.")),
}
#: Of `weights`, where whole tensors are amiss.
_TENSORS = N_("{tensors} tensors are missing, unknown or of another shape; the first is {tensor}.")
FORM_KINDS = (N_("arithmetic"), N_("merged"), N_("exported"), N_("served"))
VERDICTS = (N_("passed"), N_("failed"))


class ParityForm(Output):
    """One form of a model against base and adapter. Differences are in nats for each token."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "name",
        "kind",
        "verdict",
        "precision",
        "mean_difference",
        "bound",
        "max_difference",
        "alike",
        "prompts",
        "engine",
    )

    name: str = Field(title=N_("Form"))
    kind: str = Field(title=N_("Kind"))
    verdict: Literal["passed", "failed"] = Field(title=N_("Verdict"))
    precision: str = Field(title=N_("Precision"))
    engine: str = Field(title=N_("Engine"))
    prompts: int = Field(title=N_("Prompts"))
    alike: int = Field(title=N_("Answered alike"))
    ties: int = Field(title=N_("Of these at a tie"))
    least_alike: float = Field(title=N_("Share needed"))
    tokens: int = Field(title=N_("Tokens compared"))
    log_probabilities: bool = Field(title=N_("Gives log-probabilities"))
    mean_difference: float | None = Field(default=None, title=N_("Mean difference"))
    max_difference: float | None = Field(default=None, title=N_("Greatest difference"))
    bound: float = Field(title=N_("At most"))
    template: str | None = Field(default=None, title=N_("Template"))
    weights_checked: int | None = Field(default=None, title=N_("Weights compared"))
    changed: bool = Field(default=False, title=N_("Changed since"))

    @classmethod
    def of(cls, form: Mapping[str, Any], changed: bool) -> "ParityForm":
        return cls(
            name=visible(form["name"]),
            kind=form["kind"],
            verdict="passed" if form["passed"] else "failed",
            precision=visible(form["precision"]),
            engine=visible(form["engine"]),
            prompts=form["prompts"],
            alike=form["equal"],
            ties=form["ties"],
            least_alike=form["bound"]["equal"],
            tokens=form["places"],
            log_probabilities=form["log_probabilities"],
            mean_difference=_figure(form["mean_difference"]),
            max_difference=_figure(form["max_difference"]),
            bound=form["bound"]["mean"],
            template=(form["template_fingerprint"] or "")[:_FINGERPRINT] or None,
            weights_checked=form["weights_checked"],
            changed=changed,
        )


class ParityReasonView(Output):
    table_columns: ClassVar[tuple[str, ...]] = ("form", "code", "what")

    form: str = Field(title=N_("Form"))
    code: str = Field(title=N_("Code"))
    what: str = Field(title=N_("What stands against it"))


class ParityDivergence(Output):
    """The first prompt that a form answers otherwise, with both answers."""

    form: str = Field(title=N_("Form"))
    prompt: str = Field(title=N_("Prompt"))
    question: str = Field(title=N_("Question"))
    token: int = Field(title=N_("From token"))
    reference: str = Field(title=N_("Base and adapter"))
    answer: str = Field(title=N_("This form"))


class ParityView(Output):
    check: str = Field(title=N_("Check"))
    model: str = Field(title=N_("Model"))
    verdict: Literal["passed", "failed"] = Field(title=N_("Verdict"))
    at: datetime = Field(title=N_("Time"))
    by: str = Field(title=N_("Created by"))
    prompts: int = Field(title=N_("Prompts"))
    left_out: list[str] = Field(default_factory=list, title=N_("Prompts left out"))
    template: str = Field(title=N_("Template of the training"))
    forms: list[ParityForm] = Field(title=N_("Forms"))
    reasons: list[ParityReasonView] = Field(default_factory=list, title=N_("Reasons"))
    diverging: list[ParityDivergence] = Field(
        default_factory=list, title=N_("First other answer of each")
    )
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))

    @classmethod
    def of(cls, check: ModelCheck, changed: Sequence[str], running: str | None) -> "ParityView":
        report = check.report
        forms = report["results"]
        notes = [*_remarks(forms)]
        if changed:
            notes.insert(
                0,
                _("Files changed since, so this check counts no more: {names}.").format(
                    names=", ".join(map(visible, changed))
                ),
            )
        if running:
            notes.append(_("A newer check is under way: {job}.").format(job=running))
        return cls(
            check=check.id,
            model=check.model_id,
            verdict="passed" if check.passed else "failed",
            at=check.created_at,
            by=check.created_by,
            prompts=report["prompts"],
            left_out=[visible(each) for each in report["prompts_left_out"]],
            template=report["template_fingerprint"][:_FINGERPRINT],
            forms=[ParityForm.of(each, each["name"] in changed) for each in forms],
            reasons=[
                ParityReasonView(form=each["form"], code=each["code"], what=each["what"])
                for each in reasons_of(report)
            ],
            diverging=[_divergence(each) for each in forms if each["diverging"]],
            notes=notes,
        )

    def exit_code(self) -> int:
        return int(self.verdict == "failed")


def reasons_of(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """What stands against the forms of a report, in the active language: form, code, what."""
    return [
        {"form": visible(form["name"]), **told_reason(reason)}
        for form in report["results"]
        for reason in form["reasons"]
    ]


def told_reason(reason: Mapping[str, Any]) -> dict[str, str]:
    """One of finetune's reasons with our code, in the active language."""
    code, template = REASONS[reason["code"]]
    values = reason["values"]
    if reason["code"] == "weights" and not values["wrong"]:
        template = _TENSORS
    told = {key: _told(key, each) for key, each in values.items()}
    return {"code": f"SOPHIA-{code}", "what": _(template).format(**told).strip()}


def _told(key: str, value: Any) -> str:
    if value is None:
        return _("none")
    if key in ("found", "wanted") and isinstance(value, str):
        return value[:_FINGERPRINT]  # a template's fingerprint
    if key == "place" and isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and key != "status":
        return number(value)
    return visible(str(value))


def _remarks(forms: Sequence[Mapping[str, Any]]) -> list[str]:
    silent = [visible(each["name"]) for each in forms if not each["log_probabilities"]]
    silent = [name for name in silent if name]
    if not silent:
        return []
    return [
        _(
            "Compared by greedy tokens alone, as the engine gives no log-probabilities: {names}."
        ).format(names=", ".join(silent))
    ]


def _divergence(form: Mapping[str, Any]) -> ParityDivergence:
    found = form["diverging"]
    return ParityDivergence(
        form=visible(form["name"]),
        prompt=visible(found["prompt"]),
        question=visible_lines(found["question"]),
        token=found["place"],
        reference=visible_lines(found["reference"]),
        answer=visible_lines(found["answer"]),
    )


def _figure(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
