"""The way off a model that ends, from golden answers to the promotion, by every face."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from sophia_tui import envfile
from sophia_tui.api.routes.sophia import path_of
from sophia_tui.cli.main import main
from sophia_tui.datasets.golden import draw
from sophia_tui.domain.context import Face
from sophia_tui.domain.models import Evaluation, Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import (
    ConflictError,
    DataError,
    NotFoundError,
    RefusedError,
    UnavailableError,
    UnconfirmedError,
    UsageError,
)
from sophia_tui.services.calendar_files import Named
from sophia_tui.services.catalogue import registry
from sophia_tui.services.succession import SuccessionService
from sophia_tui.services.succession_views import SucceedRequest
from sophia_tui.wiring import House
from tests import seeded
from tests.api.server import serving
from tests.hosted.models_server import KEY, ModelsServer

OLD = "gpt-4o-mini"
TOKEN = "a-token-for-this-test"


@pytest.fixture
def provider() -> Iterator[ModelsServer]:
    with ModelsServer() as running:
        running.models = {OLD: None}
        yield running


@dataclass
class Town:
    """A house whose production asks the provider, and nobody who takes jobs."""

    folder: Path
    url: str
    provider: ModelsServer
    houses: list[House] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SOPHIA_STORE_URL": self.url,
            "DATABASE_URL": self.url,
            "SOPHIA_DATA_DIR": str(self.folder / "data"),
            "FINETUNE_DIR": str(self.folder / "finetune"),
            "SOPHIA_MANAGED_ENV_FILES": str(self.folder / "rag.env"),
            "SOPHIA_QUALITY_GATE": "examples>=0",
            "FINETUNE_TOKEN": TOKEN,
            "ALLOW_FINETUNE": "true",
            "API_URL": "http://127.0.0.1:9",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def house(self) -> House:
        """A new process's view: nothing is remembered but what is kept."""
        self.houses.append(House(self.environment))
        return self.houses[-1]

    async def ask(self, operation: str, confirmed: bool = True, **request: Any) -> Any:
        house = self.house()
        context = house.context(Face.CLI, confirmed=confirmed)
        try:
            return await house.dispatcher.call(operation, request, context)
        finally:
            await house.close()

    async def succeed(self, confirmed: bool = True, **request: Any) -> Any:
        request = {"model": OLD, "days": 36500, **request}
        return await self.ask("models.succeed", confirmed, **request)


@pytest.fixture
def town(
    store_url: str, tmp_path: Path, provider: ModelsServer, monkeypatch: pytest.MonkeyPatch
) -> Town:
    made = Town(tmp_path, store_url, provider)
    seeded.fill_source(store_url)
    (tmp_path / "rag.env").write_text(
        f"GEN_MODEL={OLD}\nOPENAI_BASE_URL={provider.url}\nOPENAI_API_KEY={KEY}\n"
    )
    for key, value in made.environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sophia_tui.worker.spawn.ensure_worker", lambda *_given: None)
    monkeypatch.chdir(tmp_path)
    return made


def step(view: Any, name: str) -> Any:
    return next(each for each in view.steps if each.step == name)


async def test_golden_answers_are_the_old_models_to_questions_of_production(
    town: Town, store: Store
) -> None:
    view = await town.succeed(prompts=12)
    assert step(view, "golden").state == "done" and view.next == f"sophia models succeed {OLD}"
    [golden] = await store.golden.page(OLD)
    assert len(golden.answers) == 12 == len(town.provider.chats)
    assert all(each["answer"] == f"It is so: {each['prompt']}" for each in golden.answers)
    assert golden.answers[0]["prompt_tokens"] == 11
    assert {each["model"] for each in town.provider.chats} == {OLD}
    assert list((town.folder / "data" / "successions").glob("*-rows")) == []  # no raw row stays


async def test_what_it_costs_is_asked_before_and_bounded(town: Town) -> None:
    with pytest.raises(UnconfirmedError, match="M604") as asked:
        await town.succeed(confirmed=False, prompts=10)
    assert 0 < asked.value.details["usd"] < 0.01
    with pytest.raises(RefusedError, match="M603"):
        await town.succeed(prompts=10, budget=0.0001)
    assert town.provider.chats == []


async def test_a_plan_says_what_it_costs_and_writes_nothing(town: Town, store: Store) -> None:
    house = town.house()
    context = house.context(Face.CLI, dry_run=True)
    view = await house.dispatcher.call(
        "models.succeed", {"model": OLD, "days": 36500, "prompts": 10}, context
    )
    await house.close()
    assert any("10 questions" in each for each in view.notes)  # type: ignore[attr-defined]
    assert any("at most" in each for each in view.notes)  # type: ignore[attr-defined]
    assert await store.successions.page() == [] and town.provider.chats == []


async def test_what_was_answered_is_not_asked_again_after_a_failure(town: Town) -> None:
    answer = town.provider.answer
    seen: list[str] = []

    def fails_at_the_fifth(question: str) -> str:
        seen.append(question)
        if len(seen) == 5:
            town.provider.refuse_chats = 503
        return answer(question)

    town.provider.answer = fails_at_the_fifth
    with pytest.raises(UnavailableError, match="M605") as problem:
        await town.succeed(prompts=10)
    assert "--answers cache" in problem.value.remedy
    town.provider.refuse_chats, town.provider.answer = None, answer
    view = await town.succeed()
    asked = [each["messages"][-1]["content"] for each in town.provider.chats]
    assert step(view, "golden").state == "done"
    assert len(asked) == len(set(asked)) == 10


async def test_a_provider_that_has_the_model_no_more_leaves_what_production_kept(
    town: Town, store: Store
) -> None:
    town.provider.models = {"another": None}
    view = await town.succeed(prompts=8)
    [golden] = await store.golden.page(OLD)
    assert {each["source"] for each in golden.answers} == {"cache"}
    assert golden.answers[0]["answer"].endswith("o'clock.")
    assert "not the old model's own" in step(view, "golden").told


async def test_a_model_that_ends_while_it_is_asked_keeps_what_it_said(
    town: Town, store: Store
) -> None:
    answer = town.provider.answer

    def ends(question: str) -> str:
        if len(town.provider.chats) == 3:
            town.provider.models = {"another": None}
        return answer(question)

    town.provider.answer = ends
    view = await town.succeed(prompts=20)
    [golden] = await store.golden.page(OLD)
    sources = [each["source"] for each in golden.answers]
    assert len(sources) == 20 and 3 <= sources.count("provider") < 20
    assert "answers of the old model" in step(view, "golden").told
    assert "that production kept" in step(view, "golden").told


async def test_a_key_that_is_not_taken_is_an_error_and_no_reason_for_the_cache(
    town: Town,
) -> None:
    town.provider.key = "another"
    with pytest.raises(UnavailableError, match="M605"):
        await town.succeed(prompts=8)
    view = await town.succeed(answers="cache")
    assert step(view, "golden").state == "done"


async def test_personal_data_goes_to_no_provider(town: Town) -> None:
    with psycopg.connect(town.url) as connection:
        connection.execute(
            "INSERT INTO qa_cache VALUES"
            " ('k9999', 'I am ana@example.org, CPF 111.444.777-35, when?', 'At nine.', '[]', now())"
        )
    await town.succeed(prompts=41)
    asked = json.dumps(town.provider.chats)
    assert "ana@example.org" not in asked and "111.444.777-35" not in asked
    assert "[EMAIL_1]" in asked


async def test_the_data_set_holds_the_golden_answers_out_and_learns_none_of_their_questions(
    town: Town, store: Store
) -> None:
    await town.succeed(prompts=10)
    view = await town.succeed()
    version = await store.datasets.get(view.dataset)
    assert version is not None and step(view, "dataset").state == "done"

    def questions(part: str) -> set[str]:
        lines = (Path(version.folder) / f"{part}.jsonl").read_text().splitlines()
        return {json.loads(each)["messages"][0]["content"] for each in lines}

    assert len(questions("valid")) == 10 and len(questions("train")) >= 30
    assert not questions("valid") & questions("train")
    assert {each["messages"][-1]["content"] for each in town.provider.chats} == questions("valid")
    assert view.options["prompts"] == 10


async def test_steps_wait_for_those_before_them(town: Town) -> None:
    with pytest.raises(ConflictError, match="M609"):
        await town.succeed(step="train")
    await town.succeed(prompts=10)
    await town.succeed()
    with pytest.raises(UsageError, match="M607"):
        await town.succeed(base="gpt-4.1-mini")
    with pytest.raises(UsageError, match="M607"):
        await town.ask("models.succeed", model=OLD, base="")


async def test_no_question_in_production_is_said(town: Town) -> None:
    with psycopg.connect(town.url) as connection:
        connection.execute("TRUNCATE qa_cache, messages")
    with pytest.raises(DataError, match="M611"):
        await town.succeed()


async def test_a_source_without_tables_names_the_step_and_what_it_needs(town: Town) -> None:
    with psycopg.connect(town.url) as connection:
        connection.execute("ALTER TABLE qa_cache RENAME TO elsewhere")
    with pytest.raises(DataError, match="D111") as caught:
        await town.succeed(prompts=10)
    assert "Step 1 of 5, record golden answers of the old model" in caught.value.what
    assert "DATABASE_URL" in caught.value.remedy and "--answers" in caught.value.remedy


async def test_a_way_that_nobody_began(town: Town) -> None:
    with pytest.raises(NotFoundError, match="M613"):
        await town.ask("models.succession", model="nothing")
    assert (await town.ask("models.succession")).items == []


async def _finish_jobs(store: Store, folder: Path) -> None:
    """What a worker does, in the store: the training has made a model, the evaluation a report."""
    for job in await store.jobs.page():
        if job.state != "queued":
            continue
        if job.kind.value == "train":
            place = folder / "adapter"
            place.mkdir(exist_ok=True)
            (place / "adapter_config.json").write_text("{}")
            await store.models.add(
                Model(
                    "sophia-v1",
                    ModelKind.ADAPTER,
                    job.base,
                    job.created_at,
                    job_id=job.id,
                    dataset=job.dataset,
                    path=str(place),
                )
            )
            await store.jobs.update(job.id, state="succeeded", resulting_model="sophia-v1")
        else:
            run = job.request["run"]["evaluation"]
            assert run["text_sample"] == 10 and run["max_new_tokens"] == 32
            measures = [
                {"name": "chrf", "before": 0.1, "after": 0.6, "count": 10},
                {"name": "similarity", "before": 0.2, "after": 0.8, "count": 10},
                {"name": "latency_median", "before": 2.0, "after": 1.5, "count": 5},
            ]
            samples = [{"question": "q", "reference": "four", "before": "x", "after": "eight"}]
            report = {
                "before": {"perplexity": 30.0},
                "after": {"perplexity": 4.0},
                "measures": measures,
                "samples": samples,
            }
            await store.evaluations.add(
                Evaluation(job.id, "sophia-v1", job.dataset, report, job.created_at)
            )
            await store.jobs.update(job.id, state="succeeded")


def test_the_whole_way_by_command_line_and_http(
    town: Town, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each step by a process of its own, in turns by the command line and over HTTP; the jobs'
    work is put into the store (test_the_tiny_model_is_trained_and_compared does it truly)."""
    base = town.folder / "base"
    base.mkdir()
    (base / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1})
    )

    def typed(*words: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main(["--json", *words])
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return json.loads(told.out.splitlines()[-1])

    def posted(**body: Any) -> Any:
        with serving(town.house()) as address:
            found = httpx.post(
                f"{address}{path_of(registry().get('models.succeed'))}",
                json={"model": OLD, "confirm": True, **body},
                headers={"x-admin-token": TOKEN},
                timeout=60,
            )
        assert found.is_success, found.text
        return found.json()

    async def worked() -> None:
        from sophia_tui.paths import Paths
        from sophia_tui.settings import load
        from sophia_tui.store.own import open_store

        store = await open_store(load({"SOPHIA_STORE_URL": store_url}), Paths(town.folder))
        await _finish_jobs(store, town.folder)
        await store.close()

    options = ("--prompts", "10", "--days", "36500", "--tokens", "32", "--yes")
    first = typed("models", "succeed", OLD, *options)
    assert first["at_step"] == "dataset"
    assert posted()["at_step"] == "train"
    trained = typed("models", "succeed", OLD, "--base", str(base), "--max-steps", "4")
    assert trained["next"] == f"sophia jobs watch {trained['steps'][2]['job']}"
    assert posted()["next"] == trained["next"]  # a job under way is waited for
    with psycopg.connect(store_url) as connection:  # who queued it died before it noted that
        connection.execute("UPDATE sophia.successions SET steps = steps - 'train'")
    assert posted()["next"] == trained["next"]
    asyncio.run(worked())
    assert typed("models", "succession", OLD)["items"][0]["new_model"] == "sophia-v1"
    compared = posted()
    assert compared["steps"][3]["state"] == "running"
    asyncio.run(worked())
    [shown] = typed("models", "succession")["items"]
    comparison = shown["comparison"]
    assert (comparison["chrf"], comparison["chrf_base"]) == (0.6, 0.1)
    assert (comparison["length_old"], comparison["length_new"]) == (4.0, 5.0)
    assert comparison["seconds_new"] == 1.5 and comparison["seconds_old"] is not None
    assert comparison["cost_old"] == pytest.approx(1000 * (11 * 0.15 + 7 * 0.6) / 1e6, abs=1e-4)
    assert shown["next"] == f"sophia models succeed {OLD} --promote sophia-v1 --yes"
    assert any("OPENAI_BASE_URL" in each for each in shown["notes"])


async def test_the_name_to_promote_is_typed_and_a_promotion_ends_the_way(
    town: Town, store: Store
) -> None:
    await town.succeed(prompts=10)
    found = await store.successions.get(OLD)
    assert found is not None
    facts = {"dataset": "d@1", "rows": 30, "held_out": 10, "left_out": 0, "base": "b"}
    done = {"state": "done", "facts": {**facts, "model": "sophia-v1"}}
    steps = {**found.steps, "dataset": done, "train": done, "compare": done}
    await store.successions.update(found.id, found.version, steps=steps, new_model="sophia-v1")
    with pytest.raises(UsageError, match="M608"):
        await town.succeed(promote="sophia-v2")
    with pytest.raises(UnconfirmedError, match="M612"):
        await town.succeed(promote="sophia-v1", confirmed=False)
    moment = found.created_at
    await store.promotions.add(
        Promotion("p-1", "sophia-v1", OLD, PromotionState.DONE, (), "ana", moment, moment)
    )
    [view] = (await town.ask("models.succession", model=OLD)).items
    assert (view.state, view.at_step) == ("open", "promote")  # the service still asks for OLD
    env = town.folder / "rag.env"
    env.write_text(env.read_text().replace(OLD, "sophia-v1"))
    [view] = (await town.ask("models.succession", model=OLD)).items
    assert (view.state, view.next) == ("done", "")


async def test_the_way_is_done_only_when_no_managed_file_names_the_old_model(
    town: Town, store: Store
) -> None:
    env = town.folder / "rag.env"
    env.write_text(
        env.read_text().replace("GEN_MODEL", "OPENAI_MODEL") + "FALLBACK_MODEL=gpt-3.5-turbo\n"
    )
    await town.succeed(prompts=10)
    found = await store.successions.get(OLD)
    assert found is not None
    facts = {"dataset": "d@1", "rows": 30, "held_out": 10, "left_out": 0, "base": "b"}
    done = {"state": "done", "facts": {**facts, "model": "sophia-v1"}}
    steps = {**found.steps, "dataset": done, "train": done, "compare": done}
    await store.successions.update(found.id, found.version, steps=steps, new_model="sophia-v1")
    await store.models.add(
        Model("sophia-v1", ModelKind.HOSTED, "base", found.created_at, path="sophia-v1")
    )
    (town.folder / "finetune").mkdir(exist_ok=True)
    calls: list[str] = []

    async def served(operation: str, request: Any, context: Any) -> Any:
        """A machine that serves nothing by itself: the promotion alone is the real one."""
        calls.append(operation)
        if operation == "serve.model":
            town.provider.models["sophia-v1"] = None  # it answers for the new name from now on
            return None
        return await house.dispatcher.call(operation, {**request, "probe": False}, context)

    house = town.house()
    service = await house.service(SuccessionService)
    service._call = served
    context = house.context(Face.CLI, confirmed=True)
    request = SucceedRequest(model=OLD, promote="sophia-v1", override="tried by hand, it is well")
    still = service._calendar.still_named
    place = service._calendar._names.own_place()

    async def names_it(_model: str) -> list[Named]:
        return [Named("/srv/declared.env", "CHAT", OLD, "answers", place)]

    service._calendar.still_named = names_it  # a declared file that no promotion writes
    view = await service.succeed(context, request)
    assert (view.state, step(view, "promote").state) == ("open", "failed")
    assert f"CHAT in /srv/declared.env still names {OLD}" in step(view, "promote").told
    assert calls == ["serve.model", "promote.run"]
    with pytest.raises(ConflictError, match="M614") as by_hand:
        await service.succeed(context, request)
    assert "/srv/declared.env" in by_hand.value.why
    service._calendar.still_named = still
    view = await service.succeed(context, request)
    assert (view.state, view.next) == ("done", "")
    values = envfile.values(env.read_text())
    assert values["OPENAI_MODEL"] == "sophia-v1" and "GEN_MODEL" not in values
    assert values["FALLBACK_MODEL"] == "gpt-3.5-turbo"
    await house.close()


def test_the_same_prompts_are_drawn_whatever_the_order(tmp_path: Path) -> None:
    rows = [json.dumps({"question": f"When {n}?", "answer": f"At {n}."}) for n in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows, rows[3], "{broken"]))
    (tmp_path / "b.jsonl").write_text("\n".join(reversed(rows)))
    first = draw([tmp_path / "a.jsonl"], 7, 1)
    assert [each.question for each in first] == [
        each.question for each in draw([tmp_path / "b.jsonl"], 7, 1)
    ]
    assert len({each.question for each in first}) == 7
    assert first != draw([tmp_path / "a.jsonl"], 7, 2)
