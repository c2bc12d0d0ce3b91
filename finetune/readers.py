"""Lines of a data set as chats: one small reader for each form, chosen by the line's keys.

Light: the standard library alone. What a line says is text to learn and nothing else; no reason
for a refusal quotes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from finetune import schema
from finetune.failures import BadRequest, DataFailure

Messages = list[dict[str, Any]]
#: What stands around the critique in the answer of the critique form (mission section 4).
ANALYSIS_BEGINS: Final = "[ANÁLISE INTERNA]"
ANALYSIS_ENDS: Final = "[FIM DA ANÁLISE]"


#: The key of a chat's first message under which the tools offered to the assistant stand.
TOOLS: Final = "tools"
#: What of an answer is learnt.
ANSWER_KEYS: Final = ("role", "content", "tool_calls")


class Malformed(Exception):
    """A line that can't be read; says why without a word of its text."""


@dataclass(frozen=True)
class Row:
    """A line as a chat; `rejected` is the chat with the other answer, of a preference pair."""

    form: schema.LineForm
    messages: Messages
    rejected: Messages | None = None


@dataclass(frozen=True)
class Line:
    """A line by its number from 1: its row, or why it has none."""

    number: int
    row: Row | None = None
    why: str | None = None


def dataset_folder(spec: schema.RunSpec) -> Path:
    """The data set's folder; raises BadRequest where run.yaml names none."""
    if spec.dataset_path is None:
        raise BadRequest(
            101,
            "The run has no data set.",
            "run.yaml has no dataset_path.",
            "Name the folder that holds train.jsonl and valid.jsonl.",
        )
    return Path(spec.dataset_path).expanduser()


def read_lines(path: Path, prompt_form: schema.PromptForm = "chat_template") -> Iterator[Line]:
    """Every line of a file that holds something; raises DataFailure where there is no file."""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below, opened apart for its error
    except OSError as error:
        raise DataFailure(
            201,
            f"The data set's file {path.name} cannot be read.",
            f"{path}: {error.strerror}",
            "Correct dataset_path in run.yaml: a folder with train.jsonl and valid.jsonl.",
        ) from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Line(number, read_row(_parsed(line, number), prompt_form))
            except Malformed as refused:
                yield Line(number, why=str(refused))


def read_row(record: object, prompt_form: schema.PromptForm = "chat_template") -> Row:
    """The chat of one parsed line; raises Malformed.

    The critique of a critique line is a part of the answer in that prompt form alone; any other
    learns the revised answer.
    """
    if not isinstance(record, dict):
        raise Malformed("not a JSON object")
    if "chosen" in record or "rejected" in record:
        return _preference(record)
    if "messages" in record:
        return _messages(record, prompt_form)
    if "response_revised" in record:
        return _critique(record, prompt_form)
    if "instruction" in record:
        return _alpaca(record)
    raise Malformed("neither `messages` nor the keys of another form that is trained on")


def _messages(record: dict[str, Any], prompt_form: schema.PromptForm) -> Row:
    """A chat with the tools it offers; with a critique (of the last answer) a critique line."""
    chat = _with_tools(_chat(record["messages"], "messages"), record)
    if record.get("critique") is None:
        return Row("chat", chat)
    critique, last = _text(record, "critique"), chat[-1]
    if prompt_form == "critique" and last["role"] == "assistant":
        chat = [*chat[:-1], {**last, "content": critique_answer(critique, last["content"])}]
    return Row("critique", chat)


def _with_tools(chat: Messages, record: dict[str, Any]) -> Messages:
    """The tools offered ride on the first message, so that any opening of the chat has them."""
    tools = record.get("tools")
    if not tools:
        return chat
    if not isinstance(tools, list) or not all(
        isinstance(each, dict) and isinstance(each.get("function"), dict) for each in tools
    ):
        raise Malformed("`tools` is not a list of functions")
    return [{**chat[0], TOOLS: tools}, *chat[1:]]


def _preference(record: dict[str, Any]) -> Row:
    prompt = _with_tools(_chat(record.get("messages"), "messages"), record)
    if prompt[-1]["role"] == "assistant":
        raise Malformed("the prompt of a preference pair ends with the assistant's turn")
    # The pair is about its last turn alone: what was said before is read, not learnt.
    before = [{**each, "weight": 0} if each["role"] == "assistant" else each for each in prompt]
    answers: Messages = []
    for name in ("chosen", "rejected"):
        answer = _chat(record.get(name), name)
        if len(answer) != 1 or answer[0]["role"] != "assistant":
            raise Malformed(f"`{name}` is not one message of the assistant")
        answers.append({key: answer[0][key] for key in ANSWER_KEYS if key in answer[0]})
    if answers[0] == answers[1]:
        raise Malformed("`chosen` and `rejected` are the same")
    return Row("preference", [*before, answers[0]], [*before, answers[1]])


def _alpaca(record: dict[str, Any]) -> Row:
    asked = _text(record, "instruction")
    more = record.get("input")
    if more is not None and not isinstance(more, str):
        raise Malformed("`input` is not text")
    if more and more.strip():
        _refuse_surrogates(more)
        asked = f"{asked}\n\n{more}"
    return Row("alpaca", _turns(asked, _text(record, "output")))


def _critique(record: dict[str, Any], prompt_form: schema.PromptForm) -> Row:
    asked, answer = _text(record, "prompt"), _text(record, "response_revised")
    if prompt_form == "critique":
        answer = critique_answer(_text(record, "critique"), answer)
    return Row("critique", _turns(asked, answer))


def critique_answer(critique: str, answer: str) -> str:
    """The assistant's turn of the critique form; raises Malformed for a critique with a mark."""
    if ANALYSIS_BEGINS in critique or ANALYSIS_ENDS in critique:
        raise Malformed("`critique` holds a mark that would end it early")
    return f"{ANALYSIS_BEGINS}\n{critique.strip()}\n{ANALYSIS_ENDS}\n\n{answer.strip()}"


def _turns(asked: str, answer: str) -> Messages:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


def _chat(messages: object, name: str) -> Messages:
    if not isinstance(messages, list) or not messages:
        raise Malformed(f"`{name}` is not a list with entries")
    messages = [_plain(message) for message in messages]
    for message in messages:
        if not (
            isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str)
        ):
            raise Malformed("a message without role and content as text")
        _refuse_surrogates(message["role"] + message["content"])
        weight = message.get("weight")
        if weight is None:
            continue
        if message["role"] != "assistant":
            raise Malformed("a weight on a message that is not the assistant's")
        if isinstance(weight, bool) or weight not in (0, 1):
            raise Malformed("a weight that is neither 0 nor 1")
    return messages


def _plain(message: Any) -> Any:
    """The message with its calls as templates want them: arguments as objects, text never null."""
    if not isinstance(message, dict):
        return message
    content = message.get("content")
    if isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") == "image_url" for part in content
    ):
        raise Malformed("an image, which is not trained on on this machine")
    calls = message.get("tool_calls")
    if not calls:
        return message
    if message.get("role") != "assistant" or not isinstance(calls, list):
        raise Malformed("calls of tools that are not a list in an assistant's message")
    return {**message, "content": content or "", "tool_calls": [_call(each) for each in calls]}


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Malformed("a call of a tool without its name")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise Malformed("a call of a tool whose arguments are not a JSON object")
    _refuse_surrogates(json.dumps([function["name"], arguments], ensure_ascii=False))
    return {**call, "function": {**function, "arguments": arguments}}


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Malformed(f"`{name}` is missing or not text")
    _refuse_surrogates(value)
    return value


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("half of a surrogate pair, which is no text") from None


def _parsed(line: bytes, number: int) -> object:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not valid JSON ({type(error).__name__})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a key occurs twice in one object")
    return found
