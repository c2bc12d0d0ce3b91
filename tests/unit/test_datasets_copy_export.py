"""Files exported by COPY in text format: recognised for certain, suspected, or left alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets.copy_export import Verdict, judge, unescape
from sophia_tui.datasets.reader import MAX_LINE_BYTES, LineReader
from sophia_tui.datasets.repair import SUFFIX, repair_file
from sophia_tui.errors import ConflictError, SetupError

NASTY = ['She said "yes"', "two\nlines", "a\ttab", "C:\\temp\\new", "\\", "é 🐝 \u202e", "a\\nb"]
texts = st.text(st.characters(exclude_categories=["Cs"]))


def row(answer: str, question: str = "q") -> str:
    return json.dumps({"question": question, "answer": answer}, ensure_ascii=False)


def copied(line: str) -> str:
    """The line as COPY … TO STDOUT writes a text column."""
    for sign, written in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        line = line.replace(sign, written)
    return line


def write(folder: Path, *lines: str) -> Path:
    path = folder / "qa_cache.jsonl"
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


def verdict(folder: Path, *lines: str) -> Verdict:
    return judge(write(folder, *lines), MAX_LINE_BYTES)


def test_an_export_with_quotes_is_certain(tmp_path: Path) -> None:
    assert verdict(tmp_path, *(copied(row(text)) for text in NASTY)) is Verdict.CERTAIN


def test_true_json_of_the_same_texts_is_none(tmp_path: Path) -> None:
    assert verdict(tmp_path, *(row(text) for text in NASTY)) is Verdict.NO


def test_newlines_alone_are_suspected_since_they_are_json_both_ways(tmp_path: Path) -> None:
    assert verdict(tmp_path, row("plain"), copied(row("two\nlines"))) is Verdict.SUSPECTED


def test_text_about_escapes_is_suspected_too_and_not_more(tmp_path: Path) -> None:
    assert verdict(tmp_path, row(r"Use \n for a new line, \t for a tab.")) is Verdict.SUSPECTED


@pytest.mark.parametrize(
    "text",
    [
        "C:\\temp\\new\\reports",
        "Open D:\\novo arquivo\\tabela.txt now",
        "\\\\server\\notes\\report.txt",
        "one \\ two",
        "nothing",
    ],
)
def test_windows_paths_are_left_alone(tmp_path: Path, text: str) -> None:
    assert verdict(tmp_path, row(text), row("other")) is Verdict.NO


def test_a_path_that_is_no_escape_speaks_against(tmp_path: Path) -> None:
    assert verdict(tmp_path, row("C:\\docs"), copied(row('a "quote"'))) is Verdict.NO


def test_one_true_escape_speaks_against_the_whole_file(tmp_path: Path) -> None:
    assert verdict(tmp_path, copied(row('a "quote"')), row("two\nlines")) is Verdict.NO


def test_a_broken_line_alone_is_no_proof(tmp_path: Path) -> None:
    assert verdict(tmp_path, '{"question": "q", "answer": \\\\ ', row("x")) is Verdict.NO


def test_json_columns_with_line_breaks_of_their_own_are_recognised(tmp_path: Path) -> None:
    pretty = json.dumps({"question": "q", "answer": "a"}, indent=1)
    assert verdict(tmp_path, copied(pretty)) is Verdict.CERTAIN


def test_null_and_end_of_data_do_not_speak(tmp_path: Path) -> None:
    assert verdict(tmp_path, "\\N", copied(row('"')), "\\.") is Verdict.CERTAIN


def test_in_a_damaged_file_no_line_with_a_backslash_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path, row("plain"), copied(row("two\nlines")), copied(row('"q"')))
    with path.open("rb") as stream:
        codes = [line.problem and line.problem.code for line in LineReader(stream, damaged=True)]
    assert codes == [None, "copy_export", "copy_export"]


@given(texts)
def test_taking_out_gives_back_every_line(text: str) -> None:
    line = row(text)
    assert unescape(copied(line).encode()) == line.encode()


def test_repair_gives_back_the_rows_and_keeps_the_original(tmp_path: Path) -> None:
    path = write(tmp_path, *(copied(row(text)) for text in NASTY), "\\.")
    path.chmod(0o640)
    before = path.read_bytes()
    done = repair_file(path, suspected=False, dry_run=False)
    assert path.read_text(encoding="utf-8") == "".join(row(text) + "\n" for text in NASTY)
    assert path.with_name(path.name + SUFFIX).read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert (done.verdict, done.lines, done.lines_changed) == (Verdict.CERTAIN, 8, 7)


def test_repair_of_pretty_json_keeps_one_line_for_each_row(tmp_path: Path) -> None:
    path = write(tmp_path, *(copied(json.dumps({"answer": f"{n}\n"}, indent=1)) for n in (1, 2)))
    repair_file(path, suspected=False, dry_run=False)
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {"answer": "1\n"},
        {"answer": "2\n"},
    ]


def test_a_suspected_file_is_repaired_only_when_asked(tmp_path: Path) -> None:
    path = write(tmp_path, copied(row("two\nlines")))
    before = path.read_bytes()
    assert repair_file(path, suspected=False, dry_run=False).original is None
    assert path.read_bytes() == before
    assert repair_file(path, suspected=True, dry_run=False).original is not None
    assert path.read_text(encoding="utf-8") == row("two\nlines") + "\n"


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, copied(row('"')))
    before = path.read_bytes()
    done = repair_file(path, suspected=False, dry_run=True)
    assert (done.lines_changed, done.original) == (1, None)
    assert [path.read_bytes()] == [each.read_bytes() for each in tmp_path.iterdir()] == [before]


def test_an_original_that_is_kept_already_is_never_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path, copied(row('"')))
    kept = path.with_name(path.name + SUFFIX)
    kept.write_bytes(b"precious")
    before = path.read_bytes()
    with pytest.raises(ConflictError, match="D310"):
        repair_file(path, suspected=False, dry_run=False)
    assert (path.read_bytes(), kept.read_bytes()) == (before, b"precious")


def test_a_repair_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, copied(row('"')))
    before = path.read_bytes()

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(SetupError, match="S101"):
        repair_file(path, suspected=False, dry_run=False)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(path.name, before)]
