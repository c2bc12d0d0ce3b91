"""Search: the text is found however JSON writes it, never over the end of a line."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets import pages
from sophia_tui.datasets.pages import Place, stretches
from sophia_tui.datasets.search import Hits, SearchTask, legible, pattern_for, places
from sophia_tui.errors import UsageError


def lines_with(path: Path, text: str, **options: Any) -> list[int]:
    return [hit["line"] for hit in hits_in(path, text, **options)]


def hits_in(path: Path, text: str, **options: Any) -> list[dict[str, Any]]:
    asked = {"regex": False, "any_case": True, "line": 1, "limit": 500, "edited": {}} | options
    task = SearchTask("en", str(path), "plain", text, folder=str(path.parent / "cache"), **asked)
    found: list[dict[str, Any]] = []
    task.run_telling(lambda *_told: None, found.append)
    return found


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "ação",
        "AÇÃO",
        'disse "sim"',
        "a\\b",
        "e/ou",
        "fim\nnovo",
        "tab\tulado",
        "😀",
        "ac\u0327a\u0303o",
    ],
)
def test_text_is_found_however_it_is_written(tmp_path: Path, text: str, ascii_only: bool) -> None:
    said = 'Uma ação: disse "sim" a\\b e/ou fim\nnovo tab\tulado 😀.'
    path = tmp_path / "data.jsonl"
    rows = [{"question": "nada"}, {"question": said}, {"question": "acao"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows))
    assert lines_with(path, text) == [2]


def test_no_match_reaches_over_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("one\ntwo\none two\n")
    assert lines_with(path, r"one\s+two", regex=True) == [3]
    assert lines_with(path, r"one[^x]*two", regex=True) == [3]
    assert lines_with(path, r"^two$", regex=True) == [2]


def test_a_break_within_a_text_is_white_space(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"answer": "one\ntwo"}) + "\n")
    assert lines_with(path, r"one\stwo", regex=True) == [1]
    assert hits_in(path, "one two")[0]["found"] == "one\ntwo"


@pytest.mark.parametrize("wrong", ["(", "a(?=b)", r"(a)\1", "[z-a]"])
def test_a_pattern_that_is_not_taken_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="SOPHIA-D566"):
        pattern_for(wrong, True, True)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("a(b[)]c", 2),
        ("a(b)\\(c)d", 8),
        ("[abc", 1),
        ("ab**", 3),
        ("*a", 1),
        ("x(?<=a)b", 2),
        ("ab\\", 3),
    ],
)
def test_what_is_wrong_with_a_pattern_is_told_with_its_place(wrong: str, place: int) -> None:
    with pytest.raises(UsageError) as told:
        pattern_for(wrong, True, True)
    assert f"at character {place}:" in told.value.why


def test_the_places_in_a_text_are_counted_in_characters() -> None:
    assert places("ação e AÇÃO", "ação", False, True) == [(0, 4), (7, 11)]
    assert places("ação e AÇÃO", "ação", False, False) == [(0, 4)]
    assert places("one\ntwo", "one two", False, True) == [(0, 7)]
    assert places("😀 ab\ud800 ab", "a.", True, True) == [(2, 4), (6, 8)]
    assert places("abc", "x*", True, True) == []


def test_a_search_goes_backwards_and_counts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(pages, "_CHUNK", 16)
    path = tmp_path / "data.jsonl"
    path.write_text("here\nno\n" * 20)
    assert lines_with(path, "here", line=9, backwards=True) == [7, 5, 3, 1]
    assert lines_with(path, "here", line=10, backwards=True, limit=2) == [9, 7]
    assert lines_with(path, "here", line=9999, backwards=True, limit=1) == [39]
    assert lines_with(path, "here", line=1, backwards=True) == []
    open_end = tmp_path / "open.jsonl"
    open_end.write_text("here\nno\nhere")
    assert lines_with(open_end, "here", line=9999, backwards=True) == [3, 1]
    open_end.write_text("")
    assert lines_with(open_end, "here", line=9999, backwards=True) == []
    asked = {"regex": False, "any_case": True, "limit": 1, "edited": {"1": "no"}, "count": True}
    told: list[Any] = []
    for backwards in (False, True):
        task = SearchTask(
            "en", str(path), "plain", "here", folder="", line=6, backwards=backwards, **asked
        )
        done = task.run_telling(lambda *_told: None, told.append)
        assert done == {"more": True, "total": 19, "passed": 2}
    assert [each["line"] for each in told] == [7, 5]


def test_a_compressed_file_is_searched_backwards_by_reading_it_once(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(b"here\nno\n" * 20))
    told: list[Any] = []
    asked = {"regex": False, "any_case": True, "limit": 2, "edited": {}, "backwards": True}
    task = SearchTask("en", str(path), "gzip", "here", folder="", line=6, **asked)
    assert task.run_telling(lambda *_told: None, told.append) == {"more": True}
    assert [each["line"] for each in told] == [5, 3]


def test_a_pattern_that_ruins_others_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("a" * 100_000 + "\n")
    assert lines_with(path, "(a+)+$x", regex=True) == []


def test_search_begins_with_a_line_and_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("here\n" * 10)
    assert lines_with(path, "here", line=4, limit=3) == [4, 5, 6]
    assert lines_with(path, "here", line=11) == []


def test_edited_records_are_searched_as_edited(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("old\nold\nold\n")
    assert lines_with(path, "old", edited={"2": "new"}) == [1, 3]
    assert lines_with(path, "new", edited={"2": "new", "3": "new"}) == [2, 3]


alphabet = st.sampled_from(list('ab"\\/\n\t é😀\u2028nu0'))
texts = st.lists(st.text(alphabet, max_size=12), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(said=texts, ascii_only=st.booleans(), wanted=st.text(alphabet, min_size=1, max_size=3))
def test_hits_agree_with_a_slow_search(said: list[str], ascii_only: bool, wanted: str) -> None:
    """The reference parses each line and looks into the text, where white space is white space."""
    data = "".join(json.dumps([text], ensure_ascii=ascii_only) + "\n" for text in said).encode()
    import io

    hits = Hits(pattern_for(wanted, False, False))
    found = [hit["line"] for s in stretches(io.BytesIO(data), Place(1, 0), {}) for hit in hits(s)]
    pattern = re.compile(r"[\t\n\r ]+".join(re.escape(w) for w in re.split(r"\s+", wanted)))
    whole = ['["' + text + '"]' for text in said]
    assert found == [n for n, text in enumerate(whole, start=1) if pattern.search(text)]


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=400))
def test_legible_keeps_the_number_of_lines(data: bytes) -> None:
    assert legible(data).count(b"\n") == data.count(b"\n")


@pytest.mark.parametrize(
    "edited", [{}, {1: b"one"}, {3: b"three", 4: b"four"}, {2: b"", 5: b"five"}]
)
def test_edits_stand_in_their_lines(edited: dict[int, bytes]) -> None:
    import io

    lines = [b"a", b"b", b"c", b"d", b"e"]
    got = b"".join(s.data for s in stretches(io.BytesIO(b"\n".join(lines)), Place(1, 0), edited))
    assert got.split(b"\n") == [edited.get(n, line) for n, line in enumerate(lines, start=1)]


def test_a_line_that_is_too_long_is_cut_and_its_neighbours_are_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io

    monkeypatch.setattr(pages, "_CHUNK", 10)
    monkeypatch.setattr(pages, "MAX_LINE_BYTES", 20)
    lines = [b"first", b"x" * 95, b"y" * 25, b"last"]
    stream = io.BytesIO(b"\n".join(lines))
    got = list(stretches(stream, Place(1, 0), {}))
    told = b"".join(each.data for each in got).split(b"\n")
    assert [told[0], told[1][:20], told[2], told[3]] == [b"first", b"x" * 20, b"y" * 25, b"last"]
    places = {each.line: each.at for each in got}
    for line, at in places.items():
        assert b"\n".join(lines)[:at].count(b"\n") == line - 1
