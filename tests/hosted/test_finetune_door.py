"""The door that scripts know, `sophia finetune` and `POST /finetune`: from a person's own folder to
a tuned model, with a real worker process and a real provider."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sophia_tui.paths import Paths
from sophia_tui.wiring import House
from sophia_tui.worker.lock import is_held, lock_path
from tests.api.server import serving
from tests.hosted.conftest import write_questions
from tests.hosted.provider import KEY, Provider

TOKEN = "the-token-of-the-owner"
FIELDS = {"id", "status", "base", "files", "resulting_model", "error"}


@pytest.fixture
def environment(
    provider: Provider, store_url: str, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A person's own folder, a hosted base, and a data folder whose worker is ended at last."""
    data = reachable / "data"
    monkeypatch.chdir(reachable)
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    yield {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SOPHIA_DATA_DIR": str(data),
        "SOPHIA_STORE_URL": store_url,
        "FINETUNE_DIR": str(write_questions(reachable / "mine")),
        "FINETUNE_BASE": "gpt-4o-mini",
        "FINETUNE_TOKEN": TOKEN,
        "ALLOW_FINETUNE": "true",
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_KEY": KEY,
        "SOPHIA_PROVIDER_POLL_SECONDS": "0.1",
    }
    if is_held(Paths(data)):
        os.kill(int(lock_path(Paths(data)).read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while is_held(Paths(data)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def url(environment: dict[str, str]) -> Iterator[str]:
    with serving(House(environment)) as address:
        yield f"{address}/finetune"


def ask(url: str, body: Any, token: str = TOKEN, **headers: str) -> httpx.Response:
    return httpx.post(
        url, json=body, headers={"x-admin-token": token, **headers}, timeout=60, trust_env=False
    )


def events_of(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        if line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def command(environment: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sophia_tui.cli.main", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_create_then_follow_over_http(url: str, provider: Provider, reachable: Path) -> None:
    created = ask(url, {})
    assert created.status_code == 200, created.text
    answer = created.json()
    assert set(answer) == FIELDS and answer["id"].startswith("ftjob-")
    assert (answer["base"], answer["files"]) == ("gpt-4o-mini", ["questions.jsonl"])
    assert answer["resulting_model"] is None and answer["error"] is None
    ended = ask(url, {"status": answer["id"], "watch": True}).json()
    assert set(ended) == FIELDS
    assert (ended["id"], ended["status"]) == (answer["id"], "succeeded")
    [theirs] = provider.jobs.values()
    assert ended["resulting_model"] == theirs["fine_tuned_model"]
    again = ask(url, {"status": theirs["id"]}).json()  # the provider's id is taken as well
    assert again == ended
    [line] = (reachable / "mine" / "history.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["id"], told["files"]) == (answer["id"], ["questions.jsonl"]) and told["at"]


def test_watching_ends_at_its_time_and_the_job_goes_on(url: str, provider: Provider) -> None:
    provider.held.set()
    begun = time.monotonic()
    answer = ask(url, {"watch": True, "timeout": 1}).json()
    assert time.monotonic() - begun < 20
    assert answer["status"] not in ("succeeded", "failed", "cancelled")
    provider.held.clear()
    assert ask(url, {"status": answer["id"], "watch": True}).json()["status"] == "succeeded"


def test_events_are_streamed_to_who_accepts_them(url: str, provider: Provider) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "text/event-stream"}
    with httpx.stream(
        "POST", url, json={"watch": True}, headers=headers, timeout=60, trust_env=False
    ) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        seen = list(events_of(response))
    names = [name for name, _data in seen]
    assert names[-1] == "result" and set(names[:-1]) == {"progress", "event"}
    numbers = [data["number"] for name, data in seen if name == "event"]
    assert numbers == list(range(1, len(numbers) + 1))
    seen = [each for each in seen if each[0] != "event"]
    assert set(seen[-1][1]) == FIELDS and seen[-1][1]["status"] == "succeeded"
    assert seen[0][1]["id"] == seen[-1][1]["id"]
    assert len({data["status"] for _name, data in seen}) >= 2


def test_a_client_that_goes_away_ends_the_stream_and_not_the_job(
    url: str, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.api.streams.KEEP_ALIVE_SECONDS", 0.05)
    provider.held.set()
    headers = {"x-admin-token": TOKEN, "accept": "text/event-stream"}
    with httpx.stream(
        "POST", url, json={"watch": True}, headers=headers, timeout=60, trust_env=False
    ) as response:
        lines = response.iter_lines()
        first = json.loads(next(each for each in lines if each.startswith("data: "))[6:])
        assert next(each for each in lines if each.startswith(":"))  # nothing happens: a comment
    provider.held.clear()
    assert ask(url, {"status": first["id"], "watch": True}).json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"status": "ftjob-nowhere"}, 404, "SOPHIA-J404"),
        ({"status": "ftjob-nowhere", "watch": True}, 404, "SOPHIA-J404"),
        ({"watch": "perhaps"}, 422, "SOPHIA-U422"),
        ({"watch": True, "timeout": -1}, 422, "SOPHIA-U422"),
        ({"unknown": 1}, 422, "SOPHIA-U422"),
        ({"recipe": "/etc/passwd"}, 403, "SOPHIA-J449"),
        ({"dry_run": True}, 422, "SOPHIA-U405"),
        ([], 422, "SOPHIA-U463"),
    ],
)
def test_a_wrong_request_begins_nothing(
    url: str, provider: Provider, body: Any, status: int, code: str
) -> None:
    answer = ask(url, body, accept="text/event-stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert provider.requests == []


def test_the_door_needs_its_token(url: str) -> None:
    assert ask(url, {}, token="another").status_code == 401


def test_the_door_needs_allow_finetune(environment: dict[str, str], provider: Provider) -> None:
    with serving(House({**environment, "ALLOW_FINETUNE": "false"})) as address:
        answer = ask(f"{address}/finetune", {})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "SOPHIA-R451")
    assert provider.requests == []


def test_the_command_line_follows_a_job_to_its_model(
    environment: dict[str, str], provider: Provider
) -> None:
    done = command(environment, "finetune", "--watch")
    assert done.returncode == 0, done.stderr
    [theirs] = provider.jobs.values()
    assert f"Resulting model: {theirs['fine_tuned_model']}" in done.stdout
    assert "succeeded" in done.stderr
    shown = command(environment, "finetune", "--status", theirs["id"], "--watch", "--json")
    assert shown.returncode == 0
    assert set(json.loads(shown.stdout.splitlines()[-1])) == FIELDS


def test_a_watched_job_that_fails_ends_with_1(
    environment: dict[str, str], provider: Provider
) -> None:
    provider.statuses, provider.failure = ["failed"], {"message": "no", "code": "x"}
    provider.statuses = ["queued", "failed"]
    done = command(environment, "finetune", "--watch", "--json")
    *events, answer = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["number"] for each in events] == list(range(1, len(events) + 1))
    assert (done.returncode, answer["status"]) == (1, "failed")
    assert answer["error"]["code"] == "SOPHIA-J528"
    shown = command(environment, "finetune", "--status", answer["id"])
    assert shown.returncode == 0  # to look at it is no failure
