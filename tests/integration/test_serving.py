"""Serving a real small model by the real engine, and what Sophia says of engines that are gone.

The model starts once for all that asks it; the front's own behaviour is test_front's.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openai
import pytest

from finetune.schema import MANIFEST_FILE, MERGED_FOLDER, RunManifest
from sophia_tui.domain.context import CancelSignal, Context, Face, Progress, Role
from sophia_tui.domain.jobs import JobKind, JobState
from sophia_tui.domain.models import Model, ModelKind
from sophia_tui.domain.operations import Output
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import (
    Access,
    Deployment,
    DeploymentState,
    EngineLoad,
    EngineOptions,
)
from sophia_tui.errors import SophiaError
from sophia_tui.providers.engines import LocalEngines, stop_group
from sophia_tui.providers.machine import ThisMachine, start_time
from sophia_tui.services.serving import DeploymentView
from sophia_tui.settings import load
from sophia_tui.wiring import House
from sophia_tui.worker.finish import Finisher
from sophia_tui.worker.observe import Observed
from tests.finetune.tiny_model import build_tiny_model
from tests.integration.serving_house import MODEL_KEY, asked, house_on, model_row
from tests.integration.test_front import deployment
from tests.integration.worker_house import SystemClock, new_job

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

HERE = ThisMachine.here()
QUESTION: list[Any] = [{"role": "user", "content": "What is Brovik famous for?"}]
#: Starts at once and fails as an engine without memory does.
DYING = "import sys; print('torch.OutOfMemoryError: a secret prompt'); sys.exit(1)"


#: Answers one request after the other; "stuck" keeps it for good, "slow" for two seconds.
SINGLE = """
import http.server, json, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = self.rfile.read(int(self.headers["content-length"]))
        time.sleep(600 if b"stuck" in asked else 2 if b"slow" in asked else 0)
        message = {"role": "assistant", "content": "x"}
        content = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("served"))


@pytest.fixture
def engine() -> str:
    """The engine of `house`; most tests play it."""
    return "transformers"


@pytest.fixture
async def house(store_url: str, tmp_path: Path, engine: str) -> AsyncIterator[House]:
    # nobody is at API_URL, and none is started there: it is no address of this machine
    more = {"API_URL": "http://192.0.2.1:9", "SOPHIA_SERVING_ENGINE": engine}
    found = house_on(store_url, tmp_path, **more)
    yield found
    for each in await (await found.store()).deployments.page(living=True):
        if each.identity is not None:
            await stop_group(HERE, each.identity)
    await found.close()


def context(face: Face = Face.API, **more: Any) -> Context:
    """By default a caller over HTTP: it asks because an API answers."""
    return Context("maria", face, Role.ADMIN, confirmed=True, **more)


async def call(house: House, operation: str, /, **request: Any) -> Any:
    face = request.pop("context", context())
    return await house.dispatcher.call(operation, request, face)


async def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` gives, once it gives something."""
    for _try in range(int(seconds / 0.2)):
        if found := await look():
            return found
        await asyncio.sleep(0.2)
    raise AssertionError("it never came")


@pytest.mark.parametrize(
    "engine", ["llamacpp", pytest.param("transformers", marks=pytest.mark.long)]
)
async def test_a_model_is_served_asked_brought_back_and_stopped(
    house: House, store: Store, tiny: Path, store_url: str, tmp_path: Path, engine: str
) -> None:
    await store.models.add(model_row("tiny", tiny))
    told: list[Progress] = []
    view = await call(house, "serve.model", model="tiny", context=context(progress=told.append))
    assert (view.name, view.state, view.restarts) == ("tiny", "ready", 0)
    precision = {"llamacpp": "f16", "transformers": "f32"}[engine]
    assert (view.engine, view.precision) == (engine, precision)
    assert told and "tiny" in told[-1].stage
    again = await call(house, "serve.model", model="tiny")
    assert again.id == view.id  # it lives already

    with asked(house_on(store_url, tmp_path)) as client:
        assert [each.id async for each in client.models.list()] == ["tiny"]
        answer = await client.chat.completions.create(
            model="tiny", messages=QUESTION, max_tokens=4, temperature=0
        )
        assert answer.model == "tiny"
        assert answer.usage is not None and answer.usage.completion_tokens == 4
        stream = await client.chat.completions.create(
            model="tiny",
            messages=QUESTION,
            max_tokens=4,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert {chunk.model for chunk in chunks} == {"tiny"}
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 4
        plain = await client.completions.create(model="tiny", prompt="Brovik is", max_tokens=3)
        assert plain.model == "tiny"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="other", messages=QUESTION)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="wrong").models.list()

        os.kill(view.pid, signal.SIGKILL)

        async def back() -> DeploymentView | None:
            seen = await call(house, "serve.show", name="tiny")
            return seen if seen.restarts == 1 and seen.state == "ready" else None

        brought = await eventually(back)
        assert brought.pid != view.pid
        await asyncio.sleep(1.1)  # names are looked up once a second
        assert await client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=1)

        [stopped] = (await call(house, "serve.stop", name="tiny")).items
        assert stopped.state == "stopped"
        assert start_time(brought.pid) is None
        await asyncio.sleep(1.1)
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="tiny", messages=QUESTION)
        await client.close()
    assert (await call(house, "serve.list")).items == []
    assert [each.name for each in (await call(house, "serve.list", all=True)).items] == ["tiny"]
    log = Path(stopped.folder, "log.txt").read_text()
    assert "Brovik" not in log


class PlayedEngine:
    """An engine whose program the test chooses."""

    name = "transformers"
    packages: tuple[str, ...] = ()
    adapters = False

    def __init__(self, program: str) -> None:
        self.program = program

    def prepare(self, load: EngineLoad, options: EngineOptions, folder: Path) -> None:
        """It reads nothing."""

    def command(self, load: EngineLoad, port: int, folder: Path) -> tuple[str, ...]:
        return (sys.executable, "-c", self.program, str(port))

    def environment(self, folder: Path) -> dict[str, str]:
        return {}

    def access(self, model: Model, folder: Path) -> Access:
        return Access(model.path or "")


def play(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    from sophia_tui.providers import engines

    monkeypatch.setitem(engines.ENGINES, "transformers", PlayedEngine(program))


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_an_engine_at_work_for_nobody_is_started_again_and_a_busy_one_is_not(
    house: House,
    store: Store,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    store_url: str,
    tmp_path: Path,
) -> None:
    play(monkeypatch, SINGLE)
    monkeypatch.setattr("sophia_tui.api.watch.EVERY_SECONDS", 0.1)
    await store.models.add(model_row("tiny", tiny))
    view = await call(house, "serve.model", model="tiny")
    with asked(house_on(store_url, tmp_path, SOPHIA_SERVING_STUCK_SECONDS="1")) as client:

        async def ask(text: str, seconds: float) -> Any:
            asking = client.with_options(timeout=seconds).chat.completions
            return await asking.create(model="tiny", messages=said(text))

        long = asyncio.create_task(ask("slow", 20))
        await asyncio.sleep(0.2)
        with pytest.raises(openai.APITimeoutError):
            await ask("hello", 0.2)
        assert await long
        assert (await call(house, "serve.show", name="tiny")).pid == view.pid

        with pytest.raises(openai.APITimeoutError):
            await ask("stuck", 0.3)

        async def back() -> DeploymentView | None:
            seen = await call(house, "serve.show", name="tiny")
            return seen if seen.restarts == 1 and seen.state == "ready" else None

        brought = await eventually(back, 30)
        assert brought.pid != view.pid and start_time(view.pid) is None
        await asyncio.sleep(1.1)  # names are looked up once a second
        assert await ask("hello", 20)
        await client.close()


async def test_a_served_model_that_does_not_answer_is_told_and_started_again(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import http.client

    play(monkeypatch, SINGLE)
    monkeypatch.setattr("sophia_tui.services.serving._QUICK_SECONDS", 0.3)
    monkeypatch.setattr("sophia_tui.services.serving._BUSY_SECONDS", 0.6)
    await store.models.add(model_row("tiny", tiny))
    view = await call(house, "serve.model", model="tiny")
    connection = http.client.HTTPConnection("127.0.0.1", view.port)
    connection.request("POST", "/", b"stuck")
    told: list[Progress] = []
    again = await call(house, "serve.model", model="tiny", context=context(progress=told.append))
    connection.close()
    assert "served already and does not answer" in told[0].stage
    assert (again.id, again.state, again.restarts) == (view.id, "ready", 1)
    assert again.pid != view.pid and start_time(view.pid) is None
    assert "did not answer" in again.notes[0]


async def test_a_port_that_another_program_has_is_told_before_anything_is_done(
    store_url: str, tmp_path: Path, store: Store, tiny: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        house = house_on(store_url, tmp_path, API_URL=address, SOPHIA_SERVING_ENGINE="transformers")
        await store.models.add(model_row("tiny", tiny))
        with pytest.raises(SophiaError) as caught:
            await call(house, "serve.model", model="tiny", context=context(Face.CLI))
        assert caught.value.code == "SOPHIA-M491" and address in caught.value.what
        assert (await call(house, "serve.list")).api.error["code"] == "SOPHIA-M491"
        assert await store.deployments.page() == []
        await house.close()


async def test_who_stops_is_told_what_remains(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody() -> None:
        """No worker: the merge stays queued."""

    async def stopped() -> SophiaError:
        cancel = CancelSignal()
        waits = context(cancel=cancel, progress=lambda progress: cancel.request())
        with pytest.raises(SophiaError) as caught:
            await call(house, "serve.model", model="sophia-v1", context=waits)
        return caught.value

    monkeypatch.setattr(house, "wake", nobody)
    (tmp := tiny.parent / "adapter").mkdir()
    (tmp / "adapter_config.json").write_text("{}")
    await store.models.add(model_row("sophia-v1", tmp, ModelKind.ADAPTER))
    problem = await stopped()
    [job] = await store.jobs.page()
    assert problem.code == "SOPHIA-U499" and f"The merge {job.id} goes on" in problem.why

    merged = model_row("sophia-v1-merged", tiny, ModelKind.MERGED)

    async def whole(_store: Store, _adapter: str) -> Any:
        return merged

    play(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr("sophia_tui.services.serving.whole_merged", whole)
    await store.models.add(merged)
    assert "sophia-v1-merged remains" in (await stopped()).why


async def test_an_engine_that_can_not_load_fails_with_its_kind_of_cause(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, DYING)
    await store.models.add(model_row("tiny", tiny))
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="tiny")
    assert caught.value.code == "SOPHIA-M441"
    assert "OutOfMemoryError" in caught.value.why
    assert "secret" not in str(caught.value)
    [row] = await store.deployments.page()
    assert (row.state, (row.error or {})["code"]) == (DeploymentState.FAILED, "SOPHIA-M441")


async def test_one_that_never_answers_is_ended_in_time(
    store_url: str, tmp_path: Path, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "import time; time.sleep(600)")
    house = house_on(
        store_url, tmp_path, SOPHIA_SERVING_READY_SECONDS="5", SOPHIA_SERVING_ENGINE="transformers"
    )
    await store.models.add(model_row("tiny", tiny))
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="tiny")
    assert caught.value.code == "SOPHIA-M442"
    [row] = await store.deployments.page()
    assert row.state is DeploymentState.FAILED
    assert row.identity is not None and not HERE.alive(row.identity)
    await house.close()


async def test_a_person_may_stop_waiting_and_nothing_is_left(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, "import time; time.sleep(600)")
    await store.models.add(model_row("tiny", tiny))
    cancel = CancelSignal()
    waits = context(cancel=cancel, progress=lambda progress: cancel.request())
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="tiny", context=waits)
    assert caught.value.code == "SOPHIA-U499"
    [row] = await store.deployments.page()
    assert row.state is DeploymentState.STOPPED
    assert row.identity is not None and not HERE.alive(row.identity)


async def vanished(house: House, store: Store, tiny: Path, **more: Any) -> Deployment:
    """A deployment that was ready, and whose process is gone."""
    child = subprocess.Popen(["sleep", "600"])
    identity = HERE.identity(child.pid, start_time(child.pid) or 0)
    child.kill()
    child.wait()
    await store.models.add(model_row("tiny", tiny))
    row = Deployment(
        "deployment-1",
        "tiny",
        "tiny",
        "transformers",
        DeploymentState.READY,
        "maria",
        datetime.now(UTC) - timedelta(minutes=5),
        folder=str(house.paths.deployments / "deployment-1"),
        port=9,
        identity=identity,
        ready_at=datetime.now(UTC) - timedelta(minutes=4),
    )
    row = replace(row, **more)
    await store.deployments.add(row)
    return row


async def test_the_restarts_end_at_the_limit_with_the_cause(
    house: House, store: Store, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, DYING)
    await vanished(house, store, tiny)
    deployments = await house.deployments()

    async def given_up() -> Deployment | None:
        await deployments.look()
        row = await store.deployments.get("deployment-1")
        return row if row and row.state.ended else None

    row = await eventually(given_up)
    assert (row.state, row.restarts) == (DeploymentState.FAILED, 3)
    assert "OutOfMemoryError" in row.error["why"]


async def test_the_truth_is_told_although_nobody_watches(
    house: House, store: Store, tiny: Path
) -> None:
    await vanished(house, store, tiny)
    [view] = (await call(house, "serve.list")).items
    assert (view.state, view.error["code"]) == ("failed", "SOPHIA-M441")
    assert view.pid is None


async def test_what_ran_before_the_last_boot_is_stopped(
    house: House, store: Store, tiny: Path
) -> None:
    row = await vanished(house, store, tiny)
    assert row.identity is not None
    mine = HERE.identity(os.getpid(), start_time(os.getpid()) or 0)
    await store.deployments.update("deployment-1", identity=replace(mine, boot_id="another"))
    assert (await call(house, "serve.show", name="tiny")).state == "stopped"
    await (await house.deployments()).look()
    kept = await store.deployments.get("deployment-1")
    assert kept is not None and kept.state is DeploymentState.STOPPED


async def test_a_reused_process_number_is_never_signalled() -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    started = start_time(child.pid) or 0
    await LocalEngines().stop(HERE.identity(child.pid, started - 1))
    assert child.poll() is None
    stopping = asyncio.create_task(LocalEngines().stop(HERE.identity(child.pid, started)))
    await asyncio.to_thread(child.wait)
    await stopping
    assert child.returncode == -signal.SIGTERM


async def test_who_does_not_heed_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sophia_tui.providers.engines._POLITE_SECONDS", 0.3)
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    child = subprocess.Popen(["sh", "-c", stubborn], start_new_session=True, stdout=-1)
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    identity = HERE.identity(child.pid, start_time(child.pid) or 0)
    stopping = asyncio.create_task(LocalEngines().stop(identity))
    await asyncio.to_thread(child.wait)
    await stopping
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL


async def test_a_taken_name_a_hosted_model_and_a_wrong_name_are_refused(
    house: House, store: Store, tiny: Path
) -> None:
    await vanished(
        house, store, tiny, identity=HERE.identity(os.getpid(), start_time(os.getpid()) or 0)
    )
    await store.models.add(model_row("other", tiny))
    await store.models.add(model_row("gpt-x", "", ModelKind.HOSTED))
    await store.models.add(model_row("lost", "/nowhere"))
    for request, code in (
        ({"model": "other", "name": "tiny"}, "M420"),
        ({"model": "gpt-x"}, "M435"),
        ({"model": "other", "name": "a b"}, "M436"),
        ({"model": "lost"}, "M440"),
        ({"model": "nobody"}, "M404"),
    ):
        with pytest.raises(SophiaError) as caught:
            await call(house, "serve.model", **request)
        assert caught.value.code == f"SOPHIA-{code}"
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.stop")
    assert caught.value.code == "SOPHIA-M438"
    # this test's own process must not be taken for an engine's when it is cleaned up
    await store.deployments.update("deployment-1", state=DeploymentState.STOPPED)


async def test_an_address_of_another_machine_is_not_started_here(
    house: House, store: Store
) -> None:
    service = await house.service(_serving_service())
    with pytest.raises(SophiaError) as caught:
        await service._front(context(Face.CLI), "tiny")
    assert caught.value.code == "SOPHIA-M492"
    assert "http://192.0.2.1:9" in str(caught.value) and "sophia serve api" in str(caught.value)
    assert not (house.paths.logs / "api.log").exists()


async def test_where_no_key_is_set_one_is_made_and_named(
    store_url: str, tmp_path: Path, store: Store
) -> None:
    keys = {"SOPHIA_MODEL_TOKEN": "", "FINETUNE_TOKEN": ""}
    house = house_on(store_url, tmp_path, API_URL=f"http://localhost:{free_port()}", **keys)
    house.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    await store.models.add(model_row("sophia-v1", "/f"))
    await store.deployments.add(deployment(None))
    service = await house.service(_serving_service())
    notes = " ".join(await service._front(context(Face.CLI), "sophia-v1"))
    key = house.paths.model_token.read_text().strip()
    assert str(house.paths.model_token) in notes and key not in notes
    async with openai.AsyncOpenAI(base_url=f"{house.settings.api_url}/v1", api_key=key) as client:
        assert [each.id async for each in client.models.list()] == ["sophia-v1"]
    await call(house, "serve.stop", api=True)
    await house.close()


def _serving_service() -> type:
    from sophia_tui.services.serving import ServingService

    return ServingService


async def test_an_api_is_started_found_and_stopped(
    store_url: str, tmp_path: Path, store: Store
) -> None:
    house = house_on(
        store_url, tmp_path, API_URL=f"http://localhost:{free_port()}", PATH=os.environ["PATH"]
    )
    house.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    await store.models.add(model_row("sophia-v1", "/f"))
    await store.deployments.add(deployment(None))
    service = await house.service(_serving_service())
    [note] = await service._front(context(Face.CLI), "sophia-v1")
    assert f"OPENAI_BASE_URL={house.settings.api_url}/v1" in note
    listed = await call(house, "serve.list")
    assert listed.api.answers and listed.api.pid
    async with openai.AsyncOpenAI(
        base_url=f"{house.settings.api_url}/v1", api_key=MODEL_KEY
    ) as client:
        assert [each.id async for each in client.models.list()] == ["sophia-v1"]
    listed = await call(house, "serve.stop", api=True)
    assert not listed.api.answers and listed.api.pid is None
    assert (house.paths.logs / "api.log").exists()
    await house.close()


def free_port() -> int:
    from sophia_tui.providers.engines import _free_port

    return _free_port()


def merge_run(folder: Path) -> Path:
    """The run folder of a merge that succeeded, without weights."""
    merged = folder / MERGED_FOLDER
    merged.mkdir(parents=True)
    (merged / "config.json").write_text("{}")
    manifest = {
        "job_id": "x",
        "kind": "merge",
        "base": "base",
        "base_kind": "path",
        "base_fingerprint": "x",
        "template_fingerprint": "x",
        "template_source": "base",
        "packages": {},
        "seed": 1,
        "device": "cpu",
        "threads": 1,
        "started_at": datetime.now(UTC),
        "finished_at": datetime.now(UTC),
        "seconds": 1,
        "merged_files": {"config.json": {"bytes": 2, "sha256": "x"}},
    }
    (folder / MANIFEST_FILE).write_text(RunManifest.model_validate(manifest).model_dump_json())
    return merged


async def test_a_merge_is_queued_once_and_makes_a_model_with_its_lineage(
    house: House, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody() -> None:
        """No worker: the test plays it."""

    monkeypatch.setattr(house, "wake", nobody)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    training = new_job()
    training.request["run"]["recipe"]["prompt_form"] = "alpaca"
    await store.jobs.add(replace(training, state=JobState.SUCCEEDED.value))
    await store.models.add(
        replace(
            model_row("sophia-v1", adapter, ModelKind.ADAPTER),
            job_id=training.id,
            dataset="town@0123456789ab",
        )
    )
    view: Output = await call(house, "models.merge", model="sophia-v1", dtype="float16")
    twice = await call(house, "models.merge", model="sophia-v1")
    assert twice.id == view.id  # type: ignore[attr-defined]
    job = await store.jobs.get(twice.id)
    assert job is not None and job.kind is JobKind.MERGE
    run = job.request["run"]
    assert run["recipe"]["prompt_form"] == "alpaca"
    assert run["merge"] == {"dtype": "float16"}

    folder = tmp_path / "run"
    job = await store.jobs.update(job.id, run_folder=str(folder))
    merged = merge_run(folder)
    await Finisher(SystemClock(), load({})).succeed(store, job, Observed())
    model = await store.models.get("sophia-v1-merged")
    assert model is not None and model.kind is ModelKind.MERGED
    assert (model.parent, model.path, model.job_id) == ("sophia-v1", str(merged), job.id)
    assert model.dataset == "town@0123456789ab"
    with pytest.raises(SophiaError) as caught:
        await call(house, "models.merge", model="sophia-v1")
    assert caught.value.code == "SOPHIA-M433"
    assert str(merged) in caught.value.why

    (merged / "config.json").write_text("{ }")  # no longer what was written: merge again
    again = await call(house, "models.merge", model="sophia-v1")
    assert again.id != job.id


async def test_a_merge_that_failed_says_why_to_who_wanted_to_serve(
    house: House, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        for job in await store.jobs.page(states=("queued",)):
            error = {"what": "Memory ran out.", "why": "MemoryError."}
            await store.jobs.update(job.id, state=JobState.FAILED.value, error=error)

    monkeypatch.setattr(house, "wake", fail)
    (tmp_path / "adapter_config.json").write_text(json.dumps({}))
    await store.models.add(model_row("sophia-v1", tmp_path, ModelKind.ADAPTER))
    with pytest.raises(SophiaError) as caught:
        await call(house, "serve.model", model="sophia-v1")
    assert caught.value.code == "SOPHIA-M434"
    assert caught.value.why == "Memory ran out. MemoryError."
