"""How near a form of a model is to the reference: log-probabilities and greedy tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from finetune.parity_documents import (
    Divergence,
    ParityBound,
    ParityCode,
    ParityReason,
    ParityResult,
)

_SHOWN = 300
#: In the place of a token that is not the reference's, and whose number nobody knows.
OTHER = -1
#: What a character is written as of which bytes are missing.
HALF = "\ufffd"
Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Forced:
    """What a model says at each place of a given answer: the log-probability (nats) of the token
    that stands there, its own first choice, and how far that is ahead of its second."""

    values: tuple[float, ...]
    tops: tuple[int, ...]
    gaps: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """A prompt with the greedy answer of base and adapter, by tokens."""

    id: str
    question: str
    messages: tuple[dict[str, str], ...]
    max_new_tokens: int
    prompt_text: str
    prompt_ids: tuple[int, ...]
    answer: tuple[int, ...]
    forced: Forced


@dataclass
class Tally:
    """Adds up how one form answered, and judges it by its bound."""

    bound: ParityBound
    decode: Decode
    differences: list[float] = field(default_factory=list)
    prompts: int = 0
    equal: int = 0
    ties: int = 0
    diverging: Divergence | None = None
    reasons: list[ParityReason] = field(default_factory=list)
    worst: tuple[float, str] = (0.0, "")
    #: Whether it was noted that an engine reads a prompt as other tokens.
    read_otherwise: bool = False

    def along(
        self,
        asked: Reference,
        values: Sequence[float | None],
        tops: Sequence[int | None],
        text: str | None = None,
    ) -> None:
        """A form that was led along the reference's answer, or went the same way as far as `tops`
        reaches: each place counts. None stands where it gave no figure, or no choice; `text` is
        its own answer, where it gave one."""
        self.take_values(asked, values)
        tied = False
        for place, top in enumerate(tops):
            if top is None or top == asked.answer[place]:
                continue
            if asked.forced.gaps[place] >= self.bound.tie:
                said = [*asked.answer[:place], *([] if top == OTHER else [top])]
                own = self.decode(said) if text is None else text
                self._diverges(asked, place, own)
                return
            tied = True
        self._agrees(tied)

    def take_values(self, asked: Reference, values: Sequence[float | None]) -> None:
        """Log-probabilities of the reference's tokens, in order, as far as they were given."""
        for told, known in zip(values, asked.forced.values, strict=False):
            if told is None:
                continue
            difference = abs(told - known)
            self.differences.append(difference)
            if difference > self.worst[0]:
                self.worst = (difference, asked.id)

    def text(self, asked: Reference, text: str) -> None:
        """A form that gave an answer as text alone."""
        if self.same(asked, text):
            self._agrees(False)
            return
        place = self._parted(asked, text)
        if asked.forced.gaps[place] < self.bound.tie:
            self._agrees(True)
        else:
            self._diverges(asked, place, text)

    def same(self, asked: Reference, text: str) -> bool:
        """Whether a text is the reference's answer. A character of which the last bytes never came
        is written by some engines as a sign for that, and left out by others."""
        return _whole(text) == _whole(self.decode(asked.answer))

    def in_character(self, asked: Reference, place: int) -> bool:
        """Whether the answer up to that token, and with it, ends within a character."""
        return self.decode(asked.answer[: place + 1]).endswith(HALF)

    def _parted(self, asked: Reference, text: str) -> int:
        """The first place of the answer that the text does not have. Where that is within a
        character, any of its tokens may be it: the one nearest to a tie."""
        text = text.lstrip()
        whole, last = 0, len(asked.answer) - 1  # whole: the place after the last whole character
        parted = last  # it went on where the reference ended, unless it is found before
        for place in range(len(asked.answer)):
            begun = self.decode(asked.answer[: place + 1]).lstrip()
            if not text.startswith(begun.rstrip(HALF)):
                parted = place
                break
            if not begun.endswith(HALF):
                whole = place + 1
        first = min(whole, parted)
        return min(range(first, parted + 1), key=lambda each: asked.forced.gaps[each])

    def _agrees(self, tied: bool) -> None:
        self.prompts += 1
        self.equal += 1
        self.ties += tied

    def _diverges(self, asked: Reference, place: int, answer: str) -> None:
        self.prompts += 1
        if self.diverging is None:
            self.diverging = Divergence(
                prompt=asked.id,
                question=short(asked.question),
                place=place + 1,
                gap=round(asked.forced.gaps[place], 4),
                reference=short(self.decode(asked.answer)),
                answer=short(answer),
            )

    def object(self, code: ParityCode, what: str, **values: object) -> None:
        """Note what stands against this form."""
        self.reasons.append(ParityReason(code=code, what=what, values=values))

    def judged(self, result: ParityResult) -> ParityResult:
        """The result with its figures, its reasons and its verdict."""
        found = self.differences
        mean = sum(found) / len(found) if found else None
        if mean is not None and not mean <= self.bound.mean:
            self.object(
                "difference",
                f"its log-probabilities are off by {mean:.4g} nats in the mean, "
                f"at most {self.bound.mean:g} is allowed; prompt {self.worst[1]} is off most",
                mean=mean,
                bound=self.bound.mean,
                prompt=self.worst[1],
            )
        share = self.equal / self.prompts if self.prompts else 0.0
        if self.diverging is not None and share < self.bound.equal:
            self.object(
                "greedy",
                f"{self.equal} of {self.prompts} prompts are answered by the same tokens; the "
                f"first of the others is {self.diverging.prompt}, at token {self.diverging.place}",
                equal=self.equal,
                prompts=self.prompts,
                share=self.bound.equal,
                prompt=self.diverging.prompt,
                place=self.diverging.place,
            )
        return result.model_copy(
            update={
                "prompts": self.prompts,
                "places": len(found),
                "mean_difference": mean,
                "max_difference": max(found, default=None),
                "equal": self.equal,
                "ties": self.ties,
                "diverging": self.diverging,
                "reasons": [*result.reasons, *self.reasons],
                "passed": not result.reasons and not self.reasons and self.prompts > 0,
            }
        )


def _whole(text: str) -> str:
    return text.rstrip(HALF).strip()


def short(text: str) -> str:
    """A text as a report shows it."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
