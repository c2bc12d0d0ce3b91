"""Who tries tokens, who sends slowly, and what every refusal looks like."""

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui import networks
from sophia_tui.api import app as api_app
from sophia_tui.api import attempts, guard
from sophia_tui.api.app import create_app
from sophia_tui.api.attempts import Attempts
from sophia_tui.api.auth import Tokens
from sophia_tui.errors import TooManyError, UnauthenticatedError, UsageError
from sophia_tui.settings import load
from sophia_tui.wiring import House
from tests.api.throwaway import TOKEN, VIEWER_TOKEN, AwayStore, client, make_house

PATH = "/api/v1/greeting/say?name=x"


def from_address(house_app: Any, address: str, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(house_app, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url="http://sophia.test", headers=headers)


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# -- wrong tokens


async def test_too_many_wrong_tokens_get_429_and_a_right_one_always_passes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "store", AwayStore())
    app = create_app(house)
    async with from_address(app, "127.0.0.1") as http:
        wrong = [
            (await http.get(PATH, headers={"x-admin-token": f"guess-{n}"})).status_code
            for n in range(12)
        ]
        assert wrong == [401] * 10 + [429] * 2
        right = [
            (await http.get(PATH, headers={"x-admin-token": TOKEN})).status_code
            for _n in range(100)
        ]
        assert right == [200] * 100  # from the same address, never seen there before
        viewer = await http.get(PATH, headers={"Authorization": f"Bearer {VIEWER_TOKEN}"})
        assert viewer.status_code == 200
        refused = await http.get(PATH, headers={"x-admin-token": "guess-0"})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 6
        assert refused.json()["error"]["code"] == "SOPHIA-R470"
        openai = await http.get("/v1/models", headers={"x-admin-token": "guess"})
        assert openai.status_code == 429
        assert openai.json()["error"]["type"] == "rate_limit_error"
        assert (await http.get("/health")).status_code == 503
        assert (await http.get(PATH)).status_code == 401  # no token is no guess
        figures = await http.get("/metrics", headers={"x-admin-token": TOKEN})
        assert 'status="401"' in figures.text and 'status="429"' in figures.text


def test_the_wait_is_bounded_and_going_on_does_not_lengthen_it() -> None:
    clock = Watch()
    counted = Attempts(10, clock)
    for _n in range(10):
        counted.wrong("a")
    for _n in range(1000):
        with pytest.raises(TooManyError) as told:
            counted.wrong("a")
        assert told.value.details["retry_after"] == 6
    clock.now += 6.01
    counted.wrong("a")
    with pytest.raises(TooManyError):
        counted.wrong("a")


def test_many_addresses_together_have_a_limit_and_memory_has_one_too() -> None:
    clock = Watch()
    counted = Attempts(10, clock)
    for n in range(100):
        counted.wrong(f"10.0.0.{n}")
    with pytest.raises(TooManyError):
        counted.wrong("192.0.2.1")
    for n in range(attempts.MOST_ADDRESSES + 50):
        clock.now += 0.7
        counted.wrong(f"net {n}")
    assert len(counted._buckets) == attempts.MOST_ADDRESSES


def test_one_request_is_no_bundle_of_guesses(house: House) -> None:
    tokens = Tokens(house.settings)
    headers = [(b"x-admin-token", f"guess {n}".encode()) for n in range(500)]
    with pytest.raises(UnauthenticatedError):
        tokens.role_of([*headers, (b"x-admin-token", TOKEN.encode())])


def test_the_key_for_models_at_another_door_is_no_guess(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"SOPHIA_MODEL_TOKEN": "key-for-models"})
    tokens = Tokens(house.settings)
    for _n in range(50):
        with pytest.raises(UnauthenticatedError):
            tokens.role_of([(b"x-admin-token", b"key-for-models")])


@pytest.mark.parametrize(
    ("client_address", "counted"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("::ffff:203.0.113.5", "203.0.113.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_ipv6_is_counted_by_its_64(client_address: str, counted: str) -> None:
    assert networks.counted_as(client_address) == counted


@pytest.mark.parametrize(
    ("peer", "said", "client_address"),
    [
        ("127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        (
            "127.0.0.1",
            ["10.9.9.9, 198.51.100.7"],
            "198.51.100.7",
        ),  # the first was the client's word
        ("127.0.0.1", ["198.51.100.7", "127.0.0.1"], "198.51.100.7"),
        ("127.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),  # no proxy of ours: not believed
    ],
)
def test_only_known_proxies_are_believed(peer: str, said: list[str], client_address: str) -> None:
    assert networks.client_of(peer, said, networks.read("127.0.0.1")) == client_address


@given(st.text(max_size=40), st.lists(st.text(max_size=60), max_size=4))
def test_no_address_is_too_strange(peer: str, said: list[str]) -> None:
    found = networks.client_of(peer, said, networks.read("127.0.0.0/8, ::/0"))
    assert isinstance(networks.counted_as(found), str)


async def test_clients_behind_a_named_proxy_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"SOPHIA_API_PROXIES": "127.0.0.1, ::1"})
    app = create_app(house)
    async with from_address(app, "127.0.0.1") as http:

        async def status(client_address: str, token: str) -> int:
            headers = {"x-forwarded-for": client_address, "x-admin-token": token}
            return (await http.get(PATH, headers=headers)).status_code

        for _n in range(11):
            last = await status("198.51.100.7", "guess")
        assert last == 429
        assert await status("198.51.100.8", TOKEN) == 200


def test_proxies_that_are_no_addresses_are_told() -> None:
    with pytest.raises(UsageError, match="SOPHIA-T422"):
        load({"SOPHIA_API_PROXIES": "nginx.example"})


# -- what starts a training

TRAINS = [
    ("POST", "/finetune"),
    ("POST", "/api/ai/train/lora/start"),
    ("POST", "/tune"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("POST", "/v1/fine_tuning/jobs/ftjob-1/resume"),
    ("POST", "/api/v1/schedules/add"),
]


async def test_without_allow_finetune_nothing_starts_a_training(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "SOPHIA_STORE_URL": store_url,
        "FINETUNE_TOKEN": TOKEN,
    }
    house = House(environment)
    trains = [each for each in house.registry if each.trains]
    assert len(trains) >= 7
    bodies: Mapping[str, Any] = {
        "/api/v1/schedules/add": {"operation": "train.start", "every": "weekly"},
    }
    paths = [path for _method, path in TRAINS if not path.endswith("/resume")]
    async with client(house) as http:
        for path in [*paths, *(f"/api/v1/{each.subject}/{each.verb}" for each in trains)]:
            found = await http.post(path, json=bodies.get(path, {}))
            assert found.status_code == 403, (path, found.text)
            assert "ALLOW_FINETUNE" in found.text
    await house.close()


# -- what a refusal looks like


async def test_errors_are_problem_details_and_v1_keeps_its_own(house: House) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/lose", json={"name": "x"})
        nowhere = await http.get("/no/such")
        openai = await http.get("/v1/models/nobody")
    assert found.headers["content-type"] == "application/problem+json"
    assert {key: found.json()[key] for key in ("type", "title", "status", "detail")} == {
        "type": "urn:sophia:problem:M998",
        "title": "Nothing is there.",
        "status": 404,
        "detail": "It was lost. Look elsewhere.",
    }
    assert nowhere.headers["content-type"] == "application/problem+json"
    assert nowhere.json()["status"] == 404
    assert openai.headers["content-type"] == "application/json"
    assert set(openai.json()) == {"error"}


async def test_openapi_tells_the_form_of_every_error(house: House) -> None:
    async with client(house) as http:
        document = (await http.get("/openapi.json")).json()
    for path, methods in document["paths"].items():
        for entry in methods.values():
            assert "422" not in entry["responses"]
            [(kind, content)] = entry["responses"]["default"]["content"].items()
            name = content["schema"]["$ref"].rsplit("/", 1)[1]
            expected = ("application/json", "ProblemOpenAI")
            if not path.startswith("/v1/"):
                expected = ("application/problem+json", "Problem")
            assert (kind, name) == expected, path
    assert "HTTPValidationError" not in json.dumps(document)


async def test_a_wrong_method_is_told_all_right_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    house = House({"SOPHIA_DATA_DIR": str(tmp_path / "data"), "FINETUNE_TOKEN": TOKEN})
    async with client(house) as http:
        allowed = {
            path: (await http.put(path)).headers["allow"]
            for path in ("/v1/files", "/v1/files/file-1", "/v1/models/sophia-v1", "/health")
        }
    assert allowed == {
        "/v1/files": "GET, POST",
        "/v1/files/file-1": "DELETE, GET",
        "/v1/models/sophia-v1": "DELETE, GET",
        "/health": "GET, HEAD",
    }


async def test_health_is_asked_by_head_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class ThereStore:
        async def ping(self) -> None:
            """It answers."""

    async def there() -> ThereStore:
        return ThereStore()

    monkeypatch.setattr(house, "store", there)
    async with client(house) as http:
        assert (await http.head("/health")).status_code == 200
        monkeypatch.setattr(house, "store", AwayStore())
        assert (await http.head("/health")).status_code == 503


# -- who sends slowly


async def asked_slowly(house: House, path: str, pieces: list[Any], pause: float) -> dict[str, Any]:
    """The answer's head to a POST whose body comes in `pieces`, one each `pause` seconds."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        await asyncio.sleep(pause)
        return pieces.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"x-admin-token", TOKEN.encode()),
            (b"content-type", b"multipart/form-data; boundary=x"),
        ],
        "client": ("192.0.2.1", 1),
    }
    await create_app(house)(scope, receive, send)
    return {"status": sent[0]["status"], "body": json.loads(sent[1]["body"])}


def drops(count: int) -> list[Any]:
    piece = {"type": "http.request", "body": b" ", "more_body": True}
    return [*([piece] * count), {"type": "http.request", "body": b"{}", "more_body": False}]


async def test_a_body_that_trickles_in_is_given_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_PATIENCE_SECONDS", 0.2)
    found = await asked_slowly(house, "/api/v1/acts/write", drops(1000), 0.02)
    assert found["status"] == 408
    assert found["body"]["error"]["code"] == "SOPHIA-U470"


async def test_a_body_that_comes_fast_enough_has_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(guard, "BODY_BYTES_A_SECOND", 10)  # each byte gives a tenth of a second
    found = await asked_slowly(house, "/api/v1/acts/train", drops(15), 0.02)
    assert found["status"] == 403  # it was read whole, and training is off


async def test_half_a_request_does_nothing(house: House) -> None:
    pieces = [
        {"type": "http.request", "body": b"", "more_body": True},
        {"type": "http.disconnect"},
    ]
    found = await asked_slowly(house, "/api/v1/acts/train", pieces, 0.0)
    assert found["status"] == 499


def test_a_head_that_does_not_come_closes_the_connection(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    import uvicorn

    monkeypatch.setattr(house, "store", AwayStore())
    monkeypatch.setattr(api_app, "HEAD_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            create_app(house), http=api_app._Protocol, log_config=None, ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = listener.getsockname()
            for sent in (b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: "):
                with socket.create_connection(address) as slow:
                    slow.sendall(sent)
                    began = time.monotonic()
                    slow.settimeout(10)
                    assert slow.recv(100) == b""
                    assert time.monotonic() - began < 5
            with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}") as quick:
                assert quick.get("/health").status_code == 503  # longer than a head may take
                assert quick.get("/openapi.json").status_code == 401
        finally:
            server.should_exit = True
            thread.join()
