"""In which numbers each tensor of a GGUF file is written, and who turns it into them.

f32 to q5_1 by the gguf package. The K types have no quantiser there: llama.cpp's own one is called
in the library that xllamacpp brings, tensor by tensor, in the mixture that llama.cpp names so; one
that has the program llama-quantize and no xllamacpp gets the same by that.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from finetune.failures import Unavailable
from finetune.schema import Quantisation

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType

    Array = np.ndarray[Any, Any]

#: Those that the gguf package can't write by itself.
K_TYPES: frozenset[Quantisation] = frozenset(("q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m", "q6_k"))
#: What a row is written in whose length a K type's blocks of 256 don't divide (as llama.cpp does).
_FOR_ODD_ROWS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_PROGRAM = "llama-quantize"


def file_type(quantisation: Quantisation) -> int:
    """llama.cpp's number for the mixture."""
    from gguf import LlamaFileType

    name = quantisation.upper()
    return int(LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"])


def type_of(
    name: str, shape: tuple[int, ...], quantisation: Quantisation, layers: int, tied: bool
) -> GGMLQuantizationType:
    """The type of a tensor by its name in the file. Vectors stay in 32 bits, as llama.cpp wants.

    In fewer than 8 bits the output matrix (the embeddings, where they are that too) is kept finer.
    """
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) < 2:
        return GGMLQuantizationType.F32
    output = name == "output.weight" or (tied and name == "token_embd.weight")
    if quantisation in K_TYPES:
        chosen = _k_type(name, quantisation, layers, output)
    elif output and quantisation.startswith(("q4", "q5")):
        chosen = "Q8_0"
    else:
        chosen = quantisation.upper()
    found = GGMLQuantizationType[chosen]
    if shape[-1] % GGML_QUANT_SIZES[found][0] and chosen in _FOR_ODD_ROWS:
        found = GGMLQuantizationType[_FOR_ODD_ROWS[chosen]]
    if shape[-1] % GGML_QUANT_SIZES[found][0]:
        found = GGMLQuantizationType.F16
    return found


def _k_type(name: str, quantisation: Quantisation, layers: int, output: bool) -> str:
    """llama.cpp's mixtures (llama-quant.cpp): `m` keeps half of the values and of the layers' last
    matrices in 6 bits, `s` the values of the first eighth in 5 and the last matrices likewise."""
    if output or quantisation == "q6_k":
        return "Q6_K"
    plain = quantisation[:4].upper()
    values, last = ".attn_v.weight" in name, ".ffn_down.weight" in name
    if not (values or last):
        return plain
    layer = int(name.split(".")[1])
    if quantisation.endswith("_m"):
        return "Q6_K" if _more_bits(layer, layers) else plain
    if quantisation == "q4_k_s":
        early = layer < 4 if values else layer < layers // 8
        return "Q5_K" if early else plain
    return plain


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def require_quantiser(quantisation: Quantisation) -> None:
    """Raises Unavailable 523 where this machine has nothing that writes the type."""
    if quantisation in K_TYPES and not (has_library() or quantize_program()):
        plain = [each for each in get_args(Quantisation) if each not in K_TYPES]
        raise Unavailable(
            523,
            f"This machine has nothing that writes {quantisation}.",
            f"K types are llama.cpp's own: neither the Python package xllamacpp nor the program "
            f"{_PROGRAM} is there.",
            f"In Sophia's checkout: pip install -c requirements.lock '.[serving]'. Or take one of "
            f"{', '.join(plain)}.",
        )


def has_library() -> bool:
    """Whether ggml's own quantiser is at hand."""
    return _library() is not None


def quantize_program() -> str | None:
    """llama.cpp's own program, where it is on the PATH."""
    return shutil.which(_PROGRAM)


def quantised(rows: Array, kind: GGMLQuantizationType) -> Array:
    """Rows of 32-bit floats in another type, as bytes where that is no plain number."""
    from gguf import GGMLQuantizationType, quants

    if kind in (GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q5_K, GGMLQuantizationType.Q6_K):
        return by_llama_cpp(rows, kind)
    found: Array = quants.quantize(rows, kind)
    return found


def by_llama_cpp(rows: Array, kind: GGMLQuantizationType) -> Array:
    """The same by ggml's own function."""
    import numpy as np
    from gguf import quants

    chunk = _library()
    assert chunk is not None  # require_quantiser was asked
    source = np.ascontiguousarray(rows, dtype=np.float32)
    target = np.empty(quants.quant_shape_to_byte_shape(source.shape, kind), dtype=np.uint8)
    count, length = source.size // source.shape[-1], source.shape[-1]
    written = chunk(int(kind), source.ctypes.data, target.ctypes.data, 0, count, length, None)
    if written != target.nbytes:
        raise ValueError(f"{kind.name}: {written} bytes for {target.nbytes}")
    return target


@cache
def _library() -> Callable[..., int] | None:
    """ggml_quantize_chunk of xllamacpp's library."""
    found = importlib.util.find_spec("xllamacpp")
    if found is None or found.origin is None:
        return None
    for path in sorted(Path(found.origin).parent.glob("xllamacpp*.so")):
        chunk = getattr(ctypes.CDLL(str(path)), "ggml_quantize_chunk", None)
        if chunk is not None:
            chunk.restype = ctypes.c_size_t
            chunk.argtypes = [
                ctypes.c_int,
                ctypes.c_void_p,
                ctypes.c_void_p,
                *[ctypes.c_int64] * 3,
                ctypes.c_void_p,
            ]
            return chunk  # type: ignore[no-any-return]
    return None
