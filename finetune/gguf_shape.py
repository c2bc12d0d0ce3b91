"""What a GGUF file says of a model's shape, and how llama.cpp wants its tensors laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.failures import Refused

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter


@dataclass(frozen=True)
class Architecture:
    """llama.cpp's name of it, and whether rotary pairs lie side by side there: the hub's files have
    all first halves of a head before all second ones."""

    name: str
    side_by_side: bool


#: By the class that the model's config.json names.
ARCHITECTURES = {
    "LlamaForCausalLM": Architecture("llama", True),
    "MistralForCausalLM": Architecture("llama", True),
    "Qwen2ForCausalLM": Architecture("qwen2", False),
    "Qwen3ForCausalLM": Architecture("qwen3", False),
}
_ROTATED = ("q_proj", "k_proj")


def architecture_of(config: Any) -> Architecture:
    """Raises Refused 521 for one that can't be written, with its name."""
    named = [str(each) for each in getattr(config, "architectures", None) or ()]
    for each in named:
        if each in ARCHITECTURES:
            return ARCHITECTURES[each]
    raise Refused(
        521,
        f"The architecture {', '.join(named) or '(none is named)'} can't be exported as GGUF.",
        f"Known are: {', '.join(ARCHITECTURES)}.",
        "Serve the merged model as it is, or convert it by llama.cpp's own program.",
    )


def write_shape(writer: GGUFWriter, config: Any) -> None:
    """Sizes, context and rotary settings; `config` is transformers'."""
    heads = int(config.num_attention_heads)
    head = head_size(config)
    writer.add_block_count(int(config.num_hidden_layers))
    writer.add_context_length(_context(config))
    writer.add_embedding_length(int(config.hidden_size))
    writer.add_feed_forward_length(int(config.intermediate_size))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(getattr(config, "num_key_value_heads", None) or heads))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    writer.add_rope_dimension_count(head)
    writer.add_vocab_size(int(config.vocab_size))
    rope = dict(getattr(config, "rope_parameters", None) or {})
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    _write_scaling(writer, rope)


def _write_scaling(writer: GGUFWriter, rope: dict[str, Any]) -> None:
    from gguf import RopeScalingType

    kind = rope.get("rope_type", "default")
    if kind in ("default", "llama3"):  # the latter's factors are a tensor
        return
    scalings = {"linear": RopeScalingType.LINEAR, "yarn": RopeScalingType.YARN}
    if kind not in scalings:
        raise Refused(
            521,
            f"Models with rotary scaling of the kind {kind} can't be exported as GGUF.",
            f"Known are: default, llama3, {', '.join(scalings)}.",
            "Serve the merged model as it is, or convert it by llama.cpp's own program.",
        )
    writer.add_rope_scaling_type(scalings[kind])
    writer.add_rope_scaling_factor(float(rope["factor"]))
    if original := rope.get("original_max_position_embeddings"):
        writer.add_rope_scaling_orig_ctx_len(int(original))


def head_size(config: Any) -> int:
    """Width of one attention head."""
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def _context(config: Any) -> int:
    """Positions; llama.cpp looks back over all of them, so no more than a sliding window has."""
    most = int(config.max_position_embeddings)
    window = getattr(config, "sliding_window", None)
    return min(most, int(window)) if window else most


def laid_out(
    name: str, tensor: np.ndarray[Any, Any], config: Any, architecture: Architecture
) -> np.ndarray[Any, Any]:
    """A weight or bias, by its name on the hub, with its rotary pairs as llama.cpp has them."""
    module = name.split(".")[-2]
    if not architecture.side_by_side or module not in _ROTATED:
        return tensor
    heads = int(config.num_attention_heads)
    if module == "k_proj":
        heads = int(getattr(config, "num_key_value_heads", None) or heads)
    rows, *rest = tensor.shape
    halves = tensor.reshape(heads, 2, rows // heads // 2, *rest)
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def rope_factors(config: Any) -> list[float] | None:
    """By what each frequency is divided where the scaling is llama3's (as transformers has it, in
    modeling_rope_utils); else None."""
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type") != "llama3":
        return None
    size = head_size(config)
    factor = float(rope["factor"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    original = float(rope["original_max_position_embeddings"])
    found = []
    for place in range(0, size, 2):
        wavelength = 2 * math.pi * float(rope["rope_theta"]) ** (place / size)
        if wavelength < original / high:
            found.append(1.0)
        elif wavelength > original / low:
            found.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return found
