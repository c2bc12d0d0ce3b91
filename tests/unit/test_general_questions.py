"""The general questions of the samples: their form, and that no training file holds one of them."""

import json
from pathlib import Path

from finetune.grading import is_right, normalised, read_questions
from finetune.schema import general_path, load_recipe, rehearsal_path

SAMPLES = Path(__file__).resolve().parents[2] / "finetune" / "samples"
GENERAL = read_questions(SAMPLES / "general_questions.jsonl")
QUESTIONS = {normalised(each.question) for each in GENERAL}


def asked_in(name: str) -> set[str]:
    """The questions of a file, as they are compared."""
    lines = (SAMPLES / name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {
        normalised(row["messages"][0]["content"] if "messages" in row else row["question"] or "")
        for row in rows
    }


def test_there_are_a_hundred_and_each_stands_once() -> None:
    assert len(GENERAL) == len(QUESTIONS) == 100
    assert [each.id for each in GENERAL] == [f"general-{number:03d}" for number in range(1, 101)]


def test_no_question_holds_its_own_answer() -> None:
    """Else a model that repeats the question would be right."""
    assert [each.id for each in GENERAL if is_right(each.question, each.accepted)] == []


def test_none_is_trained_on_rehearsed_or_held_out() -> None:
    for name in ("source/qa_cache.jsonl", "rehearsal.jsonl", "heldout_questions.jsonl"):
        assert QUESTIONS & asked_in(name) == set(), name


def test_rehearsal_is_that_of_the_demo_and_single_turns() -> None:
    path = SAMPLES / "rehearsal.jsonl"
    assert rehearsal_path(load_recipe("demo")) == path
    chats = [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()]
    assert all([turn["role"] for turn in chat] == ["user", "assistant"] for chat in chats)
    assert all(turn["content"].strip() for chat in chats for turn in chat)
    assert len(chats) == len(asked_in("rehearsal.jsonl")) == 425


def test_they_are_what_the_demo_asks_again_while_it_learns() -> None:
    assert general_path(load_recipe("demo")) == SAMPLES / "general_questions.jsonl"


def test_nothing_of_the_sample_is_rehearsed() -> None:
    """Rehearsal must not teach the facts by another way."""
    rehearsed = asked_in("rehearsal.jsonl")
    assert rehearsed & asked_in("source/qa_cache.jsonl") == set()
    assert rehearsed & asked_in("heldout_questions.jsonl") == set()
