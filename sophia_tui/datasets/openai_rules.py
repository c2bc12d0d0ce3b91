"""The rules of OpenAI's protocol for a training file, as our own endpoint holds them.

Errors speak the protocol's words, for programs know them. What is legal there and can't be kept
here (calls in the old form, sounds) is no error: preparing lists such rows as rejected.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Problem, Unusable, explain
from sophia_tui.datasets.dedupe import digest_of
from sophia_tui.datasets.reader import Line, LineReader, ReadFailed
from sophia_tui.datasets.sources import unreadable
from sophia_tui.errors import DataError
from sophia_tui.i18n import ngettext

MINIMUM_EXAMPLES = 10
#: Legal in the protocol, though this version can't keep such a row.
_LEGAL = frozenset({"function_call", "content_type", "no_content"})
#: The protocol's own words for what is wrong with a message.
_WORDS = {
    "no_role": "Discriminator 'role' is missing in value",
    "unknown_role": "Discriminator 'role' is not a known role in value",
    "no_messages": "Could not find any messages",
    "no_assistant": "must have at least one message from the assistant",
    "last_not_assistant": "Last message must be from the assistant",
}
_NOT_AN_OBJECT = (
    "Expected file to have JSONL format, where every line is a JSON dictionary. "
    "Line {line} is not a dictionary"
)


@dataclass
class TrainingFile:
    """What is known of a file that was read through."""

    examples: int = 0
    digests: set[bytes] = field(default_factory=set)


def check_lines(path: Path) -> int:
    """How many lines there are. Raises DataError D390 where one is no JSON object, D306."""
    count = 0
    for line in _lines(path):
        _require_object(line)
        count += 1
    return count


def check_training(path: Path, validation: Path | None, pairs: bool = False) -> int:
    """How many examples the training file has; with `pairs` the lines are preferences (dpo), else
    chats.

    Raises DataError D390 (no JSON Lines), D391 (too few), D392 (a rule is broken), D393 (both files
    have the same example).
    """
    training = _check(path, "training_file", pairs)
    if training.examples < MINIMUM_EXAMPLES:
        raise DataError(
            "D391",
            f"Training file has {training.examples} example(s), but must have at least "
            f"{MINIMUM_EXAMPLES} examples",
            openai={"code": "invalid_n_examples", "param": "training_file"},
        )
    if validation is not None:
        shared = len(training.digests & _check(validation, "validation_file", pairs).digests)
        if shared:
            raise DataError(
                "D393",
                ngettext(
                    "{count} example of the validation file is in the training file too.",
                    "{count} examples of the validation file are in the training file too.",
                    shared,
                ).format(count=shared),
                openai={"code": "invalid_validation_file", "param": "validation_file"},
            )
    return training.examples


def _lines(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as stream:
            yield from LineReader(stream)
    except ReadFailed as failed:
        raise unreadable(path, failed.problem) from failed.problem
    except OSError as problem:
        raise unreadable(path, problem) from problem


def _require_object(line: Line) -> None:
    if line.value is None:
        problem = line.problem or Problem("json")
        raise DataError(
            "D390",
            _NOT_AN_OBJECT.format(line=line.number) + ".",
            explain(problem.code, problem.details),
            openai={"code": "invalid_file_format", "param": "file"},
        )


def _check(path: Path, param: str, pairs: bool) -> TrainingFile:
    found = TrainingFile()
    for line in _lines(path):
        _require_object(line)
        assert line.value is not None  # the line before says so
        found.examples += 1
        try:
            _refuse_other_forms(line.value, pairs)
            formats.convert(line.value)
        except Unusable as unusable:
            if unusable.problem.code not in _LEGAL or not _is_legal(line.value):
                raise _broken(found.examples, unusable.problem, param) from None
        found.digests.add(digest_of(json.dumps(line.value, sort_keys=True).encode()))
    return found


def _refuse_other_forms(record: dict[str, Any], pairs: bool) -> None:
    """The protocol knows one form for each method; our others are for the folder of training
    data."""
    wanted = ("input", "preferred_output", "non_preferred_output") if pairs else ("messages",)
    for key in wanted:
        if key not in record:
            raise Unusable("unknown_format", format=key)
    if formats.is_pair(record) != pairs:
        raise Unusable("unknown_format", format="messages")


def _is_legal(record: dict[str, Any]) -> bool:
    """Whether every message without text has a reason for it: calls, or parts."""
    messages = record.get("messages")
    return isinstance(messages, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("role"), str)
        and (
            isinstance(each.get("content"), str | list)
            or bool(each.get("tool_calls") or each.get("function_call"))
        )
        for each in messages
    )


def _broken(example: int, problem: Problem, param: str) -> DataError:
    place = f"Example {example}"
    if message := problem.details.get("message"):
        place += f", message {message}"
    words = _WORDS.get(problem.code) or explain(problem.code, problem.details)
    if problem.code == "unknown_format":
        words = f"Missing required key '{problem.details['format']}'"
    code = "invalid_training_file" if param == "training_file" else "invalid_validation_file"
    return DataError("D392", f"{place} {words}", openai={"code": code, "param": param})
