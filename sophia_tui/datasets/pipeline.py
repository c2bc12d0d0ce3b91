"""Prepares a data set version: read, convert, redact, find duplicates, split, write.

Every row is either kept or rejected with a reason. Memory stays flat: rows go through spool files.
"""

import json
import os
from array import array
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.datasets import dedupe, formats, redact, split
from sophia_tui.datasets.codes import Problem, Unusable, summary
from sophia_tui.datasets.compressed import open_lines, read_share
from sophia_tui.datasets.copy_export import Verdict, judge
from sophia_tui.datasets.dedupe import Duplicate, Row, Spool, digest_of
from sophia_tui.datasets.provenance import Provenance
from sophia_tui.datasets.reader import MAX_LINE_BYTES, Line, LineReader, ReadFailed
from sophia_tui.datasets.rejections import Rejections
from sophia_tui.datasets.sources import Passed, select, unreadable
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.version import FORMAT_VERSION, Draft, Written, version_hash, write_version
from sophia_tui.domain.datasets import CHAT, PAIRS, Example, Pair
from sophia_tui.errors import DataError
from sophia_tui.files import write_problem
from sophia_tui.i18n import N_, _
from sophia_tui.textsafe import visible

READER_VERSION = 1
FORMATS_VERSION = 1
REPAIR_VERSION = 1
_PROGRESS_ROWS = 2000
FORM_WORDS = {CHAT: N_("chat"), PAIRS: N_("preference pairs")}


@dataclass(frozen=True)
class Request:
    """What to prepare; plain data, so that it can be handed to a process.

    `target` is the folder datasets/<name>, or None to write nothing. `scratch` is an empty folder
    for spool files, removed by who made it. `held_out` names files all of whose examples are for
    validation; then nothing else is held out. `repair` is none, certain or suspected: up to which
    verdict files are taken out of COPY's format while they are read. `form` is chat or pairs (lines
    of the other form are rejected), or auto: what the lines are, all of one form.
    """

    folder: str
    scratch: str
    name: str
    created_at: datetime
    target: str | None = None
    files: tuple[str, ...] = ()
    history: str | None = None
    held_out: tuple[str, ...] = ()
    split: str = "80/20"
    seed: int = 42
    redact: bool = True
    repair: str = "none"
    form: str = "auto"


@dataclass(frozen=True)
class Report:
    """What was prepared. `existed` says that the same version was there already and was kept; then
    `manifest` is that one's, while `sources` and `rejected` are always those of this time."""

    manifest: dict[str, Any]
    folder: str | None
    existed: bool
    sources: list[dict[str, Any]] = field(default_factory=list)
    rejected: dict[str, list[str]] = field(default_factory=dict)


def prepare(request: Request, progress: Tell) -> Report:
    """Prepare one version, whole or not at all.

    Raises DataError D301 to D309 for the folder and its files, SetupError S101 where nothing can be
    written.
    """
    return _Preparation(request, progress).run()


class PrepareTask(Task):
    """Prepare one version in the engine's process."""

    request: Request

    def run(self, tell: Tell) -> Report:
        return prepare(self.request, tell)


class _Preparation:
    def __init__(self, request: Request, progress: Tell) -> None:
        self.request = request
        self.progress = progress
        selection = select(
            Path(request.folder), request.files, Path(request.history) if request.history else None
        )
        self.paths = selection.files
        self.passed = selection.passed
        self.scratch = Path(request.scratch)
        self.rejections = Rejections(self.scratch, [path.name for path in self.paths])
        self.redactions: Counter[str] = Counter()
        self.sources: list[dict[str, Any]] = []
        self.repaired = False
        self.rows_in = 0
        self.forms: Counter[str] = Counter()
        self.bytes_total = sum(_size(path) for path in self.paths)
        self.bytes_done = 0

    def run(self) -> Report:
        try:
            with Spool(self.scratch) as spool:
                for number, path in enumerate(self.paths):
                    self._read_file(number, path, spool)
                if not spool.rows:
                    raise self._nothing_usable()
                if len(self.forms) > 1:
                    raise _mixed(self.forms)
                draft = self._sift(spool)
        except OSError as problem:
            raise write_problem(self.scratch, problem) from problem
        target = self.request.target
        written = write_version(draft, Path(target) if target else None, self.progress)
        return self._report(written)

    # --- read ---

    def _read_file(self, number: int, path: Path, spool: Spool) -> None:
        try:
            verdict = judge(path, MAX_LINE_BYTES)
            stream = open_lines(path)
        except OSError as problem:
            raise unreadable(path, problem) from problem
        with stream, Provenance(path) as provenance:
            before = os.fstat(stream.fileno())
            repair = _repairs(self.request.repair, verdict)
            damaged = verdict is Verdict.CERTAIN and not repair
            reader = LineReader(stream, repair=repair, damaged=damaged)
            try:
                for line in reader:
                    self._take(number, line, reader, provenance, spool)
                    if reader.rows % _PROGRESS_ROWS == 0:
                        done = self.bytes_done + read_share(stream)
                        self.progress("read", done, self.bytes_total)
            except ReadFailed as failed:
                raise unreadable(path, failed.problem) from failed.problem
            after = os.fstat(stream.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _changed(path)
        self.bytes_done += before.st_size
        self.rows_in += reader.rows
        self.repaired = self.repaired or repair
        self.sources.append(
            {
                "file": path.name,
                "sha256": reader.sha256,
                "bytes": reader.bytes_read,
                "rows": reader.rows,
                "copy_export": verdict.value,
                "repaired": repair,
                "provenance": provenance.state,
                "rows_traced": provenance.found,
                "notes": {code: asdict(note) for code, note in sorted(reader.notes.items())},
            }
        )

    def _take(
        self, file: int, line: Line, reader: LineReader, provenance: Provenance, spool: Spool
    ) -> None:
        source_row = provenance.row_of(line.number, line.raw)
        source = b""
        if source_row is not None:
            source = json.dumps(asdict(source_row), ensure_ascii=False).encode()
        try:
            if line.value is None:
                problem = line.problem or Problem("json")
                raise Unusable(problem.code, **problem.details)
            example = formats.convert(line.value, lambda code: reader.note(code, line.number))
            form = PAIRS if isinstance(example, Pair) else CHAT
            if self.request.form not in ("auto", form):
                raise Unusable("other_form", form=FORM_WORDS[form])
            row = formats.encode(example)
        except Unusable as unusable:
            digest = digest_of(line.raw)
            self.rejections.add(file, line.number, unusable.problem, digest, source)
            return
        if self.request.redact:
            redacted, counts = redact.redact(example, row)
            if counts:
                self.redactions += counts
                example, row = redacted, formats.encode(redacted)
        self.forms[form] += 1
        place = self._place(file, example)
        spool.add(row, file, line.number, place, source)

    def _place(self, file: int, example: Example | Pair) -> int:
        if not self.request.held_out:
            return split.place_of(self.request.seed, split.group_key(example))
        held_out = self.paths[file].name in self.request.held_out
        return split.HELD_OUT if held_out else split.LEARNT

    # --- sift and split ---

    def _sift(self, spool: Spool) -> Draft:
        """Reject duplicates, keep the others in a file in the order of their hash."""
        kept = self.scratch / "kept"
        places = array("Q")
        steps = self._steps()
        rows_hash = version_hash(steps)
        with kept.open("xb") as stream:
            for done, found in enumerate(spool.unique()):
                if done % _PROGRESS_ROWS == 0:
                    self.progress("sift", done, spool.rows)
                if isinstance(found, Duplicate):
                    self._reject_duplicate(found)
                    continue
                rows_hash.update(found.row + b"\n")
                places.append(found.place)
                stream.write(dedupe.pack(found))
        rows_hash.update(self.rejections.fingerprint().encode())
        shares = split.SHARES[self.request.split]
        return Draft(
            hash=rows_hash.hexdigest(),
            kept=kept,
            files=[path.name for path in self.paths],
            split=self._split(places, shares),
            with_test=bool(shares[2]),
            rejections=self.rejections,
            manifest=self._manifest(steps, len(places)),
        )

    def _split(self, places: "array[int]", shares: tuple[int, int, int]) -> split.Split:
        if self.request.held_out:
            return split.Split(split.HELD_OUT, split.HELD_OUT)
        return split.plan(places, shares)

    def _reject_duplicate(self, found: Duplicate) -> None:
        row: Row = found.row
        details: dict[str, str | int] = {
            "first_file": self.paths[found.first.file].name,
            "first_line": found.first.line,
        }
        self.rejections.add(
            row.file, row.line, Problem("duplicate", details), row.digest, row.source
        )

    # --- tell ---

    def _steps(self) -> list[dict[str, Any]]:
        request = self.request
        steps: list[dict[str, Any]] = [
            {"step": "read", "version": READER_VERSION, "settings": {"line_bytes": MAX_LINE_BYTES}}
        ]
        if self.repaired:
            steps.append({"step": "repair_copy_export", "version": REPAIR_VERSION, "settings": {}})
        form = {"form": PAIRS} if PAIRS in self.forms else {}
        steps.append({"step": "convert", "version": FORMATS_VERSION, "settings": form})
        if request.redact:
            steps.append({"step": "redact", "version": redact.VERSION, "settings": {}})
        steps.append({"step": "exact_duplicates", "version": dedupe.VERSION, "settings": {}})
        settings: dict[str, Any] = {"shares": request.split, "seed": request.seed}
        if request.held_out:
            settings = {"held_out": sorted(request.held_out)}
        steps.append({"step": "split", "version": split.VERSION, "settings": settings})
        return steps

    def _manifest(self, steps: list[dict[str, Any]], kept: int) -> dict[str, Any]:
        """All but the hash and what is known only once the parts are written."""
        rejected = self.rejections.count
        counts = {
            "rows_in": self.rows_in,
            "rows_kept": kept,
            "rows_rejected": rejected,
            "redacted": self.redactions.total(),
            **dict(sorted(self.rejections.by_code.items())),
        }
        return {
            "format_version": FORMAT_VERSION,
            "name": self.request.name,
            "created_at": self.request.created_at.isoformat(),
            "seed": self.request.seed,
            "redacted": self.request.redact,
            **({"form": PAIRS} if PAIRS in self.forms else {}),
            "sources": self.sources,
            "passed_over": [asdict(each) for each in self.passed],
            "steps": steps,
            "counts": counts,
            "sum": f"{self.rows_in} = {kept} + {rejected}",
            "redactions": dict(sorted(self.redactions.items())),
        }

    def _report(self, written: Written) -> Report:
        return Report(
            manifest=written.manifest,
            folder=str(written.folder) if written.folder else None,
            existed=written.existed,
            sources=self.sources,
            rejected=self.rejections.examples(),
        )

    def _nothing_usable(self) -> DataError:
        examples = self.rejections.examples()
        why = "; ".join(
            f"{count} × {summary(code)} ({visible(', '.join(examples[code][:3]))})"
            for code, count in self.rejections.by_code.most_common(5)
        )
        remedy = _("Correct the named lines.")
        if self.rejections.by_code["copy_export"]:
            remedy = _("Repair the export (`sophia prepare repair`), or collect again.")
        return DataError(
            "D307",
            _("No usable example in {count} rows.").format(count=self.rows_in),
            why or _("The files are empty."),
            remedy,
            rows_in=self.rows_in,
            rejected=dict(self.rejections.by_code),
            examples=examples,
        )


def _repairs(upto: str, verdict: Verdict) -> bool:
    if verdict is Verdict.CERTAIN:
        return upto in ("certain", "suspected")
    return verdict is Verdict.SUSPECTED and upto == "suspected"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as problem:
        raise unreadable(path, problem) from problem


def _mixed(forms: Counter[str]) -> DataError:
    return DataError(
        "D380",
        _("The files hold both chats and preference pairs."),
        _(
            "{chats} lines are chats and {pairs} are preference pairs; a data set has one form."
        ).format(chats=forms[CHAT], pairs=forms[PAIRS]),
        _("Say which ones it is to be made of: --form chat or --form pairs; or name the files."),
    )


def _changed(path: Path) -> DataError:
    return DataError(
        "D308",
        _("{file} changed while it was read.").format(file=visible(path.name)),
        _("Somebody writes to it, an export perhaps."),
        _("Wait until it is done, then prepare again."),
    )


__all__ = ["Passed", "PrepareTask", "Report", "Request", "prepare"]
