"""What is told before a training starts, and what keeps it from starting.

`plan` looks as long as it takes (tokens, the speed of this machine); `gate` is what every start
passes, and asks only what is known or read in a moment.
"""

import asyncio
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune import estimates as model
from sophia_tui.domain.context import Context, Face, Progress
from sophia_tui.domain.hosted import OPENAI
from sophia_tui.domain.jobs import Job, JobKind, JobState
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.errors import (
    CancelledError,
    DataError,
    RefusedError,
    SophiaError,
    UnavailableError,
    UnconfirmedError,
)
from sophia_tui.files import usable_folder, write_whole
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.i18n import money as sum_of
from sophia_tui.paths import Paths
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.machine_memory import DeviceMemory, gpu_memory, main_memory
from sophia_tui.providers.short_run import ShortRuns
from sophia_tui.services import checklists, estimates, waiting
from sophia_tui.services.job_states import host_of
from sophia_tui.services.plan_views import (
    CheckItem,
    MemoryPart,
    PlanData,
    PlanLines,
    PlanMemory,
    PlanMoney,
    PlanRented,
    PlanTime,
    TrainPlan,
)
from sophia_tui.services.prices import Load
from sophia_tui.services.train import LocalOrder
from sophia_tui.services.train_preview import Previews, refusal_of, some_lines
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from finetune.schema import PreviewReport, Recipe
    from sophia_tui.services.train_hosted import HostedPlan
    from sophia_tui.settings import Settings

_GB = 1e9
_EARLIER_RUNS = 5
_PROBE_SECONDS = 60.0
_PROBE_LASTS = timedelta(days=7)
_PROBE_FILE = "speed.json"
#: A start reads a data set of at most so many bytes for its own estimate; `plan` reads any.
_READ_AT_START = 64 << 20
_PARTS = {
    "program": N_("program"),
    "weights": N_("weights"),
    "adapter": N_("adapter"),
    "gradients": N_("gradients"),
    "optimizer": N_("optimizer"),
    "activations": N_("activations"),
    "logits": N_("logits"),
    "data": N_("data"),
    "reserve": N_("reserve"),
}
_RENTED = {"epoch": N_("epochs"), "evaluation": N_("evaluation"), "merge": N_("merging")}


@dataclass(frozen=True)
class Gate:
    """What a start learned on its way: for the job's request, and for the person."""

    cost_usd: float | None
    seconds: float | None
    warnings: tuple[str, ...] = ()

    def estimate(self) -> dict[str, Any]:
        """What is known, for the job's request."""
        found = {"usd_estimated": self.cost_usd, "seconds_estimated": self.seconds}
        return {name: round(value, 4) for name, value in found.items() if value is not None}


class Planner:
    """Estimates trainings of this machine, and holds all trainings to the budget."""

    def __init__(
        self,
        store: Store,
        settings: "Settings",
        paths: Paths,
        clock: Clock,
        prices: Load,
        runs: ShortRuns | None = None,
        machine: ThisMachine | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._clock = clock
        self._prices = prices
        self._machine = machine or ThisMachine.here()
        self._runs = runs or ShortRuns(paths, settings)
        self.previews = Previews(paths, self._runs)

    # -- what every start passes

    async def gate(self, context: Context, order: LocalOrder) -> Gate:
        """Whether a training of this machine may be queued.

        Raises DataError J565 (lines without a token to learn, as a preview found them),
        RefusedError J561 (above the budget) and J563 (a budget, and the cost is not known),
        UnconfirmedError J562 (costs, and nobody confirmed).
        """
        report = self.previews.kept(order)
        if report is not None:
            refuse_data(report, order)
        most = math.inf if self._price_an_hour() else _READ_AT_START
        lengths = _lengths_of(report) if report is not None else await _small(order, most)
        try:
            shape = estimates.shape_of(order.base)
        except model.UnknownShape:
            shape = None
        seconds = None
        if lengths is not None and shape is not None and self._price_an_hour():
            speed = await self._kept_speed(order.base, shape, lengths) or await self._probed(
                context
            )
            time = await self._time(order.recipe, shape, lengths, speed)
            seconds = time.seconds if time else None
        usd = self._usd(seconds)
        self.hold(context, usd, order.budget, priced=bool(self._price_an_hour()))
        warnings: list[str] = []
        if lengths is not None and shape is not None:
            warnings += await self._too_large(order, shape, lengths)
        return Gate(usd, seconds, tuple(warnings))

    def hold(
        self,
        context: Context,
        usd: float | None,
        budget: float | None,
        priced: bool = False,
        hosted: bool = False,
    ) -> None:
        """Raises RefusedError J561 above the budget and J563 where there is one and nobody knows
        the cost, UnconfirmedError J562 where it costs, or may cost at a provider whose price is not
        known, and nobody confirmed; `priced` says that it costs even where `usd` is not known.
        Where nobody can be asked (a worker, Sophia's own work), the budget alone counts.
        """
        limit = self._budget(budget)
        if usd is None and limit is not None:
            raise RefusedError(
                "J563",
                _("Nobody can say whether the training stays within its budget."),
                _unknown(limit),
                _(
                    "Look at it: `sophia train plan`. Set SOPHIA_MACHINE_USD_PER_HOUR (0 for a "
                    "machine that costs nothing), at a provider the price list; or start without "
                    "a budget."
                ),
                budget=limit,
            )
        if usd is not None and limit is not None and usd > limit:
            raise RefusedError(
                "J561",
                _("The training would cost more than its budget."),
                _above(usd, limit),
                _(
                    "Train less (fewer epochs, fewer examples), or raise --budget or the setting "
                    "SOPHIA_TRAINING_BUDGET_USD."
                ),
                usd=round(usd, 4),
                budget=limit,
            )
        asks = not (context.confirmed or context.dry_run or context.inner)
        costs = needs_yes(usd, hosted) or (usd is None and priced)
        if costs and asks and context.face is not Face.WORKER:
            told = _("The training costs money, and nobody knows how much.")
            if usd is not None:
                told = _("The training costs about {usd} USD.").format(usd=sum_of(usd))
            elif hosted:
                told = _("What the training costs at the provider is not known.")
            raise UnconfirmedError(
                "J562",
                told,
                _("Nobody has confirmed that yet."),
                _('Confirm it: --yes on the command line, "confirm": true over HTTP.'),
                usd=None if usd is None else round(usd, 4),
            )

    def confirmed(
        self, context: Context, usd: float | None, hosted: bool = False
    ) -> dict[str, Any]:
        """Who confirmed which sum, for the job's request; nothing where nobody had to."""
        if not needs_yes(usd, hosted) or not context.confirmed:
            return {}
        at = self._clock.now().isoformat()
        said = None if usd is None else round(usd, 4)
        return {"confirmed": {"usd": said, "by": context.actor, "at": at}}

    # -- the plan of a training here

    async def plan(
        self, context: Context, order: LocalOrder, steps: int, asked: Mapping[str, Any]
    ) -> TrainPlan:
        """Everything that can be known before a training of this machine starts."""
        warnings: list[str] = []
        report = await self._report(context, order, warnings)
        if report is not None:
            lengths = _lengths_of(report)
        else:
            file = Path(order.version.folder) / "train.jsonl"
            lengths = await asyncio.to_thread(estimates.lengths_of_bytes, file)
        refusals = refusal_of(report, order.recipe) if report is not None else []
        shape: model.Shape | None = None
        try:
            shape = estimates.shape_of(order.base)
        except model.UnknownShape as problem:
            warnings.append(
                _("The base's shape is not known: {why}.").format(why=visible(str(problem)))
            )
        memory = fitting = time = None
        if shape is not None:
            memory, fitting = await self._memory(order, shape, lengths)
            speed = await self._kept_speed(order.base, shape, lengths) or await self._probed(
                context
            )
            time = await self._time(order.recipe, shape, lengths, speed, steps)
        money = self._money(order, time, refusals)
        data = _data(report, lengths, order)
        rented = self._rented(order)
        check = checklists.budget_check(
            money.usd,
            money.needs_confirmation,
            None,
            "" if money.within_budget is not False else _("above the budget"),
        )
        checks = await checklists.before_checks(
            self._store, self._settings, order.version, order.base, False, report, check
        )
        return TrainPlan(
            dataset=order.version.id,
            base=order.base,
            recipe=order.recipe_name,
            ready=not refusals,
            steps=steps,
            epochs=None if order.recipe.max_steps else order.recipe.epochs,
            summary=[
                *_memory_told(memory),
                *_data_told(data, order),
                *_time_told(time),
                *self._money_told(money, time),
                *_rented_told(rented),
            ],
            refusals=refusals,
            warnings=[*warnings, *self._held_now()],
            changes=_changes_told(memory, fitting),
            command=_command(order, asked, fitting) if fitting else None,
            memory=memory,
            data=data,
            time=time,
            money=money,
            rented=rented,
            checks=checks,
        )

    async def hosted_plan(
        self, context: Context, plan: "HostedPlan", version: Any, budget: float | None
    ) -> TrainPlan:
        """The same for a training at a provider, whose order was checked already."""
        estimate = plan.estimate
        usd = estimate.get("usd_estimated")
        limit = self._budget(budget)
        within = None if limit is None or usd is None else usd <= limit
        refusals = [] if within is not False else [_above(usd, limit)]
        if usd is None and limit is not None:
            refusals.append(_unknown(limit))
        money = PlanMoney(
            usd=usd,
            by="unknown" if usd is None else "provider_price",
            budget_usd=limit,
            within_budget=within,
            needs_confirmation=needs_yes(usd, hosted=True),
        )
        check = checklists.budget_check(
            usd,
            needs_yes(usd, hosted=True),
            None,
            "" if within is not False else _("above the budget"),
        )
        checks = await checklists.before_checks(
            self._store, self._settings, version, plan.order.base, True, None, check
        )
        told = _("{examples} examples, about {tokens} tokens in {epochs} epochs.").format(
            examples=number(estimate.get("examples") or 0),
            tokens=number(estimate.get("tokens_estimated") or 0),
            epochs=f"{estimate.get('epochs') or 0:g}",
        )
        return TrainPlan(
            dataset=version.id,
            base=plan.order.base,
            provider=OPENAI,
            ready=False if refusals else (None if plan.unanswered else True),
            epochs=estimate.get("epochs"),
            summary=[told, *self._money_told(money, None)],
            refusals=refusals,
            warnings=list(plan.warnings),
            money=money,
            checks=checks,
        )

    async def checks(self, order: LocalOrder) -> list[CheckItem]:
        """The list before a training that nobody asked for yet; nothing is started for it."""
        report = self.previews.kept(order)
        usd: float | None = None
        if self._price_an_hour():
            try:
                shape = estimates.shape_of(order.base)
            except model.UnknownShape:
                shape = None
            lengths = _lengths_of(report) if report is not None else await _small(order)
            if shape is not None and lengths is not None:
                speed = await self._kept_speed(order.base, shape, lengths)
                time = await self._time(order.recipe, shape, lengths, speed)
                usd = self._usd(time.seconds if time else None)
        limit = self._budget(order.budget)
        above = usd is not None and limit is not None and usd > limit
        check = checklists.budget_check(
            usd, bool(usd), None, _("above the budget") if above else ""
        )
        return await checklists.before_checks(
            self._store, self._settings, order.version, order.base, False, report, check
        )

    # -- parts

    async def _report(
        self, context: Context, order: LocalOrder, warnings: list[str]
    ) -> "PreviewReport | None":
        if not estimates.is_here(order.base):
            warnings.append(
                _(
                    "The base is not on this machine: its tokens, and which of them are trained, "
                    "are not known before it is fetched."
                )
            )
            return None
        try:
            return await self.previews.totals(context, order)
        except CancelledError:
            raise
        except SophiaError as problem:
            warnings.append(f"{problem.what} {problem.why}".strip())
            return None

    async def _memory(
        self, order: LocalOrder, shape: model.Shape, lengths: model.Lengths
    ) -> tuple[PlanMemory, estimates.Fitting | None]:
        place = await self._device()
        needed = model.estimate_memory(shape, order.recipe, lengths, place.device)
        floor = self._floor(place)
        room = place.free - floor
        fitting = None
        if needed.total > room:
            fitting = estimates.nearest_that_fits(shape, order.recipe, lengths, place.device, room)
        found = PlanMemory(
            needed_bytes=needed.total,
            free_bytes=place.free,
            floor_bytes=floor,
            total_bytes=place.total,
            device=place.device,
            device_name=place.name,
            fits=needed.total <= room,
            shape_by=shape.origin,
            parts=[
                MemoryPart(name=name, bytes=each)
                for name, each in estimates.memory_parts(needed).items()
            ],
        )
        return found, fitting

    def _held_now(self) -> list[str]:
        """What would let a start wait now, though it is queued."""
        held = waiting.held_now(self._settings, self._paths.runs, self._clock.now())
        return [
            _("It would not start at once. {what} {why}").format(what=each["what"], why=each["why"])
            for each in held
        ]

    async def _device(self) -> DeviceMemory:
        """Where a training would run: the first GPU, else the processor."""
        return next(iter(await gpu_memory()), None) or main_memory()

    def _floor(self, place: DeviceMemory) -> int:
        """Bytes of RAM that stay free for everything else on this machine."""
        return self._settings.memory_floor_mb * 1_000_000 if place.device == "cpu" else 0

    async def _too_large(
        self, order: LocalOrder, shape: model.Shape, lengths: model.Lengths
    ) -> list[str]:
        """A word of warning where not even the whole machine would hold it."""
        place = await self._device()
        needed = model.estimate_memory(shape, order.recipe, lengths, place.device)
        if needed.total <= place.total - self._floor(place):
            return []
        return [
            _(
                "It may not fit: about {needed} GB are needed and {device} has {total} GB. `sophia "
                "train plan` names the nearest setting that fits."
            ).format(
                needed=_gigabytes(needed.total), device=place.name, total=_gigabytes(place.total)
            )
        ]

    async def _kept_speed(
        self, base: str, shape: model.Shape, lengths: model.Lengths
    ) -> "_Speed | None":
        """By earlier trainings of the base here, else by a probe of not long ago."""
        found = await self._store.jobs.page(
            200, 0, (JobState.SUCCEEDED.value,), (JobKind.TRAIN.value,)
        )
        mine = [each for each in found if self._was_here(each, base)][:_EARLIER_RUNS]
        measured = estimates.speed_of_runs(mine, shape, lengths.mean)
        if measured is not None:
            return _Speed(measured.operations, measured.runs)
        return self._kept_probe()

    def _was_here(self, job: Job, base: str) -> bool:
        is_ours = job.provider == "local" and job.base == base
        return is_ours and host_of(job) == self._machine.host and not job.is_try

    def _kept_probe(self) -> "_Speed | None":
        try:
            kept = json.loads((self._paths.previews / _PROBE_FILE).read_text("utf-8"))
            age = self._clock.now().timestamp() - float(kept["at"])
            fresh = 0 <= age < _PROBE_LASTS.total_seconds()
            if kept["host"] != self._machine.host or not fresh:
                return None
            return _Speed(float(kept["gflops"]) * 1e9 * estimates.REACHED[str(kept["device"])])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    async def _probed(self, context: Context) -> "_Speed | None":
        context.progress(Progress(_("measuring the speed of this machine"), 0))
        try:
            found = await self._runs.probe(context.cancel.check, _PROBE_SECONDS)
        except UnavailableError:  # too slow to tell: the time is not known
            return None
        if not isinstance(found.get("gflops"), int | float) or found.get("device") not in (
            "cpu",
            "cuda",
        ):
            return None
        kept = {**found, "host": self._machine.host, "at": self._clock.now().timestamp()}
        usable_folder(self._paths.previews)
        write_whole(self._paths.previews / _PROBE_FILE, json.dumps(kept).encode())
        return self._kept_probe()

    async def forecast(
        self, base: str, recipe: "Recipe", lengths: model.Lengths, steps: int
    ) -> PlanTime | None:
        """The time of a training here, by the speed that is known; None where none is, or the
        base's shape is not known. Nothing is measured for it."""
        try:
            shape = estimates.shape_of(base)
        except model.UnknownShape:
            return None
        speed = await self._kept_speed(base, shape, lengths)
        return await self._time(recipe, shape, lengths, speed, steps)

    async def _time(
        self,
        recipe: "Recipe",
        shape: model.Shape,
        lengths: model.Lengths,
        speed: "_Speed | None",
        steps: int | None = None,
    ) -> PlanTime | None:
        if speed is None or speed.operations <= 0:
            return None
        if steps is None:
            per_epoch = math.ceil(
                lengths.examples / (recipe.batch_size * recipe.gradient_accumulation)
            )
            steps = recipe.max_steps or math.ceil(recipe.epochs * per_epoch)
        rate = speed.operations / model.operations_per_token(
            shape, recipe, min(lengths.mean, recipe.sequence_length)
        )
        device = (await self._device()).device
        seconds = estimates.tokens_to_train(recipe, lengths, steps) / rate
        seconds += estimates.start_seconds(shape, recipe, device)
        limit = recipe.time_budget_seconds
        if limit is not None and seconds > limit:
            return PlanTime(seconds=limit, tokens_per_second=round(rate, 1), by="time_budget")
        return PlanTime(
            seconds=round(seconds, 1),
            tokens_per_second=round(rate, 1),
            by="earlier_runs" if speed.runs else "flops_rule",
            runs=list(speed.runs),
        )

    def _price_an_hour(self) -> float:
        return self._settings.machine_usd_per_hour or 0.0

    def _usd(self, seconds: float | None) -> float | None:
        price = self._settings.machine_usd_per_hour
        if price == 0:
            return 0.0
        return None if price is None or seconds is None else price * seconds / 3600

    def _budget(self, given: float | None) -> float | None:
        return self._settings.training_budget_usd if given is None else given

    def _money(self, order: LocalOrder, time: PlanTime | None, refusals: list[str]) -> PlanMoney:
        usd = self._usd(time.seconds if time else None)
        limit = self._budget(order.budget)
        within = None if limit is None or usd is None else usd <= limit
        if within is False:
            refusals.append(_above(usd, limit))
        elif usd is None and limit is not None:
            refusals.append(_unknown(limit))
        return PlanMoney(
            usd=None if usd is None else round(usd, 4),
            by="unknown" if usd is None else "machine_hours",
            budget_usd=limit,
            within_budget=within,
            needs_confirmation=bool(usd) or (usd is None and bool(self._price_an_hour())),
        )

    def _money_told(self, money: PlanMoney, time: PlanTime | None) -> list[str]:
        told = []
        price = self._settings.machine_usd_per_hour
        if money.by == "machine_hours" and time is not None and price is not None:
            told.append(
                _("Cost: about {usd} USD ({hours} h at {price} USD an hour).").format(
                    usd=sum_of(money.usd or 0),
                    hours=number(time.seconds / 3600, 2),
                    price=sum_of(price),
                )
            )
        elif money.by == "provider_price":
            told.append(
                _("Cost: about {usd} USD by the price list.").format(usd=sum_of(money.usd or 0))
            )
        elif time is not None and price is None:
            told.append(_("Cost: not counted; SOPHIA_MACHINE_USD_PER_HOUR is not set."))
        else:
            told.append(_("Cost: not known."))
        if money.budget_usd is not None and money.within_budget is None:
            told.append(
                _("The budget of {usd} USD can't be held against it.").format(
                    usd=sum_of(money.budget_usd)
                )
            )
        elif money.budget_usd is not None:
            told.append(_("Budget: {usd} USD.").format(usd=sum_of(money.budget_usd)))
        return told

    def _rented(self, order: LocalOrder) -> PlanRented | None:
        entry = self._prices().rented.get(order.recipe_name)
        return estimates.rented_estimate(entry, order.recipe.epochs) if entry else None


@dataclass(frozen=True)
class _Speed:
    """Floating point operations a second of a training here; by these runs, else by a probe."""

    operations: float
    runs: tuple[str, ...] = ()


def needs_yes(usd: float | None, hosted: bool) -> bool:
    """Whether somebody has to confirm the cost. A provider's unknown price is not zero."""
    return hosted if usd is None else usd > 0


def refuse_data(report: "PreviewReport", order: LocalOrder) -> None:
    """Raises DataError J565 where a training would be refused for its data."""
    told = refusal_of(report, order.recipe)
    if not told:
        return
    lines = next(
        (each.lines for each in report.parts[0].listed if each.reason == "no_answer_token"), []
    )
    raise DataError(
        "J565",
        _("The data set {dataset} can't be trained on as it is.").format(dataset=order.version.id),
        " ".join(told),
        _(
            "Look at them: `sophia train preview {dataset}`. Mend the data, raise sequence_length, "
            "or leave those lines out: --change rows_without_answer=leave_out."
        ).format(dataset=order.version.id),
        lines=lines,
    )


def _lengths_of(report: "PreviewReport") -> model.Lengths:
    part = report.parts[0]
    longest = part.lengths.longest if part.lengths else report.sequence_length
    return model.Lengths(part.tokens, part.trained_tokens, longest, part.examples)


async def _small(order: LocalOrder, most: float = _READ_AT_START) -> model.Lengths | None:
    """Lengths by the bytes of the data; None where there are too many for a start to read."""
    file = Path(order.version.folder) / "train.jsonl"
    try:
        if file.stat().st_size > most:
            return None
        return await asyncio.to_thread(estimates.lengths_of_bytes, file)
    except OSError:
        return None  # the run itself says what is wrong with the file


def _data(report: "PreviewReport | None", lengths: model.Lengths, order: LocalOrder) -> PlanData:
    if report is None:
        return PlanData(
            examples=lengths.examples,
            tokens=lengths.tokens,
            trained_tokens=None,
            longest=lengths.longest,
            counted_by="bytes",
        )
    part = report.parts[0]
    return PlanData(
        examples=part.examples,
        tokens=part.tokens,
        trained_tokens=part.trained_tokens,
        longest=lengths.longest,
        counted_by="tokenizer",
        listed=[
            PlanLines(reason=each.reason, count=each.count, lines=each.lines)
            for each in part.listed
        ],
    )


def _gigabytes(count: int) -> str:
    return number(count / _GB, 1)


def _memory_told(memory: PlanMemory | None) -> list[str]:
    if memory is None:
        return [_("Memory: not known.")]
    largest = sorted(memory.parts, key=lambda each: -each.bytes)[:4]
    text = _("Memory: about {needed} GB needed, {free} GB free on {device}: {verdict}.")
    free = max(0, memory.free_bytes - memory.floor_bytes)
    if memory.floor_bytes and not memory.fits:
        free = memory.free_bytes
        text = _(
            "Memory: about {needed} GB needed, {free} GB free on {device}, of which "
            "SOPHIA_MEMORY_FLOOR_MB keeps {floor} GB: {verdict}."
        )
    told = [
        text.format(
            needed=_gigabytes(memory.needed_bytes),
            free=_gigabytes(free),
            floor=_gigabytes(memory.floor_bytes),
            device=memory.device_name,
            verdict=_("it fits") if memory.fits else _("it does not fit"),
        ),
        "  "
        + ", ".join(f"{_(_PARTS[each.name])} {_gigabytes(each.bytes)}" for each in largest)
        + " GB",
    ]
    if memory.shape_by == "name":
        told.append(_("  The base is not here: its shape is guessed from the size in its name."))
    return told


def _data_told(data: PlanData, order: LocalOrder) -> list[str]:
    if data.trained_tokens is None:
        text = _("Data: {examples} examples, about {tokens} tokens (guessed from their bytes).")
    else:
        text = _(
            "Data: {examples} examples, {tokens} tokens, {trained} of them trained; the "
            "longest has {longest}."
        )
    told = [
        text.format(
            examples=number(data.examples),
            tokens=number(data.tokens),
            trained=number(data.trained_tokens or 0),
            longest=number(data.longest),
        )
    ]
    for each in data.listed:
        words = {
            "truncated": ngettext(
                "  {count} is cut at {length} tokens: line {lines}.",
                "  {count} are cut at {length} tokens: lines {lines}.",
                each.count,
            ),
            "no_answer_token": ngettext(
                "  {count} has no token to learn: line {lines}.",
                "  {count} have no token to learn: lines {lines}.",
                each.count,
            ),
        }.get(
            each.reason,
            ngettext(
                "  {count} can't be read as it is: line {lines}.",
                "  {count} can't be read as they are: lines {lines}.",
                each.count,
            ),
        )
        told.append(
            words.format(
                count=number(each.count),
                length=order.recipe.sequence_length,
                lines=some_lines(each.lines, each.count, most=8),
            )
        )
    return told


def _time_told(time: PlanTime | None) -> list[str]:
    if time is None:
        return [_("Time: not known.")]
    words = {
        "earlier_runs": ngettext(
            "as {count} earlier training of this base here",
            "as {count} earlier trainings of this base here",
            len(time.runs),
        ),
        "flops_rule": _("by the operations a token takes and a probe of this machine"),
        "time_budget": _("the recipe's own limit; steps are fitted to it"),
    }[time.by]
    return [
        _("Time: about {span} at {rate} tokens/s ({by}).").format(
            span=span(time.seconds),
            rate=number(time.tokens_per_second, 1 if time.tokens_per_second < 100 else 0),
            by=words.format(count=len(time.runs)),
        )
    ]


def span(seconds: float) -> str:
    """A duration for a sentence: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{number(seconds / 3600, 1)} h"


def _rented_told(rented: PlanRented | None) -> list[str]:
    if rented is None:
        return []
    told = [
        _("On a rented machine ({machine}; prices of {date}):").format(
            machine=visible(rented.machine), date=rented.as_of
        )
    ]
    told += [
        _("  {name}: {count} x, {usd} USD, {hours} h").format(
            name=_(_RENTED[each.name]),
            count=f"{each.count:g}",
            usd=number(each.usd, 2),
            hours=number(each.hours, 2),
        )
        for each in rented.items
    ]
    told.append(
        _("  together {usd} USD and {hours} h").format(
            usd=number(rented.usd, 2), hours=number(rented.hours, 2)
        )
    )
    if rented.told_hours is not None:
        told.append(
            _("  The {hours} h of the document are not the sum of its own items.").format(
                hours=number(rented.told_hours, 1)
            )
        )
    return told


def _changes_told(memory: PlanMemory | None, fitting: estimates.Fitting | None) -> list[str]:
    if memory is None or memory.fits:
        return []
    if fitting is None and memory.needed_bytes <= memory.free_bytes:
        return [_("It fits where less is kept free: a lower SOPHIA_MEMORY_FLOOR_MB.")]
    if fitting is None:
        return [
            _("Nothing that changes only the training; take a smaller base or a larger machine.")
        ]
    told = list(fitting.changes)
    told.append(_("then about {needed} GB").format(needed=_gigabytes(fitting.memory.total)))
    return told


def _command(order: LocalOrder, asked: Mapping[str, Any], fitting: estimates.Fitting) -> str:
    """The command line of the start that fits."""
    changed = {each.partition("=")[0] for each in fitting.changes}
    words = ["sophia", "train", "start", order.version.id]
    for name, value in asked.items():
        if name in ("dataset", "change") or value is None or value is False:
            continue
        option = f"--{name.replace('_', '-')}"
        words += [option] if value is True else [option, str(value)]
    kept = [each for each in asked.get("change") or () if each.partition("=")[0] not in changed]
    for each in (*kept, *fitting.changes):
        words += ["--change", each]
    return shlex.join(words)


def _above(usd: float | None, limit: float | None) -> str:
    return _("About {usd} USD are estimated, and the budget is {budget} USD.").format(
        usd=sum_of(usd or 0, limit), budget=sum_of(limit or 0, usd)
    )


def _unknown(limit: float) -> str:
    return _("What it costs is not known, and the budget is {budget} USD.").format(
        budget=sum_of(limit)
    )
