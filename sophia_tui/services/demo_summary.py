"""What the demo tells at its end, made of what its steps answered."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.services.demo_folder import GENERAL, HELDOUT, Question
from sophia_tui.services.views import JobView, collect_reason


class CountView(Output):
    """How often one reason occurred."""

    reason: str = Field(title=N_("Reason"))
    rows: int = Field(title=N_("Rows"))


class ScoresView(Output):
    """On the held-out part, answer tokens only; loss in nats a token."""

    measure: str = Field(title=N_("Measure"))
    before: float = Field(title=N_("Before"))
    after: float = Field(title=N_("After"))


class DemoAnswer(Output):
    question: str = Field(title=N_("Question"))
    expected: str = Field(title=N_("Expected"))
    before: str = Field(title=N_("Before"))
    after: str = Field(title=N_("After"))


class ShareView(Output):
    """How many questions were answered rightly; texts with 95 % intervals, in percent."""

    table_columns: ClassVar[tuple[str, ...]] = ("questions", "asked", "before", "after", "change")

    questions: str = Field(title=N_("Questions"))
    asked: int = Field(title=N_("Asked"))
    before: str = Field(default="", title=N_("Before"))
    after: str = Field(default="", title=N_("After"))
    change: str = Field(default="", title=N_("Change in points"))
    share_before: float | None = Field(default=None, title=N_("Share before"))
    share_after: float | None = Field(default=None, title=N_("Share after"))


class DurationView(Output):
    step: str = Field(title=N_("Step"))
    seconds: int = Field(title=N_("Seconds"))


class DemoSummary(Output):
    rows_collected: int = Field(title=N_("Rows collected"))
    not_collected: list[CountView] = Field(title=N_("Rows that could not be used"))
    dataset: str = Field(title=N_("Data set"))
    rows_in: int = Field(title=N_("Rows read"))
    rows_kept: int = Field(title=N_("Rows kept"))
    rows_rejected: int = Field(title=N_("Rows rejected"))
    rejected: list[CountView] = Field(title=N_("Rejected, by reason"))
    job: str = Field(title=N_("Job"))
    model: str = Field(title=N_("Model"))
    training: str = Field(title=N_("Training"))
    graded: list[ShareView] = Field(title=N_("Answered rightly"))
    scores: list[ScoresView] = Field(title=N_("On the held-out part"))
    answers: list[DemoAnswer] = Field(title=N_("Three questions, worded as in no training row"))
    gate: list[str] = Field(
        default_factory=list, title=N_("What the gate before production has against it")
    )
    promotion: str = Field(title=N_("Promotion"))
    env_file: str = Field(title=N_("Env file of the demo"))
    diff: list[str] = Field(title=N_("What was promoted"))
    served_at: str = Field(title=N_("The model answers at"))
    served_question: str = Field(title=N_("Asked by the openai client"))
    served_answer: str = Field(title=N_("Answered by the promoted name"))
    durations: list[DurationView] = Field(title=N_("Durations"))
    notes: list[str] = Field(title=N_("Good to know"))


def collected(result: Any) -> dict[str, Any]:
    """How many rows all exports wrote, and the reasons of those that none could use."""
    reasons: dict[str, int] = {}
    for each in result.items:
        for reason, rows in each.rejected_by.items():
            reasons[reason] = reasons.get(reason, 0) + rows
    return {
        "rows_collected": sum(each.exported for each in result.items),
        "not_collected": _reasons({collect_reason(code): rows for code, rows in reasons.items()}),
    }


def prepared(result: Any) -> dict[str, Any]:
    counts: dict[str, int] = result.dataset.counts
    return {
        "dataset": result.dataset.id,
        "rows_in": counts["rows_in"],
        "rows_kept": counts["rows_kept"],
        "rows_rejected": counts["rows_rejected"],
        "rejected": _reasons({each.reason: each.count for each in result.rejected}),
    }


def learned(job: JobView, evaluation: Any, questions: list[Question]) -> dict[str, Any]:
    return {
        "job": job.id,
        "model": str(job.resulting_model),
        "training": _training(job),
        "graded": [
            _share(each)
            for each in evaluation.rows
            # held-out wordings by language; the sum of both says less
            if each.measure == "right" and (each.language is not None) == (each.set == HELDOUT)
        ],
        "scores": _scores(evaluation),
        "answers": _answers(evaluation, questions),
    }


def _training(job: JobView) -> str:
    """Steps, threads and time as the run wrote them."""
    told = job.result or {}
    threads = told.get("threads", "?")
    text = ngettext(
        "{steps} steps in {seconds} s with {threads} thread",
        "{steps} steps in {seconds} s with {threads} threads",
        threads if isinstance(threads, int) else 2,
    )
    return text.format(
        steps=told.get("steps", "?"),
        seconds=round(told.get("seconds_in_all") or told.get("seconds") or 0),
        threads=threads,
    )


def _reasons(counts: Mapping[str, int]) -> list[CountView]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [CountView(reason=reason, rows=rows) for reason, rows in ordered]


def _share(row: Any) -> ShareView:
    return ShareView(
        questions=_set_name(row.set, row.language),
        asked=row.count or 0,
        before=_percent(row.before, row.before_low, row.before_high),
        after=_percent(row.after, row.after_low, row.after_high),
        change=_percent(row.difference, row.low, row.high, sign="+"),
        share_before=row.before,
        share_after=row.after,
    )


def _set_name(name: str, language: str | None) -> str:
    known = {
        HELDOUT: _("Trained facts in wordings never seen"),
        GENERAL: _("General questions that the base answers"),
    }
    text = known.get(name, name)
    return f"{text}, {language}" if language else text


def _percent(share: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if share is None:
        return ""
    figure = f"{100 * share:{sign}.0f}"
    if low is None or high is None:
        return figure
    return _("{figure} ({low} to {high})").format(
        figure=figure, low=round(100 * low), high=round(100 * high)
    )


def _scores(evaluation: Any) -> list[ScoresView]:
    before, after = evaluation.before, evaluation.after
    return [
        ScoresView(measure=_("loss"), before=before.loss, after=after.loss),
        ScoresView(measure=_("perplexity"), before=before.perplexity, after=after.perplexity),
    ]


def _answers(evaluation: Any, questions: list[Question]) -> list[DemoAnswer]:
    expected = {each.question: each.expected for each in questions}
    return [
        DemoAnswer(
            question=each.prompt,
            expected=expected[each.prompt],
            before=each.before or "",
            after=each.after or "",
        )
        for each in evaluation.answers
        if each.prompt in expected
    ]
