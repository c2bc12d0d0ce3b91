"""Turns the formats of training lines that this version knows into the canonical example.

Known are question/answer lines, instruction/output lines, chat `messages` and preference pairs.
Citations, metadata and every other field stay out of the training text. Texts are taken as they
are; only white space alone counts as empty.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from sophia_tui.datasets.codes import Unusable
from sophia_tui.domain.datasets import ROLES, Example, Message, Pair
from sophia_tui.i18n import N_

# What chat templates write themselves. In content it would forge a turn, and hosted services
# refuse the whole file for it.
_SPECIAL_TOKEN = re.compile(
    r"<\|[^\s|<>]{1,64}\|>|<｜[^｜<>]{1,64}｜>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad|unk)>"
    r"|\[/?INST\]|<</?SYS>>"
)

#: Formats that are recognised only to be named: the fields that tell, and the name.
_OTHER_FORMATS = (
    (("chosen", "rejected"), N_("preference pairs without a prompt")),
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


def convert(record: dict[str, Any], note: Noted = _nobody) -> Example | Pair:
    """The canonical example or pair of one parsed line. Raises Unusable with code and reason.

    `note` is told `message_fields` where a message has fields that are left out (a name, say).
    """
    if is_pair(record):
        return _pair(record, note)
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
        return Example(
            (
                Message("user", _instruction(record)),
                Message("assistant", _text(record["output"], "output")),
            )
        )
    raise Unusable("unknown_format", format=_name_of(record))


def is_pair(record: dict[str, Any]) -> bool:
    """Whether a line means to be a preference pair: ours, with `prompt`, or the hosted form."""
    if "preferred_output" in record or "non_preferred_output" in record:
        return True
    return ("messages" in record or "prompt" in record) and (
        "chosen" in record or "rejected" in record
    )


def encode(example: Example | Pair) -> bytes:
    """The canonical line, without line end: `{"messages":[{"role":…,"content":…}]}`, compact UTF-8;
    a pair has `"chosen":[…],"rejected":[…]` beside its prompt, one message of the assistant each.

    `weight` is written where it is 0; 1 is what its absence means.
    """
    line = {"messages": [_plain(each) for each in example.messages]}
    if isinstance(example, Pair):
        line |= {"chosen": [_plain(example.chosen)], "rejected": [_plain(example.rejected)]}
    return _ENCODER.encode(line)


def _plain(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    return plain if message.weight is None else {**plain, "weight": message.weight}


_ENCODER = msgspec.json.Encoder()


def _name_of(record: dict[str, Any]) -> str:
    for fields, name in _OTHER_FORMATS:
        if all(each in record for each in fields):
            return name
    return N_("neither messages nor question and answer")


def _instruction(record: dict[str, Any]) -> str:
    """The instruction, and after a blank line what it is about (`input`), where there is any."""
    asked, about = _text(record["instruction"], "instruction"), record.get("input")
    if about is None or (isinstance(about, str) and not about.strip()):
        return asked
    return f"{asked}\n\n{_text(about, 'input')}"


def _text(value: Any, field: str) -> str:
    if value is None:
        raise Unusable(f"no_{field}")
    if not isinstance(value, str):
        raise Unusable(f"{field}_type")
    if not value.strip():
        raise Unusable(f"no_{field}")
    refuse_special(value, 2 if field in ("answer", "output") else 1)
    return value


def refuse_special(text: str, message: int) -> None:
    """Raises Unusable for a text that no training line may hold; `message` counts from 1."""
    if "\0" in text:
        raise Unusable("nul")
    if ("<" in text or "[" in text) and _SPECIAL_TOKEN.search(text):
        raise Unusable("special_token", message=message)


def _turns(messages: Any, note: Noted) -> tuple[Message, ...]:
    if not isinstance(messages, list):
        raise Unusable("messages_type")
    if not messages:
        raise Unusable("no_messages")
    return tuple(_message(each, place, note) for place, each in enumerate(messages, start=1))


def _pair(record: dict[str, Any], note: Noted) -> Pair:
    better, worse = record.get("chosen"), record.get("rejected")
    prompt = record.get("messages", record.get("prompt"))
    if "preferred_output" in record or "non_preferred_output" in record:
        better, worse = record.get("preferred_output"), record.get("non_preferred_output")
        given = record.get("input")
        if not isinstance(given, dict):
            raise Unusable("messages_type")
        if given.get("tools"):
            raise Unusable("pair_tools")
        prompt = given.get("messages")
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    turns = _turns(prompt, note)
    if turns[-1].role == "assistant":
        raise Unusable("pair_prompt")
    place = len(turns) + 1
    chosen = _one_answer(better, "no_chosen", place, note)
    rejected = _one_answer(worse, "no_rejected", place + 1, note)
    if chosen.content == rejected.content:
        raise Unusable("pair_same")
    return Pair(turns, chosen, rejected)


def _one_answer(given: Any, missing: str, place: int, note: Noted) -> Message:
    if given is None or given == [] or (isinstance(given, str) and not given.strip()):
        raise Unusable(missing)
    if isinstance(given, str):
        given = {"role": "assistant", "content": given}
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if not isinstance(given, dict) or given.get("role") != "assistant":
        raise Unusable("pair_answer")
    answer = _message(given, place, note)
    if answer.weight is not None:  # one that is not learnt from is no half of a pair
        raise Unusable("pair_answer")
    return answer


def _chat(messages: Any, note: Noted) -> tuple[Message, ...]:
    turns = _turns(messages, note)
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
    refuse_special(content, place)
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
