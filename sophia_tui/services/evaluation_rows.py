"""The figures of an evaluation's report as flat rows, each beside its target and its interval."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.domain.targets import Target
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

Report = Mapping[str, Any]

LABELS = {
    "loss": N_("Loss"),
    "perplexity": N_("Perplexity"),
    "bleu": N_("BLEU"),
    "chrf": N_("chrF"),
    "similarity": N_("Similarity of meaning"),
    "latency_median": N_("Seconds an answer, median"),
    "latency_p95": N_("Seconds an answer, 95 %"),
    "question_tokens": N_("Tokens a question"),
    "answer_tokens": N_("Tokens an answer"),
    "conversations_usd": N_("USD for 1,000 conversations"),
    "errors": N_("Errors"),
    "satisfaction": N_("Satisfaction"),
    "tone": N_("Tone consistent"),
    "facts": N_("Facts right"),
    "scope": N_("In scope"),
    "hallucination": N_("Hallucination"),
    "latency": N_("Seconds an answer, median"),
}
#: The measure that a target is about, where it has another name.
_TARGET_OF = {"latency_median": "latency"}
_UNITS = {
    "loss": "nats",
    "latency_median": "seconds",
    "latency_p95": "seconds",
    "question_tokens": "tokens",
    "answer_tokens": "tokens",
    "conversations_usd": "usd",
}
#: Percentile bootstrap over examples, where a measure names nothing else.
_BOOTSTRAP = "bootstrap"


class MeasureRow(Output):
    """One measure before and after, with 95 % intervals; `low` and `high` are the difference's.

    `right` is the share of right answers to a set of graded questions, in one language or all.
    """

    table_columns: ClassVar[tuple[str, ...]] = (
        "label",
        "before",
        "after",
        "difference",
        "low",
        "high",
        "target",
        "met",
    )

    label: str = Field(title=N_("Measure"))
    measure: str = Field(title=N_("Name"))
    set: str | None = Field(default=None, title=N_("Questions"))
    language: str | None = Field(default=None, title=N_("Language"))
    unit: str | None = Field(default=None, title=N_("Unit"))
    count: int | None = Field(default=None, title=N_("Examples"))
    before: float | None = Field(default=None, title=N_("Before"))
    before_low: float | None = Field(default=None, title=N_("Before, at least"))
    before_high: float | None = Field(default=None, title=N_("Before, at most"))
    after: float | None = Field(default=None, title=N_("After"))
    after_low: float | None = Field(default=None, title=N_("After, at least"))
    after_high: float | None = Field(default=None, title=N_("After, at most"))
    difference: float | None = Field(default=None, title=N_("Change"))
    low: float | None = Field(default=None, title=N_("At least"))
    high: float | None = Field(default=None, title=N_("At most"))
    target: str | None = Field(default=None, title=N_("Goal"))
    met: Literal["met", "not met", "not measured"] | None = Field(default=None, title=N_("Reached"))
    by: str | None = Field(default=None, title=N_("Measured by"))

    @property
    def figure(self) -> float | None:
        """What the model does: after, or before where nothing was trained."""
        return self.before if self.after is None else self.after


def label(measure: str, name: str | None = None, language: str | None = None) -> str:
    """A measure's name for people, in the active language."""
    if measure == "right":
        parts = [visible(name or "")] + ([visible(language)] if language else [])
        return _("Right: {questions}").format(questions=", ".join(parts))
    return _(LABELS.get(measure, measure))


def rows_of(report: Report, targets: Mapping[str, Target]) -> list[MeasureRow]:
    """Every figure of the report, then the targets that nothing here measures."""
    about_facts = _sets_of_facts(report)
    rows = [
        _with_target(row, targets, about_facts)
        for part in (_losses(report), _graded(report), _measures(report))
        for row in part
    ]
    measured = {_target_name(row, about_facts) for row in rows}
    return rows + [
        MeasureRow(label=label(name), measure=name, target=str(target), met="not measured")
        for name, target in targets.items()
        if name not in measured
    ]


def _losses(report: Report) -> Iterator[MeasureRow]:
    before, after = report["before"], report.get("after") or {}
    difference = report.get("difference") or {}
    for name in ("loss", "perplexity"):
        more = {}
        if name == "loss":
            more = {
                "difference": difference.get("loss"),
                "low": difference.get("loss_low"),
                "high": difference.get("loss_high"),
            }
        elif after:
            more = {"difference": after[name] - before[name]}
        yield MeasureRow(
            label=label(name),
            measure=name,
            unit=_UNITS.get(name),
            count=report.get("examples"),
            **_side("before", before, name),
            **_side("after", after, name),
            **more,
            by=_BOOTSTRAP,
        )


def _side(side: str, score: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        side: score.get(name),
        f"{side}_low": score.get(f"{name}_low"),
        f"{side}_high": score.get(f"{name}_high"),
    }


def _graded(report: Report) -> Iterator[MeasureRow]:
    for each in report.get("graded") or []:
        before, after = each.get("before") or {}, each.get("after") or {}
        difference = each.get("difference") or {}
        yield MeasureRow(
            label=label("right", each["set"], each.get("language")),
            measure="right",
            set=each["set"],
            language=each.get("language"),
            unit="share",
            count=(after or before).get("total"),
            before=before.get("share"),
            before_low=before.get("low"),
            before_high=before.get("high"),
            after=after.get("share"),
            after_low=after.get("low"),
            after_high=after.get("high"),
            difference=difference.get("share"),
            low=difference.get("low"),
            high=difference.get("high"),
            by="Wilson, Newcombe 10",
        )


def _measures(report: Report) -> Iterator[MeasureRow]:
    for each in report.get("measures") or []:
        name = each["name"]
        yield MeasureRow(
            label=label(name),
            measure=name,
            unit=_UNITS.get(name),
            **{key: value for key, value in each.items() if key not in ("name", "by")},
            by=each.get("by") or _BOOTSTRAP,
        )


def _sets_of_facts(report: Report) -> set[str]:
    """Sets whose questions each ask for a fact: their share of right answers is `facts`."""
    answers = report.get("graded_answers") or []
    sets = {each["set"] for each in answers}
    return sets - {each["set"] for each in answers if not each.get("fact")}


def _target_name(row: MeasureRow, about_facts: set[str]) -> str:
    if row.measure == "right":
        return "facts" if row.set in about_facts else "right"
    return _TARGET_OF.get(row.measure, row.measure)


def _with_target(
    row: MeasureRow, targets: Mapping[str, Target], about_facts: set[str]
) -> MeasureRow:
    target = targets.get(_target_name(row, about_facts))
    if target is None or row.figure is None:
        return row
    met = "met" if target.met(row.figure) else "not met"
    return row.model_copy(update={"target": str(target), "met": met})
