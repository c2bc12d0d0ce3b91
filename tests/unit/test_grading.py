"""Verdicts on graded questions, and the intervals of their shares."""

from pathlib import Path

import pytest

from finetune.grading import (
    Pairs,
    is_right,
    mcnemar,
    paired_difference,
    read_questions,
    results,
    share,
    wilson,
)
from finetune.schema import ContractError, GradedAnswer


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("It ripens for 73 days.", ["73 days", "seventy-three days"], True),
        ("It ripens for\n 73   DAYS", ["73 days"], True),
        ("Founded in 1986.", ["86"], False),
        ("It is 86.5 cm.", ["86"], False),
        ("It costs 1.860 reais.", ["860"], False),
        ("There are 86.", ["86"], True),
        ("(86)", ["86"], True),
        ("Parisian", ["Paris"], False),
        ("é o Jatobá!", ["JATOBA\u0301"], True),
        ("11 °C, always", ["11 °C"], True),
        ("The STRASSE", ["straße"], True),
        ("c++, of course", ["C++"], True),
        ("", ["86"], False),
    ],
)
def test_an_answer_is_right_when_it_holds_an_accepted_text_whole(
    answer: str, accepted: list[str], right: bool
) -> None:
    assert is_right(answer, accepted) is right


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_the_published_one(
    right: int, total: int, low: float, high: float
) -> None:
    assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)


def test_the_paired_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 2635-2650: 36, 12, 2, 0 by method 10
    found = paired_difference(Pairs(both=36, only_first=2, only_second=12, neither=0))
    assert found == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_a_difference_turned_round_has_the_interval_turned_round() -> None:
    there = paired_difference(Pairs(20, 3, 9, 8))
    back = paired_difference(Pairs(20, 9, 3, 8))
    assert back == pytest.approx((-there[0], -there[2], -there[1]))


def test_mcnemar_counts_only_what_turned() -> None:
    assert mcnemar(Pairs(5, 0, 5, 3)) == pytest.approx(2 / 32)
    assert mcnemar(Pairs(50, 0, 5, 3)) == mcnemar(Pairs(5, 0, 5, 3))
    assert mcnemar(Pairs(9, 0, 0, 1)) == 1.0


def test_shares_are_told_by_set_and_by_language() -> None:
    def graded(name: str, language: str, before: bool | None, after: bool | None) -> GradedAnswer:
        return GradedAnswer(
            set=name,
            id="1",
            question="q",
            accepted=["a"],
            language=language,
            before_right=before,
            after_right=after,
        )

    found = results(
        [
            graded("held out", "en", False, True),
            graded("held out", "en", False, True),
            graded("held out", "pt-BR", False, False),
            graded("general", "en", None, True),
        ]
    )
    assert [(each.set, each.language) for each in found] == [
        ("held out", None),
        ("held out", "en"),
        ("held out", "pt-BR"),
        ("general", None),
    ]
    whole, english, _portuguese, general = found
    assert whole.before == share([False] * 3) and whole.after == share([True, True, False])
    assert english.difference is not None
    assert (english.difference.share, english.difference.gained) == (1.0, 2)
    assert english.difference.low < 1.0 == english.difference.high
    assert general.before is None and general.difference is None


def test_a_file_of_questions_names_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    good = '{"id": "1", "question": "What?", "accepted": ["this"], "more": 1}\n'
    path.write_text(good + "\n")
    assert [each.accepted for each in read_questions(path)] == [["this"]]
    for bad, word in (
        ('{"id": "2", "question": "What?", "accepted": []}', "accepted"),
        ('{"id": "2", "question": "What?", "accepted": [" "]}', "accepted.0"),
        (good, "stands twice"),
        ("secret", "no JSON"),
    ):
        path.write_text(good + bad)
        with pytest.raises(ContractError, match="line 2") as raised:
            read_questions(path)
        assert word in str(raised.value) and "secret" not in str(raised.value)
    with pytest.raises(FileNotFoundError):
        read_questions(tmp_path / "nowhere.jsonl")
