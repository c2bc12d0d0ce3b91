"""Turns the formats of training lines that this version knows into the canonical example, and back.

A line's format is told by its keys (`form_of`). Citations, metadata and every other field stay out
of the training text. Texts are taken as they are; only white space alone counts as empty.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from sophia_tui.datasets import constitutional, conversations, writing
from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.messages import (
    Noted,
    is_special,
    read_tools,
    read_turn,
    read_turns,
    refuse_special,
)
from sophia_tui.datasets.writing import FORMS, Form
from sophia_tui.domain.datasets import Example, Message, Pair
from sophia_tui.i18n import N_

__all__ = [
    "FORMS",
    "Form",
    "convert",
    "encode",
    "form_of",
    "is_pair",
    "is_special",
    "refuse_special",
    "write_as",
]

#: Formats that are recognised only to be named: the fields that tell, and the name.
_OTHER_FORMATS = (
    (("chosen", "rejected"), N_("preference pairs without a prompt")),
    (("text",), N_("plain text")),
)
#: Fields of a format that are read, or are known to be no training text. Others are noted.
_FIELDS: dict[str, frozenset[str]] = {
    "chat": frozenset({"messages", "tools", "critique"}),
    "pairs": frozenset({"messages", "prompt", "chosen", "rejected", "tools"}),
    "hosted_pairs": frozenset({"input", "preferred_output", "non_preferred_output"}),
    "question_answer": frozenset({"question", "answer", "citations", "metadata"}),
    "constitutional": frozenset(constitutional.FIELDS),
    "instruction": frozenset({"instruction", "input", "output", "system", "history"}),
    "conversations": frozenset({"conversations", "system", "tools"}),
    "prompt_completion": frozenset({"prompt", "completion", "tools"}),
    "events": frozenset(
        {"kind", "meta", "prompt", "q", "reply", "a", "tenant_id", "value", "created_at", "place"}
    ),
    "input_output": frozenset({"input", "output"}),
}
_ANSWERS = frozenset({"answer", "output", "completion", "reply", "response_revised"})
#: A row of a table that can't be one says so in a field of this name: code and details.
UNUSABLE_ROW = "sophia_unusable_row"
_ROW_CODES = ("columns", "cell_too_long", "csv_syntax")


def _nobody(code: str) -> None:
    """Nobody listens."""


def form_of(record: dict[str, Any]) -> Form | None:
    """Which format a parsed line means to be in, or None."""
    if "preferred_output" in record or "non_preferred_output" in record:
        return "hosted_pairs"
    if "messages" in record and "chosen" not in record and "rejected" not in record:
        return "chat"
    if is_pair(record):
        return "pairs"
    if "question" in record or "answer" in record:
        return "question_answer"
    if "response_revised" in record:
        return "constitutional"
    if "instruction" in record and "output" in record:
        return "instruction"
    if "conversations" in record:
        return "conversations"
    if "prompt" in record and "completion" in record:
        return "prompt_completion"
    if "kind" in record and "meta" in record:
        return "events"
    if ("prompt" in record or "q" in record) and ("reply" in record or "a" in record):
        return "events"
    return "input_output" if "input" in record and "output" in record else None


def convert(record: dict[str, Any], note: Noted = _nobody) -> Example | Pair:
    """The canonical example or pair of one parsed line. Raises Unusable with code and reason.

    `note` is told `record_fields` where the line, `message_fields` where a message has fields that
    are left out, and what `messages.read_turns` tells.
    """
    form = form_of(record)
    if form is None:
        raise _unknown(record)
    if not record.keys() <= _FIELDS[form]:
        note("record_fields")
    return _READERS[form](record, note)


def left_out(record: dict[str, Any]) -> list[str]:
    """The fields of a line that its canonical example does not have, by name."""
    form = form_of(record)
    if form is None:
        return []
    return [name for name in record if name not in _FIELDS[form] or name in _NO_TEXT]


_NO_TEXT = frozenset(
    {"citations", "metadata", "tenant_id", "value", "created_at", "place"}
    | (set(constitutional.FIELDS) - {"prompt", "critique", "response_revised"})
)


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

    `tools` and `critique` stand beside the messages where there are any. `weight` is written where
    it is 0; 1 is what its absence means.
    """
    return _ENCODER.encode(writing.canonical(example))


def write_as(example: Example | Pair, form: Form) -> dict[str, Any]:
    """The example as a record of that form; read again it is the same example.

    Raises Unusable `form_cant_hold` for what the form has no place for.
    """
    record = writing.record_of(example, form)
    if form in ("chat", "pairs"):
        return record
    if form_of(record) != form or _READERS[form](record, _nobody) != example:
        raise writing.cant_hold(form, N_("this chat as it is"))
    return record


_ENCODER = msgspec.json.Encoder()


def _unknown(record: dict[str, Any]) -> Unusable:
    row = record.get(UNUSABLE_ROW)
    if isinstance(row, dict) and row.get("code") in _ROW_CODES:
        details = {name: value for name, value in row.items() if isinstance(value, int)}
        return Unusable(row["code"], **details)
    for fields, name in _OTHER_FORMATS:
        if all(each in record for each in fields):
            return Unusable("unknown_format", format=name)
    return Unusable("unknown_format", format=N_("neither messages nor question and answer"))


def _text(value: Any, field: str) -> str:
    if value is None:
        raise Unusable(f"no_{field}")
    if not isinstance(value, str):
        raise Unusable(f"{field}_type")
    if not value.strip():
        raise Unusable(f"no_{field}")
    refuse_special(value, 2 if field in _ANSWERS else 1)
    return value


def _asked_and_answered(asked: str, answered: str) -> Example:
    return Example((Message("user", asked), Message("assistant", answered)))


def _chat(messages: Any, note: Noted, tools: Any = None, critique: str | None = None) -> Example:
    turns = read_turns(messages, note)
    answers = [turn for turn in turns if turn.role == "assistant"]
    if not answers:
        raise Unusable("no_assistant")
    if turns[-1].role != "assistant":
        raise Unusable("last_not_assistant")
    if all(turn.weight == 0 for turn in answers):
        raise Unusable("nothing_to_learn")
    return Example(turns, read_tools(tools) if tools else (), critique)


# --- a reader for each form ---


def _from_chat(record: dict[str, Any], note: Noted) -> Example:
    if len(record) == 1:
        return _chat(record["messages"], note)
    critique = record.get("critique")
    if critique is not None:
        constitutional.check_critique(critique)
        refuse_special(critique, len(record["messages"]))
    return _chat(record["messages"], note, record.get("tools"), critique)


def _from_question(record: dict[str, Any], note: Noted) -> Example:
    return _asked_and_answered(
        _text(record.get("question"), "question"), _text(record.get("answer"), "answer")
    )


def _from_input(record: dict[str, Any], note: Noted) -> Example:
    return _asked_and_answered(_text(record["input"], "input"), _text(record["output"], "output"))


def _from_alpaca(record: dict[str, Any], note: Noted) -> Example:
    """The instruction, and after a blank line what it is about (`input`), where there is any; a
    system message and earlier turns (`history`) before it."""
    asked, about = _text(record["instruction"], "instruction"), record.get("input")
    if about is not None and (not isinstance(about, str) or about.strip()):
        asked = f"{asked}\n\n{_text(about, 'input')}"
    example = _asked_and_answered(asked, _text(record["output"], "output"))
    if not record.get("system") and not record.get("history"):
        return example
    before: list[Message] = []
    if record.get("system"):
        before.append(Message("system", _text(record["system"], "system")))
    history = record.get("history") or []
    if not isinstance(history, list):
        raise Unusable("history_type")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unusable("history_type")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            if not isinstance(said, str) or not said.strip():
                raise Unusable("history_type")
            refuse_special(said, len(before) + 1)
            before.append(Message(role, said))
    return Example((*before, *example.messages))


def _from_prompt(record: dict[str, Any], note: Noted) -> Example:
    """Prompt and completion, each a text or messages; answers in the prompt are not learnt."""
    prompt, completion = record["prompt"], record["completion"]
    if not isinstance(prompt, list) and not isinstance(completion, list) and len(record) == 2:
        return _asked_and_answered(_text(prompt, "prompt"), _text(completion, "completion"))
    if not isinstance(prompt, list):
        prompt = [{"role": "user", "content": _text(prompt, "prompt")}]
    if not isinstance(completion, list):
        completion = [{"role": "assistant", "content": _text(completion, "completion")}]
    example = _chat([*prompt, *completion], note, record.get("tools"))
    turns = tuple(
        replace(turn, weight=0) if place < len(prompt) and turn.role == "assistant" else turn
        for place, turn in enumerate(example.messages)
    )
    if all(turn.weight == 0 for turn in turns if turn.role == "assistant"):
        raise Unusable("nothing_to_learn")
    return replace(example, messages=turns)


def _from_conversations(record: dict[str, Any], note: Noted) -> Example:
    return _chat(conversations.messages_of(record), note, record.get("tools"))


def _from_event(record: dict[str, Any], note: Noted) -> Example:
    """An answer event (mission section 3): prompt or q, reply or a, in `meta` or beside it."""
    if record.get("kind", "answer") != "answer":
        raise Unusable("event_kind")
    meta = record.get("meta")
    if isinstance(meta, str):  # a text column, or JSON within JSON
        try:
            meta = msgspec.json.decode(meta)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            raise Unusable("meta_type") from None
    if meta is not None and not isinstance(meta, dict):
        raise Unusable("meta_type")
    said = record | (meta or {})
    asked = next((said[key] for key in ("prompt", "q") if said.get(key)), None)
    answered = next((said[key] for key in ("reply", "a") if said.get(key)), None)
    return _asked_and_answered(_text(asked, "prompt"), _text(answered, "reply"))


def _from_constitution(record: dict[str, Any], note: Noted) -> Example:
    constitutional.check(record, _text)
    example = _asked_and_answered(record["prompt"], record["response_revised"])
    return replace(example, critique=record["critique"])


def _from_pair(record: dict[str, Any], note: Noted) -> Pair:
    prompt = record.get("messages", record.get("prompt"))
    return _pair(prompt, record.get("chosen"), record.get("rejected"), record.get("tools"), note)


def _from_hosted_pair(record: dict[str, Any], note: Noted) -> Pair:
    given = record.get("input")
    if not isinstance(given, dict):
        raise Unusable("messages_type")
    if not given.keys() <= {"messages", "tools", "parallel_tool_calls"}:
        note("record_fields")
    better, worse = record.get("preferred_output"), record.get("non_preferred_output")
    return _pair(given.get("messages"), better, worse, given.get("tools"), note)


def _pair(prompt: Any, better: Any, worse: Any, tools: Any, note: Noted) -> Pair:
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    turns = read_turns(prompt, note)
    if turns[-1].role == "assistant":
        raise Unusable("pair_prompt")
    place = len(turns) + 1
    chosen = _one_answer(better, "no_chosen", place, note)
    rejected = _one_answer(worse, "no_rejected", place + 1, note)
    if chosen == rejected:
        raise Unusable("pair_same")
    return Pair(turns, chosen, rejected, read_tools(tools) if tools else ())


def _one_answer(given: Any, missing: str, place: int, note: Noted) -> Message:
    if given is None or given == [] or (isinstance(given, str) and not given.strip()):
        raise Unusable(missing)
    if isinstance(given, str):
        given = {"role": "assistant", "content": given}
    if isinstance(given, list) and len(given) == 1:
        [given] = given
    if not isinstance(given, dict) or given.get("role") != "assistant":
        raise Unusable("pair_answer")
    answer = read_turn(given, place, note)
    if answer.weight is not None:  # one that is not learnt from is no half of a pair
        raise Unusable("pair_answer")
    if not all(call["id"] for call in answer.tool_calls):
        raise Unusable("call_type", message=place)
    return answer


_READERS: dict[Form, Callable[[dict[str, Any], Noted], Example | Pair]] = {
    "chat": _from_chat,
    "pairs": _from_pair,
    "hosted_pairs": _from_hosted_pair,
    "question_answer": _from_question,
    "constitutional": _from_constitution,
    "instruction": _from_alpaca,
    "conversations": _from_conversations,
    "prompt_completion": _from_prompt,
    "events": _from_event,
    "input_output": _from_input,
}
