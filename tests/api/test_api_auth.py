"""Who may call the API, and that a token is never told."""

import hmac
import logging
from pathlib import Path

import httpx
import pytest

from sophia_tui.api import auth
from sophia_tui.errors import UsageError
from sophia_tui.wiring import House
from tests.api.server import serving
from tests.api.throwaway import (
    OPERATOR_TOKEN,
    TOKEN,
    VIEWER_TOKEN,
    AwayStore,
    audited,
    client,
    make_house,
)

EVERY_DOOR = ("/api/v1/greeting/say?name=x", "/openapi.json", "/docs", "/no/such/route", "/")


@pytest.mark.parametrize("path", EVERY_DOOR)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "tökên"])
async def test_every_route_is_closed_without_the_right_token(
    house: House, path: str, token: str | None
) -> None:
    async with client(house, None) as http:
        headers = {} if token is None else {"x-admin-token": token.encode()}
        found = await http.get(path, headers=headers)
    assert found.status_code == 401
    assert found.json()["error"]["code"] == "SOPHIA-R401"
    assert found.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", EVERY_DOOR)
async def test_no_token_configured_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    blank = {"FINETUNE_TOKEN": "  ", "SOPHIA_VIEWER_TOKEN": "", "SOPHIA_OPERATOR_TOKEN": ""}
    house = make_house(monkeypatch, tmp_path, settings=blank)
    for token in (None, "", "  ", TOKEN):
        async with client(house, token) as http:
            found = await http.get(path)
        assert found.status_code == 401
        assert "FINETUNE_TOKEN" in found.json()["error"]["remedy"]


@pytest.mark.parametrize(
    "headers",
    [{"x-admin-token": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"X-ADMIN-TOKEN": TOKEN}],
)
async def test_both_headers_carry_the_token(house: House, headers: dict[str, str]) -> None:
    async with client(house, None, **headers) as http:
        assert (await http.get("/api/v1/greeting/say?name=x")).status_code == 200


async def test_a_basic_password_is_no_token(house: House) -> None:
    async with client(house, None, Authorization=f"Basic {TOKEN}") as http:
        assert (await http.get("/api/v1/greeting/say?name=x")).status_code == 401


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
async def test_a_token_may_hold_any_letter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoding: str
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"FINETUNE_TOKEN": "sésamo-ção"})
    async with client(house, None) as http:
        found = await http.get(
            "/api/v1/greeting/say?name=x",
            headers={b"x-admin-token": "sésamo-ção".encode(encoding)},
        )
    assert found.status_code == 200


@pytest.mark.parametrize(
    ("token", "role"), [(TOKEN, "admin"), (OPERATOR_TOKEN, "operator"), (VIEWER_TOKEN, "viewer")]
)
async def test_each_token_has_its_role(house: House, token: str, role: str) -> None:
    async with client(house, token) as http:
        found = await http.get("/api/v1/greeting/say?name=x")
    assert found.json()["text"].endswith(f"(api:{role})")


async def test_the_role_of_the_first_token_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"SOPHIA_API_ROLE": "viewer"})
    async with client(house) as http:
        found = await http.get("/api/v1/greeting/say?name=x")
    assert found.json()["text"].endswith("(api:viewer)")


def test_a_role_that_does_not_exist_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"SOPHIA_API_ROLE": "king"})
    with pytest.raises(UsageError, match="SOPHIA-T423"):
        client(house)


async def test_a_word_that_two_tokens_share_counts_with_the_lower_role(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, settings={"SOPHIA_VIEWER_TOKEN": TOKEN})
    async with client(house) as http:
        found = await http.get("/api/v1/greeting/say?name=x")
    assert found.json()["text"].endswith("(api:viewer)")


async def test_tokens_are_compared_in_constant_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    tokens = auth.Tokens(house.settings)
    assert tokens.role_of([(b"x-admin-token", VIEWER_TOKEN.encode())])
    # the first one fits, and the others are looked at all the same; all of one length
    assert len(compared) == 3
    assert {len(side) for pair in compared for side in pair} == {32}


@pytest.mark.parametrize("token", [TOKEN, "a-wrong-token-that-nobody-may-read"])
def test_a_token_is_in_no_log_and_in_no_audit(
    house: House,
    token: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    # a house that has a folder logs into its file alone
    monkeypatch.setattr(house, "_log_to_file", lambda: None)
    with serving(house) as address:
        for header in ({"x-admin-token": token}, {"Authorization": f"Bearer {token}"}):
            httpx.get(f"{address}/api/v1/greeting/say?name=x&token={token}", headers=header)
            httpx.post(f"{address}/api/v1/acts/crash", headers=header)
    ours = [each for each in caplog.records if not each.name.startswith(("httpx", "httpcore"))]
    told = "\n".join(each.getMessage() + str(each.exc_text) for each in ours)
    assert "/api/v1/greeting/say" in told
    assert token not in told
    assert token not in str(audited(house))


async def test_health_needs_no_token_and_names_no_address(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "store", AwayStore())
    async with client(house, None) as http:
        found = await http.get("/health")
    assert found.status_code == 503
    assert found.json() == {
        "status": "unavailable",
        "version": found.json()["version"],
        "store": "unavailable",
    }


async def test_health_is_ok_while_the_store_answers(
    house: House, monkeypatch: pytest.MonkeyPatch, store: object
) -> None:
    async def opened() -> object:
        return store

    monkeypatch.setattr(house, "store", opened)
    async with client(house, None) as http:
        found = await http.get("/health")
    assert (found.status_code, found.json()["status"]) == (200, "ok")
