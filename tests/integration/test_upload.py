"""Uploads as people ask for them: what is listed, what is refused, and what the run is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.schema import RunSpec, write_run_spec
from sophia_tui.domain.jobs import JobKind
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import SophiaError
from sophia_tui.providers.local import LocalLauncher
from sophia_tui.wiring import House
from tests.integration.serving_house import house_on, model_row
from tests.integration.test_serving import call, context

TOKEN = "hf_a-token-of-these-tests"


@pytest.fixture
async def house(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    async def nobody() -> None:
        """No worker: the test plays it."""

    found = house_on(store_url, tmp_path, HUGGINGFACE_TOKEN=TOKEN)
    monkeypatch.setattr(found, "wake", nobody)
    yield found
    await found.close()


@pytest.fixture
async def adapter(store: Store, tmp_path: Path) -> Path:
    """An adapter among what else its run left."""
    folder = tmp_path / "run" / "adapter"
    folder.mkdir(parents=True)
    for name in ("adapter_config.json", "adapter_model.safetensors", "prompt_form.json"):
        (folder / name).write_text("{}")
    (folder / "optimizer.bin").write_text("no part of the model")
    row = model_row("sophia-v1", folder, ModelKind.ADAPTER)
    await store.models.add(replace(row, dataset=None))
    return folder


async def refused(house: House, confirmed: bool = True, **request: Any) -> SophiaError:
    who = replace(context(), confirmed=confirmed)
    with pytest.raises(SophiaError) as caught:
        await call(house, "models.upload", context=who, **request)
    return caught.value


async def test_what_is_sent_is_listed_and_nothing_is_queued_before_a_yes(
    house: House, store: Store, adapter: Path
) -> None:
    question = await refused(house, confirmed=False, model="sophia-v1", to="ana/towns")
    assert question.code == "SOPHIA-M535"
    for name in ("adapter_model.safetensors", "prompt_form.json", "ana/towns", "huggingface.co"):
        assert name in question.what
    assert "optimizer" not in question.what and "private" in question.what
    public = await refused(house, confirmed=False, model="sophia-v1", to="ana/towns", public=True)
    assert "anybody" in public.what
    assert await store.jobs.page() == []


async def test_a_confirmed_upload_is_a_job_with_the_listed_files_and_no_token(
    house: House, store: Store, adapter: Path, tmp_path: Path
) -> None:
    view = await call(house, "models.upload", model="sophia-v1", to="ana/towns")
    assert (view.kind, view.status, view.model) == ("upload", "queued", "sophia-v1")
    again = await call(house, "models.upload", model="sophia-v1", to="ana/towns")
    assert again.id == view.id
    job = await store.jobs.get(view.id)
    assert job is not None and job.kind is JobKind.UPLOAD
    assert TOKEN not in str(job.request)
    run = RunSpec.model_validate(job.request["run"])
    assert run.upload is not None and run.upload.private
    assert set(run.upload.files) == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "prompt_form.json",
    }
    folder = tmp_path / "job"
    folder.mkdir()
    write_run_spec(folder, run)
    assert LocalLauncher(house.paths, house.settings).environment(folder)["HF_TOKEN"] == TOKEN


async def test_a_model_that_learnt_from_personal_data_stays_here(
    house: House, store: Store, adapter: Path
) -> None:
    await store.models.update("sophia-v1", dataset="gone@0123456789ab")
    problem = await refused(house, model="sophia-v1", to="ana/towns")
    assert problem.code == "SOPHIA-M533" and problem.exit_code == 3


async def test_without_a_token_or_files_it_is_refused(
    store_url: str, store: Store, adapter: Path, house: House, tmp_path: Path
) -> None:
    bare = house_on(store_url, tmp_path)
    assert (await refused(bare, model="sophia-v1", to="ana/towns")).code == "SOPHIA-M534"
    await bare.close()
    (adapter / "adapter_model.safetensors").unlink()
    assert (await refused(house, model="sophia-v1", to="ana/towns")).code == "SOPHIA-M532"
    assert (await refused(house, model="sophia-v1", to="no slash")).code == "SOPHIA-U422"
