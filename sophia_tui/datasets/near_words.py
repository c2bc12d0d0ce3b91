"""The words of many texts as numbers, read by processes of their own: what `near` compares.

A word's number is its folded form's; whether it was written with a capital goes along.
"""

import multiprocessing
import os
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from typing import NamedTuple

import xxhash

from sophia_tui.datasets import wording

#: The number of every end of a sentence, and of each word of a courtesy of several words.
STOP, COURTESY = 0, 1
CAPITAL = 1 << 31

_BATCH = 2_000
_ALONE = 6_000  # texts up to which processes cost more than they save
_MOST_PROCESSES = 8
_MOST_WORDS_KEPT = 1_000_000


class Read(NamedTuple):
    """A batch of texts as a reader hands it on; `new` are words in the order of their numbers,
    after those told before. `ranks` put the better written text first."""

    rows: list[int]
    new: list[str]
    words: bytes
    lengths: bytes
    ranks: bytes
    digests: bytes


class WordReader:
    """Numbers the words of texts. It keeps every word that it met, up to a million."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._new: list[str] = []
        self._folded: list[str] = []
        self._starts: set[int] = set()
        self._told = 0

    def read(self, texts: list[tuple[int, str]]) -> Read:
        words, lengths = array("I"), array("I")
        ranks, digests = array("Q"), array("Q")
        numbers, number_of = self._numbers, self._number
        for _row, text in texts:
            plain = wording.composed(text)
            met = [
                numbers[token] if token in numbers else number_of(token)
                for token in wording.TOKEN.findall(plain)
            ]
            if not self._starts.isdisjoint(met):
                met = self._without_phrases(met)
            words.extend(met)
            lengths.append(len(met))
            ranks.append(_rank(plain))
            digests.append(xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")))
        new, self._new = self._new, []
        found = (words.tobytes(), lengths.tobytes(), ranks.tobytes(), digests.tobytes())
        return Read([row for row, _text in texts], new, *found)

    def _number(self, token: str) -> int:
        if token[0] in ".!?":
            self._numbers[token] = STOP
            return STOP
        number = len(self._folded) + 2
        if len(self._numbers) > _MOST_WORDS_KEPT:
            self._numbers.clear()
        self._numbers[token] = number
        folded = wording.fold(token)
        self._folded.append(folded)
        self._new.append(token)
        if folded in wording.STARTS:
            self._starts.add(number)
        return number

    def _without_phrases(self, met: list[int]) -> list[int]:
        """Courtesies of several words count as one mark each."""
        told = [self._folded[each - 2] if each > COURTESY else "" for each in met]
        kept: list[int] = []
        at = 0
        while at < len(met):
            length = wording.phrase_at(told, at)
            if length:
                kept.append(COURTESY)
                at += length
            else:
                kept.append(met[at])
                at += 1
        return kept


def _rank(text: str) -> int:
    """Lower is better: both cases of letters, then accents, then the shorter one."""
    plain = text == text.lower() or text == text.upper() or text.istitle()
    accents = 0 if text.isascii() else sum(sign > "\x7f" and sign.isalpha() for sign in text)
    return plain << 63 | (0x7FFF - min(accents, 0x7FFF)) << 48 | min(len(text), 0xFFFFFFFF)


def read_all(texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Read]]:
    """All texts in batches, each with the number of the reader that read it."""
    source = iter(texts)
    first = list(islice(source, _ALONE))
    if len(first) < _ALONE:
        yield 0, WordReader().read(first)
        return
    batches = _batches(first, source)
    count = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    if count == 1:
        reader = WordReader()
        yield from ((0, reader.read(batch)) for batch in batches)
        return
    readers = [_start() for _process in range(count)]
    try:
        yield from _dealt(batches, [connection for _process, connection in readers])
    finally:
        for process, connection in readers:
            connection.close()
            process.kill()
            process.join()


def _batches(
    first: list[tuple[int, str]], source: Iterator[tuple[int, str]]
) -> Iterator[list[tuple[int, str]]]:
    for start in range(0, len(first), _BATCH):
        yield first[start : start + _BATCH]
    while batch := list(islice(source, _BATCH)):
        yield batch


def _dealt(
    batches: Iterator[list[tuple[int, str]]], connections: list[Connection]
) -> Iterator[tuple[int, Read]]:
    """One batch at a time to each process, in turn; so what comes back has an order."""
    busy: list[int] = []
    for number, batch in enumerate(batches):
        turn = number % len(connections)
        if turn in busy:
            busy.remove(turn)
            found = connections[turn].recv()
            connections[turn].send(batch)
            busy.append(turn)
            yield turn, found
        else:
            connections[turn].send(batch)
            busy.append(turn)
    for turn in busy:
        yield turn, connections[turn].recv()


def _start() -> tuple[multiprocessing.process.BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _serve(connection: Connection) -> None:
    reader = WordReader()
    while True:
        try:
            batch = connection.recv()
        except (EOFError, KeyboardInterrupt):  # who asked is done, or gone
            return
        connection.send(reader.read(batch))
