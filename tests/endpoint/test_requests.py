"""Files, large files in parts, repeated creates, and wrong requests in the protocol's own shape."""

import concurrent.futures
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sophia_tui.wiring import House
from tests.endpoint.conftest import ADMIN, MODELS, OPERATOR, VIEWER, chats, preferences

pytestmark = pytest.mark.usefixtures("nobody_works")


def upload(client: openai.OpenAI, content: bytes, name: str = "rooms.jsonl") -> str:
    return client.files.create(file=(name, content), purpose="fine-tune").id


def create(client: openai.OpenAI, file: str, base: Path | str, **more: Any) -> Any:
    return client.fine_tuning.jobs.create(model=str(base), training_file=file, **more)


def refused(status: int, code: str | None, param: str | None) -> Any:
    """An error of the official client with those parts; its message is to be looked at."""

    def fits(problem: openai.APIStatusError) -> bool:
        body = problem.body
        return (
            isinstance(body, dict)
            and set(body) == {"message", "type", "param", "code"}
            and (problem.status_code, body["code"], body["param"]) == (status, code, param)
        )

    return pytest.raises(openai.APIStatusError, check=fits)


def test_files_are_listed_by_pages_read_and_deleted(
    client: openai.OpenAI, environment: dict[str, str]
) -> None:
    sent = [upload(client, chats(10, first=n), f"rooms-{n}.jsonl") for n in range(5)]
    pages = client.files.list(limit=2, purpose="fine-tune", order="asc")
    assert [each.id for each in pages] == sent
    assert [each.id for each in client.files.list(limit=2)] == sent[::-1]
    first = client.files.retrieve(sent[0])
    assert (first.filename, first.purpose, first.status) == (
        "rooms-0.jsonl",
        "fine-tune",
        "processed",
    )
    assert first.bytes == len(chats(10)) and client.files.content(sent[0]).read() == chats(10)
    assert client.files.delete(sent[0]).deleted
    with refused(404, None, "id") as gone:
        client.files.retrieve(sent[0])
    assert "No such File object" in gone.value.message
    kept = Path(environment["SOPHIA_DATA_DIR"]) / "uploads"
    assert sorted(each.name for each in kept.iterdir()) == sorted(f"{n}.jsonl" for n in sent[1:])


def test_a_large_file_comes_in_parts(client: openai.OpenAI, environment: dict[str, str]) -> None:
    content = chats(30)
    whole = client.uploads.upload_file_chunked(
        file=content,
        filename="rooms.jsonl",
        bytes=len(content),
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=700,
        md5=hashlib.md5(content).hexdigest(),
    )
    assert whole.status == "completed" and whole.file is not None
    assert client.files.content(whole.file.id).read() == content
    begun = client.uploads.create(
        bytes=10, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )
    part = client.uploads.parts.create(begun.id, data=b"{}")
    with refused(400, None, "part_ids"):
        client.uploads.complete(begun.id, part_ids=[part.id])
    assert client.uploads.cancel(begun.id).status == "cancelled"
    with refused(400, None, "upload_id"):
        client.uploads.parts.create(begun.id, data=b"{}")
    left = Path(environment["SOPHIA_DATA_DIR"]) / "uploads"
    assert [each.name for each in left.rglob("part-*")] == []


def test_what_is_too_large_or_cut_off_leaves_no_trace(
    environment: dict[str, str], address: str, client: openai.OpenAI
) -> None:
    with refused(400, "invalid_file_format", "file") as wrong:
        upload(client, b'{"messages": []}\n[1]\n')
    assert "Line 2 is not a dictionary" in wrong.value.message
    for body in (b'--x\r\ncontent-disposition: form-data; name="file"\r\n\r\n{}', b"", b"--x--"):
        found = httpx.post(
            f"{address}/files",
            content=body,
            headers={
                "authorization": f"Bearer {OPERATOR}",
                "content-type": "multipart/form-data; boundary=x",
            },
            trust_env=False,
        )
        assert (found.status_code, found.json()["error"]["param"]) == (400, "file")
    with refused(400, None, "file"):
        upload(client, b"")
    uploads = Path(environment["SOPHIA_DATA_DIR"]) / "uploads"
    assert list(uploads.iterdir()) == []


def test_a_file_above_the_limit_is_refused(environment: dict[str, str]) -> None:
    from tests.api.server import serving

    with serving(House({**environment, "SOPHIA_UPLOAD_BYTES": "1000"})) as found:
        client = openai.OpenAI(base_url=f"{found}/v1", api_key=OPERATOR, max_retries=0)
        with refused(413, "request_too_large", "file"):
            upload(client, chats(100))
        with refused(413, None, "file"):
            client.uploads.create(bytes=1001, filename="a", mime_type="b", purpose="fine-tune")
    assert list((Path(environment["SOPHIA_DATA_DIR"]) / "uploads").iterdir()) == []


def test_rules_for_training_files(client: openai.OpenAI, base: Path) -> None:
    def lines(*rows: Any) -> bytes:
        return chats(99) + b"".join(json.dumps(each).encode() + b"\n" for each in rows)

    user = {"role": "user", "content": "When?"}
    wrong = {
        "Example 100, message 2 Discriminator 'role' is missing in value": [user, {"content": "x"}],
        "Example 100 Last message must be from the assistant": [
            {"role": "assistant", "content": "Hi."},
            user,
        ],
    }
    for message, messages in wrong.items():
        file = upload(client, lines({"messages": messages}))
        with refused(400, "invalid_training_file", "training_file") as problem:
            create(client, file, base)
        assert message in problem.value.message
    with refused(400, "invalid_n_examples", "training_file") as few:
        create(client, upload(client, chats(7)), base)
    assert "has 7 example(s), but must have at least 10 examples" in few.value.message
    good = upload(client, chats(12))
    with refused(400, "invalid_validation_file", "validation_file"):
        create(client, good, base, validation_file=upload(client, chats(3, first=11)))
    assert list(client.fine_tuning.jobs.list()) == []


def test_calls_of_tools_are_kept_and_what_can_not_be_kept_is_listed_as_rejected(
    client: openai.OpenAI, base: Path, address: str
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tools = [
        {"role": "user", "content": "When?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "9"},
        {"role": "assistant", "content": "At 9."},
    ]
    old = [tools[0], {"role": "assistant", "function_call": call["function"]}]
    lines = b"".join(json.dumps({"messages": each}).encode() + b"\n" for each in (tools, old))
    file = upload(client, chats(12) + lines)
    job = create(client, file, base)
    owner = {"x-admin-token": ADMIN}
    api = address.removesuffix("/v1") + "/api/v1"
    with httpx.Client(headers=owner, trust_env=False) as asked:
        shown = asked.get(f"{api}/tuning/show", params={"job": job.id}).json()
        assert (shown["rows_kept"], shown["rows_rejected"]) == (13, 1)
        listed = asked.get(f"{api}/datasets/rejected", params={"dataset": shown["dataset"]}).json()
    assert [(each["line"], each["code"]) for each in listed["items"]] == [(14, "function_call")]


def test_wrong_requests(client: openai.OpenAI, base: Path) -> None:
    file = upload(client, chats(12))
    with refused(404, "model_not_found", "model"):
        create(client, file, "gpt-4o-mini-2024-07-18")
    with refused(400, "invalid_training_file", "training_file"):
        create(client, "file-nobodyknows1", base)
    with refused(400, "invalid_training_file", "training_file") as chats_for_dpo:
        create(client, file, base, method={"type": "dpo"})
    assert "Example 1 Missing required key 'input'" in chats_for_dpo.value.message
    with refused(400, "invalid_value", "integrations"):
        create(client, file, base, integrations=[{"type": "wandb", "wandb": {"project": "p"}}])
    with refused(400, "unknown_parameter", "colour"):
        create(client, file, base, extra_body={"colour": "blue"})
    with refused(400, "invalid_value", "suffix"):
        create(client, file, base, suffix="x" * 65)
    with refused(400, "invalid_metadata", "metadata"):
        create(client, file, base, metadata={str(n): "x" for n in range(17)})
    parameters = {"n_epochs": 51, "batch_size": "auto"}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": parameters}}
    with refused(400, "invalid_value", "method.supervised.hyperparameters.n_epochs"):
        create(client, file, base, method=method)
    for epochs in (-3, 51, "many", 1.5):
        parameters = {"n_epochs": epochs}
        wrong: Any = {"type": "supervised", "supervised": {"hyperparameters": parameters}}
        with refused(400, "invalid_value", "method.supervised.hyperparameters.n_epochs") as told:
            create(client, file, base, method=wrong)
        assert "n_epochs: must be auto or 1 to 50" in told.value.message
    with refused(404, "fine_tune_not_found", "fine_tuning_job_id"):
        client.fine_tuning.jobs.retrieve("ftjob-nobodyknows")
    with refused(400, "SOPHIA-U464", None):
        client.fine_tuning.jobs.list(limit=0)
    job = create(client, file, base)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with refused(400, "SOPHIA-J410", None):
        client.fine_tuning.jobs.pause(job.id)
    with refused(404, "not_found", "after"):
        client.fine_tuning.jobs.list_events(job.id, after="ftevent-x")


def test_preferences_are_prepared_as_pairs(client: openai.OpenAI, base: Path) -> None:
    file = upload(client, preferences(12))
    chosen: Any = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.3, "n_epochs": 1}}}
    job = create(client, file, base, method=chosen)
    assert job.method and job.method.type == "dpo" and job.method.dpo.hyperparameters.beta == 0.3
    with refused(400, "invalid_training_file", "training_file"):
        create(client, file, base)


def test_names_of_the_hosted_service_stand_for_a_base(
    environment: dict[str, str], base: Path
) -> None:
    from tests.api.server import serving

    house = House({**environment, "SOPHIA_TUNING_BASES": f"gpt-4o-mini={base}"})
    with serving(house) as found:
        client = openai.OpenAI(base_url=f"{found}/v1", api_key=OPERATOR, max_retries=0)
        job = create(client, upload(client, chats(12)), "gpt-4o-mini")
        assert (job.model, job.status) == ("gpt-4o-mini", "queued")
        with refused(404, "model_not_found", "model"):
            create(client, job.training_file, "gpt-4o")


def test_a_create_that_is_repeated_makes_one_job(
    client: openai.OpenAI, address: str, base: Path
) -> None:
    file = upload(client, chats(12))
    body = {"model": str(base), "training_file": file, "metadata": {"sophia_job": "ftjob-1"}}
    headers = {"authorization": f"Bearer {OPERATOR}"}
    url = f"{address}/fine_tuning/jobs"

    def ask(**more: str) -> httpx.Response:
        return httpx.post(url, json=body, headers={**headers, **more}, timeout=60, trust_env=False)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:  # the answer of the first is awaited
        together = [each.result().json()["id"] for each in [pool.submit(ask) for _n in range(4)]]
    assert len(set(together)) == 1
    again = ask(**{"x-stainless-retry-count": "1"}).json()["id"]  # its answer was lost
    assert again == together[0]
    assert ask().json()["id"] != together[0]  # who asks anew and means it
    with_key = [ask(**{"idempotency-key": "k1"}).json()["id"] for _n in range(2)]
    assert len(set(with_key)) == 1
    body["seed"] = 7  # type: ignore[assignment]
    other = ask(**{"idempotency-key": "k1"})
    assert (other.status_code, other.json()["error"]["code"]) == (400, "idempotency_error")
    assert len(list(client.fine_tuning.jobs.list(metadata={"sophia_job": "ftjob-1"}))) == 3
    assert list(client.fine_tuning.jobs.list(metadata={"sophia_job": "ftjob-2"})) == []


def test_who_may_do_what(address: str, environment: dict[str, str], base: Path) -> None:
    from tests.api.server import serving

    def known_as(key: str, place: str = address) -> openai.OpenAI:
        return openai.OpenAI(base_url=place, api_key=key, max_retries=0)

    looks, asks_models = known_as(VIEWER), known_as(MODELS)
    for client, kind in (
        (looks, openai.PermissionDeniedError),
        (asks_models, openai.AuthenticationError),
        (known_as("nobody"), openai.AuthenticationError),
    ):
        with pytest.raises(kind):
            upload(client, chats(10))
        with pytest.raises(kind):
            create(client, "file-x", base)
    assert list(looks.fine_tuning.jobs.list()) == []
    with pytest.raises(openai.AuthenticationError):
        asks_models.fine_tuning.jobs.list()
    with pytest.raises(openai.AuthenticationError):
        asks_models.models.delete("sophia-v1")
    assert list(asks_models.models.list()) == []
    file = upload(known_as(OPERATOR), chats(10))
    with pytest.raises(openai.PermissionDeniedError):
        looks.files.content(file)
    with serving(House({**environment, "ALLOW_FINETUNE": "false"})) as found:
        closed = known_as(OPERATOR, f"{found}/v1")
        with refused(403, "training_not_available", None):
            create(closed, file, base)
