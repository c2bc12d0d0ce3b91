"""Keys that expire, accounts without quota, doors that are closed: the job says so and is not lost;
and what it has cost in the end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sophia_tui.domain.jobs import Job
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.errors import ConflictError, SophiaError, UnconfirmedError
from sophia_tui.services.jobs import ResumeRequest
from sophia_tui.services.train import TrainRequest
from sophia_tui.services.views import JobReference
from tests.hosted.conftest import CONTEXT, Bench
from tests.hosted.provider import KEY, Provider, Refusal, error

QUOTA = error(429, "You exceeded your current quota", "insufficient_quota")
CLOSED = error(403, "Fine-tuning is no longer available", "training_not_available")


async def running(bench: Bench, provider: Provider) -> Job:
    """A job that the provider has, and that stands still there."""
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    return await bench.until(asked.id, lambda job: job.provider_job_id is not None)


async def states(bench: Bench, job: Job) -> list[str]:
    events = await bench.store.jobs.events(job.id)
    assert [each.number for each in events] == list(range(1, len(events) + 1))
    return [each.data["state"] for each in events if each.kind == "state"]


def held(code: str) -> Any:
    return lambda job: job.state == "paused" and (job.error or {}).get("code") == f"SOPHIA-{code}"


# --- a key that expires ---


@pytest.mark.parametrize("status", [401, 403])
async def test_an_expired_key_pauses_a_running_job_and_it_goes_on_by_itself(
    bench: Bench, provider: Provider, status: int
) -> None:
    job = await running(bench, provider)
    provider.faults["show"] = [error(status, "Key revoked")] * 5
    paused = await bench.until(job.id, held("J525"))
    assert "Key revoked" in (paused.error or {})["why"]
    assert "OPENAI_API_KEY" in (paused.error or {})["remedy"]
    assert await bench.keeper.round(bench.store) is False  # no worker is kept alive for it
    provider.held.clear()
    done = await bench.rounds_until(job.id, "succeeded")
    assert done.error is None and provider.count("create") == 1
    told = await states(bench, job)
    assert told.count("paused") == 1
    assert told[told.index("paused") :] == ["paused", "validating", "running", "succeeded"]


async def test_people_are_told_once_that_a_job_waits_for_its_key(
    bench: Bench, provider: Provider
) -> None:
    hook = SecretStr("http://127.0.0.1:1/hook")
    bench.settings = bench.settings.model_copy(update={"webhook_url": hook})
    bench.become("worker-2")
    job = await running(bench, provider)
    provider.faults["show"] = [error(401, "Key revoked")] * 3
    await bench.until(job.id, held("J525"))
    await bench.until(job.id, lambda job: not provider.faults["show"] and job.error is None)
    [told] = await bench.store.notifications.take(10, 60)
    assert told.body["status"] == "paused" and told.body["error"]["code"] == "SOPHIA-J525"


async def test_a_key_that_was_mended_is_used_at_once_by_resume(
    bench: Bench, provider: Provider
) -> None:
    job = await running(bench, provider)
    provider.key = "sk-another"
    await bench.until(job.id, held("J525"))
    watch = bench.keeper._watches[job.id]
    assert watch.task is not None
    await watch.task
    watch.due = float("inf")  # the next look by itself is far away
    provider.key = KEY
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    gone_on = await bench.until(job.id, lambda job: job.state != "paused" and job.wanted is None)
    assert gone_on.wanted is None and gone_on.error is None


@pytest.mark.parametrize("route", ["upload", "create"])
async def test_a_wrong_key_while_it_is_handed_over_pauses_it(
    bench: Bench, provider: Provider, route: str
) -> None:
    provider.faults[route] = [error(401, "Incorrect API key")] * 2
    await bench.prepare()
    asked = await bench.start()
    paused = await bench.until(asked.id, held("J525"))
    assert paused.provider_job_id is None
    done = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert done.state == "succeeded" and len(provider.jobs) == 1
    assert await states(bench, done) != []


async def test_a_wrong_key_is_told_when_the_job_is_asked_for(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    provider.key = "sk-another"
    with pytest.raises(SophiaError) as caught:
        await bench.start()
    assert caught.value.code == "SOPHIA-J525"
    assert await bench.store.jobs.page() == []


async def test_a_held_job_can_be_cancelled(bench: Bench, provider: Provider) -> None:
    job = await running(bench, provider)
    provider.faults["show"] = [error(401, "Key revoked")]
    await bench.until(job.id, held("J525"))
    await bench.jobs.cancel(CONTEXT, JobReference(job=job.id))
    done = await bench.rounds_until(job.id, "cancelled")
    assert provider.jobs[str(done.provider_job_id)]["status"] == "cancelled"


# --- an account without quota ---


@pytest.mark.parametrize("route", ["upload", "create"])
async def test_without_quota_it_is_paused_and_not_tried_again_until_somebody_resumes_it(
    bench: Bench, provider: Provider, route: str
) -> None:
    provider.faults[route] = [QUOTA] * 1
    await bench.prepare()
    asked = await bench.start()
    paused = await bench.until(asked.id, held("J522"))
    assert "waiting does not help" in (paused.error or {})["remedy"]
    before = provider.count(route)
    for _each in range(20):
        assert await bench.keeper.round(bench.store) is False
    assert provider.count(route) == before
    await bench.jobs.resume(CONTEXT, ResumeRequest(job=asked.id))
    done = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert done.state == "succeeded" and len(provider.jobs) == 1


# --- a closed door ---


async def test_a_closed_door_is_told_before_anything_is_queued(
    bench: Bench, provider: Provider
) -> None:
    version = await bench.prepare()
    provider.faults["list"] = [CLOSED]
    with pytest.raises(SophiaError) as caught:
        await bench.start()
    assert caught.value.code == "SOPHIA-J523"
    assert f"sophia train start {version} --provider local" in caught.value.remedy
    assert await bench.store.jobs.page() == [] and provider.count("upload") == 0


async def test_a_door_that_closed_since_is_told_before_a_byte_is_sent(
    bench: Bench, provider: Provider
) -> None:
    version = await bench.prepare()
    asked = await bench.start()
    provider.faults["list"] = [CLOSED]
    job = await bench.rounds_until(asked.id, "failed")
    assert (job.error or {})["code"] == "SOPHIA-J523"
    assert f"sophia train start {version} --provider local" in (job.error or {})["remedy"]
    assert provider.count("upload") == 0


async def test_a_create_that_finds_the_door_closed_offers_to_train_here(
    bench: Bench, provider: Provider
) -> None:
    version = await bench.prepare()
    provider.faults["create"] = [CLOSED]
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    assert (job.error or {})["code"] == "SOPHIA-J523"
    assert f"sophia train start {version} --provider local" in (job.error or {})["remedy"]
    assert provider.count("create") == 1


@pytest.mark.parametrize(("day", "refused"), [("2020-01-01", True), ("2099-01-01", False)])
async def test_a_base_says_its_own_last_day(
    bench: Bench, provider: Provider, day: str, refused: bool
) -> None:
    await bench.prepare()
    provider.models["some-base"] = {"id": "some-base", "shutdown_date": day}
    if not refused:
        asked = await bench.start(base="some-base", provider="openai")
        assert any(day in each for each in asked.warnings)
        return
    with pytest.raises(SophiaError) as caught:
        await bench.start(base="some-base", provider="openai")
    assert caught.value.code == "SOPHIA-J515" and day in caught.value.why
    assert await bench.store.jobs.page() == []


@pytest.mark.parametrize("answer", [error(500, "down"), "<html></html>", Refusal(400, {})])
async def test_a_door_that_does_not_answer_keeps_nobody_out(
    bench: Bench, provider: Provider, answer: Any
) -> None:
    provider.faults["list"] = [answer] * 2
    await bench.prepare()
    asked = await bench.start()
    assert (await bench.rounds_until(asked.id, "succeeded", "failed")).state == "succeeded"


# --- what it has cost, what it kept, what it refuses ---


def at_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in counts as the provider's own address, whose prices are known."""
    for module in ("services.train_hosted", "worker.hosted_told"):
        monkeypatch.setattr(f"sophia_tui.{module}.own_address", lambda url: True)


async def test_the_bill_is_trained_tokens_times_the_dated_price(
    bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_own_address(monkeypatch)
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    assert job.cost_usd == pytest.approx(12_345 * 3 / 1e6, abs=1e-4)
    result = job.result or {}
    assert result["usd"] == job.cost_usd and result["usd_per_million"] == 3.0
    assert result["price_as_of"] and result["usd_estimated"] > 0
    assert result["tokens_estimated"] > 0 and result["trained_tokens"] == 12_345


async def test_a_bill_far_from_the_estimate_is_worth_a_word(
    bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_own_address(monkeypatch)
    provider.trained_tokens = 5_000_000
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    events = await bench.store.jobs.events(job.id)
    [told] = [each for each in events if each.data.get("code") == "SOPHIA-J537"]
    assert "15.00 USD" in told.data["what"]
    view = await bench.jobs.show(CONTEXT, JobReference(job=job.id))
    assert any("15.00 USD" in each for each in view.warnings)


async def test_no_price_means_no_bill(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    assert job.cost_usd is None and "usd" not in (job.result or {})
    assert (job.result or {})["trained_tokens"] == 12_345


async def test_checkpoints_are_events_like_those_of_this_machine_and_come_once(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    events = await bench.store.jobs.events(job.id)
    kept = [each.data for each in events if each.kind == "checkpoint"]
    assert [(each["step"], each["loss"]) for each in kept] == [(1, 1.5), (2, 0.75)]
    assert kept[0]["model"] == "ft:gpt-4o-mini:ckpt-step-1"


async def test_a_server_without_checkpoints_is_enough(bench: Bench, provider: Provider) -> None:
    provider.gone = {"checkpoints"}
    await bench.prepare()
    asked = await bench.start()
    assert (await bench.rounds_until(asked.id, "succeeded", "failed")).state == "succeeded"
    assert provider.count("checkpoints") == 1


async def test_a_metric_that_is_no_number_spoils_nothing(bench: Bench, provider: Provider) -> None:
    job = await running(bench, provider)
    strange = {"step": 1, "train_loss": float("nan"), "valid_loss": 2.0, "x": float("inf")}
    provider._tell(str(job.provider_job_id), "Step 1", strange)
    provider.held.clear()
    await bench.rounds_until(job.id, "succeeded")
    events = await bench.store.jobs.events(job.id)
    [told] = [each.data for each in events if each.data.get("eval_loss") == 2.0]
    assert "loss" not in told and "x" not in told


async def test_flagged_lines_are_told_with_the_rows_they_come_from(
    bench: Bench, provider: Provider
) -> None:
    provider.statuses = ["validating_files", "failed"]
    provider.failure = {
        "code": "invalid_training_file",
        "message": "This file failed moderation safety checks. Flagged lines: 4, 13",
        "param": "training_file",
    }
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    lines = (job.error or {})["details"]["lines"]
    assert [each["line"] for each in lines] == [4, 13]
    folder = Path((await bench.store.datasets.page())[0].folder)
    sent = (folder / "train.jsonl").read_text().splitlines()
    source = (bench.paths.data / "finetune" / "questions.jsonl").read_text().splitlines()
    for each in lines:
        row = json.loads(source[each["source_line"] - 1])
        assert row["question"] == json.loads(sent[each["line"] - 1])["messages"][0]["content"]
        assert (
            f"line {each['line']} is questions.jsonl, line {each['source_line']}"
            in ((job.error or {})["why"])
        )


async def test_a_broken_price_file_does_not_undo_what_was_trained(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()

    def broken() -> Any:
        raise SophiaError("T430", "The price file can't be read.")

    bench.prices = broken
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded" and job.cost_usd is None


# --- who was faster, and whose name it is ---


async def test_a_resume_that_the_worker_saw_first_is_no_error(
    bench: Bench, provider: Provider
) -> None:
    job = await running(bench, provider)
    await bench.jobs.pause(CONTEXT, JobReference(job=job.id))
    paused = await bench.job(job.id)

    async def faster(*given: Any, **changes: Any) -> Job:
        raise ConflictError("J409", "Somebody was faster.")

    class Quick:
        """A store in which somebody is always faster."""

        jobs = type("Jobs", (), {"get": bench.store.jobs.get, "update": faster})

    shown = await bench.jobs._hands.resume(Quick(), paused)  # type: ignore[arg-type]
    assert shown.id == job.id
    assert provider.jobs[str(job.provider_job_id)]["status"] == "running"


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_providers_model_never_takes_the_name_of_another(
    bench: Bench, provider: Provider, deleted: bool
) -> None:
    """Another Sophia counts its models as we do."""
    job = await running(bench, provider)
    now = job.created_at
    await bench.store.models.add(Model("sophia-v1", ModelKind.ADAPTER, "base", now, path="/ours"))
    if deleted:
        await bench.store.models.update("sophia-v1", deleted_at=now)
    done = {"id": job.provider_job_id, "status": "succeeded", "fine_tuned_model": "sophia-v1"}
    provider.faults["show"] = [done] * 5
    ended = await bench.rounds_until(job.id, "succeeded", "failed")
    assert ended.state == "succeeded" and ended.resulting_model == "sophia-v1"
    assert "only at the provider" in (ended.result or {})["remark"]
    kept = await bench.store.models.get("sophia-v1")
    assert kept is None if deleted else (kept is not None and kept.path == "/ours")


# --- what a plan and a start say of a provider that is silent, or knows no price ---


async def test_a_plan_does_not_promise_a_start_at_a_silent_provider(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    dry = replace(CONTEXT, dry_run=True)
    request = TrainRequest(base="gpt-4o-mini")
    provider.faults["list"] = [error(503, "overloaded")] * 50
    silent = (await bench.train.start(dry, request)).plan
    assert silent is not None and silent.ready is None
    provider.faults.clear()
    unknown = (await bench.train.start(dry, request)).plan
    assert unknown is not None and unknown.ready is True
    assert any("does not know a model gpt-4o-mini" in each for each in unknown.warnings)
    provider.models["gpt-4o-mini"] = {"id": "gpt-4o-mini"}
    known = (await bench.train.start(dry, request)).plan
    assert known is not None and not any("does not know" in each for each in known.warnings)


async def test_a_cost_that_is_not_known_is_confirmed_too(bench: Bench) -> None:
    await bench.prepare()
    unasked = replace(CONTEXT, confirmed=False)
    with pytest.raises(UnconfirmedError) as caught:
        await bench.train.start(unasked, TrainRequest(base="gpt-4o-mini", accept_few=True))
    assert caught.value.code == "SOPHIA-J562" and "not known" in caught.value.what
    assert await bench.store.jobs.page() == []
    started = await bench.start()
    confirmed = (await bench.job(started.id)).request["confirmed"]
    assert (confirmed["usd"], confirmed["by"]) == (None, "maria")
