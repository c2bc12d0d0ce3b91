"""The provider `openai` against a real server: each way in which servers differ, one by one."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.hosted import HostedOrder
from sophia_tui.errors import JobError, NotFoundError, SophiaError, UnavailableError
from sophia_tui.providers.openai_jobs import OpenAITrainer
from tests.hosted.provider import HTML, KEY, Provider, Refusal, drop, error


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
async def trainer(provider: Provider) -> AsyncIterator[OpenAITrainer]:
    opened = OpenAITrainer(provider.url, KEY)
    yield opened
    await opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages":[]}\n' * 10)
    return path


async def ordered(trainer: OpenAITrainer, file: Path, **more: Any) -> HostedOrder:
    sent = await trainer.upload(file, "ours-train.jsonl")
    return HostedOrder(
        base="gpt-4o-mini",
        base_url=None,
        dataset_hash="0" * 64,
        training=str(file),
        training_file=sent.id,
        **more,
    )


async def test_a_file_goes_there_whole_and_under_our_name(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    sent = await trainer.upload(file, "ftjob-x-train.jsonl")
    assert provider.contents[sent.id] == file.read_bytes()
    assert provider.files[sent.id]["filename"] == "ftjob-x-train.jsonl"
    assert (await trainer.file(sent.id)).status == "processed"


async def test_a_create_says_all_that_was_asked_and_carries_our_id(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    order = await ordered(
        trainer, file, suffix="support", seed=0, n_epochs=2, learning_rate_multiplier=0.5
    )
    created = await trainer.create(order, "ftjob-ours")
    kept = provider.jobs[created.id]
    assert kept["metadata"] == {"sophia_job": "ftjob-ours"}
    assert kept["method"]["supervised"]["hyperparameters"] == {
        "n_epochs": 2,
        "batch_size": "auto",
        "learning_rate_multiplier": 0.5,
    }
    assert (kept["seed"], kept["suffix"]) == (0, "support")
    assert created.order_id == "ftjob-ours"


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_no_request_is_repeated_by_itself(
    provider: Provider, trainer: OpenAITrainer, file: Path, status: int
) -> None:
    order = await ordered(trainer, file)
    provider.faults["create"] = [error(status, "try again")]
    with pytest.raises(UnavailableError) as caught:
        await trainer.create(order, "ftjob-ours")
    assert caught.value.code == "SOPHIA-J520" and f"HTTP {status}" in caught.value.why
    assert provider.count("create") == 1


async def test_a_create_whose_answer_is_lost_is_found_again_by_our_id(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    order = await ordered(trainer, file)
    provider.faults["create"] = [drop]
    with pytest.raises(UnavailableError):
        await trainer.create(order, "ftjob-ours")
    found = await trainer.find(order, "ftjob-ours")
    assert [each.id for each in found] == list(provider.jobs)
    assert provider.count("create") == 1


async def test_where_metadata_is_dropped_it_is_found_by_our_file(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    provider.no_metadata = True
    await trainer.create(await ordered(trainer, file), "ftjob-another")
    order = await ordered(trainer, file)
    await trainer.create(order, "ftjob-ours")
    found = await trainer.find(order, "ftjob-ours")
    assert [each.training_file for each in found] == [order.training_file]


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("7", 7.0), ("86400", 120.0), ("soon", None), ("0", None), ("nan", None)],
)
async def test_retry_after_is_passed_on_up_to_two_minutes(
    provider: Provider, trainer: OpenAITrainer, retry_after: str, seconds: float | None
) -> None:
    body = {"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}}
    provider.faults["show"] = [Refusal(429, body, {"Retry-After": retry_after})]
    with pytest.raises(UnavailableError) as caught:
        await trainer.show("ftjob-1")
    assert caught.value.details["retry_after"] == seconds


async def test_retry_after_may_be_a_date(provider: Provider, trainer: OpenAITrainer) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    provider.faults["show"] = [Refusal(503, {}, {"Retry-After": at})]
    with pytest.raises(UnavailableError) as caught:
        await trainer.show("ftjob-1")
    assert 50 < caught.value.details["retry_after"] <= 60


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (error(429, "You exceeded your quota", "insufficient_quota"), "J522"),
        (Refusal(429, {"error": {"message": "x", "type": "insufficient_quota"}}), "J522"),
        (error(403, "Fine-tuning is not available", "training_not_available"), "J523"),
        (error(401, "Incorrect API key"), "J525"),
        (error(400, "invalid"), "J521"),
        (Refusal(307, "", {"Location": "http://127.0.0.1:1/v1"}), "J521"),
    ],
)
async def test_refusals_that_waiting_does_not_mend(
    provider: Provider, trainer: OpenAITrainer, refusal: Refusal, code: str
) -> None:
    provider.faults["show"] = [refusal]
    with pytest.raises(JobError) as caught:
        await trainer.show("ftjob-1")
    assert caught.value.code == f"SOPHIA-{code}"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"detail": "Not ready"}, "Not ready"),
        ({"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, "field required"),
        ({"error": "no such model"}, "no such model"),
        ("<html><style>p {}</style><body><h1>502</h1> Bad &amp; Gateway</body></html>", "Bad & G"),
        ("plain words", "plain words"),
        ({"error": {"message": None, "code": "weird"}}, "weird"),
    ],
)
async def test_the_words_of_other_servers_are_read_from_the_body(
    provider: Provider, trainer: OpenAITrainer, body: Any, told: str
) -> None:
    provider.faults["show"] = [Refusal(400, body)]
    with pytest.raises(JobError) as caught:
        await trainer.show("ftjob-1")
    assert told in caught.value.why and "<" not in caught.value.why


async def test_our_key_never_stands_in_an_error(provider: Provider) -> None:
    trainer = OpenAITrainer(provider.url, "sk-a-wrong-key-of-ours")
    with pytest.raises(JobError) as caught:
        await trainer.show("ftjob-1")
    await trainer.close()
    assert "***" in caught.value.why
    assert "sk-a-wrong-key-of-ours" not in str(caught.value)


@pytest.mark.parametrize("answer", [HTML, "", "[]", '"ok"', "{}", '{"id": null}'])
@pytest.mark.parametrize("route", ["show", "list", "events", "upload", "create"])
async def test_an_answer_without_sense_is_never_taken_for_one(
    provider: Provider, trainer: OpenAITrainer, file: Path, answer: str, route: str
) -> None:
    order = await ordered(trainer, file)
    provider.faults[route] = [answer]
    calls: dict[str, Any] = {
        "show": lambda: trainer.show("ftjob-1"),
        "list": lambda: trainer.find(order, "ftjob-ours"),
        "events": lambda: trainer.events("ftjob-1", ()),
        "upload": lambda: trainer.upload(file, "x.jsonl"),
        "create": lambda: trainer.create(order, "ftjob-ours"),
    }
    with pytest.raises(UnavailableError) as caught:
        await calls[route]()
    assert caught.value.code == "SOPHIA-J524"


async def test_a_server_that_is_not_there_does_not_answer() -> None:
    trainer = OpenAITrainer("http://127.0.0.1:1/v1", None)
    with pytest.raises(UnavailableError) as caught:
        await trainer.show("ftjob-1")
    await trainer.close()
    assert caught.value.code == "SOPHIA-J520" and "sk-" not in caught.value.why


@pytest.mark.parametrize("key", [None, "", "  "])
async def test_a_keyless_server_needs_no_key(file: Path, key: str | None) -> None:
    with Provider(key=None) as provider:
        trainer = OpenAITrainer(provider.url, key)
        assert (await trainer.upload(file, "x.jsonl")).id in provider.files
        await trainer.close()


async def test_a_list_that_never_ends_is_left(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    order = await ordered(trainer, file)
    await trainer.create(order, "ftjob-ours")
    provider.endless = True
    assert len(await trainer.find(order, "ftjob-ours")) == 1
    assert provider.count("list") <= 20


async def test_a_list_that_always_brings_something_new_is_left(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    order = await ordered(trainer, file)

    def page(_answer: Any) -> Any:
        number = provider.count("list")
        return {"data": [{"id": f"ftjob-x{number}"}], "has_more": True}

    provider.faults["list"] = [page] * 100
    assert await trainer.find(order, "ftjob-ours") == []
    assert provider.count("list") == 20


@pytest.mark.parametrize("said", [None, {}, {"code": None, "message": None, "param": None}, ""])
async def test_no_error_is_no_error_however_it_is_said(
    provider: Provider, trainer: OpenAITrainer, file: Path, said: Any
) -> None:
    provider.error_of_none = said
    created = await trainer.create(await ordered(trainer, file), "ftjob-ours")
    assert created.failure is None


@pytest.mark.parametrize(
    ("changes", "ended"),
    [
        ({"status": "running"}, None),
        ({"status": "paused"}, None),
        ({"status": "pausing"}, None),
        ({"status": "warming_up"}, None),
        ({"status": None}, None),
        ({"status": "COMPLETED", "fine_tuned_model": "m"}, "succeeded"),
        ({"status": "canceled"}, "cancelled"),
        ({"status": "done_and_dusted", "finished_at": 5, "fine_tuned_model": "m"}, "succeeded"),
        ({"status": "gone_wrong", "finished_at": 5, "error": {"message": "bad"}}, "failed"),
        ({"status": "warming_up", "finished_at": 0}, None),
        ({"status": "running", "finished_at": 5, "fine_tuned_model": "m"}, None),
    ],
)
async def test_every_word_for_a_state_is_read(
    provider: Provider, trainer: OpenAITrainer, changes: dict[str, Any], ended: str | None
) -> None:
    provider.faults["show"] = [{"id": "ftjob-1", **changes}]
    shown = await trainer.show("ftjob-1")
    assert (shown.status, shown.ended) == (changes["status"] or "running", ended)


async def test_absent_hyperparameters_and_strange_times_are_borne(
    provider: Provider, trainer: OpenAITrainer
) -> None:
    strange = {"id": "ftjob-1", "status": "running", "hyperparameters": None, "created_at": "x"}
    provider.faults["show"] = [{**strange, "estimated_finish": 10**30, "metadata": None}]
    shown = await trainer.show("ftjob-1")
    assert (shown.created_at, shown.estimated_finish, shown.facts) == (None, None, {})


async def test_events_come_oldest_first_and_only_once(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    created = await trainer.create(await ordered(trainer, file), "ftjob-ours")
    for number in range(250):
        provider._tell(created.id, f"message {number}")
    first = await trainer.events(created.id, ())
    assert [each.message for each in first[1:4]] == ["message 0", "message 1", "message 2"]
    assert len(first) == 251
    provider._tell(created.id, "the newest")
    asked = provider.count("events")
    again = await trainer.events(created.id, {each.id for each in first})
    assert [each.message for each in again] == ["the newest"]
    assert provider.count("events") == asked + 1


async def test_a_file_without_status_is_told_so(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    provider.file_status = None
    sent = await trainer.upload(file, "x.jsonl")
    assert (await trainer.file(sent.id)).status is None


async def test_what_is_not_there_is_told_apart(provider: Provider, trainer: OpenAITrainer) -> None:
    with pytest.raises(NotFoundError) as caught:
        await trainer.show("ftjob-nowhere")
    assert caught.value.code == "SOPHIA-J526"


async def test_texts_of_a_server_are_harmless_and_short(
    provider: Provider, trainer: OpenAITrainer
) -> None:
    provider.faults["show"] = [error(400, "\x1b[31mred\u202e" + "x" * 5000)]
    with pytest.raises(SophiaError) as caught:
        await trainer.show("ftjob-1")
    assert "\x1b" not in caught.value.why and "\u202e" not in caught.value.why
    assert len(caught.value.why) < 700


def test_the_client_is_loaded_only_to_ask() -> None:
    program = (
        "import sys; import sophia_tui.providers.openai_jobs as jobs; "
        "jobs.OpenAITrainer(None, 'k'); assert 'openai' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
