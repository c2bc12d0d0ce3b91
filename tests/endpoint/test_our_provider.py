"""Our provider for hosted services against our own endpoint: each is the other's judge."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sophia_tui.domain.hosted import HostedJob, HostedOrder
from sophia_tui.errors import JobError, NotFoundError
from sophia_tui.providers.openai_jobs import OpenAITrainer
from tests.endpoint.conftest import ADMIN, chats

pytestmark = pytest.mark.long


@pytest.fixture
async def trainer(address: str) -> AsyncIterator[OpenAITrainer]:
    opened = OpenAITrainer(address, ADMIN)
    yield opened
    await opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(chats())
    return path


def ordered(file: Path, base: Path, training_file: str) -> HostedOrder:
    return HostedOrder(
        base=str(base),
        base_url=None,
        dataset_hash="0" * 64,
        training=str(file),
        training_file=training_file,
        n_epochs=1,
        seed=7,
        suffix="rooms",
    )


async def ended(trainer: OpenAITrainer, job_id: str) -> HostedJob:
    async with asyncio.timeout(150):
        while (job := await trainer.show(job_id)).ended is None:
            await asyncio.sleep(0.5)
    return job


async def test_a_jobs_whole_life(trainer: OpenAITrainer, file: Path, base: Path) -> None:
    await trainer.knock()
    trainer.single_bytes, trainer.part_bytes = 1000, 900
    sent = await trainer.upload(file, "ftjob-x-train.jsonl")
    assert sent.bytes == file.stat().st_size
    assert (await trainer.file(sent.id)).name == "ftjob-x-train.jsonl"
    order = ordered(file, base, sent.id)
    created = await trainer.create(order, "ftjob-ours")
    assert [each.id for each in await trainer.find(order, "ftjob-ours")] == [created.id]
    job = await ended(trainer, created.id)
    assert (job.ended, job.order_id) == ("succeeded", "ftjob-ours"), job.failure
    assert job.model and job.trained_tokens
    events = await trainer.events(job.id, ())
    assert len({each.id for each in events}) == len(events)
    assert any("loss" in json.dumps(each.data) for each in events)
    kept = await trainer.checkpoints(job.id)
    assert kept and kept[-1].metrics.keys() >= {"train_loss"}
    await trainer.delete_file(sent.id)
    with pytest.raises(NotFoundError):
        await trainer.file(sent.id)
    await trainer.delete_model(job.model)
    with pytest.raises(NotFoundError):
        await trainer.model(job.model)


async def test_what_is_wrong_is_refused_in_the_protocols_words(
    trainer: OpenAITrainer, file: Path, base: Path
) -> None:
    with pytest.raises(JobError) as caught:
        await trainer.create(ordered(file, base, "file-nowhere"), "ftjob-ours")
    assert caught.value.code == "SOPHIA-J521" and caught.value.details["provider_code"]
    with pytest.raises(NotFoundError):
        await trainer.show("ftjob-nowhere")
