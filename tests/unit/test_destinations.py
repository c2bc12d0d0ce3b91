"""What a data set can be used for, said of an inspection; and the figures of section 4."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets.blocks import read_block
from sophia_tui.datasets.destinations import (
    PREPARE,
    READY,
    UNFIT,
    ConstitutionalCollector,
    ConstitutionalProbe,
    Verdict,
    verdicts,
)
from sophia_tui.domain.hosted import MOST_BYTES


def _report(**more: Any) -> dict[str, Any]:
    found = {
        "rows": 600,
        "usable": 600,
        "bytes": 1000,
        "duplicates": 0,
        "forms": {"chat": 600},
        "issues": [],
        "sections": {},
    }
    return {**found, **more}


def _of(report: dict[str, Any], destination: str) -> Verdict:
    return next(each for each in verdicts(report, 500) if each.destination == destination)


def test_clean_chats_are_ready_for_a_provider() -> None:
    found = _of(_report(), "openai")
    assert (found.verdict, found.why) == (READY, ())
    assert any("personal data" in each for each in found.todo)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"usable": 590}, "10 rows"),
        ({"forms": {"chat": 5, "question_answer": 595}}, "question_answer"),
        ({"issues": [{"code": "crlf", "count": 3}]}, "3 lines"),
        ({"bytes": MOST_BYTES + 1}, "Larger"),
        ({"sections": {"personal": {"rows": 4}}}, "Personal data in 4"),
    ],
)
def test_what_a_provider_refuses_wants_preparing(more: dict[str, Any], told: str) -> None:
    found = _of(_report(**more), "openai")
    assert found.verdict == PREPARE
    assert any(told in each for each in found.why)


def test_what_is_only_worth_a_look_keeps_nobody_from_it() -> None:
    found = _of(_report(rows=40, usable=40, issues=[{"code": "cut", "count": 2}]), "openai")
    assert found.verdict == READY
    assert len(found.why) == 2


@pytest.mark.parametrize("destination", ["openai", "local"])
def test_nine_examples_are_too_few(destination: str) -> None:
    found = _of(_report(rows=9, usable=9), destination)
    assert found.verdict == UNFIT
    assert "9 usable examples" in found.why[0]


def test_training_here_always_wants_a_version() -> None:
    assert _of(_report(), "local").verdict == PREPARE


# -- constitutional


def _example(number: int, category: str, difficulty: str, **more: Any) -> dict[str, Any]:
    found = {
        "id": f"{category}_{number:03d}",
        "category": category,
        "prompt": "O que é uma vida boa?",
        "response_initial": "Depende.",
        "critique": "[VERITAS] Vago.\n[SOPHIA] Raso.\n[DIKE] Neutro.",
        "response_revised": "Uma vida boa é aquela em que se busca a verdade com os outros. " * 2,
        "reasoning": "Porque sim.",
        "values_applied": ["verdade"],
        "difficulty": difficulty,
    }
    return found | more


def _figures(examples: list[dict[str, Any]], cut: int = 0) -> tuple[dict[str, Any], list[Any]]:
    lines = [json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in examples]
    probe, collector = ConstitutionalProbe(), ConstitutionalCollector()
    collector.add(1, probe.look(read_block(b"".join(lines[:cut]))))
    collector.add(cut + 1, probe.look(read_block(b"".join(lines[cut:]))))
    return collector.report(), list(collector.issues())


def _whole_set() -> list[dict[str, Any]]:
    levels = ["hard"] * 6 + ["medium"] * 3 + ["easy"]
    return [_example(number, f"tema{number % 20}", levels[number % 10]) for number in range(200)]


def test_a_set_as_the_document_has_it_is_ready() -> None:
    figures, _issues = _figures(_whole_set())
    assert figures["all_valid"] and figures["categories_enough"] and figures["difficulty_balanced"]
    found = _of(_report(sections={"constitutional": figures}), "constitutional")
    assert (found.verdict, found.why) == (READY, ())


def test_each_figure_that_misses_is_told_with_what_to_do() -> None:
    examples = [_example(each, "tema", "easy") for each in range(12)]
    examples[3] = _example(3, "tema", "easy", response_revised="Curta.")
    examples[7]["id"] = examples[2]["id"]
    figures, issues = _figures(examples)
    assert (figures["total"], figures["valid"], figures["same_ids"]) == (12, 10, 1)
    assert issues == [("same_id", 8, {"first_line": 3})]
    found = _of(_report(sections={"constitutional": figures}), "constitutional")
    assert found.verdict == PREPARE
    assert len(found.why) == len(found.todo) == 3


def test_rows_of_other_forms_are_none_of_it() -> None:
    line = json.dumps({"question": '"response_revised"?', "answer": "No."}).encode()
    collector = ConstitutionalCollector()
    collector.add(1, ConstitutionalProbe().look(read_block(line)))
    assert collector.report()["total"] == 0
    sections = {"constitutional": collector.report()}
    assert _of(_report(sections=sections), "constitutional").verdict == UNFIT


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=15), st.data())
def test_the_figures_do_not_depend_on_the_cuts(kinds: list[str], data: st.DataObject) -> None:
    broken: dict[str, dict[str, str]] = {"a": {}, "b": {"difficulty": "x"}, "c": {"id": "same_000"}}
    examples = [_example(n, "tema", "hard") | broken[kind] for n, kind in enumerate(kinds)]
    cut = data.draw(st.integers(0, len(examples)))
    assert _figures(examples, cut) == _figures(examples)
