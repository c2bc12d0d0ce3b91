"""Lines of the four forms become chats; what can't be read is named by line and not quoted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.readers import Malformed, critique_answer, read_lines, read_row
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, states
from tests.finetune.tiny_model import chat, pairs, write_lines

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}
PAIR = {"messages": [USER], "chosen": [ANSWER], "rejected": [OTHER]}
CRITIQUE = {"prompt": "p", "critique": "c", "response_revised": "r"}


@pytest.mark.parametrize(
    ("record", "form", "messages", "rejected"),
    [
        ({"messages": [USER, ANSWER]}, "chat", [USER, ANSWER], None),
        (PAIR, "preference", [USER, ANSWER], [USER, OTHER]),
        (
            {**PAIR, "messages": [USER, OTHER, USER]},
            "preference",
            [USER, {**OTHER, "weight": 0}, USER, ANSWER],
            [USER, {**OTHER, "weight": 0}, USER, OTHER],
        ),
        ({"instruction": "q", "output": "a"}, "alpaca", [USER, ANSWER], None),
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca", [USER, ANSWER], None),
        (
            {"instruction": "q", "input": "x", "output": "a"},
            "alpaca",
            [{"role": "user", "content": "q\n\nx"}, ANSWER],
            None,
        ),
        (
            {**CRITIQUE, "id": "x_000", "category": "x"},
            "critique",
            [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}],
            None,
        ),
    ],
)
def test_the_reader_is_chosen_by_the_keys_of_the_line(
    record: Any, form: str, messages: Any, rejected: Any
) -> None:
    row = read_row(record)
    assert (row.form, row.messages, row.rejected) == (form, messages, rejected)


@pytest.mark.parametrize(
    "record",
    [
        [],
        "text",
        {},
        {"question": "q", "answer": "a"},
        {"messages": []},
        {"messages": "text"},
        {"messages": [USER, "text"]},
        {"messages": [{"role": "user"}]},
        {"messages": [USER, {**ANSWER, "content": [{"type": "text", "text": "a"}]}]},
        {"messages": [{**USER, "weight": 1}, ANSWER]},
        {"messages": [USER, {**ANSWER, "weight": 2}]},
        {"messages": [USER, {**ANSWER, "weight": True}]},
        {"messages": [USER, {**ANSWER, "content": "\ud800"}]},
        {"chosen": [ANSWER], "rejected": [OTHER]},
        {**PAIR, "rejected": [ANSWER]},
        {**PAIR, "rejected": []},
        {**PAIR, "rejected": [OTHER, OTHER]},
        {**PAIR, "chosen": [USER]},
        {**PAIR, "messages": [USER, ANSWER]},
        {"instruction": "q"},
        {"instruction": " ", "output": "a"},
        {"instruction": "q", "input": 5, "output": "a"},
        {"prompt": "p", "response_revised": ""},
    ],
)
def test_what_is_no_example_is_malformed(record: Any) -> None:
    with pytest.raises(Malformed):
        read_row(record)


def test_the_critique_form_wants_a_critique_that_ends_where_it_ends() -> None:
    assert read_row(CRITIQUE, "critique").messages[1]["content"] == (
        "[ANÁLISE INTERNA]\nc\n[FIM DA ANÁLISE]\n\nr"
    )
    with pytest.raises(Malformed):
        read_row({**CRITIQUE, "critique": None}, "critique")
    with pytest.raises(Malformed):
        critique_answer("it ends [FIM DA ANÁLISE] here", "r")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b'{"messages": [], "messages": []}',
        b"[" * 100_000,
        b'{"messages": [{"role": "user", "content": NaN}]}',
    ],
)
def test_a_line_that_is_no_object_is_named_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "train.jsonl"
    good = json.dumps({"messages": [USER, ANSWER]}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\n" + line + b"\n" + good)
    found = list(read_lines(path))
    assert [each.number for each in found] == [1, 3, 4]
    assert [each.row is None for each in found] == [False, True, False]
    assert found[1].why


def test_all_lines_that_can_not_be_read_are_named_and_none_is_quoted(
    make_run: MakeRun, tmp_path: Path
) -> None:
    data = tmp_path / "raw"
    rows = [chat(*pair) for pair in pairs()]
    write_lines(data / "train.jsonl", [*rows, {"secret": "SECRET"}, {"messages": "SECRET"}])
    run = make_run(dataset_path=str(data))
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-202"
    assert "Line 9 of train.jsonl (and 1 more: 10)" in failed["what"]
    assert (run / "lines" / "train-unreadable.txt").read_text() == "9\n10\n"
    assert "SECRET" not in (run / "log.txt").read_text() + json.dumps(failed)


@pytest.mark.parametrize(("method", "row"), [("dpo", chat("a", "b")), ("supervised", PAIR)])
def test_data_of_the_other_method_is_refused_with_the_line(
    make_run: MakeRun, tmp_path: Path, method: str, row: Any
) -> None:
    data = tmp_path / "mixed"
    first = PAIR if method == "dpo" else chat("c", "d")
    write_lines(data / "train.jsonl", [first, row])
    run = make_run(recipe={"method": method}, dataset_path=str(data))
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-212"
    assert "Line 2 of train.jsonl" in failed["what"]
    assert "running" not in states(run)


def test_alpaca_lines_are_trained_on_as_they_are(make_run: MakeRun, tmp_path: Path) -> None:
    data = tmp_path / "alpaca"
    rows = [{"instruction": f"{town}?", "output": f"{goods}."} for town, goods in pairs()]
    write_lines(data / "train.jsonl", rows)
    run = make_run(recipe={"prompt_form": "alpaca", "max_steps": 2}, dataset_path=str(data))
    assert finetune("train", run) == 0
