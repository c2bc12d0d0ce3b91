"""`python -m finetune.served_files FOLDER`: the GGUF files of an engine, made once and kept.

They lie in the model cache, named for what they were made of; a .gguf file is served where it lies.
What stands in served.json is what the engine then loads.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from finetune import schema
from finetune.base_names import read_base_name
from finetune.failures import RunFailure, Unavailable, WorkFailure
from finetune.files import LockHeld, locked

#: Changes where the same weights would be written differently.
_LAYOUT = "1"


def main(arguments: list[str] | None = None) -> int:
    """Make what is missing and say where it lies; the exit code."""
    place = Path((sys.argv[1:] if arguments is None else arguments)[0])
    (place / schema.REFUSED_FILE).unlink(missing_ok=True)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what is served is here
    spec = schema.read_document(place / schema.SERVE_FILE, schema.ServeSpec)
    try:
        schema.write_document(place / schema.SERVED_FILE, _served(spec))
    except RunFailure as failure:
        refusal = schema.EngineRefusal(
            code=failure.code, what=failure.what, why=failure.why, remedy=failure.remedy
        )
        schema.write_document(place / schema.REFUSED_FILE, refusal)
        print(failure.what, flush=True)
        return failure.exit_code
    return schema.EXIT_DONE


def _served(spec: schema.ServeSpec) -> schema.Served:
    folder = _model_folder(spec.base)
    base = Path(spec.base).expanduser().absolute() if folder is None else _written(spec, folder)
    precision, context = _described(base)
    return schema.Served(
        base=str(base),
        adapters=[str(_adapter(spec, each, folder)) for each in spec.adapters],
        precision=precision,
        context=min(context or spec.context, spec.context),
    )


def _model_folder(base: str) -> Path | None:
    """The folder that is to be converted; None for a GGUF file."""
    name = read_base_name(base)
    if name.kind == "gguf":
        if not name.path.is_file():
            raise Unavailable(
                301, f"The base {base} is not there.", "No such file.", "Put the file back."
            )
        return None
    if name.kind == "path":
        if not (name.path / "config.json").is_file():
            raise Unavailable(
                301,
                f"The base {base} is not there.",
                f"{name.path} holds no config.json.",
                "Put the folder back.",
            )
        return name.path
    from finetune.bases import _download

    return _download(name.text, None)


def _written(spec: schema.ServeSpec, folder: Path) -> Path:
    def write(target: Path) -> None:
        from finetune.export_gguf import write_model

        write_model(folder, target, spec.precision, _quiet)

    return _kept(folder, spec.precision, write)


def _adapter(spec: schema.ServeSpec, adapter: schema.ServedAdapter, folder: Path | None) -> Path:
    path = Path(adapter.path)
    if path.suffix == ".gguf":
        return path

    def write(target: Path) -> None:
        from finetune.export_gguf import write_adapter
        from finetune.gguf_cache import model_folder_of

        place = folder
        if place is None:
            place, _digest = model_folder_of(Path(spec.base).expanduser(), lambda: None)
        # in 32 bits: it is small, and what was trained is served exactly
        write_adapter(path, place, target, "f32", _quiet)

    return _kept(path, "lora", write)


def _quiet(_done: int, _total: int) -> None:
    """Nobody watches the tensors go by."""


def _kept(source: Path, form: str, write: Callable[[Path], None]) -> Path:
    """The file made of a folder in this form, made now where it is not kept yet."""
    from finetune.gguf_cache import cache_folder

    kept = cache_folder() / "served"
    kept.mkdir(parents=True, exist_ok=True)
    target = kept / f"{source.name}-{_fingerprint(source)[:16]}-{form}.gguf"
    while True:
        try:
            with locked(kept / f"{target.name}.lock"):
                if not target.is_file():
                    print(f"writing {target.name}", flush=True)
                    write(target)
                return target
        except LockHeld:  # another engine makes the same file
            time.sleep(0.2)


def _fingerprint(folder: Path) -> str:
    """Of the files as they lie there now, and of nothing in them: weights are large."""
    text = json.dumps([_LAYOUT, schema.state_of(str(folder))])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _described(path: Path) -> tuple[str, int | None]:
    """In which numbers most of a file's weights are, and how many tokens its context holds."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        sizes: dict[str, int] = {}
        for tensor in reader.tensors:
            kind = tensor.tensor_type.name.lower()
            sizes[kind] = sizes.get(kind, 0) + int(tensor.n_elements)
        name = reader.get_field("general.architecture").contents()
        length = reader.get_field(f"{name}.context_length")
    except Exception as error:  # the reader raises whatever broken bytes lead it to
        raise WorkFailure(
            303,
            f"The file {path.name} can't be served.",
            f"It is no whole GGUF file ({type(error).__name__}).",
            "Copy or export it again.",
        ) from error
    return max(sizes, key=sizes.__getitem__), None if length is None else int(length.contents())


if __name__ == "__main__":
    sys.exit(main())
