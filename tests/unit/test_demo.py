"""The demo's road through the operations: what it asks for, and where it goes on after a stop."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui import envfile
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.samples import DEMO_BASE, SampleTable
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    JobError,
    NotFoundError,
    UnavailableError,
)
from sophia_tui.paths import Paths
from sophia_tui.services.ask import AskView
from sophia_tui.services.collect import CollectResult, ExportView
from sophia_tui.services.demo import DemoRequest, DemoService
from sophia_tui.services.evaluation_rows import MeasureRow
from sophia_tui.services.evaluation_views import AnswerView, EvaluationView, ScoreView
from sophia_tui.services.model_gate_views import GateReason, ModelGateView
from sophia_tui.services.prepare import PrepareOutput, RejectedCode
from sophia_tui.services.promotion_views import FileDiff, PromotionList, PromotionView
from sophia_tui.services.serving import ApiView, DeploymentView, ServeList
from sophia_tui.services.views import DatasetView, JobList, JobView
from sophia_tui.settings import load

NOW = datetime(2026, 11, 21, tzinfo=UTC)
COUNTS = {"rows_in": 10, "rows_kept": 8, "rows_rejected": 2, "train": 6, "valid": 2}


class TickingClock:
    """A second goes by at each look."""

    def __init__(self) -> None:
        self._seconds = 0

    def now(self) -> datetime:
        self._seconds += 1
        return NOW + timedelta(seconds=self._seconds)


CLOCK = TickingClock()


@dataclass
class Samples:
    loads: int = 0

    async def load(self, now: datetime) -> list[SampleTable]:
        self.loads += 1
        return [SampleTable("docs", 3)]


def score(loss: float) -> ScoreView:
    return ScoreView(
        loss=loss,
        loss_low=loss,
        loss_high=loss,
        perplexity=2**loss,
        perplexity_low=1,
        perplexity_high=9,
    )


@dataclass
class Operations:
    """Answers as the operations do; `ends` says how each job ends, `asked` what was asked."""

    ends: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    kinds: dict[str, dict[str, Any]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    dataset: str = "a" * 64
    promoted: bool = False
    refused: bool = False
    api_error: dict[str, Any] | None = None

    async def __call__(self, name: str, request: Mapping[str, Any], context: Context) -> Any:
        self.asked.append((name, dict(request)))
        assert context.confirmed or name != "promote.run"
        context.progress(Progress("working", 1, 2))
        return getattr(self, name.replace(".", "_"))(**request)

    def names(self) -> list[str]:
        return [name for name, _request in self.asked]

    def samples_load(self) -> None: ...

    def collect_run(self, folder: str, window_days: int) -> CollectResult:
        view = ExportView.model_construct(
            exported=10, rejected=1, rejected_by={"null_answer": 1}, rows_read=11
        )
        return CollectResult.model_construct(items=[view])

    def prepare_run(self, folder: str, files: list[str], name: str, split: str) -> PrepareOutput:
        version = DatasetVersion(name, self.dataset, f"{folder}/v", COUNTS)
        rejected = RejectedCode(code="duplicate", reason="A duplicate.", count=2, examples=[])
        return PrepareOutput.model_construct(dataset=DatasetView.of(version), rejected=[rejected])

    def _job(self, job: str) -> JobView:
        return JobView(
            id=job,
            status=self.states[job],
            created_by="ana",
            resulting_model="sophia-v1",
            **self.kinds[job],
        )

    def _new(self, **kind: Any) -> JobView:
        job = f"ftjob-{len(self.states) + 1}"
        self.states[job] = "queued"
        self.kinds[job] = {**kind, "created_at": CLOCK.now()}
        return self._job(job)

    def train_start(self, dataset: str, base: str, **request: Any) -> JobView:
        return self._new(kind="train", dataset=dataset, base=base)

    def evaluate_run(self, model: str, **request: Any) -> JobView:
        return self._new(kind="evaluate", model=model, base="b")

    def jobs_list(self) -> JobList:
        return JobList(items=[self._job(each) for each in reversed(self.states)])

    def jobs_show(self, job: str) -> JobView:
        return self._job(job)

    def jobs_resume(self, job: str) -> JobView:
        self.states[job] = "queued"
        return self._job(job)

    def jobs_watch(self, job: str) -> JobView:
        if self.states[job] == "queued":
            self.states[job] = self.ends.pop(0) if self.ends else "succeeded"
        return self._job(job)

    def evaluate_show(self, model: str) -> EvaluationView:
        prompts = next(req["prompts"] for name, req in self.asked if name == "evaluate.run")
        answers = [AnswerView(prompt=each, before="No idea.", after="4417") for each in prompts]
        return EvaluationView(
            model=model,
            base="b",
            examples=2,
            answer_tokens=9,
            before=score(3.0),
            after=score(1.0),
            answers=answers,
            rows=[
                MeasureRow(
                    label="Right",
                    measure="right",
                    set="heldout_questions",
                    language="en",
                    count=44,
                    before=0.0,
                    before_low=0.0,
                    before_high=0.08,
                    after=0.75,
                    after_low=0.6,
                    after_high=0.86,
                    difference=0.75,
                    low=0.59,
                    high=0.86,
                )
            ],
        )

    def serve_model(self, model: str) -> DeploymentView:
        self.served.append(model)
        return self._deployment(model)

    def _deployment(self, name: str) -> DeploymentView:
        return DeploymentView(
            id=f"deployment-{name}",
            name=name,
            model=name,
            state="ready",
            engine="transformers",
            created_by="ana",
            created_at=NOW,
        )

    def serve_list(self) -> ServeList:
        api = ApiView(address="here", answers=not self.api_error, error=self.api_error)
        return ServeList(items=[self._deployment(each) for each in self.served], api=api)

    def serve_stop(self, name: str) -> ServeList:
        self.served.remove(name)
        return ServeList(items=[])

    def serve_ask(self, name: str, question: str) -> AskView:
        return AskView(name=name, address="here", question=question, answer="IPE", seconds=0.1)

    def _promotion(self, model: str) -> PromotionView:
        return PromotionView(
            id="promotion-1",
            model=model,
            state="done",
            files=[FileDiff(path="app.env", diff=["-GEN_MODEL=x", f"+GEN_MODEL={model}"])],
            created_by="ana",
            created_at=NOW.isoformat(),
        )

    def models_gate(self, model: str) -> ModelGateView:
        reasons = [GateReason(code="M585", what="Too much was lost.")] if self.refused else []
        return ModelGateView(
            model=model, passed=not reasons, reasons=reasons, checked_at=CLOCK.now()
        )

    def promote_run(
        self, model: str, env_file: list[str], history: str, bounds: str, override: str = ""
    ) -> PromotionView:
        assert bool(override) == self.refused
        if self.promoted:
            raise ConflictError("P003", "is in production already")
        return self._promotion(model)

    def promote_history(self) -> PromotionList:
        return PromotionList(items=[self._promotion("sophia-v1")])


@pytest.fixture
def house(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "data")
    paths.models.mkdir(parents=True)
    (paths.models / DEMO_BASE).write_bytes(b"GGUF")
    return paths


def demo(operations: Operations, paths: Paths) -> DemoService:
    return DemoService(operations, Samples(), load({}), paths, CLOCK)


def context(cancel: CancelSignal | None = None, heard: list[Progress] | None = None) -> Context:
    return Context(
        actor="ana",
        face=Face.CLI,
        role=Role.ADMIN,
        cancel=cancel or CancelSignal(),
        progress=(heard if heard is not None else []).append,
    )


async def test_it_asks_for_the_nine_steps_in_order_in_its_own_folder(house: Paths) -> None:
    operations = Operations()
    summary = await demo(operations, house).run(context(), DemoRequest())
    steps = [name for name in operations.names() if not name.startswith("jobs.")]
    assert steps == [
        "serve.list",  # whether the model can be asked in the end
        "samples.load",
        "collect.run",
        "prepare.run",
        "train.start",
        "evaluate.run",
        "evaluate.show",
        "serve.model",
        "models.gate",
        "promote.run",
        "serve.ask",
    ]
    named = str(operations.asked)
    assert str(house.data / "demo" / "finetune") in named
    assert str(house.data / "demo" / "app.env") in named
    assert summary.rows_in == summary.rows_kept + summary.rows_rejected == 10
    assert [(each.measure, each.before, each.after) for each in summary.scores] == [
        ("loss", 3.0, 1.0),
        ("perplexity", 8.0, 2.0),
    ]
    assert len(summary.answers) == 3 and all(each.expected for each in summary.answers)
    assert summary.diff == ["-GEN_MODEL=x", "+GEN_MODEL=sophia-v1"]
    assert len(summary.durations) == 9 and "durations" not in summary.notes[0]


async def test_a_model_that_nobody_could_ask_is_not_trained(house: Paths) -> None:
    told = UnavailableError("M491", "Another program answers.", "API_URL.", "Set it.").as_dict()
    operations = Operations(api_error=told)
    with pytest.raises(UnavailableError) as caught:
        await demo(operations, house).run(context(), DemoRequest())
    assert caught.value.as_dict() == told
    assert operations.names() == ["serve.list"]


async def test_training_and_promotion_keep_to_the_demos_history(house: Paths) -> None:
    operations = Operations()
    await demo(operations, house).run(context(), DemoRequest())
    histories = {
        name: request["history"] for name, request in operations.asked if "history" in request
    }
    assert set(histories) == {"train.start", "promote.run"}
    assert set(histories.values()) == {str(house.data / "demo" / "history.jsonl")}


async def test_its_env_file_names_a_previous_model_and_is_kept_afterwards(house: Paths) -> None:
    file = house.data / "demo" / "app.env"
    await demo(Operations(), house).run(context(), DemoRequest())
    values = envfile.values(file.read_text())
    assert values["GEN_MODEL"] == values["EXPANSION_MODEL"] != ""
    assert values["OPENAI_BASE_URL"] == "http://localhost:8000/v1"
    file.write_text("GEN_MODEL=mine\n")
    await demo(Operations(), house).run(context(), DemoRequest())
    assert envfile.values(file.read_text())["GEN_MODEL"] == "mine"


async def test_each_step_tells_its_number_with_its_progress(house: Paths) -> None:
    heard: list[Progress] = []
    await demo(Operations(), house).run(context(heard=heard), DemoRequest())
    assert next(each.stage for each in heard if each.done == 0).startswith("[1/9]")
    assert heard[-1].stage.startswith("[9/9]") and heard[-1].total == 2


async def test_without_the_base_model_nothing_is_begun(tmp_path: Path) -> None:
    operations = Operations()
    with pytest.raises(NotFoundError) as missing:
        await demo(operations, Paths(tmp_path)).run(context(), DemoRequest())
    assert missing.value.code == "SOPHIA-M410" and operations.asked == []
    assert list(tmp_path.iterdir()) == []


async def test_a_failed_job_ends_the_demo_and_the_next_one_trains_anew(house: Paths) -> None:
    operations = Operations(ends=["failed"])
    with pytest.raises(JobError) as failed:
        await demo(operations, house).run(context(), DemoRequest())
    assert failed.value.code == "SOPHIA-J460"
    await demo(operations, house).run(context(), DemoRequest())
    assert operations.names().count("train.start") == 2


@pytest.mark.parametrize(("left", "resumed"), [("running", 0), ("paused", 1), ("interrupted", 1)])
async def test_a_stopped_demo_goes_on_with_the_same_training(
    house: Paths, left: str, resumed: int
) -> None:
    cancel = CancelSignal()
    operations = Operations(ends=[left])
    watch = operations.jobs_watch

    def stop_while_watching(job: str) -> JobView:
        cancel.request()
        return watch(job)

    operations.jobs_watch = stop_while_watching  # type: ignore[method-assign]
    with pytest.raises(CancelledError) as stopped:
        await demo(operations, house).run(context(cancel), DemoRequest())
    assert stopped.value.code == "SOPHIA-S330" and "ftjob-1" in stopped.value.why
    operations.jobs_watch = watch  # type: ignore[method-assign]
    operations.states["ftjob-1"] = "succeeded" if left == "running" else left
    summary = await demo(operations, house).run(context(), DemoRequest())
    assert summary.job == "ftjob-1"
    assert operations.names().count("train.start") == 1
    assert operations.names().count("jobs.resume") == resumed
    assert "durations" in summary.notes[0]


async def test_other_data_means_another_training(house: Paths) -> None:
    operations = Operations(ends=["failed"])
    with pytest.raises(JobError):
        await demo(operations, house).run(context(), DemoRequest())
    operations.states["ftjob-1"] = "running"
    operations.dataset = "b" * 64
    summary = await demo(operations, house).run(context(), DemoRequest())
    assert summary.job != "ftjob-1"


async def test_a_promotion_of_a_moment_ago_is_found_again(house: Paths) -> None:
    summary = await demo(Operations(promoted=True), house).run(context(), DemoRequest())
    assert summary.promotion == "promotion-1"


async def test_what_the_gate_refuses_is_promoted_with_a_reason_and_told(house: Paths) -> None:
    summary = await demo(Operations(refused=True), house).run(context(), DemoRequest())
    assert summary.gate == ["Too much was lost."]
    assert "overrode" in summary.notes[-1]


async def test_a_demo_that_came_to_its_end_is_repeated_from_the_start(house: Paths) -> None:
    operations = Operations()
    await demo(operations, house).run(context(), DemoRequest())
    await demo(operations, house).run(context(), DemoRequest())
    assert operations.names().count("train.start") == 2


async def test_the_model_of_an_earlier_demo_is_served_no_more(house: Paths) -> None:
    operations = Operations()
    await demo(operations, house).run(context(), DemoRequest())
    state = house.data / "demo" / "state.json"
    state.write_text(state.read_text().replace("sophia-v1", "sophia-v0"))
    operations.served.append("sophia-v0")
    await demo(operations, house).run(context(), DemoRequest())
    assert "sophia-v0" not in operations.served and "sophia-v1" in operations.served


async def test_the_questions_it_grades_are_those_of_the_part_it_learns(house: Paths) -> None:
    operations = Operations()
    summary = await demo(operations, house).run(context(), DemoRequest())
    asked = next(request for name, request in operations.asked if name == "evaluate.run")
    name, _sign, path = asked["questions"][0].partition("=")
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert name == "heldout_questions" and all(row["demo"] for row in rows)
    assert [(each.before, each.after) for each in summary.graded] == [
        ("0 (0 to 8)", "75 (60 to 86)")
    ]


async def test_only_one_demo_runs_in_a_data_folder(house: Paths) -> None:
    operations = Operations()
    first = demo(operations, house)
    refused: list[str] = []
    collect = operations.collect_run

    async def second() -> None:
        with pytest.raises(ConflictError) as conflict:
            await demo(Operations(), house).run(context(), DemoRequest())
        refused.append(conflict.value.code)

    class Nested(Operations):
        async def __call__(self, name: str, request: Mapping[str, Any], context: Context) -> Any:
            if name == "collect.run":
                await second()
            return await super().__call__(name, request, context)

    first = demo(Nested(), house)
    await first.run(context(), DemoRequest())
    assert refused == ["SOPHIA-S331"] and callable(collect)


async def test_a_torn_state_file_counts_as_none(house: Paths) -> None:
    folder = house.data / "demo"
    folder.mkdir()
    (folder / "state.json").write_text('{"dataset": "demo@')
    summary = await demo(Operations(), house).run(context(), DemoRequest())
    assert summary.model == "sophia-v1"


def test_the_installer_fetches_the_model_that_the_demo_looks_for() -> None:
    installer = Path(__file__).parents[2] / "installer" / "lib" / "base_model.py"
    assert f'NAME = "{DEMO_BASE}"' in installer.read_text()
