"""Packed files and tables are read as lines, in flat memory; what is damaged is named."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sophia_tui.datasets.codes import Unusable
from sophia_tui.datasets.compressed import as_plain, is_plain, open_lines, packing, spool
from sophia_tui.datasets.formats import convert
from sophia_tui.datasets.inspection import Asked, inspect
from sophia_tui.datasets.pipeline import Request, prepare
from sophia_tui.datasets.reader import LineReader, ReadFailed
from sophia_tui.datasets.sources import select
from sophia_tui.errors import DataError, NotFoundError

ROW = {"question": "q", "answer": "a"}
LINES = b"".join(json.dumps({**ROW, "n": n}).encode() + b"\n" for n in range(1000))
CHAT = [{"role": "user", "content": 'q, "x"\nsecond'}, {"role": "assistant", "content": "a"}]


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path) -> list[tuple[int, Any, str | None]]:
    """Number, value and problem of each line."""
    with open_lines(path) as stream:
        return [
            (line.number, line.value, line.problem.code if line.problem else None)
            for line in LineReader(stream)
        ]


def table(*rows: list[str], **how: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, **how).writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl.gz", gzip.compress(LINES)),
        ("a.jsonl.gz", gzip.compress(LINES[:500]) + gzip.compress(LINES[500:])),
        ("a.jsonl.zst", zstandard.compress(LINES)),
        ("a.jsonl.zst", zstandard.compress(LINES[:500]) + zstandard.compress(LINES[500:])),
    ],
    ids=["plain", "gzip", "two of gzip", "zstd", "two of zstd"],
)
def test_packed_lines_are_the_same_lines(tmp_path: Path, name: str, data: bytes) -> None:
    path = written(tmp_path, name, data)
    with open_lines(path) as stream:
        assert stream.read() == LINES
        assert stream.fileno() > 0
    assert as_plain(path, tmp_path, 7).read_bytes() == LINES
    assert is_plain(path) == (name == "a.jsonl")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("damage", ["cut", "changed", "no archive"])
def test_a_damaged_file_is_an_error_and_not_a_shorter_one(
    tmp_path: Path, name: str, damage: str
) -> None:
    good = gzip.compress(LINES) if name.endswith(".gz") else zstandard.compress(LINES)
    bad = {"cut": good[:-9], "changed": good[:30] + b"\xff" * 9 + good[39:], "no archive": LINES}
    path = written(tmp_path, name, bad[damage])
    with open_lines(path) as stream, pytest.raises(ReadFailed) as caught:
        list(LineReader(stream))
    assert "compressed file" in str(caught.value.problem.strerror)


def test_a_bomb_stays_a_long_line(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    zeros = b"0" * (1 << 20)
    data = b"".join(packer.compress(zeros) for _ in range(80)) + packer.compress(b"\n" + LINES)
    path = written(tmp_path, "bomb.jsonl.zst", data + packer.flush())
    found = read(path)
    assert found[0][2] == "too_long" and len(found) == 1001


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_what_is_written_packed_is_read_again_and_depends_on_nothing_else(
    tmp_path: Path, name: str
) -> None:
    made = []
    for number in range(2):
        path = tmp_path / f"{number}-{name}"
        with path.open("wb") as stream, packing(stream, name) as packed:
            packed.write(LINES)
        with open_lines(path) as stream:
            assert stream.read() == LINES
        made.append(path.read_bytes())
    assert made[0] == made[1]


# --- tables ---


@pytest.mark.parametrize(
    "data",
    [
        b"question,answer\nq,a\n",
        b"\xef\xbb\xbfquestion;answer\r\nq;a\r\n",
        b"question\tanswer\nq\ta",
        b'"question","answer"\n\n"q","a"\n',
    ],
)
def test_a_row_of_a_csv_file_is_a_line(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, "a.csv", data)
    assert read(path) == [(1, ROW, None)]
    assert read(written(tmp_path, "a.csv.gz", gzip.compress(data))) == [(1, ROW, None)]


def test_nested_columns_are_json_and_empty_cells_are_no_fields(tmp_path: Path) -> None:
    data = table(
        ["messages", "question", "answer", "tools"],
        [json.dumps(CHAT), "", "", ""],
        ["", "{not json", "[1] is text", ""],
        ["[broken", "", "", ""],
    )
    assert read(written(tmp_path, "a.csv", data)) == [
        (1, {"messages": CHAT}, None),
        (2, {"question": "{not json", "answer": "[1] is text"}, None),
        (3, {"messages": "[broken"}, None),
    ]


def test_prompts_of_a_table_may_be_texts_or_messages(tmp_path: Path) -> None:
    data = table(
        ["prompt", "completion"],
        [json.dumps(CHAT[:1]), json.dumps(CHAT[1])],
        ['{"a": 1}', '[{"x": 1}]'],
    )
    first, second = (value for _number, value, _problem in read(written(tmp_path, "a.csv", data)))
    assert first == {"prompt": CHAT[:1], "completion": CHAT[1]}
    assert second == {"prompt": '{"a": 1}', "completion": '[{"x": 1}]'}


def test_rows_that_can_not_be_one_are_named_by_their_number(tmp_path: Path) -> None:
    data = b'question,answer\nq,a\nq\nq,a,b\n"q"x,a\nq,\xff\nq,a\n"open,a\n'
    found = read(written(tmp_path, "a.csv", data))
    codes = []
    for _number, value, problem in found:
        if problem is None:
            try:
                convert(value)
            except Unusable as refused:
                problem = refused.problem.code
        codes.append(problem)
    assert codes == [None, "columns", "columns", "csv_syntax", "not_utf8", None, "csv_syntax"]
    assert [number for number, _value, _problem in found] == list(range(1, 8))


def test_a_long_physical_line_and_a_long_cell_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.datasets.tables.MAX_CELL", 100)
    data = (
        b"question,answer\n" + b"q," + b"x" * 5000 + b"\nq,a\n" + b'"' + b"y\n" * 80 + b'",a\nq,a\n'
    )
    found = read(written(tmp_path, "a.csv", data))
    marks = [value["sophia_unusable_row"]["code"] for _n, value, _p in found if len(value) == 1]
    assert marks[:2] == ["cell_too_long", "cell_too_long"]
    assert found[1][1] == ROW


@pytest.mark.parametrize("data", [b"", b"\n", b"question,\nq,a\n", b"a,a\nq,a\n", b'"a"b,c\n'])
def test_a_table_without_a_usable_header_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError) as refused:
        open_lines(written(tmp_path, "a.csv", data))
    assert refused.value.code == "SOPHIA-D511"


def test_rows_of_a_parquet_file_are_lines_with_their_lists(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "a [1] *.parquet"
    duckdb.execute(
        "COPY (SELECT [{'role': 'user', 'content': 'q', 'weight': NULL::INT},"
        " {'role': 'assistant', 'content': 'a', 'weight': 0}] AS messages,"
        " NULL::VARCHAR AS question, DATE '2026-01-02' AS day, 1.5::DECIMAL(4,2) AS price"
        f" UNION ALL SELECT NULL, 'q', NULL, NULL) TO '{path}' (FORMAT parquet)"
    )
    first, second = read(path)
    assert first[1]["messages"][1] == {"role": "assistant", "content": "a", "weight": 0}
    assert (first[1]["day"], first[1]["price"]) == ("2026-01-02", "1.50")
    assert second == (2, {"question": "q"}, None)


def test_what_is_no_parquet_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Parquet") as caught:
        open_lines(written(tmp_path, "a.parquet", b"PAR1 not at all"))
    assert caught.value.strerror


# --- inspected and prepared as other files are ---


def inspected(path: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    asked = Asked((str(path),), path.stat().st_size)
    report = inspect(asked, folder, lambda *_told: None, 4096, 2)
    assert not (folder / "unpacked").exists()
    assert report["files"][0].pop("file") == str(path)
    return report


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_an_inspection_says_the_same_of_a_packed_file(tmp_path: Path, name: str) -> None:
    data = LINES + b"{bad\n" + LINES[:500]
    packed = gzip.compress(data) if name.endswith(".gz") else zstandard.compress(data)
    plain = inspected(written(tmp_path, "a.jsonl", data), tmp_path / "plain")
    assert inspected(written(tmp_path, name, packed), tmp_path / "packed") == plain
    assert plain["duplicates"] > 5


def test_an_inspection_names_the_rows_of_a_table(tmp_path: Path) -> None:
    data = b"question,answer\nq,a\nq\nq,\nq,a\n"
    report = inspected(written(tmp_path, "a.csv", data), tmp_path / "found")
    assert {each["code"]: each["places"] for each in report["issues"]} == {
        "columns": [(0, 2)],
        "no_answer": [(0, 3)],
        "duplicate": [(0, 4)],
    }


def test_a_damaged_file_ends_an_inspection(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        inspected(written(tmp_path, "a.jsonl.gz", gzip.compress(LINES)[:-9]), tmp_path / "found")
    assert refused.value.code == "SOPHIA-D306"


def test_a_version_is_made_of_packed_files_and_tables(tmp_path: Path) -> None:
    source, scratch = tmp_path / "in", tmp_path / "scratch"
    source.mkdir()
    scratch.mkdir()
    rows = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(30)]
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in rows[:20])
    written(source, "a.jsonl.zst", zstandard.compress(lines))
    cells = [[each["question"], each["answer"]] for each in rows[20:]]
    written(source, "b.csv", table(["question", "answer"], *cells, ["q"]))
    files = ("a.jsonl.zst", "b.csv")
    out, now = str(tmp_path / "out"), datetime.now(UTC)
    request = Request(str(source), str(scratch), "town", now, out, files)
    report = prepare(request, lambda *_told: None)
    assert report.manifest["sum"] == "31 = 30 + 1"
    assert report.rejected == {"columns": ["b.csv:11"]}


# --- which files, and standard input ---


def test_other_kinds_are_taken_by_name_alone_and_named_where_they_are_not(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "c.csv", "d.parquet", "history.jsonl", "e.txt"):
        written(tmp_path, name, b"x")
    history = tmp_path / "history.jsonl"
    found = select(tmp_path, (), history)
    assert [path.name for path in found.files] == ["b.jsonl"]
    assert {each.file: each.code for each in found.passed} == {
        **dict.fromkeys(("a.jsonl.gz", "c.csv", "d.parquet"), "unasked"),
        "history.jsonl": "history",
    }
    found = select(tmp_path, ["a.jsonl.gz", "c.csv"], history)
    assert [path.name for path in found.files] == ["a.jsonl.gz", "c.csv"]
    for refused in ("history.jsonl", "e.txt"):
        with pytest.raises(NotFoundError):
            select(tmp_path, [refused], history)
    with pytest.raises(NotFoundError):
        select(tmp_path, ["c.csv"], history, plain=True)


def test_a_folder_of_other_kinds_alone_says_to_name_them(tmp_path: Path) -> None:
    written(tmp_path, "c.csv", b"x")
    with pytest.raises(DataError) as refused:
        select(tmp_path, (), None)
    assert refused.value.code == "SOPHIA-D304" and "--files" in refused.value.remedy


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (LINES, "standard-input.jsonl"),
        (b"", "standard-input.jsonl"),
        (gzip.compress(LINES), "standard-input.jsonl.gz"),
        (zstandard.compress(LINES), "standard-input.jsonl.zst"),
        (b"\xef\xbb\xbfquestion,answer\nq,a\n", "standard-input.csv"),
    ],
    ids=["lines", "nothing", "gzip", "zstd", "table"],
)
def test_standard_input_is_told_by_how_it_begins(tmp_path: Path, data: bytes, name: str) -> None:
    path = spool(io.BytesIO(data), tmp_path)
    assert path.name == name and path.read_bytes() == data
