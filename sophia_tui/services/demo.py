"""The demo: the whole loop, for real, on the sample data, in a folder of its own.

Each step is the same operation that a person would ask for; nothing is done here that a face could
not do by itself. What a person set (FINETUNE_DIR, managed env files) is never touched.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Progress, Role
from sophia_tui.domain.jobs import JobState
from sophia_tui.domain.operations import Input, NoInput, Output
from sophia_tui.domain.protocols import Clock
from sophia_tui.domain.samples import SampleLoader
from sophia_tui.errors import CancelledError, ConflictError, JobError, NotFoundError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.demo_folder import DemoFolder, DemoState, Question
from sophia_tui.services.operations import operation
from sophia_tui.services.views import JobView

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]

_DATASET = "demo"
_RECIPE = "demo"
_STEPS = 6


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


class CountView(Output):
    """How often one reason occurred."""

    reason: str = Field(title=N_("Reason"))
    rows: int = Field(title=N_("Rows"))


class ScoresView(Output):
    """On the held-out part, answer tokens only; loss in nats a token."""

    measure: str = Field(title=N_("Measure"))
    before: float = Field(title=N_("Before"))
    after: float = Field(title=N_("After"))


class DemoAnswer(Output):
    question: str = Field(title=N_("Question"))
    expected: str = Field(title=N_("Expected"))
    before: str = Field(title=N_("Before"))
    after: str = Field(title=N_("After"))


class DurationView(Output):
    step: str = Field(title=N_("Step"))
    seconds: int = Field(title=N_("Seconds"))


class DemoSummary(Output):
    rows_collected: int = Field(title=N_("Rows collected"))
    not_collected: list[CountView] = Field(title=N_("Rows that could not be used"))
    dataset: str = Field(title=N_("Data set"))
    rows_in: int = Field(title=N_("Rows read"))
    rows_kept: int = Field(title=N_("Rows kept"))
    rows_rejected: int = Field(title=N_("Rows rejected"))
    rejected: list[CountView] = Field(title=N_("Rejected, by reason"))
    job: str = Field(title=N_("Job"))
    model: str = Field(title=N_("Model"))
    scores: list[ScoresView] = Field(title=N_("On the held-out part"))
    answers: list[DemoAnswer] = Field(title=N_("Three questions, worded as in no training row"))
    promotion: str = Field(title=N_("Promotion"))
    env_file: str = Field(title=N_("Env file of the demo"))
    diff: list[str] = Field(title=N_("What was promoted"))
    durations: list[DurationView] = Field(title=N_("Durations"))
    notes: list[str] = Field(title=N_("Good to know"))


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
        self._settings = settings
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
        N_("Run the whole loop on sample data: collect, prepare, train, evaluate, promote."),
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
            return await _Loop(self._call, context, self._folder, base).run()


class _Loop:
    """One pass through the loop."""

    def __init__(self, call: Call, context: Context, folder: DemoFolder, base: str) -> None:
        # the promotion goes into the demo's own env file, so there is nothing to confirm
        self._context = replace(context, confirmed=True)
        self._call = call
        self._folder = folder
        self._base = base
        self._state = folder.read_state()
        self._durations: list[DurationView] = []

    async def run(self) -> DemoSummary:
        folder = self._folder
        folder.make()
        await self._step(_("sample data"), "samples.load", {})
        collected = await self._step(_("collect"), "collect.run", {"folder": str(folder.finetune)})
        prepared = await self._step(
            _("prepare"), "prepare.run", {"folder": str(folder.finetune), "name": _DATASET}
        )
        job = await self._timed(_("train"), self._train(prepared.dataset.id))
        model = str(job.resulting_model)
        questions = folder.questions()
        evaluation = await self._timed(_("evaluate"), self._evaluate(model, questions))
        promotion = await self._timed(_("promote"), self._promote(model))
        folder.write_state(DemoState())
        return self._summary(collected, prepared, job, evaluation, promotion, questions)

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
        """Go on with the training that an interrupted demo began, else begin one."""
        if self._state.dataset != dataset or self._state.base != self._base:
            self._state = DemoState(dataset=dataset, base=self._base)
        job = await self._continued(self._state.training)
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
            self._state = replace(self._state, training=job.id, evaluation=None)
            self._folder.write_state(self._state)
        return await self._followed(job)

    async def _evaluate(self, model: str, questions: list[Question]) -> Any:
        job = await self._continued(self._state.evaluation)
        if job is None:
            prompts = [each.question for each in questions]
            job = await self._ask("evaluate.run", {"model": model, "prompts": prompts})
            self._state = replace(self._state, evaluation=job.id)
            self._folder.write_state(self._state)
        await self._followed(job)
        return await self._ask("evaluate.show", {"model": model})

    async def _promote(self, model: str) -> Any:
        request = {
            "model": model,
            "env_file": [str(self._folder.env_file)],
            "history": str(self._folder.history),
        }
        try:
            return await self._ask("promote.run", request)
        except ConflictError as problem:
            if problem.code != "SOPHIA-P003":
                raise
        # promoted already, by the demo that was interrupted right after
        found = await self._ask("promote.history", {})
        return next(each for each in found.items if each.model == model)

    async def _continued(self, job_id: str | None) -> JobView | None:
        """The job of an interrupted demo, living again; None where a new one is needed."""
        if job_id is None:
            return None
        try:
            job: JobView = await self._ask("jobs.show", {"job": job_id})
        except NotFoundError:
            return None
        if job.status in (JobState.FAILED, JobState.CANCELLED):
            return None
        if job.status in (JobState.PAUSED, JobState.INTERRUPTED):
            job = await self._ask("jobs.resume", {"job": job_id})
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

    def _summary(
        self,
        collected: Any,
        prepared: Any,
        job: JobView,
        evaluation: Any,
        promotion: Any,
        questions: list[Question],
    ) -> DemoSummary:
        exported, unusable = _collected(collected)
        counts: dict[str, int] = prepared.dataset.counts
        return DemoSummary(
            rows_collected=exported,
            not_collected=_reasons(unusable),
            dataset=prepared.dataset.id,
            rows_in=counts["rows_in"],
            rows_kept=counts["rows_kept"],
            rows_rejected=counts["rows_rejected"],
            rejected=_reasons({each.reason: each.count for each in prepared.rejected}),
            job=job.id,
            model=str(job.resulting_model),
            scores=_scores(evaluation),
            answers=_answers(evaluation, questions),
            promotion=promotion.id,
            env_file=str(self._folder.env_file),
            diff=[line for each in promotion.files for line in each.diff],
            durations=self._durations,
            notes=[
                _("Nothing serves the model's name yet: serving comes in a later version."),
                _("Look at it in the console: `sophia`."),
                _("The way back: `sophia promote rollback {id} --yes`.").format(id=promotion.id),
            ],
        )


def _stopped(why: str) -> CancelledError:
    return CancelledError(
        "S330",
        _("The demo was stopped."),
        why,
        _("Run it again: it goes on where it was."),
    )


def _collected(result: Any) -> tuple[int, dict[str, int]]:
    """How many rows all exports wrote, and the reasons of those that none could use."""
    reasons: dict[str, int] = {}
    for each in result.items:
        for reason, rows in each.rejected_by.items():
            reasons[reason] = reasons.get(reason, 0) + rows
    return sum(each.exported for each in result.items), reasons


def _reasons(counts: Mapping[str, int]) -> list[CountView]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [CountView(reason=reason, rows=rows) for reason, rows in ordered]


def _scores(evaluation: Any) -> list[ScoresView]:
    before, after = evaluation.before, evaluation.after
    return [
        ScoresView(measure=_("loss"), before=before.loss, after=after.loss),
        ScoresView(measure=_("perplexity"), before=before.perplexity, after=after.perplexity),
    ]


def _answers(evaluation: Any, questions: list[Question]) -> list[DemoAnswer]:
    expected = {each.question: each.expected for each in questions}
    return [
        DemoAnswer(
            question=each.prompt,
            expected=expected.get(each.prompt, ""),
            before=each.before or "",
            after=each.after or "",
        )
        for each in evaluation.answers
    ]
