"""The provider's door, files and models, asked for by people: listed, and deleted only where
nothing needs them any more."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sophia_tui.domain.models import Model, ModelKind, Promotion, PromotionState
from sophia_tui.domain.operations import NoInput
from sophia_tui.domain.promotions import Outside
from sophia_tui.errors import NotFoundError, RefusedError, UsageError
from sophia_tui.services.checkpoints import CheckpointsService
from sophia_tui.services.models import ModelReference
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_views import PromoteRun
from sophia_tui.services.provider import FileReference, ProviderInput, ProviderService
from sophia_tui.services.views import JobReference
from sophia_tui.settings import load
from tests.hosted.conftest import CONTEXT, Bench
from tests.hosted.provider import Provider, error
from tests.integration.worker_house import SystemClock


@pytest.fixture
async def service(bench: Bench) -> AsyncIterator[ProviderService]:
    yield ProviderService(
        bench.store, bench.settings, bench.house.trainer, bench.prices, SystemClock()
    )


async def trained(bench: Bench) -> str:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    return str(job.resulting_model)


async def test_a_model_is_deleted_at_its_provider_and_its_lineage_stays(
    bench: Bench, provider: Provider, service: ProviderService
) -> None:
    name = await trained(bench)
    foretold = await service.delete(replace(CONTEXT, dry_run=True), ModelReference(model=name))
    assert not foretold.deleted and name in provider.models
    done = await service.delete(CONTEXT, ModelReference(model=name))
    assert done.deleted and done.job and done.dataset
    assert name not in provider.models
    assert await bench.store.models.get(name) is None
    job = await bench.job(done.job)
    assert job.resulting_model == name


async def test_a_model_that_is_gone_there_already_goes_here_as_well(
    bench: Bench, provider: Provider, service: ProviderService
) -> None:
    name = await trained(bench)
    provider.models.clear()
    assert (await service.delete(CONTEXT, ModelReference(model=name))).deleted


async def test_a_deleted_model_is_not_promoted(
    bench: Bench, provider: Provider, service: ProviderService, tmp_path: Path
) -> None:
    name = await trained(bench)
    await service.delete(CONTEXT, ModelReference(model=name))
    (tmp_path / "rag.env").write_text("GEN_MODEL=old\n")

    async def nobody(*_given: object) -> None:
        raise AssertionError("not asked for")

    promote = PromoteService(
        bench.store,
        bench.settings,
        bench.paths,
        SystemClock(),
        Outside(nobody, nobody, nobody),
        bench.prices,
    )
    with pytest.raises(NotFoundError):
        await promote.run(
            CONTEXT, PromoteRun(model=name, env_file=[str(tmp_path / "rag.env")], probe=False)
        )
    assert (tmp_path / "rag.env").read_text() == "GEN_MODEL=old\n"


@pytest.mark.parametrize("side", ["after", "before"])
async def test_what_is_in_production_or_a_way_back_stays(
    bench: Bench, provider: Provider, service: ProviderService, side: str
) -> None:
    name = await trained(bench)
    model, previous = (name, "gpt-4o-mini") if side == "after" else ("gpt-4o-mini", name)
    now = SystemClock().now()
    promotion = Promotion("promo-1", model, previous, PromotionState.DONE, (), "maria", now)
    await bench.store.promotions.add(promotion)
    with pytest.raises(RefusedError) as caught:
        await service.delete(CONTEXT, ModelReference(model=name))
    assert caught.value.code == "SOPHIA-J542" and "promo-1" in caught.value.why
    assert name in provider.models
    await bench.store.promotions.update("promo-1", state=PromotionState.ROLLED_BACK)
    await service.delete(CONTEXT, ModelReference(model=name))
    assert name not in provider.models


async def test_a_model_that_an_env_file_names_stays(
    bench: Bench, provider: Provider, tmp_path: Path
) -> None:
    name = await trained(bench)
    (tmp_path / "rag.env").write_text(f"EXPANSION_MODEL={name}\n")
    settings = bench.settings.model_copy(update={"managed_env_files": str(tmp_path / "rag.env")})
    service = ProviderService(
        bench.store, settings, bench.house.trainer, bench.prices, SystemClock()
    )
    with pytest.raises(RefusedError) as caught:
        await service.delete(CONTEXT, ModelReference(model=name))
    assert caught.value.code == "SOPHIA-J542" and "EXPANSION_MODEL" in caught.value.why
    assert name in provider.models


async def test_a_model_that_a_job_trains_on_stays(
    bench: Bench, provider: Provider, service: ProviderService
) -> None:
    name = await trained(bench)
    provider.held.set()
    asked = await bench.start(base=name)
    with pytest.raises(RefusedError) as caught:
        await service.delete(CONTEXT, ModelReference(model=name))
    assert asked.id in caught.value.why and name in provider.models


async def test_a_model_of_this_machine_is_not_the_providers(
    bench: Bench, service: ProviderService
) -> None:
    now = SystemClock().now()
    await bench.store.models.add(Model("sophia-v9", ModelKind.ADAPTER, "base", now, path="/x"))
    with pytest.raises(RefusedError) as caught:
        await service.delete(CONTEXT, ModelReference(model="sophia-v9"))
    assert caught.value.code == "SOPHIA-J541"
    with pytest.raises(NotFoundError):
        await service.delete(CONTEXT, ModelReference(model="nobody"))


async def test_files_are_listed_with_their_jobs_and_removed_once_these_have_ended(
    bench: Bench, provider: Provider, service: ProviderService
) -> None:
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    job = await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    listed = (await service.files(CONTEXT, NoInput())).items
    assert [each.jobs for each in listed] == [[job.id], [job.id]]
    assert listed[0].name.startswith(job.id) and listed[0].bytes
    with pytest.raises(RefusedError) as caught:
        await service.remove(CONTEXT, FileReference(file=listed[0].id))
    assert caught.value.code == "SOPHIA-J540" and job.id in caught.value.why
    provider.held.clear()
    await bench.rounds_until(asked.id, "succeeded")
    foretold = await service.remove(
        replace(CONTEXT, dry_run=True), FileReference(file=listed[0].id)
    )
    assert foretold.status != "deleted" and listed[0].id in provider.files
    gone = await service.remove(CONTEXT, FileReference(file=listed[0].id))
    assert gone.status == "deleted" and listed[0].id not in provider.files
    with pytest.raises(NotFoundError):
        await service.remove(CONTEXT, FileReference(file=listed[0].id))


async def test_the_door_says_whether_it_is_open(
    bench: Bench, provider: Provider, service: ProviderService
) -> None:
    provider.models["some-base"] = {"id": "some-base", "shutdown_date": "2099-01-14"}
    view = await service.check(CONTEXT, ProviderInput(base="some-base"))
    assert (view.training, view.problem, view.exit_code()) == ("accepting", None, 0)
    assert "2099-01-14" in view.warnings[0]
    provider.faults["list"] = [error(403, "closed", "training_not_available")]
    view = await service.check(CONTEXT, ProviderInput(base="some-base"))
    assert view.training == "closed" and view.problem is not None
    provider.key = "sk-another"
    view = await service.check(CONTEXT, ProviderInput(base="some-base"))
    assert view.training == "unknown" and view.problem is not None
    assert (view.problem["code"], view.exit_code()) == ("SOPHIA-J525", 3)


async def test_without_a_provider_there_is_nobody_to_ask(bench: Bench) -> None:
    service = ProviderService(
        bench.store, load({}), bench.house.trainer, bench.prices, SystemClock()
    )
    with pytest.raises(UsageError) as caught:
        await service.check(CONTEXT, ProviderInput())
    assert caught.value.code == "SOPHIA-J510"


async def test_checkpoints_of_a_hosted_job_are_listed_with_their_losses(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    await bench.rounds_until(asked.id, "succeeded")
    listed = await CheckpointsService(bench.store).list(CONTEXT, JobReference(job=asked.id))
    assert [(each.step, each.loss, each.where) for each in listed.items] == [
        (1, 1.5, "ft:gpt-4o-mini:ckpt-step-1"),
        (2, 0.75, "ft:gpt-4o-mini:ckpt-step-2"),
    ]
