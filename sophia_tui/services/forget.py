"""A person's right to be forgotten (LGPD art. 18, GDPR art. 17): where they are held, versions
without them, and what else still holds them.

Who it is comes from a prompt or standard input; it is never logged, and written down only masked.
"""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, SecretStr

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetUser, DatasetVersion
from sophia_tui.domain.hosted import HostedOrder
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.persons import (
    TABLES,
    Identifier,
    Sought,
    needles_of,
    patterns_of,
    read_identifiers,
)
from sophia_tui.domain.protocols import Clock, PersonRows, Source, Store
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.files import usable_folder, write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths, cache_folder
from sophia_tui.services.operations import operation
from sophia_tui.services.versions import delete_version, jobs_at_work, reasons_to_keep

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_PAGE = 500
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

#: What each kind of place is, and what to do about it. `{where}` is the place itself.
PLACES: dict[str, tuple[str, str]] = {
    "raw": (
        N_("raw export"),
        N_("Collect again once the source has forgotten them, or take the lines out by hand."),
    ),
    "history": (N_("history"), N_("Take the line out by hand; Sophia writes no word of theirs.")),
    "upload": (N_("uploaded file"), N_("`sophia files delete` removes the whole file.")),
    "persona": (N_("persona's pairs"), N_("Remove the file.")),
    "trainer": (N_("adaptive training"), N_("Remove the file; the next start builds it anew.")),
    "run": (N_("run folder"), N_("`sophia setup prune`, or remove the file.")),
    "report": (N_("report"), N_("Remove the file.")),
    "export": (N_("exported version"), N_("Remove it here and wherever it was taken.")),
    "cache": (N_("cache"), N_("Remove the file; it is made again when it is needed.")),
    "log": (N_("log"), N_("Remove the file, or `sophia setup prune`.")),
    "state": (N_("console's draft"), N_("Remove the file.")),
    "edits": (
        N_("edits not saved, or undone"),
        N_("`sophia prepare undo FILE --all` drops them, also those that were undone."),
    ),
}
#: The same of tables of Sophia's own store.
ROWS: dict[str, str] = {
    "evaluations": N_("Deleting the row loses the evaluation: have it deleted in the store."),
    "models": N_("`sophia models delete`; a model that stays keeps its report."),
    "jobs": N_("Have the row's request cleaned in the store; the job's record is lost with it."),
    "job_events": N_(
        "`sophia setup prune` drops progress; have other events deleted in the store."
    ),
    "notifications": N_("Have the row deleted in the store."),
    "audit": N_("The log of actions is append-only by law and by trigger: it stays, say so."),
    "ai_events": N_("Have the rows deleted in the store."),
    "personas": N_("Have the persona deleted in the store."),
    "persona_pairs": N_("Have the rows deleted in the store; tune the persona again."),
    "persona_interactions": N_("Have the rows deleted in the store."),
    "message_reactions": N_("Have the rows deleted in the store."),
    "conversation_ratings": N_("Have the rows deleted in the store."),
    "problem_flags": N_("Have the rows deleted in the store."),
    "review_queue": N_("Have the rows deleted in the store."),
}
#: Which of them can't be removed at all.
_FOR_GOOD = frozenset({"audit"})


class PersonInput(Input):
    person: SecretStr = Field(
        json_schema_extra={"lines": True},
        description=N_("Customer id, e-mail, phone, CPF or name:…, one a line or parted by `;`:"),
    )


class ForgetInput(PersonInput):
    delete_old: bool = Field(
        default=False,
        description=N_("Delete the old versions whole, where nothing protects them."),
    )


class HeldVersion(Output):
    """A version with rows of the person. `by_source` were found by their source row, `by_value` by
    a value in the text. `protected_by` is why the old one was not deleted."""

    table_columns: ClassVar[tuple[str, ...]] = ("dataset", "rows", "models", "jobs", "successor")

    dataset: str = Field(title=N_("Data set"))
    rows: int = Field(title=N_("Rows"))
    parts: dict[str, int] = Field(title=N_("Rows by part"))
    by_source: int = Field(title=N_("Found by source row"))
    by_value: int = Field(title=N_("Found by value"))
    rejected: int = Field(title=N_("Rejected records of theirs"))
    tags: list[str] = Field(title=N_("Tags"))
    jobs: list[str] = Field(title=N_("Jobs"))
    models: list[str] = Field(title=N_("Models"))
    successor: str | None = Field(default=None, title=N_("Version without them"))
    deleted: bool = Field(default=False, title=N_("Deleted"))
    protected_by: list[str] = Field(default_factory=list, title=N_("Why it stays"))


class HeldElsewhere(Output):
    """Another place that holds them, or may. `removable` is yes, by hand or no."""

    table_columns: ClassVar[tuple[str, ...]] = ("what", "where", "count", "removable", "advice")

    kind: str = Field(title=N_("Kind"))
    what: str = Field(title=N_("What"))
    where: str = Field(title=N_("Where"))
    count: int | None = Field(default=None, title=N_("Count"))
    removable: str = Field(title=N_("Can be removed"))
    advice: str = Field(title=N_("What to do"))


class HoldsReport(Output):
    """Who holds a person. `sought` is masked."""

    sought: list[str] = Field(title=N_("Looked for"))
    source_rows: dict[str, int] = Field(title=N_("Rows in the source"))
    looked_at: int = Field(title=N_("Versions looked at"))
    versions: list[HeldVersion] = Field(title=N_("Versions that hold them"))
    models: list[str] = Field(title=N_("Models trained on them"))
    elsewhere: list[HeldElsewhere] = Field(title=N_("What else holds them, or may"))
    not_looked_at: list[str] = Field(title=N_("Could not be looked at"))


class ForgetReport(HoldsReport):
    """What was done, to be kept as proof. `file` is where it lies; no word of theirs is in it."""

    by: str = Field(title=N_("Asked by"))
    at: datetime = Field(title=N_("On"))
    forgotten: int = Field(title=N_("Rows forgotten"))
    complete: bool = Field(title=N_("All data sets are without them"))
    file: str | None = Field(default=None, title=N_("Report"))


@dataclass(frozen=True)
class _Person:
    identifiers: list[Identifier]
    sought: Sought
    told: PersonRows

    @property
    def task(self) -> dict[str, Any]:
        """What the engine's tasks are given of it."""
        from sophia_tui.datasets.forget import Wanted

        sought = self.sought
        rows = {table: list(keys) for table, keys in sought.rows.items()}
        words = list(sought.patterns), list(sought.words), list(sought.numbers)
        return {"sought": Wanted(*words, rows)}


class ForgetService:
    """Needs the source to know which rows are a person's; goes on without it, and says so."""

    def __init__(
        self,
        store: Store,
        source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        paths: Paths,
        clock: Clock,
    ) -> None:
        self._store = store
        self._source = source
        self._settings = settings
        self._paths = paths
        self._clock = clock

    @operation(
        "prepare.holds",
        N_("Say which versions, models and other places hold a person."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
    )
    async def holds(self, context: Context, request: PersonInput) -> HoldsReport:
        """Changes nothing; that somebody asked is audited. Raises UsageError D601."""
        person = await self._person(request)
        found = await self._look(context, person)
        return HoldsReport(**found)

    @operation(
        "prepare.forget",
        N_("Make every data set anew without a person, and list what else still holds them."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        dry_run=True,
    )
    async def forget(self, context: Context, request: ForgetInput) -> ForgetReport:
        """Raises UsageError D601, ConflictError D312, SetupError S101, CancelledError: versions
        made by then stay, and asked again it goes on."""
        person = await self._person(request)
        found = await self._look(context, person)
        now = self._clock.now()
        versions: list[HeldVersion] = []
        for held in found["versions"]:
            context.cancel.check(_("Versions made by then stay; ask again to go on."))
            versions.append(
                held if context.dry_run else await self._without(context, held, person, request)
            )
        found["versions"] = versions
        done = [] if context.dry_run else [each for each in versions if each.rows]
        report = ForgetReport(
            **found,
            by=context.actor,
            at=now,
            forgotten=sum(each.rows for each in done),
            complete=not context.dry_run and not found["not_looked_at"],
        )
        return report if context.dry_run else self._kept(report)

    # --- who it is

    async def _person(self, request: PersonInput) -> _Person:
        identifiers, wrong = read_identifiers(request.person.get_secret_value())
        if wrong or not identifiers:
            raise UsageError(
                "D601",
                _("It can't be read who is meant."),
                _("Part {number} is no identifier.").format(number=wrong) if wrong else "",
                _(
                    "Give a customer's id, an e-mail, a phone or a CPF, or say what it is: "
                    "customer:…, name:…, conversations:…"
                ),
            )
        of_kind = {kind: [e.value for e in identifiers if e.kind == kind] for kind in _KINDS}
        told = await self._asked_source(of_kind)
        rows = {table: list(keys) for table, keys in told.rows.items()}
        for each in identifiers:
            if each.kind in TABLES:
                rows.setdefault(each.kind, []).append(each.value)
        for customer in of_kind["customer"]:
            rows.setdefault("customers", []).append(customer)
        more = [Identifier("email", each) for each in told.emails]
        more += [
            Identifier("phone", digits) for each in told.phones if len(digits := _digits(each)) >= 8
        ]
        every = [*identifiers, *more]
        words, numbers = needles_of(every)
        keys = {table: tuple(dict.fromkeys(each)) for table, each in rows.items()}
        sought = Sought(patterns_of(every), words, numbers, keys)
        return _Person(identifiers, sought, told)

    async def _asked_source(self, of_kind: Mapping[str, list[str]]) -> PersonRows:
        try:
            source = await self._source()
            return await source.person(of_kind["customer"], of_kind["email"], of_kind["phone"])
        except SophiaError as problem:
            return PersonRows(problem=f"{problem.what} {problem.why}".strip())

    # --- where they are

    async def _look(self, context: Context, person: _Person) -> dict[str, Any]:
        from sophia_tui.datasets.forget import FindTask
        from sophia_tui.datasets.process import run_engine

        every = [each async for each in self._versions()]
        users = await self._store.datasets.users([each.id for each in every])
        folders = [each.folder for each in every]
        found = await run_engine(FindTask(context.language, folders, **person.task), context)
        not_looked_at = [person.told.problem] if person.told.problem else []
        versions = []
        for version, counts in zip(every, found, strict=True):
            if counts is None:
                not_looked_at.append(
                    _("The files of {dataset} can't be read.").format(dataset=version.id)
                )
            elif counts["parts"] or counts["rejected"]:
                versions.append(_held(version, counts, users))
        # what was deleted taught models, too: nobody can look whether they were in it
        models = [model for each in versions for model in each.models]
        elsewhere = [each async for each in self._elsewhere(context, person, versions, users)]
        return {
            "sought": [each.masked for each in person.identifiers],
            "source_rows": {table: len(keys) for table, keys in person.told.rows.items()},
            "looked_at": len(every),
            "versions": versions,
            "models": list(dict.fromkeys(models)),
            "elsewhere": elsewhere,
            "not_looked_at": not_looked_at,
        }

    async def _versions(self) -> AsyncIterator[DatasetVersion]:
        offset = 0
        while page := await self._store.datasets.page(_PAGE, offset):
            for each in page:
                yield each
            offset += len(page)

    async def _elsewhere(
        self,
        context: Context,
        person: _Person,
        versions: Sequence[HeldVersion],
        users: Sequence[DatasetUser],
    ) -> AsyncIterator[HeldElsewhere]:
        names = {each.dataset for each in versions if each.rows}
        for each in users:
            if each.dataset in names:
                async for found in self._of_user(each):
                    yield found
        for found in await self._files(context, person):
            yield found
        rows = person.sought.rows
        pattern = "|".join(person.sought.patterns) or None
        mentions = await self._store.datasets.mentions(
            pattern, rows.get("conversations", ()), rows.get("messages", ())
        )
        for table, row, count in mentions:
            yield HeldElsewhere(
                kind="row",
                what=_("row of Sophia's store"),
                where=f"sophia.{table} {row}",
                count=count,
                removable=_("no") if table in _FOR_GOOD else _("by hand"),
                advice=_(ROWS[table]),
            )
        for table, keys in person.told.rows.items():
            yield HeldElsewhere(
                kind="source",
                what=_("your own database"),
                where=table,
                count=len(keys),
                removable=_("by hand"),
                advice=_(
                    "Sophia never alters it: delete them there, else they are collected again."
                ),
            )
        yield HeldElsewhere(
            kind="backup",
            what=_("backups"),
            where=_("of the database, of the data folder, of this machine"),
            removable=_("by hand"),
            advice=_(
                "Sophia makes none and knows of none: let them expire, or take them out there."
            ),
        )

    async def _of_user(self, user: DatasetUser) -> AsyncIterator[HeldElsewhere]:
        """A model that learnt from them, or what a job left at a provider."""
        if user.what == "model":
            if user.state:
                return
            hosted = user.kind == ModelKind.HOSTED
            advice = _(
                "A model can't forget. Train again on the version without them, then delete this "
                "one: `sophia {command} delete`."
            ).format(command="provider" if hosted else "models")
            yield HeldElsewhere(
                kind="model",
                what=_("model trained on them"),
                where=user.id,
                removable=_("only whole"),
                advice=advice,
            )
            return
        job = await self._store.jobs.get(user.id)
        if job is None:
            return
        order = HostedOrder.of(job.request) if job.request.get("hosted") else None
        for file in filter(None, (order.training_file, order.validation_file) if order else ()):
            yield HeldElsewhere(
                kind="provider",
                what=_("file at a provider"),
                where=file,
                removable=_("yes"),
                advice=_("`sophia provider remove` deletes it; what the provider keeps is theirs."),
            )
        if job.run_folder:
            yield HeldElsewhere(
                kind="run",
                what=_("run folder"),
                where=job.run_folder,
                removable=_("by hand"),
                advice=_("Its checkpoints and adapter learnt from them: `sophia setup prune`."),
            )

    async def _files(self, context: Context, person: _Person) -> list[HeldElsewhere]:
        from sophia_tui.datasets.forget import ScanTask
        from sophia_tui.datasets.process import run_engine

        settings, paths = self._settings, self._paths
        places = [
            ("history", settings.history_file),
            ("raw", settings.finetune_folder),
            ("upload", paths.uploads),
            ("persona", paths.personas),
            ("trainer", settings.train_root),
            ("trainer", settings.events_file),
            ("run", paths.runs),
            ("report", paths.reports),
            ("export", paths.exports),
            ("cache", paths.previews),
            ("cache", paths.data / "cache"),
            ("cache", cache_folder()),
            ("log", paths.logs),
            ("log", paths.deployments),
            ("log", paths.audit_spool),
            ("state", paths.state),
            ("edits", paths.edits),
        ]
        apart = [paths.datasets, paths.postgres, paths.models]
        found = await run_engine(
            ScanTask(
                context.language,
                [(kind, str(place)) for kind, place in places],
                [str(each) for each in apart],
                **person.task,
            ),
            context,
        )
        told = []
        for kind, where, count in found:
            what, advice = PLACES[kind]
            if count < 0:
                advice = N_("It can't be read: look into it yourself.")
            told.append(
                HeldElsewhere(
                    kind=kind,
                    what=_(what),
                    where=where,
                    count=count if count >= 0 else None,
                    removable=_("by hand"),
                    advice=_(advice),
                )
            )
        return told

    # --- without them

    async def _without(
        self, context: Context, held: HeldVersion, person: _Person, request: ForgetInput
    ) -> HeldVersion:
        from sophia_tui.datasets.forget import RemoveTask
        from sophia_tui.datasets.process import locked, run_engine

        version = await self._store.datasets.get(held.dataset)
        if version is None:  # somebody deleted it meanwhile
            return held
        target = self._paths.datasets / version.name
        now = self._clock.now()
        async with locked(target) as lock:
            made = await run_engine(
                RemoveTask(
                    context.language,
                    version.folder,
                    str(target),
                    created_at=now.isoformat(),
                    **person.task,
                ),
                context,
                (lock,),
            )
            successor = _successor(version, made, context.actor, now)
            if successor is not None:
                await self._store.datasets.add(successor)
        notice = {
            "kind": "forgotten",
            "rows": held.rows,
            "successor": successor.id if successor else None,
            "at": now.isoformat(),
            "by": context.actor,
        }
        await self._store.datasets.notice(version, notice)
        against: list[str] = []
        if request.delete_old:
            against = await self._deleted_old(context, version, now)
        return held.model_copy(
            update={
                "successor": successor.id if successor else None,
                "deleted": request.delete_old and not against,
                "protected_by": against,
            }
        )

    async def _deleted_old(
        self, context: Context, version: DatasetVersion, now: datetime
    ) -> list[str]:
        """Delete it; or why it stays."""
        users = await self._store.datasets.users([version.id])
        against = [_("job {job} has not ended").format(job=each) for each in jobs_at_work(users)]
        against += await reasons_to_keep(self._store, version, users, self._settings.managed_files)
        if not against:
            try:
                await delete_version(self._store, version, context.actor, now)
            except SophiaError as problem:
                against = [f"{problem.what} {problem.why}".strip()]
        return against

    def _kept(self, report: ForgetReport) -> ForgetReport:
        number = "".join(secrets.choice(_ALPHABET) for _each in range(12))
        path = self._paths.reports / f"forgotten-{number}.json"
        usable_folder(self._paths.reports)
        report = report.model_copy(update={"file": str(path)})
        text = json.dumps(report.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"
        write_whole(path, text.encode())
        return report


_KINDS = ("customer", "email", "phone")


def _digits(text: str) -> str:
    return "".join(each for each in text if each.isdigit())


def _held(
    version: DatasetVersion, counts: dict[str, Any], users: Sequence[DatasetUser]
) -> HeldVersion:
    mine = [each for each in users if each.dataset == version.id]
    return HeldVersion(
        dataset=version.id,
        rows=sum(counts["parts"].values()),
        parts=counts["parts"],
        by_source=counts["ways"].get("source", 0),
        by_value=counts["ways"].get("value", 0),
        rejected=counts["rejected"],
        tags=list(version.tags),
        jobs=[each.id for each in mine if each.what == "job"],
        models=[each.id for each in mine if each.what == "model" and not each.state],
    )


def _successor(
    version: DatasetVersion, made: dict[str, Any], by: str, at: datetime
) -> DatasetVersion | None:
    """The new version as the store keeps it; None where no row is left."""
    if made["folder"] is None:
        return None
    manifest = made["manifest"]
    return DatasetVersion(
        name=version.name,
        hash=manifest["hash"],
        folder=made["folder"],
        counts=manifest["counts"],
        manifest=manifest,
        created_by=by,
        created_at=at,
    )
