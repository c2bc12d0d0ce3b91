"""schemathesis against the real server: what it makes up from /openapi.json, wrong and right, gets
no answer of 500 and above, and every answer is of a form that the description has.

The server is a process of its own on the seeded store; nobody works on what is queued.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sophia_tui.paths import Paths
from sophia_tui.settings import load
from sophia_tui.store.own import open_store
from sophia_tui.worker.lock import WorkerLock
from tests import seeded
from tests.api.test_api_server import free_port

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-the-fuzzer"
#: Left out, for they work for minutes, and where they are performed: tests/unit/test_demo.py (it
#: trains) and tests/integration/test_serving.py (it starts an engine).
LEFT_OUT = ("demo.run", "serve.model")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"
CHECKS += ",response_schema_conformance,ignored_auth"


@dataclass(frozen=True)
class Served:
    address: str
    log: Path


@pytest.fixture
def served(store_url: str, reachable: Path) -> Iterator[Served]:
    """The real server on the seeded store, as `sophia serve api` runs it."""
    data, port = reachable / "data", free_port()
    asyncio.run(_seed(store_url, reachable))
    seeded.fill_source(store_url)
    _pairs(reachable / "finetune")
    environment = {
        **{key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ},
        "PYTHONPATH": str(ROOT),
        "SOPHIA_DATA_DIR": str(data),
        "SOPHIA_STORE_URL": store_url,
        "DATABASE_URL": store_url,
        "FINETUNE_DIR": str(reachable / "finetune"),
        "AION_TRAIN_ROOT": str(reachable / "trainer"),
        "FINETUNE_TOKEN": TOKEN,
        "ALLOW_FINETUNE": "true",
        "SOPHIA_MANAGED_ENV_FILES": str(reachable / "rag.env"),
        "SOPHIA_WRONG_TOKENS": "100000",  # that tokens are needed is tried at every route
        "SOPHIA_WATCH_SECONDS": "0.5",
        "SOPHIA_PROBE_SECONDS": "0.5",
        "API_URL": f"http://127.0.0.1:{port}",
        "HF_HUB_OFFLINE": "1",
    }
    nobody_else = WorkerLock(Paths(data))
    assert nobody_else.take()
    log = reachable / "api.log"
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "sophia_tui.cli.main", "serve", "api"],
            env=environment,
            cwd=reachable,
            stderr=told,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _await(process, address)
        yield Served(address, log)
    finally:
        process.terminate()
        process.wait(30)
        nobody_else.release()


async def _seed(url: str, folder: Path) -> None:
    store = await open_store(load({"SOPHIA_STORE_URL": url}), Paths(folder / "data"))
    await seeded.fill(store, folder)
    await store.close()


def _pairs(folder: Path) -> None:
    folder.mkdir()
    pairs = [{"question": f"Who runs office {n}?", "answer": f"Dona {n}."} for n in range(30)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))


def _await(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{address}/health", timeout=30)
            return
        except httpx.ConnectError:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)


def fuzz(served: Served, folder: Path, *options: str) -> None:
    """Run schemathesis; fails with its report and the server's own words."""
    operations = [word for name in LEFT_OUT for word in ("--exclude-operation-id", name)]
    ran = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{served.address}/openapi.json",
            "--header",
            f"x-admin-token: {TOKEN}",
            "--checks",
            CHECKS,
            "--seed",
            "20261126",
            "--generation-database",
            "none",
            "--request-timeout",
            "60",
            "--continue-on-failure",
            "--warnings",
            "off",
            "--no-color",
            *operations,
            *options,
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.api.fuzz_hooks", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1000,
    )
    log = served.log.read_text()
    defects = re.findall(r"^.* ERROR .*(?:\n  .*)*", log, re.MULTILINE)
    assert ran.returncode == 0, "\n".join([ran.stdout[-20_000:], ran.stderr, *defects[:20]])
    assert not re.search(r" (?:500|501|502|504) \d+ ms", log)
    asked = len(re.findall(r" \d{3} \d+ ms ", log))
    assert asked > 300, "too little was asked"


def test_what_is_made_up_gets_no_500(served: Served, tmp_path: Path) -> None:
    fuzz(
        served,
        tmp_path,
        "--phases",
        "fuzzing",
        "--max-examples",
        "2",
        "--no-shrink",
        "--workers",
        "2",
    )


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_much_that_is_made_up_gets_no_500(served: Served, tmp_path: Path) -> None:
    fuzz(served, tmp_path, "--max-examples", "40", "--max-time", "500", "--workers", "2")
