"""The reader of JSON Lines: every bad line is named by number and code, every good one is whole."""

import hashlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets.codes import REASONS, explain, reason
from sophia_tui.datasets.reader import LISTED_LINES, LineReader


def read(data: bytes, **options: object) -> tuple[LineReader, dict[int, object]]:
    """The reader after the last line, and by line number the object or the code of the problem."""
    reader = LineReader(io.BytesIO(data), **options)  # type: ignore[arg-type]
    found = {line.number: line.problem.code if line.problem else line.value for line in reader}
    return reader, found


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"a": "\xff"}', "not_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        (b'{"a": "x\x00y"}', "nul"),
        (b'{"a": 1', "json"),
        (b"{'a': 1}", "json"),
        (b'{"a": 1} {"b": 2}', "json"),
        (b'{"a": "tab\there"}', "json"),
        (b'{"a": ' + b"9" * 5000 + b"}", "long_number"),
        (b'{"a": [{"b": -' + b"9" * 5000 + b"}]}", "long_number"),
        (b"[" * 100_000, "too_deep"),
        (b'[{"a": 1}]', "not_object"),
        (b'"text"', "not_object"),
        (b"null", "not_object"),
        (b'{"a": 1, "a": 1}', "duplicate_key"),
        (b'{"a": {"b": 1, "b": 2}}', "duplicate_key"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1e999}', "not_finite"),
        (b'{"a": "\\ud83d"}', "surrogate"),
        (b'{"\\uDC00": 1}', "surrogate"),
        (b"\\N", "copy_null"),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_read(line: bytes, code: str) -> None:
    reader, found = read(b'{"n": 1}\n' + line + b'\n{"n": 3}\n')
    assert found == {1: {"n": 1}, 2: code, 3: {"n": 3}}
    assert reader.rows == 3


def test_a_line_that_is_too_long_is_passed_over_in_pieces() -> None:
    long = b'{"a": "' + b"x" * 3_000_000 + b'"}'
    reader, found = read(b'{"n": 1}\n' + long + b'\n{"n": 3}', max_bytes=1000)
    assert found == {1: {"n": 1}, 2: "too_long", 3: {"n": 3}}
    assert reader.bytes_read == len(long) + 18


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b""])
def test_the_longest_line_allowed_is_read(ending: bytes) -> None:
    line = b'{"a": "' + b"x" * 91 + b'"}'
    assert len(line) == 100
    assert read(line + ending, max_bytes=100)[1] == {1: {"a": "x" * 91}}
    assert read(b" " + line + ending, max_bytes=100)[1] == {1: "too_long"}


def test_crlf_mark_and_blank_lines_are_read_and_noted() -> None:
    reader, found = read(b'\xef\xbb\xbf{"n": 1}\r\n\r\n   \n{"n": 4}\n\\.\n')
    assert found == {1: {"n": 1}, 4: {"n": 4}}
    assert {code: note.lines for code, note in reader.notes.items()} == {
        "crlf": [1, 2],
        "bom": [1],
        "blank": [2, 3],
        "copy_end": [5],
    }
    assert reader.rows == 2


def test_notes_count_all_and_list_the_first() -> None:
    reader, _found = read(b'{"n": 1}\r\n' * 100)
    assert reader.notes["crlf"].count == 100
    assert reader.notes["crlf"].lines == list(range(1, LISTED_LINES + 1))


def test_the_hash_is_of_the_whole_file() -> None:
    data = b'{"n": 1}\n\n' + b"x" * 5000 + b"\nbroken"
    assert read(data, max_bytes=100)[0].sha256 == hashlib.sha256(data).hexdigest()


texts = st.text(st.characters(exclude_categories=["Cs"]))
objects = st.dictionaries(texts, texts | st.integers() | st.lists(texts), max_size=4)


@given(st.lists(objects, max_size=8), st.booleans())
def test_every_object_comes_out_as_it_went_in(values: list[object], escaped: bool) -> None:
    data = "\n".join(json.dumps(value, ensure_ascii=escaped) for value in values).encode()
    assert list(read(data)[1].values()) == values


@given(st.binary(max_size=400))
def test_no_bytes_stop_the_reader_and_none_are_lost(data: bytes) -> None:
    reader, found = read(data)
    blank = reader.notes["blank"].count if "blank" in reader.notes else 0
    ended = reader.notes["copy_end"].count if "copy_end" in reader.notes else 0
    lines = data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    assert len(found) + blank + ended == lines
    assert reader.bytes_read == len(data)


def test_every_reason_can_be_said_with_and_without_details() -> None:
    for code in REASONS:
        assert "{" not in reason(code)
        assert explain(code) == reason(code)
    assert reason("json", {"column": 7}) == "Not valid JSON at character 7."
    assert explain("a-later-code") == "a-later-code"
