"""The way off a model that ends, as one guided flow: golden answers, data set, training,
comparison, promotion. Each step is an operation that exists; the record survives its maker."""

import fcntl
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.models import GoldenAnswers, PromotionState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.domain.successions import Stage, Succession
from sophia_tui.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    RefusedError,
    SophiaError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.files import usable_folder
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services.calendar import CalendarService
from sophia_tui.services.calendar_files import Place, shown_address
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load
from sophia_tui.services.succession_compare import compared
from sophia_tui.services.succession_golden import Golden, OpenChat, Order, Recorder, required
from sophia_tui.services.succession_shown import next_command, shown
from sophia_tui.services.succession_views import (
    STAGES,
    SucceedRequest,
    SuccessionList,
    SuccessionReference,
    SuccessionView,
)
from sophia_tui.services.train import is_hosted
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.datasets.golden import Prompt
    from sophia_tui.settings import Settings

Call = Callable[[str, Mapping[str, Any], Context], Awaitable[Any]]
#: The options that are kept; each call may change them.
_OPTIONS = (
    "base",
    "prompts",
    "seed",
    "days",
    "tokens",
    "answers",
    "recipe",
    "epochs",
    "max_steps",
)
_SEED, _TOKENS, _LATENCY = 42, 256, 5
_COLLECTED = ("qa_cache.jsonl", "conversations.jsonl", "feedback_pairs.jsonl")
_GOLDEN_FILE = "golden.jsonl"


class SuccessionService:
    """`call` is the dispatcher: it asks for roles, --readonly and confirmation once more, by step;
    `open_chat` opens the old model's provider."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        call: Call,
        calendar: CalendarService,
        prices: Load,
        open_chat: OpenChat,
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._call = call
        self._calendar = calendar
        self._prices = prices
        self._open_chat = open_chat

    @operation(
        "models.succeed",
        N_("Move off a model that ends, one step at a time: the next step, or the one named."),
        role=Role.OPERATOR,
        writes=True,
        dry_run=True,
        one_only=True,
        target="model",
        positional=("model",),
    )
    async def succeed(self, context: Context, request: SucceedRequest) -> SuccessionView:
        """Raises UsageError M607 (no local base), M608 (another name to promote), ConflictError
        M601, M602, M609 (a step before is not done, or runs), M610 (another process is at it), M614
        (env files that no promotion writes still name it), DataError M606, M611 (no questions),
        RefusedError M603, UnconfirmedError M604, M612, UnavailableError M605, and what the
        operation of a step raises."""
        found = await self._store.successions.get(request.model)
        if found is None or (found.state == "done" and found.id != request.model):
            found = self._new(context, request)
            if not context.dry_run:
                await self._store.successions.add(found)
        options = _options(found.options, request)
        if context.dry_run:
            return await self._planned(context, replace(found, options=options), request)
        with self._held(found):
            if options != found.options:
                found = await self._store.successions.update(
                    found.id, found.version, options=options
                )
            was = found.state
            found = await self._seen(found)
            # what was left to do by hand is done now: nothing is promoted once more
            ended = found.state == "done" != was and request.promote == found.new_model
            stage = None if ended else self._chosen(found, request)
            if stage is not None:
                found = await self._perform(context, found, request, stage)
        return await self._view(found)

    @operation(
        "models.succession",
        N_("Show how far the ways off models that end are, and what goes on with each."),
        target="model",
        positional=("model",),
    )
    async def succession(self, context: Context, request: SuccessionReference) -> SuccessionList:
        """Raises NotFoundError M613."""
        if request.model is None:
            found = await self._store.successions.page()
            return SuccessionList(items=[await self._view(each) for each in found])
        one = await self._store.successions.get(request.model)
        if one is None:
            raise NotFoundError(
                "M613",
                _("No way off {model} was begun.").format(model=visible(request.model)),
                remedy=_("`sophia models succeed {model}` begins one.").format(
                    model=visible(request.model)
                ),
            )
        return SuccessionList(items=[await self._view(one)])

    # -- the record

    def _new(self, context: Context, request: SucceedRequest) -> Succession:
        return Succession(
            id=f"succession-{secrets.token_hex(6)}",
            model_id=request.model,
            created_at=self._clock.now(),
            created_by=context.actor,
        )

    def _folder(self, succession: Succession) -> Path:
        return self._paths.successions / succession.id

    @contextmanager
    def _held(self, succession: Succession) -> Iterator[None]:
        """One process at a time. Raises ConflictError M610, SetupError S101."""
        folder = self._folder(succession)
        usable_folder(folder)
        with open(folder / "lock", "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(
                    "M610",
                    _("The way off {model} is being gone on with already.").format(
                        model=visible(succession.model_id)
                    ),
                    remedy=_("Wait until that is done; asked again, it goes on where it stood."),
                ) from None
            yield

    @contextmanager
    def _rows(self, succession: Succession) -> Iterator[Path]:
        """A folder for rows of production as they are: gone at the end, and what a process left
        that was killed goes first. Raises SetupError S101."""
        folder = self._paths.successions / f"{succession.id}-rows"
        shutil.rmtree(folder, ignore_errors=True)
        usable_folder(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _seen(self, found: Succession) -> Succession:
        """With what came of jobs and promotions meanwhile, kept."""
        seen = await self._with_news(found)
        if seen == found:
            return found
        return await self._store.successions.update(
            found.id, found.version, steps=seen.steps, new_model=seen.new_model, state=seen.state
        )

    async def _with_news(self, found: Succession) -> Succession:
        """The same, nothing kept."""
        found = await self._trained(found)
        found = await self._evaluated(found)
        return await self._promoted(found)

    async def _trained(self, found: Succession) -> Succession:
        step = found.of(Stage.TRAIN)
        job = await self._store.jobs.get(step["job"]) if step.get("state") == "running" else None
        if job is None:
            return found
        if job.state == JobState.SUCCEEDED and job.resulting_model:
            facts = {**step.get("facts", {}), "model": job.resulting_model, "loss": job.loss}
            found = replace(found, new_model=job.resulting_model)
            return _with_step(found, Stage.TRAIN, {**step, "state": "done", "facts": facts})
        return self._ended(found, Stage.TRAIN, job)

    async def _evaluated(self, found: Succession) -> Succession:
        step = found.of(Stage.COMPARE)
        job = await self._store.jobs.get(step["job"]) if step.get("state") == "running" else None
        if job is None:
            return found
        evaluation = await self._store.evaluations.get(job.id)
        if job.state != JobState.SUCCEEDED or evaluation is None:
            return self._ended(found, Stage.COMPARE, job)
        golden = await self._store.golden.get(found.of(Stage.GOLDEN)["facts"]["golden"])
        comparison = compared(
            golden.answers if golden else (),
            evaluation.report,
            evaluation.id,
            self._prices().chat(found.model_id),
            self._settings.machine_usd_per_hour,
        )
        facts = {**step.get("facts", {}), "comparison": comparison.model_dump(mode="json")}
        return _with_step(found, Stage.COMPARE, {**step, "state": "done", "facts": facts})

    def _ended(self, found: Succession, stage: Stage, job: Job) -> Succession:
        """A job that failed or was cancelled is one to be begun anew, or resumed."""
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            return found
        step = found.of(stage)
        error = job.error or {}
        facts = {**step.get("facts", {}), "code": error.get("code"), "why": error.get("what")}
        return _with_step(found, stage, {**step, "state": "failed", "facts": facts})

    async def _promoted(self, found: Succession) -> Succession:
        """By whatever face the new model was put into production; not while a service's env file
        still names the old one."""
        if found.new_model is None or found.done(Stage.PROMOTE):
            return found
        for each in await self._store.promotions.page(20):
            if (
                each.model_id == found.new_model
                and each.state is PromotionState.DONE
                and each.created_at >= found.created_at
            ):
                if await self._calendar.still_named(found.model_id):
                    return found
                step = {
                    "state": "done",
                    "at": (each.finished_at or each.created_at).isoformat(),
                    "by": each.created_by,
                    "facts": {"promotion": each.id, "model": each.model_id},
                }
                return replace(_with_step(found, Stage.PROMOTE, step), state="done")
        return found

    # -- which step

    def _chosen(self, found: Succession, request: SucceedRequest) -> Stage | None:
        """The step to do now; None where a job is under way, or a person must decide."""
        if request.promote is not None:
            self._require_before(found, Stage.PROMOTE)
            return Stage.PROMOTE
        if request.step is not None:
            stage = Stage(request.step)
            self._require_before(found, stage)
            return stage if stage is not Stage.PROMOTE else None
        due = found.next
        if due is None or due is Stage.PROMOTE or found.of(due).get("state") == "running":
            return None
        return due

    def _require_before(self, found: Succession, stage: Stage) -> None:
        """Raises ConflictError M609."""
        for each in Stage:
            if each is stage:
                return
            if not found.done(each):
                raise ConflictError(
                    "M609",
                    _("The step {step} is not done yet.").format(step=each.value),
                    _("It comes before {step}.").format(step=stage.value),
                    _("Next: `{command}`").format(command=next_command(found)),
                )

    async def _perform(
        self, context: Context, found: Succession, request: SucceedRequest, stage: Stage
    ) -> Succession:
        """Do it; what came after it before counts no more."""
        work = {
            Stage.GOLDEN: self._golden,
            Stage.DATASET: self._dataset,
            Stage.TRAIN: self._train,
            Stage.COMPARE: self._compare,
            Stage.PROMOTE: self._promote,
        }[stage]
        done = await work(context, found, request)
        step = {"at": self._clock.now().isoformat(), "by": context.actor, **done}
        later = list(Stage)[list(Stage).index(stage) + 1 :]
        steps = {name: each for name, each in found.steps.items() if Stage(name) not in later}
        changes: dict[str, Any] = {"steps": {**steps, stage.value: step}}
        if stage is Stage.PROMOTE:
            changes["state"] = "done" if done["state"] == "done" else "open"
        elif Stage.TRAIN in (stage, *later):
            changes["new_model"] = None
        return await self._store.successions.update(found.id, found.version, **changes)

    # -- the steps

    async def _golden(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> dict[str, Any]:
        from sophia_tui.datasets.golden import read_prompts, write_prompts

        folder = self._folder(found)
        mark = "-".join(str(found.options.get(each) or "") for each in ("prompts", "seed", "days"))
        path = folder / f"prompts-{mark}.jsonl"
        prompts = read_prompts(path)
        if prompts is None:
            prompts = await self._drawn(context, found)
            write_prompts(path, prompts)
        place = await self._place(found.model_id)
        order = self._order(found, prompts, place, request.budget)
        recorder = Recorder(order, folder / "answers.jsonl")
        golden = required(await self._answers(context, found, recorder, place), found.model_id)
        kept = GoldenAnswers(
            id=f"golden-{secrets.token_hex(6)}",
            model_id=found.model_id,
            answers=golden.answers,
            created_at=self._clock.now(),
            created_by=context.actor,
        )
        await self._store.golden.add(kept)
        facts = {
            "golden": kept.id,
            "answers": len(golden.answers),
            "address": shown_address(place.base_url),
            "kept": sum(each["source"] == "cache" for each in golden.answers),
            "cached": golden.why_cached,
            "usd": order.cost([each for each in golden.answers if each["source"] != "cache"]),
        }
        return {"state": "done", "facts": facts}

    async def _answers(
        self, context: Context, found: Succession, recorder: Recorder, place: Place
    ) -> Golden:
        wanted = found.options.get("answers") or "auto"
        if wanted == "cache":
            return recorder.cached("")
        recorder.hold(context)
        chat = self._open_chat(place.base_url, place.key)
        try:
            return await recorder.ask(context, chat, may_be_gone=wanted == "auto")
        finally:
            await chat.close()

    async def _place(self, model: str) -> Place:
        return await self._calendar.place_of(model)

    def _order(
        self, found: Succession, prompts: "list[Prompt]", place: Place, budget: float | None
    ) -> Order:
        return Order(
            model=found.model_id,
            prompts=prompts,
            tokens=int(found.options.get("tokens") or _TOKENS),
            price=self._prices().chat(found.model_id),
            free=self._calendar.is_ours(place),
            budget=budget,
        )

    async def _drawn(self, context: Context, found: Succession) -> "list[Prompt]":
        """Questions of production, drawn anew; nothing of it stays but those. Raises DataError
        M611."""
        import asyncio

        from sophia_tui.datasets.golden import draw

        options = found.options
        key = self._settings.pseudonym_key
        with self._rows(found) as folder:
            await self._collect(
                context, options, folder, ["qa_cache", "conversations"], Stage.GOLDEN
            )
            files = [folder / each for each in _COLLECTED if (folder / each).is_file()]
            prompts = await asyncio.to_thread(
                draw,
                files,
                int(options.get("prompts") or self._settings.succession_prompts),
                int(options.get("seed", _SEED)),
                key.get_secret_value() if key else "",
            )
        if not prompts:
            raise DataError(
                "M611",
                _("Production has no answered question in that time."),
                _("qa_cache and conversations were read."),
                _("Read further back: --days; `sophia source inspect` says what is there."),
            )
        return prompts

    async def _collect(
        self,
        context: Context,
        options: Mapping[str, Any],
        folder: Path,
        what: list[str],
        stage: Stage,
    ) -> None:
        """Raises what collecting raises, with the step that it was for."""
        request: dict[str, Any] = {"what": what, "folder": str(folder)}
        if options.get("days"):
            request["window_days"] = options["days"]
        inner = replace(context, inner=True, dry_run=False)
        try:
            await self._call("collect.run", request, inner)
        except SophiaError as problem:
            _tell_step(problem, stage)
            raise

    async def _dataset(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> dict[str, Any]:
        """Everything that production was asked, without the golden questions: those are held out,
        with the old model's answers, so that every evaluation is a comparison with it."""
        from sophia_tui.datasets.golden import write_answers

        golden = await self._store.golden.get(found.of(Stage.GOLDEN)["facts"]["golden"])
        if golden is None:
            raise ConflictError(
                "M609",
                _("The step {step} is not done yet.").format(step=Stage.GOLDEN.value),
                _("Its answers are not in the store any more."),
                f"sophia models succeed {found.model_id} --step golden",
            )
        with self._rows(found) as folder:
            what = ["qa_cache", "conversations", "feedback_pairs"]
            await self._collect(context, found.options, folder, what, Stage.DATASET)
            path = folder / _GOLDEN_FILE
            write_answers(path, golden.answers)
            files = [each for each in _COLLECTED if (folder / each).is_file()]
            made = await self._call(
                "prepare.run",
                {
                    "folder": str(folder),
                    "files": [
                        *[each for each in files if (folder / each).stat().st_size],
                        path.name,
                    ],
                    "held_out": [path.name],
                    "name": _dataset_name(found.model_id),
                    "step": ["redact", f"leakage:file={path}", "exact_duplicates"],
                },
                replace(context, inner=True),
            )
        counts = made.dataset.counts
        facts = {
            "dataset": made.dataset.id,
            "rows": counts.get("train", 0),
            "held_out": counts.get("valid", 0),
            "left_out": sum(each.count for each in made.rejected if each.code == "leakage"),
        }
        return {"state": "done", "facts": facts}

    async def _train(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> dict[str, Any]:
        asked = self._training(found, request)
        base = str(asked["base"])
        same = (base, str(Path(base).expanduser().absolute()))
        begun = await self._begun(JobKind.TRAIN, found, request, lambda job: job.base in same)
        job = begun or await self._call("train.start", asked, context)
        facts = {"base": job.base, "dataset": job.dataset}
        return {"state": "running", "job": job.id, "facts": facts}

    async def _begun(
        self,
        kind: JobKind,
        found: Succession,
        request: SucceedRequest,
        is_it: Callable[[Job], bool],
    ) -> Job | None:
        """The job of this step that a process queued which died before it could note it down; none
        where the step is to be done anew."""
        if request.step is not None:
            return None
        dataset = found.of(Stage.DATASET)["facts"]["dataset"]
        since = datetime.fromisoformat(found.of(Stage.DATASET)["at"])
        for each in await self._store.jobs.page(limit=50):
            ended = each.state in (JobState.FAILED, JobState.CANCELLED, JobState.DRAFT)
            fits = each.kind is kind and each.dataset == dataset and each.created_at >= since
            if fits and not ended and not each.is_try and is_it(each):
                return each
        return None

    def _training(self, found: Succession, request: SucceedRequest) -> dict[str, Any]:
        asked = {
            "dataset": found.of(Stage.DATASET).get("facts", {}).get("dataset"),
            "base": self._base(found),
            "provider": "local",
            "accept_few": request.accept_few,
            **{each: found.options.get(each) for each in ("recipe", "epochs", "max_steps")},
        }
        return {name: each for name, each in asked.items() if each is not None}

    def _base(self, found: Succession) -> str:
        """A base of this machine. Raises UsageError M607."""
        settings = self._settings
        given = found.options.get("base") or settings.succession_base
        for base in (given, None if given else settings.finetune_base):
            if base and not _trains_elsewhere(base, settings):
                return str(base)
        raise UsageError(
            "M607",
            _("No base of this machine is named to train from."),
            _("{base} is trained by its provider.").format(base=visible(str(given)))
            if given
            else _("Neither SOPHIA_SUCCESSION_BASE nor FINETUNE_BASE names one."),
            _("Name a model folder, a GGUF file or a hub id: --base, or SOPHIA_SUCCESSION_BASE."),
        )

    async def _compare(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> dict[str, Any]:
        held_out = int(found.of(Stage.DATASET)["facts"].get("held_out") or 0)

        def is_ours(job: Job) -> bool:
            sample = job.request.get("run", {}).get("evaluation", {}).get("text_sample")
            return job.model_id == found.new_model and sample == held_out

        begun = await self._begun(JobKind.EVALUATE, found, request, is_ours)
        job = begun or await self._call(
            "evaluate.run",
            {
                "model": found.new_model,
                "text_sample": held_out,
                "latency_sample": min(_LATENCY, held_out),
                "max_new_tokens": int(found.options.get("tokens") or _TOKENS),
            },
            context,
        )
        return {"state": "running", "job": job.id, "facts": {"model": found.new_model}}

    async def _promote(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> dict[str, Any]:
        """Serve it where nobody does, then the promotion itself, whose rules are its own."""
        if request.promote != found.new_model:
            raise UsageError(
                "M608",
                _("{given} is not the successor of {model}.").format(
                    given=visible(str(request.promote)), model=visible(found.model_id)
                ),
                _("The name is typed so that nothing else goes into production."),
                _("The successor is {model}.").format(model=visible(str(found.new_model))),
            )
        if not context.confirmed:
            raise UnconfirmedError(
                "M612",
                _("{model} goes into production in place of {old}.").format(
                    model=visible(str(found.new_model)), old=visible(found.model_id)
                ),
                _("Nobody has confirmed that yet."),
                _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
            )
        living = await self._store.deployments.page(limit=200, living=True)
        if not any(each.name == found.new_model for each in living):
            await self._call("serve.model", {"model": found.new_model}, context)
        try:
            promoted = await self._call("promote.run", _promotion(found, request), context)
        except ConflictError as problem:
            still = await self._still(found)
            if problem.code != "SOPHIA-P003" or not still:
                raise
            raise ConflictError(
                "M614",
                _("{model} is in production, and env files still name {old}.").format(
                    model=visible(str(found.new_model)), old=visible(found.model_id)
                ),
                " ".join(still),
                _("Change these keys by hand: no promotion writes them."),
            ) from problem
        if still := await self._still(found):
            why = {"code": "SOPHIA-M614", "why": " ".join(still)}
            return {"state": "failed", "facts": {**why, "promotion": promoted.id}}
        return {"state": "done", "facts": {"promotion": promoted.id, "model": found.new_model}}

    async def _still(self, found: Succession) -> list[str]:
        """Sentences on keys of services that name the old model."""
        told = _("{key} in {file} still names {model}.")
        return [
            told.format(
                key=visible(each.key), file=visible(each.file), model=visible(found.model_id)
            )
            for each in await self._calendar.still_named(found.model_id)
        ]

    # -- what is shown

    async def _planned(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> SuccessionView:
        """What the next step would do; nothing is written."""
        found = await self._with_news(found)
        stage = self._chosen(found, request)
        notes = [_("Nothing was changed: this is the plan.")]
        if stage is Stage.GOLDEN:
            notes += await self._golden_plan(context, found, request)
        elif stage is Stage.TRAIN:
            planned = await self._call("train.start", self._training(found, request), context)
            notes += [str(each) for each in planned.warnings]
        elif stage is Stage.PROMOTE:
            planned = await self._call("promote.run", _promotion(found, request), context)
            notes += planned.notes
            notes += [line for each in planned.files for line in (each.path, *each.diff)]
        view = await self._view(found)
        return view.model_copy(update={"notes": [*notes, *view.notes]})

    async def _golden_plan(
        self, context: Context, found: Succession, request: SucceedRequest
    ) -> list[str]:
        prompts = await self._drawn(context, found)
        place = await self._place(found.model_id)
        order = self._order(found, prompts, place, request.budget)
        told = ngettext(
            "{count} question would be asked at {address}.",
            "{count} questions would be asked at {address}.",
            len(prompts),
        ).format(count=len(prompts), address=shown_address(place.base_url))
        usd = order.estimate(prompts)
        if usd is None:
            return [told, _("Nobody knows what that costs.")]
        return [told, _("That costs at most {usd:.4f} USD.").format(usd=usd)]

    async def _view(self, found: Succession) -> SuccessionView:
        found = await self._with_news(found)
        notes = []
        if found.next is Stage.PROMOTE:
            notes = await self._calendar.sent_elsewhere(found.model_id)
        return shown(found, notes)


def _with_step(found: Succession, stage: Stage, step: dict[str, Any]) -> Succession:
    return replace(found, steps={**found.steps, stage.value: step})


def _options(before: Mapping[str, Any], request: SucceedRequest) -> dict[str, Any]:
    given = {name: getattr(request, name) for name in _OPTIONS}
    return {**before, **{name: each for name, each in given.items() if each is not None}}


def _promotion(found: Succession, request: SucceedRequest) -> dict[str, Any]:
    """The promotion as it is asked for, of every key that names the old model; its own rules
    decide."""
    reason = {"override": request.override} if request.override else {}
    return {"model": request.promote, "replaces": [found.model_id], **reason}


def _trains_elsewhere(base: str, settings: "Settings") -> bool:
    try:
        return is_hosted(base, "local", settings)
    except RefusedError:
        return True
    except SophiaError:
        return False


def _dataset_name(model: str) -> str:
    """A data set's name of the old model's: small letters, digits, - and _."""
    kept = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in model.lower())
    return f"after-{kept.strip('-')[:50] or 'model'}".rstrip("-")


def _tell_step(problem: SophiaError, stage: Stage) -> None:
    """Let the problem say which step it stops, and what that step needs."""
    number = list(Stage).index(stage) + 1
    told = _("Step {number} of {count}, {step}: {what}").format(
        number=number, count=len(Stage), step=_(STAGES[stage.value]), what=problem.what
    )
    needs = _(
        "Its questions are drawn from production's database, whatever --answers says (that only "
        "chooses whose answers): set DATABASE_URL to a source that `sophia source inspect` can "
        "read, then give the same command again."
    )
    if stage is not Stage.GOLDEN:
        needs = _(
            "Its rows come from production's database: set DATABASE_URL to a source that "
            "`sophia source inspect` can read, then give the same command again."
        )
    problem.what, problem.args = told, (told,)
    problem.remedy = f"{problem.remedy} {needs}".strip()
