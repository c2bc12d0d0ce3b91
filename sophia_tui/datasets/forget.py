"""Finds a person in versions and files, and makes a version without them. No word of theirs is
kept, told or written.

In flat memory: rows are read one by one. What is sought comes as patterns over folded text and as
keys of source rows; see domain.persons.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from sophia_tui.datasets.codes import reason
from sophia_tui.datasets.compressed import open_lines
from sophia_tui.datasets.contents import Kept, parts_of, rows_of
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.version import FORMAT_VERSION, MANIFEST, PARTS, PROVENANCE, REJECTED
from sophia_tui.domain.persons import fold
from sophia_tui.errors import DataError
from sophia_tui.files import whole_folder

VERSION = 1
FORGOTTEN = "forgotten"
#: What may stand between the digits of a number, as in domain.persons.
_BETWEEN_DIGITS = b" \t\n\r\f\v.()/_-"
_DASHES = re.compile(rb"\xe2\x80[\x90-\x95]")
_TELL_ROWS = 5000
_LONGEST_LINE = 32 * 1024 * 1024
#: Weights and the like: no text of anybody stands in them as text.
_BINARY = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".npy", ".sqlite", ".so", ".whl", ".pyc")


class Wanted(msgspec.Struct):
    """A domain.persons.Sought on its way to the engine."""

    patterns: list[str] = []
    words: list[str] = []
    numbers: list[str] = []
    rows: dict[str, list[str]] = {}


class Seeker:
    """Says of texts and source rows whether they are the person's."""

    def __init__(self, sought: "Wanted") -> None:
        patterns, rows = sought.patterns, sought.rows
        self._pattern = re.compile("|".join(patterns)) if patterns else None
        self._words = sought.words
        self._numbers = [each.encode() for each in sought.numbers]
        self._rows = {table: frozenset(keys) for table, keys in rows.items()}

    def in_line(self, raw: bytes) -> bool:
        """Whether a line of JSON, or of anything, holds one of the values."""
        if self._pattern is None:
            return False
        text = fold(_texts(raw))
        return self._may_be_in(text) and bool(self._pattern.search(text))

    def _may_be_in(self, text: str) -> bool:
        """A quick look that misses nothing; the patterns cost fifty times as much."""
        if any(word in text for word in self._words):
            return True
        if not self._numbers:
            return False
        plain = text.encode("utf-8", "replace").translate(None, _BETWEEN_DIGITS)
        if b"\xe2\x80" in plain:  # hyphens and dashes of print
            plain = _DASHES.sub(b"", plain)
        return any(number in plain for number in self._numbers)

    def is_row(self, source: Any) -> bool:
        """Whether `{"table", "key"}` names one of the rows."""
        if not isinstance(source, dict) or not isinstance(source.get("key"), dict):
            return False
        keys = self._rows.get(str(source.get("table", "")).rpartition(".")[2])
        return keys is not None and any(str(each) in keys for each in source["key"].values())

    def how(self, row: Kept) -> str:
        """`source`, `value`, or empty where the row is not theirs."""
        if row.origin is not None and self._rows:
            source = bytes(row.origin.source)
            if source != b"null" and self.is_row(msgspec.json.decode(source)):
                return "source"
        return "value" if self.in_line(row.raw) else ""


def _texts(raw: bytes) -> str:
    """What a line says: escapes of JSON undone where there are any."""
    if b"\\" in raw:
        try:
            return "\n".join(_strings(msgspec.json.decode(raw)))
        except (msgspec.DecodeError, RecursionError):
            pass  # no JSON: searched as it stands
    return raw.decode("utf-8", "replace")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        if "\\" in value and value.startswith(("{", "[")):  # a record as text, as edits keep it
            with suppress(msgspec.DecodeError, RecursionError):  # no JSON: as it stands
                yield from _strings(msgspec.json.decode(value))
    elif isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif value is not None:
        yield str(value)


class FindTask(Task):
    """Count the person's rows in each of the folders of versions."""

    folders: list[str]
    sought: Wanted

    def run(self, tell: Tell) -> Any:
        seeker = Seeker(self.sought)
        return [_found(Path(folder), seeker, tell) for folder in self.folders]


def _found(folder: Path, seeker: Seeker, tell: Tell) -> dict[str, Any] | None:
    """Rows by part and by how they were found; None where the files can't be read."""
    parts: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    try:
        for number, row in enumerate(rows_of(folder)):
            if number % _TELL_ROWS == 0:
                tell("seek", number, None)
            if how := seeker.how(row):
                parts[row.part] += 1
                ways[how] += 1
        rejected = sum(seeker.is_row(each.get("source")) for each in _rejected(folder))
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return {"parts": dict(parts), "ways": dict(ways), "rejected": rejected}


def _rejected(folder: Path) -> Iterator[dict[str, Any]]:
    try:
        stream = (folder / REJECTED).open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            yield json.loads(line)


class RemoveTask(Task):
    """Make a version below `target` that is the one in `folder` without the person."""

    folder: str
    target: str
    sought: Wanted
    created_at: str

    def run(self, tell: Tell) -> Any:
        seeker = Seeker(self.sought)
        return without(Path(self.folder), Path(self.target), seeker, self.created_at, tell)


def without(
    folder: Path, target: Path, seeker: Seeker, created_at: str, tell: Tell
) -> dict[str, Any]:
    """Manifest and folder of the new version, and whether it was there already; `folder` None
    where no row would be left. Raises SetupError S101."""
    before = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    steps = [
        *before.get("steps", []),
        {"step": "forget", "version": VERSION, "settings": {"of": before["hash"]}},
    ]
    scratch = target / f".forget.{os.getpid()}.tmp"  # swept where this process is killed
    with whole_folder(scratch) as temporary:
        files, removed = _write(folder, temporary, seeker, tell)
        kept = sum(files[f"{part}.jsonl"]["rows"] for part in parts_of(folder))
        manifest = _manifest(before, steps, files, removed, kept, created_at)
        text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
        (temporary / MANIFEST).write_text(text, encoding="utf-8")
    final = target / manifest["hash"][:12]
    existed = final.exists()
    if not kept or existed:
        for each in scratch.iterdir():
            each.unlink()
        scratch.rmdir()
    else:
        scratch.rename(final)
    return {"manifest": manifest, "folder": str(final) if kept else None, "existed": existed}


class _File:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.rows = 0
        self.bytes = 0

    def write(self, line: bytes) -> None:
        line += b"\n"
        self._stream.write(line)
        self._hash.update(line)
        self.rows += 1
        self.bytes += len(line)

    def about(self) -> dict[str, Any]:
        return {"rows": self.rows, "bytes": self.bytes, "sha256": self._hash.hexdigest()}


def _write(folder: Path, temporary: Path, seeker: Seeker, tell: Tell) -> tuple[dict[str, Any], int]:
    """The new version's files, and how many rows were taken out."""
    removed = 0
    with ExitStack() as stack:
        names = [*(f"{part}.jsonl" for part in parts_of(folder)), REJECTED, PROVENANCE]
        files = {name: _File(stack.enter_context((temporary / name).open("xb"))) for name in names}
        for entry in _rejected(folder):
            if seeker.is_row(entry.get("source")):
                entry = {key: entry[key] for key in ("file", "line", "code", "reason", "step")
                         if key in entry}  # fmt: skip
            files[REJECTED].write(_json(entry))
        for number, row in enumerate(rows_of(folder)):
            if number % _TELL_ROWS == 0:
                tell("write", number, None)
            if seeker.how(row):
                removed += 1
                files[REJECTED].write(_json(_entry(row)))
                continue
            files[f"{row.part}.jsonl"].write(row.raw)
            if row.origin is not None:
                files[PROVENANCE].write(row.origin_raw)
    return {name: file.about() for name, file in files.items()}, removed


def _entry(row: Kept) -> dict[str, Any]:
    """What is kept of a row that went: where it stood, and why it is not there."""
    return {
        "file": row.origin.file if row.origin else "",
        "line": row.origin.line if row.origin else 0,
        "step": "forget",
        "code": FORGOTTEN,
        "reason": reason(FORGOTTEN),
    }


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _manifest(
    before: dict[str, Any],
    steps: list[dict[str, Any]],
    files: dict[str, Any],
    removed: int,
    kept: int,
    created_at: str,
) -> dict[str, Any]:
    parts = {part: files.get(f"{part}.jsonl", {"rows": 0})["rows"] for part in PARTS}
    counts = dict(before["counts"])
    rejected = counts["rows_rejected"] + removed
    counts |= {"rows_kept": kept, "rows_rejected": rejected, **parts}
    counts[FORGOTTEN] = counts.get(FORGOTTEN, 0) + removed
    hashed = {name: each["sha256"] for name, each in files.items() if name != PROVENANCE}
    text = json.dumps([FORMAT_VERSION, steps, hashed], sort_keys=True, separators=(",", ":"))
    return {
        **before,
        "created_at": created_at,
        "steps": steps,
        "counts": counts,
        "sum": f"{counts['rows_in']} = {kept} + {rejected}",
        "files": files,
        "hash": hashlib.sha256(text.encode()).hexdigest(),
    }


class ScanTask(Task):
    """Count the person's lines in all text files below some places (kind, path)."""

    places: list[tuple[str, str]]
    apart: list[str]
    sought: Wanted

    def run(self, tell: Tell) -> Any:
        seeker = Seeker(self.sought)
        apart = [os.path.realpath(each) for each in self.apart]
        seen: set[str] = set()
        found = []
        for kind, place in self.places:
            for path in _files(Path(place), apart):
                real = os.path.realpath(path)
                if real in seen:
                    continue
                seen.add(real)
                tell("seek", len(seen), None)
                if (lines := _lines_of(path, seeker)) != 0:
                    found.append((kind, str(path), lines))
        return found


def _files(place: Path, apart: list[str]) -> Iterator[Path]:
    """Regular files below it, links not followed, without what lies apart."""
    if place.is_file() and not place.is_symlink():
        yield place
        return
    for folder, names, files in os.walk(place, followlinks=False):
        names[:] = sorted(n for n in names if os.path.realpath(Path(folder, n)) not in apart)
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path.suffix not in _BINARY:
                yield path


def _lines_of(path: Path, seeker: Seeker) -> int:
    """How many lines are theirs; -1 where the file can't be read to its end."""
    count = 0
    try:
        with open_lines(path) as stream:
            while line := stream.readline(_LONGEST_LINE):
                count += seeker.in_line(line) or _names_row(line, seeker)
    except (OSError, DataError):
        return -1
    return count


def _names_row(line: bytes, seeker: Seeker) -> bool:
    """A line of a provenance or of rejections that names one of the rows."""
    if b'"table"' not in line:
        return False
    try:
        entry = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    if not isinstance(entry, dict):
        return False
    return seeker.is_row(entry) or seeker.is_row(entry.get("source"))
