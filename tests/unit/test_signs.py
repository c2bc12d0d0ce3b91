"""ASCII signs where a person's locale or wish says so; the letters of languages stay."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sophia_tui.signs import sign_plainly, wants_plain_signs
from sophia_tui.tui import words


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({}, False),
        ({"LANG": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "pt_BR.UTF-8"}, False),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, True),
        ({"LANG": "pt_BR.UTF-8", "LC_CTYPE": "C", "LC_ALL": ""}, True),
        ({"LANG": "C", "LC_CTYPE": "pt_BR.UTF-8"}, False),
        ({"LANG": "C", "LC_ALL": "en_US.UTF-8"}, False),
        ({"LANG": "pt_BR.UTF-8", "SOPHIA_ASCII": "1"}, True),
    ],
)
def test_a_locale_is_read_as_text(environment: dict[str, str], plain: bool) -> None:
    assert wants_plain_signs(environment) is plain


def test_what_python_says_of_itself_is_no_choice(tmp_path: Path) -> None:
    """In a locale C it writes C.UTF-8 into its own environment; who chose that keeps it."""
    (tmp_path / "C").write_bytes(b"LANG=C\0TERM=xterm\0")
    (tmp_path / "chosen").write_bytes(b"LANG=C\0LC_CTYPE=C.UTF-8\0")
    environment = {"LANG": "C", "LC_CTYPE": "C.UTF-8"}
    assert wants_plain_signs(environment, tmp_path / "C")
    assert not wants_plain_signs(environment, tmp_path / "chosen")


@pytest.mark.parametrize(
    ("locale", "options", "sign"),
    [
        ({"LANG": "C"}, [], "~"),
        ({"LC_ALL": "C"}, [], "~"),
        ({}, [], "…"),
        ({"LANG": "C.UTF-8"}, [], "…"),
        ({"LANG": "C.UTF-8"}, ["--ascii"], "~"),
    ],
)
def test_the_command_line_keeps_to_it(
    locale: dict[str, str], options: list[str], sign: str
) -> None:
    kept = {each: value for each, value in os.environ.items() if each[:3] not in ("LC_", "LAN")}
    done = subprocess.run(
        [sys.executable, "-m", "sophia_tui.cli.main", "jobs", "show", "--help", *options],
        env={
            **kept,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SOPHIA_LANG": "pt_BR",
            **locale,
        },
        capture_output=True,
        check=True,
    )
    told = done.stdout.decode()
    assert f"(ftjob-{sign})" in told


def test_a_stream_signs_plainly(tmp_path: Path) -> None:
    for encoding, letters in (
        ("utf-8", "versão não"),
        ("latin-1", "versão não"),
        ("ascii", "versao nao"),
    ):
        with open(tmp_path / "screen", "w", encoding=encoding) as stream:
            sign_plainly(stream)
            stream.write("versão não ✓ █░ ␛ … 模😀")
        said = (tmp_path / "screen").read_text(encoding=encoding)
        assert said.startswith(f"{letters} + #- ^ ~ ")
        assert said.endswith("模??" if encoding == "utf-8" else "???")


def test_a_terminal_without_braille_has_ascii_curves_alone() -> None:
    glyphs = words.Glyphs(ascii_only=False, plain_curves=True)
    assert (glyphs.health["ok"], glyphs.plain_curves) == ("✓", True)
    assert words.Glyphs(ascii_only=True).plain_curves
    assert not words.Glyphs(ascii_only=False).plain_curves
