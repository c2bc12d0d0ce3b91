"""Every other form of training lines: read, refused by a code, and written again without a loss."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets.codes import REASONS, Unusable
from sophia_tui.datasets.constitutional import Figures, Ids
from sophia_tui.datasets.formats import FORMS, convert, encode, form_of, left_out, write_as
from sophia_tui.datasets.redact import redact
from sophia_tui.domain.datasets import Example, Message, Pair

USER = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
CALLING = {"role": "assistant", "content": "", "tool_calls": [CALL]}
TOLD = {"role": "tool", "content": "nine", "tool_call_id": "c1"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
ASKED = Example((Message("user", "q"), Message("assistant", "a")))
CONSTITUTION = {
    "id": "truth_000",
    "category": "truth",
    "prompt": "Is it right to lie?",
    "response_initial": "Sometimes.",
    "critique": "[VERITAS] Vague.\n[SOPHIA] Say when.\n[DIKE] Who is hurt?",
    "response_revised": "Seldom: a lie takes from another what they need to choose, todo dia.",
    "reasoning": "It names who is hurt.",
    "values_applied": ["verdade"],
    "difficulty": "easy",
}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def said(*turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": who, "value": what} for who, what in turns], **more}


def code_of(record: dict[str, Any]) -> str:
    with pytest.raises(Unusable) as refused:
        convert(record)
    return refused.value.problem.code


@pytest.mark.parametrize(
    ("record", "form"),
    [
        ({"prompt": "q", "completion": "a"}, "prompt_completion"),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt_completion"),
        ({"prompt": "q", "completion": [ANSWER]}, "prompt_completion"),
        ({"input": "q", "output": "a"}, "input_output"),
        ({"instruction": "q", "input": "", "output": "a"}, "instruction"),
        (said(("human", "q"), ("gpt", "a")), "conversations"),
        (said(("user", "q"), ("chatgpt", "a")), "conversations"),
        ({"conversations": [USER, ANSWER]}, "conversations"),
        ({"kind": "answer", "meta": {"q": "q", "a": "a"}, "tenant_id": 1}, "events"),
        ({"kind": "answer", "meta": '{"prompt": "q", "reply": "a"}'}, "events"),
        ({"kind": "answer", "meta": None, "prompt": "q", "reply": "a"}, "events"),
        ({"q": "q", "a": "a"}, "events"),
    ],
)
def test_a_question_and_its_answer_are_the_same_example_in_every_form(
    record: dict[str, Any], form: str
) -> None:
    assert form_of(record) == form
    assert convert(record) == ASKED


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"prompt": "q", "completion": None}, "no_completion"),
        ({"prompt": " ", "completion": "a"}, "no_prompt"),
        ({"prompt": 5, "completion": "a"}, "prompt_type"),
        ({"prompt": "q", "completion": {}}, "completion_type"),
        ({"prompt": [USER, ANSWER], "completion": [USER]}, "last_not_assistant"),
        ({"prompt": [], "completion": []}, "no_messages"),
        ({"input": None, "output": "a"}, "no_input"),
        ({"input": "q", "output": 5}, "output_type"),
        ({"instruction": "q", "output": "a", "history": "x"}, "history_type"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, "history_type"),
        ({"instruction": "q", "output": "a", "history": [["x", ""]]}, "history_type"),
        ({"instruction": "q", "output": "a", "system": 5}, "system_type"),
        ({"conversations": "x"}, "conversations_type"),
        ({"conversations": []}, "no_messages"),
        (said(("narrator", "q"), ("gpt", "a")), "unknown_role"),
        (said((["human"], "q"), ("gpt", "a")), "unknown_role"),  # type: ignore[arg-type]
        (said(("human", None), ("gpt", "a")), "no_content"),
        (said(("human", "q"), ("gpt", "a"), ("human", "q")), "last_not_assistant"),
        ({"conversations": ["x"]}, "message_type"),
        ({"conversations": [{"value": "q"}]}, "no_role"),
        (said(("human", "q"), ("function_call", "{")), "call_type"),
        (said(("human", "q"), ("function_call", "[]")), "call_type"),
        (
            said(("human", "q"), ("function_call", '{"name": "f", "arguments": 5}')),
            "call_arguments",
        ),
        ({"kind": "retrieval", "meta": {"q": "q"}}, "event_kind"),
        ({"kind": "answer", "meta": "{"}, "meta_type"),
        ({"kind": "answer", "meta": [1]}, "meta_type"),
        ({"kind": "answer", "meta": {"q": "q"}}, "no_reply"),
        ({"kind": "answer", "meta": {"a": "a"}}, "no_prompt"),
        ({"kind": "answer", "meta": {"q": "q", "a": "</s>"}}, "special_token"),
        (chat(USER, {**CALLING, "tool_calls": "x"}), "call_type"),
        (chat(USER, {**CALLING, "tool_calls": [{**CALL, "id": 5}]}), "call_type"),
        (chat({**USER, "tool_calls": [CALL]}, ANSWER), "call_type"),
        (chat(USER, {"role": "assistant", "function_call": {"name": "f"}}), "function_call"),
        (
            chat(USER, {**CALLING, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
            "call_arguments",
        ),
        (
            chat(
                USER, {**CALLING, "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}
            ),
            "call_arguments",
        ),
        (chat(USER, CALLING, {**TOLD, "tool_call_id": "c2"}, ANSWER), "unknown_call"),
        (chat(USER, CALLING, {**TOLD, "tool_call_id": 5}, ANSWER), "no_call_id"),
        (chat(USER, TOLD, CALLING), "unknown_call"),
        (chat({**USER, "name": 5}, ANSWER), "name_type"),
        (chat({**USER, "name": "<|x|>"}, ANSWER), "special_token"),
        (chat({**USER, "content": []}, ANSWER), "no_content"),
        (chat({**USER, "content": [{"type": "input_audio"}]}, ANSWER), "content_type"),
        (chat(USER, {**ANSWER, "content": [IMAGE]}), "image_role"),
        (
            chat(
                {**USER, "content": [{"type": "image_url", "image_url": "file:///etc/x"}]}, ANSWER
            ),
            "image_url",
        ),
        (chat({**USER, "content": [{"type": "image_url"}]}, ANSWER), "image_url"),
        (chat(USER, ANSWER, tools=[{}]), "tools_type"),
        (chat(USER, ANSWER, tools="["), "tools_type"),
        (chat(USER, ANSWER, critique="x"), "critique_lines"),
        ({"sophia_unusable_row": {"code": "columns", "found": 1, "wanted": 2}}, "columns"),
        ({"sophia_unusable_row": {"code": "nul"}}, "unknown_format"),
    ],
)
def test_what_can_not_be_used_is_refused_by_its_code(record: dict[str, Any], code: str) -> None:
    assert code_of(record) == code
    assert code in REASONS


def test_a_chat_keeps_tools_calls_names_and_images() -> None:
    content = [{"type": "text", "text": "q"}, IMAGE]
    record = chat(
        {"role": "developer", "content": "d"},
        {"role": "user", "content": content, "name": "ana"},
        CALLING,
        TOLD,
        {**ANSWER, "weight": 0},
        USER,
        {**ANSWER, "content": "b"},
        tools=[TOOL],
    )
    example = convert(record)
    assert json.loads(encode(example)) == record
    assert convert(json.loads(encode(example))) == example


def test_calls_without_ids_get_them_and_answers_belong_to_them_in_order() -> None:
    notes: list[str] = []
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g")]
    turns = [{"role": "tool", "content": name} for name in ("of f", "of g")]
    example = convert(chat(USER, {**CALLING, "tool_calls": calls}, *turns, ANSWER), notes.append)
    assert [call["id"] for call in example.messages[1].tool_calls] == ["call_1", "call_2"]
    assert [turn.tool_call_id for turn in example.messages[2:4]] == ["call_1", "call_2"]
    assert notes == ["call_ids"]


def test_texts_of_one_message_are_joined_and_noted() -> None:
    notes: list[str] = []
    parts = [{"type": "text", "text": text} for text in ("one", "two")]
    assert convert(chat({**USER, "content": parts}, ANSWER), notes.append) == Example(
        (Message("user", "one\ntwo"), Message("assistant", "a"))
    )
    assert notes == ["text_parts"]


def test_a_conversation_with_calls_is_a_chat_with_calls() -> None:
    told = said(
        ("human", "q"),
        ("function_call", '{"name": "f", "arguments": {"a": 1}}'),
        ("observation", "nine"),
        ("gpt", "a"),
        system="s",
        tools=json.dumps([TOOL["function"]]),
    )
    example = convert(told)
    assert [turn.role for turn in example.messages] == [
        *("system", "user", "assistant", "tool", "assistant")
    ]
    assert example.messages[2].tool_calls[0] == {**CALL, "id": "call_1"}
    assert example.messages[3].tool_call_id == "call_1" and example.tools == (TOOL,)


def test_answers_in_a_prompt_are_read_and_not_learnt() -> None:
    example = convert({"prompt": [USER, ANSWER, USER], "completion": "a"})
    assert [turn.weight for turn in example.messages] == [None, 0, None, None]


def test_an_instruction_may_have_a_system_message_and_earlier_turns() -> None:
    example = convert({"instruction": "q", "output": "a", "system": "s", "history": [["q1", "a1"]]})
    assert [turn.content for turn in example.messages] == ["s", "q1", "a1", "q", "a"]


def test_fields_that_no_form_knows_are_noted_and_told() -> None:
    notes: list[str] = []
    record = {"question": "q", "answer": "a", "citations": [], "score": 5}
    assert convert(record, notes.append) == ASKED
    assert notes == ["record_fields"]
    assert left_out(record) == ["citations", "score"]


# --- constitutional examples ---


def test_a_constitutional_example_is_its_revised_answer_with_its_critique() -> None:
    example = convert(CONSTITUTION)
    assert isinstance(example, Example) and example.critique == CONSTITUTION["critique"]
    assert [turn.content for turn in example.messages] == [
        CONSTITUTION["prompt"],
        CONSTITUTION["response_revised"],
    ]
    assert convert(json.loads(encode(example))) == example


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("id", None, "no_id"),
        ("id", 5, "id_type"),
        ("category", " ", "no_category"),
        ("category", [], "category_type"),
        ("prompt", "Too short", "prompt_short"),
        ("prompt", 5, "prompt_type"),
        ("response_initial", "", "no_response_initial"),
        ("response_initial", 5, "response_initial_type"),
        ("response_revised", "", "no_response_revised"),
        ("response_revised", 5, "response_revised_type"),
        ("response_revised", "x" * 49, "revised_short"),
        ("response_revised", " " * 30 + "x" * 49, "revised_short"),
        ("response_revised", "x" * 50 + " TODO", "revised_placeholder"),
        ("response_revised", "x" * 50 + " FIXME: later", "revised_placeholder"),
        ("response_revised", "x" * 50 + " Lorem  IPSUM", "revised_placeholder"),
        ("critique", None, "no_critique"),
        ("critique", 5, "critique_type"),
        ("critique", "[VERITAS] a\n[SOPHIA] b", "critique_lines"),
        ("critique", "[VERITAS] a\n[SOPHIA] b\n[DIKE]", "critique_lines"),
        ("critique", "[VERITAS] a\n[SOPHIA] b\n[DIKE] c\nmore", "critique_lines"),
        ("critique", "[VERITAS] a\n[VERITAS] b\n[DIKE] c", "critique_lines"),
        ("critique", "[VERITAS] a [FIM DA ANÁLISE]\n[SOPHIA] b\n[DIKE] c", "critique_mark"),
        ("reasoning", None, "no_reasoning"),
        ("reasoning", {}, "reasoning_type"),
        ("values_applied", [], "values"),
        ("values_applied", "verdade", "values"),
        ("values_applied", ["verdade", "fama"], "values"),
        ("difficulty", "hardest", "difficulty"),
        ("difficulty", None, "difficulty"),
    ],
)
def test_the_rules_of_constitutional_examples(field: str, value: Any, code: str) -> None:
    assert code_of({**CONSTITUTION, field: value}) == code
    assert code in REASONS


@pytest.mark.parametrize("text", ["todo dia", "Todo", "MÉTODO", "fixme", "o TODOS"])
def test_words_that_only_look_like_a_placeholder_are_words(text: str) -> None:
    assert convert({**CONSTITUTION, "response_revised": "x" * 50 + text})


def test_an_id_is_taken_once() -> None:
    ids = Ids()
    ids.see(CONSTITUTION, 1)
    ids.see({**CONSTITUTION, "id": "truth_001"}, 2)
    ids.see({"id": "truth_000", "question": "q"}, 3)
    with pytest.raises(Unusable) as refused:
        ids.see(CONSTITUTION, 4)
    assert refused.value.problem.code == "same_id"
    assert refused.value.problem.details == {"first_line": 1}


def test_the_figures_of_a_set() -> None:
    figures = Figures()
    for number in range(100):
        level = "hard" if number < 60 else "medium" if number < 90 else "easy"
        figures.add({"category": f"c{number % 25}", "difficulty": level}, valid=True)
    told = figures.report()
    assert told["all_valid"] and told["categories_enough"] and told["difficulty_balanced"]
    assert (told["success_rate"], told["category_count"]) == (1.0, 25)
    assert told["difficulty_shares"] == {"hard": 0.6, "medium": 0.3, "easy": 0.1}
    figures.add({}, valid=False)
    assert figures.report()["success_rate"] == 100 / 101
    few = Figures()
    few.add(CONSTITUTION, valid=True)
    assert not few.report()["categories_enough"] and not few.report()["difficulty_balanced"]
    assert Figures().report()["success_rate"] == 0.0


# --- the way back ---

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0<["), min_size=1)
visible_texts = texts.filter(str.strip)
names = st.none() | st.from_regex(r"[a-z]{1,8}", fullmatch=True)
arguments = st.dictionaries(texts, st.integers() | texts | st.none() | st.booleans(), max_size=3)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Chats with everything that a canonical example may hold."""
    turns: list[Message] = []
    if draw(st.booleans()):
        role = draw(st.sampled_from(["system", "developer"]))
        turns.append(Message(role, draw(visible_texts)))
    for number in range(draw(st.integers(1, 3))):
        turns.append(draw(asked()))
        if draw(st.booleans()):
            turns += draw(called(f"id{number}"))
        turns.append(
            Message("assistant", draw(visible_texts), draw(st.sampled_from([None, 0])), draw(names))
        )
    turns[-1] = replace(turns[-1], weight=None)
    tools = draw(st.sampled_from([(), (TOOL,)]))
    critique = draw(st.sampled_from([None, CONSTITUTION["critique"]]))
    return Example(tuple(turns), tools, critique)


@st.composite
def asked(draw: st.DrawFn) -> Message:
    text, name = draw(visible_texts), draw(names)
    if draw(st.integers(0, 4)):
        return Message("user", text, name=name)
    return Message("user", text, name=name, parts=({"type": "text", "text": text}, IMAGE))


@st.composite
def called(draw: st.DrawFn, identifier: str) -> list[Message]:
    told = json.dumps(draw(arguments))
    call = {"id": identifier, "type": "function", "function": {"name": "f", "arguments": told}}
    return [
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", draw(visible_texts), tool_call_id=identifier),
    ]


simple = st.builds(
    lambda asked, answered: Example((Message("user", asked), Message("assistant", answered))),
    visible_texts,
    visible_texts,
)


@given(st.one_of(examples(), simple), st.sampled_from(FORMS))
def test_an_example_comes_back_the_same_or_is_refused_by_name(example: Example, form: Any) -> None:
    line = json.loads(encode(example))
    assert convert(line) == example
    try:
        record = write_as(example, form)
    except Unusable as refused:
        assert refused.problem.code == "form_cant_hold"
        return
    read = json.loads(json.dumps(record))
    assert form_of(read) == form
    assert convert(read) == example


@given(simple)
def test_every_form_but_those_of_another_kind_holds_one_question(example: Example) -> None:
    held = set(FORMS) - {"pairs", "hosted_pairs", "constitutional"}
    assert all(write_as(example, form) for form in held)


@pytest.mark.parametrize("form", ["pairs", "hosted_pairs"])
def test_a_pair_comes_back_with_its_tools(form: Any) -> None:
    record = {"messages": [USER], "chosen": [CALLING], "rejected": [ANSWER], "tools": [TOOL]}
    pair = convert(record)
    assert isinstance(pair, Pair) and pair.tools == (TOOL,)
    assert convert(json.loads(json.dumps(write_as(pair, form)))) == pair
    with pytest.raises(Unusable):
        write_as(pair, "chat")


@pytest.mark.parametrize(
    ("record", "form"),
    [
        (chat(USER, ANSWER, USER, ANSWER), "question_answer"),
        (chat(USER, ANSWER, USER, ANSWER), "prompt_completion"),
        (chat({"role": "system", "content": "s"}, USER, ANSWER), "input_output"),
        (chat({**USER, "name": "ana"}, ANSWER), "conversations"),
        (chat({**USER, "content": [IMAGE]}, ANSWER), "conversations"),
        (chat(USER, CALLING), "instruction"),
        (chat(USER, CALLING, TOLD, ANSWER), "conversations"),  # its ids would be others
        (chat(USER, {**ANSWER, "weight": 0}, USER, ANSWER), "instruction"),
        (chat(USER, ANSWER, critique=CONSTITUTION["critique"]), "conversations"),
        (chat(USER, ANSWER, tools=[TOOL]), "events"),
        (chat(USER, ANSWER), "constitutional"),
    ],
)
def test_what_a_form_has_no_place_for_is_refused(record: dict[str, Any], form: Any) -> None:
    with pytest.raises(Unusable) as refused:
        write_as(convert(record), form)
    assert refused.value.problem.code == "form_cant_hold"


# --- texts ---


def test_personal_data_goes_out_of_calls_names_critiques_and_parts() -> None:
    mail, cpf = "ana@example.com", 52998224725
    call = {**CALL, "function": {"name": "f", "arguments": json.dumps({"to": mail, "cpf": cpf})}}
    record = chat(
        {
            "role": "user",
            "name": mail,
            "content": [{"type": "text", "text": f"I am {mail}"}, IMAGE],
        },
        {**CALLING, "tool_calls": [call]},
        TOLD,
        ANSWER,
        critique=str(CONSTITUTION["critique"]).replace("Vague", mail),
    )
    example = convert(record)
    found, counts = redact(example, encode(example))
    line = encode(found)
    assert counts and mail.encode() not in line and str(cpf).encode() not in line
    told = json.loads(found.messages[1].tool_calls[0]["function"]["arguments"])
    assert told == {"to": "[EMAIL_1]", "cpf": "[CPF_1]"}
    assert convert(json.loads(line)) == replace(found, messages=convert(json.loads(line)).messages)
    pair = convert({"messages": [USER], "chosen": [ANSWER], "rejected": mail, "tools": [TOOL]})
    assert isinstance(pair, Pair)
    changed, _counts = redact(pair, encode(pair))
    assert changed == replace(pair, rejected=Message("assistant", "[EMAIL_1]"))
