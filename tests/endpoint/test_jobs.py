"""The whole life of a job by the official openai client, against our own endpoint."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.endpoint.conftest import ADMIN, chats, preferences


def until(client: openai.OpenAI, job_id: str, true: Callable[[FineTuningJob], bool]) -> Any:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if true(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"the job stays {job.status}: {job.error}")


def upload(client: openai.OpenAI, content: bytes, name: str = "rooms.jsonl") -> str:
    return client.files.create(file=(name, content), purpose="fine-tune").id


def test_the_whole_life_of_a_job(
    client: openai.OpenAI, address: str, base: Path, reachable: Path
) -> None:
    sent = client.files.create(file=("rooms.jsonl", chats(40)), purpose="fine-tune")
    assert client.files.wait_for_processing(sent.id).status == "processed"
    held_out = upload(client, chats(8, first=40), "more-rooms.jsonl")

    job = client.fine_tuning.jobs.create(
        model=str(base),
        training_file=sent.id,
        validation_file=held_out,
        suffix="Concierge 1",
        seed=5,
        metadata={"team": "desk"},
        method={
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 12,
                    "batch_size": 4,
                    "learning_rate_multiplier": 2.5,
                }
            },
        },
    )
    assert job.id.startswith("ftjob-") and job.object == "fine_tuning.job"
    assert job.status in ("queued", "running") and job.organization_id
    assert (job.training_file, job.validation_file) == (sent.id, held_out)
    assert (job.seed, job.metadata) == (5, {"team": "desk"})
    assert job.hyperparameters.n_epochs == 12 and job.hyperparameters.batch_size == 4
    assert job.hyperparameters.learning_rate_multiplier == 2.5
    assert job.method and job.method.type == "supervised" and job.method.supervised
    assert job.error is None and job.fine_tuned_model is None and job.finished_at is None

    until(client, job.id, lambda each: bool(_metrics(client, each.id)))
    paused = client.fine_tuning.jobs.pause(job.id)
    assert paused.status in ("pausing", "paused")
    until(client, job.id, lambda each: each.status == "paused")
    [newest, *_others] = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert newest.fine_tuning_job_id == job.id and newest.step_number >= 1
    assert client.fine_tuning.jobs.resume(job.id).status in ("queued", "running")

    done = until(client, job.id, lambda each: each.status in ("succeeded", "failed"))
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model == "sophia-concierge-1-v1"
    assert done.trained_tokens and done.finished_at >= done.created_at
    told = list(client.fine_tuning.jobs.list_events(job.id, limit=7))
    assert told[0].message == "New fine-tuned model created: sophia-concierge-1-v1"
    assert told[-1].message == f"Created fine-tuning job: {job.id}"
    assert len({each.id for each in told}) == len(told) > 14
    metrics = [each.data for each in told if each.type == "metrics"]
    assert any("train_loss" in each for each in metrics)  # type: ignore[operator]
    assert any("valid_loss" in each for each in metrics)  # type: ignore[operator]
    [line] = (reachable / "finetune" / "history.jsonl").read_text().splitlines()
    assert job.id in line and done.fine_tuned_model in line

    listed = list(client.fine_tuning.jobs.list(limit=1))
    assert [each.id for each in listed] == [job.id]

    _delete_the_model(client, address, done.fine_tuned_model)


def _metrics(client: openai.OpenAI, job_id: str) -> list[Any]:
    told = client.fine_tuning.jobs.list_events(job_id, limit=100).data
    return [each for each in told if each.type == "metrics"]


def _delete_the_model(client: openai.OpenAI, address: str, name: str) -> None:
    """It takes the owner's token, and is done once."""
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete(name)
    owner = openai.OpenAI(base_url=address, api_key=ADMIN, max_retries=0)
    assert owner.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        owner.models.delete(name)
    assert gone.value.code == "model_not_found"


def test_preferences_are_trained(client: openai.OpenAI, base: Path) -> None:
    parameters = {"n_epochs": 1, "batch_size": 4, "beta": 0.3}
    job = client.fine_tuning.jobs.create(
        model=str(base),
        training_file=upload(client, preferences(12), "better.jsonl"),
        method={"type": "dpo", "dpo": {"hyperparameters": parameters}},  # type: ignore[typeddict-item]
    )
    assert job.method and job.method.type == "dpo"
    done = until(client, job.id, lambda each: each.status in ("succeeded", "failed"))
    assert done.status == "succeeded" and done.fine_tuned_model, done.error
