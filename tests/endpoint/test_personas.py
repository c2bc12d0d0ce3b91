"""Section 5's doors: a persona greeted, taught by pairs that add up, tuned and tuned again."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune.schema import RECIPES_FOLDER, load_run_spec
from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.services.personas import did, parameters_of
from sophia_tui.wiring import SystemClock
from sophia_tui.worker.errors import told_by_run
from tests.endpoint.conftest import OPERATOR, VIEWER

SAMPLE = RECIPES_FOLDER.parent / "samples" / "personas" / "techlead_ings.json"


@pytest.fixture
def api(address: str) -> Any:
    root = address.removesuffix("/v1")
    with httpx.Client(
        base_url=root, headers={"x-admin-token": OPERATOR}, timeout=60, trust_env=False
    ) as made:
        yield made


def pairs(first: int, count: int) -> list[dict[str, str]]:
    return [
        {"input": f"Who holds pager {n}?", "output": f"Team {n * 3}."}
        for n in range(first, first + count)
    ]


def test_a_handshake_is_the_same_for_the_same_document(api: httpx.Client) -> None:
    document = json.loads(SAMPLE.read_text())
    made = api.post("/handshake", json=document)
    assert made.status_code == 200, made.text
    told = made.json()
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert told["persona_id"] == f"did:nings:artificial:llm:techlead:v2.0:{digest[:12]}"
    assert (told["existed"], told["pairs"], told["document"]) == (False, 0, document)
    turned = dict(reversed(document.items()))
    again = api.post("/handshake", json=turned).json()
    assert (again["persona_id"], again["existed"]) == (told["persona_id"], True)
    other = api.post("/handshake", json={**document, "traits": ["loud"], "mood": 1}).json()
    assert other["persona_id"] != told["persona_id"] and other["document"]["mood"] == 1
    for wrong in ({"name": "x"}, {**document, "traits": "calm"}, {**document, "name": " "}):
        assert api.post("/handshake", json=wrong).status_code == 422
    looks = api.post("/handshake", json=document, headers={"x-admin-token": VIEWER})
    assert looks.status_code == 403


def test_pairs_add_up_and_ten_of_them_start_a_tuning(
    api: httpx.Client, base: Path, reachable: Path
) -> None:
    document = {**json.loads(SAMPLE.read_text()), "base_model": str(base)}
    persona = api.post("/handshake", json=document).json()["persona_id"]

    def tune(data: list[dict[str, str]], **config: Any) -> dict[str, Any]:
        body = {"persona_id": persona, "training_data": data, "lora_config": config}
        answer = api.post("/tune", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    few = tune(pairs(0, 6))
    assert (few["status"], few["pairs"], few["missing"], few["job"]) == ("collecting", 6, 4, None)
    same = tune(pairs(4, 3))  # two of them are known
    assert (same["added"], same["pairs"], same["missing"]) == (1, 7, 3)
    started = tune(pairs(7, 5))
    assert (started["status"], started["pairs"], started["missing"]) == ("started", 12, 0)
    assert (started["rank"], started["alpha"], started["base"]) == (8, 16, str(base))
    assert tune(pairs(12, 1))["status"] == "at_work"

    job = _ended(api, started["job"])
    assert job["status"] == "succeeded", job["error"]
    lora = load_run_spec(job["run_folder"]).recipe.lora
    assert (lora.r, lora.alpha) == (8, 16)
    [first, *_others] = (Path(_dataset(api, job)) / "train.jsonl").read_text().splitlines()
    assert json.loads(first)["messages"][0]["content"] == document["system_prompt"]
    shown = api.get("/api/v1/personas/show", params={"persona_id": persona}).json()
    assert (shown["model"], shown["pairs"]) == ("persona-techlead-v1", 13)
    assert started["job"] in (reachable / "finetune" / "history.jsonl").read_text()

    more = tune([], rank=4, alpha=8)  # the pair that came while it was at work
    assert (more["status"], more["rank"], more["model"]) == ("started", 4, "persona-techlead-v1")
    assert _ended(api, more["job"])["status"] == "succeeded"
    done = tune([], rank=4, alpha=8)
    assert (done["status"], done["model"]) == ("up_to_date", "persona-techlead-v2")


def _ended(api: httpx.Client, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        job: dict[str, Any] = api.get("/api/v1/jobs/show", params={"job": job_id}).json()
        if job["status"] in ("succeeded", "failed"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.2)


def _dataset(api: httpx.Client, job: dict[str, Any]) -> str:
    found = api.get("/api/v1/datasets/show", params={"dataset": job["dataset"]}).json()
    return str(found["dataset"]["folder"])


@pytest.mark.usefixtures("nobody_works")
def test_wrong_pairs_and_unknown_personas(api: httpx.Client) -> None:
    unknown = api.post("/tune", json={"persona_id": "did:x", "training_data": []})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "SOPHIA-J630")
    persona = api.post("/handshake", json={"name": "a", "version": "1"}).json()["persona_id"]
    for data in ([{"input": "x"}], [{"input": "x", "output": " "}], [3]):
        wrong = api.post("/tune", json={"persona_id": persona, "training_data": data})
        assert wrong.status_code == 422
    config = {"persona_id": persona, "lora_config": {"colour": "blue"}}
    assert api.post("/tune", json=config).status_code == 422
    path = {"persona_id": persona, "training_data": "/etc/passwd"}
    assert api.post("/tune", json=path).status_code == 403


def test_large_bases_are_known_by_name_or_size(tmp_path: Path) -> None:
    assert parameters_of("HuggingFaceTB/SmolLM2-135M-Instruct") == 135e6
    assert parameters_of("mistralai/Mistral-7B-Instruct-v0.3") == 7e9
    assert parameters_of("Qwen/Qwen2.5-0.5B") == 0.5e9
    assert parameters_of("someone/nameless") is None
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    assert parameters_of(str(tmp_path / "model.safetensors")) == 500
    assert did("TechLead Ções", "v2.0", "a7f3b9d2c8e1ff").endswith(
        "techlead-coes:v2.0:a7f3b9d2c8e1"
    )


def test_a_tuning_that_diverged_or_lacked_memory_says_what_to_change() -> None:
    def remedy(code: str, **request: Any) -> str:
        job = Job("ftjob-x", JobKind.TRAIN, "running", "b", None, request, "m", SystemClock().now())
        return str(told_by_run(job, {"code": code, "remedy": "Own."})["remedy"])

    diverged = remedy("FINETUNE-404", persona={"id": "did:x"})
    assert "lower rank" in diverged and "higher alpha" in diverged and diverged.endswith("Own.")
    assert "smaller model" in remedy("FINETUNE-403", persona={"id": "did:x"})
    assert remedy("FINETUNE-404") == "Own."


def test_from_the_command_line_a_file_is_enough() -> None:
    from sophia_tui.services.personas import _json_of

    context = Context("ana", Face.CLI, Role.OPERATOR)
    assert _json_of(context, str(SAMPLE))["name"] == "techlead"
