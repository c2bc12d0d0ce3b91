"""--quiet, for cron: silent where all is well, warnings and errors on stderr, never a question."""

import io
import json
import sys
from pathlib import Path

import pytest
from pydantic import Field

from sophia_tui.cli.main import main
from sophia_tui.domain.context import Context, Progress
from sophia_tui.domain.operations import NoInput, Output
from sophia_tui.services.checks.views import CheckView, SetupReport
from sophia_tui.services.operations import operation
from tests.api.throwaway import ActsService, GreetingService, install


class Verdict(Output):
    text: str = Field(title="Text")
    code: int = Field(default=0, title="Code")
    warnings: list[str] = Field(default_factory=list, title="Warnings")

    def exit_code(self) -> int:
        return self.code

    def remarks(self) -> list[str]:
        return ["A hint for people."]


class NightService:
    """What a schedule of cron could ask for."""

    @operation("night.well", "End well.")
    async def well(self, context: Context, request: NoInput) -> Verdict:
        context.progress(Progress("reading", 1, 2))
        return Verdict(text="fine")

    @operation("night.doubt", "End well, with a warning.")
    async def doubt(self, context: Context, request: NoInput) -> Verdict:
        return Verdict(text="fine", warnings=["Mind \x1b[31mthe gap."])

    @operation("night.check", "Check.")
    async def check(self, context: Context, request: NoInput) -> SetupReport:
        return SetupReport(
            ready=False,
            items=[
                CheckView(id="a", name="Disk space", state="ok", found="plenty"),
                CheckView(id="b", name="Memory", state="attention", found="little"),
                CheckView(
                    id="c", name="Database", state="problem", found="away", remedy="Start it"
                ),
            ],
        )

    @operation("night.badly", "Say that it ended badly.")
    async def badly(self, context: Context, request: NoInput) -> Verdict:
        return Verdict(text="half of it", code=3, warnings=["Too few."])


class Terminal(io.StringIO):
    """Somebody sits there, and says yes to everything."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, GreetingService, ActsService, NightService)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.mark.parametrize("option", ["-q", "--quiet"])
@pytest.mark.parametrize("words", [["night", "well"], ["greeting", "say", "ana"]])
def test_where_all_is_well_nothing_is_said(
    capsys: pytest.CaptureFixture[str], option: str, words: list[str]
) -> None:
    assert run(capsys, *words, option) == (0, "", "")
    assert run(capsys, option, *words) == (0, "", "")


def test_what_json_asks_for_is_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "night", "well", "--json", "-q")
    assert (code, json.loads(out)["text"], err) == (0, "fine", "")


def test_warnings_and_bad_ends_are_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "night", "doubt", "-q") == (0, "", "Mind ␛[31mthe gap.\n")
    code, out, err = run(capsys, "night", "badly", "-q")
    assert (code, out) == (3, "")
    assert "half of it" in err and "Too few." in err


def test_of_a_check_only_what_is_not_ok_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "night", "check", "-q")
    assert (code, out) == (1, "")
    assert "little" in err and "away" in err and "plenty" not in err and "Disk space" not in err
    code, out, err = run(capsys, "night", "check")
    assert code == 1 and "plenty" in out
    code, out, err = run(capsys, "night", "check", "--json", "-q")
    assert code == 1 and len(json.loads(out)["items"]) == 3


def test_errors_keep_their_words_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "acts", "unplug", "-q")
    assert (code, out) == (5, "") and "SOPHIA-S998" in err
    code, out, err = run(capsys, "acts", "unplug", "-q", "--json")
    assert (code, out) == (5, "") and json.loads(err)["error"]["code"] == "SOPHIA-S998"


def test_nothing_is_asked_even_at_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("yes\n" * 9))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, out, err = run(capsys, "acts", "erase", "ana", "-q")
    assert (code, out) == (3, "") and "SOPHIA-R428" in err and "[y/N]" not in err
    code, out, err = run(capsys, "acts", "enter", "--account", "ana", "-q")
    assert (code, out) == (2, "") and "SOPHIA-U471" in err
    code, out, err = run(capsys, "-q")
    assert (code, out) == (2, "") and "SOPHIA-U004" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\n"))
    assert run(capsys, "acts", "enter", "--account", "ana", "-q") == (0, "", "")
