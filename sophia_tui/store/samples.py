"""The sample loader: the one writer of sample tables, in schema `public` of the embedded server.

It refuses every other server, and tables of those names that it did not make itself.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql

from sophia_tui.domain.samples import SampleTable
from sophia_tui.errors import ConflictError, RefusedError, UnavailableError
from sophia_tui.i18n import _
from sophia_tui.paths import Paths
from sophia_tui.settings import Settings
from sophia_tui.store.embedded import EmbeddedServer

#: In the order of loading. Tables of other names are never looked at.
TABLES = ("docs", "qa_cache", "feedback", "customers", "conversations", "messages")
#: The comment by which a table is known as ours.
MARK = "Sample data of Sophia's demo; replaced at each load."
_AGO = "_minutes_ago"
_RELATIONS = """
SELECT c.relname, c.relkind = 'r' AND obj_description(c.oid, 'pg_class') IS NOT DISTINCT FROM %s
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relname = ANY(%s)
"""


def source_folder() -> Path:
    """Where the sample's schema and rows lie."""
    from finetune.schema import RECIPES_FOLDER

    return RECIPES_FOLDER.parent / "samples" / "source"


class EmbeddedSamples:
    """Loads the sample into the embedded server of `paths`."""

    def __init__(self, settings: Settings, paths: Paths, folder: Path | None = None) -> None:
        self._settings = settings
        self._server = EmbeddedServer(paths.postgres)
        self._folder = folder or source_folder()

    async def load(self, now: datetime) -> list[SampleTable]:
        """See SampleLoader in domain/samples.py. Raises UnavailableError S323 as well."""
        self._require_embedded()
        url = await self._server.ensure_running()
        try:
            # one connection for one transaction: leaving the block commits or takes all back
            async with await AsyncConnection.connect(url) as connection:
                await _require_server(connection, self._server.name)
                return await self._replace(connection, now)
        except psycopg.errors.DependentObjectsStillExist as problem:
            raise ConflictError(
                "S322",
                _("The sample tables can't be replaced."),
                _("Something was made that depends on them (a view, say)."),
                _("Drop it, then load the sample again; nothing was changed."),
            ) from problem
        except psycopg.OperationalError as problem:
            raise UnavailableError(
                "S323",
                _("The sample could not be loaded; everything is as it was."),
                type(problem).__name__,
                _("See `sophia store status`, then try again."),
            ) from problem

    def _require_embedded(self) -> None:
        """The sample plays the source only where nothing else is the source or the store."""
        named = []
        if self._settings.database_url is not None:
            named.append("DATABASE_URL")
        store = self._settings.store_url
        if store is not None and store.get_secret_value().strip().lower() != "embedded":
            named.append("SOPHIA_STORE_URL")
        if named:
            raise _refused(_("{settings} names another server.").format(settings=", ".join(named)))

    async def _replace(
        self, connection: "AsyncConnection[Any]", now: datetime
    ) -> list[SampleTable]:
        await connection.execute("SET LOCAL search_path TO public")
        # two loaders at once: the second waits here and then replaces what the first one made
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('sophia.samples'))")
        await _drop_own(connection)
        schema = (self._folder / "schema.sql").read_text(encoding="utf-8")
        await connection.execute(schema.encode("utf-8"))
        loaded = []
        for table in TABLES:
            rows = await _copy(connection, table, self._folder / f"{table}.jsonl", now)
            await connection.execute(
                sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(table), MARK)
            )
            loaded.append(SampleTable(table, rows))
        for table in TABLES:
            await connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        return loaded


def _refused(why: str) -> RefusedError:
    return RefusedError(
        "S320",
        _("The sample data is only ever loaded into the embedded Postgres."),
        why,
        _("Unset it for the demo, e.g. `env -u DATABASE_URL sophia demo`."),
    )


async def _require_server(connection: "AsyncConnection[Any]", name: str) -> None:
    """Belt and braces: the server itself says that it is the one we started."""
    row = await (await connection.execute("SHOW cluster_name")).fetchone()
    if row is None or row[0] != name:
        raise _refused(_("The server that answered is not the embedded one."))


async def _drop_own(connection: "AsyncConnection[Any]") -> None:
    found = await (await connection.execute(_RELATIONS, (MARK, list(TABLES)))).fetchall()
    foreign = sorted(name for name, ours in found if not ours)
    if foreign:
        raise ConflictError(
            "S321",
            _("Tables of the sample's names are there already: {tables}.").format(
                tables=", ".join(foreign)
            ),
            _("They were not made by the sample loader, so it leaves them alone."),
            _("Rename or drop them, or use another data folder (SOPHIA_DATA_DIR)."),
        )
    if found:
        names = sql.SQL(", ").join(sql.Identifier(name) for name, _ours in found)
        await connection.execute(sql.SQL("DROP TABLE {}").format(names))


async def _copy(connection: "AsyncConnection[Any]", table: str, path: Path, now: datetime) -> int:
    """Stream a table's rows in; the number of rows."""
    rows = list(_rows(path, now))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    )
    async with connection.cursor().copy(statement) as copy:
        for row in rows:
            await copy.write_row([row.get(name) for name in columns])
    return len(rows)


def _rows(path: Path, now: datetime) -> Iterator[dict[str, Any]]:
    """The rows as Postgres takes them: `x_minutes_ago` as the time x, lists and objects as JSON."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = {}
            for name, value in json.loads(line).items():
                if name.endswith(_AGO):
                    ago = None if value is None else now - timedelta(minutes=value)
                    row[name.removesuffix(_AGO)] = ago
                elif isinstance(value, dict | list):
                    row[name] = json.dumps(value, ensure_ascii=False)
                else:
                    row[name] = value
            yield row
