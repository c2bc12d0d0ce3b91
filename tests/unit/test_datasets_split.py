"""The split and the duplicates: by content and seed alone, one question on one side only."""

from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sophia_tui.datasets import dedupe
from sophia_tui.datasets.codes import Problem
from sophia_tui.datasets.dedupe import Duplicate, Spool
from sophia_tui.datasets.rejections import LISTED, Rejections
from sophia_tui.datasets.split import SHARES, TEST, TRAIN, VALID, group_key, place_of, plan
from sophia_tui.domain.datasets import Example, Message

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


def ask(*questions: str) -> Example:
    turns = [Message("user", question) for question in questions]
    return Example((Message("system", "s"), *turns, Message("assistant", "a")))


def test_the_same_question_in_other_dress_is_one_group() -> None:
    assert group_key(ask("Qual é  o\nPRAZO?", "x")) == group_key(
        ask(" qual e\u0301 o prazo? ", "y")
    )
    assert group_key(ask("qual?")) != group_key(ask("quando?"))


def test_a_chat_without_user_is_a_group_by_all_its_text() -> None:
    one, two = (Example((Message("assistant", text),)) for text in ("a", "b"))
    assert group_key(one) != group_key(two)


def test_the_first_in_reading_order_is_kept(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        for file, line in ((1, 1), (0, 9), (0, 2), (2, 5)):
            spool.add(b"same", file, line, 0, b"")
        found = list(spool.unique())
    assert [(row.file, row.line) for row in found if isinstance(row, dedupe.Row)] == [(0, 2)]
    pairs = [
        ((each.row.file, each.row.line), (each.first.file, each.first.line))
        for each in found
        if isinstance(each, Duplicate)
    ]
    assert pairs == [((0, 9), (0, 2)), ((1, 1), (0, 2)), ((2, 5), (0, 2))]


def test_equal_hashes_are_no_duplicates_unless_the_bytes_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedupe, "digest_of", lambda row: b"\0" * 16)
    with Spool(tmp_path) as spool:
        for line, row in enumerate([b"one", b"two", b"one", b"three", b"two"], start=1):
            spool.add(row, 0, line, 0, b"")
        kept = [each.row for each in spool.unique() if isinstance(each, dedupe.Row)]
    assert sorted(kept) == [b"one", b"three", b"two"]


@given(st.lists(st.binary(max_size=3), max_size=60))
def test_every_row_comes_out_once_as_itself_or_as_a_duplicate(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with Spool(folder) as spool:
        for line, row in enumerate(rows):
            spool.add(row, 0, line, line * 7, str(line).encode())
        found = list(spool.unique())
    lines = [each.row.line if isinstance(each, Duplicate) else each.line for each in found]
    assert sorted(lines) == list(range(len(rows)))
    kept = [each for each in found if isinstance(each, dedupe.Row)]
    assert {each.row for each in kept} == set(rows)
    assert all((rows[row.line], row.place) == (row.row, row.line * 7) for row in kept)
    assert list(folder.iterdir()) == []


def test_rejections_come_out_by_file_and_line_also_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sophia_tui.datasets.rejections._IN_MEMORY", 7)
    rejections = Rejections(tmp_path, ["a.jsonl", "b.jsonl"])
    for number in range(50):
        rejections.add(number % 2, 100 - number, Problem("json", {"column": 1}), b"x" * 16, b"")
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
            rejections.add(0, line, Problem(code), digest, b"")
        return rejections.fingerprint()

    assert fingerprint(found) == fingerprint(found[::-1])
    assert fingerprint(found) != fingerprint([*found, ("json", b"more")])
