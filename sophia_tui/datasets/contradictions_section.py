"""The section `contradictions` of an inspection: answers to one question that can't both be right.

The pass finds which questions are asked more than once; answers are read again for those alone.
"""

from pathlib import Path
from typing import Any

from sophia_tui.datasets.inspection import Asked
from sophia_tui.datasets.near_files import (
    CONTRADICTIONS,
    ClusterCollector,
    NearRows,
    WordsProbe,
    contradicting,
)

_LISTED = 20


def probe(asked: Asked) -> WordsProbe:
    return WordsProbe(CONTRADICTIONS)


class ContradictionCollector(ClusterCollector):
    def __init__(self, asked: Asked) -> None:
        super().__init__()
        self._files = [Path(each) for each in asked.files]

    def report(self) -> dict[str, Any]:
        """Lines are counted on through all files."""
        rows = NearRows(self._files, lambda _stage, _done, _total: None)
        found, _texts = contradicting(rows, self.clusters())
        return {
            "rows": self.rows,
            "pairs": len(found),
            "first": [
                {
                    "first": each.first,
                    "second": each.second,
                    "differs": sorted({one.kind for one in each.differs}),
                }
                for each in found[:_LISTED]
            ],
        }


def collector(asked: Asked) -> ContradictionCollector:
    return ContradictionCollector(asked)
