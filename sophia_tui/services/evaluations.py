"""Evaluations that were made: shown, listed, compared, written as a page; what tuning returns."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sophia_tui import textsafe
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.models import Evaluation
from sophia_tui.domain.operations import Input, Output
from sophia_tui.domain.protocols import Clock, Store
from sophia_tui.domain.targets import read_targets
from sophia_tui.errors import ConflictError, NotFoundError, RefusedError, UsageError
from sophia_tui.files import usable_folder, write_problem, write_whole
from sophia_tui.i18n import N_, _, ngettext
from sophia_tui.paths import Paths
from sophia_tui.services import evaluation_page
from sophia_tui.services.evaluation_compare import compared, unfair
from sophia_tui.services.evaluation_rows import MeasureRow, Report, label, rows_of
from sophia_tui.services.evaluation_views import (
    AnswerView,
    CompareView,
    EvaluationRow,
    EvaluationView,
    GradedAnswerView,
    HostedCost,
    ScoreView,
    safe,
)
from sophia_tui.services.operations import operation
from sophia_tui.services.prices import Load, Prices
from sophia_tui.services.returns import ReturnRequest, ReturnView, computed
from sophia_tui.services.views import Page

if TYPE_CHECKING:
    from sophia_tui.settings import Settings


#: A hosted model that ends within so many days is marked.
_SOON_DAYS = 90


class EvaluationReference(Input):
    model: str = Field(description=N_("The model's id, or an evaluation's (ftjob-…)."))
    answers: bool = Field(
        default=False, description=N_("Each graded question with both answers, too.")
    )


class EvaluationPage(Page):
    model: str | None = Field(default=None, description=N_("Only those of this model."))


class CompareRequest(Input):
    first: str = Field(description=N_("A model's id, or an evaluation's (ftjob-…)."))
    second: str = Field(description=N_("Another, compared with the first."))


class ReportRequest(Input):
    model: str = Field(description=N_("The model's id, or an evaluation's (ftjob-…)."))
    second: str | None = Field(default=None, description=N_("A second one, put beside the first."))
    path: str | None = Field(
        default=None,
        description=N_("The file to write; default: in reports/ of the data folder."),
    )


class ReportView(Output):
    """A page that needs nothing but itself."""

    path: str = Field(title=N_("File"))
    bytes: int = Field(title=N_("Bytes"))


class EvaluationList(Output):
    items: list[EvaluationRow] = Field(title=N_("Evaluations"))


class EvaluationsService:
    """Reads evaluations out of the store; measures nothing itself."""

    def __init__(
        self, store: Store, settings: "Settings", paths: Paths, prices: Load, clock: Clock
    ) -> None:
        self._store = store
        self._settings = settings
        self._paths = paths
        self._prices = prices
        self._clock = clock

    @operation(
        "evaluate.show",
        N_("Show how a model did against its base, each figure beside its target."),
        target="model",
        positional=("model",),
    )
    async def show(self, context: Context, request: EvaluationReference) -> EvaluationView:
        """Raises NotFoundError M404, J443 (not evaluated yet), M461 (no such evaluation)."""
        return self._view(await self._evaluation(request.model), request.answers)

    @operation("evaluate.list", N_("List evaluations, newest first."), positional=("model",))
    async def page(self, context: Context, request: EvaluationPage) -> EvaluationList:
        found = await self._store.evaluations.page(request.model, request.limit, request.offset)
        return EvaluationList(items=[EvaluationRow.of(each) for each in found])

    @operation(
        "evaluate.compare",
        N_("Put two models, or two evaluations, side by side with intervals."),
        positional=("first", "second"),
    )
    async def compare(self, context: Context, request: CompareRequest) -> CompareView:
        """Raises NotFoundError M404, J443, M461."""
        return self._compared(
            await self._evaluation(request.first), await self._evaluation(request.second)
        )

    @operation(
        "evaluate.report",
        N_("Write an evaluation, or two side by side, as one page for a browser."),
        role=Role.OPERATOR,
        writes=True,
        target="model",
        positional=("model", "second"),
    )
    async def report(self, context: Context, request: ReportRequest) -> ReportView:
        """Raises NotFoundError M404, J443, M461, RefusedError M463, ConflictError M462, SetupError
        S101."""
        if request.path is not None and context.face is Face.API:
            raise RefusedError(
                "M463",
                _("Over HTTP a report has no path of its own."),
                _("It would write a file anywhere on the server."),
                _("Leave path out: the report lies in reports/ of the data folder."),
            )
        first = await self._evaluation(request.model)
        second = None if request.second is None else await self._evaluation(request.second)
        found = [first] if second is None else [first, second]
        content = evaluation_page.page(
            [self._view(each, answers=True) for each in found],
            None if second is None else self._compared(first, second),
            self._clock.now(),
        ).encode("utf-8", errors="replace")
        path = self._report_path(request.path, found)
        write_whole(path, content, mode=0o644 if request.path else 0o600)
        return ReportView(path=str(path), bytes=len(content))

    @operation(
        "evaluate.roi",
        N_("Compute what tuning saves and when it pays back, from prices that you may change."),
    )
    async def roi(self, context: Context, request: ReturnRequest) -> ReturnView:
        """Raises UsageError M460 and T430-T432."""
        return computed(request, self._prices())

    def _report_path(self, given: str | None, found: list[Evaluation]) -> Path:
        if given is None:
            usable_folder(self._paths.reports)
            name = "-".join(f"{each.model_id}-{each.id}" for each in found)
            return self._paths.reports / f"{_file_name(name)}.html"
        path = Path(given).expanduser().absolute()
        try:
            with path.open("rb") as stream:
                ours = evaluation_page.MARK.encode() in stream.read(2048)
        except FileNotFoundError:
            return path
        except OSError as problem:
            raise write_problem(path, problem) from problem
        if not ours:
            raise ConflictError(
                "M462",
                _("{path} is there already, and is no report of Sophia's.").format(path=path),
                remedy=_("Name another file, or take that one away."),
            )
        return path

    async def _evaluation(self, reference: str) -> Evaluation:
        """The evaluation of that id, else the newest of the model of that id."""
        from sophia_tui.services.models import unknown_model

        found = await self._store.evaluations.get(reference)
        if found is not None:
            return found
        if reference.startswith("ftjob-"):
            raise NotFoundError(
                "M461",
                _("There is no evaluation {id}.").format(id=textsafe.visible(reference)),
                remedy=_("`sophia evaluate list` lists them."),
            )
        model = await self._store.models.get(reference)
        if model is None:
            raise unknown_model(textsafe.visible(reference))
        newest = await self._store.evaluations.page(model.id, limit=1)
        if newest:
            return newest[0]
        if model.evaluation is None:
            raise NotFoundError(
                "J443",
                _("Model {model} was not evaluated yet.").format(model=model.id),
                remedy=_("Run `sophia evaluate {model}`.").format(model=model.id),
            )
        # made before evaluations were kept one by one
        at = model.evaluation.get("at")
        return Evaluation(
            id=str(model.evaluation.get("job_id") or ""),
            model_id=model.id,
            dataset=model.dataset,
            report={"base": model.base, **model.evaluation},
            created_at=datetime.fromisoformat(at) if at else model.created_at,
        )

    def _view(self, evaluation: Evaluation, answers: bool) -> EvaluationView:
        report = evaluation.report
        difference = report.get("difference") or {}
        cost, notes = self._cost(report)
        try:
            hosted = _hosted_costs(report, self._prices(), self._clock.now())
        except UsageError as problem:  # a price file that can't be used hides no measure
            told = _("Costs at hosted models are left out. {what} {why}")
            hosted, notes = [], [*notes, told.format(what=problem.what, why=problem.why)]
        return EvaluationView(
            id=evaluation.id or None,
            model=evaluation.model_id,
            base=report["base"],
            dataset=evaluation.dataset,
            job=evaluation.id or None,
            at=evaluation.created_at,
            examples=report["examples"],
            answer_tokens=report["answer_tokens"],
            rows=[*rows_of(report, read_targets(self._settings.targets)), *cost],
            before=ScoreView(**report["before"]),
            after=ScoreView(**report["after"]) if report.get("after") else None,
            loss_difference=difference.get("loss"),
            loss_difference_low=difference.get("loss_low"),
            loss_difference_high=difference.get("loss_high"),
            hosted_costs=hosted,
            answers=[AnswerView.of(each) for each in report.get("answers", [])],
            graded_answers=[
                GradedAnswerView.of(each)
                for each in (report.get("graded_answers") or [] if answers else [])
            ],
            notes=[*_notes(report), *notes],
        )

    def _cost(self, report: Report) -> tuple[list[MeasureRow], list[str]]:
        """What 1,000 conversations cost on this machine: the seconds of their answers, one after
        the other, at its price."""
        seconds = _measure(report, "latency_median")
        chats = report.get("conversations")
        if seconds is None or chats is None:
            return [], []
        hourly = self._settings.machine_usd_per_hour
        if hourly is None:
            return [], [
                _("What a conversation costs here is not known: set SOPHIA_MACHINE_USD_PER_HOUR.")
            ]
        row: dict[str, Any] = {
            side: 1000 * chats["answers"] * seconds[side] / 3600 * hourly
            for side in ("before", "after")
            if seconds.get(side) is not None
        }
        if len(row) == 2:
            row["difference"] = row["after"] - row["before"]
        return [
            MeasureRow(
                label=label("conversations_usd"),
                measure="conversations_usd",
                unit="usd",
                count=chats["count"],
                by=f"SOPHIA_MACHINE_USD_PER_HOUR={hourly:g}",
                **row,
            )
        ], []

    def _compared(self, first: Evaluation, second: Evaluation) -> CompareView:
        reasons = unfair(first.report, second.report)
        return CompareView(
            first=EvaluationRow.of(first),
            second=EvaluationRow.of(second),
            fair=not reasons,
            reasons=reasons,
            items=compared(first.report, second.report),
        )


def _file_name(text: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in text)[:200]


def _measure(report: Report, name: str) -> Mapping[str, Any] | None:
    return next((each for each in report.get("measures") or [] if each["name"] == name), None)


def _hosted_costs(report: Report, prices: Prices, now: datetime) -> list[HostedCost]:
    """What 1,000 such conversations would cost at hosted models that still answer, tokens counted
    by this base."""
    tokens, chats = _measure(report, "answer_tokens"), report.get("conversations")
    if tokens is None or chats is None:
        return []
    answered = tokens["before"] if tokens.get("after") is None else tokens["after"]
    found = []
    for name, price in prices.chat_prices.items():
        ending = prices.shutdown(name)
        days = ending.days_left(now) if ending else None
        if days is not None and days <= 0:
            continue
        found.append(
            HostedCost(
                name=name,
                usd=1000 * price.cost(chats["tokens_in"], chats["answers"] * answered),
                as_of=price.as_of,
                ends=ending.at if ending and days is not None and days <= _SOON_DAYS else None,
            )
        )
    return found


def _notes(report: Report) -> list[str]:
    notes = [
        _("{measure} was not measured: the package {package} is missing; {remedy}").format(
            measure=safe(name),
            package=each["package"],
            remedy=_('in the checkout: pip install -c requirements.lock ".[evaluation]"'),
        )
        for each in report.get("not_measured") or []
        for name in each["measures"]
    ]
    if (seconds := _measure(report, "latency_median")) is not None:
        notes.append(
            ngettext(
                "Seconds are those of {count} question, on {device}.",
                "Seconds are those of {count} questions asked one at a time, on {device}.",
                seconds["count"],
            ).format(count=seconds["count"], device=safe(str(report.get("device") or "?")))
        )
    return notes
