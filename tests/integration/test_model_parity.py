"""Parity of a real small model, from the question to what is kept: merged, and served by name."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import main
from finetune.schema import MERGED_FOLDER, PARITY_FILE, RunSpec, write_run_spec
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import JobKind
from sophia_tui.domain.models import CheckKind, ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError
from sophia_tui.paths import Paths
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.services.model_parity_views import REASONS, ParityView
from sophia_tui.settings import load
from sophia_tui.wiring import House
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed
from tests.api.server import serving
from tests.finetune.helpers import QUICK, finetune, write_run
from tests.finetune.parity_engine import Engine, answering
from tests.finetune.tiny_model import build_dataset, build_tiny_model
from tests.integration.serving_house import MODEL_KEY, house_on, model_row
from tests.integration.test_front import deployment
from tests.integration.worker_house import SystemClock

pytestmark = pytest.mark.filterwarnings("ignore")

NAME = "sophia-v1"


@dataclass
class Town:
    """A base, an adapter trained on it, and that merged. Not to be written to."""

    base: Path
    adapter: Path
    merged: Path


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    place = tmp_path_factory.mktemp("town")
    base = build_tiny_model(place / "base")
    data = build_dataset(place / "data")
    training = write_run(place / "train", base, data, {**QUICK, "max_steps": 12})
    assert finetune("train", training) == 0
    adapter = training / "adapter"
    merge = write_run(place / "merge", base, data, kind="merge", adapter_path=str(adapter))
    assert finetune("merge", merge) == 0
    return Town(base, adapter, merge / MERGED_FOLDER)


@pytest.fixture
def engine(town: Town) -> Iterator[Engine]:
    """What serves the merged model on its own port."""
    found = Engine(answering(town.merged, name=str(town.merged)))
    yield found
    found.close()


@pytest.fixture
async def house(store_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house whose clients ask where its API really answers."""
    front = house_on(store_url, tmp_path)
    with serving(front) as address:
        found = house_on(store_url, tmp_path, API_URL=address)

        async def nobody() -> None:
            """No worker: the tests play it."""

        found.wake = nobody  # type: ignore[method-assign]
        yield found
        await found.close()


def context(role: Role = Role.ADMIN) -> Context:
    return Context("maria", Face.CLI, role, confirmed=True)


async def call(house: House, operation: str, /, **request: Any) -> Any:
    return await house.dispatcher.call(operation, request, context())


async def known(store: Store, town: Town, merged: bool = True) -> None:
    row = model_row(NAME, town.adapter, ModelKind.ADAPTER)
    await store.models.add(replace(row, base=str(town.base)))
    if merged:
        made = model_row(f"{NAME}-merged", town.merged, ModelKind.MERGED)
        await store.models.add(replace(made, parent=NAME))


async def serve(store: Store, port: int) -> None:
    await store.deployments.add(
        replace(deployment(port), model_id=f"{NAME}-merged", name=NAME, engine="transformers")
    )


async def worked(store: Store, job_id: str, folder: Path) -> None:
    """Do what the job's run would do, and end the job as a worker does."""
    job = await store.jobs.get(job_id)
    assert job is not None and job.kind is JobKind.PARITY
    folder.mkdir()
    run = RunSpec.model_validate(job.request["run"])
    write_run_spec(folder, run.model_copy(update={"threads": 1}))
    assert main(["parity", str(folder)]) == 0  # the API has a thread of its own
    assert (folder / PARITY_FILE).is_file()
    job = await store.jobs.update(job.id, run_folder=str(folder))
    await Finisher(SystemClock(), load({})).succeed(store, job, Observed())


async def test_merged_and_served_are_compared_and_what_came_of_it_is_kept(
    house: House,
    store: Store,
    town: Town,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOPHIA_MODEL_TOKEN", MODEL_KEY)  # what a launcher gives such a run
    await known(store, town)
    await serve(store, engine.port)
    job = await call(house, "models.parity", model=NAME, held_out=0)
    again = await call(house, "models.parity", model=NAME, held_out=0)
    assert (again.id, job.queue or "evaluation", job.model) == (job.id, "evaluation", NAME)
    await worked(store, job.id, tmp_path / "run")

    check = await store.checks.newest(NAME, CheckKind.PARITY)
    assert check is not None and (check.id, check.report["reasons"]) == (job.id, [])
    assert (check.passed, check.created_by) == (True, "maria")
    view: ParityView = await call(house, "models.alike", model=NAME)
    assert (view.verdict, view.exit_code(), view.check) == ("passed", 0, job.id)
    _arithmetic, merged, served = view.forms
    assert [each.kind for each in view.forms] == ["arithmetic", "merged", "served"]
    assert merged.mean_difference is not None and merged.mean_difference < merged.bound
    assert (served.name, served.engine, served.mean_difference) == (NAME, "transformers", None)
    assert served.alike == served.prompts == view.prompts > 8
    [note] = view.notes
    assert "greedy tokens alone" in note and NAME in note
    # asked by its merged name, the newest check of what it was made of counts
    assert (await call(house, "models.alike", model=f"{NAME}-merged")).check == job.id


async def test_a_served_name_that_is_gone_when_it_is_asked_fails_the_check_and_says_so(
    house: House,
    store: Store,
    town: Town,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOPHIA_MODEL_TOKEN", MODEL_KEY)
    await known(store, town)
    await serve(store, engine.port)
    job = await call(house, "models.parity", model=NAME, served=NAME, held_out=0)
    await store.deployments.update("deployment-1", state="stopped")
    await worked(store, job.id, tmp_path / "run")
    check = await store.checks.newest(NAME, CheckKind.PARITY)
    assert check is not None and not check.passed
    [reason] = check.report["reasons"]
    assert reason == {
        "code": "SOPHIA-M572",
        "what": f"{NAME}: It is not served under that name (HTTP 404).",
    }
    view = await call(house, "models.alike", model=NAME)
    assert (view.verdict, view.exit_code()) == ("failed", 1)
    assert engine.asked == []
    models = {each.id: each.state.value for each in await store.models.page()}
    assert set(models.values()) == {"candidate"}  # people decide on states


async def test_files_that_changed_since_make_a_check_void(
    house: House, store: Store, town: Town, tmp_path: Path
) -> None:
    import shutil

    own = Town(town.base, town.adapter, tmp_path / "made" / "merged")
    shutil.copytree(town.merged.parent, own.merged.parent)
    await known(store, own)
    job = await call(house, "models.parity", model=NAME, held_out=0)
    await worked(store, job.id, tmp_path / "run")
    view = await call(house, "models.alike", model=NAME)
    assert view.verdict == "passed" and not any(each.changed for each in view.forms)
    tensors = own.merged / "model.safetensors"
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    view = await call(house, "models.alike", model=NAME)
    assert [each.name for each in view.forms if each.changed] == [f"{NAME}-merged"]
    assert "counts no more" in view.notes[0]


async def test_what_can_not_be_compared_is_refused_and_nothing_is_queued(
    house: House, store: Store, town: Town
) -> None:
    await known(store, town, merged=False)
    await store.models.add(model_row("other", town.base, ModelKind.BASE))
    await store.deployments.add(replace(deployment(1), model_id="other", name="other"))

    async def refused(**request: Any) -> str:
        with pytest.raises(SophiaError) as caught:
            await call(house, "models.parity", **request)
        return caught.value.code

    assert await refused(model="nobody") == "SOPHIA-M404"
    assert await refused(model="other") == "SOPHIA-M560"
    assert await refused(model=NAME) == "SOPHIA-M563"
    assert await refused(model=NAME, served="nobody") == "SOPHIA-M561"
    assert await refused(model=NAME, served="other") == "SOPHIA-M562"
    with pytest.raises(SophiaError) as caught:
        await call(house, "models.alike", model=NAME)
    assert caught.value.code == "SOPHIA-M564"
    assert await store.jobs.page() == []


def test_only_a_run_that_asks_served_models_gets_their_key(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data")
    launcher = LocalLauncher(paths, load({"SOPHIA_MODEL_TOKEN": "a-key", "FINETUNE_TOKEN": "own"}))
    target = {"name": "x", "kind": "served", "path": "/x", "address": "http://127.0.0.1:1/v1"}
    for kind, given in (("served", "a-key"), ("merged", None)):
        folder = tmp_path / kind
        folder.mkdir()
        parity = {"targets": [{**target, "kind": kind}]}
        spec = {"job_id": "x", "kind": "parity", "base": "/b", "parity": parity}
        write_run_spec(folder, RunSpec.model_validate(spec))
        assert launcher.environment(folder).get("SOPHIA_MODEL_TOKEN") == given


def test_a_key_that_was_made_later_is_found(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "data")
    launcher = LocalLauncher(paths, load({}))
    assert launcher._model_key() is None
    paths.model_token.parent.mkdir(parents=True)
    paths.model_token.write_text("made-later\n")
    assert launcher._model_key() == "made-later"


def test_every_reason_has_a_code_of_its_own() -> None:
    from typing import get_args

    from finetune.parity_documents import ParityCode

    assert set(REASONS) == set(get_args(ParityCode))
    codes = [code for code, _what in REASONS.values()]
    assert len(set(codes)) == len(codes)
