"""Every text of an example, to be looked through or changed, and the example with them changed.

Also those inside calls of tools (the texts and long numbers of their arguments, which stay JSON),
in the tools offered, in names and in the critique. Addresses of images are no texts.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sophia_tui.domain.datasets import Example, Message, Pair

#: Digits from which on a number in arguments may be a person's (a telephone, a document).
_LONG_NUMBER = 8


def texts_of(example: Example | Pair) -> list[str]:
    """All texts: first what is said, turn by turn (of a pair its two answers last), then others."""
    found: list[str] = [turn.content for turn in _turns(example)]

    def keep(text: str) -> str:
        found.append(text)
        return text

    _change_rest(example, keep)
    return found


def with_texts(example: Example | Pair, texts: list[str]) -> Example | Pair:
    """The example with other texts, as many and in the order of `texts_of`."""
    turns = _turns(example)
    told = [replace(turn, content=text) for turn, text in zip(turns, texts, strict=False)]
    rest = iter(texts[len(turns) :])
    if isinstance(example, Pair):
        changed: Example | Pair = replace(
            example, messages=tuple(told[:-2]), chosen=told[-2], rejected=told[-1]
        )
    else:
        changed = replace(example, messages=tuple(told))
    return _change_rest(changed, lambda text: next(rest))


def _turns(example: Example | Pair) -> tuple[Message, ...]:
    if isinstance(example, Pair):
        return (*example.messages, example.chosen, example.rejected)
    return example.messages


def _change_rest(example: Example | Pair, change: Callable[[str], str]) -> Example | Pair:
    turns = tuple(_changed(turn, change) for turn in _turns(example))
    tools = tuple(_leaves(tool, change) for tool in example.tools)
    if isinstance(example, Pair):
        return replace(
            example, messages=turns[:-2], chosen=turns[-2], rejected=turns[-1], tools=tools
        )
    critique = None if example.critique is None else change(example.critique)
    return replace(example, messages=turns, tools=tools, critique=critique)


def _changed(turn: Message, change: Callable[[str], str]) -> Message:
    if turn.name is None and not turn.tool_calls:
        return turn
    name = None if turn.name is None else change(turn.name)
    return replace(turn, name=name, tool_calls=tuple(_called(turn.tool_calls, change)))


def _called(
    calls: tuple[dict[str, Any], ...], change: Callable[[str], str]
) -> Iterator[dict[str, Any]]:
    for call in calls:
        arguments = json.loads(call["function"]["arguments"])
        changed = _leaves(arguments, change)
        if changed == arguments:  # written as it was, to the last blank
            yield call
            continue
        told = json.dumps(changed, ensure_ascii=False, separators=(",", ":"))
        yield {**call, "function": {**call["function"], "arguments": told}}


def _leaves(value: Any, change: Callable[[str], str]) -> Any:
    """The value with each text in it changed, and each long number that the change alters."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _leaves(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_leaves(each, change) for each in value]
    if isinstance(value, int) and abs(value) >= 10 ** (_LONG_NUMBER - 1):
        text = change(str(value))
        return value if text == str(value) else text
    return value
