"""Prepares a data set version: read, clean, find duplicates, split, write.

Every row is either kept or rejected with a reason. Memory stays flat: rows go through spool files,
and processes share the work by ranges of lines and by parts of the spool.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sophia_tui.datasets import dedupe, grouping, passes, recipe, redact, split, together, worker
from sophia_tui.datasets.copy_export import Verdict
from sophia_tui.datasets.grouping import Cuts, Planner
from sophia_tui.datasets.manifest import manifest_of, mixed, nothing_usable, steps_of
from sophia_tui.datasets.origins import Origins
from sophia_tui.datasets.passes import processes_for
from sophia_tui.datasets.provenance import beside, state
from sophia_tui.datasets.ranges import Cutter, Range, Watched
from sophia_tui.datasets.reader import LISTED_LINES, Note
from sophia_tui.datasets.rejections import Rejections
from sophia_tui.datasets.sources import Passed, select
from sophia_tui.datasets.split import KEYS, NEAR
from sophia_tui.datasets.steps import Balance, ExactDuplicates, NearDuplicates, Redact, Step
from sophia_tui.datasets.tasks import Task, Tell
from sophia_tui.datasets.version import (
    REJECTED,
    VersionFiles,
    Written,
    keep_version,
)
from sophia_tui.datasets.worker import Cleaned, Source, Work, Worker
from sophia_tui.domain.datasets import CHAT, PAIRS
from sophia_tui.files import write_problem

#: Bytes of a range of lines: of small files few, of large ones many, for fewer small writes.
_RANGE_BYTES = (2 << 20, 8 << 20)
_RANGES = 128
#: How much larger lines are than a packed file of them, or a table: a guess.
_UNPACKED = 6


@dataclass(frozen=True)
class Request:
    """What to prepare; plain data, so that it can be handed to a process.

    `target` is the folder datasets/<name>, or None to write nothing. `scratch` is an empty folder
    for spool files, removed by who made it. `held_out` names files all of whose examples are for
    validation; then nothing else is held out. `repair` is none, certain or suspected: up to which
    verdict files are taken out of COPY's format while they are read. `form` is chat or pairs (lines
    of the other form are rejected), or auto: what the lines are, all of one form. `processes` 0 is
    as many as are worth it.
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
    recipe: tuple[dict[str, Any], ...] | None = None
    group: tuple[str, ...] = KEYS
    stratify: str | None = None
    done_before: tuple[dict[str, Any], ...] = ()
    version: bool = False
    pseudonym_key: str = ""
    processes: int = 0


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

    Raises DataError D301 to D309, D380, D501, D540 and D542 to D549 for the folder, its files and
    what is asked for, SetupError S101 where nothing can be written.
    """
    return Preparation(request, progress).run()


class PrepareTask(Task):
    """Prepare one version in the engine's process."""

    request: Request

    def run(self, tell: Tell) -> Report:
        return prepare(self.request, tell)


class _Doing(passes.Worker[Any, Any]):
    """One kind of job, done by a worker."""

    def __init__(self, worker: Worker, what: str, given: tuple[Any, ...]) -> None:
        self._worker = worker
        self._do = getattr(worker, what)
        self._given = given

    def work(self, item: Any) -> Any:
        return self._do(item, *self._given)

    def close(self) -> None:
        self._worker.end()


class Preparation:
    def __init__(self, request: Request, progress: Tell) -> None:
        self.request = request
        self.progress = progress
        self.shares = split.shares_of(request.split)
        self.recipe = _recipe(request)
        key = request.pseudonym_key
        self.pseudonyms = redact.Pseudonyms(key) if key else None
        selection = select(
            Path(request.folder), request.files, Path(request.history) if request.history else None
        )
        self.passed = selection.passed
        self.files = [Watched(path) for path in selection.files]
        self.bytes_total = sum(each.size * (1 if each.plain else _UNPACKED) for each in self.files)
        self.processes = request.processes or processes_for(self.bytes_total)
        self.scratch = Path(request.scratch)
        self.work = self._work()
        self.rejections = Rejections(self.scratch, list(self.work.names))
        self.told: dict[str, Counter[str]] = {}
        self.sources: list[dict[str, Any]] = []
        self.rows_in = 0
        self.forms: Counter[str] = Counter()

    def _work(self) -> Work:
        request = self.request
        names = [each.path.name for each in self.files]
        origins = {}
        if request.version:
            earlier = Origins(Path(request.folder), self.scratch, len(names))
            origins = earlier.beside
            names += earlier.names
        return Work(
            scratch=request.scratch,
            names=tuple(names),
            sources=tuple(
                Source(
                    path=str(each.path if each.plain else self.scratch / f"lines-{number}"),
                    name=each.path.name,
                    provenance=str(origins.get(each.path.name, beside(each.path))),
                    repair=_repairs(request.repair, each.verdict),
                    damaged=each.verdict is Verdict.CERTAIN
                    and not _repairs(request.repair, each.verdict),
                    held_out=each.path.name in request.held_out,
                )
                for number, each in enumerate(self.files)
            ),
            looks=tuple(
                (
                    each.NAME,
                    each.by(self.pseudonyms) if isinstance(each, Redact) else each.ready(),
                )
                for each in self.recipe
                if not each.OF_ALL
            ),
            parts=dedupe.parts_for(self.bytes_total),
            spools=self.processes,
            seed=request.seed,
            sides_said=bool(request.held_out),
            form=request.form,
            group=request.group,
            exact=any(isinstance(each, ExactDuplicates) for each in self.recipe),
            stratify=request.stratify,
            gated=any(isinstance(each, Redact) for each in self.recipe),
            balance=next((each.field for each in self.recipe if isinstance(each, Balance)), None),
        )

    def run(self) -> Report:
        try:
            self._clean()
            self._join()
            if not self.forms:
                raise nothing_usable(self.rejections, self.rows_in)
            if len(self.forms) > 1:
                raise mixed(self.forms)
            kept = self._sift() - self._compare()
            written = self._write(self._plan(), kept)
        except OSError as problem:
            raise write_problem(self.scratch, problem) from problem
        return self._report(written)

    def deal(self, jobs: Iterable[Any], what: str, *given: Any) -> Iterator[Any]:
        """The answers of workers, in the order of the jobs."""
        here: list[Worker] = []

        def make(number: int) -> _Doing:
            here.append(Worker(self.work, number, what))
            return _Doing(here[-1], what, given)

        try:
            yield from passes.deal(jobs, make, self.processes)
        finally:
            for each in here:  # those of other processes ended with them
                each.release()

    # --- read and clean ---

    def cutters(self) -> list[Cutter]:
        """One for each file, which cut it into ranges for workers."""
        least, most = _RANGE_BYTES
        size = max(least, min(most, self.bytes_total // _RANGES))
        return [
            Cutter(
                number,
                each.path,
                Path(source.provenance),
                size,
                None if each.plain else Path(source.path),
            )
            for number, (each, source) in enumerate(zip(self.files, self.work.sources, strict=True))
        ]

    def _clean(self) -> None:
        cutters = self.cutters()
        found = [Cleaned() for _each in cutters]
        ends: list[tuple[int, int]] = []

        def jobs() -> Iterator[Range]:
            for cutter in cutters:
                for each in cutter.ranges():
                    ends.append((each.file, each.end - each.start))
                    yield each

        done = 0
        for number, cleaned in enumerate(self.deal(jobs(), "clean")):
            file, length = ends[number]
            _add(found[file], cleaned)
            self._count(cleaned)
            done += length
            self.progress("read", done, self.bytes_total)
        for each in self.files:
            each.check()
        for watched, cutter, cleaned, source in zip(
            self.files, cutters, found, self.work.sources, strict=True
        ):
            self.sources.append(
                {
                    "file": source.name,
                    "sha256": cutter.sha256,
                    "bytes": cutter.bytes,
                    "rows": cleaned.rows,
                    "copy_export": watched.verdict.value,
                    "repaired": source.repair,
                    "provenance": state(cutter.has_provenance, cleaned.stale),
                    "rows_traced": cleaned.traced,
                    "notes": {
                        code: {"count": note.count, "lines": note.lines}
                        for code, note in sorted(cleaned.notes.items())
                    },
                }
            )

    def _count(self, cleaned: Cleaned) -> None:
        self.rows_in += cleaned.rows
        self.forms.update(cleaned.forms)
        for step, told in cleaned.told.items():
            self.told.setdefault(step, Counter()).update(told)
        if cleaned.lot:
            self.rejections.absorb(cleaned.lot, follows=not self.request.version)

    # --- sift, split, write ---

    def _sift(self) -> int:
        """Reject duplicates; the others lie in the order of a version. Returns how many."""
        kept = done = 0
        total = sum(self.forms.values())
        for sifted in self.deal(range(self.work.parts), "sift", self.grouped_early):
            kept += sifted.kept
            done += sifted.kept + sifted.lot.count
            self.rejections.absorb(sifted.lot)
            self.progress("sift", done, total)
        return kept

    def _compare(self) -> int:
        """Reject what near_duplicates and balance turn away. Returns how many."""
        rejected = 0
        near = next((each for each in self.recipe if isinstance(each, NearDuplicates)), None)
        if near is not None or NEAR in self.request.group:
            search = together.NearSearch(self.work, near or NearDuplicates(), self.progress)
            rejected += search.run(self.rejections, drop=near is not None)
            self._join()
        for each in self.recipe:
            if isinstance(each, Balance):
                rejected += together.balance(self.work, each, self.rejections)
        return rejected

    def _plan(self) -> Cuts:
        if self.work.sides_said:
            return Cuts(rest=split.Split(split.HELD_OUT, split.HELD_OUT))
        if not self.shares[1]:
            return Cuts()
        if not self.grouped_early:
            for _rows in self.deal(range(self.work.parts), "groups"):
                pass
        planner = Planner()
        for bucket in range(self.work.buckets):
            groups = b"".join(
                path.read_bytes()
                for spool in range(self.work.spools)
                if (path := worker.bucket_path(self.scratch, bucket, spool)).exists()
            )
            if self.work.stratify:
                planner.add(worker.GROUP.iter_unpack(groups))
            else:
                planner.add_places(place for place, _stratum in worker.GROUP.iter_unpack(groups))
        return planner.plan(self.shares)

    @property
    def grouped_early(self) -> bool:
        """Whether groups are known once exact duplicates are gone: nothing else leaves, and nothing
        else binds."""
        compared = any(isinstance(each, NearDuplicates | Balance) for each in self.recipe)
        return not compared and NEAR not in self.request.group

    def _join(self) -> None:
        grouping.join(self.scratch, self.work.spools)

    def _write(self, cuts: Cuts, kept: int) -> Written:
        done = 0
        with VersionFiles(self.scratch / "version", bool(self.shares[2])) as files:
            for pieces in self.deal(range(self.work.parts), "write", cuts):
                for name, (path, rows) in pieces.items():
                    files.append(name, Path(path), rows)
                    done += rows
                self.progress("write", done // 2, kept)  # each row and its origin
            for line in self.rejections.lines():
                files.write(REJECTED, line)
        target = self.request.target
        form = PAIRS if PAIRS in self.forms else CHAT
        repaired = any(each.repair for each in self.work.sources)
        manifest = manifest_of(
            self.request,
            steps_of(self.request, self.recipe, repaired, form, self.pseudonyms),
            form,
            kept,
            self.rows_in,
            self.rejections,
            self.sources,
            self.passed,
            self.told,
        )
        fingerprint = self.rejections.fingerprint()
        return keep_version(files, manifest, fingerprint, Path(target) if target else None)

    # --- tell ---

    def _report(self, written: Written) -> Report:
        return Report(
            manifest=written.manifest,
            folder=str(written.folder) if written.folder else None,
            existed=written.existed,
            sources=self.sources,
            rejected=self.rejections.examples(),
        )


def _add(found: Cleaned, more: Cleaned) -> None:
    """Add what came of the next range of a file."""
    found.rows += more.rows
    found.traced += more.traced
    found.stale += more.stale
    for code, note in more.notes.items():
        known = found.notes.setdefault(code, Note())
        known.count += note.count
        known.lines = (known.lines + note.lines)[:LISTED_LINES]


def _recipe(request: Request) -> tuple[Step, ...]:
    if request.recipe is not None:
        return recipe.read_back(request.recipe)
    return tuple(each for each in recipe.USUAL if request.redact or not isinstance(each, Redact))


def _repairs(upto: str, verdict: Verdict) -> bool:
    if verdict is Verdict.CERTAIN:
        return upto in ("certain", "suspected")
    return verdict is Verdict.SUSPECTED and upto == "suspected"


__all__ = ["Passed", "PrepareTask", "Report", "Request", "prepare"]
