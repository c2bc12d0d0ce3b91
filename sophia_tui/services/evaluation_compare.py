"""Two evaluations side by side: each figure of both, and the difference on what both were asked."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from sophia_tui.domain.operations import Output
from sophia_tui.i18n import N_, _
from sophia_tui.services.evaluation_rows import MeasureRow, Report, label, rows_of

_Z95 = 1.959963984540054


class CompareRow(Output):
    """A measure of both models with its 95 % interval; the difference is second minus first.

    A difference has an interval only where both answered the same examples (`paired` of them).
    """

    table_columns: ClassVar[tuple[str, ...]] = (
        "label",
        "first",
        "second",
        "difference",
        "low",
        "high",
        "paired",
        "p_value",
    )

    label: str = Field(title=N_("Measure"))
    measure: str = Field(title=N_("Name"))
    set: str | None = Field(default=None, title=N_("Questions"))
    language: str | None = Field(default=None, title=N_("Language"))
    unit: str | None = Field(default=None, title=N_("Unit"))
    first: float | None = Field(default=None, title=N_("First"))
    first_low: float | None = Field(default=None, title=N_("First, at least"))
    first_high: float | None = Field(default=None, title=N_("First, at most"))
    second: float | None = Field(default=None, title=N_("Second"))
    second_low: float | None = Field(default=None, title=N_("Second, at least"))
    second_high: float | None = Field(default=None, title=N_("Second, at most"))
    difference: float | None = Field(default=None, title=N_("Change"))
    low: float | None = Field(default=None, title=N_("At least"))
    high: float | None = Field(default=None, title=N_("At most"))
    paired: int | None = Field(default=None, title=N_("Same"))
    p_value: float | None = Field(default=None, title=N_("p (McNemar)"))
    by: str | None = Field(default=None, title=N_("Difference by"))


Key = tuple[str, str | None, str | None]


def compared(first: Report, second: Report) -> list[CompareRow]:
    """Every measure that one of the two has."""
    left = {_key(row): row for row in rows_of(first, {})}
    right = {_key(row): row for row in rows_of(second, {})}
    paired = {row[0]: row[1] for row in _paired(first, second)}
    return [
        _row(key, left.get(key), right.get(key), paired.get(key, {}))
        for key in dict.fromkeys([*left, *right])
    ]


def _key(row: MeasureRow) -> Key:
    return row.measure, row.set, row.language


def _row(
    key: Key, first: MeasureRow | None, second: MeasureRow | None, paired: Mapping[str, Any]
) -> CompareRow:
    values: dict[str, Any] = {}
    for name, row in (("first", first), ("second", second)):
        if row is not None:
            side = "before" if row.after is None else "after"
            values[name] = getattr(row, side)
            values[f"{name}_low"] = getattr(row, f"{side}_low")
            values[f"{name}_high"] = getattr(row, f"{side}_high")
    both = values.get("first"), values.get("second")
    if both[0] is not None and both[1] is not None:
        values["difference"] = both[1] - both[0]
    known = first or second
    return CompareRow(
        label=label(*key),
        measure=key[0],
        set=key[1],
        language=key[2],
        unit=known.unit if known else None,
        **{**values, **paired},
    )


def _paired(first: Report, second: Report) -> Iterator[tuple[Key, dict[str, Any]]]:
    yield from _paired_questions(first, second)
    if _same_data(first, second):
        yield from _paired_examples(first, second)


def _paired_questions(first: Report, second: Report) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Newcombe's interval and McNemar's p over the questions that both were asked."""
    from finetune.grading import Pairs, share_difference

    theirs = {_question(each): each for each in second.get("graded_answers") or []}
    pairs: dict[Key, list[tuple[bool, bool]]] = {}
    for each in first.get("graded_answers") or []:
        other = theirs.get(_question(each))
        if other is None:
            continue
        verdicts = _verdict(each), _verdict(other)
        if verdicts[0] is None or verdicts[1] is None:
            continue
        for language in {None, each.get("language")}:
            key = ("right", each["set"], language)
            pairs.setdefault(key, []).append((verdicts[0], verdicts[1]))
    for key, found in pairs.items():
        difference = share_difference(Pairs.of(found))
        yield (
            key,
            {
                "difference": difference.share,
                "low": difference.low,
                "high": difference.high,
                "p_value": difference.p_value,
                "paired": len(found),
                "by": "Newcombe 10",
            },
        )


def _question(answer: Mapping[str, Any]) -> tuple[Any, ...]:
    return answer["set"], answer["id"], answer["question"], tuple(answer["accepted"])


def _verdict(answer: Mapping[str, Any]) -> bool | None:
    after: bool | None = answer.get("after_right")
    before: bool | None = answer.get("before_right")
    return before if after is None else after


def _same_data(first: Report, second: Report) -> bool:
    return bool(first.get("dataset_hash")) and first["dataset_hash"] == second["dataset_hash"]


def _paired_examples(first: Report, second: Report) -> Iterator[tuple[Key, dict[str, Any]]]:
    mine = {each["line"]: each for each in first.get("losses") or []}
    pairs = [
        (mine[each["line"]], each) for each in second.get("losses") or [] if each["line"] in mine
    ]
    # other tokens mean another tokenizer: nats a token do not compare then
    if pairs and all(one["tokens"] == two["tokens"] for one, two in pairs):
        turned = [(_side(two, "{}") - _side(one, "{}"), one["tokens"]) for one, two in pairs]
        yield ("loss", None, None), ratio(turned)
    answers = {(each["line"], each["reference"]): each for each in first.get("samples") or []}
    cosines = [
        (_side(answers[key], "similarity_{}"), _side(each, "similarity_{}"))
        for each in second.get("samples") or []
        if (key := (each["line"], each["reference"])) in answers
    ]
    turned = [(two - one, 1) for one, two in cosines if one is not None and two is not None]
    if turned:
        yield ("similarity", None, None), ratio(turned)


def _side(row: Mapping[str, Any], name: str) -> Any:
    after = row.get(name.format("after"))
    return row.get(name.format("before")) if after is None else after


def ratio(turned: list[tuple[float, float]]) -> dict[str, Any]:
    """Sum of differences by sum of sizes, interval by linearisation over the pairs
    (W. G. Cochran, Sampling Techniques, 1977, chapter 6)."""
    count, size = len(turned), sum(each for _difference, each in turned)
    ratio = sum(each for each, _size in turned) / size
    found: dict[str, Any] = {"difference": ratio, "paired": count}
    if count > 1:
        spread = sum((each - ratio * tokens) ** 2 for each, tokens in turned)
        half = _Z95 * math.sqrt(count / (count - 1) * spread) / size
        found |= {"low": ratio - half, "high": ratio + half, "by": "ratio"}
    return found


def unfair(first: Report, second: Report) -> list[str]:
    """Why the two can't be compared in all their figures; nothing: they can."""
    reasons = []
    if not _same_data(first, second):
        reasons.append(_("They were measured on different data sets: their figures don't compare."))
    elif first.get("examples") != second.get("examples"):
        reasons.append(
            _("They were measured on different numbers of examples: {first} and {second}.").format(
                first=first.get("examples"), second=second.get("examples")
            )
        )
    if first.get("base") != second.get("base"):
        reasons.append(_("Their bases differ: loss and perplexity count by different tokens."))
    if first.get("device") != second.get("device"):
        reasons.append(_("They ran on different devices: the seconds don't compare."))
    sets = [
        {_question(each) for each in report.get("graded_answers") or []}
        for report in (first, second)
    ]
    if sets[0] != sets[1]:
        reasons.append(
            _("They were not asked the same graded questions; the same in both: {count}.").format(
                count=len(sets[0] & sets[1])
            )
        )
    return reasons
