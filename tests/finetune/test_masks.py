"""Only the assistant's words, and the token that ends them, are learnt."""

from __future__ import annotations

from typing import Any

import pytest

from finetune.examples import encode
from finetune.templates import TemplateRefuses, set_template
from tests.finetune.tiny_model import CHATML, build_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi?"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "And now? Hello."},
    {"role": "assistant", "content": "Good-bye."},
]
#: Writes earlier turns without their thoughts, as templates of reasoning models do.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
)
REFUSING = "{{ raise_exception('no system turn') }}"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


def learnt(tokenizer: Any, chat: list[dict[str, Any]]) -> list[str]:
    """The texts of the unbroken stretches that are learnt."""
    ids, mask = encode(tokenizer, chat)
    stretches: list[list[int]] = []
    previous = 0
    for token, flag in zip(ids, mask, strict=True):
        if flag and not previous:
            stretches.append([])
        if flag:
            stretches[-1].append(token)
        previous = flag
    return [tokenizer.decode(stretch) for stretch in stretches]


def test_every_answer_is_learnt_with_its_end_token_and_nothing_else(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    assert learnt(tokenizer, CHAT) == ["Hello.<|im_end|>", "Good-bye.<|im_end|>"]


def test_the_mask_marks_the_exact_tokens(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    ids, mask = encode(tokenizer, CHAT[1:3])
    prompt = tokenizer("<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    answer = tokenizer("Hello.<|im_end|>")["input_ids"]
    end = tokenizer("\n")["input_ids"]
    assert ids == prompt + answer + end
    assert list(mask) == [0] * len(prompt) + [1] * len(answer) + [0] * len(end)


def test_an_answer_of_weight_0_is_read_but_not_learnt(tokenizer: Any) -> None:
    tokenizer.chat_template = CHATML
    chat = [*CHAT[:2], {**CHAT[2], "weight": 0}, CHAT[3], {**CHAT[4], "weight": 1}]
    assert learnt(tokenizer, chat) == ["Good-bye.<|im_end|>"]


def test_a_template_that_rewrites_earlier_turns_still_marks_the_answers(tokenizer: Any) -> None:
    tokenizer.chat_template = FORGETFUL
    assert learnt(tokenizer, CHAT) == ["Hello.<|im_end|>", "Good-bye.<|im_end|>"]


@pytest.mark.parametrize("form", ["plain", "alpaca"])
def test_a_base_without_template_learns_by_a_documented_form(tokenizer: Any, form: Any) -> None:
    tokenizer.chat_template = None
    assert set_template(tokenizer, form).source == form
    assert learnt(tokenizer, CHAT) == ["Hello.<|im_end|>", "Good-bye.<|im_end|>"]


def test_a_template_that_refuses_says_nothing_of_the_chat(tokenizer: Any) -> None:
    tokenizer.chat_template = REFUSING
    with pytest.raises(TemplateRefuses, match="TemplateError"):
        encode(tokenizer, CHAT)
