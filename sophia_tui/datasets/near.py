"""Near-duplicates: texts that say the same in nearly the same words.

Not by how much two texts look alike: of ten thousand answers of one frame each has other numbers
and names, and means another thing. Here a text stands under a key that all of its words make
together: without case, accents, punctuation, courtesy and order, one word for those of one meaning.
Texts under one key are near-duplicates. A text with slips of the keys stands under the keys of what
may have been meant, too. So no pair is ever searched for, the work grows with the number of words,
and a sibling that differs in one number, name, date, denial or product is never taken.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import xxhash

from sophia_tui.datasets import near_slips, near_words, wording
from sophia_tui.datasets.near_words import CAPITAL, COURTESY, SMALL, STOP
from sophia_tui.datasets.tasks import Tell
from sophia_tui.domain.datasets import Example, Pair

if TYPE_CHECKING:
    import numpy as np

#: Raised with whatever changes what is found.
VERSION = 2
#: Share of words that must be the same, slips counted as differences.
THRESHOLD = 0.7

_MOST_SLIPS = 8
_MOST_EXCHANGED = 6
_MOST_KEYS = 64
_MASK = (1 << 64) - 1
_ODD = 0x9E3779B97F4A7C15
_ROW_BYTES = 200  # what is held for a row besides its words
_BYTES_A_WORD = 6


@dataclass(frozen=True, slots=True)
class Cluster:
    """Near-duplicates by the caller's numbers. `kept` is the best written one: the fewest slips,
    both cases of letters, accents, then the shortest."""

    kept: int
    others: tuple[int, ...]


def text_of(example: Example | Pair) -> str:
    """All that is said in an example, turn by turn, a line each."""
    said = [message.content for message in example.messages]
    if isinstance(example, Pair):
        said += [example.chosen.content, example.rejected.content]
    return "\n".join(said)


def memory_needed(rows: int, size: int) -> int:
    """About how many bytes a search takes at most, in all processes together."""
    words = size // _BYTES_A_WORD
    return 180_000_000 + rows * _ROW_BYTES + words * 50


def find_near(
    texts: Iterable[tuple[int, str]], threshold: float = THRESHOLD, tell: Tell | None = None
) -> Iterator[Cluster]:
    """The clusters of near-duplicates among numbered texts, in the order of what they keep.

    What is found depends on the texts alone, neither on their order nor on the machine; only where
    two texts are the very same the lower number is kept. Each number must occur once.
    """
    yield from _texts(texts, tell).clusters(threshold)


def _texts(texts: Iterable[tuple[int, str]], tell: Tell | None = None) -> "NearTexts":
    found = NearTexts()
    for reader, batch in near_words.read_all(texts):
        found.add(reader, batch)
        if tell:
            tell("near", len(found.rows), None)
    return found


def index_of(texts: list[str]) -> tuple[list[str], list[tuple[int, int]]]:
    """All folded words of some texts, and every key with the place of the text that stands under
    it; keys are what `sum_of` makes."""
    if not texts:
        return [], []
    found = _texts(enumerate(texts))
    keys, owners, _slips = found.keys()
    pairs = list(zip(keys.tolist(), owners.tolist(), strict=True))
    return found.vocabulary.folded[2:], pairs


def sum_of(words: Iterable[str]) -> int:
    """The key of a text with these folded words, one written twice over counted once."""
    total, last = 0, ""
    for word in words:
        if word != last or any(sign.isdecimal() for sign in word):
            total += _sum_of_word(word)
        last = word
    return total & _MASK


@lru_cache(1 << 16)
def _sum_of_word(word: str) -> int:
    return sum(_hash(said) for said in wording.says(word))


class _Words:
    """Every folded word met, with what it says as a number that adds up."""

    def __init__(self) -> None:
        self.folded: list[str] = ["", ""]
        self.said = array("Q", (0, 0))  # the sum of what it says; 0 for nothing
        self.alone = array("Q", (0, 0))  # its own number, for small words too
        self.weights = array("B", (0, 0))  # how many words it says
        self.firm = array("B", (0, 0))  # 1 for what has a digit, and for letters that are names
        self._places: dict[str, int] = {}

    def place(self, token: str) -> int:
        folded = wording.fold(token)
        place = self._places.get(folded)
        if place is None:
            place = self._places[folded] = len(self.folded)
            told = wording.says(folded)
            self.folded.append(folded)
            self.said.append(sum(_hash(word) for word in told) & _MASK)
            self.alone.append(_hash(told[0] if told else folded))
            self.weights.append(min(len(told), 255))
            firm = folded.endswith(wording.NAMED) or any(sign.isdecimal() for sign in folded)
            self.firm.append(firm)
        return place


def _tables() -> tuple["array[int]", "array[int]"]:
    """For a reader's number of a word: our own with its capital, and how many accents it has."""
    return array("I", (STOP, COURTESY)), array("B", (0, 0))


def _case(token: str) -> int:
    if token.islower():
        return SMALL
    return CAPITAL if token[0].isupper() and token[1:].islower() else 0


def _ranks(
    words: "np.ndarray", ends: "np.ndarray", accents: "np.ndarray", sizes: bytes
) -> "np.ndarray":
    """Lower is better written: both cases of letters, then more accents, then shorter."""
    import numpy as np

    small = _sums((words & np.uint32(SMALL)).astype(np.uint64) >> np.uint64(30), ends)
    capital = _sums(words.astype(np.uint64) >> np.uint64(31), ends)
    plain = ((small == 0) | (capital == 0)).astype(np.uint64) << np.uint64(63)
    fewer = np.uint64(0x7FFF) - np.minimum(accents, np.uint64(0x7FFF))
    ranks: np.ndarray = (
        plain | (fewer << np.uint64(48)) | np.frombuffer(sizes, np.uint32).astype(np.uint64)
    )
    return ranks


def _hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))


class NearTexts:
    """Takes the words of texts in any batches, and gives the clusters once all are there."""

    def __init__(self) -> None:
        self.vocabulary = _Words()
        self.rows, self.ranks, self.digests = array("q"), array("Q"), array("Q")
        self._lengths, self._words = array("I"), array("I")
        self._tables: dict[int, tuple[array[int], array[int]]] = {}

    def add(self, reader: int, batch: near_words.Read) -> None:
        """`reader` is any number of the WordReader that read the batch; what one reader read must
        come in its order."""
        import numpy as np

        table, accents = self._tables.setdefault(reader, _tables())
        for token in batch.new:
            table.append(self.vocabulary.place(token) | _case(token))
            accents.append(min(sum(sign > "\x7f" for sign in token), 255))
        numbers = np.frombuffer(batch.words, np.uint32)
        met = np.frombuffer(table, np.uint32)[numbers]
        ends = np.cumsum(np.frombuffer(batch.lengths, np.uint32), dtype=np.int64)
        written = _sums(np.frombuffer(accents, np.uint8)[numbers].astype(np.uint64), ends)
        self._words.frombytes(met.tobytes())
        self._lengths.frombytes(batch.lengths)
        self.rows.extend(batch.rows)
        self.ranks.frombytes(_ranks(met, ends, written, batch.sizes).tobytes())
        self.digests.frombytes(batch.digests)

    def clusters(self, threshold: float) -> Iterator[Cluster]:
        """In the order of what they keep. May be asked once."""
        if len(self.rows) < 2:
            return
        keys, owners, slips = self.keys()
        components = list(_components(keys, owners))
        self._orders = _Orders(self, owners, components)
        found = [
            cluster
            for ranges in components
            for cluster in self._stars(ranges, keys, owners, slips, threshold)
        ]
        yield from sorted(found, key=lambda cluster: cluster.kept)

    def keys(self) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """Keys in order, the place of the text that stands under each, and with how many slips."""
        import numpy as np

        self.lengths = np.array(self._lengths, np.uint32)
        self.words = np.array(self._words, np.uint32)
        self.ends = np.cumsum(self.lengths, dtype=np.int64)
        places = self.words & np.uint32(SMALL - 1)
        said = np.frombuffer(self.vocabulary.said, np.uint64)[places]
        starts = self.ends - self.lengths
        again = np.zeros(len(places), bool)
        again[1:] = (places[1:] == places[:-1]) & (
            np.frombuffer(self.vocabulary.firm, np.uint8)[places[1:]] == 0
        )
        again[starts[(starts < len(places)) & (self.lengths > 0)]] = False
        said[again] = 0  # a word written twice over
        forms = _sums(said, self.ends)
        weights = np.frombuffer(self.vocabulary.weights, np.uint8)[places].astype(np.uint64)
        self.sizes = _sums(weights, self.ends)
        silent = np.flatnonzero(self.sizes == 0)
        if len(silent):
            alone = np.frombuffer(self.vocabulary.alone, np.uint64)[places]
            own = _sums(alone, self.ends)[silent]
            digests = np.frombuffer(self.digests, np.uint64)[silent]
            forms[silent] = np.where(own == 0, digests, own) ^ np.uint64(_ODD)
        self.forms = forms
        keys, owners, slips = self._keys_meant(places, said)
        keys = np.concatenate((forms, keys))
        owners = np.concatenate((np.arange(len(forms), dtype=np.uint32), owners))
        slips = np.concatenate((np.zeros(len(forms), np.uint8), slips))
        order = np.lexsort((slips, owners, keys))
        return keys[order], owners[order], slips[order]

    def _keys_meant(
        self, places: "np.ndarray", said: "np.ndarray"
    ) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
        """The further keys of texts with words that may be slips."""
        import numpy as np

        meant = self.meant = self._meant(places)
        maybe = np.zeros(len(self.vocabulary.folded), bool)
        maybe[list(meant)] = True
        at = np.flatnonzero(maybe[places])
        texts = np.searchsorted(self.ends, at, side="right")
        keys, owners, slips = array("Q"), array("I"), array("B")
        starts = np.flatnonzero(np.concatenate(([True], texts[1:] != texts[:-1])))
        counted, folded = self.counted, self.vocabulary.folded
        sums = self.vocabulary.said
        for start, end in zip(starts, [*starts[1:], len(texts)], strict=True):
            if not end:
                break
            text = int(texts[start])
            found = sorted(
                {int(places[n]) for n in at[start:end] if said[n] or not sums[places[n]]},
                key=lambda place: (counted[place], folded[place]),
            )[:_MOST_SLIPS]
            self.suspected[text] = len(found)
            for key, changed in _meant_keys(int(self.forms[text]), found, meant, sums):
                keys.append(key)
                owners.append(text)
                slips.append(changed)
        return (
            np.array(keys, np.uint64),
            np.array(owners, np.uint32),
            np.array(slips, np.uint8),
        )

    def _meant(self, places: "np.ndarray") -> dict[int, list[tuple[int, ...]]]:
        import numpy as np

        size = len(self.vocabulary.folded)
        self.counted = np.bincount(places, minlength=size).tolist()
        self.suspected: dict[int, int] = {}
        inside = np.ones(len(places), bool)
        inside[1:] = places[:-1] > COURTESY
        starts = self.ends - self.lengths
        inside[starts[starts < len(places)]] = False
        capital = self.words >= CAPITAL
        upper = np.bincount(places[inside & capital], minlength=size)
        small = (self.words & np.uint32(SMALL)) > 0
        lower = np.bincount(places[inside & small], minlength=size)
        self.names = upper > lower
        return near_slips.slips(self.vocabulary.folded, self.counted, self.names.tolist())

    def _stars(
        self,
        ranges: list[tuple[int, int]],
        keys: "np.ndarray",
        owners: "np.ndarray",
        slips: "np.ndarray",
        threshold: float,
    ) -> Iterator[Cluster]:
        """Clusters in which everything shares a key with what is kept; `ranges` of the keys hang
        together."""
        under: dict[int, dict[int, int]] = {}
        for start, end in ranges:
            key = int(keys[start])
            for text, changed in zip(
                owners[start:end].tolist(), slips[start:end].tolist(), strict=True
            ):
                under.setdefault(text, {}).setdefault(key, changed)
        left = sorted(under, key=self._order(under))
        while len(left) > 1:
            kept, *rest = left
            joined: list[int] = []
            left = []
            for text in rest:
                alike = self._alike(under[kept], under[text], kept, text) >= threshold
                if alike and not self._orders.exchanged(kept, text):
                    joined.append(text)
                else:
                    left.append(text)
            if joined:
                yield Cluster(self.rows[kept], tuple(sorted(self.rows[each] for each in joined)))

    def _order(self, under: dict[int, dict[int, int]]) -> Callable[[int], Any]:
        """The one first that needs the fewest slips to be what the others are."""
        weight: dict[int, int] = {}
        for those in under.values():
            for key, slips in those.items():
                weight[key] = weight.get(key, 0) + (1 if slips else 4)
        forms, suspected = self.forms, self.suspected
        return lambda text: (
            text in suspected,
            -weight.get(int(forms[text]), 0),
            self.ranks[text],
            self.digests[text],
            self.rows[text],
        )

    def _alike(self, one: dict[int, int], two: dict[int, int], kept: int, other: int) -> float:
        """The share of words that are the same, by the key that both stand under with the fewest
        slips; 0 where there is none."""
        if self.forms[kept] == self.forms[other]:
            return 1.0
        least = min((one[key] + two[key] for key in one.keys() & two.keys()), default=None)
        if least is None:
            return 0.0
        return 1 - least / max(1, int(self.sizes[kept]), int(self.sizes[other]))


class _Orders:
    """In which order things are said in the texts of some components, slips taken back and
    courtesies left out."""

    def __init__(
        self, texts: NearTexts, owners: "np.ndarray", components: list[list[tuple[int, int]]]
    ) -> None:
        import numpy as np

        vocabulary = texts.vocabulary
        chosen = np.zeros(len(texts.lengths), bool)
        for ranges in components:
            for start, end in ranges:
                chosen[owners[start:end]] = True
        self._place = np.cumsum(chosen) - 1
        self._lengths = texts.lengths[chosen]
        self._ends = np.cumsum(self._lengths, dtype=np.int64)
        best = np.arange(len(vocabulary.folded), dtype=np.uint32)
        for place, (first, *_others) in texts.meant.items():
            if len(first) == 1:
                best[place] = first[0]
        words = texts.words[np.repeat(chosen, texts.lengths)] & np.uint32(SMALL - 1)
        self._words = words = best[words]
        courteous = [word in wording.COURTESY for word in vocabulary.folded]
        courteous[STOP] = courteous[COURTESY] = True
        kept = ~np.array(courteous, bool)[words]
        alone = np.frombuffer(vocabulary.alone, np.uint64)[words]
        self._firm = np.frombuffer(vocabulary.firm, np.uint8).astype(bool) | texts.names
        self._said = alone[kept]
        self._starts = np.append(0, np.append(0, np.cumsum(kept))[self._ends])
        self._wholes = self._sequences(alone, kept)
        self._named_wholes = self._sequences(alone, kept & self._firm[words])

    def _sequences(self, alone: "np.ndarray", kept: "np.ndarray") -> "np.ndarray":
        """A number for the kept words of each text in their order."""
        import numpy as np

        counts = np.cumsum(kept, dtype=np.int64)
        before = np.append(0, counts)[self._ends - self._lengths]
        at = counts - np.repeat(before, self._lengths)
        powers = np.cumprod(np.full(int(at.max(initial=0)) + 1, _ODD, np.uint64))
        return _sums(np.where(kept, alone * powers[at], np.uint64(0)), self._ends)

    def exchanged(self, one: int, two: int) -> bool:
        """Whether two words or names stand in each other's place: from A to B, and from B to A."""
        one, two = int(self._place[one]), int(self._place[two])
        if self._wholes[one] == self._wholes[two]:
            return False
        if self._two_exchanged(one, two):
            return True
        if self._named_wholes[one] == self._named_wholes[two]:
            return False
        named, other = self._named(one), self._named(two)
        return _all_pairs(named) != _all_pairs(other) and not (
            _pairs(named) <= _all_pairs(other) or _pairs(other) <= _all_pairs(named)
        )

    def _two_exchanged(self, one: int, two: int) -> bool:
        """Whether two words that are no neighbours have changed places and little else has."""
        import numpy as np

        first, second = (
            self._said[self._starts[text] : self._starts[text + 1]] for text in (one, two)
        )
        if len(first) != len(second):
            return False
        apart = np.flatnonzero(first != second)
        if not 2 <= len(apart) <= _MOST_EXCHANGED:
            return False
        said, other = first.tolist(), second.tolist()
        crossed = [at for at in apart.tolist() if said[at] in other and other[at] in said]
        if len(crossed) != 2 or crossed[1] - crossed[0] < 2:
            return False
        left, right = crossed
        return bool(said[left] == other[right] and said[right] == other[left])

    def _named(self, text: int) -> list[list[int]]:
        """Names and numbers in their order, sentence by sentence."""
        sentences: list[list[int]] = [[]]
        end = int(self._ends[text])
        for place in self._words[end - int(self._lengths[text]) : end].tolist():
            if place == STOP:
                sentences.append([])
            elif place > COURTESY and self._firm[place]:
                sentences[-1].append(place)
        return [each for each in sentences if each]


def _sums(values: "np.ndarray", ends: "np.ndarray") -> "np.ndarray":
    """The sum for each text, modulo 2**64."""
    import numpy as np

    if not len(values):
        return np.zeros(len(ends), np.uint64)
    running = np.cumsum(values, dtype=np.uint64)
    upto = np.where(ends > 0, running[ends - 1], np.uint64(0))
    return np.diff(upto, prepend=np.uint64(0))


def _meant_keys(
    form: int, found: list[int], meant: dict[int, list[tuple[int, ...]]], sums: "array[int]"
) -> Iterator[tuple[int, int]]:
    """Keys and how many slips each takes back: all first, then fewer."""
    choices = [[*meant[place], (place,)] for place in found]
    for number, chosen in enumerate(product(*choices)):
        if number == _MOST_KEYS:
            return
        key, changed = form, 0
        for place, instead in zip(found, chosen, strict=True):
            if instead != (place,):
                key += sum(sums[each] for each in instead) - sums[place]
                changed += 1
        if changed:
            yield key & _MASK, changed


def _components(keys: "np.ndarray", owners: "np.ndarray") -> Iterator[list[tuple[int, int]]]:
    """Ranges of the sorted keys, each one key that several texts share; together those that hang
    together by a text."""
    import numpy as np

    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    ends = np.append(starts[1:], len(keys))
    several = owners[starts] != owners[ends - 1]
    shared = list(zip(starts[several].tolist(), ends[several].tolist(), strict=True))
    parent: dict[int, int] = {}

    def root(text: int) -> int:
        while parent[text] != text:
            parent[text] = text = parent[parent[text]]
        return text

    for start, end in shared:
        texts = owners[start:end].tolist()
        head = root(parent.setdefault(texts[0], texts[0]))
        for text in texts[1:]:
            if text in parent:
                parent[root(text)] = head
            else:
                parent[text] = head
    groups: dict[int, list[tuple[int, int]]] = {}
    for start, end in shared:
        groups.setdefault(root(int(owners[start])), []).append((start, end))
    yield from groups.values()


def _pairs(sentences: list[list[int]]) -> Counter[tuple[int, int]]:
    """Which name or number follows which within a sentence, and how often."""
    return Counter(pair for each in sentences for pair in pairwise(each))


def _all_pairs(sentences: list[list[int]]) -> Counter[tuple[int, int]]:
    """The same with sentences run together."""
    return _pairs([[each for sentence in sentences for each in sentence]])
