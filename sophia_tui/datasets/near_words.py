"""The words of many texts as numbers, read by processes of their own: what `near` compares.

A word's number is its folded form's; whether it was written with a capital or small goes along.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, pairwise
from typing import NamedTuple

import xxhash

from sophia_tui.datasets import passes, wording

#: The number of every end of a sentence, and of each word of a courtesy of several words.
STOP, COURTESY = 0, 1
CAPITAL, SMALL = 1 << 31, 1 << 30

_BATCH = 2_000
_ALONE = 6_000  # texts up to which processes cost more than they save
_MOST_PROCESSES = 8
_LONG_PIECE = 40
_MOST_PIECES = 300_000


class Read(NamedTuple):
    """A batch of texts as a reader hands it on; `new` are words in the order of their numbers,
    after those told before. `lengths` are in words, `sizes` in characters."""

    rows: list[int]
    new: list[str]
    words: bytes
    lengths: bytes
    sizes: bytes
    digests: bytes


class _Written(dict[str, tuple[int, ...]]):
    """Remembers the words in what stands between two spaces, for the short and the first ones."""

    def __init__(self, read: Callable[[str], tuple[int, ...]]) -> None:
        self._read = read

    def __missing__(self, piece: str) -> tuple[int, ...]:
        words = self._read(piece)
        if len(piece) < _LONG_PIECE and len(self) < _MOST_PIECES:
            self[piece] = words
        return words


class WordReader:
    """Numbers the words of texts, each in the order of being met first."""

    def __init__(self) -> None:
        self._written = _Written(self._read_piece)
        self._numbers: dict[str, int] = {}
        self._new: list[str] = []
        self._folded: list[str] = []
        self._marks: set[int] = set()
        self._starts: set[int] = set()
        self._seconds: set[int] = set()

    def read(self, texts: list[tuple[int, str]]) -> Read:
        words, lengths = array("I"), array("I")
        sizes, digests = array("I"), array("Q")
        words_of = self._written.__getitem__
        marks, starts, seconds = self._marks, self._starts, self._seconds
        for _row, text in texts:
            plain = wording.composed(text)
            met = list(chain.from_iterable(map(words_of, plain.split())))
            if not marks.isdisjoint(met):
                begun = [one in starts and two in seconds for one, two in pairwise(met)]
                if True in begun:
                    met = self._without_phrases(met, begun)
            words.extend(met)
            lengths.append(len(met))
            sizes.append(min(len(plain), 0xFFFFFFFF))
            digests.append(xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")))
        new, self._new = self._new, []
        found = (words.tobytes(), lengths.tobytes(), sizes.tobytes(), digests.tobytes())
        return Read([row for row, _text in texts], new, *found)

    def _read_piece(self, piece: str) -> tuple[int, ...]:
        """The words in what stands between two spaces."""
        return tuple(
            STOP
            if token[0] in ".!?"
            else self._numbers[token]
            if token in self._numbers
            else self._number(token)
            for token in wording.TOKEN.findall(piece)
        )

    def _number(self, token: str) -> int:
        number = len(self._folded) + 2
        self._numbers[token] = number
        folded = wording.fold(token)
        self._folded.append(folded)
        self._new.append(token)
        if folded in wording.STARTS:
            self._starts.add(number)
        if folded in wording.MARKS:
            self._marks.add(number)
        if folded in wording.SECONDS:
            self._seconds.add(number)
        return number

    def _without_phrases(self, met: list[int], begun: list[bool]) -> list[int]:
        """Courtesies of several words count as one mark each; `begun` says where one may begin."""
        kept: list[int] = []
        past = 0
        for at in [place for place, may in enumerate(begun) if may]:
            if at < past:
                continue
            some = met[at : at + wording.LONGEST_PHRASE]
            told = [self._folded[each - 2] if each > COURTESY else "" for each in some]
            if length := wording.phrase_at(told, 0):
                kept += met[past:at]
                said = wording.said_by_phrase(told[:length])
                kept += self._read_piece(said) if said else (COURTESY,)
                past = at + length
        return kept + met[past:]


def read_all(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Read]]:
    """All texts in batches, each with the number of the reader that read it."""
    source = iter(texts)
    first = list(islice(source, _ALONE))
    processes = 1 if len(first) < _ALONE else min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    yield from passes.deal(_batches(first, source), _Reading, processes)


def _batches(
    first: list[tuple[int, str]], source: Iterator[tuple[int, str]]
) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(first), _BATCH):
        yield first[start : start + _BATCH]
    while batch := list(islice(source, _BATCH)):
        yield batch


class _Reading(passes.Worker[list[tuple[int, str]], tuple[int, Read]]):
    def __init__(self, number: int) -> None:
        self._number = number
        self._reader = WordReader()

    def work(self, item: list[tuple[int, str]]) -> tuple[int, Read]:
        return self._number, self._reader.read(item)
