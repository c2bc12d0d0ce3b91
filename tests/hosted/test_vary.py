"""Variations of constitutional examples, asked of a strict chat server by the real client."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets import constitutional, variations
from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.domain.protocols import Store
from sophia_tui.errors import (
    CancelledError,
    ConflictError,
    DataError,
    JobError,
    RefusedError,
    SophiaError,
    UnavailableError,
    UnconfirmedError,
)
from sophia_tui.paths import Paths
from sophia_tui.providers.chat import OpenAIChat
from sophia_tui.services.prepare import PrepareInput, PrepareService
from sophia_tui.services.prices import ChatPrice, load_prices
from sophia_tui.services.vary import VaryInput, VaryOutput, VaryService
from sophia_tui.settings import load
from sophia_tui.wiring import SystemClock
from tests.hosted.chat_server import KEY, ChatServer, asked_for, good_variation, refusal

CONTEXT = Context("ana", Face.CLI, Role.OPERATOR)


def example(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"etica_{number:03}",
        "category": f"categoria {number % 20}",
        "prompt": f"O que é a justiça no caso {number}?",
        "response_initial": "É dar a cada um o seu.",
        "critique": "[VERITAS] vago\n[SOPHIA] raso\n[DIKE] parcial",
        "response_revised": f"No caso {number}, a justiça pede que se ouçam os dois lados.",
        "reasoning": "Ouve os dois lados.",
        "values_applied": ["justica"],
        "difficulty": "medium",
        **changes,
    }


def test_a_file_that_breaks_off_is_an_error_of_the_file() -> None:
    with pytest.raises(OSError, match="Input/output"):
        variations.read_originals(Path("/proc/self/mem"))  # it opens, and can't be read


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "finetune"
    place.mkdir()
    rows = [example(number) for number in range(10)]
    write(place, rows)
    return place


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "ethics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


@pytest.fixture
def service(server: ChatServer, folder: Path, paths: Paths) -> VaryService:
    return service_of(server.url, folder, paths)


def service_of(url: str, folder: Path, paths: Paths, key: str = KEY) -> VaryService:
    settings = load({"FINETUNE_DIR": str(folder), "OPENAI_BASE_URL": url, "OPENAI_API_KEY": key})
    return VaryService(
        settings, paths, lambda: load_prices(settings, paths), lambda base: OpenAIChat(base, key)
    )


async def vary(service: VaryService, context: Context = CONTEXT, **request: Any) -> VaryOutput:
    return await service.vary(
        context, VaryInput(**{"file": "ethics.jsonl", "model": "writer", "target": 60, **request})
    )


def rows(path: str | Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(each) for each in Path(path).read_text().splitlines()]


def priced(service: VaryService, usd: float) -> None:
    price = ChatPrice(input=usd, output=usd, as_of="2026-11-01")  # type: ignore[arg-type]
    prices = service._prices()
    service._prices = lambda: replace(prices, chat_prices={"writer": price})


def test_the_document_s_figures_are_the_defaults() -> None:
    assert load({}).variations_target == 5500
    assert VaryInput(file="x", model="y").techniques == []
    from sophia_tui.datasets.variations import TECHNIQUES

    assert list(TECHNIQUES) == [
        "depth", "simplification", "application", "history", "comparison", "critique",
    ]  # fmt: skip


async def test_the_target_is_reached_by_all_techniques_with_whole_examples_of_their_own(
    service: VaryService, server: ChatServer
) -> None:
    done = await vary(service)
    assert (done.complete, done.made, done.together, done.refused) == (True, 60, 70, {})
    assert set(done.by_technique.values()) == {10}
    made = rows(done.file)
    assert len({each["id"] for each in made}) == 60
    assert Counter(each["variation_of"] for each in made) == dict.fromkeys(
        (f"etica_{n:03}" for n in range(10)), 6
    )
    for each in made:
        constitutional.check(each, lambda value, _name: value)
    assert Counter(asked_for(each) for each in server.requests).most_common(1)[0][1] == 1


async def test_beyond_one_round_examples_are_asked_for_again(service: VaryService) -> None:
    done = await vary(service, target=75)
    assert (done.made, done.complete) == (75, True)
    assert sum(each["id"].endswith("_2") for each in rows(done.file)) == 15


async def test_an_example_and_its_variations_stay_on_one_side_of_a_split(
    service: VaryService, folder: Path, store: Store, paths: Paths
) -> None:
    await vary(service)
    prepare = PrepareService(store.datasets, service._settings, paths, SystemClock())
    made = await prepare.run(CONTEXT, PrepareInput(name="ethics", group=["example"]))
    assert made.dataset.counts["rows_kept"] == 70
    origins = rows(Path(made.dataset.folder) / "provenance.jsonl")
    lines = {name: rows(folder / name) for name in {each["file"] for each in origins}}
    sides: dict[str, set[str]] = {}
    for each in origins:
        record = lines[each["file"]][each["line"] - 1]
        sides.setdefault(record.get("variation_of") or record["id"], set()).add(each["part"])
    assert len(sides) == 10 and all(len(each) == 1 for each in sides.values())
    assert {part for each in sides.values() for part in each} == {"train", "valid"}


async def test_answers_that_break_a_rule_are_counted_by_it_and_asked_for_again(
    service: VaryService, server: ChatServer
) -> None:
    first = good_variation({}, 900)
    assert isinstance(first, dict)
    server.next_answers = [
        "I would rather not.",
        {**first, "response_revised": "Short."},
        {**first, "prompt": "Mais uma pergunta longa?", "values_applied": ["luck"]},
        {**first, "response_revised": first["response_revised"] + " TODO"},
        "```json\n" + json.dumps(first) + "\n```",
        {**first, "response_revised": first["response_revised"] + " outra coisa nova aqui e mais"},
        {**first, "prompt": "Outra pergunta bem diferente daquela?"},
    ]
    done = await vary(service, parallel=1)
    assert done.refused == {
        "not_object": 1,
        "revised_short": 1,
        "values": 1,
        "revised_placeholder": 1,
        "same_prompt": 1,
        "nearly_same": 1,
    }
    assert done.complete and len(rows(done.file)) == 60


async def test_no_personal_data_leaves_the_machine(
    service: VaryService, server: ChatServer, folder: Path
) -> None:
    secret = "Escreva a zulmira@example.org ou ligue (11) 98765-4321, CPF 529.982.247-25."
    write(folder, [example(n, response_revised=secret + " " * 3, prompt=secret) for n in range(2)])
    await vary(service, target=4)
    sent = json.dumps(server.requests, ensure_ascii=False)
    assert "[EMAIL_1]" in sent
    assert [word for word in ("zulmira", "98765", "982.247") if word in sent] == []


async def test_the_server_s_patience_is_kept_to_and_nothing_is_lost(
    service: VaryService, server: ChatServer
) -> None:
    server.next_answers = [refusal(429, retry_after="1"), refusal(503), "<html>busy</html>"]
    done = await vary(service, target=6, parallel=1)
    assert (done.made, done.complete) == (6, True)
    assert server.times[1] - server.times[0] >= 1.0


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(429, "insufficient_quota"), "J522"),
        (refusal(401), "J525"),
        (refusal(404), "J526"),
    ],
)
async def test_what_waiting_does_not_mend_ends_it_at_once_and_it_goes_on_later(
    service: VaryService, server: ChatServer, answer: Any, code: str
) -> None:
    server.next_answers = [good_variation({}, 700), good_variation({}, 701), answer]
    with pytest.raises(SophiaError, match=code):
        await vary(service, parallel=1)
    assert len(server.requests) == 2
    done = await vary(service, parallel=1)
    assert (done.made_before, done.made, len(server.requests)) == (2, 60, 60)


async def test_a_text_that_the_provider_refuses_is_passed_over(
    service: VaryService, server: ChatServer
) -> None:
    server.next_answers = [refusal(400, "content_filter")] * 3
    done = await vary(service)
    assert (done.made, done.refused) == (60, {"answer_refused": 3})


async def test_a_model_that_writes_nothing_of_use_is_told_after_thirty_answers(
    service: VaryService, server: ChatServer
) -> None:
    server.write = lambda body, number: "Sorry."
    with pytest.raises(DataError, match="D606") as told:
        await vary(service)
    assert "not_object" in told.value.why
    assert len(server.requests) <= 34


async def test_money_is_told_before_and_needs_a_yes(
    service: VaryService, server: ChatServer
) -> None:
    priced(service, 1000.0)
    with pytest.raises(UnconfirmedError, match="D605") as asked:
        await vary(service)
    assert "USD" in asked.value.what
    plan = await vary(service, replace(CONTEXT, dry_run=True))
    assert plan.estimate_usd is not None and plan.estimate_usd > 10
    assert server.requests == []
    done = await vary(service, replace(CONTEXT, confirmed=True))
    assert done.cost_usd == pytest.approx(60 * 700 * 1000 / 1e6)


async def test_the_budget_holds_before_and_while_it_runs(
    service: VaryService, server: ChatServer
) -> None:
    yes = replace(CONTEXT, confirmed=True)
    priced(service, 1000.0)
    with pytest.raises(RefusedError, match="D604"):
        await vary(service, yes, budget=1.0)
    assert server.requests == []
    server.usage = (6000, 1000)  # 7 USD an answer: ten times what was reckoned
    done = await vary(service, yes, budget=45.0)
    assert 35.0 <= (done.cost_usd or 0) <= 45.0 + 3 * 7.0  # what was under way is paid for
    assert (done.complete, done.file, done.exit_code()) == (False, None, 1)
    assert "budget" in done.warnings[0]


async def test_stopped_and_asked_again_it_goes_on(service: VaryService, server: ChatServer) -> None:
    cancel = CancelSignal()

    def stop(progress: Any) -> None:
        if progress.done >= 20:
            cancel.request()

    with pytest.raises(CancelledError):
        await vary(service, replace(CONTEXT, cancel=cancel, progress=stop))
    assert not list(service._settings.finetune_folder.glob("*.variations.jsonl"))
    done = await vary(service)
    assert done.made_before >= 20 and done.made == 60
    again = await vary(service)
    assert (again.made_before, again.file) == (60, done.file)
    asked = len(server.requests)
    assert asked <= 60 + 4  # those under way when it was stopped


async def test_a_higher_target_goes_on_from_what_is_there(
    service: VaryService, server: ChatServer
) -> None:
    first = await vary(service, target=12)
    before = {each["id"] for each in rows(first.file)}
    second = await vary(service, target=24)
    assert before < {each["id"] for each in rows(second.file)}
    assert len(server.requests) == 24


async def test_lines_that_break_the_rules_are_named_and_files_without_examples_refused(
    service: VaryService, folder: Path
) -> None:
    write(folder, [example(1), example(1), example(2, critique="none"), {"question": "q"}])
    done = await vary(service, target=2)
    assert [(each.line, each.code) for each in done.unused] == [
        (2, "same_id"), (3, "critique_lines"), (4, "no_id"),
    ]  # fmt: skip
    wrong = [example(1, prompt="short"), example(2, critique="none"), example(3, difficulty="x")]
    write(folder, [{"question": "q", "answer": "a"}, *wrong, *[{"id": "x"}] * 3])
    with pytest.raises(DataError, match="D603") as caught:
        await vary(service)
    assert caught.value.why == (
        "7 lines were looked at. Line 1: No id. Line 2: The prompt is shorter than 10 characters. "
        "Line 3: The critique is not three lines that begin with [VERITAS], [SOPHIA] and [DIKE]. "
        "Line 4: The difficulty is neither easy nor medium nor hard. Line 5: No category."
    )
    assert "reasoning, values_applied, difficulty" in caught.value.remedy
    assert caught.value.details["lines"] == [1, 2, 3, 4, 5, 6, 7]


async def test_two_at_once_are_one(service: VaryService, paths: Paths) -> None:
    from sophia_tui.datasets.variations import Ledger

    await vary(service, target=6)
    [work] = list(paths.variations.iterdir())
    with Ledger(work).held() as ours:
        assert ours
        with pytest.raises(ConflictError, match="D607"):
            await vary(service)


async def test_nobody_there_is_told_in_the_end(
    folder: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.services.vary_run._LONGEST_WAIT", 0.01)
    with pytest.raises(UnavailableError, match="J520"):
        await vary(service_of("http://127.0.0.1:9/v1", folder, paths))


async def test_a_wrong_key_is_no_reason_to_wait(
    server: ChatServer, folder: Path, paths: Paths
) -> None:
    with pytest.raises(JobError, match="J525"):
        await vary(service_of(server.url, folder, paths, key="wrong"))


def test_killed_in_the_middle_and_started_again_it_makes_no_second_copy(
    folder: Path, tmp_path: Path, store_url: str
) -> None:
    with ChatServer(delay=0.05) as server:
        environment = {
            **os.environ,
            "SOPHIA_STORE_URL": store_url,
            "SOPHIA_DATA_DIR": str(tmp_path / "data"),
            "FINETUNE_DIR": str(folder),
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": KEY,
            "SOPHIA_ROLES": "*=operator",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-m", "sophia_tui.cli.main", "prepare", "vary", "ethics.jsonl"]
        command += ["--model", "writer", "--target", "60", "--json"]
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.requests) < 25 and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        asked_by_then = len(server.requests)
        assert 25 <= asked_by_then < 60
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        made = rows(report["file"])
        assert report["made"] == len({each["id"] for each in made}) == 60
        assert report["made_before"] >= asked_by_then - 8
        assert len(server.requests) <= 60 + 8  # at most what was under way is asked twice
