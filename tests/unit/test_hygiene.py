"""What `sophia --help` may import, and that one error code means one cause."""

import ast
import functools
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import sophia_tui
from sophia_tui import errors

HEAVY = (
    "textual",
    "rich",
    "torch",
    "transformers",
    "psycopg",
    "alembic",
    "sqlalchemy",
    "openai",
    "fastapi",
    "starlette",
    "uvicorn",
    "duckdb",
    "httpx",
    "msgspec",
    "yaml",
    "pydantic_settings",
    "asyncio",
    "sophia_tui.wiring",
    "sophia_tui.settings",
    "sophia_tui.store",
    "sophia_tui.tui",
    "sophia_tui.api",
    "finetune.train",
)
LISTING = """
import io, json, sys
real, sys.stdout = sys.stdout, io.StringIO()
from sophia_tui.cli.main import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as ended:
    assert not ended.code, ended.code
assert "sophia" in sys.stdout.getvalue()
print(json.dumps(sorted(sys.modules)), file=real)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["--lang", "pt_BR", "--help"], ["jobs", "--help"], ["collect", "--help"]]
)
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTING, json.dumps(words)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        env={**os.environ, "LANG": "C.UTF-8"},
    )
    loaded = set(json.loads(done.stdout))
    assert sorted(loaded & set(HEAVY)) == []


def test_help_makes_no_folder_but_its_cache_and_reads_no_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SOPHIA_WINDOW_DAYS=broken\n")
    home = tmp_path / "home"
    shown = [_help_with(home, tmp_path) for _each in range(2)]
    assert shown[0] == shown[1]
    assert [each.name for each in home.iterdir()] == [".cache"]
    [kept] = (home / ".cache" / "sophia").iterdir()
    assert kept.read_text() + "\n" == shown[0]


def test_help_that_can_not_be_kept_is_shown_all_the_same(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file where a folder should be")
    assert "promote rollback" in _help_with(home, tmp_path)


def _help_with(home: Path, folder: Path) -> str:
    environment = {**os.environ, "HOME": str(home), "SOPHIA_DATA_DIR": str(home / "data")}
    environment.pop("XDG_CACHE_HOME", None)
    return subprocess.run(
        [sys.executable, "-c", "from sophia_tui.cli.main import main; main()", "--help"],
        capture_output=True,
        cwd=folder,
        check=True,
        env=environment,
        text=True,
    ).stdout


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    folder = Path(sophia_tui.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


@functools.cache  # two tests want it, and the whole source is read for it
def _raised() -> list[tuple[str, str, str]]:
    """(code, what, place) of every error made with a literal code."""
    return list(_found_raised())


def _found_raised() -> Iterator[tuple[str, str, str]]:
    kinds = set(errors.__all__)
    for path, tree in _sources():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            arguments = node.args
            first = arguments[0] if arguments else None
            if node.func.id in kinds and isinstance(first, ast.Constant):
                what = _text(arguments[1]) if len(arguments) > 1 else ""
                yield str(first.value), what, f"{path.name}:{node.lineno}"


def _text(node: ast.expr) -> str:
    """The first text in the expression: the msgid of `_("…").format(…)`; else its source."""
    found = [
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    return found[0] if found else ast.unparse(node)


def test_one_code_stands_for_one_cause() -> None:
    told: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for code, what, place in _raised():
        told[code][what].append(place)
    several = {code: dict(whats) for code, whats in told.items() if len(whats) > 1}
    assert len(told) > 20
    assert several == {}


def test_codes_are_a_letter_of_an_area_and_three_digits() -> None:
    codes = {code for code, _what, _place in _raised()}
    wrong = [code for code in codes if not (code[0] in "DJPSMURTX" and code[1:].isdigit())]
    assert wrong == [] and {len(code) for code in codes} == {4}
