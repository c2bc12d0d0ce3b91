"""How far a form of a model may be off from base and adapter, by the precision of its weights."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.parity_documents import ParityBound

#: MEASURED
BOUNDS: Mapping[str, ParityBound] = {
    "float32": ParityBound(mean=0.001, tie=0.01, equal=1.0),
    "float16": ParityBound(mean=0.01, tie=0.1, equal=1.0),
    "bfloat16": ParityBound(mean=0.05, tie=0.5, equal=1.0),
    "q8_0": ParityBound(mean=0.05, tie=0.5, equal=1.0),
    "q4_0": ParityBound(mean=0.5, tie=2.0, equal=0.5),
}
#: For quantisations that are not in the table.
OTHER = "q4_0"


def bound_for(precision: str, own: Mapping[str, ParityBound]) -> ParityBound:
    """The bound of a precision: the run's own, else the table's, else that of 4 bits."""
    return own.get(precision) or BOUNDS.get(precision) or own.get(OTHER) or BOUNDS[OTHER]
