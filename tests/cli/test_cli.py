"""The command line: help, results, errors with their exit codes, hostile text, pipes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sophia_tui import wiring
from sophia_tui.cli import command, grammar
from sophia_tui.cli.main import main
from sophia_tui.cli.output import as_json_line, render
from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import NoInput, Output
from sophia_tui.errors import InternalError, SetupError
from sophia_tui.i18n import set_language
from sophia_tui.services.catalogue import registry
from sophia_tui.services.fields import choices_of
from sophia_tui.services.operations import operation
from sophia_tui.tui.app import run_console
from tests.api.throwaway import ActsService, Greeting, GreetingService, install

EVERY = [each.name for each in registry()]
PIPED = """
from pathlib import Path
import pytest, sys
from sophia_tui.cli.main import main
from tests.api.throwaway import ActsService, install
install(pytest.MonkeyPatch(), Path(sys.argv.pop(1)), ActsService)
main()
"""


class HostileService:
    """Answers and fails with what a data set may hold."""

    @operation("hostile.show", "Show it.")
    async def show(self, context: Context, request: NoInput) -> Greeting:
        return Greeting(text="\x1b]52;c;ZXZpbA==\x07\u202e\x9b31m\x7f\U000e0041é")

    @operation("hostile.fail", "Fail with it.")
    async def fail(self, context: Context, request: NoInput) -> Greeting:
        raise InternalError("X998", "bad \x1b[31m", "\u202ewhy", "do\n\x9bthis")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, GreetingService, ActsService, HostileService)


@pytest.mark.parametrize("language", ["en", "pt_BR"])
@pytest.mark.parametrize("name", EVERY)
def test_every_operation_has_help_in_every_language(
    name: str, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = registry().get(name)
    words = [chosen.subject] if chosen.verb == "run" else [chosen.subject, chosen.verb]
    set_language(language)
    shown = grammar.parser_for(chosen).format_help()
    if chosen.verb != "run":
        assert run(*words, "--lang", language, "--help") == 0
        assert capsys.readouterr().out.strip() == shown.strip()
    assert " ".join(["sophia", *words]) in shown
    for field, info in chosen.input.model_fields.items():
        if field not in grammar.secret_fields(chosen.input):
            named = (
                field.replace("_", "-"),
                field.upper(),
                field,
                f"{{{','.join(choices_of(info) or ())}}}",
            )
            assert any(name in shown for name in named)  # by itself, or by what may stand there


@pytest.mark.parametrize("subject", sorted({each.subject for each in registry()}))
def test_every_subject_has_help(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(subject, "--help") == 0
    assert f"sophia {subject}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["overview"], ["overview", "--since", "2026-11-01"], ["monitor"]]
)
def test_what_shows_without_a_name_is_shown_by_its_subject_alone(words: list[str]) -> None:
    found, rest = command._find(registry(), words, wants_help=False)
    assert found is not None and found.name == f"{words[0]}.show" and rest == words[1:]
    assert command._find(registry(), words[:1], wants_help=True)[0] is None
    # a job has to be named
    assert command._find(registry(), ["jobs"], wants_help=False)[0] is None


RUNS = [each.subject for each in registry() if each.verb == "run"]


@pytest.mark.parametrize("subject", RUNS)
@pytest.mark.parametrize("words", [["run"], ["something"], ["run", "something"]])
def test_what_a_subject_does_alone_has_help_in_every_spelling(
    subject: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(subject, *words, "--help") == 0
    assert grammar.parser_for(registry().get(f"{subject}.run")).format_help().strip() in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["acts", "lose", "x"], 4, "SOPHIA-M998"),
        (["acts", "unplug"], 5, "SOPHIA-S998"),
        (["acts", "crash"], 1, "SOPHIA-X500"),
        (["acts", "erase", "x"], 3, "SOPHIA-R428"),
        (["acts", "write", "x", "--readonly"], 3, "SOPHIA-R405"),
        (["acts", "write"], 2, "SOPHIA-U002"),
        (["acts", "write", "x", "--times", "99"], 2, "SOPHIA-U422"),
        (["acts", "write", "x", "--tone", "loud"], 2, "SOPHIA-U002"),
        (["acts", "write", "x", "--no-such"], 2, "SOPHIA-U002"),
        (["acts", "erase", "x", "--dry-run"], 2, "SOPHIA-U405"),
        (["acts", "nothing"], 2, "SOPHIA-U006"),
        (["nothing"], 2, "SOPHIA-U006"),
        (["--lang", "fr", "acts", "unplug"], 2, "SOPHIA-U003"),
        (["acts", "unplug", "--lang"], 2, "SOPHIA-U001"),
        (["serve", "nothing"], 2, "SOPHIA-U006"),
        (["serve", "worker", "--readonly", "--idle-exit", "0.1"], 3, "SOPHIA-R405"),
        ([], 2, "SOPHIA-U004"),
    ],
)
@pytest.mark.usefixtures("acts")
def test_errors_have_their_exit_code_and_one_clear_text(
    words: list[str], code: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"{error}  ")
    assert "Traceback" not in told.err

    assert run("--json", *words) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert json.loads(told.err)["error"]["code"] == error


@pytest.mark.parametrize(
    "words",
    [
        ["acts", "unplug"],
        ["acts", "write", "x"],
        ["acts", "erase", "x", "--yes"],
        ["serve", "worker", "--idle-exit", "0.1"],
        ["serve", "api"],
    ],
)
@pytest.mark.usefixtures("acts")
def test_a_data_folder_that_can_not_be_used_is_one_clear_error(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no-such")):
        monkeypatch.setenv("SOPHIA_DATA_DIR", str(place))
        assert run("--json", *words) == 1
        told = capsys.readouterr()
        assert json.loads(told.err)["error"]["code"] == "SOPHIA-S102"
        assert str(place) in told.err and told.out == ""


def test_the_console_refuses_a_data_folder_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    house = wiring.House({"SOPHIA_DATA_DIR": str(tmp_path / "file")})
    with pytest.raises(SetupError, match="SOPHIA-S102"):
        run_console(house)


@pytest.mark.usefixtures("acts")
def test_yes_confirms(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("acts", "erase", "x", "--yes") == 0
    assert "gone" in capsys.readouterr().out


@pytest.mark.usefixtures("acts")
def test_a_dry_run_says_what_would_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("acts", "write", "x", "--dry-run") == 0
    assert "dry" in capsys.readouterr().out


@pytest.mark.usefixtures("acts")
def test_a_secret_comes_from_standard_input_and_has_no_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("hunter2\n")
    with (tmp_path / "in").open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        assert run("acts", "enter", "--account", "root") == 0
    assert "Greeting: 7" in capsys.readouterr().out
    assert run("acts", "enter", "--account", "root", "--password", "hunter2") == 2


@pytest.mark.usefixtures("acts")
def test_after_two_dashes_nothing_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greeting", "say", "--", "--times") == 0
    assert "Hello --times" in capsys.readouterr().out


@pytest.mark.usefixtures("acts")
def test_a_role_too_low_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOPHIA_ROLES", "*=viewer")
    assert run("acts", "write", "x") == 3
    assert "SOPHIA-R403" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("roles", "code"),
    [
        ("garbage", "T425"),
        ("*=admin,garbage", "T425"),
        ("ana=,*=admin", "T425"),
        ("=admin", "T425"),
        ("ana=king,*=admin", "T423"),
    ],
)
@pytest.mark.usefixtures("acts")
def test_rights_that_can_not_be_read_are_an_error_and_not_half_believed(
    roles: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOPHIA_ROLES", roles)
    assert run("greeting", "say", "x") == 2
    assert f"SOPHIA-{code}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("roles", "role"),
    [("", "admin"), (" a = viewer , me=operator,", "operator"), ("a=admin", "viewer")],
)
def test_rights_are_read_with_spaces_and_a_last_comma(roles: str, role: str) -> None:
    assert wiring.House({"SOPHIA_ROLES": roles}).role_of("me").value == role


def hostile(text: str) -> set[str]:
    return {sign for sign in text if ord(sign) < 32 or 0x7F <= ord(sign) < 0xA0} & set(text) - {
        "\n"
    } | (set(text) & {"\u202e", "\U000e0041"})


@pytest.mark.parametrize("options", [[], ["--plain"], ["--json"]])
@pytest.mark.usefixtures("acts")
def test_hostile_text_reaches_no_terminal(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("hostile", "show", *options) == 0
    assert run("hostile", "fail", *options) == 1
    told = capsys.readouterr()
    assert hostile(told.out) == set() and hostile(told.err) == set()
    assert "é" in told.out


def test_json_keeps_hostile_text_as_it_is_for_programs() -> None:
    plain: dict[str, Any] = {"text": "\x1b\x9b\u202e\x7f\U000e0041 é\ud800\n"}
    assert json.loads(as_json_line(plain)) == plain


class Inner(Output):
    id: str
    note: str | None = None


class Outer(Output):
    items: list[Inner]


def test_rows_are_a_table_without_empty_columns() -> None:
    shown = render(Outer(items=[Inner(id="a"), Inner(id="bcd")]), plain=False)
    assert shown.splitlines() == ["id", "a", "bcd"]


def run_piped(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    root = Path(wiring.__file__).parent.parent
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", PIPED, str(folder)],
        capture_output=True,
        cwd=root,
        env={**os.environ, "SOPHIA_DATA_DIR": str(folder / "data"), **environment},
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    done = run_piped(tmp_path, 'set -o pipefail; "$@" acts many | head -n 1')
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Greeting")


def test_a_terminal_of_another_encoding_gets_escapes(tmp_path: Path) -> None:
    done = run_piped(tmp_path, '"$@" nothing-ção-日本', PYTHONIOENCODING="latin-1")
    assert done.returncode == 2
    assert "nothing-ção-\\u65e5\\u672c" in done.stderr.decode("latin-1")


def test_bytes_that_are_no_text_are_a_clear_error(tmp_path: Path) -> None:
    done = run_piped(tmp_path, "\"$@\" $'nothing\\xff'")
    assert done.returncode == 2
    assert b"SOPHIA-U006" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.usefixtures("acts")
def test_a_wrong_request_names_the_option_and_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("acts", "write", "x", "--times", "99") == 2
    told = capsys.readouterr().err
    assert "`sophia acts write`" in told and "--times: must be" in told and "acts.write" not in told


@pytest.mark.parametrize("process", ["api", "worker"])
def test_the_help_of_a_process_says_what_it_is_for(
    process: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("serve", process, "--help") == 0
    told = capsys.readouterr().out
    assert "FINETUNE_TOKEN" in told and "ALLOW_FINETUNE" in told and "The worker takes" in told
