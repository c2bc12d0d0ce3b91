"""The front of the served models over an engine played by the test: names, keys, streams, counts.

The real engine is test_serving's.
"""

import asyncio
import contextlib
import json
import os
import select
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from finetune.parity_http import Client
from sophia_tui.api import counting
from sophia_tui.api.counting import Counter
from sophia_tui.api.engine_use import EngineUse
from sophia_tui.api.front import Front
from sophia_tui.domain.protocols import Store
from sophia_tui.domain.serving import PROBE_HEADER, Deployment, DeploymentState, ServedRequest
from sophia_tui.errors import UnavailableError
from sophia_tui.providers.chat import OpenAIChat, ask_uncounted
from sophia_tui.providers.machine import ThisMachine, start_time
from sophia_tui.providers.model_probe import probe
from sophia_tui.wiring import House
from tests.integration.serving_house import ADMIN, MODEL_KEY, VIEWER, asked, house_on, model_row

NAME = "sophia-v1"
QUESTION: list[Any] = [{"role": "user", "content": "a secret question"}]


class PlayedEngine(ThreadingHTTPServer):
    """Answers as transformers serve does: no [DONE], usage in the last chunk, its own name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[dict[str, Any]] = []
        self.behaviour = "answers"
        self.left = threading.Event()
        self.let_go = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: PlayedEngine
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        behaviour = self.server.behaviour
        if behaviour == "refuses":
            self._send(422, json.dumps({"detail": "Unexpected fields: {'x'}"}).encode())
        elif behaviour == "fails":
            self._send(500, b"Internal Server Error")
        elif behaviour == "dies":
            self.close_connection = True
        elif body.get("stream"):
            self._stream(behaviour)
        else:
            if behaviour == "hangs":
                gone, _write, _more = select.select([self.connection], [], [], 20)
                if gone and not self.connection.recv(1):
                    self.server.left.set()
                return
            message = {"role": "assistant", "content": "Olá"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "/f@main"}
            usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
            self._send(200, json.dumps({**answer, "choices": [choice], "usage": usage}).encode())
            if behaviour == "closes idle":
                self.close_connection = True  # and does not say so in the answer

    def _stream(self, behaviour: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._chunk(delta={"role": "assistant"})
        self._chunk(delta={"content": "Olá, "})
        if behaviour == "breaks off":
            self.close_connection = True
            return
        if behaviour == "says an error":
            self._raw(b'data: {"error": "a secret question was too long"}\n\n')
        if behaviour == "goes on":
            try:
                while not self.server.let_go.wait(0.02):
                    self._chunk(delta={"content": "mundo "})
            except OSError:
                self.server.left.set()
            return
        self._chunk(delta={"content": "mundo"})
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        self._chunk(delta={}, finish_reason="stop", usage=usage)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, usage: Any = None, **choice: Any) -> None:
        content = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "/f@main"}
        more = {"usage": usage} if usage else {}
        content = {**content, "choices": [{"index": 0, **choice}], **more}
        self._raw(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _raw(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        """Tests say nothing."""


@pytest.fixture
def engine() -> Iterator[PlayedEngine]:
    with PlayedEngine() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.let_go.set()
        found.shutdown()
        thread.join()


def deployment(port: int | None, state: DeploymentState = DeploymentState.READY) -> Deployment:
    """A deployment whose process is this test's own."""
    identity = ThisMachine.here().identity(os.getpid(), start_time(os.getpid()) or 0)
    return Deployment(
        "deployment-1",
        NAME,
        NAME,
        "transformers",
        state,
        "maria",
        datetime.now(UTC),
        port=port,
        identity=identity,
    )


@pytest.fixture
def house(store_url: str, tmp_path: Path) -> House:
    return house_on(store_url, tmp_path)


@pytest.fixture
async def client(
    house: House, store: Store, engine: PlayedEngine
) -> AsyncIterator[openai.AsyncOpenAI]:
    await store.models.add(model_row(NAME, "/f"))
    await store.deployments.add(deployment(engine.server_port))
    with asked(house) as found:
        yield found
        await found.close()


async def counted(store: Store, count: int = 1) -> list[dict[str, Any]]:
    """The rows of the requests, once so many are written."""
    for _try in range(100):
        found = await store.database.rows(  # type: ignore[attr-defined]
            b"SELECT * FROM sophia.served_requests ORDER BY id"
        )
        if len(found) >= count:
            return list(found)
        await asyncio.sleep(0.1)
    raise AssertionError("not counted")


async def test_an_answer_bears_the_name_that_was_asked_for(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store
) -> None:
    answer = await client.chat.completions.create(model=NAME, messages=QUESTION)
    assert (answer.model, answer.choices[0].message.content) == (NAME, "Olá")
    assert engine.bodies[0]["model"] == "/f"
    [row] = await counted(store)
    assert (row["model"], row["status"], row["deployment_id"]) == (NAME, 200, "deployment-1")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 2)
    assert (row["streamed"], row["error"]) == (False, None)
    assert row["seconds"] > 0
    assert "secret" not in str(row)


async def test_a_stream_passes_and_usage_comes_only_to_who_asked(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store
) -> None:
    for options in (openai.omit, {"include_usage": True}):
        stream = await client.chat.completions.create(
            model=NAME,
            messages=QUESTION,
            stream=True,
            stream_options=options,  # type: ignore[arg-type]
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "Olá, mundo"
        assert {chunk.model for chunk in chunks} == {NAME}
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        assert len(usages) == (0 if options is openai.omit else 1)
        assert engine.bodies[-1]["stream_options"] == {"include_usage": True}
    assert usages[0].total_tokens == 10
    assert chunks[-1].choices == []  # as OpenAI sends it
    for row in await counted(store, 2):
        assert (row["streamed"], row["completion_tokens"]) == (True, 3)
        assert 0 < row["first_token_seconds"] <= row["seconds"]


async def test_a_stream_ends_in_done(client: openai.AsyncOpenAI) -> None:
    body = {"model": NAME, "messages": QUESTION, "stream": True}
    async with httpx.AsyncClient() as plain:
        answer = await plain.post(
            f"{client.base_url}chat/completions",
            json=body,
            headers={"authorization": f"Bearer {client.api_key}"},
        )
    assert answer.text.endswith("data: [DONE]\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_the_listing_has_what_is_served(client: openai.AsyncOpenAI) -> None:
    assert [each.id async for each in client.models.list()] == [NAME]
    assert (await client.models.retrieve(NAME)).owned_by == "sophia"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other/name")


async def test_an_unknown_name_is_not_found_in_openais_form(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store
) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="nobody", messages=QUESTION)
    assert caught.value.body == {
        "message": "No model is served as nobody. GET /v1/models lists them.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
    assert engine.bodies == []
    [row] = await counted(store)
    assert (row["model"], row["status"], row["error"]) == ("", 404, "M439")


async def test_sophias_own_questions_are_no_traffic_of_production(
    client: openai.AsyncOpenAI, store: Store
) -> None:
    """A probe of an unknown name, a golden prompt, parity: none counts; who only looks is counted
    whatever it says of itself."""
    address = str(client.base_url)
    for model in (NAME, "nobody"):
        await probe(address, MODEL_KEY, model, 20)
    await ask_uncounted(address, MODEL_KEY, NAME, "?", 8, 20)
    chat = OpenAIChat(address, MODEL_KEY)
    await chat.ask(NAME, QUESTION, 8, 0)
    await chat.close()
    asked_by_parity = {"model": NAME, "messages": QUESTION}
    engine = Client(address, 20, MODEL_KEY)
    await asyncio.to_thread(engine.post, "/chat/completions", asked_by_parity)
    looking = client.with_options(api_key=VIEWER, default_headers={PROBE_HEADER: "1"})
    with pytest.raises(openai.PermissionDeniedError):
        await looking.chat.completions.create(model=NAME, messages=QUESTION)
    await client.chat.completions.create(model=NAME, messages=QUESTION)
    rows = await counted(store, 2)
    assert [(row["status"], row["error"]) for row in rows] == [(403, "M453"), (200, None)]


async def test_keys_decide(client: openai.AsyncOpenAI, engine: PlayedEngine) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await client.with_options(api_key="wrong").models.list()
    assert caught.value.code == "invalid_api_key"
    looking = client.with_options(api_key=VIEWER)
    assert [each.id async for each in looking.models.list()] == [NAME]
    with pytest.raises(openai.PermissionDeniedError):
        await looking.chat.completions.create(model=NAME, messages=QUESTION)
    assert engine.bodies == []
    owner = client.with_options(api_key=ADMIN)
    assert await owner.chat.completions.create(model=NAME, messages=QUESTION)


async def test_the_key_of_models_opens_nothing_else(client: openai.AsyncOpenAI) -> None:
    root = str(client.base_url).removesuffix("/v1/")
    headers = {"authorization": f"Bearer {client.api_key}"}
    async with httpx.AsyncClient(headers=headers) as plain:
        for path in ("/api/v1/models/list", "/openapi.json", "/v1x", "/v1/../api/v1/jobs/list"):
            assert (await plain.get(root + path)).status_code == 401


WRONG: list[tuple[str, Any]] = [
    ("max_tokens", -1),
    ("max_tokens", "5"),
    ("max_tokens", 1.5),
    ("max_completion_tokens", 0),
    ("temperature", 3),
    ("temperature", "hot"),
    ("top_p", True),
    ("n", 2),
    ("n", True),
    ("tools", [{"type": "function"}]),
    ("response_format", {"type": "json_object"}),
    ("logprobs", True),
]


def _with(key: str, value: Any) -> bytes:
    return json.dumps({"model": NAME, "messages": QUESTION, key: value}).encode()


@pytest.mark.parametrize(
    ("key", "value"),
    [("n", 1), ("tools", []), ("response_format", {"type": "text"}), ("logprobs", False)],
)
async def test_what_asks_for_nothing_is_passed_and_the_temperature_is_zero(
    client: openai.AsyncOpenAI, engine: PlayedEngine, key: str, value: Any
) -> None:
    await client.chat.completions.create(model=NAME, messages=QUESTION, extra_body={key: value})
    await client.chat.completions.create(model=NAME, messages=QUESTION, temperature=0.7)
    assert [each["temperature"] for each in engine.bodies] == [0, 0.7]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"no json", None),
        (b"[]", None),
        (b'{"messages": []}', "model"),
        (b'{"model": "sophia-v1", "messages": "abc"}', "messages"),
        (b'{"model": "sophia-v1", "messages": [{"content": "x"}]}', "messages"),
        (b'{"model": "sophia-v1", "messages": [{"role": "user", "content": 1}]}', "messages"),
        (b"[" * 100_000, None),
        (b'{"model": "sophia-v1", "max_tokens": 1e400}', None),
        (b'{"model": "sophia-v1", "seed": NaN}', None),
        (b'{"model": "sophia-v1", "messages": [{"role": "user", "content": "\\ud800"}]}', None),
        (b'{"model": "sophia-v1", "messages": [{"role": "boss", "content": "x"}]}', "messages"),
        *((_with(key, value), key) for key, value in WRONG),
    ],
)
async def test_what_engines_trip_over_is_refused_before(
    client: openai.AsyncOpenAI, engine: PlayedEngine, body: bytes, param: str | None
) -> None:
    async with httpx.AsyncClient() as plain:
        answer = await plain.post(
            f"{client.base_url}chat/completions",
            content=body,
            headers={"authorization": f"Bearer {client.api_key}"},
        )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert engine.bodies == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "kind", "code"),
    [
        ("refuses", openai.BadRequestError, "M452"),
        ("fails", openai.InternalServerError, "M446"),
        ("dies", openai.InternalServerError, "M447"),
    ],
)
async def test_an_engine_that_does_not_answer_is_a_clear_error(
    client: openai.AsyncOpenAI,
    engine: PlayedEngine,
    store: Store,
    behaviour: str,
    kind: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    engine.behaviour = behaviour
    with pytest.raises(kind) as caught:
        await client.chat.completions.create(model=NAME, messages=QUESTION, stream=stream)
    assert caught.value.code == f"SOPHIA-{code}"
    [row] = await counted(store)
    assert (row["error"], row["status"]) == (code, caught.value.status_code)


@pytest.mark.parametrize("behaviour", ["breaks off", "says an error"])
async def test_a_stream_that_breaks_off_says_so_and_repeats_no_text(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store, behaviour: str
) -> None:
    engine.behaviour = behaviour
    stream = await client.chat.completions.create(model=NAME, messages=QUESTION, stream=True)
    with pytest.raises(openai.APIError) as caught:
        async for _chunk in stream:
            pass
    assert "broke off" in caught.value.message
    [row] = await counted(store)
    assert (row["status"], row["streamed"]) == (502, True)
    assert "secret" not in str(row)


async def test_a_client_that_goes_away_stops_the_engine(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store
) -> None:
    engine.behaviour = "goes on"
    stream = await client.chat.completions.create(model=NAME, messages=QUESTION, stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    await stream.close()
    assert await asyncio.to_thread(engine.left.wait, 10)
    [row] = await counted(store)
    assert (row["status"], row["error"]) == (499, "M450")


async def test_nobody_waits_for_a_client_that_gave_up(
    client: openai.AsyncOpenAI, engine: PlayedEngine, store: Store
) -> None:
    engine.behaviour = "hangs"
    await client.models.list()  # the first look at the store takes its time
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=1).chat.completions.create(model=NAME, messages=QUESTION)
    assert await asyncio.to_thread(engine.left.wait, 10)
    [row] = await counted(store)
    assert (row["status"], row["error"]) == (499, "M450")


async def test_an_engine_may_close_an_idle_connection(
    client: openai.AsyncOpenAI, engine: PlayedEngine
) -> None:
    engine.behaviour = "closes idle"
    for _each in range(3):
        assert await client.chat.completions.create(model=NAME, messages=QUESTION)


async def test_a_text_that_surely_does_not_fit_never_reaches_the_engine(
    house: House, store: Store, engine: PlayedEngine, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 100}')
    await store.models.add(model_row(NAME, tmp_path))
    await store.deployments.add(deployment(engine.server_port))
    with asked(house) as client:
        long: list[Any] = [{"role": "user", "content": "palavra " * 201}]
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model=NAME, messages=long)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model=NAME, prompt="palavra " * 201)
        assert engine.bodies == []
        for tokens in (None, 7, 5000):
            await client.chat.completions.create(model=NAME, messages=QUESTION, max_tokens=tokens)
        assert [each["max_tokens"] for each in engine.bodies] == [98, 7, 98]
        await client.close()


async def test_a_defect_is_told_in_openais_form_and_leaves_its_frames(
    client: openai.AsyncOpenAI, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_front: Front) -> Any:
        raise RuntimeError(QUESTION[0]["content"])

    await client.models.list()  # the log begins with the first look at the store
    monkeypatch.setattr(Front, "targets", fail)
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model=NAME, messages=QUESTION)
    assert caught.value.code == "SOPHIA-X500"
    told = (house.paths.logs / "sophia.log").read_text()
    assert "RuntimeError in /v1/chat/completions" in told and "in fail" in told
    assert "secret" not in told


def test_doubt_ends_when_a_later_request_is_answered() -> None:
    use = EngineUse()
    first, second = use.begin(), use.begin()
    second.left()
    second.end()
    assert use.doubted_since is not None and use.idle_in_doubt() is None
    first.heard()  # it came before the one that was left, which may still be worked at
    first.end()
    assert use.idle_in_doubt() is not None
    third = use.begin()
    third.heard()
    third.end()
    assert use.idle_in_doubt() is None


async def test_a_model_that_starts_is_told_to_come_and_one_that_ended_is_unknown(
    client: openai.AsyncOpenAI, store: Store
) -> None:
    async def status() -> int:
        await asyncio.sleep(1.1)  # names are looked up once a second
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model=NAME, messages=QUESTION)
        return caught.value.status_code

    await store.deployments.update("deployment-1", state=DeploymentState.STARTING)
    assert await status() == 503
    assert [each.id async for each in client.models.list()] == []
    await store.deployments.update("deployment-1", state=DeploymentState.STOPPED)
    assert await status() == 404


async def test_a_read_only_api_answers_for_models(
    store_url: str, tmp_path: Path, store: Store, engine: PlayedEngine
) -> None:
    await store.models.add(model_row(NAME, "/f"))
    await store.deployments.add(deployment(engine.server_port))
    house = house_on(store_url, tmp_path)
    house.readonly = True
    with asked(house) as client:
        assert await client.chat.completions.create(model=NAME, messages=QUESTION)
        await client.close()


async def test_nothing_that_was_asked_or_answered_is_logged(
    client: openai.AsyncOpenAI, engine: PlayedEngine, house: House
) -> None:
    for behaviour in ("answers", "fails", "says an error"):
        engine.behaviour = behaviour
        with contextlib.suppress(openai.APIError):
            await client.chat.completions.create(model=NAME, messages=QUESTION)
    told = (house.paths.logs / "sophia.log").read_text()
    assert told.count("/v1/chat/completions") == 3
    assert "secret" not in told and "Olá" not in told


def request(at: datetime | None = None) -> ServedRequest:
    return ServedRequest(at or datetime.now(UTC), NAME, 200, 0.1)


@pytest.fixture
def away(house: House, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The store does not answer, until the function is called."""

    async def store() -> Store:
        raise UnavailableError("S001", "The database does not answer.")

    with_store = house.store
    monkeypatch.setattr(house, "store", store)
    return lambda: monkeypatch.setattr(house, "store", with_store)


async def test_a_store_that_is_away_is_no_empty_listing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> Store:
        raise UnavailableError("S001", "The database does not answer.")

    monkeypatch.setattr("sophia_tui.api.front._FRESH_SECONDS", 0.0)
    with asked(house) as found:
        listing = found.with_options(max_retries=0).models
        assert (await listing.list()).data == []
        monkeypatch.setattr(house, "store", away)
        for asking in (listing.list(), listing.list(), listing.retrieve("any")):
            with pytest.raises(openai.InternalServerError) as told:
                await asking
            assert told.value.status_code == 503
            assert (told.value.code, told.value.type) == ("SOPHIA-S001", "server_error")
        await found.close()


async def test_names_that_are_known_are_served_while_the_store_is_away(
    house: House, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> Store:
        raise UnavailableError("S001", "The database does not answer.")

    monkeypatch.setattr("sophia_tui.api.front._FRESH_SECONDS", 0.0)
    assert [each.id for each in (await client.models.list()).data] == [NAME]
    monkeypatch.setattr(house, "store", away)
    assert [each.id for each in (await client.models.list()).data] == [NAME]


async def test_figures_wait_for_a_store_that_is_away(
    house: House, store: Store, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.api.counting._PAUSE_SECONDS", 0.01)
    counter = Counter(house)
    counter.start()
    for _each in range(3):
        counter.take(request())
    await asyncio.sleep(0.05)
    away()
    assert len(await counted(store, 3)) == 3
    await counter.stop()
    await house.close()


async def test_too_many_figures_are_dropped_and_told(
    house: House, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(counting._log, "warning", lambda text, *more: told.append(text % more))
    counter = Counter(house, most=2)
    for _each in range(5):
        counter.take(request())
    assert counter.dropped == 3
    await counter.stop()
    assert told == ["5 requests were answered and not counted"]


async def test_what_waits_is_written_when_the_api_stops(house: House, store: Store) -> None:
    counter = Counter(house)
    counter.start()
    counter.take(request())
    await counter.stop()
    assert len(await counted(store)) == 1
    now = datetime.now(UTC)
    [totals] = await store.traffic.totals(now - timedelta(hours=1), now + timedelta(hours=1))
    assert (totals.model, totals.requests, totals.errors) == (NAME, 1, 0)
    await house.close()
