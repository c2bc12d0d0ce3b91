"""Question/answer and chat lines become the canonical example, or are refused with a code."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets.codes import REASONS, Unusable
from sophia_tui.datasets.formats import convert, encode
from sophia_tui.domain.datasets import ROLES, Example, Message

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
visible_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0<[")).filter(
    str.strip
)


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


def code_of(record: dict[str, Any]) -> str:
    with pytest.raises(Unusable) as refused:
        convert(record)
    return refused.value.problem.code


def test_question_and_answer_become_two_messages_and_nothing_else() -> None:
    record = {"question": "q", "answer": "a", "citations": [1], "metadata": {"doc_id": 5}}
    assert encode(convert(record)) == (
        b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}'
    )


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"question": "q", "answer": None}, "no_answer"),
        ({"question": "q"}, "no_answer"),
        ({"question": "q", "answer": " \n\t\u00a0"}, "no_answer"),
        ({"question": "", "answer": "a"}, "no_question"),
        ({"answer": "a"}, "no_question"),
        ({"question": 5, "answer": "a"}, "question_type"),
        ({"question": "q", "answer": ["a"]}, "answer_type"),
        ({"question": "q", "answer": "x <|im_start|>system"}, "special_token"),
        ({"question": "q", "answer": "a\0b"}, "nul"),
        ({}, "unknown_format"),
        ({"instruction": "i"}, "unknown_format"),
        ({"instruction": " ", "output": "o"}, "no_instruction"),
        ({"instruction": "i", "output": ""}, "no_output"),
        ({"instruction": 5, "output": "o"}, "instruction_type"),
        ({"instruction": "i", "input": ["x"], "output": "o"}, "input_type"),
        ({"instruction": "i", "output": {}}, "output_type"),
        ({"instruction": "i", "input": "[INST]", "output": "o"}, "special_token"),
        (chat(), "no_messages"),
        ({"messages": "text"}, "messages_type"),
        (chat(USER, "text"), "message_type"),
        (chat({"content": "x"}, ANSWER), "no_role"),
        (chat({"role": "bot", "content": "x"}, ANSWER), "unknown_role"),
        (chat({"role": ["user"], "content": "x"}, ANSWER), "unknown_role"),
        (chat({"role": "user"}, ANSWER), "no_content"),
        (chat({"role": "user", "content": " "}, ANSWER), "no_content"),
        (chat({"role": "user", "content": [{"type": "text"}]}, ANSWER), "content_type"),
        (chat(USER, {"role": "assistant", "content": None, "tool_calls": [{}]}), "call_type"),
        (chat(USER, {**ANSWER, "weight": 2}), "weight"),
        (chat(USER, {**ANSWER, "weight": True}), "weight"),
        (chat(USER, {**ANSWER, "weight": 1.0}), "weight"),
        (chat({**USER, "weight": 0}, ANSWER), "weight_role"),
        (chat(USER), "no_assistant"),
        (chat(USER, ANSWER, USER), "last_not_assistant"),
        (chat(USER, {**ANSWER, "weight": 0}), "nothing_to_learn"),
        (chat(USER, {"role": "assistant", "content": "</s>"}), "special_token"),
    ],
)
def test_what_can_not_be_used_is_refused_by_its_code(record: dict[str, Any], code: str) -> None:
    assert code_of(record) == code
    assert code in REASONS


@pytest.mark.parametrize(
    "token",
    [
        *("<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<start_of_turn>", "[INST]", "<<SYS>>"),
        *("<s>", "<eos>", "<｜begin▁of▁sentence｜>"),
    ],
)
def test_special_tokens_are_refused(token: str) -> None:
    assert code_of({"question": "q", "answer": f"before {token} after"}) == "special_token"


@pytest.mark.parametrize(
    "text", ["a <b> c", "x <| y", "[1] see", "<strong>s</strong>", "a < b | c > d", "|x|"]
)
def test_common_text_with_the_same_signs_is_taken(text: str) -> None:
    assert convert({"question": "q", "answer": text}).messages[1].content == text


def test_the_reason_names_the_format_that_is_not_known() -> None:
    with pytest.raises(Unusable) as refused:
        convert({"text": "t"})
    assert refused.value.problem.details == {"format": "plain text"}


@pytest.mark.parametrize(
    ("more", "asked"),
    [({}, "i"), ({"input": "x"}, "i\n\nx"), ({"input": " "}, "i"), ({"input": None}, "i")],
)
def test_an_instruction_becomes_a_question_with_its_input_below(
    more: dict[str, Any], asked: str
) -> None:
    example = convert({"instruction": "i", **more, "output": "o"})
    assert example == Example((Message("user", asked), Message("assistant", "o")))


def test_all_roles_are_known_and_order_is_kept() -> None:
    turns = [{"role": role, "content": role} for role in ROLES] + [ANSWER]
    assert [turn.role for turn in convert(chat(*turns)).messages] == [*ROLES, "assistant"]


def test_weight_zero_is_kept_and_weight_one_is_what_its_absence_means() -> None:
    example = convert(chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}))
    assert [turn.weight for turn in example.messages] == [None, 0, None, None]
    assert json.loads(encode(example))["messages"][1] == {**ANSWER, "weight": 0}


def test_other_fields_of_a_message_are_left_out_and_noted() -> None:
    notes: list[str] = []
    example = convert(chat({**USER, "id": "m1", "audio": None}, ANSWER), notes.append)
    assert example == Example((Message("user", "q"), Message("assistant", "a")))
    assert notes == ["message_fields"]


@given(visible_texts, visible_texts)
def test_texts_come_out_as_they_went_in(question: str, answer: str) -> None:
    line = encode(convert({"question": question, "answer": answer}))
    assert b"\n" not in line
    assert [each["content"] for each in json.loads(line)["messages"]] == [question, answer]
    assert convert(json.loads(line)) == convert({"question": question, "answer": answer})
