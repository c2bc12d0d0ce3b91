"""Examples as tokens: lines of a data set in, token ids and the mask of what is learnt out."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune import schema
from finetune.failures import DataFailure
from finetune.readers import read_lines
from finetune.templates import TemplateRefuses, answer_spans, guarded, refuse_unknown_tools, render

if TYPE_CHECKING:
    import torch

IGNORED = -100
#: Line numbers listed in one event; the count is always whole.
LISTED_LINES = 1000
#: Line numbers named in a sentence.
NAMED_LINES = 10


@dataclass(frozen=True)
class Example:
    """Token ids of a chat, and for each 1 if it is learnt. Arrays: 5 bytes a token, not 60."""

    line: int
    ids: array[int]
    mask: bytes

    @property
    def tokens(self) -> int:
        """Tokens, prompts included."""
        return len(self.ids)

    @property
    def answer_tokens(self) -> int:
        """Tokens that count in the loss; the first has nothing before it to be told from."""
        return self.mask.count(1, 1)


@dataclass(frozen=True)
class Pair:
    """A preference pair: one chat with the answer preferred and with the other one."""

    line: int
    chosen: Example
    rejected: Example

    @property
    def tokens(self) -> int:
        """Tokens of both chats."""
        return self.chosen.tokens + self.rejected.tokens

    @property
    def answer_tokens(self) -> int:
        """Tokens that count in the loss, of both."""
        return self.chosen.answer_tokens + self.rejected.answer_tokens


@dataclass(frozen=True)
class Encoded:
    """A chat as text and tokens: ids, 1 where a token is learnt, and where each token's text ends.

    `guard` is the sign in the text that keeps special tokens in contents from being ones.
    """

    text: str
    ids: array[int]
    mask: bytes
    stops: array[int]
    guard: str | None = None


@dataclass(frozen=True)
class Tokenised:
    """A line as tokens (two chats, of a pair that counts as one), or why there are none."""

    line: int
    form: schema.LineForm | None = None
    chats: tuple[Encoded, ...] = ()
    problem: schema.LineReason | None = None
    why: str | None = None


#: Whether pairs are trained on as pairs, chats alone are, or a pair counts as its chosen answer.
Takes = Literal["supervised", "dpo", "any"]


@dataclass
class ExampleSet:
    """The examples of a file that can be learnt from, and by line number those that cannot."""

    examples: list[Example] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)
    tokens_lost: int = 0
    without_answer: list[int] = field(default_factory=list)
    refused_by_template: list[int] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    other_form: list[int] = field(default_factory=list)
    whys: Counter[str] = field(default_factory=Counter)
    usable: int = 0

    @property
    def answer_tokens(self) -> int:
        """Answer tokens of all examples."""
        pairs = sum(each.answer_tokens for each in self.pairs)
        return pairs + sum(each.answer_tokens for each in self.examples)

    def by_reason(self) -> dict[schema.LineReason, list[int]]:
        """Lines by the reason for which they are not trained on, or not as a whole."""
        return {
            "unreadable": self.unreadable,
            "other_form": self.other_form,
            "truncated": self.truncated,
            "no_answer_token": self.without_answer,
            "template_refuses": self.refused_by_template,
        }

    def warnings(self, file_name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a person should know, as message and data of warning events."""
        told: dict[schema.LineReason, str] = {
            "truncated": "longer than sequence_length and cut there",
            "no_answer_token": "nothing to learn",
            "template_refuses": "the template refuses",
        }
        for reason, message in told.items():
            lines = self.by_reason()[reason]
            if lines:
                more = {"tokens_lost": self.tokens_lost} if reason == "truncated" else {}
                yield (
                    f"{file_name}: {len(lines)} examples: {message}",
                    {
                        "reason": reason,
                        "file": file_name,
                        "count": len(lines),
                        "lines": lines[:LISTED_LINES],
                        "lines_left_out": max(0, len(lines) - LISTED_LINES),
                        **more,
                    },
                )

    def add(self, found: Tokenised, sequence_length: int) -> None:
        """Take a line in: cut to the length, and listed where it can't be learnt from."""
        if found.problem is not None:
            self.by_reason()[found.problem].append(found.line)
            if found.why:
                self.whys[found.why] += 1
            return
        examples = []
        lost = 0
        for chat in found.chats:
            ids, mask = chat.ids[:sequence_length], chat.mask[:sequence_length]
            lost += chat.mask.count(1) - mask.count(1)
            examples.append(Example(found.line, ids, mask))
        if any(len(chat.ids) > sequence_length for chat in found.chats):
            self.truncated.append(found.line)
            self.tokens_lost += lost
        if not all(each.answer_tokens for each in examples):
            self.without_answer.append(found.line)
            return
        self.usable += 1
        if len(examples) == 2:
            self.pairs.append(Pair(found.line, *examples))
        else:
            self.examples.append(examples[0])


def read_chats(
    path: Path, prompt_form: schema.PromptForm = "chat_template"
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Line number and messages of each line of a file, of a pair with the chosen answer.

    Raises DataFailure at the first line that is no example.
    """
    for line in read_lines(path, prompt_form):
        if line.row is None:
            raise unreadable(path.name, [line.number], Counter([str(line.why)]))
        yield line.number, line.row.messages


def unreadable(name: str, lines: list[int], whys: Counter[str]) -> DataFailure:
    """The failure for lines that are no examples, which are named and not quoted."""
    more = f" (and {len(lines) - 1} more: {named(lines[1:])})" if lines[1:] else ""
    return DataFailure(
        202,
        f"Line {lines[0]} of {name}{more} can't be read as an example.",
        "; ".join(f"{count} x {why}" for why, count in whys.most_common(5)) + ".",
        "Correct these lines or prepare the data set again. Read are chats (`messages`), "
        "preference pairs, Alpaca lines and critique lines, one JSON object a line.",
    )


def named(lines: list[int]) -> str:
    """Some line numbers for a sentence."""
    shown = ", ".join(map(str, lines[:NAMED_LINES]))
    return f"{shown} …" if len(lines) > NAMED_LINES else shown


def encode(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[list[int], bytes]:
    """Token ids of a chat and the mask of what is learnt; raises TemplateRefuses."""
    found = encode_whole(tokenizer, messages)
    return list(found.ids), found.mask


def encode_whole(tokenizer: Any, messages: list[dict[str, Any]]) -> Encoded:
    """A chat as text and tokens with the mask of what is learnt; raises TemplateRefuses."""
    refuse_unknown_tools(tokenizer, messages)
    messages, guard = guarded(tokenizer, messages)
    text, spans = answer_spans(tokenizer, messages)
    # The template has written the special tokens already.
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, mask, stops = array("i"), bytearray(), array("i")
    place = reached = 0
    for token, (start, stop) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if start == stop:  # white space whose place the tokenizer trims, or a part of a character
            start, stop = min(reached, stop), stop
        if guard and start < stop and set(text[start:stop]) == {guard}:
            continue
        reached = max(reached, stop)
        while place < len(spans) and start >= spans[place].stop:
            place += 1
        # A token that begins before the answer and reaches into it holds its first letters.
        learnt = place < len(spans) and stop > max(start, spans[place].start)
        ids.append(token)
        mask.append(learnt)
        stops.append(reached)
    return Encoded(text, ids, bytes(mask), stops, guard)


def prompt_ids(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    """Token ids of a chat with the opening of the next answer; raises TemplateRefuses."""
    messages, guard = guarded(tokenizer, messages)
    text = render(tokenizer, messages, prompt=True)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=bool(guard))
    ids = encoded["input_ids"]
    if guard is None:
        return list(ids)
    pieces = [set(text[start:stop]) for start, stop in encoded["offset_mapping"]]
    return [token for token, piece in zip(ids, pieces, strict=True) if piece != {guard}]


def tokenise(
    tokenizer: Any, path: Path, prompt_form: schema.PromptForm, takes: Takes = "any"
) -> Iterator[Tokenised]:
    """Each line of a file as tokens, whole, or by its number why not."""
    for line in read_lines(path, prompt_form):
        row = line.row
        if row is None:
            yield Tokenised(line.number, problem="unreadable", why=line.why)
            continue
        if takes != "any" and (takes == "dpo") != (row.rejected is not None):
            yield Tokenised(line.number, row.form, problem="other_form")
            continue
        chats = [row.messages]
        if takes == "dpo" and row.rejected is not None:
            chats.append(row.rejected)
        try:
            encoded = tuple(encode_whole(tokenizer, chat) for chat in chats)
        except TemplateRefuses:
            yield Tokenised(line.number, row.form, problem="template_refuses")
            continue
        yield Tokenised(line.number, row.form, encoded)


def load_examples(
    tokenizer: Any,
    path: Path,
    sequence_length: int,
    *,
    limit: int | None = None,
    on_example: Callable[[int], None] = lambda count: None,
    prompt_form: schema.PromptForm = "chat_template",
    takes: Takes = "any",
) -> ExampleSet:
    """Read and tokenise a file; examples that cannot be learnt from are listed, never just gone."""
    found = ExampleSet()
    for count, each in enumerate(tokenise(tokenizer, path, prompt_form, takes)):
        if limit is not None and len(found.examples) + len(found.pairs) >= limit:
            break
        on_example(count)
        found.add(each, sequence_length)
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
