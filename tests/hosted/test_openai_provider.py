"""The provider `openai` against a real server: each way in which servers differ, one by one."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.hosted import HostedOrder
from sophia_tui.errors import JobError, NotFoundError, SophiaError, UnavailableError
from sophia_tui.providers import openai_uploads
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


# --- large files, in parts ---


@pytest.fixture
def small_parts(trainer: OpenAITrainer, monkeypatch: pytest.MonkeyPatch) -> OpenAITrainer:
    """A trainer for which 100 bytes are much; parts have 64."""
    trainer.single_bytes, trainer.part_bytes = 100, 64
    monkeypatch.setattr(openai_uploads, "_WAIT_SECONDS", 0.01)
    return trainer


async def test_a_large_file_goes_in_parts_and_arrives_whole(
    provider: Provider, small_parts: OpenAITrainer, file: Path
) -> None:
    told: list[tuple[int, int]] = []

    async def sent(done: int, whole: int) -> None:
        told.append((done, whole))

    kept = await small_parts.upload(file, "ftjob-x-train.jsonl", sent)
    assert provider.contents[kept.id] == file.read_bytes()
    assert provider.files[kept.id]["filename"] == "ftjob-x-train.jsonl"
    assert (provider.count("begin"), provider.count("part"), provider.count("upload")) == (1, 3, 0)
    assert told == [(64, 160), (128, 160), (160, 160)]


async def test_a_file_just_small_enough_goes_in_one_request(
    provider: Provider, small_parts: OpenAITrainer, tmp_path: Path
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"x" * 100)
    await small_parts.upload(path, "x.jsonl")
    assert (provider.count("begin"), provider.count("upload")) == (0, 1)


async def test_a_part_that_did_not_arrive_is_sent_again_alone(
    provider: Provider, small_parts: OpenAITrainer, file: Path
) -> None:
    provider.faults["part"] = [drop, error(503, "busy"), "<html>gateway</html>"]
    kept = await small_parts.upload(file, "x.jsonl")
    assert provider.contents[kept.id] == file.read_bytes()
    assert (provider.count("begin"), provider.count("part")) == (1, 6)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (error(503, "down"), "J520"),
        (error(429, "quota", "insufficient_quota"), "J522"),
        (error(401, "key"), "J525"),
    ],
)
async def test_an_upload_that_can_not_go_on_is_cancelled_there(
    provider: Provider, small_parts: OpenAITrainer, file: Path, fault: Refusal, code: str
) -> None:
    provider.faults["part"] = [lambda answer: answer, *[fault] * 50]
    with pytest.raises(SophiaError) as caught:
        await small_parts.upload(file, "x.jsonl")
    assert caught.value.code == f"SOPHIA-{code}"
    assert [each["status"] for each in provider.uploads.values()] == ["cancelled"]
    assert provider.count("part") == (5 if code == "J520" else 2) and provider.files == {}


async def test_an_upload_that_nobody_wants_any_more_is_cancelled_there(
    provider: Provider, small_parts: OpenAITrainer, file: Path
) -> None:
    async def unwanted(done: int, whole: int) -> None:
        raise KeyError("somebody cancelled the job")

    with pytest.raises(KeyError):
        await small_parts.upload(file, "x.jsonl", unwanted)
    assert [each["status"] for each in provider.uploads.values()] == ["cancelled"]
    assert provider.count("part") == 1


async def test_a_server_without_uploads_says_how_much_it_takes(
    provider: Provider, small_parts: OpenAITrainer, file: Path
) -> None:
    provider.gone = {"begin"}
    with pytest.raises(JobError) as caught:
        await small_parts.upload(file, "x.jsonl")
    assert caught.value.code == "SOPHIA-J536" and "100" in caught.value.why


async def test_more_than_eight_gigabytes_are_refused_before_a_byte_is_sent(
    provider: Provider, trainer: OpenAITrainer, tmp_path: Path
) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as stream:
        stream.truncate(8 * 1024**3 + 1)  # a hole: no disk is used
    with pytest.raises(JobError) as caught:
        await trainer.upload(path, "huge.jsonl")
    assert caught.value.code == "SOPHIA-J536" and provider.requests == []


def test_the_limits_are_the_protocols() -> None:
    trainer = OpenAITrainer(None, KEY)
    assert trainer.single_bytes == 512 * 1024**2 and trainer.part_bytes == 64 * 1024**2


# --- preference pairs, checkpoints, files, models ---


async def test_a_job_on_preference_pairs_says_its_method_and_beta(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    order = await ordered(trainer, file, method="dpo", beta=0.2, n_epochs=2)
    created = await trainer.create(order, "ftjob-ours")
    method = provider.jobs[created.id]["method"]
    assert method == {
        "type": "dpo",
        "dpo": {
            "hyperparameters": {
                "n_epochs": 2,
                "batch_size": "auto",
                "learning_rate_multiplier": "auto",
                "beta": 0.2,
            }
        },
    }
    assert provider.jobs[created.id]["hyperparameters"] is None
    assert created.facts["method"] == method and "hyperparameters" not in created.facts


async def test_checkpoints_come_with_their_model_and_finite_metrics(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    provider.statuses = ["queued", "running", "running", "succeeded"]
    created = await trainer.create(await ordered(trainer, file), "ftjob-ours")
    for _each in range(3):
        await trainer.show(created.id)
    provider.checkpoints[created.id][1]["metrics"] |= {"valid_loss": None, "odd": "x", "on": True}
    found = await trainer.checkpoints(created.id)
    assert [(each.step, each.model) for each in found] == [
        (1, "ft:gpt-4o-mini:ckpt-step-1"),
        (2, "ft:gpt-4o-mini:ckpt-step-2"),
    ]
    assert found[1].metrics == {"train_loss": 0.75}


async def test_files_are_listed_newest_first_and_deleted(
    provider: Provider, trainer: OpenAITrainer, file: Path
) -> None:
    ids = [(await trainer.upload(file, f"{n}-train.jsonl")).id for n in range(120)]
    found = await trainer.files()
    assert [each.id for each in found] == ids[::-1]
    assert (found[0].name, found[0].bytes) == ("119-train.jsonl", 160)
    await trainer.delete_file(ids[0])
    assert ids[0] not in provider.files
    with pytest.raises(NotFoundError):
        await trainer.delete_file(ids[0])


async def test_a_model_tells_its_last_day_and_can_be_deleted(
    provider: Provider, trainer: OpenAITrainer
) -> None:
    name = "ft:gpt-4o-mini:org::abc"
    provider.models = {name: {"id": name, "owned_by": "org", "shutdown_date": "2027-01-14"}}
    assert (await trainer.model(name)).shutdown_at == date(2027, 1, 14)
    provider.models[name]["shutdown_date"] = "soon"
    assert (await trainer.model(name)).shutdown_at is None
    await trainer.delete_model(name)
    assert provider.models == {}


@pytest.mark.parametrize("answer", [{"id": "x", "deleted": False}, {}, "<html></html>"])
async def test_what_does_not_say_that_it_is_deleted_is_not(
    provider: Provider, trainer: OpenAITrainer, answer: Any
) -> None:
    provider.faults["delete_model"] = [answer]
    provider.models = {"x": {"id": "x"}}
    with pytest.raises(UnavailableError) as caught:
        await trainer.delete_model("x")
    assert caught.value.code == "SOPHIA-J524"


async def test_knocking_tells_a_closed_door(provider: Provider, trainer: OpenAITrainer) -> None:
    await trainer.knock()
    provider.faults["list"] = [error(403, "closed", "training_not_available")]
    with pytest.raises(JobError) as caught:
        await trainer.knock()
    assert caught.value.code == "SOPHIA-J523"
