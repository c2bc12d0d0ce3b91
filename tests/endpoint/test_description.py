"""/openapi.json says what the routes of other protocols take and give."""

from typing import Any

import httpx
import pytest

from tests.endpoint.conftest import VIEWER

pytestmark = pytest.mark.usefixtures("nobody_works")


@pytest.fixture
def document(address: str) -> dict[str, Any]:
    root = address.removesuffix("/v1")
    answer = httpx.get(f"{root}/openapi.json", headers={"x-admin-token": VIEWER}, trust_env=False)
    found: dict[str, Any] = answer.json()
    return found


def body(entry: dict[str, Any]) -> dict[str, Any]:
    [content] = entry["requestBody"]["content"].values()
    found: dict[str, Any] = content["schema"]
    return found


def answered(document: dict[str, Any], entry: dict[str, Any]) -> set[str]:
    reference = entry["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    return set(document["components"]["schemas"][reference.rsplit("/", 1)[1]]["properties"])


def test_bodies_and_answers_stand_in_the_description(document: dict[str, Any]) -> None:
    paths = document["paths"]
    create = paths["/v1/fine_tuning/jobs"]["post"]
    assert {"model", "training_file", "method", "suffix"} <= set(body(create)["properties"])
    assert body(create)["required"] == ["model", "training_file"]
    assert {"fine_tuned_model", "trained_tokens", "status"} <= answered(document, create)
    send = paths["/v1/files"]["post"]
    assert list(send["requestBody"]["content"]) == ["multipart/form-data"]
    assert {"id", "bytes", "status"} <= answered(document, send)
    listed = {each["name"] for each in paths["/v1/files"]["get"]["parameters"]}
    assert listed == {"purpose", "after", "order", "limit"}
    lora = "/api/ai/train/lora"
    assert answered(document, paths[f"{lora}/start"]["post"]) == {"ok", "pid", "log", "job"}
    assert answered(document, paths[f"{lora}/status"]["get"]) == {"running", "pid", "log", "job"}
    assert {"200", "409", "500"} <= set(paths[f"{lora}/start"]["post"]["responses"])
    assert {"name", "version", "system_prompt"} <= set(
        body(paths["/handshake"]["post"])["properties"]
    )
    tune = body(paths["/tune"]["post"])
    assert set(tune["properties"]) == {"persona_id", "training_data", "lora_config"}
    assert {"status", "missing", "job"} <= answered(document, paths["/tune"]["post"])
    assert "delete" in paths["/v1/models/{name}"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for part in value.values() for each in references(part)]
        if isinstance(value, list):
            return [each for part in value for each in references(part)]
        return []

    for reference in set(references(document)):
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]
