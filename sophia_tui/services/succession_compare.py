"""The new model beside the old one: an evaluation whose held-out part are the golden answers, and
what those cost and took. Pure functions."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from sophia_tui.services.prices import ChatPrice
from sophia_tui.services.succession_views import ComparisonView

_THOUSAND = 1000


def compared(
    answers: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    evaluation: str,
    price: ChatPrice | None,
    usd_per_hour: float | None,
) -> ComparisonView:
    """`answers` are the golden ones, `report` the evaluation of the new model on them."""
    measures = {str(each["name"]): each for each in report.get("measures") or ()}
    samples = [each for each in report.get("samples") or () if each.get("after") is not None]
    seconds = _of(measures, "latency_median", "after")
    found = {
        f"{name}{suffix}": _of(measures, name, side)
        for name in ("chrf", "bleu", "similarity")
        for suffix, side in (("", "after"), ("_base", "before"))
    }
    return ComparisonView(
        prompts=len(samples),
        **found,
        perplexity=_perplexity(report.get("after")),
        perplexity_base=_perplexity(report.get("before")),
        length_old=_length(samples, "reference"),
        length_new=_length(samples, "after"),
        seconds_old=_median([each.get("seconds") for each in answers]),
        seconds_new=seconds,
        cost_old=_cost(answers, price),
        cost_new=None
        if seconds is None or usd_per_hour is None
        else _rounded(usd_per_hour * seconds / 3600 * _THOUSAND),
        evaluation=evaluation,
        not_measured=[
            str(name) for each in report.get("not_measured") or () for name in each["measures"]
        ],
    )


def _of(measures: Mapping[str, Any], name: str, side: str) -> float | None:
    value = measures.get(name, {}).get(side)
    return _rounded(value) if isinstance(value, int | float) else None


def _perplexity(score: Mapping[str, Any] | None) -> float | None:
    value = (score or {}).get("perplexity")
    return _rounded(value) if isinstance(value, int | float) else None


def _length(samples: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return _rounded(fmean(len(str(each[name])) for each in samples)) if samples else None


def _median(values: Sequence[Any]) -> float | None:
    found = [each for each in values if isinstance(each, int | float)]
    return _rounded(median(found)) if found else None


def _cost(answers: Sequence[Mapping[str, Any]], price: ChatPrice | None) -> float | None:
    counted = [each for each in answers if each.get("prompt_tokens") is not None]
    if price is None or not counted:
        return None
    asked = fmean(each["prompt_tokens"] for each in counted)
    told = fmean(each.get("completion_tokens") or 0 for each in counted)
    return _rounded(price.cost(asked, told) * _THOUSAND)


def _rounded(value: float) -> float:
    return round(float(value), 4)
