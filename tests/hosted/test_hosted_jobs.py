"""Whole jobs at a provider: handed over once, followed, cancelled, paused, ended; and what is held
against a training before a byte leaves the machine."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.hosted import HostedCheckpoint, HostedEvent
from sophia_tui.domain.jobs import Claimer, JobState
from sophia_tui.domain.models import ModelKind
from sophia_tui.domain.promotions import Outside
from sophia_tui.errors import ConflictError, RefusedError, SophiaError, UsageError
from sophia_tui.i18n import speaking
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.services.evaluate import EvaluateRequest, EvaluateService
from sophia_tui.services.jobs import ResumeRequest, WatchRequest
from sophia_tui.services.models import ModelReference, ModelsService
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.services.prices import load_prices
from sophia_tui.services.promote import PromoteService
from sophia_tui.services.promotion_views import PromoteRun
from sophia_tui.services.train import is_hosted
from sophia_tui.services.views import JobReference, JobView
from sophia_tui.settings import load
from sophia_tui.worker.hosted_told import in_order
from tests.hosted.conftest import CONTEXT, Bench
from tests.hosted.provider import KEY, Provider, Refusal, drop, error
from tests.integration.worker_house import SystemClock


async def test_a_whole_job_ends_in_a_model_with_its_lineage(
    bench: Bench, provider: Provider
) -> None:
    version = await bench.prepare()
    asked = await bench.start(epochs=3, seed=7, suffix="rooms")
    assert (asked.status, asked.provider, bench.woken) == ("queued", "openai", 1)
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded", job.error
    theirs = provider.jobs[str(job.provider_job_id)]
    assert theirs["metadata"] == {"sophia_job": job.id}
    assert (theirs["model"], theirs["seed"], theirs["suffix"]) == ("gpt-4o-mini", 7, "rooms")
    assert job.resulting_model == theirs["fine_tuned_model"]
    assert (job.step, job.total_steps, job.loss) == (2, 2, 0.75)
    assert job.result is not None and job.result["trained_tokens"] == 12_345
    model = await bench.store.models.get(str(job.resulting_model))
    assert model is not None
    assert (model.kind, model.job_id, model.dataset) == (ModelKind.HOSTED, job.id, version)
    assert model.shutdown_at == datetime(2027, 1, 14, tzinfo=UTC)
    assert await bench.jobs.show(CONTEXT, JobReference(job=str(job.provider_job_id)))


async def test_both_parts_of_the_data_set_go_there_as_they_are(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    theirs = provider.jobs[str(job.provider_job_id)]
    folder = Path((await bench.store.datasets.page())[0].folder)
    for part, name in (("training_file", "train.jsonl"), ("validation_file", "valid.jsonl")):
        assert provider.contents[theirs[part]] == (folder / name).read_bytes()
    assert provider.count("upload") == 2 and provider.count("create") == 1


async def test_events_and_history_tell_the_job(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    events = await bench.store.jobs.events(job.id)
    assert [each.number for each in events] == list(range(1, len(events) + 1))
    kinds = [each.kind for each in events]
    assert kinds.count("metric") == 2 and "message" in kinds
    states = [each.data["state"] for each in events if each.kind == "state"]
    assert states[-2:] == ["running", "succeeded"]
    [line] = bench.settings.history_file.read_text().splitlines()
    told = json.loads(line)
    assert (told["id"], told["files"]) == (job.id, ["questions.jsonl"])
    assert told["resulting_model"] == job.resulting_model


async def test_the_last_figures_are_kept_by_a_job_that_ended_between_two_looks(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    await bench.rounds_until(asked.id, "running")

    def rest(answer: Any) -> Any:
        """All that is left happens at once, and is told out of its order."""
        job_id = next(iter(provider.jobs))
        for step, loss in ((52, 1.685), (56, 1.5761), (54, 1.6)):
            data = {"step": step, "total_steps": 56, "train_loss": loss}
            provider._tell(job_id, f"Step {step}", data)
        provider.scripts[job_id] = []
        provider._move(provider.jobs[job_id], "succeeded")
        return provider.jobs[job_id]

    provider.faults["show"] = [rest]
    job = await bench.rounds_until(asked.id, "succeeded")
    assert (job.step, job.total_steps, job.loss) == (56, 56, 1.5761)


def test_what_one_look_brings_is_in_the_order_of_time_and_step() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    told = [
        HostedEvent(f"e{step}", at, "info", f"Step {step}", {"step": step, "train_loss": 1.0})
        for step in (49, 50, 52, 54)
    ]
    kept = [HostedCheckpoint("c50", at, 50, "ft:ckpt-step-50")]
    later = [HostedCheckpoint("c40", at + timedelta(seconds=1), 40, "ft:ckpt-step-40")]
    found = in_order([*told, HostedEvent("end", at, "info", "Done")], kept + later)
    steps = [(kind, data.get("step")) for _at, kind, data in found]
    assert steps == [
        ("metric", 49),
        ("metric", 50),
        ("checkpoint", 50),
        ("metric", 52),
        ("metric", 54),
        ("message", None),
        ("checkpoint", 40),
    ]


async def test_a_create_without_answer_makes_one_job(bench: Bench, provider: Provider) -> None:
    provider.faults["create"] = [drop]
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    assert list(provider.jobs) == [job.provider_job_id]
    assert provider.count("create") == 1


async def test_a_create_that_did_not_arrive_is_sent_again_after_a_look(
    bench: Bench, provider: Provider
) -> None:
    provider.faults["create"] = [error(503, "overloaded")]
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    assert list(provider.jobs) == [job.provider_job_id]
    assert provider.count("create") == 2 and provider.count("list") >= 1


async def test_a_provider_that_never_takes_it_is_given_up(bench: Bench, provider: Provider) -> None:
    provider.faults["create"] = [error(500, "broken")] * 50
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-J531"
    assert "broken" in job.error["why"] and provider.count("create") == 3


async def test_where_nobody_can_look_it_is_not_sent_twice(bench: Bench, provider: Provider) -> None:
    provider.faults["create"] = [drop]
    provider.gone = {"list"}
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-J530"
    assert provider.count("create") == 1


async def test_a_surplus_job_is_cancelled(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()

    def twice(answer: dict[str, Any]) -> Any:
        extra = {**answer, "id": "ftjob-surplus", "created_at": answer["created_at"] + 1}
        provider.jobs[extra["id"]], provider.scripts[extra["id"]] = extra, []
        return drop(answer)

    provider.faults["create"] = [twice]
    job = await bench.rounds_until(asked.id, "succeeded")
    assert job.provider_job_id != "ftjob-surplus"
    assert provider.jobs["ftjob-surplus"]["status"] == "cancelled"


@pytest.mark.parametrize("statuses", [["warming_up"], ["paused"], ["pausing"], ["draft"]])
async def test_words_of_the_provider_are_shown_and_followed_to_the_end(
    bench: Bench, provider: Provider, statuses: list[str]
) -> None:
    provider.statuses = ["queued", *statuses, "running", "succeeded"]
    seen = []
    await bench.prepare()
    asked = await bench.start()
    job = await bench.until(
        asked.id, lambda job: seen.append(job.state) or job.state == "succeeded"
    )
    events = await bench.store.jobs.events(job.id)
    told = [each.data["state"] for each in events if each.kind == "state"]
    shown = "draft (openai)" if statuses == ["draft"] else statuses[0]
    assert shown in told and "queued" not in seen[1:]


async def test_a_job_that_fails_there_says_why_and_what_to_do(
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
    assert job.error is not None and job.error["code"] == "SOPHIA-J528"
    assert "Flagged lines: 4, 13" in job.error["why"] and "lines" in job.error["remedy"]
    with pytest.raises(ConflictError) as caught:
        await bench.jobs.resume(CONTEXT, ResumeRequest(job=job.id))
    assert caught.value.code == "SOPHIA-J535"


async def test_a_job_without_a_model_in_the_end_has_failed(
    bench: Bench, provider: Provider
) -> None:
    done = {"id": "ftjob-000003", "status": "succeeded", "fine_tuned_model": None}
    provider.faults["show"] = [done]
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed", "succeeded")
    assert job.error is not None and job.error["code"] == "SOPHIA-J529"


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (error(403, "closed", "training_not_available"), "J523"),
        (error(400, "model not found"), "J521"),
    ],
)
@pytest.mark.parametrize("route", ["upload", "create"])
async def test_what_will_never_succeed_is_not_tried_again(
    bench: Bench, provider: Provider, refusal: Refusal, code: str, route: str
) -> None:
    provider.faults[route] = [refusal]
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == f"SOPHIA-{code}"
    assert provider.count(route) <= (2 if route == "upload" else 1)


async def test_while_nobody_answers_the_job_says_so_and_goes_on_later(
    bench: Bench, provider: Provider
) -> None:
    provider.faults["show"] = [error(500, "down"), "<html>oops</html>", error(401, "rotated")] * 2
    await bench.prepare()
    asked = await bench.start()
    troubled = await bench.until(asked.id, lambda job: job.error is not None)
    assert not JobState(troubled.state).ended
    job = await bench.rounds_until(asked.id, "succeeded")
    assert job.error is None
    events = await bench.store.jobs.events(job.id)
    assert "warning" in [each.kind for each in events]


async def test_a_job_that_the_provider_lost_fails_after_some_looks(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    provider.jobs.clear()
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-J532"


@pytest.mark.parametrize("status", [None, "uploaded", "processed"])
async def test_files_are_waited_for_but_not_for_ever(
    bench: Bench, provider: Provider, status: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.file_status = status
    monkeypatch.setattr("sophia_tui.worker.hosted_submit.FILE_SECONDS", 1.0)
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded"
    assert (provider.count("file") > 4) == (status == "uploaded")


async def test_a_create_that_came_before_the_file_was_ready_is_sent_again(
    bench: Bench, provider: Provider
) -> None:
    early = "File 'file-1' is still being processed and is not ready to be used for fine-tuning."
    provider.faults["create"] = [error(400, early)] * 5
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded" and len(provider.jobs) == 1
    assert provider.count("create") == 6


async def test_a_refused_file_fails_the_job_before_it_is_created(
    bench: Bench, provider: Provider
) -> None:
    provider.file_status, provider.file_problem = "error", "Line 1 is not a dictionary"
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-J527"
    assert "Line 1" in job.error["why"] and provider.count("create") == 0


async def test_servers_without_files_and_events_are_enough(
    bench: Bench, provider: Provider
) -> None:
    provider.gone = {"file", "events"}
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded"


@pytest.mark.parametrize(
    "answer", ['data: {"id": "ftevent-1"}\n\ndata: {"id": "ftevent-2"}\n\n', "<html></html>", "[]"]
)
async def test_events_that_can_not_be_read_keep_no_job_from_its_end(
    bench: Bench, provider: Provider, answer: str
) -> None:
    provider.faults["events"] = [answer] * 100
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert (job.state, job.error) == ("succeeded", None)
    assert provider.count("events") == 1


# --- what people want ---


async def test_a_running_job_is_cancelled_at_the_provider(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    await bench.jobs.cancel(CONTEXT, JobReference(job=asked.id))
    job = await bench.rounds_until(asked.id, "cancelled")
    assert provider.jobs[str(job.provider_job_id)]["status"] == "cancelled"
    assert job.finished_at is not None


async def test_a_cancel_before_it_is_claimed_sends_nothing(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    view = await bench.jobs.cancel(CONTEXT, JobReference(job=asked.id))
    assert view.status == "cancelled"
    assert await bench.keeper.round(bench.store) is False
    assert provider.count("upload") == provider.count("create") == 0


async def test_a_cancel_while_nobody_knows_whether_it_is_there_finds_and_cancels_it(
    bench: Bench, provider: Provider
) -> None:
    def drop_and_fall_silent(answer: Any) -> Any:
        provider.faults["list"] = [error(500, "down")] * 3
        return drop(answer)

    provider.faults["create"] = [drop_and_fall_silent]
    await bench.prepare()
    asked = await bench.start()
    await bench.until(asked.id, lambda job: provider.count("create") >= 1)
    await bench.jobs.cancel(CONTEXT, JobReference(job=asked.id))
    job = await bench.rounds_until(asked.id, "cancelled", "succeeded")
    assert job.state == "cancelled" and len(provider.jobs) == 1
    assert [each["status"] for each in provider.jobs.values()] == ["cancelled"]


async def test_a_provider_that_can_not_cancel_is_told_of_and_the_job_goes_on(
    bench: Bench, provider: Provider
) -> None:
    provider.gone = {"cancel"}
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    await bench.jobs.cancel(CONTEXT, JobReference(job=asked.id))
    job = await bench.until(asked.id, lambda job: job.wanted is None)
    events = await bench.store.jobs.events(job.id)
    assert "SOPHIA-J526" in [each.data.get("code") for each in events]
    provider.held.clear()
    assert (await bench.rounds_until(asked.id, "succeeded")).error is None


async def test_pause_and_resume_are_the_providers(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    paused = await bench.jobs.pause(CONTEXT, JobReference(job=asked.id))
    assert paused.status == "paused"
    resumed = await bench.jobs.resume(CONTEXT, ResumeRequest(job=asked.id))
    assert resumed.status == "running"
    provider.held.clear()
    await bench.rounds_until(asked.id, "succeeded")


async def test_a_provider_without_pause_refuses_clearly(bench: Bench, provider: Provider) -> None:
    provider.gone = {"pause"}
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    with pytest.raises(RefusedError) as caught:
        await bench.jobs.pause(CONTEXT, JobReference(job=asked.id))
    assert caught.value.code == "SOPHIA-J534" and "Not Found" in caught.value.why


async def test_a_job_paused_at_the_provider_is_cancelled_there(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    provider.held.set()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    await bench.jobs.pause(CONTEXT, JobReference(job=asked.id))
    await bench.jobs.cancel(CONTEXT, JobReference(job=asked.id))
    job = await bench.rounds_until(asked.id, "cancelled")
    assert provider.jobs[str(job.provider_job_id)]["status"] == "cancelled"


# --- workers come and go ---


async def test_another_worker_goes_on_where_the_first_one_died(
    bench: Bench, provider: Provider
) -> None:
    provider.held.set()
    await bench.prepare()
    asked = await bench.start()
    before = await bench.until(
        asked.id, lambda job: job.provider_job_id is not None and job.last_event >= 1
    )
    await bench.keeper.close()
    bench.become("worker-2")
    provider.held.clear()
    job = await bench.rounds_until(asked.id, "succeeded")
    assert job.provider_job_id == before.provider_job_id and len(provider.jobs) == 1
    events = await bench.store.jobs.events(job.id)
    theirs = [each.data["provider_event"] for each in events if "provider_event" in each.data]
    assert len(theirs) == len(set(theirs)) == len(provider.events[str(job.provider_job_id)])


async def test_a_crash_between_create_and_record_makes_no_second_job(
    bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.prepare()
    asked = await bench.start()

    async def crash(*_given: object) -> None:
        raise KeyError("the process dies here")

    monkeypatch.setattr(bench.keeper._submitter, "_take", crash)
    await bench.until(asked.id, lambda job: bool(provider.jobs))
    assert (await bench.job(asked.id)).provider_job_id is None
    await bench.keeper.close()
    bench.become("worker-2")
    job = await bench.rounds_until(asked.id, "succeeded")
    assert list(provider.jobs) == [job.provider_job_id] and provider.count("create") == 1
    assert provider.count("upload") == 2


async def test_jobs_of_a_living_worker_are_left_to_it(bench: Bench, provider: Provider) -> None:
    provider.held.set()
    await bench.prepare()
    asked = await bench.start()
    await bench.until(asked.id, lambda job: job.provider_job_id is not None)
    await bench.keeper.close()
    host = ThisMachine.here().host
    await bench.store.jobs.beat(Claimer(f"{host}:worker-1", host), 1)
    bench.become("worker-2")
    assert await bench.keeper.round(bench.store) is False
    assert (await bench.job(asked.id)).worker_id == f"{host}:worker-1"


async def test_a_key_is_never_shown_to_another_address(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    before = len(provider.requests)
    other = load({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": KEY})
    bench.keeper.settings = other.model_copy(update={"provider_poll_seconds": 0.05})
    job = await bench.until(asked.id, lambda job: job.waiting is not None)
    assert job.state == "paused" and job.waiting is not None and job.error is None
    assert job.waiting["code"] == "SOPHIA-J533"
    assert job.waiting["why"] == (
        f"It was ordered at {provider.url}, and OPENAI_BASE_URL is http://127.0.0.1:1/v1 here."
    )
    with speaking("pt_BR"):
        told = JobView.of(job).waiting
    assert told is not None and told["why"].startswith("Foi encomendado em ")
    assert len(provider.requests) == before
    assert await bench.keeper.round(bench.store) is False and bench.keeper.misfit
    bench.keeper.settings = bench.settings
    ended = await bench.rounds_until(asked.id, "succeeded")
    assert ended.error is None and ended.waiting is None


async def test_errors_are_told_in_the_language_of_who_asked(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    with speaking("pt_BR"):
        asked = await bench.start()
    provider.faults["create"] = [error(500, "broken")] * 50
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-J531"
    assert "provedor" in job.error["what"]


async def test_local_and_hosted_jobs_are_claimed_apart(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    assert await bench.store.jobs.claim(Claimer("w", "here")) is None
    claimed = await bench.store.jobs.claim(Claimer("w", "here"), hosted=True)
    assert claimed is not None and claimed.id == asked.id
    assert await bench.store.jobs.adoptable("here") == []
    assert [each.id for each in await bench.store.jobs.hosted("here")] == [asked.id]


# --- before a byte is sent ---


async def refused(bench: Bench, **request: Any) -> SophiaError:
    with pytest.raises(SophiaError) as caught:
        await bench.start(**request)
    assert await bench.store.jobs.page() == []
    return caught.value


async def test_a_version_that_was_not_redacted_stays_here(bench: Bench, provider: Provider) -> None:
    await bench.prepare(redact=False)
    problem = await refused(bench)
    assert problem.code == "SOPHIA-R410" and "--no-redact" in problem.remedy


async def test_a_version_that_was_changed_since_is_not_sent(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    folder = Path((await bench.store.datasets.page())[0].folder)
    lines = (folder / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text(lines.replace("guest", "ana@example.com", 1))
    job = await bench.rounds_until(asked.id, "failed")
    assert job.error is not None and job.error["code"] == "SOPHIA-D309"
    assert provider.count("upload") == 0


async def test_ten_examples_are_needed(bench: Bench) -> None:
    await bench.prepare(count=11)
    problem = await refused(bench)
    assert problem.code == "SOPHIA-J518" and "9" in problem.why


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{}\n", "line 1"),
        (b"[]\n", "line 1"),
        (b"\xff\n", "line 1"),
        (b'{"messages":[{"role":"user","content":"x"}]}\n', "line 1"),
    ],
)
async def test_a_broken_line_is_named(bench: Bench, line: bytes, told: str) -> None:
    await bench.prepare()
    path = Path((await bench.store.datasets.page())[0].folder) / "train.jsonl"
    path.write_bytes(line + path.read_bytes())
    problem = await refused(bench)
    assert problem.code == "SOPHIA-J519" and told in problem.why


async def test_an_empty_file_is_not_sent(bench: Bench) -> None:
    await bench.prepare()
    (Path((await bench.store.datasets.page())[0].folder) / "train.jsonl").write_bytes(b"")
    assert (await refused(bench)).code == "SOPHIA-J518"


async def test_examples_on_both_sides_are_not_sent(bench: Bench) -> None:
    await bench.prepare()
    folder = Path((await bench.store.datasets.page())[0].folder)
    held_out = (folder / "valid.jsonl").read_bytes()
    (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes() + held_out)
    assert "12" in (await refused(bench)).why


async def test_too_few_held_out_examples_stay_here(bench: Bench, provider: Provider) -> None:
    await bench.prepare(count=20)
    asked = await bench.start()
    assert any("held out" in each for each in asked.warnings)
    job = await bench.rounds_until(asked.id, "succeeded")
    assert provider.jobs[str(job.provider_job_id)]["validation_file"] is None


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"epochs": 51}, "J517"),
        ({"epochs": 1.5}, "J517"),
        ({"learning_rate": 1e-4}, "J516"),
        ({"max_steps": 10}, "J516"),
        ({"recipe": "demo"}, "J516"),
        ({"base": "/tmp/model.gguf", "provider": "openai"}, "J513"),
    ],
)
async def test_what_a_provider_does_not_know_is_refused_here(
    bench: Bench, request_: dict[str, Any], code: str
) -> None:
    await bench.prepare()
    assert (await refused(bench, **request_)).code == f"SOPHIA-{code}"


@pytest.mark.parametrize("name", ["suffix", "batch_size", "learning_rate_multiplier"])
async def test_a_training_here_refuses_what_only_a_provider_knows(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    await bench.prepare()
    value = {"suffix": "x", "batch_size": 2, "learning_rate_multiplier": 1.0}[name]
    assert (await refused(bench, base="org/model", **{name: value})).code == "SOPHIA-J516"


async def test_at_the_providers_own_address_its_dates_count(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.prepare()
    own = load({"OPENAI_API_KEY": KEY})
    monkeypatch.setattr(bench.train, "_settings", own)
    monkeypatch.setattr(bench.train, "_open_trainer", None)  # nobody is asked from a test
    today = SystemClock().now().date()
    prices = load_prices(own, bench.paths)

    def closing(day: str) -> None:
        ends = {"openai": prices.training_closes["openai"].model_copy(update={"at": day_of(day)})}
        bench.prices = lambda: replace(prices, training_closes=ends)

    def day_of(day: str) -> Any:
        return today.replace(year=today.year + (1 if day == "later" else -1), day=1)

    closing("past")
    assert (await refused(bench)).code == "SOPHIA-J514"
    closing("later")
    ended = prices.shutdowns["gpt-4o"].model_copy(update={"at": day_of("past")})
    kept = replace(bench.prices(), shutdowns={"gpt-4o": ended})
    bench.prices = lambda: kept
    assert (await refused(bench, base="gpt-4o-2024-08-06")).code == "SOPHIA-J515"
    dry = await bench.train.start(replace(CONTEXT, dry_run=True), _request("gpt-4o-mini", epochs=2))
    assert dry.result is not None and dry.result["epochs"] == 2
    assert dry.result["usd_estimated"] == pytest.approx(
        dry.result["tokens_estimated"] * 3 / 1e6, abs=1e-4
    )
    assert await bench.store.jobs.page() == []


def _request(base: str, **more: Any) -> Any:
    from sophia_tui.services.train import TrainRequest

    return TrainRequest(base=base, **more)


async def test_at_another_address_dates_only_warn(bench: Bench) -> None:
    await bench.prepare()
    prices = bench.prices()
    past = {
        name: each.model_copy(update={"at": datetime(2020, 1, 1).date()})
        for name, each in prices.shutdowns.items()
    }
    bench.prices = lambda: replace(prices, shutdowns=past)
    asked = await bench.start()
    assert any("stopped answering" in each for each in asked.warnings)


async def test_without_key_and_address_there_is_nothing_to_ask(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.prepare()
    monkeypatch.setattr(bench.train, "_settings", load({}))
    assert (await refused(bench)).code == "SOPHIA-J510"
    for address in ("ftp://x/v1", "https://user:secret@x/v1", "x"):
        monkeypatch.setattr(bench.train, "_settings", load({"OPENAI_BASE_URL": address}))
        problem = await refused(bench)
        assert problem.code == "SOPHIA-J511" and "secret" not in str(problem)


@pytest.mark.parametrize(
    ("base", "wanted", "setting", "hosted"),
    [
        ("gpt-4o-mini", None, "auto", True),
        ("ft:gpt-4o:acme::x", None, "auto", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None, "auto", False),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None, "openai", True),
        ("some-model", None, "auto", False),
        ("some-model", None, "openai", True),
        ("some-model", "openai", "local", True),
        ("some-model", "local", "openai", False),
        ("/nowhere/model", None, "openai", False),
        ("./model.gguf", None, "openai", False),
        ("gpt-4o-mini", "openai", "local", True),
    ],
)
def test_where_a_base_trains(base: str, wanted: str | None, setting: str, hosted: bool) -> None:
    settings = load({"SOPHIA_TRAINING_PROVIDER": setting})
    assert is_hosted(base, wanted, settings) is hosted


def test_a_hosted_name_stays_away_where_everything_is_to_stay_here() -> None:
    with pytest.raises(RefusedError) as caught:
        is_hosted("gpt-4o-mini", None, load({"SOPHIA_TRAINING_PROVIDER": "local"}))
    assert caught.value.code == "SOPHIA-J433"


def test_a_folder_called_like_a_hosted_name_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-4o-mini").mkdir()
    assert is_hosted("gpt-4o-mini", None, load({})) is False


# --- what the others see ---


async def test_a_hosted_model_shows_its_end_and_can_not_be_evaluated_here(
    bench: Bench, provider: Provider
) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    service = ModelsService(bench.store, bench.house.prices, SystemClock())
    view = await service.show(CONTEXT, ModelReference(model=str(job.resulting_model)))
    assert view.shutdown_at is not None and "2027-01-14" in view.warnings[0]
    evaluate = EvaluateService(bench.store, bench.settings, bench.paths, SystemClock(), bench._wake)
    with pytest.raises(UsageError) as caught:
        await evaluate.run(CONTEXT, EvaluateRequest(model=str(job.resulting_model)))
    assert caught.value.code == "SOPHIA-J440"


async def test_watching_follows_a_hosted_job(bench: Bench, provider: Provider) -> None:
    await bench.prepare()
    asked = await bench.start()
    await bench.rounds_until(asked.id, "succeeded")
    view = await bench.jobs.watch(CONTEXT, WatchRequest(job=asked.id))
    assert view.status == "succeeded" and view.provider_job


async def test_promoting_a_model_that_ends_says_when(
    bench: Bench, provider: Provider, tmp_path: Path
) -> None:
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    (tmp_path / "rag.env").write_text("GEN_MODEL=old\n")

    async def nobody(*_given: object) -> Any:
        raise AssertionError("not asked for")

    service = PromoteService(
        bench.store,
        bench.settings,
        bench.paths,
        SystemClock(),
        Outside(nobody, nobody, nobody),
        bench.house.prices,
    )
    request = PromoteRun(
        model=str(job.resulting_model), env_file=[str(tmp_path / "rag.env")], probe=False
    )
    view = await service.run(replace(CONTEXT, dry_run=True), request)
    assert len([each for each in view.notes if "2027-01-14" in each]) == 1


# --- preference pairs ---


async def prepare_pairs(bench: Bench, count: int = 60) -> str:
    folder = bench.paths.data / "pairs"
    folder.mkdir(parents=True)
    (folder / "pairs.jsonl").write_text(
        "".join(
            json.dumps(
                {
                    "prompt": f"What is room {n} for?",
                    "chosen": f"For guest {n * 7}.",
                    "rejected": "No idea.",
                }
            )
            + "\n"
            for n in range(count)
        )
    )
    service = PrepareService(bench.store.datasets, bench.settings, bench.paths, SystemClock())
    made = await service.run(CONTEXT, PrepareInput(folder=str(folder), name="pairs"))
    return made.dataset.id


async def test_a_data_set_of_pairs_trains_by_dpo_in_the_protocols_form(
    bench: Bench, provider: Provider
) -> None:
    version = await prepare_pairs(bench)
    asked = await bench.start(dataset=version, beta=0.3, epochs=2)
    job = await bench.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded", job.error
    theirs = provider.jobs[str(job.provider_job_id)]
    assert theirs["method"]["type"] == "dpo"
    assert theirs["method"]["dpo"]["hyperparameters"]["beta"] == 0.3
    sent = [json.loads(line) for line in provider.contents[theirs["training_file"]].splitlines()]
    kept = (await bench.store.datasets.page())[0]
    assert len(sent) == kept.counts["train"]
    assert {tuple(each) for each in sent} == {("input", "preferred_output", "non_preferred_output")}
    line = json.loads((Path(kept.folder) / "train.jsonl").read_text().splitlines()[3])
    assert sent[3]["preferred_output"] == line["chosen"]
    assert (job.result or {})["method"]["type"] == "dpo"


async def test_beta_without_pairs_is_refused(bench: Bench) -> None:
    await bench.prepare()
    assert (await refused(bench, beta=0.3)).code == "SOPHIA-J538"
    assert (await refused(bench, base="org/model", beta=0.3)).code == "SOPHIA-J538"


@pytest.mark.parametrize("beta", [0, 2.01, -1, float("nan"), float("inf")])
def test_beta_lies_above_zero_and_up_to_two(beta: float) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        _request("gpt-4o-mini", beta=beta)


@pytest.mark.parametrize("field", ["integrations", "wandb", "expires_after", "metadata"])
def test_what_is_not_built_is_refused_and_not_passed_over(field: str) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        _request("gpt-4o-mini", **{field: {}})


async def test_pairs_train_here_by_dpo_as_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.services.train.require_training_packages", lambda: None)
    await prepare_pairs(bench)
    dry = replace(CONTEXT, dry_run=True)
    view = await bench.train.start(dry, _request("org/model", beta=0.4))
    recipe = (view.result or {})["recipe"]
    assert (recipe["method"], recipe["dpo"]["beta"]) == ("dpo", 0.4)


# --- large files ---


async def test_a_large_file_goes_in_parts_and_a_cancel_ends_it_there(
    bench: Bench, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.providers.openai_jobs.SINGLE_BYTES", 500)
    monkeypatch.setattr("sophia_tui.providers.openai_jobs.PART_BYTES", 400)
    await bench.prepare()
    asked = await bench.start()
    job = await bench.rounds_until(asked.id, "succeeded")
    folder = Path((await bench.store.datasets.page())[0].folder)
    theirs = provider.jobs[str(job.provider_job_id)]
    assert provider.contents[theirs["training_file"]] == (folder / "train.jsonl").read_bytes()
    assert provider.count("part") > 5 and provider.count("upload") == 0

    provider.faults["part"] = [lambda answer: answer, Refusal(429, {}, {"Retry-After": "0.5"})]
    again = await bench.start()
    await bench.until(again.id, lambda job: not provider.faults["part"])
    await bench.jobs.cancel(CONTEXT, JobReference(job=again.id))
    await bench.rounds_until(again.id, "cancelled")
    assert [each["status"] for each in provider.uploads.values()][-1] == "cancelled"
