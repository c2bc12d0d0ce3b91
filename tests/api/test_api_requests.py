"""What the API makes of requests: methods, bodies, controls, errors, languages."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from sophia_tui.api.guard import MAXIMUM_BODY
from sophia_tui.wiring import House
from tests.api.server import serving
from tests.api.throwaway import (
    OPERATOR_TOKEN,
    TOKEN,
    VIEWER_TOKEN,
    ActsService,
    audited,
    client,
    make_house,
)


def code(found: httpx.Response) -> tuple[int, str]:
    assert set(found.json()["error"]) == {"code", "what", "why", "remedy", "details"}
    return found.status_code, found.json()["error"]["code"]


async def test_a_role_too_low_is_refused(house: House) -> None:
    async with client(house, VIEWER_TOKEN) as http:
        assert code(await http.post("/api/v1/acts/write", json={"name": "x"})) == (
            403,
            "SOPHIA-R403",
        )


async def test_who_may_not_ask_is_refused_before_the_request_is_read(house: House) -> None:
    async with client(house, VIEWER_TOKEN) as http:
        assert code(await http.post("/api/v1/acts/write", json={}))[0] == 403


async def test_readonly_refuses_what_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path, readonly=True)
    async with client(house) as http:
        assert code(await http.post("/api/v1/acts/write", json={"name": "x"})) == (
            403,
            "SOPHIA-R405",
        )
        assert (await http.get("/api/v1/greeting/say?name=x")).status_code == 200


async def test_training_over_http_needs_its_own_permission(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house(monkeypatch, tmp_path)
    async with client(house, OPERATOR_TOKEN) as http:
        assert code(await http.post("/api/v1/acts/train", json={})) == (403, "SOPHIA-R451")
    allowed = make_house(monkeypatch, tmp_path, settings={"ALLOW_FINETUNE": "true"})
    async with client(allowed, OPERATOR_TOKEN) as http:
        assert (await http.post("/api/v1/acts/train")).status_code == 200


async def test_a_dangerous_act_needs_confirmation(house: House) -> None:
    async with client(house) as http:
        assert code(await http.post("/api/v1/acts/erase", json={"name": "x"})) == (
            403,
            "SOPHIA-R428",
        )


@pytest.mark.parametrize(
    ("query", "body"), [("?confirm=true", {"name": "x"}), ("", {"name": "x", "confirm": True})]
)
async def test_confirmation_may_stand_in_query_or_body(
    house: House, query: str, body: dict[str, Any]
) -> None:
    async with client(house) as http:
        found = await http.post(f"/api/v1/acts/erase{query}", json=body)
    assert (found.status_code, found.json()["text"]) == (200, "gone")


async def test_confirm_false_does_not_confirm(house: House) -> None:
    async with client(house) as http:
        body = {"name": "x", "confirm": False}
        assert code(await http.post("/api/v1/acts/erase", json=body))[1] == "SOPHIA-R428"


@pytest.mark.parametrize(
    "word", ["perhaps", None, 2, 1, 0, 1.0, "true", "false", "yes", "on", "", [True], {}]
)
async def test_a_control_that_is_no_boolean_is_a_clear_error(house: House, word: Any) -> None:
    """And nothing runs: neither unconfirmed nor, of a misspelt dry run, for real."""
    async with client(house) as http:
        body = {"name": "x", "confirm": word}
        assert code(await http.post("/api/v1/acts/erase", json=body)) == (422, "SOPHIA-U465")
        body = {"name": "x", "dry_run": word}
        assert code(await http.post("/api/v1/acts/write", json=body)) == (422, "SOPHIA-U465")
    assert audited(house) == []


@pytest.mark.parametrize("word", ["1", "yes", "on", "True", "TRUE", "t", ""])
async def test_in_the_query_only_true_confirms(house: House, word: str) -> None:
    async with client(house) as http:
        for path in (f"erase?confirm={word}", f"write?dry_run={word}"):
            found = await http.post(f"/api/v1/acts/{path}", json={"name": "x"})
            assert code(found) == (422, "SOPHIA-U465")
    assert audited(house) == []


@pytest.mark.parametrize(
    ("query", "body"), [("?dry_run=true", {"name": "x"}), ("", {"name": "x", "dry_run": True})]
)
async def test_dry_run_may_stand_in_query_or_body(
    house: House, query: str, body: dict[str, Any]
) -> None:
    async with client(house) as http:
        found = await http.post(f"/api/v1/acts/write{query}", json=body)
    assert found.json()["text"] == "dry"
    assert [each["outcome"] for each in audited(house)] == ["dry_run"]


async def test_what_can_not_run_dry_says_so(house: House) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/erase?dry_run=true", json={"name": "x"})
    assert code(found) == (422, "SOPHIA-U405")


async def test_an_unknown_route_is_not_found(house: House) -> None:
    async with client(house) as http:
        assert code(await http.get("/api/v1/no/such")) == (404, "SOPHIA-U460")


async def test_get_never_changes_anything(house: House) -> None:
    async with client(house) as http:
        found = await http.get("/api/v1/acts/write?name=x")
    assert code(found) == (405, "SOPHIA-U461")
    assert found.headers["allow"] == "POST"
    assert audited(house) == []


async def test_a_secret_is_never_taken_from_an_address(house: House) -> None:
    async with client(house) as http:
        assert (await http.get("/api/v1/acts/peek?account=a&password=b")).status_code == 405
        body = {"account": "a", "password": "b"}
        assert (await http.post("/api/v1/acts/peek", json=body)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "PRIVATE " * 20},
        {"name": ["PRIVATE"]},
        {"name": "x", "times": "PRIVATE"},
        {"name": "x", "tone": "PRIVATE"},
        {"name": "x", "unknown": "PRIVATE"},
    ],
)
async def test_a_wrong_request_names_its_fields_and_never_its_values(
    house: House, body: dict[str, Any]
) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/write", json=body)
    assert code(found) == (422, "SOPHIA-U422")
    assert "PRIVATE" not in found.text


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"1", b"null", b'"x"', b"\xff\xfe", b'{"name": "PRIVATE}', b"[" * 100_000],
)
async def test_a_body_that_is_no_object_is_a_clear_error(house: House, body: bytes) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/write", content=body)
    assert code(found) == (422, "SOPHIA-U463")
    assert "PRIVATE" not in found.text


async def test_a_body_may_come_without_content_type(house: House) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/write", content=b'{"name": "x"}')
    assert found.status_code == 200


async def test_too_large_a_body_is_refused_by_its_announced_length(house: House) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/write", content=b" " * (MAXIMUM_BODY + 1))
    assert code(found) == (413, "SOPHIA-U462")


async def test_too_large_a_body_is_refused_while_it_streams(house: House) -> None:
    async def endless() -> Any:
        for _each in range(MAXIMUM_BODY // 100_000 + 1):
            yield b" " * 100_000

    async with client(house) as http:
        found = await http.post("/api/v1/acts/write", content=endless())
    assert code(found) == (413, "SOPHIA-U462")


async def test_a_body_at_the_limit_is_read(house: House) -> None:
    body = json.dumps({"name": "x"}).encode()
    async with client(house) as http:
        content = body + b" " * (MAXIMUM_BODY - len(body))
        assert (await http.post("/api/v1/acts/write", content=content)).status_code == 200


async def test_a_defect_is_told_without_its_text(house: House) -> None:
    async with client(house) as http:
        found = await http.post("/api/v1/acts/crash", json={})
    assert code(found) == (500, "SOPHIA-X500")
    assert "SECRET" not in found.text and "Traceback" not in found.text


async def test_errors_of_services_keep_their_status_and_words(house: House) -> None:
    async with client(house) as http:
        lost = await http.post("/api/v1/acts/lose", json={"name": "x"})
        away = await http.get("/api/v1/acts/unplug")
    assert code(lost) == (404, "SOPHIA-M998")
    assert lost.json()["error"]["remedy"] == "Look elsewhere."
    assert code(away) == (503, "SOPHIA-S998")


async def test_answers_are_never_kept_by_a_cache(house: House) -> None:
    async with client(house) as http:
        for path in ("/api/v1/greeting/say?name=x", "/no", "/api/v1/acts/unplug"):
            assert (await http.get(path)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt_BR"),
        ("en;q=0.2, pt;q=0.9", "pt_BR"),
        ("de, fr;q=0.5", "en"),
        ("pt;q=0, en;q=0.1", "en"),
        ("pt;q=nonsense", "en"),
        (";;;,,;q=", "en"),
        ("", "en"),
    ],
)
async def test_the_language_is_the_one_that_is_accepted(
    house: House, accept: str, language: str
) -> None:
    async with client(house, **{"accept-language": accept}) as http:
        await http.get("/api/v1/greeting/say?name=x")
        await http.post("/api/v1/acts/write", json={"name": "x"})
    service: ActsService = await house.service(ActsService)
    assert service.done[0][1].language == language


async def test_the_openai_protocol_speaks_english_whatever_is_accepted(house: House) -> None:
    async with client(house) as http:
        english = (await http.get("/v1/files/nope")).json()
    async with client(house, **{"accept-language": "pt-BR"}) as http:
        asked_in_portuguese = (await http.get("/v1/files/nope")).json()
    assert asked_in_portuguese == english and "file" in english["error"]["message"]


async def test_openapi_lists_every_operation_with_its_method(house: House) -> None:
    async with client(house) as http:
        document = (await http.get("/openapi.json")).json()
    listed = {
        entry["operationId"]: method
        for methods in document["paths"].values()
        for method, entry in methods.items()
    }
    writing = {each.name for each in house.registry if each.writes}
    models = {"v1.models", "v1.model", "v1.chat", "v1.completions"}
    assert (
        set(listed)
        == {each.name for each in house.registry} | {"health", "health.head", "metrics"} | models
    )
    posted = writing | {"acts.peek", "v1.chat", "v1.completions"}
    assert {name for name, method in listed.items() if method == "post"} == posted


async def test_openapi_documents_the_controls_and_the_token(house: House) -> None:
    async with client(house) as http:
        document = (await http.get("/openapi.json")).json()
    erase = document["paths"]["/api/v1/acts/erase"]["post"]
    reference = erase["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    body = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    assert "confirm" in body["properties"]
    assert [each["name"] for each in erase["parameters"]] == ["confirm"]
    assert set(document["components"]["securitySchemes"]) == {"adminToken", "bearer"}
    assert document["paths"]["/health"]["get"]["security"] == []


async def test_every_reference_in_openapi_leads_somewhere(house: House) -> None:
    async with client(house) as http:
        document = (await http.get("/openapi.json")).json()
    wanted = {
        part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]
    }
    assert wanted <= set(document["components"]["schemas"])


def test_a_client_that_goes_away_stops_a_long_read(house: House) -> None:
    with serving(house) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{address}/api/v1/acts/wait", headers={"x-admin-token": TOKEN}, timeout=0.5)
        service = asyncio.run(house.service(ActsService))
        _kind, context = service.done[0]
        for _attempt in range(500):
            if context.cancel.requested:
                break
            asyncio.run(asyncio.sleep(0.01))
    assert context.cancel.requested
