"""What the doors to training keep in Postgres: uploaded files, personas, answer events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from sophia_tui.domain.events import AnswerEvent
from sophia_tui.domain.jobs import Job, JobEvent
from sophia_tui.domain.personas import Pair, Persona
from sophia_tui.domain.uploads import UploadedFile
from sophia_tui.errors import InternalError
from sophia_tui.store import rows
from sophia_tui.store.connection import Database
from sophia_tui.store.sql import query


class PostgresTrainings:
    """Implements domain.protocols.TrainingStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, limit: int, after: str | None = None, metadata: dict[str, str] | None = None
    ) -> list[Job]:
        parameters = {
            "limit": limit,
            "after": after,
            "metadata": Jsonb(rows.plain(metadata)) if metadata else None,
        }
        found = await self._database.rows(query("page_trainings"), parameters)
        return [rows.job(each) for each in found]

    async def newest(self, part: dict[str, Any], since: datetime) -> Job | None:
        parameters = {"part": Jsonb(rows.plain(part)), "since": since}
        found = await self._database.row(query("newest_training_of"), parameters)
        return rows.job(found) if found else None

    async def events_before(
        self, job_id: str, before: int | None, limit: int, kinds: Sequence[str] = ()
    ) -> list[JobEvent]:
        parameters = {"job_id": job_id, "before": before, "limit": limit, "kinds": list(kinds)}
        # states have an index of their own, which is used where they are asked for by name
        name = "states_before" if parameters["kinds"] == ["state"] else "events_before"
        found = await self._database.rows(query(name), parameters)
        return [rows.event(each) for each in found]

    async def answers(self, limit: int, tenant: str | None) -> list[AnswerEvent]:
        parameters = {"limit": limit, "tenant": tenant}
        found = await self._database.rows(query("answer_events"), parameters)
        return [AnswerEvent("sophia.ai_events", each["key"], each["meta"]) for each in found]


class PostgresFiles:
    """Implements domain.uploads.FileStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: UploadedFile) -> None:
        await self._database.run(query("add_file"), rows.file_columns(file))

    async def get(self, file_id: str) -> UploadedFile | None:
        found = await self._database.row(query("get_file"), {"id": rows.text(file_id)})
        return rows.uploaded_file(found) if found else None

    async def page(
        self,
        limit: int,
        offset: int = 0,
        after: str | None = None,
        purpose: str | None = None,
        oldest_first: bool = False,
    ) -> list[UploadedFile]:
        parameters = {"limit": limit, "offset": offset, "after": after, "purpose": purpose}
        name = "page_files_oldest_first" if oldest_first else "page_files"
        found = await self._database.rows(query(name), parameters)
        return [rows.uploaded_file(each) for each in found]

    async def delete(self, file_id: str, at: datetime) -> None:
        await self._database.run(query("delete_file"), {"id": rows.text(file_id), "at": at})


class PostgresPersonas:
    """Implements domain.personas.PersonaStore."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, persona: Persona) -> Persona:
        await self._database.run(query("add_persona"), rows.persona_columns(persona))
        found = await self.get(persona.document_hash)
        if found is None:
            raise InternalError("J639", "a persona that was added is not there")
        return found

    async def get(self, persona_id: str) -> Persona | None:
        found = await self._database.row(query("get_persona"), {"id": rows.text(persona_id)})
        return rows.persona(found) if found else None

    async def page(self, limit: int = 100, offset: int = 0) -> list[Persona]:
        parameters = {"limit": limit, "offset": offset}
        found = await self._database.rows(query("page_personas"), parameters)
        return [rows.persona(each) for each in found]

    async def add_pairs(self, persona_id: str, pairs: Sequence[Pair]) -> int:
        added = 0
        async with self._database.transaction() as connection:
            # two who send the same pairs at the same time take turns
            await connection.execute(query("lock_persona"), {"id": persona_id})
            for each in pairs:
                parameters = {
                    "persona_id": persona_id,
                    "input": rows.text(each.input),
                    "output": rows.text(each.output),
                }
                cursor = await connection.execute(query("add_persona_pair"), parameters)
                added += cursor.rowcount
        return added

    async def pairs(self, persona_id: str) -> list[Pair]:
        found = await self._database.rows(query("persona_pairs"), {"id": persona_id})
        return [Pair(each["input"], each["output"]) for each in found]

    async def used(self, persona_id: str, job_id: str) -> None:
        await self._database.run(query("use_persona_pairs"), {"id": persona_id, "job_id": job_id})

    async def tuned(self, persona_id: str, model_id: str) -> None:
        parameters = {"id": persona_id, "model_id": model_id}
        await self._database.run(query("persona_tuned"), parameters)
