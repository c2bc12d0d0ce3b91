"""Collect's exports: rows of the source become JSON Lines in FINETUNE_DIR, traceable to their rows.

Beside a data file such as qa_cache.jsonl lies, in the folder `provenance`:

    qa_cache.jsonl           {"line": 1, "hash": xxh3_128 of the line's bytes without its end in 32
                             hex digits, "table": "public.qa_cache", "key": {"qhash": "…"}},
                             one for each line of the data file, in its order
    qa_cache.rejected.jsonl  {"table", "key", "code", "reason"} of rows that can't be used
    qa_cache.manifest.json   period, zone, counts, versions, and the data file's SHA-256

All files of one collect are complete on disk before the first gets its name; where the machine dies
between two renames, the SHA-256 in the manifest does not fit the data file.
"""

import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from sophia_tui.domain.context import Context, Progress
from sophia_tui.domain.protocols import ExportCounts, ExportRequest, ExportResult
from sophia_tui.errors import DataError, UsageError
from sophia_tui.i18n import _
from sophia_tui.store import source_sql
from sophia_tui.store.export_files import StagedFile, Staging
from sophia_tui.store.export_process import WritingProcess
from sophia_tui.store.export_shapes import Chatting, Done, Pairing, Shape
from sophia_tui.store.source_columns import EXPORTS, Kind
from sophia_tui.store.source_rows import batches_of
from sophia_tui.store.source_sql import Query
from sophia_tui.store.source_tables import Tables

PROGRESS_SECONDS = 0.2
_NOTHING = ExportCounts(0, 0, 0, 0)


@dataclass(frozen=True)
class Plan:
    """One export that can be made: its queries, one after the other, and what the lines are."""

    name: str
    queries: tuple[Query, ...]
    shape: Shape


def plan(name: str, tables: Tables, request: ExportRequest) -> Plan:
    """The export `name` for the tables as they were found."""
    lines: Pairing | Chatting
    queries: tuple[Query, ...]
    if name == "qa_cache":
        queries = (source_sql.qa_cache(tables, request),)
        table = tables.get("qa_cache")
        assert table is not None
        plain = not table.usable("citations") or table.columns["citations"].kind is Kind.TEXT
        lines = Pairing("string" if plain else "json", '"citations":', "", "no_answer")
    elif name == "feedback_pairs":
        queries = (source_sql.feedback_pairs(tables),)
        table = tables.get("feedback")
        assert table is not None
        third = "number" if table.columns["doc_id"].kind is Kind.NUMBER else "string"
        before, after = '"metadata":{"doc_id":', ',"signal":1}'
        lines = Pairing(third, before, after, "no_document_text")
    else:
        empty = source_sql.empty_conversations(tables, request)
        queries = (source_sql.conversations(tables, request), empty)
        lines = Chatting(sorted(request.assistant_senders), sorted(request.customer_senders))
    return Plan(name, queries, Shape(queries[0].table, queries[0].key, lines))


def counts_of(done: Done) -> ExportCounts:
    """rows_read = exported + rejected."""
    rejected = sum(done.rejected_by.values())
    read = done.exported + rejected
    return ExportCounts(read, done.exported, rejected, done.bytes_written, done.rejected_by)


def _refuse_nothing(results: Sequence[ExportResult]) -> None:
    """To write nothing at all and call it done would hide that the source is the wrong one."""
    if any(each.available for each in results):
        return
    raise DataError(
        "D115",
        _("There is nothing to collect in this source."),
        " ".join(f"{each.name}: {each.problem}" for each in results),
        _(
            "`sophia source inspect` shows every table and column. If the tables are elsewhere,"
            " correct DATABASE_URL or SOPHIA_SOURCE_SCHEMA."
        ),
    )


class Exporter:
    """Runs the exports of one request inside one transaction."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        tables: Tables,
        request: ExportRequest,
        context: Context,
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._request = request
        self._context = context
        self._told = 0.0
        self._facts: dict[str, Any] = {}

    async def run(self) -> list[ExportResult]:
        """Write all or nothing.

        Raises UsageError D110 and DataError D111, D113 for what was asked for and can't be,
        DataError D115 where nothing can be written, ConflictError D112, DataError D114,
        SetupError S101, CancelledError U499, psycopg.Error.
        """
        names = self._asked()
        hindrances = {name: self._hindrance(name) for name in names}
        await self._prepare_encoding()
        async with AsyncExitStack() as stack:
            staging = None
            if self._request.folder is not None:
                staging = stack.enter_context(Staging(Path(self._request.folder)))
            self._writer = await stack.enter_async_context(WritingProcess(self._context))
            results = []
            for name in names:
                reason = hindrances[name] or await self._without_ratings(name)
                if reason:
                    results.append(ExportResult(name, False, _NOTHING, reason))
                else:
                    made = await self._export(name, staging)
                    results.append(replace(made, **await self._zone_facts(name)))
            if staging is not None:
                _refuse_nothing(results)
                self._context.cancel.check()
                staging.place()
        return results

    def _asked(self) -> tuple[str, ...]:
        for name in self._request.what:
            if name not in EXPORTS:
                raise UsageError(
                    "D110",
                    _("There is no export {name}.").format(name=name),
                    remedy=_("The exports are {names}.").format(names=", ".join(EXPORTS)),
                )
        return tuple(dict.fromkeys(self._request.what)) or tuple(EXPORTS)

    def _hindrance(self, name: str) -> str:
        """Why an export is not available. Raises where it was asked for by its name."""
        reason = self._tables.hindrance(name)
        if reason and name in self._request.what:
            raise DataError(
                "D111",
                _("{name} can't be collected from this source.").format(name=name),
                reason,
                _("`sophia source inspect` shows every table and column."),
            )
        return reason

    async def _without_ratings(self, name: str) -> str:
        """No source has ratings yet, so a lowest rating would silently leave nothing over."""
        if name != "conversations" or self._request.conversations.minimum_rating is None:
            return ""
        done = await self._lines(plan(name, self._tables, self._request), ())
        reason = _("No conversation has a rating yet; {count} fit all other filters.").format(
            count=done.exported
        )
        if name in self._request.what:
            raise DataError(
                "D113",
                _("Conversations can't be chosen by rating."),
                reason,
                _("Leave the lowest rating out."),
            )
        return reason

    async def _zone_facts(self, name: str) -> dict[str, Any]:
        """What a person must know of a time column without zone: a wrong guess moves the period."""
        found = source_sql.time_without_zone(name, self._tables)
        if found is None:
            return {}
        table, column = found
        cursor = await self._connection.execute(
            source_sql.count_after(name, table, column, self._request)
        )
        row = await cursor.fetchone()
        return {
            "time_column": f"{table.label}.{column.name}",
            "assumed_zone": self._request.zone,
            "rows_after": int(row[0]) if row else 0,
        }

    async def _prepare_encoding(self) -> None:
        """A database without encoding sends bytes as they are: no row may end the export."""
        info = self._connection.info
        encoding = info.parameter_status("server_encoding") or ""
        self._facts = {
            "server_version": info.parameter_status("server_version"),
            "server_encoding": encoding,
        }
        if encoding == "SQL_ASCII":
            await self._connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")

    async def _export(self, name: str, staging: Staging | None) -> ExportResult:
        chosen = plan(name, self._tables, self._request)
        table = chosen.shape.table
        if staging is None:
            done = await self._lines(chosen, ())
            return ExportResult(name, True, counts_of(done), table=table)
        data = staging.open(staging.folder / f"{name}.jsonl")
        notes = staging.open(staging.notes / f"{name}.jsonl")
        rejected = staging.open(staging.notes / f"{name}.rejected.jsonl")
        done = await self._lines(chosen, (data, notes, rejected))
        manifest = staging.open(staging.notes / f"{name}.manifest.json")
        manifest.write(self._manifest(chosen, data.path.name, done))
        return ExportResult(
            name,
            True,
            counts_of(done),
            table=table,
            file=str(data.path),
            rejected_file=str(rejected.path),
        )

    async def _lines(self, chosen: Plan, files: tuple[StagedFile, ...]) -> Done:
        """Read the rows of all queries and have them written into the files (none: counted)."""
        read = 0
        names = tuple((each.path, str(each.temporary)) for each in files)
        await self._writer.begin(chosen.shape, names)
        for query in chosen.queries:
            batches = batches_of(self._connection, query.text, self._context.cancel.check)
            async with aclosing(batches):
                async for batch in batches:
                    await self._writer.feed(batch.values, query.columns)
                    read += batch.rows
                    self._tell(chosen.name, read)
        done = await self._writer.finish()
        self._tell(chosen.name, read, last=True)
        return done

    def _tell(self, name: str, done: int, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._told >= PROGRESS_SECONDS:
            self._told = now
            self._context.progress(Progress(stage=name, done=done, unit=_("rows")))

    def _manifest(self, chosen: Plan, file: str, done: Done) -> bytes:
        request, counts = self._request, counts_of(done)
        period: dict[str, Any] = {"start": request.start, "end": request.end}
        if chosen.name == "feedback_pairs":
            period = {}  # every positive feedback, whenever it was given
        elif chosen.name == "conversations":
            wanted = request.conversations
            period = {"start": wanted.start, "end": wanted.end}
        manifest = {
            "version": 1,
            "export": chosen.name,
            "file": file,
            "sha256": done.sha256,
            "bytes": done.bytes_written,
            "period": {name: at.isoformat() for name, at in period.items()},
            "zone": request.zone,
            "rows_read": counts.rows_read,
            "exported": counts.exported,
            "rejected": counts.rejected,
            "rejected_by": dict(counts.rejected_by),
            "table": chosen.shape.table,
            "query_version": source_sql.QUERY_VERSION,
            "collected_at": request.now.isoformat(),
            **self._facts,
        }
        return json.dumps(manifest, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"
