"""Which language a text is in, and which languages a data set speaks."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sophia_tui.datasets.blocks import Block, Collector, Probe
from sophia_tui.datasets.sample import (
    SampleCollector,
    SampledRow,
    SampleProbe,
    SampleSettings,
    share,
    turns_of,
)

if TYPE_CHECKING:
    from sophia_tui.datasets.inspection import Asked

#: What can be told apart, by ISO 639-1. More would cost memory, and short texts their certainty.
LANGUAGES = (
    *("pt", "en", "es", "fr", "it", "de", "nl", "ca", "pl", "sv", "cs", "ro", "tr"),
    *("ru", "uk", "el", "he", "ar", "hi", "th", "zh", "ja", "ko"),
)
#: Letters of a text below which nobody can say; of scripts that belong to few languages less.
_FEWEST_LETTERS = 12
_FEWEST_OWN_SCRIPT = 2
_READ_CHARACTERS = 1000
#: How sure, and how far before the second.
_SURE, _AHEAD = 0.6, 0.3
#: Texts of so many words at most are judged by their small words first.
_SHORT_WORDS = 30
#: Of fewer words three letters in a row are believed only when very sure and not against the small
#: words; and one small word decides for a language that is among the likely ones.
_FEW_WORDS, _VERY_SURE, _LIKELY = 8, 0.9, 3
_MOST_LISTED = 100

#: What says nothing of the language: addresses, placeholders, numbers, names of files.
_NOISE = re.compile(r"https?://\S+|\S+@\S+|`[^`]*`|\S*\d\S*")
_WORD = re.compile(r"[^\W\d_]+")
_OWN_SCRIPT = re.compile(
    "[\u0370-\u03ff\u0590-\u05ff\u0900-\u097f\u0e00-\u0e7f\u3040-\u9fff\uac00-\ud7af]"
)

#: Small words that each language cannot do without: they decide short texts, where three letters in
#: a row mislead.
_SMALL = {
    "pt": "a o as os um uma de do da dos das em no na nos nas e é são não que qual quais quando "
    "onde como por para com meu minha seu sua você eu ele ela isso este esta posso pode tem "
    "há já mais até também sim foi ser está quanto quantos depois sobre",
    "en": "the a an of to in on at is are was were do does did how what when where which who why "
    "can could i you we they he she it my your our this that and or not for with from have "
    "has will be there",
    "es": "el la los las un una de del en y es son no que cuál cuáles cuándo cuando dónde donde "
    "cómo como por para con mi su usted yo él ella eso este esta puedo puede tiene hay ya más "
    "hasta también sí fue ser está cuánto al lo qué",
    "fr": "le la les un une de du des en et est sont ne pas que quel quelle quand où comment pour "
    "avec mon ma votre vous je il elle ce cette puis peut a il y dans sur au aux qui",
    "it": "il lo la i gli le un una di del della in e è sono non che quale quando dove come per "
    "con mio mia suo lei io questo questa posso può ha c'è già più anche nel sul dei",
    "de": "der die das ein eine und ist sind nicht wie was wann wo wer warum kann ich sie wir es "
    "mein ihr dieser für mit von zu im am auf den dem haben wird",
}
SMALL_WORDS = {name: frozenset(words.split()) for name, words in _SMALL.items()}


def language_of(text: str) -> str | None:
    """The language by ISO 639-1, or None where the text is too short or too mixed to tell."""
    words = _WORD.findall(_NOISE.sub(" ", text[:_READ_CHARACTERS]).lower())
    plain = " ".join(words)
    own_script = len(_OWN_SCRIPT.findall(plain)) >= _FEWEST_OWN_SCRIPT
    if not own_script and (len(words) < 2 or sum(map(len, words)) < _FEWEST_LETTERS):
        return None
    votes = {name: sum(word in small for word in words) for name, small in SMALL_WORDS.items()}
    most, next_most = sorted(votes.values(), reverse=True)[:2]
    favoured = next(name for name, count in votes.items() if count == most)
    if len(words) <= _SHORT_WORDS and most >= 2 and most >= 2 * next_most:
        return favoured
    values = _detector().compute_language_confidence_values(plain)
    best, second = values[0], values[1]
    found = _code(best)
    if len(words) < _FEW_WORDS:
        if most and not next_most and favoured in map(_code, values[:_LIKELY]):
            return favoured
        if best.value < _VERY_SURE or votes.get(found, most) < most:
            return None
    if best.value < _SURE or best.value - second.value < _AHEAD:
        return None
    return found


def _code(value: Any) -> str:
    code: str = value.language.iso_code_639_1.name
    return code.lower()


@cache
def _detector() -> Any:
    """Lingua with three letters in a row: 45 MB, where its whole models take 230."""
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, each.upper()) for each in LANGUAGES]
    return LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_low_accuracy_mode().build()


def probe(asked: "Asked") -> Probe:
    return LanguagesProbe() if asked.whole else SampleProbe(_sample(asked))


def collector(asked: "Asked") -> Collector:
    return LanguagesCollector() if asked.whole else _SampledLanguages(_sample(asked))


def _sample(asked: "Asked") -> SampleSettings:
    return SampleSettings(asked.seed, size=asked.size)


class _SampledLanguages(SampleCollector):
    """Judges the sample once it is drawn."""

    def report(self) -> Any:
        return report(self.drawn(), self.whole)


class LanguagesProbe:
    """The language of every row, and which rows mix two."""

    name = "languages"

    def look(self, block: Block) -> dict[str, Any]:
        counts: Counter[str | None] = Counter()
        mixed: list[tuple[int, str, str]] = []
        for row in block.rows:
            language, mix = _judged(SampledRow(row.line, turns_of(row)))
            counts[language] += 1
            if mix is not None:
                mixed.append(mix)
        return {"counts": list(counts.items()), "mixed": mixed}


class LanguagesCollector:
    """Adds up what LanguagesProbe found."""

    def __init__(self) -> None:
        self._counts: Counter[str | None] = Counter()
        self._mixed: list[tuple[int, str, str]] = []

    def add(self, first_line: int, found: dict[str, Any]) -> None:
        for language, count in found["counts"]:
            self._counts[language] += count
        self._mixed += [(first_line + line - 1, *both) for line, *both in found["mixed"]]

    def report(self) -> dict[str, Any]:
        return _told(self._counts, self._mixed, whole=True)

    def issues(self) -> Iterable[tuple[str, int, Mapping[str, str | int]]]:
        for line, asked, answered in self._mixed:
            yield "mixed_languages", line, {"asked": asked, "answered": answered}


def report(sample: Sequence[SampledRow], whole: bool) -> dict[str, Any]:
    """Languages of the rows, the most frequent first, each with its share and interval.

    `mixed` are rows whose answer is in another language than what was asked, with their lines.
    """
    judged = [_judged(row) for row in sample]
    counts = Counter(language for language, _mix in judged)
    return _told(counts, [mix for _language, mix in judged if mix is not None], whole)


def _judged(row: SampledRow) -> tuple[str | None, tuple[int, str, str] | None]:
    """The language of a row, its answer's first; and its line and both where they differ."""
    asked, answered = language_of(row.said("user")), language_of(row.said("assistant"))
    mixed = (row.line, asked, answered) if asked and answered and asked != answered else None
    return answered or language_of(row.talk), mixed


def _told(
    counts: Counter[str | None], mixed: Sequence[tuple[int, str, str]], whole: bool
) -> dict[str, Any]:
    total = counts.total()
    return {
        "rows": total,
        "whole": whole,
        "languages": [
            {"language": name, **share(count, total, whole)}
            for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0] or ""))
            if name is not None
        ],
        "undecided": share(counts[None], total, whole),
        "mixed": {
            **share(len(mixed), total, whole),
            "lines": [
                {"line": line, "asked": asked, "answered": answered}
                for line, asked, answered in mixed[:_MOST_LISTED]
            ],
        },
    }
