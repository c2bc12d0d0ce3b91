"""Distributions of whole numbers that add up in flat memory: counts by value, and by the twelve
leading bits where values are large."""

from collections import Counter
from typing import Any

#: Values below are counted as they are; of larger ones so many leading bits (0.05 % of the value).
_BITS = 12
_QUANTILES = (5, 25, 50, 75, 95, 99)


def rounded(counts: Counter[int]) -> Counter[int]:
    """The same counts by at most some ten thousand values, each rounded down."""
    if max(counts, default=0) < 1 << _BITS:
        return counts
    found: Counter[int] = Counter()
    for value, count in counts.items():
        shift = value.bit_length() - _BITS
        found[value >> shift << shift if shift > 0 else value] += count
    return found


def distribution(counts: Counter[int]) -> dict[str, Any]:
    """Least, greatest, mean, quantiles (the smallest value with at least so many percent at or
    below it), and a histogram by powers of two (`least` to before `below`). Empty without values.
    """
    total = counts.total()
    if not total:
        return {}
    values = sorted(counts)
    quantiles: dict[str, int] = {}
    below, wanted = 0, list(_QUANTILES)
    for value in values:
        below += counts[value]
        while wanted and below * 100 >= wanted[0] * total:
            quantiles[f"p{wanted.pop(0)}"] = value
    bins: Counter[int] = Counter()
    for value, count in counts.items():
        bins[value.bit_length()] += count
    return {
        "least": values[0],
        "greatest": values[-1],
        "mean": sum(value * count for value, count in counts.items()) / total,
        **quantiles,
        "histogram": [
            {"least": 1 << bits >> 1, "below": 1 << bits, "rows": bins[bits]}
            for bits in sorted(bins)
        ],
    }
