"""Which words of a collection are other words of it with a slip of the keys.

The evidence is how often each occurs: a slip is rare beside the word that was meant. Words that
change what is said (numbers, denials, months, units) are no slips of anything.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xxhash

from sophia_tui.datasets import wording
from sophia_tui.datasets.wording import KEPT_APART

if TYPE_CHECKING:
    import numpy as np

#: Raised with anything here that changes what is found to be nearly the same.
VERSION = 2

_SHORTEST = 4
#: Longer ones are no words that somebody mistyped: keys, codes, rows of one letter. The forms that
#: are made of a word grow with the square of its length, and more.
_LONGEST = 64
_MOST_MEANT = 3
_FREQUENT = 10
_FREQUENT_TWICE = 50
_RARE_AT_ONCE = 20_000
#: What looks like a small word and a word, but turns the word round or is another one.
_PREFIXES = wording.words("a an in im ir des dis un non re pre anti contra sobre sub de no ex co")


def slips(
    words: Sequence[str], counts: Sequence[int], names: Sequence[bool]
) -> dict[int, list[tuple[int, ...]]]:
    """For the place of each word that may be a slip: what may have been meant, best first, as
    places of words (two where a space was not hit)."""
    import numpy as np

    hashes: list[int] = []
    owners: list[int] = []
    able = [place for place, word in enumerate(words) if may_slip(word)]
    for place in able:
        word = words[place]
        owners += [place] * (len(word) + 1)
        hashes.append(_hash(word))
        hashes += [_hash(word[:at] + word[at + 1 :]) for at in range(len(word))]
    keys, places = np.array(hashes, np.uint64), np.array(owners, np.uint32)
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    ends = np.append(starts, len(keys))[1:]
    seen: set[tuple[int, int]] = set()
    meant: dict[int, set[int]] = {}
    for start, end in zip(starts, ends, strict=True):
        if end - start < 2:
            continue
        alike = sorted(
            set(places[start:end].tolist()), key=lambda each: (-counts[each], words[each])
        )
        top = alike[:16]  # what is rarer than sixteen others is compared with those alone
        for number, low in enumerate(alike):
            for high in top[:number]:
                if (low, high) in seen:
                    continue
                seen.add((low, high))
                if _slip(words[low], words[high], counts[low], counts[high], names, low, high):
                    meant.setdefault(low, set()).add(high)
                elif counts[low] == counts[high] and _slip(
                    words[high], words[low], counts[high], counts[low], names, high, low
                ):
                    meant.setdefault(high, set()).add(low)
    found: dict[int, list[tuple[int, ...]]] = {
        low: [(high,) for high in sorted(those, key=lambda h: (-counts[h], words[h]))[:_MOST_MEANT]]
        for low, those in meant.items()
    }
    _add_twice_slipped(words, counts, names, found)
    _add_joined(words, counts, found)
    return found


def _hash(word: str) -> int:
    return xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))


def _add_twice_slipped(
    words: Sequence[str],
    counts: Sequence[int],
    names: Sequence[bool],
    found: dict[int, list[tuple[int, ...]]],
) -> None:
    """For rare words that are still unknown: a frequent word with two slips."""
    import numpy as np

    able = [place for place, word in enumerate(words) if len(word) >= 5 and may_slip(word)]
    frequent = [place for place in able if counts[place] >= _FREQUENT_TWICE]
    rare = [
        place
        for place in able
        if counts[place] <= 2
        and words[place] not in KEPT_APART
        and all(counts[each] < _FREQUENT for meant in found.get(place, ()) for each in meant)
    ]
    if not frequent or not rare:
        return
    keys, owners = _twice_shortened(words, frequent)
    for start in range(0, len(rare), _RARE_AT_ONCE):
        asked, askers = _twice_shortened(words, rare[start : start + _RARE_AT_ONCE])
        left = np.searchsorted(keys, asked, side="left")
        right = np.searchsorted(keys, asked, side="right")
        close: dict[int, set[int]] = {}
        for at in np.flatnonzero(right > left).tolist():
            close.setdefault(int(askers[at]), set()).update(owners[left[at] : right[at]].tolist())
        for place, those in close.items():
            good = [
                other
                for other in those
                if len(words[other]) >= (7 if names[other] else 5)
                and words[other] not in KEPT_APART
                and slip_distance(words[place], words[other]) == 2
            ]
            if good:
                good.sort(key=lambda other: (-counts[other], words[other]))
                found[place] = [*((each,) for each in good), *found.get(place, ())][:_MOST_MEANT]


def _twice_shortened(
    words: Sequence[str], places: Sequence[int]
) -> "tuple[np.ndarray, np.ndarray]":
    """Hashes of the words without one letter and without two, in order, and whose they are."""
    import numpy as np

    hashes: list[int] = []
    owners: list[int] = []
    for place in places:
        word = words[place]
        once = {word[:at] + word[at + 1 :] for at in range(len(word))}
        forms = once | {each[:at] + each[at + 1 :] for each in once for at in range(len(each))}
        hashes += [_hash(each) for each in forms]
        owners += [place] * len(forms)
    keys, whose = np.array(hashes, np.uint64), np.array(owners, np.uint32)
    order = np.argsort(keys, kind="stable")
    return keys[order], whose[order]


def slip_distance(one: str, two: str) -> int:
    """How many letters are to be left out, put in, changed or turned with their neighbours (the
    optimal string alignment of Damerau's distance)."""
    before: list[int] = []
    last = list(range(len(two) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, other in enumerate(two, 1):
            best = min(last[column] + 1, line[column - 1] + 1, last[column - 1] + (letter != other))
            turned = row > 1 and column > 1 and letter == two[column - 2] and one[row - 2] == other
            line.append(min(best, before[column - 2] + 1) if turned else best)
        before, last = last, line
    return last[-1]


def may_slip(word: str) -> bool:
    """Whether it may be another word with a slip, or the one that was meant."""
    return _SHORTEST <= len(word) <= _LONGEST and word.isalpha()


def _slip(
    low: str, high: str, fewer: int, more: int, names: Sequence[bool], at: int, other: int
) -> bool:
    """Whether `low` is `high` with one slip. Turned and doubled letters hardly make another word; a
    letter more, less or another one does, most of all as first or last and in names."""
    kind = slip_kind(low, high)
    if kind is None or low in KEPT_APART:
        return False
    if kind == "turned":
        return more >= 2 * fewer or more <= 2
    if kind == "doubled":
        return more >= 3 * fewer or (more <= 2 and len(high) >= 5)
    if (len(high) < 5 or high in KEPT_APART) and more < 100 * fewer:
        return False
    if names[at] or names[other]:
        first = low[1:] == high[1:] or low == high[1:] or low[1:] == high
        return more >= (20 if kind == "inner" else 100 if first else 1000) * fewer
    if kind == "edge":
        return more >= 20 * fewer and more >= 8
    return more >= 10 * fewer or (fewer <= 2 and more >= 3 * fewer) or len(high) >= 9


def slip_kind(one: str, two: str) -> str | None:
    """How one word becomes the other by a single slip: turned, doubled, inner, edge (the first or
    last letter), or None."""
    if one == two:
        return None
    if len(one) == len(two):
        apart = [place for place in range(len(one)) if one[place] != two[place]]
        if len(apart) == 1:
            return "edge" if apart[0] in (0, len(one) - 1) else "inner"
        if len(apart) == 2 and apart[1] == apart[0] + 1:
            first, second = apart
            if one[first] == two[second] and one[second] == two[first]:
                return "turned"
        return None
    short, long = sorted((one, two), key=len)
    if len(long) - len(short) != 1:
        return None
    at = next((n for n in range(len(short)) if short[n] != long[n]), len(short))
    if short[at:] != long[at + 1 :]:
        return None
    if at and long[at] == long[at - 1]:
        return "doubled"
    return "edge" if at in (0, len(short)) else "inner"


def _add_joined(
    words: Sequence[str], counts: Sequence[int], found: dict[int, list[tuple[int, ...]]]
) -> None:
    places = {
        word: place
        for place, word in enumerate(words)
        if counts[place] >= _FREQUENT and word.isalpha()
    }
    for place, word in enumerate(words):
        if place in found or counts[place] > 2 or len(word) < 5 or not may_slip(word):
            continue
        best: tuple[int, tuple[int, ...]] | None = None
        for at in range(1, len(word)):
            one, two = word[:at], word[at:]
            if one in places and two in places and one not in _PREFIXES and len(two) > 1:
                pair = (places[one], places[two])
                weight = min(counts[each] for each in pair)
                if best is None or weight > best[0]:
                    best = (weight, pair)
        if best is not None:
            found[place] = [best[1]]
