"""The section `near` of an inspection: how many rows are near-duplicates, and of which."""

from sophia_tui.datasets.inspection import Asked
from sophia_tui.datasets.near_files import NEAR, ClusterCollector, WordsProbe


def probe(asked: Asked) -> WordsProbe:
    return WordsProbe(NEAR)


def collector(asked: Asked) -> ClusterCollector:
    return ClusterCollector()
