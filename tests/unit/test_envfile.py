"""Env files: one parser, one writer, read alike by bash."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sophia_tui import envfile
from sophia_tui.errors import UsageError

NASTY = [
    "",
    " ",
    " both ",
    "plain",
    "it's",
    "''",
    '"',
    '"quoted"',
    'it\'s "both"',
    "$HOME",
    "it's $HOME",
    "${HOME:-x}",
    "`id`",
    "it's `id` $(id)",
    "\\",
    "\\\\",
    "it's \\",
    "a\\nb",
    "it's a\\nb",
    "# no comment",
    "a # b",
    "a#b",
    "a=b=c",
    "é ção 日本 🙂",
    "postgres://u:p%40ss'w$rd@h/db?sslmode=require",
    "!history!",
    "it's !history!",
    "*",
    "~",
    "~root",
    "{a,b}",
    "a;b|c&d>e<f(g)",
    "%s %d",
    "-n",
    "\u202eoverride",
    "x" * 10_000,
]

values = st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=60) | st.text(
    alphabet="'\"\\$` #=!a", max_size=12
)


def by_bash(content: bytes, folder: Path, *keys: str) -> list[str]:
    """What a shell that sources the file has in `keys`, each ended by NUL."""
    path = folder / "nasty.env"
    path.write_bytes(content)
    script = f'set -a; . "{path}"; for key; do printf "%s\\0" "${{!key}}"; done'
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *keys],
        capture_output=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nowhere"},
    )
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


def by_systemd(text: str) -> str:
    """The value as `EnvironmentFile=` reads it: systemd.exec(5) and parse_env_file_internal().

    Single quotes: everything stands for itself. Double quotes: a backslash escapes only `"`, `\\`,
    the backtick and `$`. Bare: a backslash escapes the next sign; blanks at the end are dropped.
    """
    if text.startswith("'"):
        assert text.endswith("'") and "'" not in text[1:-1]
        return text[1:-1]
    if text.startswith('"'):
        inner = text[1:-1]
        assert text.endswith('"') and not re.search(r'(?<!\\)(?:\\\\)*"', inner)
        return re.sub(r'\\(["\\`$])', r"\1", inner)
    return re.sub(r"\\(.)", r"\1", text).rstrip()


@pytest.mark.parametrize("value", NASTY)
def test_a_nasty_value_comes_back_as_it_was(value: str) -> None:
    assert envfile.values(f"KEY={envfile.quote(value)}\n") == {"KEY": value}


def test_bash_reads_nasty_values_alike(tmp_path: Path) -> None:
    content = "".join(f"K{n}={envfile.quote(value)}\n" for n, value in enumerate(NASTY))
    keys = [f"K{n}" for n in range(len(NASTY))]
    assert by_bash(content.encode(), tmp_path, *keys) == NASTY


@pytest.mark.parametrize("value", NASTY)
def test_systemd_reads_nasty_values_alike(value: str) -> None:
    assert by_systemd(envfile.quote(value)) == value


@given(values)
def test_any_value_comes_back_as_it_was(value: str) -> None:
    quoted = envfile.quote(value)
    assert envfile.values(f"KEY={quoted}") == {"KEY": value}
    assert by_systemd(quoted) == value


@given(st.lists(values, min_size=1, max_size=40))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bash_reads_any_values_alike(tmp_path: Path, many: list[str]) -> None:
    content = "".join(f"K{n}={envfile.quote(value)}\n" for n, value in enumerate(many))
    assert by_bash(content.encode(), tmp_path, *(f"K{n}" for n in range(len(many)))) == many


@pytest.mark.parametrize("sign", ["\n", "\r", "\0", "\t", "\x1b", "\x7f"])
def test_a_control_character_is_refused(sign: str) -> None:
    with pytest.raises(UsageError, match="SOPHIA-S120") as told:
        envfile.quote(f"secret{sign}EVIL=1")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=bare", "bare"),
        ("export KEY=bare", "bare"),
        ("  KEY=bare", "bare"),
        ("KEY='it'\\''s'", "it's"),
        ('KEY="a\\"b"', 'a"b'),
        ('KEY="a\\nb"', "a\\nb"),
        ("KEY=a\\ b", "a b"),
        ("KEY=bare # comment", "bare"),
        ("KEY=bare#no", "bare#no"),
        ("KEY=", ""),
    ],
)
def test_what_people_write_is_read_as_bash_reads_it(tmp_path: Path, line: str, value: str) -> None:
    assert envfile.values(line) == {"KEY": value}
    assert by_bash(line.encode(), tmp_path, "KEY") == [value]


def test_the_last_assignment_wins_as_in_bash(tmp_path: Path) -> None:
    content = "KEY=one\nKEY=two\n"
    assert envfile.values(content) == {"KEY": "two"}
    assert by_bash(content.encode(), tmp_path, "KEY") == ["two"]


CONTENT = "# who answers\r\nexport GEN_MODEL=old # the model\n\nnot an assignment\nOTHER='x y'\n"


def test_a_change_leaves_every_other_byte() -> None:
    assert envfile.change(CONTENT, {"OTHER": "z"}) == CONTENT.replace("'x y'", "'z'")


def test_a_change_keeps_export() -> None:
    assert "export GEN_MODEL=new # the model\n" in envfile.change(CONTENT, {"GEN_MODEL": "new"})


def test_a_change_removes_and_appends() -> None:
    changed = envfile.change(CONTENT, {"OTHER": None, "NEW": "it's"})
    assert envfile.values(changed) == {"GEN_MODEL": "old", "NEW": "it's"}
    assert changed.endswith('NEW="it\'s"\n')


def test_a_key_that_stands_twice_is_changed_twice() -> None:
    assert envfile.change("K=1\nX=2\nK=3\n", {"K": "9"}) == "K=9\nX=2\nK=9\n"


def test_carriage_returns_at_line_ends_stay() -> None:
    assert envfile.change("K=1\r\nX=2\r\n", {"K": "9"}) == "K=9\r\nX=2\r\n"


def test_a_file_without_a_last_line_feed_gets_one_before_what_is_added() -> None:
    assert envfile.change("K=1", {"N": "2"}) == "K=1\nN=2\n"


@given(st.text(max_size=80))
def test_no_change_changes_nothing(content: str) -> None:
    assert envfile.change(content, {}) == content


@given(st.text(max_size=80), values)
def test_after_a_change_the_new_value_is_read(content: str, value: str) -> None:
    assert envfile.values(envfile.change(content, {"SOPHIA_X": value}))["SOPHIA_X"] == value


def test_a_change_keeps_quotes_and_the_comment_behind_the_value() -> None:
    content = "A=\"old\" # why\r\nexport B='old'\r\nC=old\t# tab\n"
    assert envfile.change(content, {"A": "new", "B": "new", "C": "it's"}) == (
        'A="new" # why\r\nexport B=\'new\'\r\nC="it\'s"\t# tab\n'
    )


def test_a_quoted_value_of_several_lines_is_one_value(tmp_path: Path) -> None:
    content = "MULTI=\"line1\nGEN_MODEL=fake\nline3\" # end\nGEN_MODEL=old\nCERT='a\nb'\n"
    assert envfile.values(content) == {
        "MULTI": "line1\nGEN_MODEL=fake\nline3",
        "GEN_MODEL": "old",
        "CERT": "a\nb",
    }
    assert by_bash(content.encode(), tmp_path, "MULTI", "CERT") == [
        "line1\nGEN_MODEL=fake\nline3",
        "a\nb",
    ]
    changed = envfile.change(content, {"GEN_MODEL": "new"})
    assert changed == content.replace("GEN_MODEL=old", "GEN_MODEL=new")


def test_a_lone_apostrophe_swallows_no_other_line() -> None:
    content = "NOTE=don't\nGEN_MODEL=old\nOPEN='never closed\nLAST=x\n"
    assert envfile.values(content)["GEN_MODEL"] == "old"
    assert envfile.values(content)["LAST"] == "x"


def test_a_line_that_goes_on_after_a_backslash_is_one_value(tmp_path: Path) -> None:
    content = "LONG=a\\\nb\nNEXT=c\n"
    assert envfile.values(content) == {"LONG": "ab", "NEXT": "c"}
    assert by_bash(content.encode(), tmp_path, "LONG", "NEXT") == ["ab", "c"]


@given(st.text(alphabet="AB=\"'\\\n\r #xé", max_size=40))
def test_the_lines_are_the_file_again(content: str) -> None:
    assert "\n".join(line.raw for line in envfile.parse(content)) == content


MARKED = "\ufeffexport A=one\r\n# why\r\nB='two' \r\nC=three"


def test_marks_exports_and_carriage_returns_are_read_by_rule_and_stay() -> None:
    assert envfile.values(MARKED) == {"A": "one", "B": "two", "C": "three"}
    assert envfile.check(MARKED.encode(), "x.env") == envfile.values(MARKED)
    assert envfile.change(MARKED, {"A": "1", "C": "3"}) == (
        "\ufeffexport A=1\r\n# why\r\nB='two' \r\nC=3"
    )
    assert envfile.change("\ufeff# only a comment", {"N": "1"}) == "\ufeff# only a comment\nN=1\n"


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("A=1\nA=2\n", [2]),
        ("A=1\nexport A=2\n", [2]),
        ("# fine\n\nsecret\n", [3]),
        ("1A=secret\n", [1]),
        ("A-B=secret\n", [1]),
        ("A =secret\n", [1]),
        ("A=1\nB=sec\0ret\n", [2]),
        ("A=1\rB=secret\n", [1]),
        ("A=\x1b]secret\n", [1]),
        ("A='secret\nB=2\n", [1]),
        ("A=1\nB='sec\nret'\nB=secret\n", [2, 4]),
        ("A=sec\\\nret\nA=2\n", [1, 3]),
        ("\u00a0A=secret\n", [1]),
        ("=secret\n", [1]),
        ("A=1\n\ufeffB=secret\n", [2]),
        ("if true; then\nA=secret\nfi\n", [1, 3]),
    ],
)
def test_the_check_names_wrong_lines_and_no_value(content: str, lines: list[int]) -> None:
    with pytest.raises(UsageError, match="SOPHIA-S440") as told:
        envfile.check(content, "x.env")
    assert told.value.details["lines"] == lines
    assert "sec" not in str(told.value)


def test_the_check_refuses_other_encodings_by_the_line() -> None:
    with pytest.raises(UsageError, match="SOPHIA-S441") as told:
        envfile.check(b"A=1\nB=sen\xe3o\n", "x.env")
    assert "2" in told.value.why and "sen" not in str(told.value)


@given(st.lists(values, max_size=20))
def test_what_we_write_passes_the_check(many: list[str]) -> None:
    content = envfile.change("", {f"K{n}": value for n, value in enumerate(many)})
    assert envfile.check(content, "x") == {f"K{n}": value for n, value in enumerate(many)}


def test_it_needs_the_standard_library_alone() -> None:
    root = str(Path(envfile.__file__).parents[1])
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from sophia_tui import envfile\n"
        "known = sys.stdlib_module_names\n"
        "print(json.dumps([m for m in sys.modules if m.partition('.')[0] not in known]))"
    )
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-S", "-c", script, root],
        capture_output=True,
        text=True,
        check=True,
    )
    mine = {"sophia_tui", "sophia_tui.envfile", "sophia_tui.errors", "sophia_tui.i18n"}
    assert set(json.loads(done.stdout)) - {"__main__"} == mine
