"""What a hosted provider wants of a training file, rule by rule; each broken line is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets.hosted_lines import check_chat
from sophia_tui.datasets.hosted_rules import (
    CONTEXT_TOKENS,
    check_apart,
    check_file,
    default_epochs,
    has_critiques,
    write_hosted_chats,
    write_hosted_pairs,
)
from sophia_tui.domain.datasets import CHAT, PAIRS
from sophia_tui.errors import DataError

USER = {"role": "user", "content": "When do you open?"}
ANSWER = {"role": "assistant", "content": "At nine."}
CALL = {"id": "call_1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/door.png"}}
GOOD = json.dumps({"messages": [USER, ANSWER]}).encode()
PAIR = {
    "messages": [USER],
    "chosen": [ANSWER],
    "rejected": [{"role": "assistant", "content": "No."}],
}


def chat(*messages: Any) -> bytes:
    return json.dumps({"messages": messages}).encode()


def written(folder: Path, *lines: bytes, end: bytes = b"\n", good: int = 12) -> Path:
    """`lines` first, then good ones."""
    path = folder / "train.jsonl"
    path.write_bytes(b"".join(each + end for each in lines) + (GOOD + b"\n") * good)
    return path


def refused(path: Path, form: str = CHAT) -> DataError:
    with pytest.raises(DataError) as caught:
        check_file(path, form)
    return caught.value


def test_at_least_ten_examples_are_wanted(tmp_path: Path) -> None:
    problem = refused(written(tmp_path, good=9))
    assert problem.code == "SOPHIA-J518" and "9" in problem.why
    assert check_file(written(tmp_path, good=10), CHAT).examples == 10


@pytest.mark.parametrize(
    "line",
    [
        chat({"role": "system", "content": "s"}, USER, ANSWER),
        chat({"role": "developer", "content": "d"}, USER, ANSWER),
        chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}),
        chat({**USER, "name": "ana"}, ANSWER),
        chat(
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "nine"},
            ANSWER,
        ),
        chat(USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}),
        chat(USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
        chat({"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}, ANSWER),
        chat({"role": "user", "content": [IMAGE]}, ANSWER),
    ],
)
def test_what_the_protocol_allows_is_not_refused(tmp_path: Path, line: bytes) -> None:
    assert check_file(written(tmp_path, line), CHAT).examples == 13


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (chat({**USER, "weight": 0}, ANSWER), "weight_role"),
        (chat(USER, {**ANSWER, "weight": 0.5}), "weight"),
        (chat(USER, {**ANSWER, "weight": True}), "weight"),
        (chat(USER, {**ANSWER, "weight": 0}), "nothing_to_learn"),
        (chat(USER), "no_assistant"),
        (chat(USER, ANSWER, USER), "last_not_assistant"),
        (chat({"role": "bot", "content": "x"}, ANSWER), "unknown_role"),
        (chat({"content": "x"}, ANSWER), "no_role"),
        (chat("x", ANSWER), "message_type"),
        (chat(), "no_messages"),
        (b'{"messages": "x"}', "messages_type"),
        (chat({"role": "user", "content": " "}, ANSWER), "no_content"),
        (chat({"role": "user"}, ANSWER), "no_content"),
        (chat({"role": "user", "content": 5}, ANSWER), "content_type"),
        (chat({"role": "user", "content": [{"type": "text"}]}, ANSWER), "content_type"),
        (chat(USER, {**ANSWER, "content": [IMAGE]}), "image_role"),
        (chat(USER, {"role": "tool", "content": "nine"}, ANSWER), "no_call_id"),
        (chat(USER, {**ANSWER, "tool_calls": [{}]}), "call_type"),
        (chat({**USER, "tool_calls": [CALL]}, ANSWER), "call_type"),
        (chat(USER, {**ANSWER, "content": "x <|im_start|>system"}), "special_token"),
        (
            chat({"role": "user", "content": [{"type": "text", "text": "<|x|>"}]}, ANSWER),
            "special_token",
        ),
        (b"[]", "not_object"),
        (b"{", "json"),
        (b"\xff", "not_utf8"),
        (b'{"messages": [], "messages": []}', "duplicate_key"),
        (b'{"messages": [], "x": NaN}', "not_finite"),
        (b'{"messages": [], "x": "\\ud800"}', "surrogate"),
        (GOOD[:-5] + b"\0" + GOOD[-5:], "nul"),
        (b"\xef\xbb\xbf" + GOOD, "bom"),
        (GOOD + b"\r", "crlf"),
        (b"", "blank"),
    ],
)
def test_a_broken_line_is_named_with_its_number_and_the_rule(
    tmp_path: Path, line: bytes, code: str
) -> None:
    problem = refused(written(tmp_path, GOOD, line))
    assert problem.code == "SOPHIA-J519"
    assert problem.details["lines"] == [{"line": 2, "code": code}]
    assert problem.why.startswith("line 2: ")


def test_many_broken_lines_are_all_named_and_some_said(tmp_path: Path) -> None:
    problem = refused(written(tmp_path, *[b"[]"] * 8))
    assert [each["line"] for each in problem.details["lines"]] == list(range(1, 9))
    assert "line 5" in problem.why and "line 6" not in problem.why and "3 more" in problem.why


def test_training_and_validation_share_no_example(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.mkdir()
    two.mkdir()
    training = check_file(written(one, chat(USER, {**ANSWER, "content": "1"})), CHAT)
    apart = two / "valid.jsonl"
    apart.write_bytes(
        b"".join(chat(USER, {**ANSWER, "content": f"v{n}"}) + b"\n" for n in range(10))
    )
    check_apart(training, check_file(apart, CHAT))
    with pytest.raises(DataError) as caught:
        check_apart(training, check_file(written(two), CHAT))
    assert caught.value.code == "SOPHIA-J519"


def test_an_example_longer_than_the_context_is_told_and_not_refused(tmp_path: Path) -> None:
    long = chat(USER, {**ANSWER, "content": "x" * (CONTEXT_TOKENS * 4 + 100)})
    assert check_file(written(tmp_path, GOOD, long), CHAT).too_long == (2,)


def test_a_file_above_eight_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with path.open("wb") as stream:
        stream.truncate(8 * 1024**3 + 1)  # a hole: no disk is used
    assert refused(path).code == "SOPHIA-D381"


def test_tokens_are_counted_as_the_provider_says() -> None:
    # 3 for the example, 3 for each message, 1 for a name, and the content
    said = {
        "messages": [{**USER, "name": "ana", "content": "x" * 8}, {**ANSWER, "content": "y" * 4}]
    }
    assert check_chat(said) == 3 + (3 + 1 + 2) + (3 + 1)


@pytest.mark.parametrize(
    ("examples", "epochs"), [(10, 10), (3, 25), (33, 3), (34, 3), (100, 3), (8_334, 2), (30_000, 1)]
)
def test_epochs_that_are_left_to_the_provider(examples: int, epochs: int) -> None:
    assert default_epochs(examples) == epochs


# --- preference pairs ---


def pairs(folder: Path, *first: dict[str, Any]) -> Path:
    path = folder / "train.jsonl"
    lines = [*first, *[PAIR] * 12]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return path


def test_pairs_are_sent_in_the_protocols_form_line_by_line(tmp_path: Path) -> None:
    path, target = pairs(tmp_path), tmp_path / "sent.jsonl"
    assert check_file(path, PAIRS).examples == 12
    write_hosted_pairs(path, target)
    sent = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(sent) == 12
    assert sent[0] == {
        "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    }


def test_critiques_are_left_out_of_what_is_sent_and_tools_are_not(tmp_path: Path) -> None:
    path, target = tmp_path / "train.jsonl", tmp_path / "sent.jsonl"
    tool = {"type": "function", "function": CALL["function"]}
    record = {"messages": [USER, ANSWER], "tools": [tool]}
    path.write_bytes(GOOD + b"\n")
    assert not has_critiques(path)
    path.write_text(json.dumps({**record, "critique": "c"}) + "\n")
    assert has_critiques(path)
    write_hosted_chats(path, target)
    assert json.loads(target.read_text()) == record


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chosen": []}, "no_chosen"),
        ({"rejected": None}, "no_rejected"),
        ({"chosen": [ANSWER, ANSWER]}, "pair_answer"),
        ({"chosen": [USER]}, "pair_answer"),
        ({"chosen": [{**ANSWER, "weight": 1}]}, "pair_answer"),
        ({"messages": [USER, ANSWER]}, "pair_prompt"),
        ({"messages": []}, "no_messages"),
        ({"rejected": [ANSWER]}, "pair_same"),
        ({"rejected": [{**ANSWER, "content": "<|im_end|>"}]}, "special_token"),
    ],
)
def test_a_broken_pair_is_named(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    problem = refused(pairs(tmp_path, {**PAIR, **changes}), PAIRS)
    assert problem.details["lines"] == [{"line": 1, "code": code}]
