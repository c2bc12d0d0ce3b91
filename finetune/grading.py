"""Graded questions: right or wrong, shares and their differences with intervals. No weights here.

An answer is right when it contains one of the accepted texts. The intervals are at 95 %.
"""

from __future__ import annotations

import json
import math
import random
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from finetune.schema import (
    REGRESSION_FILE,
    REGRESSION_SET,
    REGRESSION_TOKENS,
    ContractError,
    GradedAnswer,
    GradedResult,
    Question,
    QuestionSet,
    Share,
    ShareDifference,
    describe,
)

#: The normal distribution's 97.5 % point: two-sided intervals at 95 %.
Z95 = 1.959963984540054
#: The seed by which a part of the regression set is drawn.
_DRAW = 42


class QuestionsError(ContractError):
    """A file of questions that can't be used. `template` and `details` make the sentence, for who
    says it in another language; `fields` is what pydantic found wrong with a line."""

    def __init__(
        self, template: str, fields: ValidationError | None = None, **details: str | int | Path
    ) -> None:
        why = describe(fields) if fields else ""
        super().__init__(template.format(**details, why=why))
        self.template = template
        self.fields = fields
        self.details = details


def read_questions(path: str | Path) -> list[Question]:
    """The questions of a JSON Lines file, other keys left aside; raises QuestionsError by line,
    FileNotFoundError."""
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise QuestionsError("{path}: {cause}", path=path, cause=str(error.strerror)) from error
    except UnicodeDecodeError as error:
        raise QuestionsError(
            "{path} is not UTF-8 at byte {byte}", path=path, byte=error.start
        ) from error
    questions: list[Question] = []
    seen: set[str] = set()
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            question = Question.model_validate(json.loads(line))
        except ValidationError as error:
            raise QuestionsError(
                "{path}, line {line}: {why}", error, path=path, line=number
            ) from None
        except ValueError:
            raise QuestionsError(
                "{path}, line {line}: no JSON object", path=path, line=number
            ) from None
        if question.id in seen:
            raise QuestionsError(
                "{path}, line {line}: id {id} stands twice", path=path, line=number, id=question.id
            )
        seen.add(question.id)
        questions.append(question)
    if not questions:
        raise QuestionsError("{path}: no question in it", path=path)
    return questions


def questions_of(chosen: QuestionSet) -> list[Question]:
    """The questions of a set, from its file where they do not stand in it."""
    if chosen.questions is not None:
        return chosen.questions
    try:
        return read_questions(chosen.path or "")
    except FileNotFoundError as error:
        raise ContractError(f"{chosen.path}: {error.strerror}") from error


def regression_questions(count: int | None = None) -> list[Question]:
    """The general regression set, or so many of it, of each language alike. They are drawn by a
    fixed seed, so that a smaller part lies in every larger one."""
    found = read_questions(REGRESSION_FILE)
    if count is None or count >= len(found):
        return found
    draw = random.Random(_DRAW)
    parts = []
    for language in dict.fromkeys(each.language for each in found):
        part = [each for each in found if each.language == language]
        draw.shuffle(part)
        parts.append(part)
    mixed = [each for row in zip_longest(*parts) for each in row if each is not None]
    chosen = {each.id for each in mixed[:count]}
    return [each for each in found if each.id in chosen]


def regression_set(count: int | None = None) -> QuestionSet:
    """The regression set as a run grades it: before and after, each answer as far as its verdict
    needs."""
    return QuestionSet(
        name=REGRESSION_SET,
        questions=regression_questions(count),
        max_new_tokens=REGRESSION_TOKENS,
        grade="both",
        stop="answered",
    )


def normalised(text: str) -> str:
    """Composed letters, casefolded, each run of white space one blank."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def is_right(answer: str, accepted: Sequence[str]) -> bool:
    """Whether the answer contains one accepted text as whole words and whole numbers."""
    text = normalised(answer)
    return any(_pattern(each).search(text) is not None for each in accepted)


@lru_cache(maxsize=4096)
def _pattern(accepted: str) -> re.Pattern[str]:
    """The text not inside a longer word, nor inside a longer number: 86 is not in 1986 or 86.5."""
    text = normalised(accepted)
    before = r"(?<!\w)(?<!\d[.,:])" if text[0].isdigit() else r"(?<!\w)"
    after = r"(?!\w)(?![.,:]\d)" if text[-1].isdigit() else r"(?!\w)"
    if not text[0].isalnum():
        before = ""
    if not text[-1].isalnum():
        after = ""
    return re.compile(before + re.escape(text) + after)


def wilson(right: int, total: int) -> tuple[float, float]:
    """Wilson's score interval for a share (E. B. Wilson, JASA 22, 1927, pages 209-212)."""
    share, z2 = right / total, Z95 * Z95
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    half /= 1 + z2 / total
    return max(0.0, middle - half), min(1.0, middle + half)


class Pairs(NamedTuple):
    """How two answers to the same questions agree."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def total(self) -> int:
        """Questions in all."""
        return sum(self)

    @classmethod
    def of(cls, verdicts: Iterable[tuple[bool, bool]]) -> Pairs:
        """Count pairs of (first right, second right)."""
        found = list(verdicts)
        return cls(*(found.count(each) for each in _CELLS))


_CELLS = ((True, True), (True, False), (False, True), (False, False))


def paired_difference(pairs: Pairs) -> tuple[float, float, float]:
    """Second share minus first with its interval: (difference, low, high).

    Newcombe's method 10, Wilson's intervals squared and added with a corrected correlation
    (R. G. Newcombe, Statistics in Medicine 17, 1998, pages 2635-2650).
    """
    e, f, g, h = pairs.both, pairs.only_second, pairs.only_first, pairs.neither
    n = pairs.total
    second, first = (e + f) / n, (e + g) / n
    low2, high2 = wilson(e + f, n)
    low1, high1 = wilson(e + g, n)
    phi = _correlation(e, f, g, h)
    difference = (f - g) / n

    def reach(upper: float, lower: float) -> float:
        return math.sqrt(max(0.0, upper * upper - 2 * phi * upper * lower + lower * lower))

    low = difference - reach(second - low2, high1 - first)
    high = difference + reach(high2 - second, first - low1)
    return difference, max(-1.0, low), min(1.0, high)


def _correlation(e: int, f: int, g: int, h: int) -> float:
    product = (e + f) * (g + h) * (e + g) * (f + h)
    if product == 0:
        return 0.0
    cross = e * h - f * g
    if cross > 0:
        cross_corrected = max(cross - (e + f + g + h) / 2, 0.0)
        return cross_corrected / math.sqrt(product)
    return cross / math.sqrt(product)


def mcnemar(pairs: Pairs) -> float:
    """McNemar's exact two-sided p: that as many or more turned one way by chance alone
    (Q. McNemar, Psychometrika 12, 1947; the binomial form)."""
    turned = pairs.only_first + pairs.only_second
    fewer = min(pairs.only_first, pairs.only_second)
    tail = sum(math.comb(turned, count) for count in range(fewer + 1)) / 2**turned
    return float(min(1.0, 2 * tail))


def share(verdicts: Sequence[bool]) -> Share:
    """Right ones of all, with Wilson's interval."""
    right, total = sum(verdicts), len(verdicts)
    low, high = wilson(right, total)
    return Share(right=right, total=total, share=right / total, low=low, high=high)


def share_difference(pairs: Pairs) -> ShareDifference:
    """Second minus first, as a document of the report."""
    difference, low, high = paired_difference(pairs)
    return ShareDifference(
        share=difference,
        low=low,
        high=high,
        gained=pairs.only_second,
        lost=pairs.only_first,
        p_value=mcnemar(pairs),
    )


def results(answers: Sequence[GradedAnswer]) -> list[GradedResult]:
    """Each set as a whole and, where its questions have several languages, by language."""
    found: list[GradedResult] = []
    for name in dict.fromkeys(each.set for each in answers):
        part = [each for each in answers if each.set == name]
        found.append(_result(name, None, part))
        languages = list(dict.fromkeys(each.language for each in part))
        if len(languages) > 1:
            found += [
                _result(name, language, [each for each in part if each.language == language])
                for language in languages
                if language is not None
            ]
    return found


def _result(name: str, language: str | None, part: Sequence[GradedAnswer]) -> GradedResult:
    before = [each.before_right for each in part if each.before_right is not None]
    after = [each.after_right for each in part if each.after_right is not None]
    both = [
        (each.before_right, each.after_right)
        for each in part
        if each.before_right is not None and each.after_right is not None
    ]
    return GradedResult(
        set=name,
        language=language,
        before=share(before) if before else None,
        after=share(after) if after else None,
        difference=share_difference(Pairs.of(both)) if both else None,
    )
