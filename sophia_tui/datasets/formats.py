"""Turns the formats of training lines that this version knows into the canonical example.

Known are question/answer and instruction/output lines, and chat `messages`. Citations, metadata and
every other field stay out of the training text. Texts are taken as they are; only white space alone
counts as empty.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from sophia_tui.datasets.codes import Unusable
from sophia_tui.domain.datasets import ROLES, Example, Message
from sophia_tui.i18n import N_

# What chat templates write themselves. In content it would forge a turn, and hosted services
# refuse the whole file for it.
_SPECIAL_TOKEN = re.compile(
    r"<\|[^\s|<>]{1,64}\|>|<｜[^｜<>]{1,64}｜>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad|unk)>"
    r"|\[/?INST\]|<</?SYS>>"
)

#: Formats that are recognised only to be named: the fields that tell, and the name.
_OTHER_FORMATS = (
    (("preferred_output", "non_preferred_output"), N_("preference pairs")),
    (("chosen", "rejected"), N_("preference pairs")),
    (("prompt", "completion"), N_("prompt and completion")),
    (("prompt", "response_revised"), N_("constitutional examples")),
    (("conversations",), N_("conversations")),
    (("input", "output"), N_("input and output")),
    (("text",), N_("plain text")),
)

_KNOWN_MESSAGE_KEYS = frozenset({"role", "content", "weight", "tool_calls", "function_call"})

Noted = Callable[[str], None]


def _nobody(code: str) -> None:
    """Nobody listens."""


def convert(record: dict[str, Any], note: Noted = _nobody) -> Example:
    """The canonical example of one parsed line. Raises Unusable with code and reason.

    `note` is told `message_fields` where a message has fields that are left out (a name, say).
    """
    if "messages" in record:
        return Example(_chat(record["messages"], note))
    if "question" in record or "answer" in record:
        return Example(
            (
                Message("user", _text(record.get("question"), "question")),
                Message("assistant", _text(record.get("answer"), "answer")),
            )
        )
    if "instruction" in record and "output" in record:
        return Example(_alpaca(record))
    raise Unusable("unknown_format", format=_name_of(record))


def _alpaca(record: dict[str, Any]) -> tuple[Message, ...]:
    """What is to be done, with what is given for it, and what came of it."""
    asked = _text(record["instruction"], "question")
    if record.get("input"):
        asked += "\n\n" + _text(record["input"], "question")
    return Message("user", asked), Message("assistant", _text(record["output"], "answer"))


def encode(example: Example) -> bytes:
    """The canonical line, without line end: `{"messages":[{"role":…,"content":…}]}`, compact UTF-8.

    `weight` is written where it is 0; 1 is what its absence means.
    """
    messages = [
        {"role": each.role, "content": each.content}
        if each.weight is None
        else {"role": each.role, "content": each.content, "weight": each.weight}
        for each in example.messages
    ]
    return _ENCODER.encode({"messages": messages})


_ENCODER = msgspec.json.Encoder()


def _name_of(record: dict[str, Any]) -> str:
    for fields, name in _OTHER_FORMATS:
        if all(each in record for each in fields):
            return name
    return N_("neither messages nor question and answer")


def _text(value: Any, field: str) -> str:
    if value is None:
        raise Unusable(f"no_{field}")
    if not isinstance(value, str):
        raise Unusable(f"{field}_type")
    if not value.strip():
        raise Unusable(f"no_{field}")
    _refuse_special(value, 1 if field == "question" else 2)
    return value


def _refuse_special(text: str, message: int) -> None:
    if "\0" in text:
        raise Unusable("nul")
    if ("<" in text or "[" in text) and _SPECIAL_TOKEN.search(text):
        raise Unusable("special_token", message=message)


def _chat(messages: Any, note: Noted) -> tuple[Message, ...]:
    if not isinstance(messages, list):
        raise Unusable("messages_type")
    if not messages:
        raise Unusable("no_messages")
    turns = tuple(_message(each, place, note) for place, each in enumerate(messages, start=1))
    answers = [turn for turn in turns if turn.role == "assistant"]
    if not answers:
        raise Unusable("no_assistant")
    if turns[-1].role != "assistant":
        raise Unusable("last_not_assistant")
    if all(turn.weight == 0 for turn in answers):
        raise Unusable("nothing_to_learn")
    return turns


def _message(message: Any, place: int, note: Noted) -> Message:
    if not isinstance(message, dict):
        raise Unusable("message_type", message=place)
    role = message.get("role")
    if role is None:
        raise Unusable("no_role", message=place)
    if role not in ROLES:
        raise Unusable("unknown_role", message=place)
    if message.get("tool_calls") or message.get("function_call"):
        raise Unusable("tool_calls", message=place)
    if not message.keys() <= _KNOWN_MESSAGE_KEYS:
        note("message_fields")
    return Message(role, _content(message.get("content"), place), _weight(message, role, place))


def _content(content: Any, place: int) -> str:
    if content is None:
        raise Unusable("no_content", message=place)
    if not isinstance(content, str):
        raise Unusable("content_type", message=place)
    if not content.strip():
        raise Unusable("no_content", message=place)
    _refuse_special(content, place)
    return content


def _weight(message: dict[str, Any], role: str, place: int) -> int | None:
    weight = message.get("weight")
    if weight is None:
        return None
    if role != "assistant":
        raise Unusable("weight_role", message=place)
    if isinstance(weight, bool) or not isinstance(weight, int) or weight not in (0, 1):
        raise Unusable("weight", message=place)
    return 0 if weight == 0 else None
