"""Converts files of training lines into another form: one file out, whole or not at all, and beside
it a list of every row that could not be written."""

from collections import Counter
from pathlib import Path
from typing import IO, Any

import msgspec

from sophia_tui.datasets import formats
from sophia_tui.datasets.codes import Problem, Unusable, reason, summary
from sophia_tui.datasets.compressed import open_lines, packing, read_share
from sophia_tui.datasets.constitutional import Figures, Ids
from sophia_tui.datasets.reader import Line, LineReader, Note, ReadFailed
from sophia_tui.datasets.sources import size_of, unreadable
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.errors import DataError
from sophia_tui.files import whole_file
from sophia_tui.i18n import _, ngettext
from sophia_tui.textsafe import visible

#: Places told for each reason; the list has them all.
LISTED = 20
#: Names of fields told; there may be as many as rows.
_FIELDS_TOLD = 50
_PROGRESS_ROWS = 2000
#: Forms of which a version is made: rows of them are written anew, others as they were.
_CANONICAL = ("chat", "pairs")


class ConvertTask(Task):
    """`target` None: nothing is written. `rejected` is where the list goes."""

    files: list[str]
    form: formats.Form
    target: str | None = None
    rejected: str | None = None

    def run(self, tell: Tell) -> dict[str, Any]:
        """The counts as plain data. Raises DataError D306, D511, D514, SetupError S101."""
        work = _Conversion([Path(each) for each in self.files], self.form, tell)
        if self.target is None or self.rejected is None:
            work.run(None, None)
            return work.report()
        target = Path(self.target)
        with (
            whole_file(target) as out,
            whole_file(Path(self.rejected)) as listed,
            packing(out, target.name) as packed,
        ):
            work.run(packed, listed)
        return work.report()


class _Conversion:
    def __init__(self, files: list[Path], form: formats.Form, tell: Tell) -> None:
        self._files = files
        self._form = form
        self._tell = tell
        self._encode = msgspec.json.Encoder().encode
        self._ids = Ids()
        self._figures = Figures()
        self._rows = self._written = 0
        self._forms: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._codes: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}
        self._notes: dict[str, Note] = {}

    def run(self, out: IO[bytes] | None, listed: IO[bytes] | None) -> None:
        sizes = [size_of(path) for path in self._files]
        for number, path in enumerate(self._files):
            before = sum(sizes[:number])
            self._file(path, out, listed, before, sum(sizes))
        if not self._written:
            raise self._nothing()

    def _file(
        self,
        path: Path,
        out: IO[bytes] | None,
        listed: IO[bytes] | None,
        before: int,
        total: int,
    ) -> None:
        try:
            stream = open_lines(path)
        except OSError as problem:
            raise unreadable(path, problem) from problem
        with stream:
            reader = LineReader(stream)
            try:
                for line in reader:
                    self._rows += 1
                    self._line(path, line, reader, out, listed)
                    if self._rows % _PROGRESS_ROWS == 0:
                        self._tell("read", before + read_share(stream), total)
            except ReadFailed as failed:
                raise unreadable(path, failed.problem) from failed.problem
        for code, note in reader.notes.items():
            kept = self._notes.setdefault(code, Note())
            kept.count += note.count
            kept.lines += note.lines[: LISTED - len(kept.lines)]

    def _line(
        self,
        path: Path,
        line: Line,
        reader: LineReader,
        out: IO[bytes] | None,
        listed: IO[bytes] | None,
    ) -> None:
        try:
            if line.value is None:
                problem = line.problem or Problem("json")
                raise Unusable(problem.code, **problem.details)
            row = self._converted(line.value, line.number, reader)
        except Unusable as unusable:
            self._reject(path, line, unusable.problem, listed)
            return
        self._written += 1
        if out is not None:
            out.write(row + b"\n")

    def _converted(self, record: dict[str, Any], number: int, reader: LineReader) -> bytes:
        form = formats.form_of(record)
        self._forms[form or "unknown"] += 1
        valid = False
        try:
            example = formats.convert(record, lambda code: reader.note(code, number))
            if form == "constitutional":
                self._ids.see(record, number)
            valid = True
        finally:
            if form == "constitutional":
                self._figures.add(record, valid)
        if form == self._form and form not in _CANONICAL:
            return self._encode(record)
        told = self._encode(formats.write_as(example, self._form))
        for name in formats.left_out(record):
            if name in self._left_out or len(self._left_out) < _FIELDS_TOLD:
                self._left_out[name] += 1
        return told

    def _reject(self, path: Path, line: Line, problem: Problem, listed: IO[bytes] | None) -> None:
        self._codes[problem.code] += 1
        places = self._places.setdefault(problem.code, [])
        if len(places) < LISTED:
            places.append(f"{path.name}:{line.number}")
        if listed is not None:
            entry = {
                "file": path.name,
                "line": line.number,
                "code": problem.code,
                "reason": reason(problem.code, problem.details),
            }
            if problem.details:
                entry["details"] = dict(problem.details)
            listed.write(self._encode(entry) + b"\n")

    def report(self) -> dict[str, Any]:
        rejected = self._codes.total()
        constitutional = self._figures.report() if self._figures.total else None
        return {
            "rows_in": self._rows,
            "rows_written": self._written,
            "rows_rejected": rejected,
            "sum": f"{self._rows} = {self._written} + {rejected}",
            "forms": dict(self._forms.most_common()),
            "rejected": [
                {"code": code, "count": count, "examples": self._places[code]}
                for code, count in self._codes.most_common()
            ],
            "left_out": dict(self._left_out.most_common()),
            "notes": {
                code: {"count": each.count, "lines": each.lines}
                for code, each in self._notes.items()
            },
            "constitutional": constitutional,
        }

    def _nothing(self) -> DataError:
        why = "; ".join(
            f"{count} × {summary(code)} ({visible(', '.join(self._places[code][:3]))})"
            for code, count in self._codes.most_common(5)
        )
        return DataError(
            "D514",
            ngettext(
                "The {count} row can't be written in the form {form}.",
                "None of {count} rows can be written in the form {form}.",
                self._rows,
            ).format(count=self._rows, form=self._form),
            why or _("The files are empty."),
            _("Correct the named lines, or choose another form."),
            rows_in=self._rows,
            rejected=dict(self._codes),
        )
