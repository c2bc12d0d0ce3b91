"""The whole way off a hosted model with a real worker, a real small base and a real engine: golden
answers from a strict stand-in, a data set, a training, an evaluation, serving, the promotion."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.domain.context import Face
from sophia_tui.wiring import House
from tests import seeded
from tests.hosted.models_server import KEY, ModelsServer

OLD = "gpt-4o-mini"
MODEL_KEY = "a-key-for-models"
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture
def provider() -> Iterator[ModelsServer]:
    with ModelsServer() as running:
        running.models = {OLD: None}
        yield running


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def _ask(environment: dict[str, str], operation: str, **request: Any) -> Any:
    house = House(environment)
    try:
        context = house.context(Face.CLI, confirmed=True)
        return await house.dispatcher.call(operation, request, context)
    finally:
        await house.close()


async def _until(environment: dict[str, str], step: str) -> Any:
    """Until the step's job has ended."""
    for _try in range(1200):
        [view] = (await _ask(environment, "models.succession", model=OLD)).items
        found = next(each for each in view.steps if each.step == step)
        if found.state != "running":
            assert found.state == "done", found
            return view
        await asyncio.sleep(0.25)
    raise AssertionError(f"{step} does not end")


async def test_from_a_hosted_model_to_one_of_this_machine(
    environment: dict[str, str], base: Path, provider: ModelsServer, reachable: Path
) -> None:
    rag = reachable / "rag.env"
    api = f"http://127.0.0.1:{_free_port()}"
    environment = {
        **environment,
        "DATABASE_URL": environment["SOPHIA_STORE_URL"],
        "SOPHIA_MANAGED_ENV_FILES": str(rag),
        "SOPHIA_SUCCESSION_BASE": str(base),
        "SOPHIA_QUALITY_GATE": "examples>=0",
        "SOPHIA_PROMOTION_BOUNDS": "median<300, p95<300",  # machines of tests are slow
        "SOPHIA_MODEL_GATE": "off",  # a tiny model trained for four steps would not pass it
        "SOPHIA_MODEL_TOKEN": MODEL_KEY,
        "SOPHIA_MACHINE_USD_PER_HOUR": "0.5",
        "API_URL": api,
    }
    seeded.fill_source(environment["SOPHIA_STORE_URL"])
    rag.write_text(f"GEN_MODEL={OLD}\nOPENAI_BASE_URL={provider.url}\nOPENAI_API_KEY={KEY}\n")
    asked = {"model": OLD, "days": 36500, "prompts": 8, "tokens": 16, "max_steps": 4}
    await _ask(environment, "models.succeed", **asked)
    await _ask(environment, "models.succeed", model=OLD)
    await _ask(environment, "models.succeed", model=OLD)
    view = await _until(environment, "train")
    await _ask(environment, "models.succeed", model=OLD)
    view = await _until(environment, "compare")
    found = view.comparison
    assert found.prompts == 8 and found.chrf is not None and found.length_new > 0
    assert found.seconds_new > 0 and found.cost_new > 0 and found.cost_old > 0
    assert found.perplexity is not None and found.not_measured == []
    assert any(api in each for each in view.notes)
    rag.write_text(f"GEN_MODEL={OLD}\nOPENAI_BASE_URL={api}/v1\nOPENAI_API_KEY={MODEL_KEY}\n")
    try:
        view = await _ask(environment, "models.succeed", model=OLD, promote=view.new_model)
        assert (view.state, view.next) == ("done", "")
        assert f"GEN_MODEL={view.new_model}" in rag.read_text()
        calendar = await _ask(environment, "models.calendar")
        assert {each.key: each.state for each in calendar.items} == {
            "GEN_MODEL": "ok",
            "FINETUNE_BASE": "local",
        }
        history = (reachable / "finetune" / "history.jsonl").read_text().splitlines()
        assert json.loads(history[-1])["previous_model"] == OLD
    finally:
        await _ask(environment, "serve.stop", name=view.new_model, api=True)
