"""Evaluate: the base before and after training, on the held-out part and on chosen questions."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Input
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import NotFoundError, RefusedError, UsageError
from sophia_tui.i18n import N_, _, get_language
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation
from sophia_tui.services.train import (
    chosen_threads,
    dataset_version,
    new_job_id,
    require_training_packages,
)
from sophia_tui.services.views import JobView
from sophia_tui.validation import where_and_what

if TYPE_CHECKING:
    from finetune.schema import EvaluationSettings, QuestionSet
    from sophia_tui.settings import Settings

#: What finetune/grading.py finds wrong with a file of questions.
_WRONG_QUESTIONS = (
    N_("{path} is not UTF-8 at byte {byte}"),
    N_("{path}, line {line}: {why}"),
    N_("{path}, line {line}: no JSON object"),
    N_("{path}, line {line}: id {id} stands twice"),
    N_("{path}: no question in it"),
)
#: Held-out questions whose answers are shown where nothing else is asked.
_SHOWN = 4


class EvaluateRequest(Input):
    model: str = Field(description=N_("The model's id, e.g. sophia-v1."))
    prompts: list[str] = Field(
        default_factory=list,
        description=N_(
            "Questions for both; default: some of the held-out part, where none are graded."
        ),
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description=N_("How many held-out examples are scored; default: all."),
    )
    max_new_tokens: int = Field(
        default=64, ge=1, le=4096, description=N_("How long an answer may be, in tokens.")
    )
    questions: list[str] = Field(
        default_factory=list,
        description=N_("Questions graded before and after: a JSON Lines file, or NAME=FILE."),
    )
    questions_after: list[str] = Field(
        default_factory=list,
        description=N_(
            "Questions graded after alone (what was not forgotten), each answer only as far as "
            "its verdict needs: a JSON Lines file, or NAME=FILE."
        ),
    )
    regression: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description=N_(
            "How many general questions of the regression set are graded before and after; "
            "0: none, and a number above theirs: all."
        ),
    )
    dataset: str | None = Field(
        default=None,
        description=N_(
            "The data set whose held-out part it is measured on; default: the one it learnt."
        ),
    )
    question_tokens: int = Field(
        default=48, ge=1, le=4096, description=N_("How long a graded answer may be, in tokens.")
    )
    text_sample: int = Field(
        default=16,
        ge=0,
        le=100_000,
        description=N_("Held-out questions answered for BLEU, chrF and similarity; 0: none."),
    )
    bleu: bool = Field(default=True, description=N_("Whether BLEU and chrF are computed."))
    similarity: bool = Field(
        default=True, description=N_("Whether the similarity of meaning is computed.")
    )
    latency_sample: int = Field(
        default=3,
        ge=0,
        le=10_000,
        description=N_("Held-out questions asked one by one for the seconds; 0: none."),
    )


class EvaluateService:
    """Queues evaluations; services/evaluations.py tells what came of them."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        wake: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._wake = wake

    @operation(
        "evaluate.run",
        N_("Measure a model against its base on the held-out part; a worker does it."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        makes="id",
        positional=("model",),
    )
    async def run(self, context: Context, request: EvaluateRequest) -> JobView:
        """Raises NotFoundError M404, J442, J447, UsageError J440, J441, J444-J446,
        RefusedError J448, UnavailableError J501; nothing is queued then."""
        if context.from_afar and (request.questions or request.questions_after):
            raise RefusedError(
                "J448",
                _("Over HTTP there are no files of questions."),
                _("It would open any file of the server."),
                _("Leave them out, put questions into prompts, or evaluate on the server itself."),
            )
        model = await self._model(request.model)
        adapter = _adapter(model)
        evaluation = _settings_of(request)
        if model.dataset is None and request.dataset is None:
            raise UsageError(
                "J441",
                _("Nobody knows what {model} was trained on.").format(model=model.id),
                _("It has no data set, so there is no held-out part to measure it on."),
            )
        version = await dataset_version(self._store, request.dataset or model.dataset)
        require_training_packages()
        recipe = await self._recipe_of(model)
        job = self._job(context, evaluation, model, adapter, version, recipe)
        await self._store.jobs.add(job)
        await self._wake()
        return JobView.of(job)

    async def _model(self, model_id: str) -> Model:
        from sophia_tui.services.models import known_model

        return await known_model(self._store, model_id, self._clock.now())

    async def _recipe_of(self, model: Model) -> dict[str, Any]:
        """The recipe the model was trained by: it says how prompts are put and cut."""
        job = await self._store.jobs.get(model.job_id) if model.job_id else None
        run = job.request.get("run", {}) if job else {}
        return dict(run.get("recipe") or {})

    def _job(
        self,
        context: Context,
        evaluation: "EvaluationSettings",
        model: Model,
        adapter: str,
        version: DatasetVersion,
        recipe: dict[str, Any],
    ) -> Job:
        from finetune.schema import Recipe, RunSpec

        job_id = new_job_id()
        run = RunSpec(
            job_id=job_id,
            kind="evaluate",
            base=model.base,
            dataset_path=version.folder,
            dataset_hash=version.hash,
            recipe=Recipe.model_validate(recipe),
            threads=chosen_threads(self._settings),
            adapter_path=adapter,
            evaluation=evaluation,
        )
        return Job(
            id=job_id,
            kind=JobKind.EVALUATE,
            state=JobState.QUEUED.value,
            base=model.base,
            dataset=version.id,
            request={"run": run.model_dump(mode="json"), "language": get_language()},
            created_by=context.actor,
            created_at=self._clock.now(),
            model_id=model.id,
        )


def _settings_of(request: EvaluateRequest) -> "EvaluationSettings":
    """The request as run.yaml takes it, the questions of files in it: the run needs no file of
    the person's. Raises UsageError J444, J445, NotFoundError J447."""
    from finetune.grading import regression_set
    from finetune.schema import EvaluationSettings, TextMeasure

    measures: list[TextMeasure] = []
    if request.bleu:
        measures += ["bleu", "chrf"]
    if request.similarity:
        measures.append("similarity")
    sets = [_question_set(each, request.question_tokens, True) for each in request.questions]
    sets += [
        _question_set(each, request.question_tokens, False) for each in request.questions_after
    ]
    if request.regression:
        sets.append(regression_set(request.regression))
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise UsageError(
            "J445",
            _("Two sets of questions have the same name."),
            ", ".join(map(textsafe.visible, names)),
            _("Name them: NAME=FILE."),
        )
    return EvaluationSettings(
        sample_limit=request.limit,
        prompts=request.prompts,
        prompt_count=0 if sets else _SHOWN,
        max_new_tokens=request.max_new_tokens,
        question_sets=sets,
        text_sample=request.text_sample if measures else 0,
        text_measures=measures,
        latency_sample=request.latency_sample,
    )


def _question_set(text: str, tokens: int, both: bool) -> "QuestionSet":
    from finetune.grading import QuestionsError, read_questions
    from finetune.schema import QuestionSet

    name, sign, file = text.partition("=")
    if not sign or Path(text).expanduser().is_file():  # a file's name may hold the sign itself
        name, file = Path(text).stem, text
    try:
        questions = read_questions(Path(file).expanduser().absolute())
    except FileNotFoundError as problem:
        raise NotFoundError(
            "J447",
            _("The file {path} does not exist.").format(path=textsafe.visible(file)),
            remedy=_("Correct the path after --questions or --questions-after."),
        ) from problem
    except QuestionsError as problem:
        fields = problem.fields
        why = where_and_what(fields.errors(include_input=False)) if fields else ""
        raise UsageError(
            "J444",
            _("The questions can't be used."),
            textsafe.visible(_(problem.template).format(**problem.details, why=why)),
            _(
                "Each line is an object with `id`, `question` and `accepted`, a list of texts of "
                "which an answer must contain one; `language` and `fact` may stand beside them."
            ),
        ) from problem
    return QuestionSet(
        name=name or Path(file).stem,
        questions=questions,
        max_new_tokens=tokens,
        grade="both" if both else "after",
        stop="end" if both else "answered",
    )


def _adapter(model: Model) -> str:
    if model.kind is ModelKind.MERGED:
        raise UsageError(
            "J446",
            _("Model {model} is merged, and can't be measured against its base.").format(
                model=model.id
            ),
            remedy=_("Evaluate the adapter that it was made of: {model}.").format(
                model=model.parent or "?"
            ),
        )
    if model.path is None:
        raise UsageError(
            "J440",
            _("Model {model} has no adapter on this machine.").format(model=model.id),
            _("Only models that Sophia trained here can be evaluated in this version."),
        )
    if not (Path(model.path) / "adapter_config.json").is_file():
        raise NotFoundError(
            "J442",
            _("The adapter of model {model} is not there.").format(model=model.id),
            model.path,
            _("Put the folder back, or train again."),
        )
    return model.path
