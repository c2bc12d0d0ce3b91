"""Exports as people ask for them: what is queued, what is refused, what model comes of it."""

import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import main
from finetune.schema import EXPORTED_FOLDER, MERGED_FOLDER, RunSpec, write_run_spec
from sophia_tui.domain.jobs import JobKind
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError
from sophia_tui.services import export, room
from sophia_tui.settings import load
from sophia_tui.wiring import House
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed
from tests.finetune.tiny_model import build_tiny_model
from tests.integration.serving_house import house_on, model_row
from tests.integration.test_serving import call, merge_run
from tests.integration.worker_house import SystemClock

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
async def house(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    async def nobody() -> None:
        """No worker: the test plays it."""

    found = house_on(store_url, tmp_path)
    monkeypatch.setattr(found, "wake", nobody)
    yield found
    await found.close()


async def refused(house: House, **request: Any) -> SophiaError:
    with pytest.raises(SophiaError) as caught:
        await call(house, "models.export", **request)
    return caught.value


async def queued(store: Store, job_id: str, folder: Path) -> Any:
    """The job with a run folder, as a worker makes it."""
    job = await store.jobs.update(job_id, run_folder=str(folder))
    folder.mkdir()
    write_run_spec(folder, RunSpec.model_validate(job.request["run"]))
    return job


async def test_an_export_is_queued_once_and_makes_a_model_of_one_file(
    house: House, store: Store, tiny: Path, tmp_path: Path
) -> None:
    merged = merge_run(tmp_path / "merge")
    shutil.copytree(tiny, merged, dirs_exist_ok=True)
    size = (merged / "config.json").stat().st_size
    manifest = tmp_path / "merge" / "manifest.json"
    told = json.loads(manifest.read_text())
    told["merged_files"]["config.json"]["bytes"] = size
    manifest.write_text(json.dumps(told))
    await store.models.add(model_row("sophia-v1", tmp_path, ModelKind.ADAPTER))
    row = replace(model_row("sophia-v1-merged", merged, ModelKind.MERGED), parent="sophia-v1")
    await store.models.add(row)

    view = await call(house, "models.export", model="sophia-v1", quantisation="q8_0")
    assert (view.kind, view.status, view.model) == ("export", "queued", "sophia-v1-merged")
    twice = await call(house, "models.export", model="sophia-v1-merged", quantisation="q8_0")
    assert twice.id == view.id
    other = await call(house, "models.export", model="sophia-v1", quantisation="f16")
    assert other.id != view.id

    job = await queued(store, view.id, tmp_path / "run")
    assert job.kind is JobKind.EXPORT and job.needs == "merge"
    assert main(["export", str(tmp_path / "run")]) == 0
    finisher = Finisher(SystemClock(), load({}))
    await finisher.succeed(store, job, Observed())
    model = await store.models.get("sophia-v1-q8_0")
    assert model is not None and model.kind is ModelKind.EXPORTED
    file = tmp_path / "run" / EXPORTED_FOLDER / "sophia-v1-q8_0.gguf"
    assert (model.path, model.parent) == (str(file), "sophia-v1-merged")
    assert model.files is not None
    assert model.files[file.name]["bytes"] == file.stat().st_size
    assert model.template_fingerprint
    problem = await refused(house, model="sophia-v1", quantisation="q8_0")
    assert problem.code == "SOPHIA-M526" and str(file) in problem.why

    await call(house, "models.delete", model="sophia-v1-q8_0")
    assert not file.exists()
    again = await call(house, "models.export", model="sophia-v1", quantisation="q8_0")
    job = await queued(store, again.id, tmp_path / "again")
    assert main(["export", str(tmp_path / "again")]) == 0
    await finisher.succeed(store, job, Observed())  # the name of one that was deleted
    model = await store.models.get("sophia-v1-q8_0")
    assert model is not None and "again" in str(model.path)


async def test_an_adapter_alone_is_exported_on_its_base(
    house: House, store: Store, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    await store.models.add(model_row("sophia-v1", tmp_path, ModelKind.ADAPTER))
    view = await call(house, "models.export", model="sophia-v1", adapter=True)
    job = await store.jobs.get(view.id)
    assert job is not None
    assert job.request["makes"] == "sophia-v1-adapter-f16"
    assert job.request["run"]["adapter_path"] == str(tmp_path)
    problem = await refused(house, model="sophia-v1", adapter=True, quantisation="q4_0")
    assert problem.code == "SOPHIA-M522"


async def test_what_can_not_be_exported_is_refused_with_what_helps(
    house: House, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    await store.models.add(model_row("sophia-v1", tmp_path, ModelKind.ADAPTER))
    await store.models.add(model_row("gpt-x", tmp_path, ModelKind.HOSTED))
    await store.models.add(model_row("gone-merged", tmp_path / MERGED_FOLDER, ModelKind.MERGED))
    problem = await refused(house, model="sophia-v1")
    assert problem.code == "SOPHIA-M523" and "models merge sophia-v1" in problem.remedy
    assert (await refused(house, model="gpt-x")).code == "SOPHIA-M521"
    assert (await refused(house, model="gone-merged")).code == "SOPHIA-M524"
    assert (await refused(house, model="nobody")).code == "SOPHIA-M404"


async def test_room_on_the_disk_is_looked_at_before_a_job_is_queued(
    house: House, store: Store, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    adapter = replace(model_row("sophia-v1", tmp_path, ModelKind.ADAPTER), base=str(tiny))
    await store.models.add(adapter)
    await store.models.add(model_row("tiny", tiny, ModelKind.BASE))
    weights = room.bytes_of_weights(str(tiny), 16)
    free = type("Free", (), {"free": weights + room._SPARE - 1})
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: free)
    for operation, model in (("models.merge", "sophia-v1"), ("models.export", "tiny")):
        with pytest.raises(SophiaError) as caught:
            await call(house, operation, model=model)
        assert caught.value.code == "SOPHIA-M520"
        assert "SOPHIA_DATA_DIR" in caught.value.remedy
        assert caught.value.details["free_bytes"] == free.free
    assert await store.jobs.page() == []
    free.free += 1
    await call(house, "models.export", model="tiny")


async def test_k_types_need_llama_cpp(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.models.add(model_row("tiny", tiny, ModelKind.BASE))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name != "xllamacpp" or None)
    monkeypatch.setattr(export.shutil, "which", lambda _name: None)
    problem = await refused(house, model="tiny", quantisation="q4_k_m")
    assert problem.code == "SOPHIA-M527" and "llama-quantize" in problem.why
