"""What is told of evaluations. Texts of models and data are made harmless here."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.models import Evaluation
from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_
from sophia_tui.services.evaluation_compare import CompareRow
from sophia_tui.services.evaluation_rows import MeasureRow

Verdict = Literal["right", "wrong"]


def safe(text: str) -> str:
    """What a model says may hold anything; a terminal must not act on it."""
    return textsafe.visible_lines(text)


def _safe(text: str | None) -> str | None:
    return None if text is None else safe(text)


class ScoreView(Output):
    """Loss in nats for each answer token, and perplexity, with their 95 % intervals."""

    loss: float = Field(title=N_("Loss"))
    loss_low: float = Field(title=N_("Loss, at least"))
    loss_high: float = Field(title=N_("Loss, at most"))
    perplexity: float = Field(title=N_("Perplexity"))
    perplexity_low: float = Field(title=N_("Perplexity, at least"))
    perplexity_high: float = Field(title=N_("Perplexity, at most"))


class AnswerView(Output):
    prompt: str = Field(title=N_("Question"))
    before: str | None = Field(default=None, title=N_("Before"))
    after: str | None = Field(default=None, title=N_("After"))

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "AnswerView":
        return cls(
            prompt=safe(str(answer["prompt"])),
            before=_safe(answer.get("before")),
            after=_safe(answer.get("after")),
        )


class GradedAnswerView(Output):
    """A graded question, what was answered, and whether an accepted text stands in it."""

    set: str = Field(title=N_("Questions"))
    id: str = Field(title=N_("Name"))
    language: str | None = Field(default=None, title=N_("Language"))
    question: str = Field(title=N_("Question"))
    accepted: list[str] = Field(title=N_("Accepted"))
    before: str | None = Field(default=None, title=N_("Before"))
    before_verdict: Verdict | None = Field(default=None, title=N_("Verdict before"))
    after: str | None = Field(default=None, title=N_("After"))
    after_verdict: Verdict | None = Field(default=None, title=N_("Verdict after"))

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> "GradedAnswerView":
        return cls(
            set=safe(answer["set"]),
            id=safe(answer["id"]),
            language=_safe(answer.get("language")),
            question=safe(answer["question"]),
            accepted=[safe(each) for each in answer["accepted"]],
            before=_safe(answer.get("before")),
            before_verdict=_verdict(answer.get("before_right")),
            after=_safe(answer.get("after")),
            after_verdict=_verdict(answer.get("after_right")),
        )


def _verdict(right: bool | None) -> Verdict | None:
    return None if right is None else "right" if right else "wrong"


class HostedCost(Output):
    """USD for conversations of the same tokens at a hosted model; an estimate. `ends` is told of
    one that ends soon."""

    name: str = Field(title=N_("Model"))
    usd: float = Field(title=N_("USD for 1,000 conversations"))
    as_of: date = Field(title=N_("As of"))
    ends: date | None = Field(default=None, title=N_("Ends"))


class EvaluationView(Output):
    machine_only: ClassVar[frozenset[str]] = frozenset(
        {"before", "after", "loss_difference", "loss_difference_low", "loss_difference_high", "id"}
    )

    id: str | None = Field(default=None, title=N_("Evaluation"))
    model: str = Field(title=N_("Model"))
    base: str = Field(title=N_("Base"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    job: str | None = Field(default=None, title=N_("Job"))
    at: datetime | None = Field(default=None, title=N_("Time"))
    examples: int = Field(title=N_("Examples"))
    answer_tokens: int = Field(title=N_("Answer tokens"))
    rows: list[MeasureRow] = Field(title=N_("Measures"))
    before: ScoreView = Field(title=N_("Before"))
    after: ScoreView | None = Field(default=None, title=N_("After"))
    loss_difference: float | None = Field(default=None, title=N_("Difference of the loss"))
    loss_difference_low: float | None = Field(default=None, title=N_("Difference, at least"))
    loss_difference_high: float | None = Field(default=None, title=N_("Difference, at most"))
    hosted_costs: list[HostedCost] = Field(
        default_factory=list, title=N_("The same conversations at hosted models")
    )
    answers: list[AnswerView] = Field(default_factory=list, title=N_("Answers"))
    graded_answers: list[GradedAnswerView] = Field(
        default_factory=list, title=N_("Graded questions")
    )
    notes: list[str] = Field(default_factory=list, title=N_("Good to know"))


class EvaluationRow(Output):
    """One evaluation in a list; `right` is the share of the first set of graded questions."""

    table_columns: ClassVar[tuple[str, ...]] = (
        "id",
        "model",
        "at",
        "perplexity_before",
        "perplexity_after",
        "right_before",
        "right_after",
        "dataset",
    )

    id: str = Field(title=N_("Evaluation"))
    model: str = Field(title=N_("Model"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    at: datetime = Field(title=N_("Time"))
    perplexity_before: float | None = Field(default=None, title=N_("Perplexity before"))
    perplexity_after: float | None = Field(default=None, title=N_("after"))
    questions: str | None = Field(default=None, title=N_("Questions"))
    right_before: float | None = Field(default=None, title=N_("Right before"))
    right_after: float | None = Field(default=None, title=N_("after"))

    @classmethod
    def of(cls, evaluation: Evaluation) -> "EvaluationRow":
        report = evaluation.report
        graded: Mapping[str, Any] = next(iter(report.get("graded") or []), {})
        return cls(
            id=evaluation.id,
            model=evaluation.model_id,
            dataset=evaluation.dataset,
            at=evaluation.created_at,
            perplexity_before=(report.get("before") or {}).get("perplexity"),
            perplexity_after=(report.get("after") or {}).get("perplexity"),
            questions=_safe(graded.get("set")),
            right_before=(graded.get("before") or {}).get("share"),
            right_after=(graded.get("after") or {}).get("share"),
        )


class CompareView(Output):
    """The second beside the first. `fair` is false where they were not asked the same."""

    first: EvaluationRow = Field(title=N_("First"))
    second: EvaluationRow = Field(title=N_("Second"))
    fair: bool = Field(title=N_("Measured alike"))
    reasons: list[str] = Field(default_factory=list, title=N_("Why they don't compare"))
    items: list[CompareRow] = Field(title=N_("Measures"))
