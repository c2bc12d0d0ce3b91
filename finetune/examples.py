"""Examples as tokens: canonical lines in, token ids and the mask of what is learnt out."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.failures import DataFailure
from finetune.templates import TemplateRefuses, answer_spans

if TYPE_CHECKING:
    import torch

IGNORED = -100
#: Line numbers listed in one event; the count is always whole.
LISTED_LINES = 1000


@dataclass(frozen=True)
class Example:
    """Token ids of a chat, and for each 1 if it is learnt. Arrays: 5 bytes a token, not 60."""

    line: int
    ids: array[int]
    mask: bytes

    @property
    def answer_tokens(self) -> int:
        """Tokens that count in the loss; the first has nothing before it to be told from."""
        return self.mask.count(1, 1)


@dataclass
class ExampleSet:
    """The examples of a file that can be learnt from, and by line number those that cannot."""

    examples: list[Example] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    without_answer: list[int] = field(default_factory=list)
    refused_by_template: list[int] = field(default_factory=list)

    @property
    def answer_tokens(self) -> int:
        """Answer tokens of all examples."""
        return sum(example.answer_tokens for example in self.examples)

    def warnings(self, file_name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a person should know, as message and data of warning events."""
        for reason, lines, message in (
            ("truncated", self.truncated, "longer than sequence_length and cut there"),
            ("no_answer_token", self.without_answer, "nothing to learn, left out"),
            ("template_refuses", self.refused_by_template, "the template refuses, left out"),
        ):
            if lines:
                yield (
                    f"{file_name}: {len(lines)} examples: {message}",
                    {
                        "reason": reason,
                        "file": file_name,
                        "count": len(lines),
                        "lines": lines[:LISTED_LINES],
                        "lines_left_out": max(0, len(lines) - LISTED_LINES),
                    },
                )


def read_chats(path: Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Line number and messages of each line of a canonical file; raises DataFailure."""
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
            if line.strip():
                yield number, _messages(path, number, line)


def _messages(path: Path, number: int, line: bytes) -> list[dict[str, Any]]:
    problem = None
    try:
        messages = json.loads(line)["messages"]
    except (ValueError, KeyError, TypeError) as error:
        problem = f"no JSON object with `messages` ({type(error).__name__})"
    else:
        if not isinstance(messages, list) or not messages:
            problem = "`messages` is not a list with entries"
        elif not all(_is_message(message) for message in messages):
            problem = "a message without role and content as text"
    if problem:
        raise DataFailure(
            202,
            f"Line {number} of {path.name} is not in canonical form.",
            f"{problem[0].upper()}{problem[1:]}.",
            "Prepare the data set again: only prepared versions are trained on.",
        ) from None
    return messages  # type: ignore[no-any-return]


def _is_message(message: object) -> bool:
    return (
        isinstance(message, dict)
        and isinstance(message.get("role"), str)
        and isinstance(message.get("content"), str)
    )


def encode(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[list[int], bytes]:
    """Token ids of a chat and the mask of what is learnt; raises TemplateRefuses."""
    text, spans = answer_spans(tokenizer, messages)
    # The template has written the special tokens already.
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = bytearray(len(encoded["input_ids"]))
    place = 0
    for index, (start, stop) in enumerate(encoded["offset_mapping"]):
        while place < len(spans) and start >= spans[place].stop:
            place += 1
        if place == len(spans):
            break
        # A token that begins before the answer and reaches into it holds its first letters.
        mask[index] = stop > max(start, spans[place].start)
    return encoded["input_ids"], bytes(mask)


def load_examples(
    tokenizer: Any,
    path: Path,
    sequence_length: int,
    *,
    limit: int | None = None,
    on_example: Callable[[int], None] = lambda count: None,
) -> ExampleSet:
    """Read and tokenise a file; examples that cannot be learnt from are listed, never just gone."""
    found = ExampleSet()
    for count, (line, messages) in enumerate(read_chats(path)):
        if limit is not None and len(found.examples) >= limit:
            break
        on_example(count)
        try:
            ids, mask = encode(tokenizer, messages)
        except TemplateRefuses:
            found.refused_by_template.append(line)
            continue
        if len(ids) > sequence_length:
            found.truncated.append(line)
            ids, mask = ids[:sequence_length], mask[:sequence_length]
        example = Example(line, array("i", ids), mask)
        if example.answer_tokens:
            found.examples.append(example)
        else:
            found.without_answer.append(line)
    return found


@dataclass(frozen=True)
class Batch:
    """Padded token ids [batch, time], attention mask, and targets shifted by one [batch, time].

    A packed row says its positions [batch, time] itself; `embeddings` [batch, time, width] stand
    in for the ids where lower layers are computed already. `bounds` are where a packed row's
    examples begin and end, for attention that goes by them (finetune.attention) and no mask.
    """

    ids: torch.Tensor
    attention: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    bounds: list[int] | None = None

    @property
    def cut(self) -> dict[str, Any]:
        """What the forward pass gets beside, so that attention keeps within the bounds."""
        return {} if self.bounds is None else {"packed_bounds": self.bounds}


def collate(examples: list[Example], pad: int, device: torch.device) -> Batch:
    """Pad on the right; targets[t] is the token at t+1 where that is learnt, else IGNORED."""
    import torch

    length = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), length), pad, dtype=torch.long)
    attention = torch.zeros((len(examples), length), dtype=torch.long)
    targets = torch.full((len(examples), length), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        count = len(example.ids)
        tokens = torch.tensor(example.ids, dtype=torch.long)
        learnt = torch.tensor(list(example.mask), dtype=torch.bool)
        ids[row, :count] = tokens
        attention[row, :count] = 1
        targets[row, : count - 1] = torch.where(learnt[1:], tokens[1:], IGNORED)
    return Batch(ids.to(device), attention.to(device), targets.to(device))
