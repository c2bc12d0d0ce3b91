"""The house that programs of the fine-tuning protocol find: a real server on loopback, a real small
base, and a worker process that trains."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from sophia_tui.paths import Paths
from sophia_tui.wiring import House
from sophia_tui.worker.lock import is_held, lock_path
from tests.api.server import serving
from tests.finetune.tiny_model import build_tiny_model

ADMIN, OPERATOR, VIEWER, MODELS = "the-owner", "who-works", "who-looks", "key-for-models"


def chats(count: int = 40, first: int = 0) -> bytes:
    """Training lines as programs of the hosted service send them."""
    lines = (
        {
            "messages": [
                {"role": "system", "content": "You are a concierge."},
                {"role": "user", "content": f"What is room {number} for?"},
                {"role": "assistant", "content": f"For guest {number * 7}."},
            ]
        }
        for number in range(first, first + count)
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def preferences(count: int) -> bytes:
    """Lines for dpo: what is asked, the better and the worse answer."""

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    lines = (
        {
            "input": {"messages": [{"role": "user", "content": f"Where is desk {number}?"}]},
            "preferred_output": said(f"On floor {number}."),
            "non_preferred_output": said("Nobody knows."),
        }
        for number in range(count)
    )
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def environment(
    store_url: str, base: Path, reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    data = reachable / "data"
    monkeypatch.chdir(reachable)
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    yield {
        **kept,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SOPHIA_DATA_DIR": str(data),
        "SOPHIA_STORE_URL": store_url,
        "FINETUNE_BASE": str(base),
        "FINETUNE_TOKEN": ADMIN,
        "SOPHIA_OPERATOR_TOKEN": OPERATOR,
        "SOPHIA_VIEWER_TOKEN": VIEWER,
        "SOPHIA_MODEL_TOKEN": MODELS,
        "ALLOW_FINETUNE": "true",
        "SOPHIA_TRAINING_THREADS": "1",
    }
    if is_held(Paths(data)):
        os.kill(int(lock_path(Paths(data)).read_text()), signal.SIGTERM)
        deadline = time.monotonic() + 20
        while is_held(Paths(data)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def house(environment: dict[str, str]) -> House:
    return House(environment)


@pytest.fixture
def address(house: House) -> Iterator[str]:
    with serving(house) as found:
        yield f"{found}/v1"


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """The official client, set up as for the hosted service but for its address."""
    with openai.OpenAI(base_url=address, api_key=OPERATOR, max_retries=0) as made:
        yield made


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued stays queued."""
    monkeypatch.setattr("sophia_tui.worker.spawn.ensure_worker", lambda *_given: None)
