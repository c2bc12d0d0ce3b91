"""The split and the duplicates: by content and seed alone, one question on one side only."""

from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets import dedupe
from sophia_tui.datasets.codes import Problem
from sophia_tui.datasets.dedupe import HEAD, Head, PartReader, SpoolWriter
from sophia_tui.datasets.rejections import LISTED, Rejections
from sophia_tui.datasets.split import (
    SHARES,
    TEST,
    TRAIN,
    VALID,
    place_of,
    plan,
    question_of,
    shares_of,
)
from sophia_tui.errors import DataError

places = st.lists(st.integers(0, 40), min_size=1, max_size=120)
shares = st.sampled_from([each for each in SHARES.values() if each[1]])


@given(places, shares)
def test_each_part_that_is_asked_for_has_an_example_where_there_are_groups_enough(
    found: list[int], wanted: tuple[int, int, int]
) -> None:
    split = plan(array("Q", found), wanted)
    counts = Counter(split.side(place) for place in found)
    groups = len(set(found))
    assert counts[TRAIN] > 0
    assert (counts[VALID] > 0) == (groups >= 3 or (groups == 2 and not wanted[2]))
    assert (counts[TEST] > 0) == bool(wanted[2] and groups >= 2)


@given(places)
def test_where_nothing_is_to_be_held_out_everything_is_learnt_from(found: list[int]) -> None:
    split = plan(array("Q", found), SHARES["100/0"])
    assert {split.side(place) for place in found} == {TRAIN}


@given(places, shares, st.randoms())
def test_the_order_of_the_examples_does_not_count(
    found: list[int], wanted: tuple[int, int, int], chance: object
) -> None:
    shuffled = found.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert plan(found, wanted) == plan(shuffled, wanted)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("80/20", (800, 200, 0)), ("90/10", (900, 100, 0)), ("80/10/10", (800, 100, 100))],
)
def test_shares_are_exact_where_every_question_is_asked_once(
    wanted: str, expected: tuple[int, int, int]
) -> None:
    found = [place_of(42, f"question {number}") for number in range(1000)]
    split = plan(found, SHARES[wanted])
    counts = Counter(split.side(place) for place in found)
    assert (counts[TRAIN], counts[VALID], counts[TEST]) == expected


def test_another_seed_gives_another_split() -> None:
    sides = []
    for seed in (1, 2):
        found = [place_of(seed, f"question {number}") for number in range(200)]
        split = plan(found, SHARES["80/20"])
        sides.append([split.side(place) for place in found])
    assert sides[0] != sides[1]


def test_places_are_the_same_on_every_machine() -> None:
    assert place_of(42, "qual é o prazo?") == 6684143039265001759


def ask(*questions: str) -> list[tuple[str, str]]:
    turns = [("user", question) for question in questions]
    return [("system", "s"), *turns, ("assistant", "a")]


def test_the_same_question_in_other_dress_is_one_group() -> None:
    one, other = ask("Qual é  o\nPRAZO?", "x"), ask(" qual e\u0301 o prazo? ", "y")
    assert question_of(one) == question_of(other)
    assert question_of(ask("qual?")) != question_of(ask("quando?"))


def test_a_chat_without_user_is_a_group_by_all_its_text() -> None:
    assert question_of([("assistant", "a")]) != question_of([("assistant", "b")])


class Spooled:
    """Rows as writers spooled them, each with the number of its writer, read part by part."""

    def __init__(self, folder: Path, rows: list[tuple[bytes, int, int, int]], parts: int) -> None:
        self.folder = folder
        self.parts = parts
        writers = [SpoolWriter(folder, number, parts) for number in range(2)]
        for row, writer, file, line in rows:
            writers[writer].add(row, file, line, line * 7, str(line).encode())
        for each in writers:
            each.flush()
            each.close()

    def found(self) -> list[tuple[bytes, Head, Head | None]]:
        """Each row with its head, and the first that it is the same as."""
        found: list[tuple[bytes, Head, Head | None]] = []
        for part in range(self.parts):
            with PartReader(self.folder, part, 2) as reader:
                kept, again = reader.sifted()
                heads = [(Head._make(HEAD.unpack(raw)), None) for raw in kept]
                for head, first in (*heads, *again):
                    assert reader.source(head) == str(head.line).encode()
                    found.append((reader.row(head), head, first))
        return found


def test_the_first_in_reading_order_is_kept(tmp_path: Path) -> None:
    rows = [(b"same", 0, 1, 1), (b"same", 1, 0, 9), (b"same", 0, 0, 2), (b"same", 1, 2, 5)]
    found = Spooled(tmp_path, rows, 4).found()
    kept = [(head.file, head.line) for _row, head, first in found if first is None]
    assert kept == [(0, 2)]
    again = {(head.file, head.line) for _row, head, first in found if first}
    assert again == {(0, 9), (1, 1), (2, 5)}
    assert {(first.file, first.line) for _row, _head, first in found if first} == {(0, 2)}


def test_equal_hashes_are_no_duplicates_unless_the_bytes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedupe, "digest_of", lambda row: b"\0" * 16)
    said = [b"two", b"one", b"one", b"three", b"two"]
    rows = [(row, line % 2, 0, line) for line, row in enumerate(said, start=1)]
    found = Spooled(tmp_path, rows, 2).found()
    assert [row for row, _head, first in found if first is None] == [b"one", b"three", b"two"]


@given(st.lists(st.binary(max_size=3), max_size=60), st.sampled_from([1, 2, 64, 256]))
def test_every_row_comes_out_once_as_itself_or_as_a_duplicate(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], parts: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spooled = [(row, line % 2, 0, line) for line, row in enumerate(rows)]
    found = Spooled(folder, spooled, parts).found()
    assert sorted(head.line for _row, head, _first in found) == list(range(len(rows)))
    kept = [(row, head) for row, head, first in found if first is None]
    assert sorted(row for row, _head in kept) == sorted(set(rows))
    assert all((rows[head.line], head.place) == (row, head.line * 7) for row, head in kept)
    digests = [head.digest for _row, head in kept]
    assert digests == sorted(digests)


def test_rejections_come_out_by_file_and_line_also_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.datasets.rejections._IN_MEMORY", 7)
    rejections = Rejections(tmp_path, ["a.jsonl", "b.jsonl"])
    for number in range(50):
        rejections.add(
            number % 2, 100 - number, Problem("json", {"column": 1}), b"x" * 16, b"", "read"
        )
    where = [(line[9:10], line) for line in rejections.lines()]
    assert [file for file, _line in where] == [b"a"] * 25 + [b"b"] * 25
    assert rejections.examples()["json"] == [f"a.jsonl:{n}" for n in range(52, 92, 2)]
    assert len(rejections.examples()["json"]) == LISTED


@given(st.lists(st.tuples(st.sampled_from(["json", "nul"]), st.binary(max_size=2)), max_size=20))
def test_the_fingerprint_of_rejections_knows_no_order(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, bytes]]
) -> None:
    def fingerprint(order: list[tuple[str, bytes]]) -> str:
        rejections = Rejections(tmp_path_factory.getbasetemp(), ["a"])
        for line, (code, digest) in enumerate(order):
            rejections.add(0, line, Problem(code), digest, b"", "read")
        return rejections.fingerprint()

    assert fingerprint(found) == fingerprint(found[::-1])
    assert fingerprint(found) != fingerprint([*found, ("json", b"more")])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        *SHARES.items(),
        ("70/15/15", (70, 15, 15)),
        ("33.4/33.3/33.3", (33.4, 33.3, 33.3)),
        ("99.9/0.1", (99.9, 0.1, 0)),
    ],
)
def test_shares_are_percent(text: str, wanted: tuple[float, float, float]) -> None:
    assert shares_of(text) == wanted


@pytest.mark.parametrize(
    ("text", "total"),
    [("90/20", "110"), ("8/2", "10"), ("80/10/5", "95"), ("33.3/33.3/33.3", "99.9")],
)
def test_shares_that_do_not_make_a_hundred_are_refused(text: str, total: str) -> None:
    with pytest.raises(DataError, match="SOPHIA-D542") as caught:
        shares_of(text)
    assert f"make {total}, not 100" in caught.value.why and "80/20" in caught.value.remedy


@pytest.mark.parametrize("text", ["0/100", "80/0/20", "100", "25/25/25/25", "a/b"])
def test_what_is_no_split_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="SOPHIA-D542"):
        shares_of(text)
