"""Lists on the command line: a text to match, a column to sort by, descending by `-`."""

from pathlib import Path

import pytest

from sophia_tui.cli import grammar
from sophia_tui.i18n import set_language
from sophia_tui.services.catalogue import registry
from sophia_tui.services.fields import equivalent
from sophia_tui.services.jobs import JobsPage
from sophia_tui.services.lists import ListPage
from tests.cli.test_cli import run

LISTED = [each.name for each in registry() if issubclass(each.input, ListPage)]


@pytest.mark.parametrize("name", LISTED)
def test_a_column_follows_with_and_without_its_minus(name: str) -> None:
    operation = registry().get(name)
    column = operation.input.sorts[0]  # type: ignore[attr-defined]
    for words in (["--sort", f"-{column}"], [f"--sort=-{column}"]):
        parsed = grammar.parser_for(operation).parse_args(["--match", "x y", *words])
        assert vars(parsed) == {"match": "x y", "sort": f"-{column}"}
    # the line that the console shows means the same
    typed = equivalent(operation, {"match": "x", "sort": f"-{column}"}).split()
    found = grammar.parser_for(operation).parse_args(typed[len(operation.command.split()) :])
    assert vars(found) == {"match": "x", "sort": f"-{column}"}


def test_an_option_after_sort_is_still_an_option() -> None:
    parser = grammar.parser_for(registry().get("jobs.list"))
    assert vars(parser.parse_args(["--sort", "id", "--limit", "3"])) == {"sort": "id", "limit": "3"}


def test_help_names_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("jobs", "list", "--help") == 0
    assert ", ".join(JobsPage.sorts) in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("language", "words"), [("en", "must be one of"), ("pt_BR", "deve ser uma destas:")]
)
def test_a_column_that_is_not_there_is_a_usage_error_that_names_those_that_are(
    language: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOPHIA_DATA_DIR", str(tmp_path))
    assert run("jobs", "list", "--sort", "-colour", "--lang", language) == 2
    told = capsys.readouterr().err
    assert "SOPHIA-U422" in told
    assert f"--sort: {words} {', '.join(JobsPage.sorts)}" in told
    set_language("en")
