"""Evaluations beside their targets, side by side, and as a page."""

from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from finetune.grading import Pairs, mcnemar, paired_difference
from sophia_tui.domain.models import Evaluation
from sophia_tui.domain.targets import DEFAULT, read_targets
from sophia_tui.i18n import set_language
from sophia_tui.services.evaluation_compare import CompareRow, compared, unfair
from sophia_tui.services.evaluation_page import MARK, page
from sophia_tui.services.evaluation_rows import MeasureRow, rows_of
from sophia_tui.services.evaluation_views import (
    CompareView,
    EvaluationRow,
    EvaluationView,
    GradedAnswerView,
    ScoreView,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>&\x1b[2J\u202e\"'"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    set_language("en")
    yield
    set_language("en")


def score(loss: float, perplexity: float) -> dict[str, float]:
    return {
        "loss": loss,
        "loss_low": loss - 0.1,
        "loss_high": loss + 0.1,
        "perplexity": perplexity,
        "perplexity_low": perplexity - 0.2,
        "perplexity_high": perplexity + 0.2,
    }


def graded(verdicts: list[bool], **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "set": "held out",
            "id": str(place),
            "question": f"q{place}",
            "accepted": ["a"],
            "language": "en",
            "fact": "f",
            "before": "no",
            "after": "a" if right else "b",
            "before_right": False,
            "after_right": right,
            **more,
        }
        for place, right in enumerate(verdicts)
    ]


def report(verdicts: list[bool], nats: float = 1.0, **more: Any) -> dict[str, Any]:
    share = sum(verdicts) / len(verdicts)
    side = {"right": sum(verdicts), "total": len(verdicts), "share": share, "low": 0, "high": 1}
    return {
        "base": "base",
        "dataset_hash": "ab" * 32,
        "examples": 3,
        "answer_tokens": 30,
        "before": score(2.0, 7.4),
        "after": score(0.8, 2.2),
        "difference": {"loss": -1.2, "loss_low": -1.4, "loss_high": -1.0},
        "graded": [{"set": "held out", "language": None, "before": None, "after": side}],
        "graded_answers": graded(verdicts),
        "measures": [
            {
                "name": "bleu",
                "count": 3,
                "by": "sacrebleu",
                "before": 0.1,
                "before_low": 0.0,
                "before_high": 0.2,
                "after": 0.55,
                "after_low": 0.5,
                "after_high": 0.6,
                "difference": 0.45,
                "low": 0.4,
                "high": 0.5,
            }
        ],
        "losses": [
            {"line": line, "tokens": 10, "before": 20.0, "after": nats * 10 + line}
            for line in (1, 2, 3)
        ],
        **more,
    }


def by_measure(rows: list[MeasureRow]) -> dict[str, MeasureRow]:
    return {row.measure: row for row in rows}


def test_figures_stand_beside_their_targets() -> None:
    rows = rows_of(report([True, True, False]), read_targets(DEFAULT))
    found = by_measure(rows)
    assert (found["perplexity"].target, found["perplexity"].met) == ("< 2.5", "met")
    assert (found["bleu"].target, found["bleu"].met) == ("> 0.6", "not met")
    # each question asks for a fact, so the share right is that of right facts
    assert (found["right"].target, found["right"].met) == ("> 0.95", "not met")
    assert found["right"].label == "Right: held out"
    unmeasured = [row.measure for row in rows if row.met == "not measured"]
    assert unmeasured == ["latency", "errors", "satisfaction", "tone", "scope", "hallucination"]
    assert (found["loss"].difference, found["loss"].low) == (-1.2, -1.4)


def test_general_questions_are_no_facts() -> None:
    verdicts = [True, True]
    general = report(verdicts, graded_answers=graded(verdicts, fact=None))
    found = by_measure(rows_of(general, read_targets(DEFAULT)))
    assert found["right"].target is None and found["facts"].met == "not measured"


def rows(first: dict[str, Any], second: dict[str, Any]) -> dict[str, CompareRow]:
    return {row.measure: row for row in compared(first, second) if row.language is None}


def test_the_same_questions_are_compared_in_pairs() -> None:
    first = [True] * 5 + [False] * 15
    second = [True] * 4 + [False] + [True] * 10 + [False] * 5
    found = rows(report(first), report(second))["right"]
    pairs = Pairs(both=4, only_first=1, only_second=10, neither=5)
    assert (found.difference, found.low, found.high) == paired_difference(pairs)
    assert found.p_value == mcnemar(pairs) and found.paired == 20
    assert (found.first, found.second) == (0.25, 0.7)


def test_the_same_examples_give_the_loss_an_interval() -> None:
    one, two = report([True]), report([True], nats=0.5)
    found = rows(one, two)["loss"]
    assert found.difference == pytest.approx(-0.5)
    assert found.low == pytest.approx(-0.5) and found.high == pytest.approx(-0.5)
    two["losses"][0]["after"] += 3.0  # of 30 tokens: a tenth more in the mean
    found = rows(one, two)["loss"]
    assert found.difference == pytest.approx(-0.4)
    # residuals 2, -1, -1: sqrt(3/2 * 6) / 30 = 0.1
    assert found.low == pytest.approx(-0.4 - 1.96 * 0.1, abs=1e-4)
    assert unfair(one, two) == []


def test_what_is_not_the_same_is_said_and_not_paired() -> None:
    one = report([True, False])
    two = report([True], dataset_hash="cd" * 32, base="other", device="cuda")
    reasons = unfair(one, two)
    assert len(reasons) == 4 and "different data sets" in reasons[0]
    assert "the same in both: 1" in reasons[3]
    found = rows(one, two)
    assert found["loss"].low is None and found["loss"].paired is None
    assert found["right"].paired == 1


def view(**more: Any) -> EvaluationView:
    source = report([True, False])
    return EvaluationView(
        id="ftjob-1",
        model="sophia-v1",
        base="base",
        at=NOW,
        examples=3,
        answer_tokens=30,
        rows=rows_of(source, read_targets(DEFAULT)),
        before=ScoreView(**source["before"]),
        graded_answers=[GradedAnswerView.of(each) for each in source["graded_answers"]],
        **more,
    )


class Reader(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [f"{name}={value}" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_text_stays_text_in_the_page() -> None:
    answers = graded([True], question=HOSTILE, after=HOSTILE, id=HOSTILE, set=HOSTILE)
    source = report([True], graded_answers=answers)
    source["graded"][0]["set"] = HOSTILE
    hostile = view().model_copy(
        update={
            "model": HOSTILE,
            "rows": rows_of(source, read_targets(DEFAULT)),
            "graded_answers": [GradedAnswerView.of(each) for each in answers],
        }
    )
    text = page([hostile], None, NOW)
    found = Reader(text)
    assert "script" not in found.tags and found.links == []
    assert "\x1b" not in text and "\u202e" not in text
    assert "<tr><tr>" not in text and "</tr></tr>" not in text
    shown = "".join(found.texts)
    assert shown.count("<script>alert(1)</script>&␛[2J<U+202E>\"'") >= 5
    assert MARK in text and "default-src 'none'" in text


def test_the_page_speaks_the_persons_language() -> None:
    english = page([view()], None, NOW)
    set_language("pt_BR")
    portuguese = page([view()], None, NOW)
    assert '<html lang="en">' in english and '<html lang="pt-BR">' in portuguese
    assert "Measures" in english and "Medidas" in portuguese
    assert "2.200" in english and "2,200" in portuguese


def test_the_page_puts_two_side_by_side() -> None:
    one, two = report([True, False]), report([False, True], nats=0.5)
    kept = [Evaluation(f"ftjob-{n}", f"sophia-v{n}", None, r, NOW) for n, r in ((1, one), (2, two))]
    side_by_side = CompareView(
        first=EvaluationRow.of(kept[0]),
        second=EvaluationRow.of(kept[1]),
        fair=True,
        items=compared(one, two),
    )
    found = Reader(page([view(), view()], side_by_side, NOW))
    assert "Both were measured alike." in found.texts
    assert found.texts.count("sophia-v2") == 1 and found.tags.count("svg") == 2
