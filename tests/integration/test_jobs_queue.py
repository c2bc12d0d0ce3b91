"""Queuing trainings and evaluations: what is checked before anything is queued, and what is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.datasets import DatasetVersion
from sophia_tui.domain.models import Evaluation, Model, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import NotFoundError, SophiaError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.services import train
from sophia_tui.services.evaluate import EvaluateRequest, EvaluateService
from sophia_tui.services.evaluations import (
    CompareRequest,
    EvaluationPage,
    EvaluationReference,
    EvaluationsService,
    ReportRequest,
)
from sophia_tui.services.prices import load_prices
from sophia_tui.services.train import TrainRequest, TrainService
from sophia_tui.settings import Settings, load
from tests.integration.worker_house import SystemClock

CONTEXT = Context(actor="maria", face=Face.CLI, role=Role.OPERATOR)


class Desk:
    """The two services, and how often they asked for a worker."""

    def __init__(self, store: Store, settings: Settings, paths: Paths) -> None:
        self.store = store
        self.woken = 0
        self.paths = paths
        self.train = TrainService(store, settings, paths, SystemClock(), self._wake)
        self.evaluate = EvaluateService(store, settings, paths, SystemClock(), self._wake)
        self.evaluations = EvaluationsService(
            store, settings, paths, lambda: load_prices(settings, paths), SystemClock()
        )

    async def _wake(self) -> None:
        self.woken += 1

    async def refused(self, **request: object) -> SophiaError:
        """The error of a start, which must leave nothing queued."""
        with pytest.raises(SophiaError) as caught:
            await self.train.start(CONTEXT, TrainRequest.model_validate(request))
        assert await self.store.jobs.page() == [] and self.woken == 0
        return caught.value


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
async def version(store: Store, tmp_path: Path) -> DatasetVersion:
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "train.jsonl").write_text("{}\n" * 20)
    found = DatasetVersion(
        name="town",
        hash="ab" * 32,
        folder=str(folder),
        counts={"rows_in": 24, "rows_kept": 24, "rows_rejected": 0, "train": 20, "valid": 4},
        manifest={"sources": [{"path": "qa_cache.jsonl"}, {"path": "feedback_pairs.jsonl"}]},
        created_by="maria",
        created_at=datetime.now(UTC),
    )
    await store.datasets.add(found)
    return found


@pytest.fixture
def desk(store: Store, settings: Settings, paths: Paths) -> Desk:
    return Desk(store, settings, paths)


async def test_a_training_is_queued_with_all_that_the_run_needs(
    desk: Desk, version: DatasetVersion, base: Path
) -> None:
    request = TrainRequest(base=str(base), recipe="demo", epochs=3, learning_rate=1e-4, seed=7)
    view = await desk.train.start(CONTEXT, request)
    assert view.id.startswith("ftjob-") and len(view.id) == 18
    assert (view.status, view.dataset, view.base) == ("queued", version.id, str(base))
    assert view.files == ["qa_cache.jsonl", "feedback_pairs.jsonl"]
    job = await desk.store.jobs.get(view.id)
    assert job is not None and job.created_by == "maria"
    run = job.request["run"]
    assert run["dataset_path"] == version.folder and run["dataset_hash"] == version.hash
    assert run["recipe"]["epochs"] == 3 and run["recipe"]["learning_rate"] == 1e-4
    assert run["recipe"]["seed"] == 7 and run["recipe"]["batch_size"] == 8  # the demo recipe's
    assert Path(job.request["history_file"]).is_absolute()
    assert desk.woken == 1


async def test_a_dry_run_shows_the_run_and_its_steps_and_queues_nothing(
    desk: Desk, version: DatasetVersion, base: Path
) -> None:
    context = replace(CONTEXT, dry_run=True)
    view = await desk.train.start(context, TrainRequest(base=str(base), recipe="demo"))
    assert (view.status, view.total_steps) == (
        "draft",
        83,
    )  # 1.4 epochs of (2 * 20 + 425 of rehearsal) / 8
    assert view.result is not None and view.result["base"] == str(base)
    assert await desk.store.jobs.page() == [] and desk.woken == 0


async def test_without_a_base_it_says_what_to_set(desk: Desk, version: DatasetVersion) -> None:
    error = await desk.refused()
    assert error.code == "SOPHIA-J430" and "FINETUNE_BASE" in error.remedy


async def test_the_base_of_the_settings_is_the_default(
    store: Store, paths: Paths, store_url: str, version: DatasetVersion, base: Path
) -> None:
    settings = load({"SOPHIA_STORE_URL": store_url, "FINETUNE_BASE": str(base)})
    desk = Desk(store, settings, paths)
    assert (await desk.train.start(CONTEXT, TrainRequest(accept_few=True))).base == str(base)


@pytest.mark.parametrize(
    ("base", "code", "exit_code"),
    [
        ("/nowhere/at/all", "SOPHIA-J431", 4),
        ("./not-here.gguf", "SOPHIA-J431", 4),
        ("gpt-4o-mini", "SOPHIA-J510", 2),
        ("ft:gpt-4.1-mini:acme::abc", "SOPHIA-J510", 2),
    ],
)
async def test_a_base_that_can_not_be_trained_is_refused(
    desk: Desk, version: DatasetVersion, base: str, code: str, exit_code: int
) -> None:
    error = await desk.refused(base=base)
    assert (error.code, error.exit_code) == (code, exit_code)


async def test_a_folder_without_a_model_is_no_base(
    desk: Desk, version: DatasetVersion, tmp_path: Path
) -> None:
    assert (await desk.refused(base=str(tmp_path))).code == "SOPHIA-J432"


async def test_a_hub_id_is_taken_as_it_is(desk: Desk, version: DatasetVersion) -> None:
    view = await desk.train.start(CONTEXT, TrainRequest(base="HuggingFaceTB/SmolLM2-135M-Instruct"))
    assert view.base == "HuggingFaceTB/SmolLM2-135M-Instruct"


async def test_without_a_data_set_it_says_how_to_make_one(desk: Desk, base: Path) -> None:
    error = await desk.refused(base=str(base))
    assert (error.code, error.exit_code) == ("SOPHIA-J420", 4)


async def test_an_unknown_data_set_is_not_found(
    desk: Desk, version: DatasetVersion, base: Path
) -> None:
    assert (await desk.refused(base=str(base), dataset="other")).code == "SOPHIA-J421"


async def test_a_data_set_whose_folder_is_gone_is_not_trained_on(
    desk: Desk, version: DatasetVersion, base: Path
) -> None:
    (Path(version.folder) / "train.jsonl").unlink()
    assert (await desk.refused(base=str(base))).code == "SOPHIA-J422"


async def test_an_unknown_recipe_is_refused(
    desk: Desk, version: DatasetVersion, base: Path
) -> None:
    error = await desk.refused(base=str(base), recipe="nothing-like-it")
    assert (error.code, error.exit_code) == ("SOPHIA-J414", 2)


async def test_without_the_training_packages_it_says_what_to_install(
    desk: Desk, version: DatasetVersion, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "TRAINING_PACKAGES", ("pydantic", "surely_not_installed_package"))
    error = await desk.refused(base=str(base))
    assert isinstance(error, UnavailableError) and error.code == "SOPHIA-J501"
    assert "surely_not_installed_package" in error.why and "pydantic" not in error.why
    assert ".[training]" in error.remedy


async def test_an_evaluation_is_queued_for_a_model_and_its_data(
    desk: Desk, version: DatasetVersion, base: Path, tmp_path: Path
) -> None:
    trained = await desk.train.start(CONTEXT, TrainRequest(base=str(base), recipe="demo"))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    model = Model(
        "sophia-v1",
        ModelKind.ADAPTER,
        str(base),
        datetime.now(UTC),
        job_id=trained.id,
        dataset=version.id,
        path=str(adapter),
    )
    await desk.store.models.add(model)
    request = EvaluateRequest(model="sophia-v1", prompts=["What is Brovik?"], limit=3)
    view = await desk.evaluate.run(CONTEXT, request)
    assert (view.kind, view.status, view.model) == ("evaluate", "queued", "sophia-v1")
    job = await desk.store.jobs.get(view.id)
    assert job is not None
    run = job.request["run"]
    assert run["kind"] == "evaluate" and run["adapter_path"] == str(adapter)
    assert run["evaluation"]["prompts"] == ["What is Brovik?"]
    assert run["evaluation"]["sample_limit"] == 3
    assert run["recipe"]["sequence_length"] == 256  # as it was trained
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(NotFoundError) as caught:
        await desk.evaluate.run(CONTEXT, request)
    assert caught.value.code == "SOPHIA-J442"


async def test_questions_travel_with_the_job(
    desk: Desk, version: DatasetVersion, base: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    model = Model(
        "sophia-v1",
        ModelKind.ADAPTER,
        str(base),
        datetime.now(UTC),
        dataset=version.id,
        path=str(adapter),
    )
    await desk.store.models.add(model)
    facts, general = tmp_path / "facts.jsonl", tmp_path / "a=b.jsonl"
    line = '{"id": "1", "question": "What is Brovik?", "accepted": ["a town"]}\n'
    facts.write_text(line)
    general.write_text(line)
    request = EvaluateRequest(
        model="sophia-v1",
        questions=[str(facts)],
        questions_after=[str(general)],
        question_tokens=12,
        similarity=False,
        latency_sample=0,
    )
    view = await desk.evaluate.run(CONTEXT, request)
    facts.unlink()
    job = await desk.store.jobs.get(view.id)
    assert job is not None
    settings = job.request["run"]["evaluation"]
    first, second = settings["question_sets"]
    assert (first["name"], first["grade"], first["stop"]) == ("facts", "both", "end")
    assert (second["name"], second["grade"], second["stop"]) == ("a=b", "after", "answered")
    assert first["questions"][0]["accepted"] == ["a town"] and first["max_new_tokens"] == 12
    assert (settings["text_measures"], settings["latency_sample"]) == (["bleu", "chrf"], 0)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for wrong, code in (
        ({"questions": [str(facts)]}, "J447"),
        ({"questions": [str(empty)]}, "J444"),
        ({"questions": [str(general)], "questions_after": [str(general)]}, "J445"),
    ):
        with pytest.raises(SophiaError) as caught:
            await desk.evaluate.run(CONTEXT, EvaluateRequest(model="sophia-v1", **wrong))
        assert caught.value.code == f"SOPHIA-{code}"
    over_http = replace(CONTEXT, face=Face.API)
    with pytest.raises(SophiaError) as caught:
        await desk.evaluate.run(over_http, request)
    assert (caught.value.code, caught.value.exit_code) == ("SOPHIA-J448", 3)
    with pytest.raises(SophiaError) as caught:
        await desk.train.start(over_http, TrainRequest(base=str(base), recipe=str(general)))
    assert caught.value.code == "SOPHIA-J449"
    merged = replace(model, id="sophia-v2", kind=ModelKind.MERGED, parent="sophia-v1")
    await desk.store.models.add(merged)
    with pytest.raises(SophiaError) as caught:
        await desk.evaluate.run(CONTEXT, EvaluateRequest(model="sophia-v2"))
    assert caught.value.code == "SOPHIA-J446" and "sophia-v1" in caught.value.remedy


async def test_kept_evaluations_are_listed_compared_and_written(desk: Desk, tmp_path: Path) -> None:
    score = dict.fromkeys(
        ("loss", "loss_low", "loss_high", "perplexity", "perplexity_low", "perplexity_high"), 1.5
    )
    report = {
        "base": "b",
        "dataset_hash": "h",
        "examples": 4,
        "answer_tokens": 40,
        "before": score,
        "conversations": {"count": 4, "answers": 2.0, "tokens_in": 1000.0},
        "measures": [
            {"name": "latency_median", "count": 3, "before": 1.8},
            {"name": "answer_tokens", "count": 3, "before": 500.0},
        ],
    }
    at = datetime(2026, 11, 25, tzinfo=UTC)
    for number in (1, 2):
        await desk.store.models.add(Model(f"sophia-v{number}", ModelKind.ADAPTER, "b", at))
        await desk.store.evaluations.add(
            Evaluation(f"ftjob-{number}", f"sophia-v{number}", None, report, at)
        )
    found = await desk.evaluations.page(CONTEXT, EvaluationPage(model="sophia-v2"))
    assert [each.id for each in found.items] == ["ftjob-2"]
    view = await desk.evaluations.show(CONTEXT, EvaluationReference(model="ftjob-1"))
    # 1,000 tokens in and twice 500 out
    mini = next(each for each in view.hosted_costs if each.name == "gpt-4o-mini")
    assert mini.usd == pytest.approx((1000 * 0.15 + 1000 * 0.60) / 1e3)
    assert any("SOPHIA_MACHINE_USD_PER_HOUR" in note for note in view.notes)
    names = {each.name for each in view.hosted_costs}
    assert "gpt-3.5-turbo" not in names  # it ended
    desk.paths.data.mkdir(parents=True, exist_ok=True)
    desk.paths.prices.write_text("chat: [")
    view = await desk.evaluations.show(CONTEXT, EvaluationReference(model="ftjob-1"))
    assert view.rows and not view.hosted_costs and any("not YAML" in each for each in view.notes)
    ends = (datetime.now(UTC) + timedelta(days=30)).date()
    desk.paths.prices.write_text(f"shutdown:\n  gpt-4o-mini: {{at: {ends}, source: us}}\n")
    view = await desk.evaluations.show(CONTEXT, EvaluationReference(model="ftjob-1"))
    assert {each.name: each.ends for each in view.hosted_costs}["gpt-4o-mini"] == ends
    both = CompareRequest(first="sophia-v1", second="ftjob-2")
    assert (await desk.evaluations.compare(CONTEXT, both)).fair
    for reference, code in (("ftjob-9", "M461"), ("sophia-v9", "M404")):
        with pytest.raises(NotFoundError) as caught:
            await desk.evaluations.show(CONTEXT, EvaluationReference(model=reference))
        assert caught.value.code == f"SOPHIA-{code}"

    written = await desk.evaluations.report(
        CONTEXT, ReportRequest(model="sophia-v1", second="sophia-v2")
    )
    assert "sophia-v2" in Path(written.path).read_text() and "/reports/" in written.path
    path = tmp_path / "page.html"
    for _each in range(2):  # our own may be written over
        await desk.evaluations.report(CONTEXT, ReportRequest(model="sophia-v1", path=str(path)))
    path.write_text("somebody's own")
    for context, code in ((CONTEXT, "M462"), (replace(CONTEXT, face=Face.API), "M463")):
        with pytest.raises(SophiaError) as refused:
            await desk.evaluations.report(context, ReportRequest(model="sophia-v1", path=str(path)))
        assert refused.value.code == f"SOPHIA-{code}"
    assert path.read_text() == "somebody's own"


async def test_an_hour_of_the_machine_has_a_price(store: Store, paths: Paths) -> None:
    settings = load({"SOPHIA_MACHINE_USD_PER_HOUR": "2.0"})
    service = Desk(store, settings, paths).evaluations
    report = {
        "base": "b",
        "examples": 4,
        "answer_tokens": 40,
        "before": dict.fromkeys(
            ("loss", "loss_low", "loss_high", "perplexity", "perplexity_low", "perplexity_high"), 1
        ),
        "conversations": {"count": 4, "answers": 3.0, "tokens_in": 1000.0},
        "measures": [{"name": "latency_median", "count": 3, "before": 6.0, "after": 3.0}],
    }
    await store.models.add(Model("v", ModelKind.ADAPTER, "b", datetime.now(UTC)))
    await store.evaluations.add(Evaluation("ftjob-1", "v", None, report, datetime.now(UTC)))
    view = await service.show(CONTEXT, EvaluationReference(model="ftjob-1"))
    row = next(each for each in view.rows if each.measure == "conversations_usd")
    assert (row.before, row.after) == pytest.approx(
        (1000 * 3 * 6 / 3600 * 2, 1000 * 3 * 3 / 3600 * 2)
    )


async def test_an_unknown_model_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFoundError) as caught:
        await desk.evaluate.run(CONTEXT, EvaluateRequest(model="sophia-v9"))
    assert caught.value.code == "SOPHIA-M404"


async def test_what_models_say_is_shown_harmless(desk: Desk, version: DatasetVersion) -> None:
    score = dict.fromkeys(
        ("loss", "loss_low", "loss_high", "perplexity", "perplexity_low", "perplexity_high"), 1.5
    )
    model = Model("sophia-v1", ModelKind.ADAPTER, "base", datetime.now(UTC), dataset=version.id)
    await desk.store.models.add(model)
    reference = EvaluationReference(model="sophia-v1")
    with pytest.raises(NotFoundError) as caught:
        await desk.evaluations.show(CONTEXT, reference)
    assert caught.value.code == "SOPHIA-J443"
    report = {
        "examples": 4,
        "answer_tokens": 40,
        "before": score,
        "after": score,
        "difference": {"loss": -0.5, "loss_low": -0.7, "loss_high": -0.2},
        "answers": [{"prompt": "Q\x1b[2J", "before": "B\u202e", "after": None}],
    }
    await desk.store.models.update("sophia-v1", evaluation=report)
    view = await desk.evaluations.show(CONTEXT, reference)
    assert view.loss_difference == -0.5 and view.before.perplexity == 1.5
    assert view.answers[0].prompt == "Q\u241b[2J" and view.answers[0].before == "B<U+202E>"


@pytest.mark.parametrize(
    ("base", "examples", "recipe"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 200, "small"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 20_000, "default"),
        ("meta-llama/Llama-3.1-8B-Instruct", 200, "middle"),
        ("Qwen/Qwen2.5-32B-Instruct", 200, "large"),
        ("someone/a-model-of-no-size", 200, "default"),
    ],
)
def test_the_recipe_is_chosen_by_the_bases_size(base: str, examples: int, recipe: str) -> None:
    settings = load({})
    assert train.recipe_name(TrainRequest(), settings, base, examples) == recipe
    assert train.recipe_name(TrainRequest(recipe="lora"), settings, base, examples) == "lora"
    chosen = load({"SOPHIA_RECIPE": "default"})
    assert train.recipe_name(TrainRequest(), chosen, base, examples) == "default"
