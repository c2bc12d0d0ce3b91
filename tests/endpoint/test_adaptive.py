"""Section 3's doors: the adaptive training started, looked at and cancelled over HTTP."""

import json
import os
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.endpoint.conftest import ADMIN, VIEWER

ROUTE = "/api/ai/train/lora"


@pytest.fixture
def api(address: str) -> Any:
    root = address.removesuffix("/v1")
    with httpx.Client(
        base_url=root, headers={"x-admin-token": ADMIN}, timeout=60, trust_env=False
    ) as made:
        yield made


@pytest.fixture
def environment(environment: dict[str, str], base: Path) -> dict[str, str]:
    return {**environment, "AION_LORA_BASE": str(base)}


def answers(count: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "answer", "meta": {"prompt": f"Gate {n}?", "reply": f"North {n}."}, **more}
        for n in range(count)
    ]


def write_events(folder: Path, *lines: Any) -> Path:
    path = folder / "trainer" / "events.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def test_the_whole_life(api: httpx.Client, reachable: Path) -> None:
    q_and_a = {"kind": "answer", "meta": {"q": "Who?", "a": "Dona Bia."}}
    unusable = ["{broken", {"kind": "answer", "meta": {"q": "Nobody answered?"}}]
    write_events(reachable, {"kind": "retrieval", "meta": {}}, *answers(20), *unusable, q_and_a)
    assert api.get(f"{ROUTE}/status").json() == {
        "running": False,
        "pid": None,
        "log": None,
        "job": None,
    }
    assert api.post(f"{ROUTE}/cancel").json() == {"ok": False, "msg": "no job"}

    started = api.post(f"{ROUTE}/start")
    assert started.status_code == 200, started.text
    told = started.json()
    assert told["ok"] is True and told["job"].startswith("ftjob-")
    log = reachable / "trainer" / "lora" / "train.log"
    assert told["log"] == str(log) and os.path.exists(f"/proc/{told['pid']}")
    again = api.post(f"{ROUTE}/start")
    assert again.status_code == 409
    assert (again.json()["ok"], again.json()["msg"]) == (False, "job running")
    assert api.get(f"{ROUTE}/status").json()["running"] is True

    lora = log.parent
    rows = [json.loads(line) for line in (lora / "train_data.jsonl").read_text().splitlines()]
    assert rows[0] == {"instruction": "Gate 0?", "output": "North 0."} and len(rows) == 21
    assert rows[-1] == {"instruction": "Who?", "output": "Dona Bia."}
    rejected = (lora / "train_data.rejected.jsonl").read_text().splitlines()
    assert [json.loads(each)["place"] for each in rejected] == [
        "events.jsonl:22",
        "events.jsonl:23",
    ]

    _until_ended(api)
    job = api.get("/api/v1/jobs/show", params={"job": told["job"]}).json()
    assert job["status"] == "succeeded", job["error"]
    assert (lora / "out" / "adapter" / "adapter_config.json").is_file()
    assert log.read_text() == (Path(job["run_folder"]) / "log.txt").read_text()
    assert "prompt_form: alpaca" in (Path(job["run_folder"]) / "run.yaml").read_text()
    assert told["job"] in (reachable / "finetune" / "history.jsonl").read_text()
    assert api.post(f"{ROUTE}/cancel").json() == {"ok": False, "msg": "no job"}


def _until_ended(api: httpx.Client) -> None:
    deadline = time.monotonic() + 120
    while api.get(f"{ROUTE}/status").json()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.usefixtures("nobody_works")
def test_a_builder_that_fails(api: httpx.Client, reachable: Path) -> None:
    nothing = api.post(f"{ROUTE}/start", json={})
    assert nothing.status_code == 500
    assert (nothing.json()["ok"], nothing.json()["msg"]) == (False, "builder failed")
    assert "events.jsonl" in nothing.json()["err"]
    assert not (reachable / "trainer").exists()
    write_events(reachable, {"kind": "retrieval", "meta": {}})
    empty = api.post(f"{ROUTE}/start").json()
    assert (empty["msg"], empty["error"]["code"]) == ("builder failed", "SOPHIA-J622")
    assert '"meta": {"prompt": "…", "reply": "…"}' in empty["error"]["remedy"]


@pytest.mark.usefixtures("nobody_works")
def test_a_job_that_waits_is_cancelled(
    api: httpx.Client, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.api.routes.adaptive.PID_SECONDS", 0.0)
    write_events(reachable, *answers(12))
    started = api.post(f"{ROUTE}/start").json()
    assert started["pid"] is None
    assert api.post(f"{ROUTE}/cancel").json() == {"ok": True, "job": started["job"]}
    assert api.get(f"{ROUTE}/status").json()["running"] is False
    assert api.post(f"{ROUTE}/start").status_code == 200


@pytest.mark.usefixtures("nobody_works")
def test_who_may_not_and_who_is_not_known(api: httpx.Client, address: str) -> None:
    looks = api.post(f"{ROUTE}/start", headers={"x-admin-token": VIEWER})
    assert (looks.status_code, looks.json()["ok"]) == (403, False)
    assert api.post(f"{ROUTE}/start", headers={"x-admin-token": "?"}).status_code == 401


@pytest.mark.usefixtures("nobody_works")
def test_answers_of_both_tables_and_of_one_tenant(
    environment: dict[str, str], store_url: str, reachable: Path
) -> None:
    from sophia_tui.wiring import House
    from tests.api.server import serving

    with psycopg.connect(store_url) as connection:
        connection.execute(
            "CREATE TABLE public.ai_events"
            " (id int, tenant_id uuid, kind varchar, meta text, created_at timestamp)"
        )
        tenant = "2b1ff7f6-0000-4000-8000-000000000001"
        for number, (table, who) in enumerate(
            (t, w) for t in ("public", "sophia") for w in (tenant, tenant[:-1] + "2")
        ):
            meta = {"q": f"{table} {number}?", "a": "Yes."}
            number_column, number_value = ("id,", "7,") if table == "public" else ("", "")
            connection.execute(
                f"INSERT INTO {table}.ai_events ({number_column} tenant_id, kind, meta, created_at)"
                f" VALUES ({number_value} %s, 'answer', %s, now())".encode(),
                [who, json.dumps(meta)],
            )
    more = {"DATABASE_URL": store_url, "PRIMARY_TENANT_ID": tenant}
    with serving(House({**environment, **more})) as found:
        answer = httpx.post(
            f"{found}/api/v1/adaptive/start",
            json={"source": "table"},
            headers={"x-admin-token": ADMIN},
            timeout=60,
            trust_env=False,
        )
    assert answer.status_code == 200, answer.text
    assert answer.json()["read_from"] == ["sophia.ai_events", "public.ai_events"]
    rows = (reachable / "trainer" / "lora" / "train_data.jsonl").read_text().splitlines()
    assert {json.loads(each)["instruction"] for each in rows} == {"public 0?", "sophia 2?"}
