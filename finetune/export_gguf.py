"""`export`: a model, or an adapter, as one GGUF file for llama.cpp, whole or not at all."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import schema
from finetune.base_names import read_base_name
from finetune.bases import base_fingerprint, refuse_quantised, resolved
from finetune.failures import BadRequest, Refused, Unavailable, WorkFailure
from finetune.files import sync_folder
from finetune.gguf_shape import (
    Architecture,
    architecture_of,
    laid_out,
    rope_factors,
    write_shape,
)
from finetune.gguf_types import (
    K_TYPES,
    file_type,
    has_library,
    quantised,
    quantize_program,
    require_quantiser,
    type_of,
)
from finetune.gguf_vocabulary import vocabulary_of, write_vocabulary
from finetune.llama_cpp import reads_alike
from finetune.provenance import file_records, package_versions
from finetune.room import drop_leftovers, require_room
from finetune.runner import RunContext
from finetune.schema import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from finetune.templates import fingerprint_of

if TYPE_CHECKING:
    import numpy as np

Heard = Callable[[int, int], None]
Proved = Callable[[Path], None]
_PLAIN: frozenset[schema.Quantisation] = frozenset(("f32", "f16", "bf16"))
_SUFFIXES = (".weight", ".bias")
_PART = ".part"


def export(context: RunContext) -> dict[str, Any]:
    """Export as run.yaml says; returns the data of the result event."""
    spec, wanted = context.spec, context.spec.export
    require_quantiser(wanted.quantisation)
    name = read_base_name(spec.base)
    context.journal.state("running", device="cpu")
    context.progress("load", 0, 0, force=True)
    folder, digest, revision = resolved(context, name)
    refuse_quantised(folder)
    place = context.folder / schema.EXPORTED_FOLDER
    place.mkdir(mode=0o700, exist_ok=True)
    drop_leftovers(place, f".*{_PART}", Path.unlink)
    target = place / f"{wanted.name}.gguf"
    steps = 1

    def heard(done: int, total: int) -> None:
        nonlocal steps
        steps = total
        context.ears.check()
        context.progress("write", done, total)

    tokenizer = _tokenizer(folder)
    checked = None
    if spec.adapter_path is None:

        def proved(part: Path) -> None:
            nonlocal checked
            context.progress("check", steps, steps, force=True)
            checked = reads_alike(context, part, tokenizer)

        write_model(folder, target, wanted.quantisation, heard, proved if wanted.check else None)
    else:
        adapter = Path(spec.adapter_path).expanduser()
        write_adapter(adapter, folder, target, wanted.quantisation, heard)
        if (adapter / schema.ADAPTER_TEMPLATE_FILE).is_file():
            text = (adapter / schema.ADAPTER_TEMPLATE_FILE).read_bytes().decode("utf-8")
            tokenizer.chat_template = text
    context.progress("check", steps, steps, force=True)
    by = _written_by(wanted.quantisation)
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    manifest = schema.RunManifest(
        job_id=spec.job_id,
        kind=spec.kind,
        base=spec.base,
        base_kind=name.kind,
        base_revision=revision,
        base_fingerprint=base_fingerprint(folder),
        base_file_sha256=digest,
        template_fingerprint=fingerprint_of(template),
        template_source="base",
        packages=package_versions(),
        seed=spec.recipe.seed,
        device="cpu",
        threads=1,
        started_at=context.started_at,
        finished_at=schema.now(),
        seconds=round(context.elapsed(), 1),
        exported_files=file_records([target]),
        exported_quantisation=wanted.quantisation,
        exported_by=by,
        exported_check=checked,
    )
    schema.write_document(context.folder / schema.MANIFEST_FILE, manifest)
    return {
        "exported": f"{schema.EXPORTED_FOLDER}/{target.name}",
        "quantisation": wanted.quantisation,
        "bytes": target.stat().st_size,
        "sha256": manifest.exported_files[target.name].sha256,
        "by": by,
        "checked_by": checked,
        "template_fingerprint": manifest.template_fingerprint,
    }


def _written_by(quantisation: schema.Quantisation) -> str:
    if quantisation not in K_TYPES:
        return f"gguf {version('gguf')}"
    if has_library():
        return f"llama.cpp (xllamacpp {version('xllamacpp')})"
    return f"llama.cpp ({quantize_program()})"


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        if isinstance(error, ImportError | MemoryError):
            raise
        raise WorkFailure(
            303,
            f"The tokenizer in {folder} cannot be loaded.",
            f"{type(error).__name__}.",
            "Check that the folder holds tokenizer.json and tokenizer_config.json.",
        ) from error


# -- a whole model -------------------------------------------------------------------------------


def write_model(
    folder: Path,
    target: Path,
    quantisation: schema.Quantisation,
    heard: Heard,
    proved: Proved | None = None,
) -> None:
    """A model's folder (config, safetensors, tokenizer) as one file; `heard` is told tensors done
    and all of them, `proved` gets the file before it takes its name, and both may raise. Raises
    RunFailure; `target` is whole or as it was."""
    by_program = quantisation in K_TYPES and not has_library()
    if not by_program:
        _write_model(folder, target, quantisation, heard, proved)
    else:
        first = target.with_name(f".{target.stem}.f32{_PART}")
        part = target.with_name(f".{target.name}{_PART}")
        try:
            _write_model(folder, first, "f32", heard, None)
            _by_program(first, part, quantisation)
            _put(part, target, proved)
        finally:
            first.unlink(missing_ok=True)
            part.unlink(missing_ok=True)


def _by_program(source: Path, target: Path, quantisation: schema.Quantisation) -> None:
    require_room(target.parent, source.stat().st_size // 2, f"{target.name}, quantised")
    program = quantize_program()
    assert program is not None  # require_quantiser was asked
    done = subprocess.run(
        [program, str(source), str(target), quantisation.upper()], capture_output=True, check=False
    )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise WorkFailure(
            525,
            "llama.cpp's program could not quantise the model.",
            f"{program} ended with {done.returncode}: {told[-1][:300]}",
            "Read log.txt; or take another quantisation.",
        )


def _write_model(
    folder: Path,
    target: Path,
    quantisation: schema.Quantisation,
    heard: Heard,
    proved: Proved | None,
) -> None:
    import gguf
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    architecture = architecture_of(config)
    tensors = list(_tensors(folder, config, architecture))
    tied = all(each.target != "output.weight" for each in tensors)
    layers = int(config.num_hidden_layers)
    kinds = [type_of(each.target, each.shape, quantisation, layers, tied) for each in tensors]
    tokenizer = _tokenizer(folder)
    rows = next(each.shape[0] for each in tensors if each.target == "token_embd.weight")
    vocabulary = vocabulary_of(tokenizer, rows)
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(target.stem)
    writer.add_file_type(file_type(quantisation))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    write_shape(writer, config)
    write_vocabulary(writer, tokenizer, vocabulary, _ends(folder))
    sizes = [_announce(writer, each, kind) for each, kind in zip(tensors, kinds, strict=True)]
    if factors := rope_factors(config):
        import numpy as np

        turned = np.array(factors, dtype=np.float32)
        writer.add_tensor_info("rope_freqs.weight", turned.shape, turned.dtype, turned.nbytes)
    said = sum(len(each.encode()) for each in vocabulary.tokens) * 3
    require_room(target.parent, sum(sizes) + said, f"{target.name}")

    def numbers() -> Iterator[np.ndarray[Any, Any]]:
        for place, (each, kind) in enumerate(zip(tensors, kinds, strict=True)):
            heard(place, len(tensors))
            yield quantised(laid_out(each.name, each.read(), config, architecture), kind)
        if factors:
            yield turned
        heard(len(tensors), len(tensors))

    _write_file(writer, target, numbers(), proved)


@dataclass(frozen=True)
class _Tensor:
    """One of a folder's, with its name there and in the file."""

    name: str
    target: str
    shape: tuple[int, ...]
    path: Path

    def read(self) -> np.ndarray[Any, Any]:
        """In 32 bits."""
        from safetensors import safe_open

        with safe_open(self.path, framework="pt") as file:
            found: np.ndarray[Any, Any] = file.get_tensor(self.name).float().numpy()
        return found


def _tensors(folder: Path, config: Any, architecture: Architecture) -> Iterator[_Tensor]:
    """Those that the file holds: a head that is the embeddings stands in it once."""
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise Unavailable(
            303,
            f"The model in {folder} cannot be exported.",
            "It has no safetensors files.",
            "Take a base in safetensors, or merge the adapter first.",
        )
    names = _names(config, architecture)
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys(), key=_by_number):
                if name.endswith("rotary_emb.inv_freq"):
                    continue
                if name == "lm_head.weight" and config.tie_word_embeddings:
                    continue
                target = names.get_name(name, try_suffixes=_SUFFIXES)
                if target is None:
                    raise _stray(name, architecture)
                shape = tuple(file.get_slice(name).get_shape())
                yield _Tensor(name, target, shape, path)


def _by_number(name: str) -> tuple[int, str]:
    numbers = [int(each) for each in name.split(".") if each.isdecimal()]
    return (numbers[0] if numbers else -1, name)


def _names(config: Any, architecture: Architecture) -> Any:
    import gguf

    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    return gguf.get_tensor_name_map(kinds[architecture.name], int(config.num_hidden_layers))


def _stray(name: str, architecture: Architecture) -> Refused:
    return Refused(
        521,
        "The model has a tensor that GGUF has no name for.",
        f"{name}, in the architecture {architecture.name}.",
        "Serve the merged model as it is, or convert it by llama.cpp's own program.",
    )


def _ends(folder: Path) -> list[int]:
    """Tokens that end an answer, by generation_config.json."""
    try:
        text = (folder / "generation_config.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    named = json.loads(text).get("eos_token_id")
    return list(named) if isinstance(named, list) else [] if named is None else [int(named)]


def _announce(writer: Any, tensor: _Tensor, kind: Any) -> int:
    """Tell the writer what comes; its bytes."""
    import numpy as np
    from gguf import GGMLQuantizationType, quants

    if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
        number = np.dtype(np.float32 if kind == GGMLQuantizationType.F32 else np.float16)
        size = math.prod(tensor.shape) * number.itemsize
        writer.add_tensor_info(tensor.target, tensor.shape, number, size)
        return size
    rows = quants.quant_shape_to_byte_shape(tensor.shape, kind)
    size = math.prod(rows)
    writer.add_tensor_info(tensor.target, rows, np.dtype(np.uint8), size, raw_dtype=kind)
    return size


def _write_file(
    writer: Any,
    target: Path,
    numbers: Iterator[np.ndarray[Any, Any]],
    proved: Proved | None = None,
) -> None:
    part = target.with_name(f".{target.name}{_PART}")
    try:
        writer.write_header_to_file(part)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in numbers:
            writer.write_tensor_data(each)
        writer.close()
        _put(part, target, proved)
    finally:
        if writer.fout:
            writer.close()
        part.unlink(missing_ok=True)


def _put(part: Path, target: Path, proved: Proved | None) -> None:
    if proved is not None:
        proved(part)
    part.chmod(0o600)  # weights may have learnt personal data
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    sync_folder(target.parent)


# -- an adapter ----------------------------------------------------------------------------------


def write_adapter(
    folder: Path,
    base_folder: Path,
    target: Path,
    quantisation: schema.Quantisation,
    heard: Heard,
) -> None:
    """An adapter's folder as one file that llama.cpp lays on its base. Raises RunFailure.

    llama.cpp scales every pair by alpha / rank; where peft does otherwise (rank-stabilised, alpha
    by module), the second matrix is written with the difference in it.
    """
    import gguf
    from transformers import AutoConfig

    if quantisation not in _PLAIN:
        raise BadRequest(
            101,
            f"An adapter can't be written in {quantisation}.",
            f"It is small, and kept in {', '.join(sorted(_PLAIN))}.",
            "Leave the quantisation out, or name one of these.",
        )
    lora = _lora_settings(folder)
    config = AutoConfig.from_pretrained(base_folder, local_files_only=True)
    architecture = architecture_of(config)
    pairs = _pairs(folder, config, architecture, lora)
    kind = gguf.GGMLQuantizationType[quantisation.upper()]
    writer = gguf.GGUFWriter(None, architecture.name)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(target.stem)
    writer.add_file_type(file_type(quantisation))
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(lora["lora_alpha"]))
    sizes = [
        _announce(writer, _Tensor(name, name, matrix.shape, folder), kind) for name, matrix in pairs
    ]
    require_room(target.parent, sum(sizes), f"{target.name}")

    def numbers() -> Iterator[np.ndarray[Any, Any]]:
        for place, (_name, matrix) in enumerate(pairs):
            heard(place, len(pairs))
            yield quantised(matrix, kind)

    _write_file(writer, target, numbers())


def _lora_settings(folder: Path) -> dict[str, Any]:
    try:
        lora: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unavailable(
            304,
            "The adapter is not there.",
            f"{folder / ADAPTER_CONFIG} can't be read ({type(error).__name__}).",
            "Correct adapter_path in run.yaml: the adapter/ folder of a training that succeeded.",
        ) from error
    strange = [
        word
        for word, found in (
            (f"the kind {lora.get('peft_type')}", lora.get("peft_type") != "LORA"),
            ("decomposed weights (DoRA)", lora.get("use_dora")),
            ("biases", lora.get("bias", "none") != "none"),
            ("whole modules", lora.get("modules_to_save")),
            ("single tokens", lora.get("trainable_token_indices")),
            ("turned matrices", lora.get("fan_in_fan_out")),
        )
        if found
    ]
    if strange:
        raise Refused(
            521,
            "This adapter can't be written for llama.cpp.",
            f"It holds {', '.join(strange)}.",
            "Merge it, and export the merged model.",
        )
    return lora


def _pairs(
    folder: Path, config: Any, architecture: Architecture, lora: dict[str, Any]
) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """The adapter's matrices by their names in the file, both of a pair side by side."""
    from safetensors import safe_open

    names = _names(config, architecture)
    found = []
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        firsts = [name for name in file.keys() if ".lora_A." in name]  # noqa: SIM118
        if 2 * len(firsts) != len(file.keys()):
            raise _stray("one that is no pair of an adapter", architecture)
        for first in sorted(firsts, key=_by_number):
            module = first.split(".lora_A.")[0].removeprefix("base_model.model.")
            target = names.get_name(f"{module}.weight", try_suffixes=_SUFFIXES)
            if target is None:
                raise _stray(module, architecture)
            down = file.get_tensor(first).float().numpy()
            up = file.get_tensor(first.replace(".lora_A.", ".lora_B.")).float().numpy()
            up = laid_out(f"{module}.weight", up, config, architecture)
            up = up * _own_scale(module, down.shape[0], lora)
            found += [(f"{target}.lora_a", down), (f"{target}.lora_b", up)]
    return found


def _own_scale(module: str, rank: int, lora: dict[str, Any]) -> float:
    """By what peft's scale of a module differs from llama.cpp's."""
    alpha = common = float(lora["lora_alpha"])
    for pattern, value in (lora.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
    scale = alpha / math.sqrt(rank) if lora.get("use_rslora") else alpha / rank
    return scale * rank / common
