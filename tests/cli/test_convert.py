"""`sophia prepare convert`: one file out, whole or not at all, and every row accounted for; and
what other verbs read from standard input.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.cli.main import main
from sophia_tui.datasets.compressed import open_lines
from sophia_tui.datasets.tasks import Tell

GOOD = [{"question": f"q{n}", "answer": f"a{n}", "citations": [n]} for n in range(5)]
CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOPHIA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FINETUNE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines = [*map(json.dumps, GOOD), "{bad", json.dumps(CHAT)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "convert", *words, "--json"])
    assert ended.value.code == code
    found = capsys.readouterr()
    answer: dict[str, Any] = json.loads((found.out or found.err).splitlines()[-1])
    return answer.get("error", answer)


@pytest.mark.parametrize("end", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_rows_in_are_rows_written_and_rows_listed(
    folder: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    out = folder / f"out.{end}"
    answer = told(capsys, "rows.jsonl", "--to", "instruction", "--output", str(out))
    assert answer["sum"] == "7 = 6 + 1" and answer["left_out"] == {"citations": 5}
    assert answer["forms"] == {"question_answer": 5, "chat": 1}
    with open_lines(out) as stream:
        rows = [json.loads(line) for line in stream]
    assert rows[0] == {"instruction": "q0", "input": "", "output": "a0"}
    assert rows[5]["history"] == [["q", "a"]]
    listed = Path(answer["rejected_list"]).read_text().splitlines()
    assert [(json.loads(each)["line"], json.loads(each)["code"]) for each in listed] == [
        (6, "json")
    ]
    assert Path(answer["rejected_list"]).name == f"out.{end}.rejected"


def test_rows_of_the_form_asked_for_stay_as_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = told(capsys, "rows.jsonl", "--to", "question_answer", "--output", "out.jsonl")
    assert answer["sum"] == "7 = 5 + 2" and answer["left_out"] == {}
    rows = (folder / "out.jsonl").read_text().splitlines()
    assert [json.loads(each) for each in rows] == GOOD
    assert {each["code"] for each in answer["rejected"]} == {"json", "form_cant_hold"}


@pytest.mark.parametrize("words", [("--output", "out.jsonl", "--dry-run"), ()])
def test_without_output_or_dry_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    before = sorted(folder.iterdir())
    answer = told(capsys, "rows.jsonl", *words)
    assert answer["sum"] == "7 = 6 + 1" and answer["output"] is None
    assert [each for each in sorted(folder.iterdir()) if each.name != "data"] == before


def test_a_folder_is_all_its_files_and_a_file_there_is_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "more.jsonl").write_text(json.dumps(CHAT))
    out = folder / "results"
    out.mkdir()
    answer = told(capsys, str(folder), "--output", str(out / "all.jsonl"))
    assert (answer["files"], answer["rows_in"]) == (["more.jsonl", "rows.jsonl"], 8)
    before = (out / "all.jsonl").read_bytes()
    answer = told(capsys, "rows.jsonl", "--output", str(out / "all.jsonl"), code=3)
    assert answer["code"] == "SOPHIA-D512" and (out / "all.jsonl").read_bytes() == before
    told(capsys, "rows.jsonl", "--output", str(out / "all.jsonl"), "--replace")
    assert (out / "all.jsonl").read_bytes() != before


def test_standard_input_is_read(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = io.TextIOWrapper(io.BytesIO(b"question,answer\nq,a\nq\n"))
    monkeypatch.setattr(sys, "stdin", given)
    answer = told(capsys, "-", "--output", "out.jsonl")
    assert (answer["files"], answer["sum"]) == (["standard-input.csv"], "2 = 1 + 1")


@pytest.mark.parametrize(
    ("words", "error", "code"),
    [
        (("rows.jsonl", "--output", "out.csv"), "SOPHIA-D515", 2),
        (("nowhere.jsonl",), "SOPHIA-D513", 4),
        (("rows.jsonl", "--to", "pairs", "--output", "out.jsonl"), "SOPHIA-D514", 1),
        (("cut.jsonl.gz", "--output", "out.jsonl"), "SOPHIA-D306", 1),
    ],
)
def test_what_is_refused_leaves_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    error: str,
    code: int,
) -> None:
    import gzip

    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"question":"q","answer":"a"}\n')[:-5])
    before = sorted(each.name for each in folder.iterdir())
    assert told(capsys, *words, code=code)["code"] == error
    assert sorted(each.name for each in folder.iterdir() if each.name != "data") == before


def test_a_disk_that_is_full_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sophia_tui.datasets import conversion
    from sophia_tui.errors import SetupError

    def full(*_told: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversion, "_PROGRESS_ROWS", 1)
    silent: Tell = full
    task = conversion.ConvertTask(
        "en", [str(folder / "rows.jsonl")], "chat", str(folder / "o.jsonl"), str(folder / "o.r")
    )
    with pytest.raises(SetupError):
        task.run(silent)
    assert [each.name for each in folder.iterdir()] == ["rows.jsonl"]


def test_constitutional_examples_are_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {
        "id": "truth_000",
        "category": "truth",
        "prompt": "Is it right to lie?",
        "response_initial": "Sometimes.",
        "critique": "[VERITAS] Vague.\n[SOPHIA] Say when.\n[DIKE] Who is hurt?",
        "response_revised": "Seldom: a lie takes from another what they need to choose.",
        "reasoning": "It names who is hurt.",
        "values_applied": ["verdade"],
        "difficulty": "easy",
    }
    (folder / "c.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row) + "\n")
    answer = told(capsys, "c.jsonl")
    assert [each["code"] for each in answer["rejected"]] == ["same_id"]
    assert answer["constitutional"]["success_rate"] == 0.5


def test_standard_input_is_inspected(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"question":"q"}\n{}\n')))
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "inspect", "-", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and answer["rows"] == 2
    assert {each["code"] for each in answer["issues"]} == {"no_answer", "unknown_format"}


@pytest.mark.parametrize("words", [[], ["--record", "-"]])
def test_an_edited_record_is_read_from_standard_input(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    record = json.dumps({"question": "Who?", "answer": "Zoë. " + "x" * 200_000}, indent=1)
    given = io.TextIOWrapper(io.BytesIO(record.encode()))
    monkeypatch.setattr(sys, "stdin", given)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "edit", "rows.jsonl", "6", *words, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and answer["usable"]
    assert json.loads(answer["after"]) == json.loads(record)


@pytest.mark.parametrize("piped", [b"", b"no record", b'{"answer": "\xff"}'])
def test_what_is_no_record_is_not_taken_from_standard_input(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, piped: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "edit", "rows.jsonl", "6"])
    assert ended.value.code == 1 and "SOPHIA-D564" in capsys.readouterr().err
