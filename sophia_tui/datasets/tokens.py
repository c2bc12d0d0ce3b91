"""How many tokens a data set has, offline: by the provider's own encoding where it is known.

The size of a chat is that of its contents with 3 tokens for each message, 1 for a name and 3 for
the example, as the provider's documentation has it.
"""

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sophia_tui.datasets.blocks import Block, BlockRow
from sophia_tui.datasets.hosted_rules import CONTEXT_TOKENS
from sophia_tui.datasets.sample import (
    Z95,
    SampleCollector,
    SampledRow,
    SampleProbe,
    SampleSettings,
    percentile,
)
from sophia_tui.domain.datasets import Message, Pair

if TYPE_CHECKING:
    from sophia_tui.datasets.inspection import Asked

PER_MESSAGE, PER_NAME, PER_EXAMPLE = 3, 1, 3
#: Newer models of the provider have this one, as far as anybody knows.
FALLBACK = "o200k_base"
#: Which encoding a model has, by the beginning of its name, the longer one first.
_ENCODINGS = (
    *((name, "o200k_base") for name in ("chatgpt-4o", "gpt-4.1", "gpt-4.5", "gpt-4o", "gpt-5")),
    *((name, "o200k_base") for name in ("o1", "o3", "o4-mini")),
    *((name, "cl100k_base") for name in ("gpt-35-turbo", "gpt-3.5-turbo", "gpt-4")),
    ("gpt-oss", "o200k_harmony"),
    *((name, "llama3") for name in ("llama-3.3", "llama-3.2", "llama-3.1", "llama-3")),
    *((name, "qwen3") for name in ("qwen2.5", "qwen2", "qwen3")),
)
#: Tokens of one example that a model learns from, where it is not CONTEXT_TOKENS.
_CONTEXTS = (("gpt-3.5-turbo", 16_385), ("gpt-35-turbo", 16_385))
#: Lines of cut rows in the report; all of them are issues of an inspection.
LISTED_LINES = 1000


@dataclass(frozen=True, slots=True)
class Encoding:
    """`exact` False: the model's own is not known, and this one stands for it."""

    name: str
    exact: bool


def encoding_of(model: str) -> Encoding:
    """The encoding of a hosted model, or of a base by its hub name; a tuned model's is its base's.

    A model nobody knows yet gets FALLBACK, as an estimate.
    """
    name = _plain(model)
    for known, encoding in _ENCODINGS:
        if name == known or name.startswith(f"{known}-"):
            return Encoding(encoding, exact=True)
    return Encoding(FALLBACK, exact=False)


def context_of(model: str) -> int:
    """Tokens of one example that a hosted model learns from; what is longer is cut at its end. Of a
    model's folder it is the context that its config.json names."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return _context_of_folder(folder) or CONTEXT_TOKENS
    name = _plain(model)
    return next((size for known, size in _CONTEXTS if name.startswith(known)), CONTEXT_TOKENS)


def _context_of_folder(folder: Path) -> int | None:
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    size = config.get("max_position_embeddings") if isinstance(config, dict) else None
    return size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None


def _plain(model: str) -> str:
    name = model.strip().lower()
    if name.startswith("ft:"):
        name = name.split(":")[1]
    return name.rsplit("/", 1)[-1]


Counting = Callable[[str], int]


@cache
def counter(encoding: str) -> Counting:
    """Counts the tokens of a text; words that look like special tokens are plain text.

    Read once a process: 80 MB and 0.2 s.
    """
    import quicktok  # type: ignore[import-untyped]

    count: Counting = quicktok.get_encoding(encoding).count
    return count


class Count(msgspec.Struct, frozen=True):
    """One way to count, and the tokens of an example above which it is cut."""

    encoding: str = FALLBACK
    context: int = CONTEXT_TOKENS


class TokenSettings(msgspec.Struct, frozen=True):
    """`tokenizer` is a base's own tokenizer.json, held against FALLBACK on the sample."""

    counts: tuple[Count, ...] = (Count(),)
    model: str | None = None
    tokenizer: str | None = None
    sample: SampleSettings = SampleSettings()

    @classmethod
    def of(cls, asked: "Asked") -> "TokenSettings":
        """As an inspection wants it: FALLBACK, which all newer hosted models have, and the chosen
        model's own encoding where that is another."""
        sample = SampleSettings(asked.seed, size=asked.size)
        if asked.model is None:
            return cls(sample=sample)
        context, own = context_of(asked.model), encoding_of(asked.model).name
        counts = (Count(own, context),) if own == FALLBACK else (Count(own, context), Count())
        file = Path(asked.model).expanduser() / "tokenizer.json"
        return cls(counts, asked.model, str(file) if file.is_file() else None, sample)


def probe(asked: "Asked") -> "TokensProbe":
    return TokensProbe(TokenSettings.of(asked))


def collector(asked: "Asked") -> "TokensCollector":
    return TokensCollector(TokenSettings.of(asked))


#: What a block tells of one encoding: (tokens of a row, rows), tokens of answers, of contents,
#: the longest row as (tokens, line), lines that are cut.
Found = tuple[list[tuple[int, int]], int, int, tuple[int, int], list[int]]


class TokensProbe:
    """Tokens of every row, by each encoding asked for."""

    name = "tokens"

    def __init__(self, settings: TokenSettings | None = None) -> None:
        self._settings = settings or TokenSettings()
        self._sample = SampleProbe(self._settings.sample) if self._settings.tokenizer else None

    def look(self, block: Block) -> dict[str, Any]:
        layout = [(row.line, list(_chats(row))) for row in block.rows]
        texts = [text for _line, chats in layout for chat in chats for text in chat.texts]
        found = {
            each.encoding: _added(layout, _counts(texts, counter(each.encoding)), each.context)
            for each in self._settings.counts
        }
        images = sum(chat.images for _line, chats in layout for chat in chats)
        sampled = self._sample.look(block) if self._sample else (0, [])
        return {"rows": len(layout), "images": images, "counts": found, "sampled": sampled}


class TokensCollector:
    """Adds up what TokensProbe found."""

    def __init__(self, settings: TokenSettings | None = None) -> None:
        self._settings = settings or TokenSettings()
        self._rows = self._images = 0
        self._sums = {each.encoding: _Sum() for each in self._settings.counts}
        self._sample = SampleCollector(self._settings.sample)

    def add(self, first_line: int, found: dict[str, Any]) -> None:
        self._rows += found["rows"]
        self._images += found["images"]
        self._sample.add(first_line, found["sampled"])
        for encoding, told in found["counts"].items():
            self._sums[encoding].add(first_line, told)

    def report(self) -> dict[str, Any]:
        """One entry for each encoding. `images` were not counted: nobody says what they take.

        `model` tells of the chosen one: which encoding counted, and whether that is its own.
        """
        return {
            "rows": self._rows,
            "images": self._images,
            "counts": [
                {
                    "encoding": each.encoding,
                    "context": each.context,
                    **self._sums[each.encoding].report(self._rows),
                }
                for each in self._settings.counts
            ],
            "model": self._model(),
        }

    def issues(self) -> Iterable[tuple[str, int, Mapping[str, str | int]]]:
        """The lines that the chosen model would cut; without one, those that any would."""
        first = self._settings.counts[0]
        for line in self._sums[first.encoding].cut:
            yield "cut", line, {"context": first.context}

    def _model(self) -> dict[str, Any] | None:
        model = self._settings.model
        if model is None:
            return None
        encoding = encoding_of(model)
        told: dict[str, Any] = {"name": model, "encoding": encoding.name, "exact": encoding.exact}
        if self._settings.tokenizer is None:
            return told
        usual = self._sums[FALLBACK].contents
        try:
            own = by_tokenizer(self._sample.report(), Path(self._settings.tokenizer), usual)
        except (ImportError, ValueError) as problem:
            return {**told, "problem": str(problem)}
        return {**told, "encoding": "tokenizer.json", "own": own}


class _Sum:
    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._answers = self.contents = 0
        self._longest = (0, 0)
        self.cut = array("Q")

    def add(self, first_line: int, told: Found) -> None:
        lengths, answers, contents, (longest, line), cut = told
        for tokens, rows in lengths:
            self._lengths[tokens] += rows
        self._answers += answers
        self.contents += contents
        if longest > self._longest[0]:
            self._longest = (longest, first_line + line - 1)
        self.cut.extend(first_line + each - 1 for each in cut)

    def report(self, rows: int) -> dict[str, Any]:
        total = sum(tokens * count for tokens, count in self._lengths.items())
        return {
            "tokens": total,
            "content_tokens": self.contents,
            "answer_tokens": self._answers,
            "lengths": {
                "mean": round(total / rows, 1) if rows else 0.0,
                **{f"p{each}": percentile(self._lengths, each) for each in (0, 50, 90, 95, 99)},
                "longest": self._longest[0],
                "longest_line": self._longest[1],
            },
            "cut": {"count": len(self.cut), "lines": list(self.cut[:LISTED_LINES])},
        }


@dataclass(slots=True)
class _Chat:
    """Texts of one chat. `answers` are the places of those that are learnt."""

    texts: list[str]
    answers: list[int]
    overhead: int
    images: int = 0


def _counts(texts: Sequence[str], count: Counting) -> list[int]:
    """Tokens of each text; one that stands there often (a system's words) is counted once."""
    known = {text: count(text) for text in dict.fromkeys(texts)}
    return [known[text] for text in texts]


def _chats(row: BlockRow) -> Iterator[_Chat]:
    """One chat, or of a pair two: its prompt with each answer, for both are gone through."""
    if row.plain is not None:
        roles, texts = row.plain
        answers = [place for place, role in enumerate(roles) if role == "assistant"]
        yield _Chat(list(texts), answers, PER_EXAMPLE + PER_MESSAGE * len(roles))
        return
    example = row.example
    if isinstance(example, Pair):
        yield _chat((*example.messages, example.chosen))
        yield _chat((*example.messages, example.rejected))
        return
    chat = _chat(example.messages)
    if example.tools:
        chat.texts.append(msgspec.json.encode(example.tools).decode())
    yield chat


def _chat(messages: Sequence[Message]) -> _Chat:
    chat = _Chat([], [], PER_EXAMPLE + PER_MESSAGE * len(messages))
    for message in messages:
        learnt = message.role == "assistant" and message.weight != 0
        said = [message.content] if message.content else []
        for call in message.tool_calls:
            function = call.get("function") or {}
            said += [str(function.get("name", "")), str(function.get("arguments", ""))]
        if learnt:
            chat.answers += range(len(chat.texts), len(chat.texts) + len(said))
        chat.texts += said
        if message.name is not None:
            chat.texts.append(message.name)
            chat.overhead += PER_NAME
        chat.images += sum(part.get("type") == "image_url" for part in message.parts)
    return chat


def _added(layout: list[tuple[int, list[_Chat]]], counts: list[int], context: int) -> Found:
    lengths: Counter[int] = Counter()
    answers = contents = at = 0
    longest = (0, 0)
    cut: list[int] = []
    for line, chats in layout:
        tokens, most = 0, 0
        for chat in chats:
            own = counts[at : at + len(chat.texts)]
            at += len(own)
            said = sum(own)
            contents += said
            answers += sum(own[place] for place in chat.answers)
            tokens += said + chat.overhead
            most = max(most, said + chat.overhead)
        lengths[tokens] += 1
        if tokens > longest[0]:
            longest = (tokens, line)
        if most > context:
            cut.append(line)
    return list(lengths.items()), answers, contents, longest, cut


def by_tokenizer(sample: Sequence[SampledRow], path: Path, content_tokens: int) -> dict[str, Any]:
    """Tokens of the contents by a base's own tokenizer.json: their ratio to FALLBACK's on a sample,
    with its interval, times what FALLBACK counted in the whole file.

    Raises ImportError without the package `tokenizers` (the extra `training`), ValueError for a
    file that is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        own = Tokenizer.from_file(str(path))
    except Exception as problem:  # the package raises no kind of its own
        raise ValueError(str(problem)) from problem
    texts = [row.said("system", "developer", "user", "assistant", "tool") for row in sample]
    counted = [len(each.ids) for each in own.encode_batch(texts, add_special_tokens=False)]
    usual = list(map(counter(FALLBACK), texts))
    ratio, half = _ratio(counted, usual)
    return {
        "rows": len(texts),
        "ratio": round(ratio, 4),
        "content_tokens": round(ratio * content_tokens),
        "low": round(max(0.0, ratio - half) * content_tokens),
        "high": round((ratio + half) * content_tokens),
    }


def _ratio(counted: Sequence[int], usual: Sequence[int]) -> tuple[float, float]:
    """The ratio of two sums and half its interval (Cochran 1977, 6.4)."""
    rows, total = len(usual), sum(usual)
    if rows < 2 or not total:
        return (sum(counted) / total if total else 1.0), 0.0
    ratio = sum(counted) / total
    spread = sum((mine - ratio * theirs) ** 2 for mine, theirs in zip(counted, usual, strict=True))
    mean = total / rows
    return ratio, Z95 * math.sqrt(spread / (rows - 1) / rows) / mean
