"""The gate on a store: what production uses, which evaluations count, what is queued and kept."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from finetune.grading import regression_questions
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.models import (
    CheckKind,
    Evaluation,
    Model,
    ModelCheck,
    ModelKind,
    ModelState,
    Promotion,
    PromotionState,
)
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import Deployment, DeploymentState
from sophia_tui.errors import NotFoundError, UsageError
from sophia_tui.paths import Paths
from sophia_tui.services.evaluate import EvaluateRequest, EvaluateService
from sophia_tui.services.managed_env import ManagedEnv
from sophia_tui.services.model_gate import (
    ModelGateRequest,
    ModelGateService,
    weights,
)
from sophia_tui.services.model_gate_views import ModelGateView
from sophia_tui.services.views import JobView
from sophia_tui.settings import Settings, load
from tests.integration.worker_house import SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)
NOW = datetime.now(UTC)
TOWN, OLD_TOWN = "town@abababababab", "town@cdcdcdcdcdcd"


class Town:
    """Two adapters of this machine, sophia-v2 to be promoted, and an env file of production."""

    def __init__(self, store: Store, settings: Settings, paths: Paths, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.checks = 0
        self.env = folder / "rag.env"
        self.settings = settings
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.evaluate = EvaluateService(store, settings, paths, SystemClock(), self._wake)

    async def _wake(self) -> None: ...

    async def _call(self, name: str, request: Any, context: Context) -> JobView:
        self.asked.append((name, dict(request)))
        if name == "evaluate.run":
            return await self.evaluate.run(context, EvaluateRequest(**request))
        return JobView(
            id="ftjob-parity", kind="parity", status="queued", base="base", created_by="maria",
            created_at=NOW,
        )  # fmt: skip

    def gate(self, **more: str) -> ModelGateService:
        chosen = {"SOPHIA_MANAGED_ENV_FILES": str(self.env)} if self.env.exists() else {}
        settings = load({**chosen, **more})
        return ModelGateService(self.store, settings, SystemClock(), ManagedEnv(), self._call)

    async def look(self, model: str = "sophia-v2", **more: Any) -> ModelGateView:
        return await self.gate().gate(CONTEXT, ModelGateRequest(model=model, **more))

    async def model(self, name: str, dataset: str) -> None:
        place = self.folder / name
        place.mkdir()
        (place / "adapter_config.json").write_text("{}")
        (place / "adapter_model.safetensors").write_bytes(name.encode())
        await self.store.models.add(
            Model(name, ModelKind.ADAPTER, "base", NOW, dataset=dataset, path=str(place))
        )

    async def measured(
        self, name: str, loss: float, right: int = 100, dataset: str = TOWN, part: str = "ab"
    ) -> None:
        """An evaluation of the model as it lies there, on a held-out part of that sum."""
        model = await self.store.models.get(name)
        assert model is not None
        files = {each: {"bytes": 9, "sha256": digest} for each, digest in weights(model).items()}
        report = {
            "adapter_files": files,
            "held_out": {"bytes": 9, "sha256": part * 32},
            "examples": 30,
            "difference": {"loss": loss - 3, "loss_low": loss - 3.1, "loss_high": loss - 2.9},
            "losses": [
                {"line": line, "tokens": 10, "before": 30.0, "after": 10 * loss}
                for line in range(30)
            ],
            "graded_answers": [
                {**each.model_dump(), "set": "regression"}
                | {"before_right": place < 100, "after_right": place < right}
                for place, each in enumerate(regression_questions())
            ],
        }
        name = f"ftjob-{name}-{part}"
        await self.store.evaluations.add(Evaluation(name, model.id, dataset, report, NOW))

    async def alike(
        self,
        name: str,
        results: Sequence[Any] = (),
        reasons: Sequence[Any] = (),
        of: str | None = None,
    ) -> None:
        """A newer check than those before it."""
        self.checks += 1
        at = NOW + timedelta(seconds=self.checks)
        model = await self.store.models.get(of or name)
        assert model is not None
        place = Path(model.path or "")
        files = {
            each: {"bytes": (place / each).stat().st_size, "modified_ns": 0, "sha256": digest}
            for each, digest in weights(model).items()
        }
        report = {
            "adapter_files": files,
            "adapter_path": model.path,
            "results": list(results),
            "reasons": list(reasons),
        }
        await self.store.checks.add(
            ModelCheck(f"parity-{name}", name, CheckKind.PARITY, not reasons, report, at)
        )


@pytest.fixture
async def town(store: Store, settings: Settings, paths: Paths, tmp_path: Path) -> Town:
    for name, digest in ((TOWN, "ab"), (OLD_TOWN, "cd")):
        folder = tmp_path / digest
        folder.mkdir()
        (folder / "train.jsonl").write_text("{}\n")
        await store.datasets.add(
            DatasetVersion(name.partition("@")[0], digest * 32, str(folder), {"valid": 30})
        )
    found = Town(store, settings, paths, tmp_path)
    await found.model("sophia-v1", OLD_TOWN)
    await found.model("sophia-v2", TOWN)
    return found


def codes(view: ModelGateView) -> list[str]:
    return [each.code.removeprefix("SOPHIA-") for each in view.reasons]


async def test_nothing_measured_nothing_passed_and_a_verdict_is_kept(town: Town) -> None:
    view = await town.look()
    assert (view.passed, view.exit_code(), view.compared) == (False, 3, "base")
    assert codes(view) == ["M582", "M586", "M590"]
    assert view.notes == ["No model is in production yet: it is compared with its base, base."]
    kept = await town.store.checks.newest("sophia-v2", CheckKind.GATE)
    assert kept is not None and (kept.id, kept.passed, kept.created_by) == (
        view.check,
        False,
        "maria",
    )
    assert [each["code"] for each in kept.report["reasons"]] == ["M582", "M586", "M590"]


async def test_a_dry_run_keeps_nothing(town: Town) -> None:
    context = Context("maria", Face.CLI, Role.OPERATOR, dry_run=True)
    view = await town.gate().gate(context, ModelGateRequest(model="sophia-v2", run=True))
    assert (view.check, view.jobs, town.asked) == (None, [], [])
    assert await town.store.checks.newest("sophia-v2", CheckKind.GATE) is None


async def test_all_measured_and_alike_passes_against_the_base(town: Town) -> None:
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2")
    view = await town.look()
    assert (view.passed, view.reasons, view.exit_code()) == (True, [], 0)
    assert [(each.name, each.state) for each in view.items] == [
        ("loss", "ok"),
        ("parity", "ok"),
        ("lost_base", "ok"),
    ]


async def test_the_current_model_is_what_the_managed_env_file_names(town: Town) -> None:
    town.env.write_text("GEN_MODEL=sophia-v1\n")
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2")
    # measured on its own data: that says nothing about these examples
    await town.measured("sophia-v1", 1.0, dataset=OLD_TOWN, part="cd")
    view = await town.look()
    assert (view.compared, codes(view)) == ("sophia-v1", ["M583"])
    await town.measured("sophia-v1", 1.3)
    view = await town.look()
    assert view.passed, view.reasons
    assert "sophia-v1 was trained on other data" in view.notes[0]
    # better than the base by far, and worse than what production has
    await town.measured("sophia-v1", 1.1)
    assert codes(await town.look()) == ["M584"]


async def test_without_env_files_it_is_what_the_last_promotion_left(town: Town) -> None:
    await town.store.promotions.add(
        Promotion("promotion-1", "sophia-v1", None, PromotionState.DONE, (), "maria", NOW)
    )
    assert (await town.look()).compared == "sophia-v1"


async def test_a_name_that_is_served_stands_for_its_model(town: Town) -> None:
    town.env.write_text("OTHER=1\nGEN_MODEL=desk\n")
    await town.store.deployments.add(
        Deployment("deploy-1", "sophia-v1", "desk", "x", DeploymentState.READY, "maria", NOW)
    )
    assert (await town.look()).compared == "sophia-v1"


async def test_a_hosted_model_in_production_leaves_the_base_to_compare_with(town: Town) -> None:
    town.env.write_text("GEN_MODEL=gpt-4o-mini\n")
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2")
    view = await town.look()
    assert (view.passed, view.compared) == (True, "base")
    assert "Production uses gpt-4o-mini, which can't be measured here" in view.notes[0]


async def test_who_asks_may_say_what_it_replaces(town: Town) -> None:
    town.env.write_text("GEN_MODEL=gpt-4o-mini\n")
    model, other = [await town.store.models.get(name) for name in ("sophia-v2", "sophia-v1")]
    assert model is not None
    for current in ("sophia-v1", other):
        assert (await town.gate().verdict(model, current)).compared == "sophia-v1"
    verdict = await town.gate().verdict(model, "gpt-4.1")
    assert verdict.compared is None and "Production uses gpt-4.1" in verdict.notes[0]


async def test_a_merged_model_is_judged_by_its_adapter(town: Town) -> None:
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2")
    await town.store.models.add(
        Model("sophia-v2-merged", ModelKind.MERGED, "base", NOW, parent="sophia-v2")
    )
    assert codes(await town.look("sophia-v2-merged")) == ["M586"]  # parity did not ask it
    await town.alike("sophia-v2", results=[{"name": "sophia-v2-merged", "files": {}}])
    assert (await town.look("sophia-v2-merged")).passed
    town.env.write_text("GEN_MODEL=sophia-v2-merged\n")
    view = await town.look()
    assert "in production already" in view.notes[0]


async def test_its_own_served_names_must_be_asked_and_not_those_of_relatives(town: Town) -> None:
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2", results=[{"name": "sophia-v2-merged", "files": {}}])
    await town.store.models.add(
        Model("sophia-v2-merged", ModelKind.MERGED, "base", NOW, parent="sophia-v2")
    )
    await town.store.models.add(
        Model("q4", ModelKind.EXPORTED, "base", NOW, parent="sophia-v2-merged")
    )
    for model, name in (
        ("sophia-v1", "other"), ("sophia-v2", "ada"), ("q4", "q4"), ("sophia-v2-merged", "desk")
    ):  # fmt: skip
        await town.store.deployments.add(
            Deployment(f"deploy-{name}", model, name, "x", DeploymentState.READY, "maria", NOW)
        )
    view = await town.look("sophia-v2-merged")
    assert codes(view) == ["M586"]
    assert "did not ask desk." in view.reasons[0].what
    served = {"name": "desk", "kind": "served", "files": {}}
    await town.alike("sophia-v2", results=[{"name": "sophia-v2-merged", "files": {}}, served])
    assert (await town.look("sophia-v2-merged")).passed


async def test_weights_that_changed_since_do_not_pass(town: Town) -> None:
    await town.measured("sophia-v2", 1.2)
    await town.alike("sophia-v2")
    (town.folder / "sophia-v2" / "adapter_model.safetensors").write_bytes(b"others")
    assert codes(await town.look()) == ["M589", "M589", "M589"]


async def test_what_can_t_be_measured_passes_and_says_so(town: Town) -> None:
    await town.store.models.add(Model("gpt-4o-mini", ModelKind.HOSTED, "gpt-4o-mini", NOW))
    view = await town.look("gpt-4o-mini")
    assert view.passed and "nothing of it can be measured here" in view.notes[0]
    await town.store.models.update("gpt-4o-mini", state=ModelState.RETIRED)
    view = await town.look("gpt-4o-mini")
    assert (codes(view), view.overridable) == (["M580"], False)


async def test_switched_off_it_says_so_and_a_rejected_model_is_still_held(town: Town) -> None:
    gate = town.gate(SOPHIA_MODEL_GATE="off")
    view = await gate.gate(CONTEXT, ModelGateRequest(model="sophia-v2"))
    assert view.passed and "switches the gate off" in view.notes[0]
    await town.store.models.update("sophia-v2", state=ModelState.REJECTED, state_reason="Rude.")
    view = await gate.gate(CONTEXT, ModelGateRequest(model="sophia-v2"))
    assert codes(view) == ["M580"] and "Rude." in view.reasons[0].what


async def test_run_queues_what_is_missing_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sophia_tui.services.evaluate.require_training_packages", lambda: None)
    town.env.write_text("GEN_MODEL=sophia-v1\n")
    await town.measured("sophia-v2", 1.2)
    view = await town.look(run=True, items=50)
    assert (view.passed, view.exit_code(), view.check) == (False, 0, None)
    assert [each.id for each in view.jobs if each.kind == "parity"] == ["ftjob-parity"]
    # the current model, on the held-out part of the one to be promoted
    job = await town.store.jobs.get(view.jobs[0].id)
    assert job is not None and (job.model_id, job.dataset) == ("sophia-v1", TOWN)
    run = job.request["run"]
    assert run["dataset_hash"] == "ab" * 32
    (asked,) = run["evaluation"]["question_sets"]
    assert (asked["name"], asked["grade"], asked["stop"]) == ("regression", "both", "answered")
    assert [each["id"] for each in asked["questions"]] == [
        each.id for each in regression_questions(50)
    ]
    again = await town.look(run=True)
    assert [each.id for each in again.jobs] == [job.id, "ftjob-parity"]
    assert len(await town.store.jobs.page()) == 1


async def test_what_can_be_queued_is_though_something_else_can_t(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.services.evaluate.require_training_packages", lambda: None)
    town.env.write_text("GEN_MODEL=sophia-v1\n")
    await town.measured("sophia-v2", 1.2)
    (town.folder / "sophia-v1" / "adapter_config.json").unlink()
    view = await town.look(run=True)
    assert [each.id for each in view.jobs] == ["ftjob-parity"]
    assert "The adapter of model sophia-v1 is not there." in view.notes[-1]
    await town.alike("sophia-v2")
    with pytest.raises(NotFoundError, match="J442"):
        await town.look(run=True)


async def test_what_is_measured_is_not_measured_again(town: Town) -> None:
    await town.measured("sophia-v2", 3.5)  # worse than the base
    await town.alike("sophia-v2")
    view = await town.look(run=True)
    assert (codes(view), view.jobs, town.asked, view.exit_code()) == (["M584"], [], [], 3)


async def test_wrong_requests(town: Town) -> None:
    with pytest.raises(NotFoundError, match="M404"):
        await town.look("sophia-v9")
    with pytest.raises(UsageError, match="M599"):
        await town.look(items=40)
    with pytest.raises(UsageError, match="M596"):  # items>=50: it would be asked for nothing
        await town.look(run=True, items=10)
    assert await town.store.jobs.page() == []


async def test_a_form_that_was_written_anew_since_its_parity_does_not_pass(town: Town) -> None:
    await town.measured("sophia-v2", 1.2)
    path = town.folder / "merged" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"as it was")
    found = path.stat()
    said = {"bytes": found.st_size, "modified_ns": found.st_mtime_ns, "sha256": "00"}
    form = {"name": "sophia-v2-merged", "path": str(path.parent), "files": {path.name: said}}
    await town.alike("sophia-v2", results=[form])
    await town.store.models.add(
        Model("sophia-v2-merged", ModelKind.MERGED, "base", NOW, parent="sophia-v2")
    )
    assert (await town.look("sophia-v2-merged")).passed
    path.write_bytes(b"as it is, longer")
    view = await town.look("sophia-v2-merged")
    assert codes(view) == ["M589"] and "sophia-v2-merged" in view.reasons[0].what
    assert not view.overridable
    assert (await town.look()).passed  # the adapter itself is as it was


async def test_one_changed_weight_fails_and_is_not_overridden(town: Town) -> None:
    """The parity failed, and what is served since was not asked: that it failed is told."""
    await town.measured("sophia-v2", 1.2)
    await town.store.models.add(
        Model("sophia-v2-merged", ModelKind.MERGED, "base", NOW, parent="sophia-v2")
    )
    await town.store.deployments.add(
        Deployment("d", "sophia-v2-merged", "desk", "x", DeploymentState.READY, "maria", NOW)
    )
    form = {"name": "sophia-v2-merged", "kind": "merged", "files": {}, "passed": False}
    why = {"code": "SOPHIA-M567", "what": "sophia-v2-merged: 1 of the 9 numbers is amiss."}
    await town.alike("sophia-v2", results=[form], reasons=[why])
    view = await town.look("sophia-v2-merged")
    assert (codes(view), view.overridable) == (["M587", "M567"], False)
    assert "1 of the 9 numbers" in view.reasons[1].what
    assert [each.state for each in view.items if each.name == "parity"] == ["failed"]
    # a later check that leaves the form out does not hide it; one that asks it says the last word
    await town.alike("sophia-v2-merged", of="sophia-v2")
    view = await town.look("sophia-v2-merged")
    assert (codes(view), view.overridable) == (["M587", "M567"], False)
    asked = [{**form, "passed": True}, {"name": "desk", "kind": "served", "files": {}}]
    await town.alike("sophia-v2-merged", results=asked, of="sophia-v2")
    assert (await town.look("sophia-v2-merged")).passed


async def test_the_last_day_is_told_where_people_are(town: Town) -> None:
    await town.store.models.update(
        "sophia-v2",
        state=ModelState.CONDITIONAL,
        state_conditions=("read daily",),
        state_until=datetime(2126, 12, 2, 2, 59, 59, tzinfo=UTC),
    )
    model = await town.store.models.get("sophia-v2")
    assert model is not None
    verdict = await town.gate(SOPHIA_TIMEZONE="America/Sao_Paulo").verdict(model)
    assert verdict.notes[0].startswith("sophia-v2 is allowed until 2126-12-01, on conditions")
