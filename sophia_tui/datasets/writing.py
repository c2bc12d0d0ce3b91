"""Canonical examples as records of the other forms: what each form holds, and what it can't.

Whether a record, read again, is the same example, is proved by who asks (`formats.write_as`).
"""

import json
from typing import Any, Literal, get_args

from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.conversations import turn_of
from sophia_tui.datasets.messages import plain_turn
from sophia_tui.domain.datasets import Example, Pair
from sophia_tui.i18n import N_

Form = Literal[
    "chat",
    "pairs",
    "hosted_pairs",
    "question_answer",
    "prompt_completion",
    "instruction",
    "conversations",
    "input_output",
    "events",
    "constitutional",
]
#: Every form, the canonical two first.
FORMS: tuple[Form, ...] = get_args(Form)


def cant_hold(form: Form, what: str) -> Unusable:
    """`what` is a word of ours, marked for translation."""
    return Unusable("form_cant_hold", form=form, what=what)


def canonical(example: Example | Pair) -> dict[str, Any]:
    """The record that a version's line holds."""
    record: dict[str, Any] = {"messages": [plain_turn(each) for each in example.messages]}
    if isinstance(example, Pair):
        record["chosen"] = [plain_turn(example.chosen)]
        record["rejected"] = [plain_turn(example.rejected)]
    elif example.critique is not None:
        record["critique"] = example.critique
    if example.tools:
        record["tools"] = list(example.tools)
    return record


def record_of(example: Example | Pair, form: Form) -> dict[str, Any]:
    """The example in that form. Raises Unusable `form_cant_hold`."""
    if isinstance(example, Pair):
        if form == "pairs":
            return canonical(example)
        if form == "hosted_pairs":
            return _hosted_pair(example)
        raise cant_hold(form, N_("a second, worse answer"))
    if form == "chat":
        return canonical(example)
    if form in ("pairs", "hosted_pairs"):
        raise cant_hold(form, N_("a single answer"))
    if form == "constitutional":
        raise cant_hold(form, N_("an example without id, category and the judgement of it"))
    if example.critique is not None:
        raise cant_hold(form, N_("a critique"))
    if form == "conversations":
        return _conversations(example)
    if form == "prompt_completion":
        return _prompt_completion(example)
    _refuse_more_than_texts(example, form)
    return _alpaca(example) if form == "instruction" else _flat(example, form)


def _hosted_pair(pair: Pair) -> dict[str, Any]:
    return {
        "input": {
            "messages": [plain_turn(each) for each in pair.messages],
            "tools": list(pair.tools),
            "parallel_tool_calls": True,
        },
        "preferred_output": [plain_turn(pair.chosen)],
        "non_preferred_output": [plain_turn(pair.rejected)],
    }


def _conversations(example: Example) -> dict[str, Any]:
    for each in example.messages:
        if each.parts:
            raise cant_hold("conversations", N_("images"))
        if each.name is not None:
            raise cant_hold("conversations", N_("names of those who speak"))
        if each.tool_calls and each.content:
            raise cant_hold("conversations", N_("text and calls in one turn"))
        if each.tool_calls and each.weight is not None:
            raise cant_hold("conversations", N_("weights"))
    record: dict[str, Any] = {"conversations": [turn_of(each) for each in example.messages]}
    if example.tools:
        record["tools"] = json.dumps(example.tools, ensure_ascii=False)
    return record


def _prompt_completion(example: Example) -> dict[str, Any]:
    turns = [plain_turn(each) for each in example.messages]
    if (
        len(turns) == 2
        and not example.tools
        and all(
            turn.keys() == {"role", "content"} and isinstance(turn["content"], str)
            for turn in turns
        )
        and turns[0]["role"] == "user"
    ):
        return {"prompt": turns[0]["content"], "completion": turns[1]["content"]}
    learnt = [turn for turn in turns[:-1] if turn["role"] == "assistant" and "weight" not in turn]
    if learnt:
        raise cant_hold("prompt_completion", N_("several answers to learn"))
    record: dict[str, Any] = {"prompt": turns[:-1], "completion": turns[-1:]}
    return {**record, "tools": list(example.tools)} if example.tools else record


def _refuse_more_than_texts(example: Example, form: Form) -> None:
    if example.tools or any(each.tool_calls or each.role == "tool" for each in example.messages):
        raise cant_hold(form, N_("tools and their calls"))
    for each in example.messages:
        if each.parts:
            raise cant_hold(form, N_("images"))
        if each.name is not None:
            raise cant_hold(form, N_("names of those who speak"))
        if each.weight is not None:
            raise cant_hold(form, N_("weights"))


def _alpaca(example: Example) -> dict[str, Any]:
    turns = list(example.messages)
    system = turns.pop(0).content if turns[0].role == "system" else None
    if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise cant_hold("instruction", N_("turns in this order"))
    said = [turn.content for turn in turns]
    record: dict[str, Any] = {"instruction": said[-2], "input": "", "output": said[-1]}
    if system is not None:
        record["system"] = system
    if said[:-2]:
        record["history"] = [list(each) for each in zip(said[:-2:2], said[1:-2:2], strict=True)]
    return record


def _flat(example: Example, form: Form) -> dict[str, Any]:
    if [turn.role for turn in example.messages] != ["user", "assistant"]:
        raise cant_hold(form, N_("more than one question and its answer"))
    asked, answered = (turn.content for turn in example.messages)
    if form == "question_answer":
        return {"question": asked, "answer": answered}
    if form == "input_output":
        return {"input": asked, "output": answered}
    return {"kind": "answer", "meta": {"prompt": asked, "reply": answered}}
