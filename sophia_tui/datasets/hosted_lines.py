"""The rules that the OpenAI-compatible protocol has for one training line, and its size in tokens.

Wider than what `formats` keeps: tool calls and images are legal there. Rules and estimates as the
provider's documentation has them.
"""

from collections.abc import Iterator
from typing import Any

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Unusable
from sophia_tui.domain.datasets import ROLES

_BYTES_A_TOKEN = 4
_OLD_ROLES = (*ROLES, "function")


def check_chat(record: dict[str, Any]) -> int:
    """Tokens of one supervised line, estimated. Raises Unusable with the rule that it breaks."""
    messages = _messages(record.get("messages"))
    answers = [each for each in messages if each["role"] == "assistant"]
    if not answers:
        raise Unusable("no_assistant")
    if messages[-1]["role"] != "assistant":
        raise Unusable("last_not_assistant")
    if all(each.get("weight") == 0 for each in answers):
        raise Unusable("nothing_to_learn")
    return _tokens(messages)


def check_pair(record: dict[str, Any]) -> int:
    """The same for one canonical preference pair, both answers together."""
    messages = _messages(record.get("messages"))
    if messages[-1]["role"] == "assistant":
        raise Unusable("pair_prompt")
    tokens = 0
    for side, missing in (("chosen", "no_chosen"), ("rejected", "no_rejected")):
        answer = record.get(side)
        if not answer:
            raise Unusable(missing)
        if not isinstance(answer, list) or len(answer) != 1:
            raise Unusable("pair_answer")
        [told] = _messages(answer)
        if told["role"] != "assistant" or "weight" in told:
            raise Unusable("pair_answer")
        tokens += _tokens([*messages, told])
    if record["chosen"] == record["rejected"]:
        raise Unusable("pair_same")
    return tokens


def hosted_pair(record: dict[str, Any]) -> dict[str, Any]:
    """One canonical pair as the protocol wants it."""
    return {
        "input": {
            "messages": record["messages"],
            "tools": record.get("tools", []),
            "parallel_tool_calls": True,
        },
        "preferred_output": record["chosen"],
        "non_preferred_output": record["rejected"],
    }


def _messages(given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list):
        raise Unusable("messages_type")
    if not given:
        raise Unusable("no_messages")
    for place, message in enumerate(given, start=1):
        _check_message(message, place)
    return given


def _check_message(message: Any, place: int) -> None:
    if not isinstance(message, dict):
        raise Unusable("message_type", message=place)
    role = message.get("role")
    if role is None:
        raise Unusable("no_role", message=place)
    if not isinstance(role, str) or role not in _OLD_ROLES:
        raise Unusable("unknown_role", message=place)
    if "weight" in message:
        if role != "assistant":
            raise Unusable("weight_role", message=place)
        weight = message["weight"]
        if isinstance(weight, bool) or weight not in (0, 1):
            raise Unusable("weight", message=place)
    if role == "tool" and not message.get("tool_call_id"):
        raise Unusable("no_call_id", message=place)
    calls = _calls(message, role, place)
    content = message.get("content")
    if content is None and calls:
        return
    texts = list(_texts(content, role, place))
    if not calls and not any(each.strip() for each in texts):
        raise Unusable("no_content", message=place)


def _calls(message: dict[str, Any], role: str, place: int) -> bool:
    """Whether the message calls something."""
    old, calls = message.get("function_call"), message.get("tool_calls")
    if old is None and calls is None:
        return False
    named = [old] if old is not None else []
    if calls is not None:
        if not isinstance(calls, list) or not all(
            isinstance(each, dict) and each.get("id") and each.get("type") == "function"
            for each in calls
        ):
            raise Unusable("call_type", message=place)
        named += [each.get("function") for each in calls]
    if role != "assistant" or not all(
        isinstance(each, dict) and each.get("name") and isinstance(each.get("arguments"), str)
        for each in named
    ):
        raise Unusable("call_type", message=place)
    return bool(named)


def _texts(content: Any, role: str, place: int) -> Iterator[str]:
    """Every text of a message; an image counts as one that holds something."""
    if content is None:
        raise Unusable("no_content", message=place)
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise Unusable("content_type", message=place)
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "image_url" and isinstance(part.get("image_url"), dict | str):
            if role != "user":
                raise Unusable("image_role", message=place)
            yield "image"
        elif kind in ("text", "refusal") and isinstance(part.get(kind), str):
            formats.refuse_special(part[kind], place)
            yield part[kind]
        else:
            raise Unusable("content_type", message=place)


def _tokens(messages: list[dict[str, Any]]) -> int:
    """3 for an example, 3 for each message, 1 for a name, and the content, estimated by bytes."""
    count = 3
    for message in messages:
        count += 3 + ("name" in message)
        count += -(-_size(message) // _BYTES_A_TOKEN)
    return count


def _size(message: dict[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    size = sum(len(str(each.get("text") or "").encode()) for each in parts)
    for call in message.get("tool_calls") or []:
        size += len(str(call["function"]).encode())
    return size
