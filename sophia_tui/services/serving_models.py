"""Which model is meant to be served: one of ours, or a base by its folder, hub id or .gguf file."""

import re
import struct
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from finetune.base_names import read_base_name
from sophia_tui.domain.models import Model, ModelFilter, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import UsageError
from sophia_tui.i18n import _, ngettext, number
from sophia_tui.services.estimates import cached_folder
from sophia_tui.services.model_files import compared, made_files, read_files
from sophia_tui.services.models import unknown_model, with_row
from sophia_tui.textsafe import visible

_NOT_IN_NAMES = re.compile(r"[^\w.:@-]+", re.ASCII)
_GGUF_MAGIC = b"GGUF"
_GGUF_STRING = 8
_LONGEST_TEXT = 1 << 16


async def model_to_serve(store: Store, wanted: str, now: datetime) -> Model:
    """A model with a row, or a base of this machine, which gets one. Raises NotFoundError M404."""
    found = await store.models.get(wanted)
    if found is not None and (found.path or found.kind is not ModelKind.BASE):
        return found
    if found is None:
        known = await store.models.known(ModelFilter(model_id=wanted), now)
        found = next(iter(known), None)
        if found is not None and found.kind is not ModelKind.BASE:
            return found
    path = base_path(wanted)
    if path is None:
        if found is None:
            raise unknown_model(visible(wanted))
        return found
    if found is None:
        # the same folder has one id, however it was written
        name = wanted if read_base_name(wanted).kind == "hub" else str(path)
        if name != wanted:
            return await model_to_serve(store, name, now)
        found = Model(name, ModelKind.BASE, name, now, version=0)
    row = await with_row(store, replace(found, path=str(path)))
    if row.path is None:
        row = await store.models.update(row.id, version=row.version, path=str(path))
    return row


def base_path(base: str) -> Path | None:
    """Where a base lies on this machine: its folder, its .gguf file, or the hub's cache."""
    name = read_base_name(base)
    if name.kind == "gguf":
        return name.path if name.path.is_file() else None
    if name.kind == "path":
        return name.path if (name.path / "config.json").is_file() else None
    return cached_folder(base)


def default_name(model: Model) -> str:
    """What clients ask for where nobody says: the id, or the last part of a base's."""
    if model.kind is not ModelKind.BASE:
        return model.id
    return _NOT_IN_NAMES.sub("-", Path(model.id).name).lstrip(".:@-_")


def refuse_adapter_file(model: Model) -> None:
    """Raises UsageError M542 for a .gguf file that holds an adapter alone."""
    path = Path(model.path or "")
    if path.suffix.lower() != ".gguf" or _general_type(path) != "adapter":
        return
    way = _("Serve the adapter itself: `sophia serve model {model}`.").format(
        model=visible(model.parent or "ADAPTER")
    )
    raise UsageError(
        "M542",
        _("{model} is an adapter alone: no engine can load it without its base.").format(
            model=visible(model.id)
        ),
        _("It is a GGUF file for other programs, to be laid on {base}.").format(
            base=visible(model.base)
        ),
        way,
    )


def _general_type(path: Path) -> str | None:
    """What a GGUF file says that it is, where that stands among its first texts."""
    try:
        with path.open("rb") as stream:
            if stream.read(4) != _GGUF_MAGIC:
                return None
            _version, _tensors, entries = struct.unpack("<IQQ", stream.read(20))
            for _entry in range(entries):
                key = stream.read(_length(stream.read(8))).decode("utf-8")
                if struct.unpack("<I", stream.read(4)) != (_GGUF_STRING,):
                    return None
                text = stream.read(_length(stream.read(8))).decode("utf-8")
                if key == "general.type":
                    return text
    except (OSError, ValueError, struct.error):
        return None
    return None


def _length(content: bytes) -> int:
    (length,) = struct.unpack("<Q", content)
    if length > _LONGEST_TEXT:
        raise ValueError(length)
    return int(length)


def changed_since_made(model: Model) -> list[str]:
    """What must be said where files differ from those that were made. What nobody touched since is
    not read again: weights are large."""
    known = model.files or made_files(model)
    if not known or not model.path:
        return []
    path = Path(model.path)
    try:
        if not _touched(path, set(known), model.created_at.timestamp()):
            return []
        count = len(compared(known, read_files(path)))
    except OSError:
        return []  # the engine says what it can't read
    if not count:
        return []
    told = ngettext(
        "Mind: {n} file of {model} differs from what was made; `sophia models verify {model}` "
        "says which.",
        "Mind: {n} files of {model} differ from what was made; `sophia models verify {model}` "
        "says which.",
        count,
    )
    return [told.format(n=number(count), model=visible(model.id))]


def _touched(path: Path, known: set[str], made_at: float) -> bool:
    """Whether a file was written after the model was made, or is there or away unlike then."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    names = {each.name if each == path else each.relative_to(path).as_posix() for each in files}
    times = [max(found.st_mtime, found.st_ctime) for found in (each.stat() for each in files)]
    return names != known or max(times, default=0.0) > made_at
