"""Adding an operation is one declaration and one service method: it is then on every face."""

import json
from pathlib import Path

import httpx
import pytest

from sophia_tui.cli.main import main
from sophia_tui.domain.context import Face
from tests.api.server import serving
from tests.api.throwaway import TOKEN, GreetingService, client, install, make_house


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def test_it_is_in_the_help_of_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, GreetingService)
    assert run("--help") == 0
    assert "greeting say" in (shown := capsys.readouterr().out)
    assert "Greet somebody." in shown


def test_its_options_are_in_its_own_help(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, GreetingService)
    assert run("greeting", "say", "--help") == 0
    shown = capsys.readouterr().out
    assert "--times TIMES" in shown and "{warm,cold}" in shown and "Who is greeted." in shown


def test_it_runs_by_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, GreetingService)
    monkeypatch.setattr("sophia_tui.wiring.system_user", lambda environment: "ana")
    assert run("greeting", "say", "Bia", "--times", "3", "--words", "and", "--words", "all") == 0
    assert "Greeting: Hello Bia and all (ana)" in capsys.readouterr().out


def test_it_answers_as_json_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, tmp_path, GreetingService)
    monkeypatch.setattr("sophia_tui.wiring.system_user", lambda environment: "ana")
    assert run("greeting", "say", "Bia", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"text": "Hello Bia (ana)", "times": 1}


async def test_it_runs_by_http(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    house = make_house(monkeypatch, tmp_path, (GreetingService,))
    async with client(house) as http:
        found = await http.get(
            "/api/v1/greeting/say", params={"name": "Bia", "times": 3, "words": ["and", "all"]}
        )
    assert (found.status_code, found.json()) == (
        200,
        {"text": "Hello Bia and all (api:admin)", "times": 3},
    )


async def test_it_is_in_openapi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    house = make_house(monkeypatch, tmp_path, (GreetingService,))
    async with client(house) as http:
        document = (await http.get("/openapi.json")).json()
    entry = document["paths"]["/api/v1/greeting/say"]["get"]
    assert entry["summary"] == "Greet somebody."
    assert [each["name"] for each in entry["parameters"]] == ["name", "times", "tone", "words"]


def test_it_runs_over_a_real_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    house = make_house(monkeypatch, tmp_path, (GreetingService,))
    with serving(house) as address:
        found = httpx.get(
            f"{address}/api/v1/greeting/say",
            params={"name": "Bia"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
    assert found.json()["text"] == "Hello Bia (api:admin)"


async def test_it_is_in_the_palette_of_the_console(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from sophia_tui.tui.app import SophiaApp
    from sophia_tui.tui.screens.palette import entries

    house = make_house(monkeypatch, tmp_path, (GreetingService,))
    app = SophiaApp(house.dispatcher, house.context(Face.CONSOLE), paths=house.paths)
    async with app.run_test():
        await app.painted.wait()
        ranks = [(each.rank("greeting"), each) for each in entries(app)]
        found = [each for rank, each in ranks if rank == 0]
    assert [(each.target, each.help) for each in found] == [("greeting.say", "Greet somebody.")]
