"""The demo: the whole loop, for real, on the sample data, in a folder of its own.

Each step is the same operation that a person would ask for; nothing is done here that a face could
not do by itself. What a person set (FINETUNE_DIR, managed env files) is never touched.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.operations import Input, NoInput, Output
from sophia_tui.domain.protocols import Clock
from sophia_tui.domain.samples import SampleLoader
from sophia_tui.errors import CancelledError, ConflictError, JobError, UnavailableError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.demo_folder import GENERAL, HELDOUT, DemoFolder, DemoState, Question
from sophia_tui.services.demo_summary import (
    DemoSummary,
    DurationView,
    collected,
    learned,
    prepared,
)
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

_DATASET = "demo"
_RECIPE = "demo"
_STEPS = 9
#: Of the general questions of the gate: some figures for it, not enough for a verdict.
_REGRESSION = 60
#: A processor that was just trained on is slower than production has to be.
_BOUNDS = "median<60, p95<120, errors<0.01"
#: The demo's part of the sample: what was asked in so many days (see the samples' README).
_WINDOW_DAYS = 7
_EXPORT = "qa_cache.jsonl"


class SampleView(Output):
    table: str = Field(title=N_("Table"))
    rows: int = Field(title=N_("Rows"))


class SamplesLoaded(Output):
    items: list[SampleView] = Field(title=N_("Tables"))


class DemoRequest(Input):
    base: str | None = Field(
        default=None,
        description=N_("Another base model: a folder, a GGUF file or a hub id."),
    )


class DemoService:
    """Runs the loop on the sample. `call` is the dispatcher's: role, audit and errors as ever."""

    def __init__(
        self,
        call: Call,
        samples: SampleLoader,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
    ) -> None:
        self._call = call
        self._samples = samples
        self._address = f"{settings.api_url.rstrip('/')}/v1"
        self._folder = DemoFolder(paths)
        self._clock = clock

    @operation(
        "samples.load",
        N_("Load the sample data into the embedded Postgres, where it plays the source."),
        role=Role.OPERATOR,
        writes=True,
    )
    async def load(self, context: Context, request: NoInput) -> SamplesLoaded:
        """Raises RefusedError S320, ConflictError S321, S322, UnavailableError S323."""
        loaded = await self._samples.load(self._clock.now())
        return SamplesLoaded(
            items=[SampleView(table=each.table, rows=each.rows) for each in loaded]
        )

    @operation(
        "demo.run",
        N_("Run the whole loop on sample data: collect, prepare, train, evaluate, serve, promote."),
        role=Role.ADMIN,  # it ends with a promotion
        writes=True,
        trains=True,
    )
    async def run(self, context: Context, request: DemoRequest) -> DemoSummary:
        """Raises NotFoundError M410 without the base model, ConflictError S331 while another demo
        runs, CancelledError S330, JobError J460, and whatever its steps raise."""
        from sophia_tui.services.train import require_training_packages

        require_training_packages()
        base = request.base or self._folder.base()
        with self._folder.locked():
            now = self._clock.now()
            return await _Loop(self._call, context, self._folder, base, self._address, now).run()


class _Loop:
    """One pass through the loop."""

    def __init__(
        self,
        call: Call,
        context: Context,
        folder: DemoFolder,
        base: str,
        address: str,
        now: datetime,
    ) -> None:
        # the promotion goes into the demo's own env file, so there is nothing to confirm
        self._context = replace(context, confirmed=True, inner=True)
        self._call = call
        self._folder = folder
        self._base = base
        self._address = address
        found = folder.read_state()
        self._state = found if found.began else replace(found, began=now.isoformat())
        self._durations: list[DurationView] = []
        self._went_on = False

    async def run(self) -> DemoSummary:
        folder = self._folder
        folder.make(self._address)
        folder.write_state(self._state)
        await self._check_address()
        await self._step(_("sample data"), "samples.load", {})
        exported = await self._step(
            _("collect"),
            "collect.run",
            {"folder": str(folder.finetune), "window_days": _WINDOW_DAYS},
        )
        version = await self._step(
            _("prepare"),
            "prepare.run",
            {
                "folder": str(folder.finetune),
                "files": [_EXPORT],
                "name": _DATASET,
                "split": "90/10",
            },
        )
        job = await self._timed(_("train"), self._train(version.dataset.id))
        model = str(job.resulting_model)
        questions = folder.questions()
        evaluation = await self._timed(_("evaluate"), self._evaluate(model, questions))
        await self._step(_("serve"), "serve.model", {"model": model})
        gate = await self._step(_("gate"), "models.gate", {"model": model})
        promotion = await self._timed(_("promote"), self._promote(model, gate.passed))
        asked = {"name": model, "question": questions[0].question}
        answer = await self._step(_("ask"), "serve.ask", asked)
        await self._retire(model)
        folder.write_state(DemoState(served=model))
        return DemoSummary(
            **collected(exported),
            **prepared(version),
            **learned(job, evaluation, questions),
            gate=[each.what for each in gate.reasons],
            promotion=promotion.id,
            env_file=str(folder.env_file),
            diff=[line for each in promotion.files for line in each.diff],
            served_at=self._address,
            served_question=answer.question,
            served_answer=answer.answer,
            durations=self._durations,
            notes=[
                *self._durations_note(),
                _("Look at it in the console: `sophia`."),
                _("Ask it yourself: `sophia serve ask {model} QUESTION`.").format(model=model),
                _("It is served until `sophia serve stop {model} --api --yes`.").format(
                    model=model
                ),
                _("The way back: `sophia promote rollback {id} --yes`.").format(id=promotion.id),
                *([] if gate.passed else [_gate_note(model)]),
            ],
        )

    def _durations_note(self) -> list[str]:
        """Steps of an earlier run took longer than this one waited for them."""
        if not self._went_on:
            return []
        return [
            _(
                "An interrupted demo went on: the durations are those of this run alone, the "
                "training's own time stands beside its steps."
            )
        ]

    async def _step(self, label: str, name: str, request: Mapping[str, Any]) -> Any:
        return await self._timed(label, self._ask(name, request))

    async def _ask(self, name: str, request: Mapping[str, Any]) -> Any:
        return await self._call(name, request, self._context)

    async def _timed(self, label: str, work: Awaitable[Any]) -> Any:
        """One step, with its number before everything it tells. Stops between steps when asked."""
        number = len(self._durations) + 1
        title = f"[{number}/{_STEPS}] {label}"
        outer = self._context
        if outer.cancel.requested:
            if hasattr(work, "close"):
                work.close()
            raise _stopped("")
        outer.progress(Progress(title, 0))

        def tell(progress: Progress) -> None:
            stage = title if progress.stage == label else f"{title}: {progress.stage}"
            outer.progress(replace(progress, stage=stage))

        self._context = replace(outer, progress=tell)
        begin = time.monotonic()
        try:
            return await work
        finally:
            self._context = outer
            seconds = math.ceil(time.monotonic() - begin)
            self._durations.append(DurationView(step=label, seconds=seconds))

    async def _train(self, dataset: str) -> JobView:
        job = await self._continued(kind="train", dataset=dataset, base=self._base)
        if job is None:
            job = await self._ask(
                "train.start",
                {
                    "dataset": dataset,
                    "base": self._base,
                    "recipe": _RECIPE,
                    "history": str(self._folder.history),
                },
            )
        return await self._followed(job)

    async def _evaluate(self, model: str, questions: list[Question]) -> Any:
        job = await self._continued(kind="evaluate", model=model)
        if job is None:
            files = self._folder.question_sets()
            request = {
                "model": model,
                "prompts": [each.question for each in questions],
                "questions": [f"{HELDOUT}={files[HELDOUT]}"],
                # listed because the base answers them rightly: what is left of that now
                "questions_after": [f"{GENERAL}={files[GENERAL]}"],
                "question_tokens": 32,
                "text_sample": 8,
                "latency_sample": 2,
                "regression": _REGRESSION,
            }
            job = await self._ask("evaluate.run", request)
        await self._followed(job)
        return await self._ask("evaluate.show", {"model": model})

    async def _check_address(self) -> None:
        """Fail before the training with what would keep its model from being asked after it."""
        api = (await self._ask("serve.list", {})).api
        if api is not None and api.error:
            told = api.error
            code = told["code"].removeprefix("SOPHIA-")
            raise UnavailableError(code, told["what"], told["why"], told["remedy"])

    async def _retire(self, model: str) -> None:
        """The model that an earlier demo served gives its memory back."""
        earlier = self._state.served
        if earlier is None or earlier == model:
            return
        found = await self._ask("serve.list", {})
        if any(each.name == earlier for each in found.items):
            await self._ask("serve.stop", {"name": earlier})

    async def _promote(self, model: str, passed: bool) -> Any:
        request = {
            "model": model,
            "env_file": [str(self._folder.env_file)],
            "history": str(self._folder.history),
            "bounds": _BOUNDS,
        }
        if not passed:
            reason = _("A demonstration: the env file is the demo's own, and nobody is served.")
            request["override"] = reason
        try:
            return await self._ask("promote.run", request)
        except ConflictError as problem:
            if problem.code != "SOPHIA-P003":
                raise
        # promoted already, by the demo that was interrupted right after
        found = await self._ask("promote.history", {})
        return next(each for each in found.items if each.model == model)

    async def _continued(self, **wanted: str) -> JobView | None:
        """The job that an interrupted demo began, living again; None where a new one is needed.

        Looked for in the store: a demo that was killed had no time to note its job.
        """
        listed = await self._ask("jobs.list", {})
        since = datetime.fromisoformat(str(self._state.began))
        job: JobView | None = next(
            (
                each
                for each in listed.items
                if each.created_at >= since
                and all(getattr(each, name) == value for name, value in wanted.items())
            ),
            None,
        )
        if job is None or job.status in (JobState.FAILED, JobState.CANCELLED):
            return None
        self._went_on = True
        if job.status in (JobState.PAUSED, JobState.INTERRUPTED):
            job = await self._ask("jobs.resume", {"job": job.id})
        return job

    async def _followed(self, job: JobView) -> JobView:
        """The job at its end. Raises CancelledError S330, JobError J460."""
        seen: JobView = await self._ask("jobs.watch", {"job": job.id})
        if seen.status == JobState.SUCCEEDED:
            return seen
        if self._context.cancel.requested:
            raise _stopped(
                _("The job {job} goes on by itself: `sophia jobs watch {job}`.").format(job=job.id)
            )
        raise JobError(
            "J460",
            _("The demo can't go on: job {job} is {state}.").format(
                job=job.id, state=_(seen.status)
            ),
            textsafe.visible(str((seen.error or {}).get("what", ""))),
            _("See `sophia jobs log {job}`, then run the demo again.").format(job=job.id),
        )


def _gate_note(model: str) -> str:
    return _(
        "The gate before production would have refused it; the demo overrode that, and its reason "
        "is kept. `sophia models gate {model} --run` measures what is missing."
    ).format(model=model)


def _stopped(why: str) -> CancelledError:
    return CancelledError(
        "S330",
        _("The demo was stopped."),
        why,
        _("Run it again: it goes on where it was."),
    )
