"""How much memory and how many operations a training needs: from the base's config and the headers
of its weights, without loading any. Light: the standard library and the recipe alone.

The figures follow from what the backward pass keeps of a Llama-like decoder whose weights are
frozen under low-rank adapters; constants were fitted to measured peaks (tests/benchmarks/
memory_benchmark.py) and lie on the safe side.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

from finetune.speed import PACKED_TOKENS

if TYPE_CHECKING:
    from finetune.recipe import Recipe

Device = Literal["cpu", "cuda"]
Origin = Literal["config", "gguf", "name"]

MIB: Final = 1 << 20
#: What Python with torch, transformers and peft takes before any weight; on a GPU the context too.
PROGRAM: Final[Mapping[Device, int]] = {"cpu": 440 * MIB, "cuda": 700 * MIB}
#: What is added to all of it, to err on the safe side.
SLACK: Final[Mapping[Device, float]] = {"cpu": 1.06, "cuda": 1.15}
#: Passing buffers of a layer that malloc does not reuse, in inner widths for each token, on
#: a processor. A GPU has another allocator; that was not measured.
PASSING: Final = 5.3
#: Bytes of a weight in 4-bit NF4: a scale in fp32 for each 64 (bitsandbytes).
NF4_BYTES: Final = 0.5 + 4 / 64
_MAX_HEADER: Final = 100 << 20
_GGUF_NUMBERS: Final = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_GGUF_TEXT, _GGUF_LIST = 8, 9
#: Linear layers of a decoder layer by the names that other architectures give them.
_ALIASES: Final = {
    "q_proj": "q_proj",
    "k_proj": "k_proj",
    "v_proj": "v_proj",
    "o_proj": "o_proj",
    "gate_proj": "gate_proj",
    "up_proj": "up_proj",
    "down_proj": "down_proj",
    "out_proj": "o_proj",
    "fc1": "up_proj",
    "fc2": "down_proj",
    "dense": "o_proj",
}
_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s*([BM])(?![A-Za-z0-9])", re.I)


class UnknownShape(Exception):
    """The base's shape can't be read; the text says why."""


@dataclass(frozen=True)
class Shape:
    """What a base is made of. `parameters` counts tied weights once; `stored_bytes` is what its
    weights take on the disk, 0 where that is not known. `origin` `name`: only the size in the name
    is known, and the rest is what models of that size have."""

    parameters: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    origin: Origin = "config"
    stored_bytes: int = 0
    context: int | None = None

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one decoder layer: name to (width in, width out)."""
        wide, narrow = self.heads * self.head_width, self.kv_heads * self.head_width
        return {
            "q_proj": (self.hidden, wide),
            "k_proj": (self.hidden, narrow),
            "v_proj": (self.hidden, narrow),
            "o_proj": (wide, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Weights of all linear layers but the output head: what 4 bits can hold."""
        each = sum(inner * outer for inner, outer in self.linears.values())
        return min(self.parameters, each * self.layers)


def shape_of_config(
    config: Mapping[str, Any], parameters: int | None = None, stored_bytes: int = 0
) -> Shape:
    """The shape that a config.json describes; raises UnknownShape."""
    text = config.get("text_config")
    found = {**config, **text} if isinstance(text, dict) else dict(config)
    hidden = _number(found, "hidden_size", "n_embd", "d_model")
    layers = _number(found, "num_hidden_layers", "n_layer", "num_layers")
    heads = _number(found, "num_attention_heads", "n_head", "num_heads")
    vocabulary = _number(found, "vocab_size")
    if not (hidden and layers and heads and vocabulary):
        raise UnknownShape("config.json names no width, layers, heads and vocabulary")
    experts = _number(found, "num_experts_per_tok") or 1
    inner = _number(found, "intermediate_size", "n_inner", "ffn_dim", "d_ff") or 4 * hidden
    shape = Shape(
        parameters=0,
        layers=layers,
        hidden=hidden,
        intermediate=inner * experts,
        heads=heads,
        kv_heads=_number(found, "num_key_value_heads") or heads,
        head_width=_number(found, "head_dim") or max(1, hidden // heads),
        vocabulary=vocabulary,
        stored_bytes=stored_bytes,
        context=_number(found, "max_position_embeddings", "n_positions"),
    )
    tables = 1 if found.get("tie_word_embeddings", False) else 2
    counted = parameters or _parameters(shape, tables)
    return Shape(**{**vars(shape), "parameters": counted})


def _parameters(shape: Shape, tables: int) -> int:
    layer = sum(inner * outer for inner, outer in shape.linears.values()) + 2 * shape.hidden
    return layer * shape.layers + (tables * shape.vocabulary + 1) * shape.hidden


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def shape_of_folder(folder: Path) -> Shape:
    """The shape of a model's folder, by config.json and the headers of its weights.

    Raises UnknownShape.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownShape(f"config.json: {type(error).__name__}") from error
    if not isinstance(config, dict):
        raise UnknownShape("config.json holds no object")
    weights = sorted(folder.glob("*.safetensors"))
    try:
        counted = sum(map(safetensors_parameters, weights)) or None
        stored = sum(each.stat().st_size for each in weights)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise UnknownShape(f"a weights file: {type(error).__name__}") from error
    if "quantization_config" in config:  # packed weights say nothing about how many there are
        counted = None
    return shape_of_config(config, counted, stored)


def safetensors_parameters(path: Path) -> int:
    """Numbers held by a .safetensors file, read from its header."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(min(length, _MAX_HEADER)))
    return sum(
        math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"
    )


def shape_of_gguf(path: Path) -> Shape:
    """The shape of a GGUF file, by its metadata and the list of its tensors; raises UnknownShape.

    Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    try:
        with open(path, "rb") as file:
            return _gguf_shape(file, path.stat().st_size)
    except (OSError, struct.error, UnicodeDecodeError, KeyError, MemoryError) as error:
        raise UnknownShape(f"{path.name}: {type(error).__name__}") from error


def _gguf_shape(file: BinaryIO, size: int) -> Shape:
    if file.read(4) != b"GGUF" or _take(file, "<I") not in (2, 3):
        raise UnknownShape("no GGUF file of version 2 or 3")
    tensors, entries = _take(file, "<Q"), _take(file, "<Q")
    if max(tensors, entries) > 1_000_000:
        raise UnknownShape("a GGUF header with impossible counts")
    said: dict[str, Any] = {}
    for _each in range(entries):
        name = _gguf_text(file)
        said[name] = _gguf_value(file, _take(file, "<I"))
    shapes: dict[str, list[int]] = {}
    for _each in range(tensors):
        name = _gguf_text(file)
        shapes[name] = [_take(file, "<Q") for _axis in range(_take(file, "<I"))]
        file.seek(12, 1)  # its type and where it lies
    kind = str(said.get("general.architecture", ""))
    listed = said.get("tokenizer.ggml.tokens")
    config = {
        "hidden_size": said.get(f"{kind}.embedding_length"),
        "num_hidden_layers": said.get(f"{kind}.block_count"),
        "num_attention_heads": said.get(f"{kind}.attention.head_count"),
        "num_key_value_heads": said.get(f"{kind}.attention.head_count_kv"),
        "head_dim": said.get(f"{kind}.attention.key_length"),
        "intermediate_size": said.get(f"{kind}.feed_forward_length"),
        "max_position_embeddings": said.get(f"{kind}.context_length"),
        "vocab_size": said.get(f"{kind}.vocab_size") or listed,
        "tie_word_embeddings": "output.weight" not in shapes,
    }
    shape = shape_of_config(config, sum(math.prod(each) for each in shapes.values()), size)
    return Shape(**{**vars(shape), "origin": "gguf"})


def _take(file: BinaryIO, kind: str) -> Any:
    return struct.unpack(kind, file.read(struct.calcsize(kind)))[0]


def _gguf_text(file: BinaryIO) -> str:
    length = _take(file, "<Q")
    if length > _MAX_HEADER:
        raise UnknownShape("a GGUF header with an impossible text")
    return file.read(length).decode("utf-8", errors="replace")


def _gguf_value(file: BinaryIO, kind: int) -> Any:
    """A value; of a list only how long it is."""
    if kind == _GGUF_TEXT:
        return _gguf_text(file)
    if kind != _GGUF_LIST:
        return _take(file, _GGUF_NUMBERS[kind])
    inner, count = _take(file, "<I"), _take(file, "<Q")
    if inner in _GGUF_NUMBERS:
        file.seek(struct.calcsize(_GGUF_NUMBERS[inner]) * count, 1)
    else:
        for _each in range(count):
            if inner == _GGUF_TEXT:
                file.seek(_take(file, "<Q"), 1)
            else:
                _gguf_value(file, inner)
    return count


#: Layers, width, inner width, heads, key heads, vocabulary of open models by their size: Llama,
#: Mistral, Qwen and SmolLM, as their config.json say. A size between is taken for the next larger.
_TYPICAL: Final = (
    (0.14e9, (30, 576, 1536, 9, 3, 49_152)),
    (0.4e9, (32, 960, 2560, 15, 5, 49_152)),
    (0.7e9, (28, 1024, 3072, 16, 8, 151_936)),
    (1.3e9, (16, 2048, 8192, 32, 8, 128_256)),
    (2.1e9, (28, 2048, 8192, 16, 8, 151_936)),
    (4.1e9, (36, 2560, 9728, 32, 8, 151_936)),
    (9e9, (36, 4096, 14_336, 32, 8, 151_936)),
    (15e9, (48, 5120, 17_408, 40, 8, 151_936)),
    (35e9, (64, 5120, 27_648, 40, 8, 152_064)),
    (80e9, (80, 8192, 29_568, 64, 8, 152_064)),
)


def shape_of_name(name: str) -> Shape:
    """The shape that a base of the size in its name (…-8B, …-135M) probably has.

    Raises UnknownShape where the name holds no size.
    """
    sizes = [
        float(number) * (1e9 if unit in "bB" else 1e6)
        for number, unit in _SIZE_IN_NAME.findall(name)
    ]
    if not sizes:
        raise UnknownShape("the name says no size")
    size = max(sizes)
    if size > _TYPICAL[-1][0]:
        raise UnknownShape("no model of that size is known here")
    layers, hidden, inner, heads, kv_heads, vocabulary = next(
        typical for most, typical in _TYPICAL if size <= most
    )
    return Shape(
        parameters=round(size * 1.05),  # names are rounded down as often as up
        layers=layers,
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=kv_heads,
        head_width=max(64, hidden // heads),
        vocabulary=vocabulary,
        origin="name",
    )


@dataclass(frozen=True)
class Lengths:
    """Tokens of the data as trained on: all together, those learnt, and the longest example; and
    how many examples there are."""

    tokens: int
    answer_tokens: int
    longest: int
    examples: int

    @property
    def mean(self) -> float:
        """Tokens of an example."""
        return self.tokens / max(1, self.examples)


@dataclass(frozen=True)
class Memory:
    """Bytes by what they are for, at the moment when most are taken; `reserve` is the margin."""

    program: int
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    data: int
    reserve: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


def first_layer(shape: Shape, recipe: Recipe) -> int:
    """The lowest layer that gets an adapter, from 0."""
    return math.floor(recipe.lora.frozen_share * shape.layers)


def adapter_parameters(shape: Shape, recipe: Recipe) -> int:
    """Numbers of the adapter: r * (width in + width out) of each linear layer that gets one."""
    chosen = _chosen(shape, recipe)
    each = sum(recipe.lora.r * (inner + outer) for inner, outer in chosen.values())
    if recipe.lora.weight_decomposed:
        each += sum(outer for _inner, outer in chosen.values())
    return each * (shape.layers - first_layer(shape, recipe))


def _chosen(shape: Shape, recipe: Recipe) -> dict[str, tuple[int, int]]:
    """The linear layers with an adapter; all, where no name given is one of ours."""
    wanted = recipe.lora.target_modules
    if isinstance(wanted, str):
        return shape.linears
    names = {_ALIASES.get(name.rpartition(".")[2], "") for name in wanted} - {""}
    return {name: each for name, each in shape.linears.items() if name in names} or shape.linears


def weight_bytes(shape: Shape, recipe: Recipe, device: Device) -> int:
    """What the frozen base takes."""
    each = _width(recipe, device)
    if recipe.quantization != "nf4":
        return shape.parameters * each
    rest = shape.parameters - shape.linear_parameters
    # a layer's matrix is made whole again for the time in which it is used
    largest = max(inner * outer for inner, outer in shape.linears.values())
    return round(shape.linear_parameters * NF4_BYTES + rest * each + 2 * largest * each)


def _width(recipe: Recipe, device: Device) -> int:
    """Bytes of a number in which the base computes."""
    if recipe.precision == "auto":
        return 2 if device == "cuda" else 4
    return 2 if recipe.precision == "bf16" else 4


def estimate_memory(shape: Shape, recipe: Recipe, lengths: Lengths, device: Device) -> Memory:
    """What a step with the longest examples takes, on a machine of one device."""
    numbers = adapter_parameters(shape, recipe)
    longest = max(8, min(lengths.longest, recipe.sequence_length))
    rows = max(1, min(recipe.batch_size, lengths.examples or recipe.batch_size))
    if recipe.method == "dpo":
        rows *= 2  # the chosen and the rejected answer go together
    share = lengths.answer_tokens / lengths.tokens if lengths.tokens else 1.0
    tokens = rows * longest
    if recipe.packing and recipe.method == "supervised":
        tokens = max(longest, min(PACKED_TOKENS[device], tokens * recipe.gradient_accumulation))
    learnt = max(1, math.ceil(tokens * min(1.0, max(share, 0.5))))
    parts = Memory(
        program=PROGRAM[device],
        weights=weight_bytes(shape, recipe, device),
        adapter=numbers * 4,
        gradients=numbers * 4,
        optimizer=numbers * (2 if recipe.optimizer == "paged_adamw_8bit" else 8),
        activations=_activations(shape, recipe, tokens, device),
        logits=_logits(shape, recipe, learnt, device),
        data=_data(shape, recipe, lengths, device),
    )
    return replace(parts, reserve=round(parts.total * (SLACK[device] - 1)))


def _activations(shape: Shape, recipe: Recipe, tokens: int, device: Device) -> int:
    """What the forward pass leaves for the backward pass, in the layers from the first adapter on,
    and what passes by meanwhile."""
    layers = shape.layers - first_layer(shape, recipe)
    width = _width(recipe, device)
    layer = _layer_bytes(shape, recipe, device)
    passing = PASSING * shape.intermediate * width
    kept = layers * (layer + (passing if device == "cpu" else 0)) + passing
    if recipe.activation_checkpointing:
        kept = layers * shape.hidden * width + layer + 2 * passing
    whole = tokens * kept
    if recipe.packing:  # a mask of the row's own, and what it is made of
        whole += tokens * tokens * (width + 6)
    return round(whole)


def _layer_bytes(shape: Shape, recipe: Recipe, device: Device) -> float:
    """Bytes that one layer keeps of a token for the backward pass; on a processor exactly what
    torch's hooks for saved tensors count."""
    width, dropped = _width(recipe, device), recipe.lora.dropout > 0
    wide, narrow = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    # the two norms keep their input in 32 bits; attention its query, key, value and output; the
    # gated product three factors
    kept = 2 * shape.hidden * 4.0 + 2 * (wide + narrow) * width + 3 * shape.intermediate * width
    # an adapter keeps what it is fed: one tensor for those side by side, and attention's own
    # output, unless each has a dropout or a cast of its own
    alone = dropped or width != 4
    shared = {} if alone else {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
    chosen = _chosen(shape, recipe)
    inputs = {shared.get(name, name): inner for name, (inner, _outer) in chosen.items()}
    if not alone:
        inputs.pop("o_proj", None)
    kept += 4 * (sum(inputs.values()) + recipe.lora.r * len(chosen))
    if dropped:  # its mask: of the input's kind on a processor, a byte on a GPU
        each = 4 if device == "cpu" else 1
        kept += sum(inner * each for inner, _outer in chosen.values())
    if recipe.lora.weight_decomposed:  # DoRA weighs the layer's output once more
        kept += sum(2 * outer * width for _inner, outer in chosen.values())
    return kept


def _logits(shape: Shape, recipe: Recipe, learnt: int, device: Device) -> int:
    """The vocabulary's figures of each learnt token: log-softmax and two gradients of its size."""
    each = 12 if _width(recipe, device) == 4 else 14
    return learnt * shape.vocabulary * each


def _data(shape: Shape, recipe: Recipe, lengths: Lengths, device: Device) -> int:
    """The examples as tokens, and what is kept of frozen layers where that is small enough."""
    kept = lengths.tokens * shape.hidden * _width(recipe, device)
    frozen = recipe.packing and first_layer(shape, recipe) > 0 and kept <= 1 << 29
    return lengths.tokens * 5 + (kept if frozen else 0)


def operations_per_token(shape: Shape, recipe: Recipe, mean_length: float) -> float:
    """Floating point operations that a training spends on one token.

    2 for each weight forwards and 2 backwards for what flows through (Kaplan et al. 2020, arXiv
    2001.08361, whose 6 holds 2 more for the gradients of the weights themselves: these are frozen),
    and attention's 4 * width * length a layer, twice as much backwards.
    """
    first = first_layer(shape, recipe)
    layer = shape.linear_parameters / shape.layers
    attention = 4 * shape.heads * shape.head_width * mean_length / 2  # each sees what is before it
    forwards = shape.layers * (2 * layer + attention)
    backwards = (shape.layers - first) * (2 * layer + 2 * attention)
    if recipe.activation_checkpointing:
        forwards += (shape.layers - first) * (2 * layer + attention)
    if recipe.packing and first:  # frozen layers are gone through once, not in each pass
        forwards *= (shape.layers - first) / shape.layers
    adapters = 6 * adapter_parameters(shape, recipe)
    head = 4 * shape.vocabulary * shape.hidden
    return forwards + backwards + adapters + head
