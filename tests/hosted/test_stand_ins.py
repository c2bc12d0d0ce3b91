"""The provider against servers that others wrote: Prism, which holds every request against OpenAI's
own description of the protocol, and aimock, which runs jobs.

Both come by npx at a pinned version. Prism needs the description's file, which is no part of this
repository: SOPHIA_TEST_OPENAPI names it (openapi.yaml of github.com/openai/openai-openapi; tried
with commit f85dbe223d40).
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.hosted import HostedOrder
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import JobError, NotFoundError, UnavailableError
from sophia_tui.paths import Paths
from sophia_tui.providers.openai_jobs import OpenAITrainer
from sophia_tui.services.checkpoints import CheckpointsService
from sophia_tui.services.views import JobReference
from sophia_tui.settings import load
from tests.hosted.conftest import CONTEXT, Bench

pytestmark = pytest.mark.long

PRISM, AIMOCK = "@stoplight/prism-cli@5.16.0", "@copilotkit/aimock@1.43.0"
KEY = "sk-test-0123456789abcdef"
_START_SECONDS = 240.0


@contextmanager
def npx(package: str, command: str, *arguments: str, ready: str) -> Iterator[str]:
    """The address of a server that an npm package runs."""
    if shutil.which("npx") is None:
        pytest.skip("node is not installed: no npx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["npx", "--yes", "-p", package, command, "-p", str(port), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(address + ready):
            if process.poll() is not None:
                pytest.skip(f"{package} could not be fetched or started (status {process.poll()})")
            assert time.monotonic() < deadline, f"{package} does not answer"
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def prism() -> Iterator[str]:
    description = os.environ.get("SOPHIA_TEST_OPENAPI", "")
    if not Path(description).is_file():
        pytest.skip("SOPHIA_TEST_OPENAPI does not name OpenAI's openapi.yaml")
    with npx(PRISM, "prism", "mock", "--errors", description, ready="/models") as address:
        yield address


@pytest.fixture
async def strict(prism: str) -> AsyncIterator[OpenAITrainer]:
    trainer = OpenAITrainer(prism, KEY)
    yield trainer
    await trainer.close()


@pytest.fixture
def order(tmp_path: Path) -> HostedOrder:
    path = tmp_path / "train.jsonl"
    line = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    path.write_text(line * 10)
    return HostedOrder(
        base="gpt-4o-mini",
        base_url=None,
        dataset_hash="0" * 64,
        training=str(path),
        training_file="file-abc123",
        validation_file="file-abc124",
        suffix="rooms",
        seed=3,
        n_epochs=2,
        batch_size=4,
        learning_rate_multiplier=0.5,
    )


async def test_every_request_fits_openais_own_description(
    strict: OpenAITrainer, order: HostedOrder
) -> None:
    """Prism answers 422 to a request that does not fit, which would be JobError J521 here."""
    await strict.knock()
    await strict.model("gpt-4o-mini")
    await strict.upload(Path(order.training), "x-train.jsonl")
    await strict.file("file-abc123")
    await strict.files()
    await strict.find(order, "ftjob-ours")
    plain = HostedOrder("gpt-4o-mini", None, "0" * 64, order.training, training_file="file-abc123")
    for each in (order, plain, replace(plain, method="dpo"), replace(order, method="dpo", beta=2)):
        assert (await strict.create(each, "ftjob-ours")).id
    await strict.show("ftjob-abc")
    for act in (strict.cancel, strict.pause, strict.resume):
        await act("ftjob-abc")
    await strict.events("ftjob-abc", ())
    await strict.checkpoints("ftjob-abc")
    await strict.delete_file("file-abc123")
    await strict.delete_model("ft:gpt-4o-mini:acme:rooms:abc")


async def test_uploads_in_parts_fit_it_too(strict: OpenAITrainer, order: HostedOrder) -> None:
    """Prism says of each completed upload that it has no file yet; so the last word is ours."""
    strict.single_bytes, strict.part_bytes = 100, 400
    with pytest.raises(UnavailableError) as caught:
        await strict.upload(Path(order.training), "x-train.jsonl")
    assert caught.value.code == "SOPHIA-J524" and "file" in caught.value.why


@pytest.mark.parametrize(
    "wrong", [{"n_epochs": 51}, {"suffix": "x" * 65}, {"seed": -1}, {"batch_size": 257}]
)
async def test_what_we_refuse_is_wrong_there_as_well(
    strict: OpenAITrainer, order: HostedOrder, wrong: dict[str, Any]
) -> None:
    with pytest.raises(JobError) as caught:
        await strict.create(replace(order, **wrong), "ftjob-ours")
    assert caught.value.code == "SOPHIA-J521" and "422" in caught.value.why


# --- aimock: a job's whole life ---


@pytest.fixture
def aimock(tmp_path: Path) -> Iterator[str]:
    fixtures = tmp_path / "fixtures"
    fixtures.mkdir()
    (fixtures / "none.json").write_text('{"fixtures": []}')
    more = ("-f", str(fixtures), "--log-level", "silent")
    with npx(AIMOCK, "llmock", *more, ready="/v1/models") as address:
        yield address + "/v1"


@pytest.fixture
async def away(store: Store, aimock: str, paths: Paths, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = load(
        {
            "SOPHIA_STORE_URL": "",
            "OPENAI_BASE_URL": aimock,
            "OPENAI_API_KEY": KEY,
            "SOPHIA_PROVIDER_POLL_SECONDS": "0.05",
            "FINETUNE_HISTORY": str(tmp_path / "history.jsonl"),
        }
    )
    made = Bench(store, settings, paths)
    yield made
    await made.keeper.close()


async def test_a_whole_job_runs_at_a_server_that_others_wrote(away: Bench) -> None:
    await away.prepare()
    asked = await away.start(epochs=3, seed=7, suffix="rooms")
    job = await away.rounds_until(asked.id, "succeeded", "failed")
    assert job.state == "succeeded", job.error
    assert str(job.resulting_model).startswith("ft:gpt-4o-mini:")
    assert (job.result or {})["trained_tokens"] == 7
    events = await away.store.jobs.events(job.id)
    assert [each.number for each in events] == list(range(1, len(events) + 1))
    told = [each.data["state"] for each in events if each.kind == "state"]
    assert told[-2:] == ["running", "succeeded"]
    kept = await CheckpointsService(away.store).list(CONTEXT, JobReference(job=job.id))
    assert kept.job == job.id


async def test_it_refuses_and_cancels_as_the_protocol_says(aimock: str, order: HostedOrder) -> None:
    trainer = OpenAITrainer(aimock, KEY)
    sent = await trainer.upload(Path(order.training), "x-train.jsonl")
    assert [each.id for each in await trainer.files()] == [sent.id]
    mine = replace(order, training_file=sent.id, validation_file=None)
    created = await trainer.create(mine, "ftjob-ours")
    assert [each.id for each in await trainer.find(mine, "ftjob-ours")] == [created.id]
    assert (await trainer.cancel(created.id)).ended == "cancelled"
    with pytest.raises(JobError):
        await trainer.cancel(created.id)
    with pytest.raises(NotFoundError):
        await trainer.show("ftjob-nowhere")
    await trainer.delete_file(sent.id)
    assert await trainer.files() == []
    await trainer.close()
