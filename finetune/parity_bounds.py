"""How far a form of a model may be off from base and adapter, by the precision of its weights."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.parity_documents import ParityBound

#: Nats. 1e-3 in 32 bits is the project's own demand. The others are some three times what was
#: measured: SmolLM2-135M with a LoRA of r 16 on it, the 18 prompts that come along, 24 tokens of
#: each, base and adapter in 32 bits on a processor as the reference. Mean and greatest difference
#: of a token, and prompts whose tokens were equal, ties counted:
#:
#:   merged    float32 0.0000014 0.00001 18   float16 0.0009 0.011 18   bfloat16 0.0063 0.061 18
#:   llama.cpp float32 0.00006   0.0002  18   float16 0.0013 0.012 18   bfloat16 0.0092 0.087 18
#:             q8_0    0.049     0.44    17   q4_k_m  0.24   12.0  18
#:             q4_0    0.81      12.2     7   q4_1    1.83   7.5    3
#:
#: So q4_0 and q4_1, plain rounding to 4 bits, make another model of one so small, and do not pass;
#: q4_k_m does. A larger model loses less.
BOUNDS: Mapping[str, ParityBound] = {
    "float32": ParityBound(mean=0.001, tie=0.01, equal=1.0),
    "float16": ParityBound(mean=0.005, tie=0.05, equal=1.0),
    "bfloat16": ParityBound(mean=0.03, tie=0.3, equal=1.0),
    "q8_0": ParityBound(mean=0.15, tie=1.0, equal=0.9),
    "q4_0": ParityBound(mean=0.5, tie=2.0, equal=0.8),
}
#: Whose bound other precisions get: nothing of fewer bits was found to be near enough.
OTHER = "q4_0"


def bound_for(precision: str, own: Mapping[str, ParityBound]) -> ParityBound:
    """The bound of a precision: the run's own, else the table's, else that of 4 bits."""
    return own.get(precision) or BOUNDS.get(precision) or own.get(OTHER) or BOUNDS[OTHER]
