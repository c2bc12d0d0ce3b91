"""Chats as text in the base's own template, and where in that text the answers to learn stand."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from finetune import schema
from finetune.failures import DataFailure

#: For a base without a template of its own; every turn ends in the end token after an answer.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}"
    "### {{ message['role'] | capitalize }}:\n{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
#: The form that the owner's adaptive training uses (mission section 3).
ALPACA_TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}### Instruction:\n{{ message['content'] }}\n\n"
    "{% elif message['role'] == 'assistant' %}### Response:\n{{ message['content'] }}"
    "{{ eos_token }}\n\n"
    "{% else %}{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}### Response:\n{% endif %}"
)


class TemplateRefuses(Exception):
    """The template cannot render this chat (an unknown role, turns out of order)."""


@dataclass(frozen=True)
class Template:
    """The template in use: where it comes from, its text's SHA-256, its text if not the base's."""

    source: Literal["base", "plain", "alpaca"]
    fingerprint: str
    text: str


def set_template(tokenizer: Any, form: schema.PromptForm) -> Template:
    """Give the tokenizer the template to use; a base without one gets the plain one."""
    source: Literal["base", "plain", "alpaca"] = "base"
    if form == "alpaca":
        source, tokenizer.chat_template = "alpaca", ALPACA_TEMPLATE
    elif form == "plain" or not tokenizer.chat_template:
        source, tokenizer.chat_template = "plain", PLAIN_TEMPLATE
    if not tokenizer.eos_token:
        raise DataFailure(
            203,
            "The base's tokenizer has no end token.",
            "A model trained without one never ends its answers.",
            "Set eos_token in the base's tokenizer_config.json.",
        )
    # A tokenizer may hold several templates; the one for plain chats counts.
    text = tokenizer.get_chat_template()
    return Template(source, hashlib.sha256(text.encode("utf-8")).hexdigest(), text)


def render(tokenizer: Any, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """The chat as text, with the opening of the next answer if `prompt`."""
    from jinja2.exceptions import TemplateError

    plain = [{"role": item["role"], "content": item["content"]} for item in messages]
    try:
        text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=prompt)
    except (TemplateError, IndexError, TypeError) as error:
        # No chain: a template's error may quote the chat.
        raise TemplateRefuses(type(error).__name__) from None
    return str(text)


def answer_spans(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[str, list[range]]:
    """The whole chat as text, and the character spans to learn: answers with their end tokens.

    A span is what the chat gains by the assistant's turn over the opened prompt before it, so no
    template needs generation markers. Where a template writes earlier turns differently (dropping
    their thoughts, say), the answer is looked up in the whole text instead.
    """
    text = render(tokenizer, messages)
    spans: list[range] = []
    position = 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        span = _span_by_prefix(tokenizer, messages, index, text)
        if span is None or span.start < position:
            span = _span_by_search(tokenizer, message["content"], text, position)
        if span is None:
            continue
        position = span.stop
        if message.get("weight", 1) != 0:
            spans.append(span)
    return text, spans


def _span_by_prefix(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, text: str
) -> range | None:
    if index == 0:
        return None
    try:
        before = render(tokenizer, messages[:index], prompt=True)
        after = render(tokenizer, messages[: index + 1])
    except TemplateRefuses:
        return None
    if not (text.startswith(after) and after.startswith(before) and len(after) > len(before)):
        return None
    return _without_tail(tokenizer, text, range(len(before), len(after)))


def _without_tail(tokenizer: Any, text: str, span: range) -> range:
    """Cut white space after an end token: the model has ended there and never writes it."""
    content = text[span.start : span.stop].rstrip()
    if any(content.endswith(token) for token in tokenizer.all_special_tokens):
        return range(span.start, span.start + len(content))
    return span


def _span_by_search(tokenizer: Any, content: str, text: str, position: int) -> range | None:
    needle = content.strip()
    start = text.find(needle, position) if needle else -1
    if start < 0:
        return None
    stop = start + len(needle)
    for token in tokenizer.all_special_tokens:
        if text[stop:].lstrip().startswith(token):
            stop = text.index(token, stop) + len(token)
            break
    return range(start, stop)
