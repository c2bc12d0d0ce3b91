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
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from sophia_tui.domain.context import Context, Progress
from sophia_tui.domain.protocols import ExportCounts, ExportRequest, ExportResult
from sophia_tui.errors import DataError, UsageError
from sophia_tui.i18n import _
from sophia_tui.store import source_sql
from sophia_tui.store.export_files import StagedFile, Staging
from sophia_tui.store.export_lines import Keys, numbers, raw_json, strings
from sophia_tui.store.export_records import Chats, Pairs, Piece
from sophia_tui.store.source_columns import EXPORTS, Kind
from sophia_tui.store.source_rows import copy_batches
from sophia_tui.store.source_sql import Query
from sophia_tui.store.source_tables import Tables

PROGRESS_SECONDS = 0.2
_NOTHING = ExportCounts(0, 0, 0, 0)


@dataclass(frozen=True)
class Plan:
    """One export that can be made: its queries, one after the other, and what makes the lines."""

    name: str
    queries: tuple[Query, ...]
    maker: Pairs | Chats


def plan(name: str, tables: Tables, request: ExportRequest) -> Plan:
    """The export `name` for the tables as they were found."""
    if name == "qa_cache":
        query = source_sql.qa_cache(tables, request)
        table = tables.get("qa_cache")
        assert table is not None
        plain = not table.usable("citations") or table.columns["citations"].kind is Kind.TEXT
        citations = strings if plain else raw_json
        keys = Keys(query.table, query.key)
        return Plan(name, (query,), Pairs(keys, citations, b'"citations":', b"", "no_answer"))
    if name == "feedback_pairs":
        query = source_sql.feedback_pairs(tables)
        table = tables.get("feedback")
        assert table is not None
        doc_id = numbers if table.columns["doc_id"].kind is Kind.NUMBER else strings
        keys = Keys(query.table, query.key)
        start, end = b'"metadata":{"doc_id":', b',"signal":1}'
        return Plan(name, (query,), Pairs(keys, doc_id, start, end, "no_document_text"))
    query = source_sql.conversations(tables, request)
    chats = Chats(Keys(query.table, query.key), request.assistant_senders, request.customer_senders)
    return Plan(name, (query, source_sql.empty_conversations(tables, request)), chats)


@dataclass(frozen=True)
class _Target:
    """The files of one export."""

    data: StagedFile
    provenance: StagedFile
    rejected: StagedFile


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
        ConflictError D112, SetupError S101, CancelledError U499, psycopg.Error.
        """
        names = self._asked()
        hindrances = {name: await self._hindrance(name) for name in names}
        await self._prepare_encoding()
        async with AsyncExitStack() as stack:
            staging = None
            if self._request.folder is not None:
                staging = await stack.enter_async_context(Staging(Path(self._request.folder)))
            results = []
            for name in names:
                if hindrances[name]:
                    results.append(ExportResult(name, False, _NOTHING, hindrances[name]))
                else:
                    results.append(await self._export(name, staging))
            if staging is not None:
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

    async def _hindrance(self, name: str) -> str:
        """Why an export is not available. Raises where it was asked for by its name."""
        reason = self._tables.hindrance(name)
        if reason and name in self._request.what:
            raise DataError(
                "D111",
                _("{name} can't be collected from this source.").format(name=name),
                reason,
                _("`sophia source inspect` shows every table and column."),
            )
        if not reason and name == "conversations":
            reason = await self._without_ratings(name)
        return reason

    async def _without_ratings(self, name: str) -> str:
        """No source has ratings yet, so a lowest rating would silently leave nothing over."""
        if self._request.conversations.minimum_rating is None:
            return ""
        chosen = plan(name, self._tables, self._request)
        await self._count(chosen)
        reason = _("No conversation has a rating yet; {count} fit all other filters.").format(
            count=chosen.maker.tally.exported
        )
        if name in self._request.what:
            raise DataError(
                "D113",
                _("Conversations can't be chosen by rating."),
                reason,
                _("Leave the lowest rating out."),
            )
        return reason

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
        tally = chosen.maker.tally
        table = chosen.queries[0].table
        if staging is None:
            await self._count(chosen)
            return ExportResult(name, True, tally.counts(), table=table)
        target = _Target(
            provenance=staging.open(staging.notes / f"{name}.jsonl"),
            rejected=staging.open(staging.notes / f"{name}.rejected.jsonl"),
            data=staging.open(staging.folder / f"{name}.jsonl", hashed=True),
        )
        async with aclosing(self._pieces(chosen, write=True)) as pieces:
            async for piece in pieces:
                await staging.write(
                    (target.data, piece.data),
                    (target.provenance, piece.provenance),
                    (target.rejected, piece.rejected),
                )
        await staging.settle(target.data, target.provenance, target.rejected)
        tally.bytes_written = target.data.bytes_written
        manifest = staging.open(staging.notes / f"{name}.manifest.json")
        content = self._manifest(chosen, target.data)
        await staging.write((manifest, content))
        await staging.settle(manifest)
        return ExportResult(
            name,
            True,
            tally.counts(),
            table=table,
            file=str(target.data.path),
            rejected_file=str(target.rejected.path),
        )

    async def _count(self, chosen: Plan) -> None:
        """Read all and keep nothing but the tally."""
        async with aclosing(self._pieces(chosen, write=False)) as pieces:
            async for _unused in pieces:
                pass

    async def _pieces(self, chosen: Plan, write: bool) -> AsyncGenerator[Piece, None]:
        """What the batches of all queries become, in order."""
        for query in chosen.queries:
            batches = copy_batches(
                self._connection, query.text, query.columns, self._context.cancel.check
            )
            async with aclosing(batches):
                async for columns in batches:
                    piece = chosen.maker.feed(columns, write)
                    self._tell(chosen)
                    yield piece
        yield chosen.maker.finish(write)
        self._tell(chosen, last=True)

    def _tell(self, chosen: Plan, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._told >= PROGRESS_SECONDS:
            self._told = now
            tally = chosen.maker.tally
            done = tally.exported + sum(tally.rejected.values())
            self._context.progress(Progress(stage=chosen.name, done=done, unit=_("rows")))

    def _manifest(self, chosen: Plan, data: StagedFile) -> bytes:
        request, counts = self._request, chosen.maker.tally.counts()
        period: dict[str, Any] = {"start": request.start, "end": request.end}
        if chosen.name == "feedback_pairs":
            period = {}  # every positive feedback, whenever it was given
        elif chosen.name == "conversations":
            wanted = request.conversations
            period = {"start": wanted.start, "end": wanted.end}
        manifest = {
            "version": 1,
            "export": chosen.name,
            "file": data.path.name,
            "sha256": data.sha256,
            "bytes": data.bytes_written,
            "period": {name: at.isoformat() for name, at in period.items()},
            "zone": request.zone,
            "rows_read": counts.rows_read,
            "exported": counts.exported,
            "rejected": counts.rejected,
            "rejected_by": dict(counts.rejected_by),
            "table": chosen.queries[0].table,
            "query_version": source_sql.QUERY_VERSION,
            "collected_at": request.now.isoformat(),
            **self._facts,
        }
        return json.dumps(manifest, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"
