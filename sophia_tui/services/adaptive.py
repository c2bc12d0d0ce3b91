"""Adaptive training on this machine: answers of the assistant in use become pairs, pairs a LoRA.

The files that people know lie under AION_TRAIN_ROOT: lora/train_data.jsonl, lora/train.log and
lora/out/adapter. The work is a job like any other.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.events import AnswerEvent
from sophia_tui.domain.jobs import Job, JobState
from sophia_tui.domain.operations import Danger, Input, NoInput, Output
from sophia_tui.domain.protocols import Clock, Source, Store
from sophia_tui.errors import ConflictError, DataError, NotFoundError, SophiaError
from sophia_tui.files import usable_folder, whole_file, write_problem
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.job_states import JobEyes
from sophia_tui.services.operations import operation
from sophia_tui.services.train import Door, TrainRequest, TrainService
from sophia_tui.services.tuned import link

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

DATASET, RECIPE = "adaptive", "lora"
_AT_WORK = frozenset((*(s.value for s in JobState if s.active), "queued", "interrupted"))


class AdaptiveStart(Input):
    source: Literal["auto", "table", "file"] = Field(
        default="auto",
        description=N_(
            "Where the answers are: in the table ai_events (Sophia's and the owner's), in "
            "AION_EVENTS_JSONL, or auto: in the table, else in the file."
        ),
    )
    base: str | None = Field(
        default=None, description=N_("The base model; default AION_LORA_BASE.")
    )
    recipe: str | None = Field(
        default=None, description=N_("A recipe's name; default: the one called lora.")
    )


class NamedEvent(Output):
    """An event that can't be used: where it stands, and why not."""

    place: str = Field(title=N_("Place"))
    reason: str = Field(title=N_("Reason"))


class AdaptiveView(Output):
    """The newest adaptive training; empty where there was none. `pid` is its process while it runs.

    `unusable` and `named` are told by the start alone.
    """

    running: bool = Field(title=N_("Running"))
    pid: int | None = Field(default=None, title=N_("Process"))
    log: str | None = Field(default=None, title=N_("Log"))
    job: str | None = Field(default=None, title=N_("Job"))
    status: str | None = Field(default=None, title=N_("State"))
    dataset: str | None = Field(default=None, title=N_("Data set"))
    pairs: int | None = Field(default=None, title=N_("Pairs"))
    read_from: list[str] = Field(default_factory=list, title=N_("Read from"))
    unusable: int | None = Field(default=None, title=N_("Unusable events"))
    named: list[NamedEvent] = Field(default_factory=list, title=N_("Which they are"))
    warnings: list[str] = Field(default_factory=list, title=N_("Warnings"))


@dataclass(frozen=True)
class _Pairs:
    """What the builder made."""

    dataset: str
    pairs: int
    read_from: list[str]
    unusable: int
    named: list[dict[str, str]]
    warnings: list[str]


def _needed_form() -> str:
    return _("An answer is an event like {event} (q and a will do); in a file, one a line.").format(
        event='{"kind": "answer", "meta": {"prompt": "…", "reply": "…"}}'
    )


def nothing_to_cancel() -> NotFoundError:
    return NotFoundError(
        "J621",
        _("No adaptive training is at work."),
        remedy=_("`sophia adaptive start` starts one."),
    )


class AdaptiveService:
    """Starts one adaptive training at a time, and says how it stands."""

    def __init__(
        self,
        store: Store,
        source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        call: Call,
        train: TrainService,
        machine: ThisMachine | None = None,
    ) -> None:
        self._store = store
        self._source = source
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._call = call
        self._train = train
        self._eyes = JobEyes(store, settings, clock, machine)

    @property
    def folder(self) -> Path:
        return self._settings.train_root / "lora"

    @operation(
        "adaptive.start",
        N_("Train on what the assistant answered in use (ai_events, or the events file)."),
        role=Role.OPERATOR,
        writes=True,
        trains=True,
    )
    async def start(self, context: Context, request: AdaptiveStart) -> AdaptiveView:
        """Raises ConflictError J620 while one is at work. What the builder raises (DataError J622
        and others) has `details["stage"]`; then what prepare.run and train.start raise."""
        with self._turn():
            newest = await self._newest()
            if newest is not None and (await self._eyes.view(newest)).status in _AT_WORK:
                raise _at_work(newest.id)
            try:
                built = await self._build(context, request)
            except SophiaError as problem:
                problem.details["stage"] = "builder"
                raise
            return await self._begin(context, request, built)

    @operation("adaptive.status", N_("Show the newest adaptive training."))
    async def status(self, context: Context, request: NoInput) -> AdaptiveView:
        newest = await self._newest()
        return AdaptiveView(running=False) if newest is None else await self._view(newest)

    @operation(
        "adaptive.cancel",
        N_("Stop the adaptive training for good."),
        role=Role.OPERATOR,
        writes=True,
        danger=Danger.CONFIRM,
    )
    async def cancel(self, context: Context, request: NoInput) -> AdaptiveView:
        """Raises NotFoundError J621."""
        newest = await self._newest()
        if newest is None or JobState.PAUSED.value != newest.state not in _AT_WORK:
            raise nothing_to_cancel()
        await self._call("jobs.cancel", {"job": newest.id}, context)
        return await self._view(await self._store.jobs.get(newest.id) or newest)

    # --- build ---

    async def _build(self, context: Context, request: AdaptiveStart) -> _Pairs:
        from sophia_tui.datasets.process import run_engine
        from sophia_tui.datasets.tasks import AnswersTask

        target = self.folder / "train_data.jsonl"
        limit, tenant = self._settings.adaptive_pairs, self._settings.primary_tenant
        rows, read_from, warnings = await self._rows(request, limit, tenant)
        if not rows:
            self._require_events(request)
            read_from = [str(self._settings.events_file)]
        usable_folder(self.folder)
        with _as_file(rows, self.folder) as spooled:
            events = spooled or self._settings.events_file
            task = AnswersTask(
                context.language, str(events), str(target), limit, None if spooled else tenant
            )
            built = await run_engine(task, context)
        if not built["pairs"]:
            raise DataError(
                "J622",
                _("There is no answer to learn from."),
                _("Read from {places}; {count} events can't be used.").format(
                    places=", ".join(read_from), count=built["unusable"]
                ),
                _needed_form(),
                named=built["named"],
            )
        prepared = await self._call(
            "prepare.run",
            {
                "folder": str(self.folder),
                "files": [target.name],
                "name": DATASET,
                "split": "90/10",
            },
            replace(context, inner=True),
        )
        return _Pairs(
            dataset=prepared.dataset.id,
            pairs=built["pairs"],
            read_from=read_from,
            unusable=built["unusable"],
            named=built["named"],
            warnings=[*warnings, *prepared.warnings],
        )

    async def _rows(
        self, request: AdaptiveStart, limit: int, tenant: str | None
    ) -> tuple[list[AnswerEvent], list[str], list[str]]:
        """Rows of Sophia's table and of the owner's, newest first; the tables; what went wrong."""
        if request.source == "file":
            return [], [], []
        warnings: list[str] = []
        rows = await self._store.trainings.answers(limit, tenant)
        tables = ["sophia.ai_events"]
        try:
            theirs = await (await self._source()).answers(limit, tenant)
        except SophiaError as problem:
            if request.source == "table" and not rows:
                raise
            warnings.append(_("The owner's table was not read: {why}").format(why=problem.what))
        else:
            rows += theirs.items
            tables += [theirs.table] if theirs.table else []
            warnings += [theirs.problem] if theirs.problem else []
        if not rows and request.source == "table":
            raise DataError(
                "J623",
                _("There is no answer in the table."),
                _("Read from {places}.").format(places=", ".join(tables)),
                _needed_form(),
            )
        return rows, tables, warnings

    def _require_events(self, request: AdaptiveStart) -> None:
        path = self._settings.events_file
        if not path.is_file():
            where = _("There is no file {path}.").format(path=path)
            if request.source == "auto":
                where = _("The table ai_events has none, and there is no file {path}.").format(
                    path=path
                )
            raise NotFoundError(
                "J624",
                _("There are no answers to learn from."),
                where,
                _("Set AION_EVENTS_JSONL to the file, or write events into the table."),
            )

    async def _begin(self, context: Context, request: AdaptiveStart, built: _Pairs) -> AdaptiveView:
        log = self.folder / "train.log"
        door = Door(
            request={
                "adaptive": {
                    "root": str(self.folder),
                    "pairs": built.pairs,
                    "read_from": built.read_from,
                },
            },
            changes=lambda recipe: {"prompt_form": "alpaca"},
            warnings=tuple(built.warnings),
        )
        asked = TrainRequest(
            dataset=built.dataset,
            base=request.base or self._settings.aion_lora_base,
            provider="local",
            recipe=request.recipe or RECIPE,
        )
        started = await self._train.begin(
            replace(context, confirmed=True), asked, door
        )  # its protocol knows no second question; the budget holds
        link(log, self._paths.runs / started.id / "log.txt")
        job = await self._store.jobs.get(started.id)
        assert job is not None  # it was made a moment ago
        view = await self._view(job)
        named = [NamedEvent(**each) for each in built.named]
        return view.model_copy(update={"unusable": built.unusable, "named": named})

    # --- look ---

    async def _newest(self) -> Job | None:
        part = {"adaptive": {"root": str(self.folder)}}
        return await self._store.trainings.newest(part, datetime.fromtimestamp(0, UTC))

    async def _view(self, job: Job) -> AdaptiveView:
        seen = await self._eyes.view(job)
        told = job.request["adaptive"]
        running = seen.status in _AT_WORK
        return AdaptiveView(
            running=running,
            pid=job.identity.pid if running and job.identity else None,
            log=str(self.folder / "train.log"),
            job=job.id,
            status=seen.status,
            dataset=job.dataset,
            pairs=told.get("pairs"),
            read_from=told.get("read_from") or [],
            warnings=seen.warnings,
        )

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One start at a time on this machine. Raises ConflictError J620."""
        usable_folder(self._paths.state)
        with open(self._paths.state / "adaptive.lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _at_work() from None
            yield


@contextlib.contextmanager
def _as_file(rows: list[AnswerEvent], folder: Path) -> Iterator[Path | None]:
    """Rows as a file of events, oldest first, for the builder; None where there are no rows."""
    if not rows:
        yield None
        return
    try:
        handle, name = tempfile.mkstemp(".tmp", ".events-", folder)
        os.close(handle)
    except OSError as problem:
        raise write_problem(folder, problem) from problem
    path = Path(name)
    try:
        with whole_file(path) as stream:
            for each in reversed(rows):
                event = {"kind": "answer", "place": f"{each.table} {each.key}", "meta": each.meta}
                stream.write(json.dumps(event).encode() + b"\n")
        yield path
    finally:
        path.unlink(missing_ok=True)


def _at_work(job_id: str | None = None) -> ConflictError:
    return ConflictError(
        "J620",
        _("An adaptive training is at work."),
        _("It is job {job}.").format(job=job_id) if job_id else _("It is being started just now."),
        _("Wait for it, or stop it: `sophia adaptive cancel`."),
        job=job_id,
    )
