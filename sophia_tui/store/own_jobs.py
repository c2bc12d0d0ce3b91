"""Jobs, their queue, their events and the workers, in Postgres."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from sophia_tui.domain.jobs import (
    FIGURES,
    Bucket,
    Claimer,
    Cut,
    EventsSize,
    Job,
    JobEvent,
    JobState,
    QueuedJob,
)
from sophia_tui.domain.lists import Found, Wanted
from sophia_tui.errors import ConflictError, InternalError, NotFoundError, SophiaError
from sophia_tui.i18n import _
from sophia_tui.store import rows
from sophia_tui.store.connection import Connection, Database
from sophia_tui.store.lists import JOBS, listed
from sophia_tui.store.sql import query

#: Columns that a run moves by itself; changing them is no act of a person and moves no version.
_MOVING = frozenset({"step", "total_steps", "loss", "seconds_left", "heartbeat_at"})
_CHANGEABLE = frozenset(Job.__dataclass_fields__) - {"id", "version", "created_at", "created_by"}


class PostgresJobs:
    """Implements domain.protocols.JobStore."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listener: Connection | None = None
        self._listen_passes: bool | None = None

    async def add(self, job: Job) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(query("add_job"), rows.job_columns(job))
            await connection.execute(query("wake"))

    async def get(self, job_id: str) -> Job | None:
        found = await self._database.row(query("get_job"), {"id": rows.text(job_id)})
        return rows.job(found) if found else None

    async def page(
        self,
        limit: int = 100,
        offset: int = 0,
        states: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[Job]:
        found = await self._database.rows(
            query("page_jobs"),
            {"limit": limit, "offset": offset, "states": _texts(states), "kinds": _texts(kinds)},
        )
        return [rows.job(each) for each in found]

    async def listed(self, wanted: Wanted, states: Sequence[str] = ()) -> Found[Job]:
        given = {"states": _texts(states)}
        return await listed(self._database, JOBS, wanted, rows.job, given)

    async def counts(self) -> dict[str, int]:
        found = await self._database.rows(query("count_jobs"))
        return {each["state"]: each["number"] for each in found}

    async def update(self, job_id: str, version: int | None = None, **changes: Any) -> Job:
        columns = _columns(changes)
        assignments: list[sql.Composable] = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
            for name in columns
        ]
        if set(changes) - _MOVING:
            assignments.append(sql.SQL("version = version + 1"))
        parameters = {**columns, "this_id": job_id, "this_version": version}
        statement = sql.SQL(
            "UPDATE sophia.jobs SET {} WHERE id = %(this_id)s"
            " AND (%(this_version)s::integer IS NULL OR version = %(this_version)s) RETURNING *"
        ).format(sql.SQL(", ").join(assignments))
        async with self._database.transaction() as connection:
            found = await (await connection.execute(statement, parameters)).fetchone()
            if changes.get("state") == JobState.QUEUED or changes.get("wanted"):
                await connection.execute(query("wake"))
        if found is None:
            raise await self._missed(job_id)
        return rows.job(found)

    async def _missed(self, job_id: str) -> SophiaError:
        if await self.get(job_id) is None:
            return missing(job_id)
        return ConflictError(
            "J409",
            _("Job {id} was changed by somebody else meanwhile.").format(id=job_id),
            remedy=_("Look at it again, then repeat what you wanted."),
        )

    async def hosted(self, host: str) -> list[Job]:
        found = await self._database.rows(query("hosted_jobs"), {"host": host})
        return [rows.job(each) for each in found]

    async def request(self, job_id: str, wanted: str) -> Job:
        async with self._database.transaction() as connection:
            parameters = {"id": job_id, "wanted": wanted}
            cursor = await connection.execute(query("request_job"), parameters)
            found = await cursor.fetchone()
            await connection.execute(query("wake"))
        if found is not None:
            return rows.job(found)
        if await self.get(job_id) is None:
            raise missing(job_id)
        raise ConflictError(
            "J410",
            _("Job {job} has ended.").format(job=job_id),
            remedy=_("`sophia jobs show {id}` tells how.").format(id=job_id),
        )

    async def claim(self, claimer: Claimer, hosted: bool = False) -> Job | None:
        parameters = {**_claim(claimer), "hosted": hosted}
        async with self._database.transaction() as connection:
            if not hosted:
                await connection.execute(query("lock_slots"), {"host": claimer.host})
            found = await (await connection.execute(query("claim_job"), parameters)).fetchone()
        return rows.job(found) if found else None

    async def take_slot(self, job: Job, claimer: Claimer) -> Job | None:
        parameters = {**_claim(claimer), "id": job.id, "version": job.version}
        async with self._database.transaction() as connection:
            await connection.execute(query("lock_slots"), {"host": claimer.host})
            found = await (await connection.execute(query("take_slot"), parameters)).fetchone()
        return rows.job(found) if found else None

    async def adoptable(self, host: str) -> list[Job]:
        found = await self._database.rows(query("adoptable_jobs"), {"host": host})
        return [rows.job(each) for each in found]

    async def stray(self, claimer: Claimer, within_seconds: float) -> list[Job]:
        parameters = {**_claim(claimer), "seconds": within_seconds}
        found = await self._database.rows(query("stray_jobs"), parameters)
        return [rows.job(each) for each in found]

    async def take_over(self, job: Job, claimer: Claimer) -> Job:
        parameters = {**_claim(claimer), "id": job.id, "version": job.version}
        found = await self._database.row(query("take_over_job"), parameters)
        if found is None:
            raise await self._missed(job.id)
        return rows.job(found)

    async def queued(self, limit: int = 500, offset: int = 0) -> list[QueuedJob]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("queued_jobs"), parameters)
        return [rows.queued_job(each) for each in found]

    async def places(self) -> dict[str, int]:
        found = await self._database.rows(query("queue_places"))
        return {each["id"]: each["position"] for each in found}

    async def usual_seconds(self) -> dict[tuple[str, str], float]:
        found = await self._database.rows(query("usual_seconds"))
        return {(each["kind"], each["base"]): each["seconds"] for each in found}

    async def move(self, job_id: str, place: Callable[[list[str]], int]) -> int:
        async with self._database.transaction() as connection:
            await connection.execute(query("lock_order"))
            found = await (await connection.execute(query("order"))).fetchall()
            before = [str(each["id"]) for each in found]
            if job_id not in before:
                raise ConflictError(
                    "J589",
                    _("Job {job} does not wait in the queue.").format(job=job_id),
                    remedy=_("`sophia jobs queue` lists those that do."),
                )
            after = [each for each in before if each != job_id]
            index = max(0, min(place(before), len(after)))
            after.insert(index, job_id)
            changed = [
                {"id": name, "place": row["place"]}
                for name, was, row in zip(after, before, found, strict=True)
                if name != was
            ]
            if changed:
                async with connection.cursor() as writer:
                    await writer.executemany(query("place_job"), changed)
                await connection.execute(query("wake"))
        return index

    async def append_events(self, job_id: str, events: Sequence[JobEvent], offset: int) -> int:
        """Raises InternalError S090 where an event is missing or stands in the wrong order."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(query("lock_job"), {"id": job_id})
            found = await cursor.fetchone()
            if found is None:
                raise missing(job_id)
            new = _following(job_id, events, found["last_event"])
            if new:
                async with connection.cursor() as writer:
                    await writer.executemany(
                        query("add_event"), [rows.event_columns(each) for each in new]
                    )
            if new or offset > found["event_offset"]:
                last = new[-1].number if new else found["last_event"]
                parameters = {"id": job_id, "last": last, "offset": offset}
                await connection.execute(query("move_events"), parameters)
        return len(new)

    async def events(self, job_id: str, after: int = 0, limit: int = 500) -> list[JobEvent]:
        parameters = {"job_id": job_id, "after": after, "limit": limit}
        return [rows.event(each) for each in await self._database.rows(query("events"), parameters)]

    async def beat(
        self, claimer: Claimer, pid: int, hindrance: Mapping[str, Any] | None = None
    ) -> None:
        parameters = {
            "id": claimer.worker_id,
            "host": claimer.host,
            "pid": pid,
            "folder": claimer.folder,
            "queues": list(claimer.queues or ()),
            "slots": 1 if claimer.slots is None else claimer.slots,
            "hindrance": rows.column(hindrance),
        }
        await self._database.run(query("beat"), parameters)

    async def figures(self, job_id: str) -> dict[str, Any]:
        parameters = {"job_id": job_id, "names": list(FIGURES)}
        found = await self._database.rows(query("job_figures"), parameters)
        seconds = await self._database.row(query("job_seconds"), {"job_id": job_id})
        figures = {each["name"]: each["value"] for each in found}
        return {**figures, "seconds_running": seconds["seconds"] if seconds else 0.0}

    async def curve(
        self, job_id: str, name: str, width: float, cuts: Sequence[Cut] = ()
    ) -> list[Bucket]:
        parameters = {
            "job_id": job_id,
            "name": rows.text(name),
            "width": width,
            "cut_numbers": [each.number for each in cuts],
            "cut_steps": [each.step for each in cuts],
        }
        found = await self._database.rows(query("job_curve"), parameters)
        return [rows.bucket(each) for each in found]

    async def events_size(self) -> EventsSize:
        found = await self._database.row(query("events_size"))
        return EventsSize(found["rows"], found["bytes"]) if found else EventsSize(0, 0)

    async def drop_progress(self, before: datetime, dry_run: bool = False) -> int:
        name = "old_progress" if dry_run else "drop_progress"
        found = await self._database.row(query(name), {"before": before})
        return int(found["number"]) if found else 0

    async def forget_worker(self, worker_id: str) -> None:
        await self._database.run(query("forget_worker"), {"id": worker_id})

    async def living_workers(self, within_seconds: float) -> list[dict[str, Any]]:
        found = await self._database.rows(query("living_workers"), {"seconds": within_seconds})
        return [dict(each) for each in found]

    async def wait_for_wakeup(self, seconds: float) -> bool:
        """A notification that arrived since the last call counts. Never raises for a database that
        is away: the caller's next query tells that."""
        try:
            listener = await self._listening()
            if listener is not None:
                async for _notification in listener.notifies(timeout=seconds, stop_after=1):
                    return True
                return False
        except (psycopg.Error, SophiaError):
            await self._stop_listening()
        await asyncio.sleep(seconds)
        return False

    async def _listening(self) -> Connection | None:
        """The connection that listens, or None where notifications do not pass: a pooler shows
        itself by giving out a process number that is not the server's."""
        if self._listener is not None or self._listen_passes is False:
            return self._listener
        connection = await self._database.connect()
        try:
            found = await (await connection.execute(query("backend_pid"))).fetchone()
            told = connection.info.backend_pid
            self._listen_passes = found is not None and found["pid"] == told
            if self._listen_passes:
                await connection.execute(query("listen"))
                self._listener = connection
        finally:
            if self._listener is not connection:
                await connection.close()
        return self._listener

    async def _stop_listening(self) -> None:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with contextlib.suppress(psycopg.Error):
                await listener.close()

    async def close(self) -> None:
        await self._stop_listening()


def missing(job_id: str) -> NotFoundError:
    """The error for a job that is not there."""
    return NotFoundError(
        "J404",
        _("There is no job {job}.").format(job=job_id),
        remedy=_("`sophia jobs list` lists them."),
    )


def _claim(claimer: Claimer) -> dict[str, Any]:
    """A worker as parameters of the queue's statements."""
    return {
        "worker": claimer.worker_id,
        "host": claimer.host,
        "folder": claimer.folder,
        "queues": None if claimer.queues is None else list(claimer.queues),
        "slots": claimer.slots,
        "quiet": claimer.quiet,
        "without": list(claimer.without),
        "gone": list(claimer.gone),
    }


def _texts(words: Sequence[str]) -> list[str]:
    return [str(each) for each in words]


def _columns(changes: dict[str, Any]) -> dict[str, Any]:
    if unknown := set(changes) - _CHANGEABLE:
        raise InternalError("S095", f"No column of a job: {', '.join(sorted(unknown))}.")
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "identity":
            columns.update(rows.identity_columns(value))
        elif name == "files":
            columns[name] = [rows.text(each) for each in value]
        else:
            columns[name] = rows.column(value)
    return columns


def _following(job_id: str, events: Sequence[JobEvent], last: int) -> list[JobEvent]:
    """The events after `last`, which must follow it one by one."""
    new: list[JobEvent] = []
    before: int | None = None
    for each in events:
        expected = last + len(new) + 1
        repeated = 0 < each.number <= last and (before is None or each.number == before + 1)
        if each.job_id != job_id or (each.number != expected and not repeated):
            raise InternalError(
                "S090",
                _("The events of job {id} do not follow each other.").format(id=job_id),
                _("Number {found} came where {expected} was to come.").format(
                    found=each.number, expected=expected
                ),
                _("The run's events.jsonl is the truth; compare it with `sophia jobs events`."),
            )
        before = each.number
        if each.number == expected:
            new.append(each)
    return new
