"""The gate end to end with a real small model: what a run measures is what the gate judges by."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune import schema
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.paths import Paths
from sophia_tui.services.evaluate import EvaluateRequest, EvaluateService
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.model_gate import ModelGateRequest, ModelGateService
from sophia_tui.services.views import JobView
from sophia_tui.settings import Settings, load
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import finetune
from tests.integration.worker_house import SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)


async def test_what_the_gate_wants_is_run_and_then_judged(
    store: Store,
    settings: Settings,
    paths: Paths,
    tmp_path: Path,
    tiny_base: Path,
    dataset: Path,
    trained: Path,
) -> None:
    version = DatasetVersion("town", "cd" * 32, str(dataset), {"train": 16, "valid": 4})
    await store.datasets.add(version)
    adapter = str(trained / "adapter")
    for name in ("sophia-v1", "sophia-v2"):
        made = datetime.now(UTC)
        await store.models.add(
            Model(name, ModelKind.ADAPTER, str(tiny_base), made, dataset=version.id, path=adapter)
        )

    async def nobody() -> None: ...

    evaluate = EvaluateService(store, settings, paths, SystemClock(), nobody)

    async def call(name: str, request: Any, context: Context) -> JobView:
        assert name == "evaluate.run"
        return await evaluate.run(context, EvaluateRequest(**request))

    rules = "loss<0, examples>=4, lost<=0.5, items>=20"
    gate = ModelGateService(
        store, load({"SOPHIA_MODEL_GATE": rules}), SystemClock(), ManagedEnv(), call
    )
    asked = ModelGateRequest(model="sophia-v2", run=True, items=20)
    first = await gate.gate(CONTEXT, asked)
    assert (first.passed, len(first.jobs)) == (False, 1)
    await _done(store, await store.jobs.get(first.jobs[0].id), tmp_path, settings)
    then = await gate.gate(CONTEXT, asked)
    assert then.passed and not then.jobs, then.reasons
    loss, general = then.items
    assert (loss.count, general.count, then.regression["asked"]) == (4, 20, 20)
    assert loss.high is not None and loss.high < 0
    # held against a model that is the same, it is no better than that
    same = ModelGateRequest(model="sophia-v2", against="sophia-v1", run=True, items=20)
    queued = await gate.gate(CONTEXT, same)
    await _done(store, await store.jobs.get(queued.jobs[0].id), tmp_path, settings)
    last = await gate.gate(CONTEXT, same)
    assert [each.code for each in last.reasons] == ["SOPHIA-M584"]
    assert (last.items[0].difference, last.items[0].high) == (0.0, 0.0)


async def _done(store: Store, job: Job | None, folder: Path, settings: Settings) -> None:
    """What a worker does with the job, in this process."""
    assert job is not None
    run = folder / job.id
    run.mkdir()
    schema.write_run_spec(run, schema.RunSpec.model_validate(job.request["run"]))
    assert finetune("evaluate", run) == 0
    job = await store.jobs.update(job.id, version=job.version, run_folder=str(run))
    await Finisher(SystemClock(), settings).succeed(store, job, Observed())


async def test_measured_on_other_data_a_model_keeps_its_own_evaluation(
    store: Store,
    settings: Settings,
    tmp_path: Path,
    tiny_base: Path,
    make_run: MakeRun,
    trained: Path,
) -> None:
    run = make_run(kind="evaluate", adapter_path=str(trained / "adapter"))
    assert finetune("evaluate", run) == 0
    own = {"job_id": "ftjob-own"}
    made = datetime.now(UTC)
    await store.models.add(
        Model("sophia-v1", ModelKind.ADAPTER, str(tiny_base), made, dataset="a@1", evaluation=own)
    )
    for dataset, expected in (("b@2", "ftjob-own"), ("a@1", "ftjob-test")):
        job = Job(
            f"ftjob-{dataset}",
            JobKind.EVALUATE,
            "running",
            str(tiny_base),
            dataset,
            {},
            "maria",
            made,
            model_id="sophia-v1",
            run_folder=str(run),
        )
        await store.jobs.add(job)
        await Finisher(SystemClock(), settings).succeed(store, job, Observed())
        assert await store.evaluations.get(job.id) is not None
        model = await store.models.get("sophia-v1")
        assert model is not None and model.evaluation is not None
        assert model.evaluation["job_id"] == expected
