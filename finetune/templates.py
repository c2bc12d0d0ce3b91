"""Chats as text in the base's own template, and where in that text the answers to learn stand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetune import schema
from finetune.failures import DataFailure, WorkFailure
from finetune.readers import TOOLS

#: The keys of a message that a template is given.
_RENDERED = ("role", "content", "name", "tool_calls", "tool_call_id")
#: Those, beside the content, whose texts a template may write.
_WITH_TEXTS = ("name", "tool_calls", TOOLS)
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}

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
    """The template in use: where it comes from, its text's SHA-256 and its text.

    `own` says that the text is not the base's own: another form, or a system message in it.
    """

    source: Literal["base", "plain", "alpaca"]
    fingerprint: str
    text: str
    prompt_form: schema.PromptForm
    system_message: str | None
    own: bool


def set_template(
    tokenizer: Any, form: schema.PromptForm, system_message: str | None = None
) -> Template:
    """Give the tokenizer the template to use; a base without one gets the plain one.

    The system message becomes a part of the template, so whoever renders with it opens alike.
    """
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
    if system_message is not None:
        text = tokenizer.chat_template = _opened(text, system_message)
    own = source != "base" or system_message is not None
    return Template(source, fingerprint_of(text), text, form, system_message, own)


def set_adapter_template(tokenizer: Any, folder: Path, form: schema.AdapterForm) -> Template:
    """Give the tokenizer the template that stands beside an adapter: the one it was trained with.

    Raises WorkFailure where it is another text than the adapter's record says.
    """
    path = folder / schema.ADAPTER_TEMPLATE_FILE
    try:
        # As bytes: reading as text would turn a carriage return into a line end.
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _foreign_template(path, f"It can't be read ({type(error).__name__}).") from error
    if fingerprint_of(text) != form.template_fingerprint:
        raise _foreign_template(path, f"{schema.ADAPTER_FORM_FILE} beside it names another text.")
    tokenizer.chat_template = text
    own = form.template_source != "base" or form.system_message is not None
    return Template(
        form.template_source,
        form.template_fingerprint,
        text,
        form.prompt_form,
        form.system_message,
        own,
    )


def adapter_form_files(template: Template) -> dict[str, bytes]:
    """What tells the form beside the adapter's weights; other programs read the template too."""
    form = schema.AdapterForm(
        prompt_form=template.prompt_form,
        system_message=template.system_message,
        template_source=template.source,
        template_fingerprint=template.fingerprint,
    )
    return {
        schema.ADAPTER_TEMPLATE_FILE: template.text.encode("utf-8"),
        schema.ADAPTER_FORM_FILE: (form.model_dump_json(indent=2) + "\n").encode("utf-8"),
    }


def fingerprint_of(text: str) -> str:
    """SHA-256 of a template's text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _foreign_template(path: Path, why: str) -> WorkFailure:
    return WorkFailure(
        213,
        "The adapter's prompt form is not known.",
        f"{path}: {why}",
        "Copy the adapter's folder whole from the training that made it.",
    )


def _opened(template: str, system_message: str) -> str:
    """The template with a system message before every chat that has none.

    The line end after the block is taken away with it, as templates are rendered everywhere, so
    what follows stands as it stood.
    """
    text = system_message
    for sign, written in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(sign, written)
    return (
        "{% if messages[0]['role'] != 'system' and messages[0]['role'] != 'developer' %}"
        f"{{% set messages = [{{'role': 'system', 'content': '{text}'}}] + messages %}}"
        "{% endif %}\n" + template
    )


def render(tokenizer: Any, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
    """The chat as text, with the opening of the next answer if `prompt`."""
    from jinja2.exceptions import TemplateError

    plain = [{key: item[key] for key in _RENDERED if key in item} for item in messages]
    tools = messages[0].get(TOOLS) if messages else None
    try:
        text = tokenizer.apply_chat_template(
            plain, tools=tools, tokenize=False, add_generation_prompt=prompt
        )
    except (TemplateError, IndexError, KeyError, TypeError, ValueError) as error:
        # No chain: a template's error may quote the chat.
        raise TemplateRefuses(type(error).__name__) from None
    return str(text)


def refuse_unknown_tools(tokenizer: Any, messages: list[dict[str, Any]]) -> None:
    """Raises TemplateRefuses where the chat offers, calls or answers for tools and the template
    would leave that out without a word."""
    offered = bool(messages and messages[0].get(TOOLS))
    called = any(each.get("tool_calls") for each in messages)
    answered = any(each["role"] == "tool" for each in messages)
    if not (offered or called or answered):
        return
    function = {"name": "offered_probe", "description": "d", "parameters": _NO_PARAMETERS}
    call = {"name": "called_probe", "arguments": {"a": "argument_probe"}}
    probe: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    if offered:
        probe[0][TOOLS] = [{"type": "function", "function": function}]
    if called:
        # Nine letters and digits: what the strictest template wants of an id.
        calls = [{"id": "a1b2c3d4e", "type": "function", "function": call}]
        probe.append({"role": "assistant", "content": "", "tool_calls": calls})
    if answered:
        answer = {"tool_call_id": "a1b2c3d4e", "name": "called_probe", "content": "answer_probe"}
        probe.append({"role": "tool", **answer})
    text = render(tokenizer, probe)
    wanted = {
        "offered_probe": offered,
        "called_probe": called,
        "argument_probe": called,
        "answer_probe": answered,
    }
    if not all(word in text for word, needed in wanted.items() if needed):
        raise TemplateRefuses("tools")


def guarded(
    tokenizer: Any, messages: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], str | None]:
    """The chat with special tokens in its contents broken by a sign, and that sign.

    A content that says `<|im_end|>` is text, and must not end a turn. None where none does.
    """
    tokens = [token for token in tokenizer.all_special_tokens if token]
    text = "".join(map(_said, messages))
    if not any(token in text for token in tokens):
        return messages, None
    guard = next(sign for sign in map(chr, range(0x100000, 0x10FFFE)) if sign not in text)
    longest_first = sorted(tokens, key=len, reverse=True)

    def broken(text: str) -> str:
        for token in longest_first:
            text = text.replace(token, token[0] + guard + token[1:])
        return text

    return [{**each, **_texts_changed(each, broken)} for each in messages], guard


def _said(message: dict[str, Any]) -> str:
    """Every text of a message that a template may write."""
    rest = [message[key] for key in _WITH_TEXTS if message.get(key)]
    return str(message["content"]) + (json.dumps(rest, ensure_ascii=False) if rest else "")


def _texts_changed(message: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        if isinstance(value, dict):
            return {walk(key): walk(each) for key, each in value.items()}
        return [walk(each) for each in value] if isinstance(value, list) else value

    changed = {key: walk(message[key]) for key in _WITH_TEXTS if message.get(key)}
    return {"content": change(message["content"]), **changed}


def answer_spans(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[str, list[range]]:
    """The whole chat as text, and the character spans to learn: answers with their end tokens.

    A span is what the chat gains by the assistant's turn over the opened prompt before it, so no
    template needs generation markers. Where a template writes earlier turns differently (dropping
    their thoughts, say), it is the place that changes when the content does.
    """
    text = render(tokenizer, messages)
    spans: list[range] = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight", 1) == 0:
            continue
        span = _span_by_prefix(tokenizer, messages, index, text)
        if span is None and message.get("tool_calls"):
            span = _span_by_call(tokenizer, messages, index, text)
        elif span is None:
            span = _span_by_probe(tokenizer, messages, index, text)
        if span is not None and (not spans or span.start >= spans[-1].stop):
            spans.append(span)
    return text, spans


def _span_by_prefix(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, text: str
) -> range | None:
    if index == 0:
        return None
    try:
        before = render(tokenizer, messages[:index], prompt=True)
        after = text if index == len(messages) - 1 else render(tokenizer, messages[: index + 1])
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


def _span_by_call(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, text: str
) -> range | None:
    """The same for a turn that calls tools: from the opened prompt to where the text goes on alike
    whatever the last call says."""
    if index == 0:
        return None
    probe = next(sign for sign in map(chr, range(0xF0000, 0xFFFFE)) if sign not in text)
    *calls, last = messages[index]["tool_calls"]
    told = {**last, "function": {**last["function"], "arguments": {"a": probe}}}
    other = [*messages]
    other[index] = {**messages[index], "tool_calls": [*calls, told]}
    try:
        before = render(tokenizer, messages[:index], prompt=True)
        rest = render(tokenizer, other).rpartition(probe)[2]
        ending = render(tokenizer, other[: index + 1]).rpartition(probe)[2]
    except TemplateRefuses:
        return None
    alike = zip(rest, ending, strict=False)
    shared = next((place for place, (a, b) in enumerate(alike) if a != b), len(ending))
    stop = len(text) - len(rest) + shared
    if not (text.startswith(before) and text.endswith(rest[shared:]) and len(before) < stop):
        return None
    return _without_tail(tokenizer, text, range(len(before), stop))


def _span_by_probe(
    tokenizer: Any, messages: list[dict[str, Any]], index: int, text: str
) -> range | None:
    """Where the content stands in the text: the place that another content would take.

    What follows it belongs to the answer as far as it would follow if the chat ended there.
    """
    probe = next(sign for sign in map(chr, range(0xF0000, 0xFFFFE)) if sign not in text)
    other = [*messages]
    other[index] = {**messages[index], "content": probe}
    try:
        start, found, rest = render(tokenizer, other).partition(probe)
        ending = render(tokenizer, other[: index + 1]).partition(probe)[2]
    except TemplateRefuses:
        return None
    stop = len(text) - len(rest)
    if not (found and text.startswith(start) and text.endswith(rest) and len(start) < stop):
        return None
    alike = zip(rest, ending, strict=False)
    shared = next((place for place, (a, b) in enumerate(alike) if a != b), len(ending))
    return _without_tail(tokenizer, text, range(len(start), stop + shared))
