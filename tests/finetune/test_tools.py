"""Chats that call tools are trained on where the template knows tools, and refused by line else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.examples import encode_whole
from finetune.readers import Malformed, read_row
from finetune.templates import TemplateRefuses
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune
from tests.finetune.tiny_model import CHATML, build_tiny_model, build_tokenizer, write_lines

#: A template that knows tools, in the manner of the Qwen family.
WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if THOUGHTS %}<think></think>{% endif %}{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}<tool_call>"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAINLY = WITH_TOOLS.replace("THOUGHTS", "false")
#: One that writes the last turn in another way than the same turn in the middle of a chat.
THINKING = WITH_TOOLS.replace("THOUGHTS", "loop.last and message['role'] == 'assistant'")
TOOL = {
    "type": "function",
    "function": {"name": "hour", "parameters": {"type": "object", "properties": {}}},
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "hour", "arguments": '{"town":"Brovik"}'},
}
CHAT = [
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "nine"},
    {"role": "assistant", "content": "At nine."},
]
WRITTEN = '<tool_call>{"name": "hour", "arguments": {"town": "Brovik"}}</tool_call><|im_end|>'


def tokenizer(template: str) -> Any:
    made = build_tokenizer()
    made.chat_template = template
    return made


def learnt(template: str, record: dict[str, Any]) -> str:
    made = tokenizer(template)
    found = encode_whole(made, read_row(record).messages)
    kept = [token for token, flag in zip(found.ids, found.mask, strict=True) if flag]
    return str(made.decode(kept))


@pytest.mark.parametrize("template", [PLAINLY, THINKING])
def test_a_call_is_learnt_with_its_end_and_what_the_tool_says_is_not(template: str) -> None:
    thought = "<think></think>" if template == THINKING else ""
    told = learnt(template, {"messages": CHAT, "tools": [TOOL]})
    assert told == f"{WRITTEN}{thought}At nine.<|im_end|>"
    weighed = copy.deepcopy(CHAT)
    weighed[1]["weight"] = 0
    assert learnt(template, {"messages": weighed}) == f"{thought}At nine.<|im_end|>"


def test_the_tools_offered_open_the_chat() -> None:
    row = read_row({"messages": CHAT, "tools": [TOOL]})
    text = encode_whole(tokenizer(PLAINLY), row.messages).text
    assert text.startswith('<|im_start|>system\n{"type": "function", "function": {"name": "hour"')


@pytest.mark.parametrize(
    "record", [{"messages": CHAT}, {"messages": [CHAT[0], CHAT[3]], "tools": [TOOL]}]
)
def test_a_template_that_leaves_tools_out_refuses_them(record: dict[str, Any]) -> None:
    with pytest.raises(TemplateRefuses):
        encode_whole(tokenizer(CHATML), read_row(record).messages)


def test_a_special_token_in_an_argument_ends_no_turn() -> None:
    chat = copy.deepcopy(CHAT)
    chat[1]["tool_calls"][0]["function"]["arguments"] = '{"town":"x<|im_end|>"}'
    made = tokenizer(PLAINLY)
    found = encode_whole(made, read_row({"messages": chat}).messages)
    ends = [token for token in found.ids if token == made.eos_token_id]
    assert len(ends) == len(chat)


def test_the_answers_of_a_pair_may_be_calls() -> None:
    said = {"role": "assistant", "content": "I don't know."}
    row = read_row({"messages": CHAT[:1], "chosen": [CHAT[1]], "rejected": [said]})
    assert row.messages[-1]["tool_calls"][0]["function"]["arguments"] == {"town": "Brovik"}
    assert row.rejected is not None and row.rejected[-1] == said


@pytest.mark.parametrize(
    "messages",
    [
        [CHAT[0], {"role": "assistant", "tool_calls": [{}]}],
        [{**CHAT[0], "tool_calls": [CALL]}, CHAT[3]],
        [
            CHAT[0],
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        ],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, CHAT[3]],
    ],
)
def test_what_is_no_call_and_images_are_malformed(messages: Any) -> None:
    with pytest.raises(Malformed):
        read_row({"messages": messages})


def test_a_critique_beside_a_chat_is_a_part_of_its_last_answer_in_that_form_alone() -> None:
    record = {"messages": [CHAT[0], CHAT[3]], "critique": "[VERITAS] c"}
    assert read_row(record).messages[-1]["content"] == "At nine."
    told = read_row(record, "critique")
    assert told.form == "critique"
    assert told.messages[-1]["content"] == (
        "[ANÁLISE INTERNA]\n[VERITAS] c\n[FIM DA ANÁLISE]\n\nAt nine."
    )


def test_a_chat_with_calls_is_trained_on(make_run: MakeRun, tmp_path: Path) -> None:
    base = build_tiny_model(tmp_path / "base", chat_template=PLAINLY)
    write_lines(tmp_path / "data" / "train.jsonl", [{"messages": CHAT, "tools": [TOOL]}] * 4)
    run = make_run(
        base=base,
        recipe={"max_steps": 1, "sequence_length": 512},
        dataset_path=str(tmp_path / "data"),
    )
    assert finetune("train", run) == 0


def test_a_base_without_tools_refuses_the_lines_and_an_image_is_named(
    make_run: MakeRun, tmp_path: Path
) -> None:
    plain = {"messages": [CHAT[0], CHAT[3]]}
    write_lines(tmp_path / "data" / "train.jsonl", [plain, {"messages": CHAT}])
    run = make_run(dataset_path=str(tmp_path / "data"))
    assert finetune("train", run) == schema.EXIT_REFUSED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-211" and "Line 2 of train.jsonl" in failed["what"]
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    write_lines(
        tmp_path / "images" / "train.jsonl",
        [plain, {"messages": [{"role": "user", "content": [image]}, CHAT[3]]}],
    )
    run = make_run("second", dataset_path=str(tmp_path / "images"))
    assert finetune("train", run) == schema.EXIT_FAILED
    failed = events(run, "state")[-1].data
    assert failed["code"] == "FINETUNE-202" and "Line 2 of train.jsonl" in failed["what"]
    assert "an image" in json.dumps(failed)
