"""Look into a data file of any size: pages, jumps, issues, search; and edit single records.

The file itself is never edited in place: edits lie beside it until they are saved whole.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.protocols import Clock, DatasetStore
from sophia_tui.errors import ConflictError, DataError, NotFoundError, UsageError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import Paths
from sophia_tui.services.browse_views import (
    BrowseInput,
    BrowseOutput,
    EditInput,
    EditOutput,
    EditsView,
    IssueView,
    RecordView,
    SaveInput,
    SaveOutput,
    SearchHit,
    SearchInput,
    SearchOutput,
    UndoInput,
    UndoOutput,
)
from sophia_tui.services.data_files import as_given, named_file
from sophia_tui.services.operations import operation
from sophia_tui.services.standard_input import STANDARD_INPUT, standard_input
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.found import Found
    from sophia_tui.datasets.index import Index, Place
    from sophia_tui.datasets.overlay import Edit, Overlay
    from sophia_tui.settings import Settings


@dataclass(frozen=True)
class _Source:
    """The file that is meant; `shown` is how the person named it; only a file can be edited."""

    path: Path
    shown: str
    kind: str
    editable: bool

    @property
    def plain(self) -> bool:
        return self.kind == "plain"


class BrowseService:
    """Needs the store for parts of data set versions alone, so it is opened on use."""

    def __init__(
        self,
        datasets: Callable[[], Awaitable[DatasetStore]],
        settings: "Settings",
        paths: Paths,
        clock: Clock,
    ) -> None:
        self._datasets = datasets
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "prepare.browse",
        N_("Show records of a data file of any size, each with what is wrong with it."),
        positional=("file",),
    )
    async def browse(self, context: Context, request: BrowseInput) -> BrowseOutput:
        """Raises NotFoundError D396, D404, D567, RefusedError D398, DataError D306, D511,
        UsageError D568."""
        import asyncio

        source = await self._source(context, request.file, request.part)
        overlay = await asyncio.to_thread(self._overlay, source)
        if not request.issue:
            return await self._page(context, request, source, overlay)
        telling = await asyncio.to_thread(self._telling, request, source, overlay)
        if telling is None:
            sought = await self._sought_issue(context, request, source, overlay)
        else:
            sought = await asyncio.to_thread(_inspected_issue, request, telling)
        if sought is None:
            return self._nothing(source, overlay)
        return await self._page(context, sought, source, overlay)

    @operation(
        "prepare.search",
        N_("Find text or a regular expression in every record of a data file."),
        positional=("file", "text"),
        streams=True,
    )
    async def search(self, context: Context, request: SearchInput) -> SearchOutput:
        """Raises what `browse` raises, UsageError D566 (the pattern), CancelledError."""
        import asyncio

        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.search import SearchTask

        source = await self._source(context, request.file, request.part)
        overlay = await asyncio.to_thread(self._overlay, source)
        task = SearchTask(
            context.language,
            path=str(source.path),
            kind=source.kind,
            text=request.text,
            regex=request.regex,
            any_case=not request.match_case,
            line=request.line,
            limit=request.limit,
            folder=str(self._paths.indexes),
            edited=_edited_texts(overlay),
            backwards=request.backwards,
            count=request.count,
        )
        hits: list[SearchHit] = []

        def heard(part: Any) -> None:
            hits.append(SearchHit(**part))
            context.tell(hits[-1])

        done = await run_engine(task, context, part=heard)
        following = hits[-1].line + (0 if request.backwards else 1) if done["more"] else None
        return SearchOutput(
            file=source.shown,
            more=done["more"],
            next_line=following,
            total=done.get("total"),
            passed=done.get("passed"),
            items=hits,
        )

    @operation(
        "prepare.edit",
        N_("Edit one record of a data file, beside the file: nothing in it changes until saved."),
        role=Role.OPERATOR,
        writes=True,
        target="file",
        positional=("file", "line"),
        dry_run=True,
    )
    async def edit(self, context: Context, request: EditInput) -> EditOutput:
        """Dry, it tells what it would make of the record. Raises what `browse` raises, DataError
        D564 (no record), ConflictError D561 and D563 (the file changed), D569 (somebody was
        faster), UsageError D581 (can't be edited).
        """
        import asyncio

        from sophia_tui.datasets.overlay import one_line, read_record

        source = await self._editable(context, request.file)
        record: str | bytes = request.record
        if record == STANDARD_INPUT and context.face is Face.CLI:
            async with standard_input(context, _("The record, then Ctrl-D:")) as path:
                record = await asyncio.to_thread(read_record, path)
        raw = await asyncio.to_thread(one_line, record)
        place = await self._place(context, source, request.line, None, True)
        before = await asyncio.to_thread(self._take_edit, context, request, source, place, raw)
        overlay = await asyncio.to_thread(self._overlay, source)
        shown = await self._page(
            context,
            BrowseInput(file=request.file, line=request.line, count=1, at=place.at, chars=0),
            source,
            _as_if(overlay, request.line, raw, place.at) if context.dry_run else overlay,
        )
        return EditOutput(
            file=source.shown,
            line=request.line,
            before=before,
            after=raw.decode(),
            usable=shown.items[0].usable,
            issues=shown.items[0].issues,
            edits=_edits_view(overlay),
        )

    @operation(
        "prepare.undo",
        N_("Take back the last edit of a data file, do it again, or drop all of them."),
        role=Role.OPERATOR,
        writes=True,
        target="file",
        positional=("file",),
    )
    async def undo(self, context: Context, request: UndoInput) -> UndoOutput:
        """Raises what `browse` raises, ConflictError D569 (somebody was faster), UsageError D581,
        D582 (redo and all together)."""
        import asyncio

        if request.redo and request.all:
            raise UsageError(
                "D582",
                _("Redo and all exclude each other."),
                remedy=_("Give one of them."),
            )
        source = await self._editable(context, request.file)
        return await asyncio.to_thread(self._undo, context, request, source)

    @operation(
        "prepare.save",
        N_("Write a data file with its edits, as a new file or in the original's place."),
        role=Role.OPERATOR,
        writes=True,
        target="file",
        positional=("file",),
    )
    async def save(self, context: Context, request: SaveInput) -> SaveOutput:
        """Raises what `browse` raises, ConflictError D561, D563 (the file changed), D565 (the name
        is taken), UsageError D581, D583 (where to), NotFoundError D584 (nothing to save),
        SetupError S101, CancelledError."""
        import asyncio

        from sophia_tui.datasets.overlay import SaveTask, stale_problem
        from sophia_tui.datasets.process import run_engine

        if (request.to is None) == (not request.replace):
            raise UsageError(
                "D583",
                _("Say where the edited file is to be written."),
                remedy=_("Give the name of a new file (--to), or --replace."),
            )
        source = await self._editable(context, request.file)
        overlay = await asyncio.to_thread(self._overlay, source)
        if overlay is None or not overlay.edits:
            raise NotFoundError(
                "D584",
                _("No record of {file} was edited.").format(file=visible(source.shown)),
                remedy=_("There is nothing to save."),
            )
        if overlay.stale:
            raise stale_problem(source.path)
        target, kept = self._targets(context, request, source)
        task = SaveTask(
            context.language,
            path=str(source.path),
            folder=str(self._paths.edits),
            target=str(target),
            kept=None if kept is None else str(kept),
        )
        try:
            done = await run_engine(task, context)
        except BaseException:
            await asyncio.to_thread(_sweep, target, kept)
            raise
        return SaveOutput(
            file=source.shown,
            saved_as=str(target),
            records=done["records"],
            kept=None if kept is None else str(kept),
        )

    # -- the file

    async def _source(self, context: Context, text: str, part: str | None) -> _Source:
        import asyncio

        from sophia_tui.datasets.pages import kind_of

        if part is not None:
            path, shown = await self._part(text, part)
        else:
            path, shown = await asyncio.to_thread(self._file, context, text), text
        kind = await asyncio.to_thread(kind_of, path)
        return _Source(path, shown, kind, editable=part is None)

    async def _part(self, reference: str, part: str) -> tuple[Path, str]:
        version = await (await self._datasets()).get(reference)
        if version is None:
            raise NotFoundError(
                "D404",
                _("There is no data set {reference}.").format(reference=visible(reference)),
                remedy=_("`sophia datasets list` lists the versions."),
            )
        return Path(version.folder) / f"{part}.jsonl", f"{version.id}/{part}"

    def _file(self, context: Context, text: str) -> Path:
        """From afar only what lies in FINETUNE_DIR, by its name."""
        found = as_given(context, self._settings.finetune_folder, text, "D398")
        if found is None:
            raise NotFoundError(
                "D396",
                _("There is no file {path}.").format(path=visible(text)),
                remedy=_("Correct the path; for a data set version name a part of it, too."),
            )
        return found

    async def _editable(self, context: Context, text: str) -> _Source:
        source = await self._source(context, text, None)
        if not source.plain:
            raise UsageError(
                "D581",
                _("A compressed file or a table can't be edited."),
                _("Its records can't be put in without writing all of it anew."),
                _("Convert it first (`sophia prepare convert`)."),
            )
        return source

    def _targets(
        self, context: Context, request: SaveInput, source: _Source
    ) -> tuple[Path, Path | None]:
        """The file to write, and where the original is kept if that one is replaced."""
        if request.replace:
            moment = self._clock.now().strftime("%Y%m%dT%H%M%S")
            return source.path, source.path.with_name(f"{source.path.name}.{moment}.original")
        given = Path(request.to or "").expanduser()
        if context.from_afar:
            given = named_file(self._settings.finetune_folder, request.to or "", "D398")
        target = given.absolute()
        if target.exists() or target.is_symlink():
            raise ConflictError(
                "D565",
                _("{file} exists already.").format(file=visible(str(target))),
                _("Nothing is written over."),
                _("Choose another name, or move it away."),
            )
        return target, None

    # -- where a line begins

    def _index(self, source: _Source) -> "Index | None":
        from sophia_tui.datasets import index
        from sophia_tui.datasets.sources import unreadable

        try:
            with source.path.open("rb") as stream:
                return index.load(self._paths.indexes, source.path, index.stamp_of(stream))
        except OSError as problem:
            raise unreadable(source.path, problem) from problem

    async def _place(
        self, context: Context, source: _Source, line: int, at: int | None, exact: bool
    ) -> "Place":
        """Where a line of a plain file begins; see BrowseInput. Raises NotFoundError D567."""
        import asyncio

        from sophia_tui.datasets.index import IndexTask
        from sophia_tui.datasets.process import run_engine

        found = await asyncio.to_thread(self._at_once, source, line, at, not exact)
        if found is None:
            task = IndexTask(context.language, str(source.path), str(self._paths.indexes))
            lines = await run_engine(task, context)
            if line > lines:
                raise _beyond(source, line, lines)
            found = await asyncio.to_thread(self._surely, source, line)
        return found

    def _at_once(
        self, source: _Source, line: int, at: int | None, may_estimate: bool
    ) -> "Place | None":
        """Without reading far; None: it must be read for an exact answer."""
        from sophia_tui.datasets import index
        from sophia_tui.datasets.index import Place
        from sophia_tui.datasets.pages import AT_ONCE_BYTES

        built = self._index(source)
        with source.path.open("rb") as stream:
            size = source.path.stat().st_size
            if at is not None and at < max(1, size):
                start = index.line_start(stream, at)
                if built is not None:
                    return Place(built.line_at(stream, start), start)
                if start <= AT_ONCE_BYTES:
                    return Place(index.lines_before(stream, start) + 1, start)
                return Place(line, start, exact=False) if may_estimate else None
            if built is not None:
                found = built.place(stream, line)
                if found is None:
                    raise _beyond(source, line, built.lines)
                return found
            found = index.scan(stream, line, AT_ONCE_BYTES)
            if found is not None or (line == 1 and not size):
                return found or Place(1, 0)
            if size <= AT_ONCE_BYTES:
                raise _beyond(source, line, index.lines_before(stream, size))
            return index.estimate(stream, line) if may_estimate else None

    def _surely(self, source: _Source, line: int) -> "Place":
        """After an index was built; where it could not be kept, by counting."""
        from sophia_tui.datasets import index

        built = self._index(source)
        with source.path.open("rb") as stream:
            found = (
                built.place(stream, line)
                if built is not None
                else index.scan(stream, line, source.path.stat().st_size)
            )
        if found is None:
            raise index.changed(source.path)
        return found

    # -- pages

    async def _page(
        self,
        context: Context,
        request: BrowseInput,
        source: _Source,
        overlay: "Overlay | None",
    ) -> BrowseOutput:
        import asyncio

        from sophia_tui.datasets.found import outdated

        if source.plain:
            place = await self._place(context, source, request.line, request.at, request.exact)
            page = await asyncio.to_thread(self._read, source, place, request, overlay)
            exact = place.exact
        else:
            page, exact = await self._compressed_page(context, request, source), True
        index = await asyncio.to_thread(self._index, source) if source.plain else None
        following = page["next"]
        lines = index.lines if index else None
        if lines is None and following is None and exact and page["records"]:
            lines = page["records"][-1]["line"]
        about = None
        if lines is None and source.plain:
            lines, about = await asyncio.to_thread(self._count, source)
        edits = overlay.edits if overlay and not overlay.stale else {}
        if exact and page["records"]:
            await asyncio.to_thread(self._add_inspected, source, page["records"])
        return BrowseOutput(
            file=source.shown,
            compression=None if source.plain else source.kind,
            bytes=source.path.stat().st_size,
            lines=lines,
            lines_about=about,
            exact=exact,
            next_line=following[0] if following else None,
            next_at=following[1] if following else None,
            edits=_edits_view(overlay) if overlay and overlay.version else None,
            inspection_outdated=await asyncio.to_thread(
                outdated, self._paths.inspections, source.path
            ),
            items=[_record(each, edits.get(each["line"])) for each in page["records"]],
        )

    def _add_inspected(self, source: _Source, records: list[dict[str, Any]]) -> None:
        """What only an inspection of the whole file can know of these lines, if one is kept."""
        found = self._found(source)
        if found is None:
            return
        by_line = {each["line"]: each for each in records if not each["edited"]}
        for code in found.codes:
            for line, details in found.between(code, records[0]["line"], records[-1]["line"]):
                record = by_line.get(line)
                if record and code not in [known for known, _details in record["problems"]]:
                    record["problems"].append([code, details])

    def _nothing(self, source: _Source, overlay: "Overlay | None") -> BrowseOutput:
        """No such issue is in the file from there on."""
        return BrowseOutput(
            file=source.shown,
            compression=None if source.plain else source.kind,
            bytes=source.path.stat().st_size,
            exact=True,
            found=False,
            edits=_edits_view(overlay) if overlay and overlay.version else None,
            items=[],
        )

    def _read(
        self, source: _Source, place: "Place", request: BrowseInput, overlay: "Overlay | None"
    ) -> dict[str, Any]:
        from sophia_tui.datasets.pages import edited_bytes, plain_page
        from sophia_tui.datasets.sources import unreadable

        edited = edited_bytes(_edited_texts(overlay)) if place.exact else {}
        try:
            return plain_page(source.path, place, request.count, request.chars, edited)
        except OSError as problem:
            raise unreadable(source.path, problem) from problem

    async def _compressed_page(
        self, context: Context, request: BrowseInput, source: _Source
    ) -> dict[str, Any]:
        from sophia_tui.datasets.pages import FAR, PageTask
        from sophia_tui.datasets.process import run_engine

        task = PageTask(
            context.language,
            str(source.path),
            request.line,
            request.count,
            request.chars,
            at_once=not request.exact,
        )
        page = await run_engine(task, context)
        if page == FAR:
            raise UsageError(
                "D568",
                _("There is no jump in a compressed file or a table."),
                _("Line {line} is only found by reading everything before it.").format(
                    line=number(request.line)
                ),
                _("Have it read (--exact), or convert it first (`sophia prepare convert`)."),
            )
        if page is None:
            raise _beyond(source, request.line, None)
        result: dict[str, Any] = page
        return result

    def _count(self, source: _Source) -> tuple[int | None, int | None]:
        """How many lines there are where that is quickly counted, else how many about."""
        from sophia_tui.datasets import index
        from sophia_tui.datasets.pages import AT_ONCE_BYTES

        with source.path.open("rb") as stream:
            if source.path.stat().st_size <= AT_ONCE_BYTES:
                return index.count_blocks(stream, lambda *_told: None).lines, None
            return None, index.lines_about(stream)

    def _telling(
        self, request: BrowseInput, source: _Source, overlay: "Overlay | None"
    ) -> "Found | None":
        """The kept inspection that knows where the next issue is, if one does: it knows of no edit,
        and not of a code that it did not look for."""
        found = self._found(source)
        if found is None or (overlay and overlay.edits) or not source.plain:
            return None
        return found if request.code is None or request.code in found.codes else None

    def _found(self, source: _Source) -> "Found | None":
        from sophia_tui.datasets.found import find_report

        return find_report(self._paths.inspections, source.path)

    async def _sought_issue(
        self,
        context: Context,
        request: BrowseInput,
        source: _Source,
        overlay: "Overlay | None",
    ) -> BrowseInput | None:
        """The page of the issue, by reading on until one is met."""
        from sophia_tui.datasets.pages import IssueTask
        from sophia_tui.datasets.process import run_engine

        backwards = request.issue == "previous"
        line, at = request.line, 0
        if source.plain:
            try:
                place = await self._place(context, source, line, request.at, request.exact)
            except NotFoundError:  # the line after the last
                return None
            line, at = place.line, place.at
        elif backwards:
            raise UsageError(
                "D585",
                _("There is no way back in a compressed file or a table."),
                _("It is read from its beginning alone."),
                _("Convert it first (`sophia prepare convert`)."),
            )
        task = IssueTask(
            context.language,
            path=str(source.path),
            kind=source.kind,
            line=line,
            at=at,
            code=request.code,
            backwards=backwards,
            edited=_edited_texts(overlay),
        )
        spot: dict[str, int] | None = await run_engine(task, context)
        if spot is None:
            return None
        found_at = None if spot["at"] < 0 else spot["at"]
        return request.model_copy(update={"line": spot["line"], "at": found_at})

    # -- edits

    def _overlay(self, source: _Source) -> "Overlay | None":
        from sophia_tui.datasets.index import stamp_of
        from sophia_tui.datasets.overlay import read_overlay
        from sophia_tui.datasets.sources import unreadable

        if not (source.editable and source.plain):
            return None
        try:
            with source.path.open("rb") as stream:
                return read_overlay(self._paths.edits, source.path, stamp_of(stream))
        except OSError as problem:
            raise unreadable(source.path, problem) from problem

    def _take_edit(
        self, context: Context, request: EditInput, source: _Source, place: "Place", raw: bytes
    ) -> str:
        """Write the edit, but not dry; the record as it was before."""
        from sophia_tui.datasets import overlay as edits
        from sophia_tui.datasets.index import stamp_of
        from sophia_tui.datasets.reader import MAX_LINE_BYTES

        with source.path.open("rb") as stream:
            stamp = stamp_of(stream)
            stream.seek(place.at)
            old = stream.readline(MAX_LINE_BYTES + 2)
        if len(old) > MAX_LINE_BYTES + 1:
            raise DataError(
                "D586",
                _("The record is too long to be edited."),
                _("It has more than {limit} bytes.").format(limit=number(MAX_LINE_BYTES)),
            )
        entry = {
            "do": "edit",
            "file": str(source.path),
            "stamp": stamp.digest.hex(),
            "edit": {
                "line": request.line,
                "at": place.at,
                "length": len(old),
                "sha256": hashlib.sha256(old).hexdigest(),
                "text": raw.decode(),
                "by": context.actor,
                "on": self._clock.now().isoformat(),
            },
        }
        before = old.rstrip(b"\r\n").decode("utf-8", "backslashreplace")

        def against(now: "Overlay") -> bool:
            nonlocal before
            if now.stale:
                raise edits.stale_problem(source.path)
            standing = now.edits.get(request.line)
            if request.seen_version is not None and now.base > request.seen_version:
                raise self._faster(standing)
            if standing is not None:
                before = standing.text
                if request.seen_version is not None and standing.number > request.seen_version:
                    raise self._faster(standing)
            return False

        if context.dry_run:
            against(edits.read_overlay(self._paths.edits, source.path, stamp))
        else:
            edits.add_entry(self._paths.edits, source.path, entry, against)
        return before

    def _undo(self, context: Context, request: UndoInput, source: _Source) -> UndoOutput:
        from sophia_tui.datasets.overlay import add_entry

        do = "drop" if request.all else "redo" if request.redo else "undo"
        touched: Edit | None = None

        def against(now: "Overlay") -> bool:
            nonlocal touched
            newest = now.history[-1] if now.history else None
            if request.seen_version is not None and now.version > request.seen_version:
                raise self._faster(newest)
            waiting = now.undone if do == "redo" else now.history
            if do == "drop":  # what was undone stands in the journal, too
                waiting = waiting or now.undone
            touched = waiting[-1] if waiting else None
            return touched is None

        entry = {"do": do, "by": context.actor, "on": self._clock.now().isoformat()}
        before = self._overlay(source)
        done = (
            before is not None
            and bool(before.version)
            and add_entry(self._paths.edits, source.path, entry, against)
        )
        words = {"drop": "dropped", "redo": "redone", "undo": "undone"}
        overlay = self._overlay(source)
        told: dict[str, Any] = {}
        if touched and done and do != "drop":
            told = {
                "line": touched.line,
                "before": _stands(source, before, touched),
                "after": _stands(source, overlay, touched),
                "edited_by": touched.by,
                "edited_at": datetime.fromisoformat(touched.on),
            }
        return UndoOutput(
            file=source.shown,
            what=words[do] if done else "nothing",
            edits=_edits_view(overlay),
            **told,
        )

    def _faster(self, edit: "Edit | None") -> ConflictError:
        from sophia_tui.services.changes import ago

        why, details = "", {}
        if edit is not None:
            when = ago(self._clock.now(), datetime.fromisoformat(edit.on))
            why = _("{who} edited line {line} {when}.").format(
                who=visible(edit.by), line=number(edit.line), when=when
            )
            details = {"by": edit.by, "on": edit.on, "line": edit.line}
        return ConflictError(
            "D569",
            _("Somebody was faster: the edits changed since you looked."),
            why,
            _("Look at the record again, then decide."),
            **details,
        )


def _inspected_issue(request: BrowseInput, found: "Found") -> BrowseInput | None:
    """The page of the next or the previous issue; None: there is none."""
    line = found.nearest(request.line, request.code, request.issue == "previous")
    if line is None:
        return None
    return request.model_copy(update={"line": line, "at": None, "exact": True})


def _sweep(target: Path, kept: Path | None) -> None:
    """Remove what an engine that was stopped left: a half-written file, and the second name of an
    original that still stands in its place."""
    import glob

    if kept is not None and kept.exists() and kept.samefile(target):
        kept.unlink()

    for left in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def _as_if(overlay: "Overlay | None", line: int, raw: bytes, at: int) -> "Overlay | None":
    """As if the line was edited so."""
    from sophia_tui.datasets.overlay import Edit

    if overlay is None:
        return None
    mine = Edit(0, line, at, 0, "", raw.decode(), "", datetime.min.isoformat())
    return replace(overlay, edits={**overlay.edits, line: mine}, stale=False)


def _stands(source: _Source, overlay: "Overlay | None", touched: "Edit") -> str:
    """The record in the line of an edit: as it is edited, else as the file has it."""
    edit = overlay.edits.get(touched.line) if overlay else None
    if edit is not None:
        return edit.text
    with source.path.open("rb") as stream:
        stream.seek(touched.at)
        raw = stream.read(touched.length)
    return raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")


def _edited_texts(overlay: "Overlay | None") -> dict[str, str]:
    """By line, what is to be seen in place of the file's; nothing where the file changed since."""
    if overlay is None or overlay.stale:
        return {}
    return {str(line): edit.text for line, edit in overlay.edits.items()}


def _edits_view(overlay: "Overlay | None") -> EditsView:
    if overlay is None:
        return EditsView(version=0, records=0, can_undo=0, can_redo=0, stale=False)
    return EditsView(
        version=overlay.version,
        records=len(overlay.edits),
        can_undo=len(overlay.history),
        can_redo=len(overlay.undone),
        stale=overlay.stale,
    )


def _record(plain: dict[str, Any], edit: "Edit | None") -> RecordView:
    from sophia_tui.datasets.codes import explain

    problems = plain["problems"]
    return RecordView(
        line=plain["line"],
        at=plain["at"],
        codes=[code for code, _details in problems],
        issues=[IssueView(code=code, reason=explain(code, details)) for code, details in problems],
        usable=plain["usable"],
        edited=plain["edited"],
        edited_by=edit.by if edit and plain["edited"] else None,
        edited_at=datetime.fromisoformat(edit.on) if edit and plain["edited"] else None,
        question=plain["question"],
        answer=plain["answer"],
        text=plain["text"],
        chars=plain["chars"],
        bytes=plain["bytes"],
    )


def _beyond(source: _Source, line: int, lines: int | None) -> NotFoundError:
    why = ""
    if lines is not None:
        why = ngettext("It has {lines} line.", "It has {lines} lines.", lines).format(
            lines=number(lines)
        )
    return NotFoundError(
        "D567",
        _("{file} has no line {line}.").format(file=visible(source.shown), line=number(line)),
        why,
        _("Name an earlier line."),
    )
