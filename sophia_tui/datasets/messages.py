"""The turns of a chat as canonical messages, strictly: roles, text, parts, tools and their calls.

Which fields of a line hold turns is none of its business (see formats).
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sophia_tui.datasets.codes import Unusable
from sophia_tui.domain.datasets import ROLES, Message

Noted = Callable[[str], None]

# What chat templates write themselves. In content it would forge a turn, and hosted services
# refuse the whole file for it.
_SPECIAL_TOKEN = re.compile(
    r"<\|[^\s|<>]{1,64}\|>|<｜[^｜<>]{1,64}｜>|<(?:start|end)_of_turn>|</?s>|<(?:bos|eos|pad|unk)>"
    r"|\[/?INST\]|<</?SYS>>"
)
_KNOWN_KEYS = frozenset(
    {"role", "content", "weight", "name", "tool_calls", "tool_call_id", "function_call"}
)
_IMAGE_ADDRESSES = ("https://", "http://", "data:image/")


def refuse_special(text: str, message: int) -> None:
    """Raises Unusable for a text that no training line may hold; `message` counts from 1."""
    if "\0" in text:
        raise Unusable("nul")
    if ("<" in text or "[" in text) and _SPECIAL_TOKEN.search(text):
        raise Unusable("special_token", message=message)


def is_special(text: str) -> bool:
    """Whether `refuse_special` would refuse it."""
    try:
        refuse_special(text, 1)
    except Unusable:
        return True
    return False


def read_turns(given: Any, note: Noted) -> tuple[Message, ...]:
    """The turns of a list of messages. Raises Unusable.

    `note` is told `message_fields` where fields are left out, `text_parts` where several texts of
    one message were joined by line ends, `call_ids` where calls had no id and were given one.
    """
    if not isinstance(given, list):
        raise Unusable("messages_type")
    if not given:
        raise Unusable("no_messages")
    turns = tuple(read_turn(each, place, note) for place, each in enumerate(given, start=1))
    if any(turn.tool_calls or turn.tool_call_id or turn.role == "tool" for turn in turns):
        return _with_ids(turns, note)
    return turns


def read_turn(message: Any, place: int, note: Noted) -> Message:
    """One message; calls may still be without id. Raises Unusable."""
    if not isinstance(message, dict):
        raise Unusable("message_type", message=place)
    role, content = message.get("role"), message.get("content")
    if role is None:
        raise Unusable("no_role", message=place)
    if role not in ROLES:
        raise Unusable("unknown_role", message=place)
    if len(message) == 2 and isinstance(content, str):  # role and content: nearly every message
        return Message(role, _said(content, place))
    if message.get("function_call"):
        raise Unusable("function_call", message=place)
    if not message.keys() <= _KNOWN_KEYS and any(
        message[key] is not None for key in message.keys() - _KNOWN_KEYS
    ):
        note("message_fields")
    calls = _calls(message.get("tool_calls"), role, place, note)
    parts: tuple[dict[str, Any], ...] = ()
    if isinstance(content, list):
        content, parts = _parts(content, role, place, note)
    if calls and (content is None or (isinstance(content, str) and not content.strip())):
        said = ""
    else:
        said = str(content) if parts else _said(content, place)
    return Message(
        role,
        said,
        _weight(message.get("weight"), role, place),
        _name(message.get("name"), place),
        calls,
        _call_id(message.get("tool_call_id"), role, place, note),
        parts,
    )


def plain_turn(message: Message) -> dict[str, Any]:
    """The message as a line holds it. `weight` is written where it is 0.

    Where the text was changed since it was read (redacted, say) it takes the place of the text
    parts: what was taken out must not come back by them.
    """
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.parts:
        plain["content"] = _plain_parts(message)
    if message.weight is not None:
        plain["weight"] = message.weight
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = list(message.tool_calls)
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def read_tools(given: Any) -> tuple[dict[str, Any], ...]:
    """The functions offered: a list, or a JSON text of one; bare functions are taken as well.

    Raises Unusable.
    """
    if given is None or given == "":
        return ()
    if isinstance(given, str):
        given = _json(given)
    if not isinstance(given, list):
        raise Unusable("tools_type")
    return tuple(_tool(each) for each in given)


def _tool(given: Any) -> dict[str, Any]:
    if isinstance(given, dict) and "function" not in given and "name" in given:
        given = {"type": "function", "function": given}
    function = given.get("function") if isinstance(given, dict) else None
    if (
        not isinstance(function, dict)
        or given.get("type") != "function"
        or not _is_word(function.get("name"))
    ):
        raise Unusable("tools_type")
    told = str(given)
    if "\\x00" in told or ("<" in told and _SPECIAL_TOKEN.search(told)):
        raise Unusable("tools_type")
    return dict(given)


def _said(content: Any, place: int) -> str:
    if content is None:
        raise Unusable("no_content", message=place)
    if not isinstance(content, str):
        raise Unusable("content_type", message=place)
    if not content.strip():
        raise Unusable("no_content", message=place)
    refuse_special(content, place)
    return content


def _parts(
    given: list[Any], role: str, place: int, note: Noted
) -> tuple[str | None, tuple[dict[str, Any], ...]]:
    """The text of content parts, and the parts where one of them is an image."""
    texts: list[str] = []
    parts: list[dict[str, Any]] = []
    for part in given:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            refuse_special(part["text"], place)
            texts.append(part["text"])
            parts.append({"type": "text", "text": part["text"]})
        elif kind == "image_url":
            if role != "user":
                raise Unusable("image_role", message=place)
            parts.append({"type": "image_url", "image_url": _image(part.get("image_url"), place)})
        else:
            raise Unusable("content_type", message=place)
    text = "\n".join(texts) if texts else None
    if len(parts) > len(texts):
        return text or "", tuple(parts)
    if len(texts) > 1:
        note("text_parts")
    return text, ()


def _plain_parts(message: Message) -> list[dict[str, Any]]:
    texts = [part["text"] for part in message.parts if part["type"] == "text"]
    if "\n".join(texts) == message.content:
        return list(message.parts)
    images = [part for part in message.parts if part["type"] != "text"]
    return [{"type": "text", "text": message.content}, *images] if message.content else images


def _image(given: Any, place: int) -> dict[str, Any]:
    image = {"url": given} if isinstance(given, str) else given
    if not isinstance(image, dict) or not isinstance(image.get("url"), str):
        raise Unusable("image_url", message=place)
    if not image["url"].startswith(_IMAGE_ADDRESSES):
        raise Unusable("image_url", message=place)
    return {key: value for key, value in image.items() if value is not None}


def _weight(weight: Any, role: str, place: int) -> int | None:
    if weight is None:
        return None
    if role != "assistant":
        raise Unusable("weight_role", message=place)
    if isinstance(weight, bool) or not isinstance(weight, int) or weight not in (0, 1):
        raise Unusable("weight", message=place)
    return 0 if weight == 0 else None


def _name(name: Any, place: int) -> str | None:
    if name is None or name == "":
        return None
    if not _is_word(name):
        raise Unusable("name_type", message=place)
    refuse_special(name, place)
    return str(name)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


# --- calls of tools ---


def _calls(given: Any, role: str, place: int, note: Noted) -> tuple[dict[str, Any], ...]:
    if given is None or given == []:
        return ()
    if role != "assistant" or not isinstance(given, list):
        raise Unusable("call_type", message=place)
    return tuple(_call(each, place, note) for each in given)


def _call(given: Any, place: int, note: Noted) -> dict[str, Any]:
    """`{"id", "type", "function": {"name", "arguments": JSON text}}`; id "" where there is none."""
    function = given.get("function") if isinstance(given, dict) else None
    if not isinstance(function, dict) or not _is_word(function.get("name")):
        raise Unusable("call_type", message=place)
    identifier = given.get("id") or ""
    if not isinstance(identifier, str) or given.get("type", "function") not in ("function", None):
        raise Unusable("call_type", message=place)
    if not given.keys() <= {"id", "type", "function", "index"} or len(function) > 2:
        note("message_fields")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    arguments = "{}" if arguments is None or arguments == "" else arguments
    if not isinstance(arguments, str) or not isinstance(_json(arguments), dict):
        raise Unusable("call_arguments", message=place)
    for text in (identifier, function["name"], arguments):
        refuse_special(text, place)
    return {
        "id": identifier,
        "type": "function",
        "function": {"name": function["name"], "arguments": arguments},
    }


def _call_id(given: Any, role: str, place: int, note: Noted) -> str | None:
    if given is None or given == "":
        return None
    if role != "tool":
        note("message_fields")
        return None
    if not isinstance(given, str):
        raise Unusable("no_call_id", message=place)
    refuse_special(given, place)
    return given


def _with_ids(turns: Sequence[Message], note: Noted) -> tuple[Message, ...]:
    """Calls without an id get one, and answers that name none answer such calls in their order."""
    found: list[Message] = []
    made: set[str] = set()
    unanswered: list[str] = []
    for place, turn in enumerate(turns, start=1):
        if turn.tool_calls and not all(call["id"] for call in turn.tool_calls):
            calls = []
            for call in turn.tool_calls:
                if not call["id"]:
                    call = {**call, "id": _new_id(made)}
                    unanswered.append(call["id"])
                made.add(call["id"])
                calls.append(call)
            turn = replace(turn, tool_calls=tuple(calls))
            note("call_ids")
        made.update(call["id"] for call in turn.tool_calls)
        if turn.role == "tool":
            if turn.tool_call_id is None and unanswered:
                turn = replace(turn, tool_call_id=unanswered.pop(0))
            elif turn.tool_call_id is not None and turn.tool_call_id not in made:
                raise Unusable("unknown_call", message=place)
        found.append(turn)
    return tuple(found)


def _new_id(made: set[str]) -> str:
    number = len(made) + 1
    while f"call_{number}" in made:
        number += 1
    return f"call_{number}"


def _json(text: str) -> Any:
    """What a JSON text says; None where it is none, or has NaN or Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(word: str) -> Any:
    raise ValueError(word)
