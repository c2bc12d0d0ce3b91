"""Turns a GGUF base into a model folder once, and keeps that folder for later runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import sleep

from finetune import schema
from finetune.failures import Unavailable, WorkFailure, disk_full, is_disk_full
from finetune.files import LockHeld, locked, sha256_of, sync_folder

_DONE_FILE = "sophia-gguf.json"
#: Above this many parameters the folder is written in bfloat16: 4 bits lose nothing by it.
_LARGE = 1_000_000_000


class GgufRecord(schema.VersionedDocument):
    """Stands in a finished folder: what it was made from, and by what."""

    source_name: str
    source_sha256: str
    transformers: str


def cache_folder() -> Path:
    """SOPHIA_MODEL_CACHE, or sophia/models in the user's cache folder (~/.cache)."""
    if named := os.environ.get("SOPHIA_MODEL_CACHE"):
        return Path(named).expanduser()
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "sophia" / "models"


def model_folder_of(source: Path, check_stop: Callable[[], None]) -> tuple[Path, str]:
    """The model folder made from a GGUF file, and the file's SHA-256; converts it when needed.

    Two processes never convert the same file at once: the second waits and then finds it done.
    """
    if not source.is_file():
        raise Unavailable(
            301, f"The base {source} is not there.", "No such file.", "Correct `base` in run.yaml."
        )
    digest = sha256_of(source)
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{source.stem}-{digest[:12]}"
    with _waited_lock(cache / f"{target.name}.lock", check_stop):
        if not (target / _DONE_FILE).is_file():
            _convert_into(source, digest, target)
    return target, digest


@contextmanager
def _waited_lock(path: Path, check_stop: Callable[[], None]) -> Iterator[None]:
    # Tried again and again rather than waited for, so that pause and stop are heard meanwhile.
    while True:
        check_stop()
        try:
            with locked(path):
                yield
                return
        except LockHeld:
            sleep(0.5)


def _convert_into(source: Path, digest: str, target: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _convert(source, temporary)
        record = GgufRecord(
            source_name=source.name, source_sha256=digest, transformers=version("transformers")
        )
        schema.write_document(temporary / _DONE_FILE, record)
        if target.exists():  # an older half of another program's making
            shutil.rmtree(target)
        os.chmod(temporary, 0o755)
        os.rename(temporary, target)
        sync_folder(target.parent)
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_disk_full(error):
            raise disk_full("The converted base does not fit into the model cache.") from error
        if isinstance(error, OSError | ImportError | MemoryError):
            raise
        raise WorkFailure(
            303,
            f"The GGUF file {source.name} cannot be loaded.",
            f"{type(error).__name__}: its architecture or quantisation may be unknown to "
            f"transformers {version('transformers')}.",
            "Take a base in the hub's format (a folder or a hub id), or another quantisation.",
        ) from error


def _convert(source: Path, target: Path) -> None:
    """Save as a plain model: one loaded from GGUF calls itself quantised, cannot be saved."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place, name = str(source.parent), source.name
    tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name)
    loaded = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config = loaded.generation_config
    if sum(parameter.numel() for parameter in fresh.parameters()) > _LARGE:
        fresh = fresh.to(torch.bfloat16)
    fresh.save_pretrained(target)
    tokenizer.save_pretrained(target)
