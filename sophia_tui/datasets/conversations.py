"""Conversations of `from` and `value` (ShareGPT) as chat messages, and back.

Where a conversation calls tools, calls and their answers have no ids: they are numbered when read.
"""

import json
from typing import Any

from sophia_tui.datasets.codes import Unusable
from sophia_tui.domain.datasets import Message

_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", "bot"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function_response"), "tool"),
    "system": "system",
    "developer": "developer",
}
_WRITTEN = {
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
    "system": "system",
    "developer": "developer",
}


def messages_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a record with `conversations`; what is no turn is left for who reads them.

    Raises Unusable.
    """
    given, system = record["conversations"], record.get("system")
    if not isinstance(given, list):
        raise Unusable("conversations_type")
    found = [_message(each, place) for place, each in enumerate(given, start=1)]
    if system is not None and system != "":
        found.insert(0, {"role": "system", "content": system})
    return found


def _message(turn: Any, place: int) -> dict[str, Any]:
    if not isinstance(turn, dict):
        raise Unusable("message_type", message=place)
    if "from" not in turn:
        return turn  # a chat's message under another name, or none at all
    speaker, said = turn["from"], turn.get("value")
    rest = {key: value for key, value in turn.items() if key not in ("from", "value")}
    if speaker == "function_call":
        return {"role": "assistant", "content": None, "tool_calls": _calls(said, place), **rest}
    if not isinstance(speaker, str) or speaker not in _ROLES:
        raise Unusable("unknown_role", message=place)
    return {**rest, "role": _ROLES[speaker], "content": said}


def _calls(said: Any, place: int) -> list[dict[str, Any]]:
    """The calls that a turn's value says in JSON: name and arguments, one or a list."""
    try:
        told = json.loads(said) if isinstance(said, str) else said
    except (ValueError, RecursionError):
        raise Unusable("call_type", message=place) from None
    calls = told if isinstance(told, list) else [told]
    if not calls or not all(isinstance(each, dict) for each in calls):
        raise Unusable("call_type", message=place)
    return [{"type": "function", "function": each} for each in calls]


def turn_of(message: Message) -> dict[str, Any]:
    """The message as a turn; what a turn can't hold is left out."""
    if message.tool_calls:
        told = [
            {
                "name": call["function"]["name"],
                "arguments": json.loads(call["function"]["arguments"]),
            }
            for call in message.tool_calls
        ]
        value = json.dumps(told[0] if len(told) == 1 else told, ensure_ascii=False)
        return {"from": "function_call", "value": value}
    turn: dict[str, Any] = {"from": _WRITTEN[message.role], "value": message.content}
    return turn if message.weight is None else {**turn, "weight": message.weight}
