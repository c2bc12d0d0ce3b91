"""The general regression set: its form, its version, and that it lies apart from the samples."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from finetune.grading import is_right, normalised, read_questions, regression_questions
from finetune.schema import (
    RECIPES_FOLDER,
    REGRESSION_FILE,
    REGRESSION_HASH,
    general_path,
    load_recipe,
    recipe_names,
    rehearsal_path,
)

SAMPLES = RECIPES_FOLDER.parent / "samples"
ALL = regression_questions()
QUESTIONS = {normalised(each.question) for each in ALL}


def asked_in(path: Path) -> set[str]:
    """Every question of a file, as they are compared."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        normalised(row["messages"][0]["content"] if "messages" in row else row["question"] or "")
        for row in rows
    }


def test_there_are_more_than_two_hundred_half_of_them_portuguese() -> None:
    assert len(ALL) == len(QUESTIONS) == 240
    assert Counter(each.language for each in ALL) == {"en": 120, "pt-BR": 120}


def test_who_changes_it_counts_its_version_up() -> None:
    assert hashlib.sha256(REGRESSION_FILE.read_bytes()).hexdigest() == REGRESSION_HASH


def test_an_echo_is_never_right() -> None:
    assert [each.id for each in ALL if is_right(each.question, each.accepted)] == []


def test_each_accepted_text_is_right() -> None:
    wrong = [each.id for each in ALL for text in each.accepted if not is_right(text, each.accepted)]
    assert wrong == []


SAMPLE_FILES = (
    "source/qa_cache.jsonl",
    "rehearsal.jsonl",
    "heldout_questions.jsonl",
    "general_questions.jsonl",
)


@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_no_question_stands_in_the_samples_too(name: str) -> None:
    assert QUESTIONS & asked_in(SAMPLES / name) == set()


def test_no_recipe_rehearses_or_watches_one_of_them() -> None:
    for name in recipe_names():
        for find in (rehearsal_path, general_path):
            path = find(load_recipe(name))
            assert path is None or QUESTIONS & asked_in(path) == set()


def test_no_answer_is_a_fact_of_the_samples() -> None:
    """What the demo learns must not help here, nor what it forgets hurt."""
    facts = {
        normalised(text)
        for each in read_questions(SAMPLES / "heldout_questions.jsonl")
        for text in each.accepted
        if not text.isdigit()
    }
    assert facts & {normalised(text) for each in ALL for text in each.accepted} == set()


def test_a_part_is_drawn_alike_and_lies_in_every_larger_one() -> None:
    few, more = regression_questions(21), regression_questions(60)
    assert [each.id for each in few] == [each.id for each in regression_questions(21)]
    assert {each.id for each in few} <= {each.id for each in more}
    assert Counter(each.language for each in more) == {"en": 30, "pt-BR": 30}
    assert regression_questions(1000) == ALL
