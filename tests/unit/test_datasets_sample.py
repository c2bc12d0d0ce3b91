"""A seeded sample is the same however a file is cut, and its intervals hold."""

import json
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from sophia_tui.datasets.blocks import read_block
from sophia_tui.datasets.sample import (
    SampleCollector,
    SampledRow,
    SampleProbe,
    SampleSettings,
    interval,
)


def _line(question: str, **more: object) -> bytes:
    return json.dumps({"question": question, "answer": "As it is.", **more}).encode() + b"\n"


def _sampled(lines: list[bytes], cuts: list[int], given: SampleSettings) -> list[SampledRow]:
    probe, collector = SampleProbe(given), SampleCollector(given)
    first = 0
    for end in [*sorted(cuts), len(lines)]:
        found = probe.look(read_block(b"".join(lines[first:end])))
        collector.add(first + 1, found)
        first = end
    return collector.drawn()


LINES = [_line(f"Question {each}?") for each in range(200)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=6), st.integers(1, 60), st.integers(0, 5))
def test_the_sample_does_not_depend_on_the_cuts(cuts: list[int], rows: int, seed: int) -> None:
    chosen = SampleSettings(seed=seed, rows=rows)
    whole = _sampled(LINES, [], chosen)
    assert len(whole) == rows
    assert _sampled(LINES, cuts, chosen) == whole


def test_another_seed_is_another_sample() -> None:
    first, second = (_sampled(LINES, [], SampleSettings(seed=each, rows=20)) for each in (1, 2))
    assert first != second


def test_copies_count_once_by_their_first_line() -> None:
    lines = [_line("The same?")] * 5 + [_line("Another?")]
    assert [row.line for row in _sampled(lines, [2], SampleSettings())] == [1, 6]


def test_all_rows_are_kept_on_request() -> None:
    assert len(_sampled(LINES, [50, 77], SampleSettings(rows=None))) == 200


def test_the_known_size_of_the_file_changes_nothing() -> None:
    lines = [_line(f"Question {each}?") for each in range(3000)]
    size = sum(map(len, lines))
    cuts = list(range(0, 3000, 100))
    known = SampleSettings(rows=200, size=size)
    assert _sampled(lines, cuts, known) == _sampled(lines, [], SampleSettings(rows=200))
    sent = SampleProbe(known).look(read_block(b"".join(lines[:100])))
    assert sent[0] == 100 and len(sent[1]) < 60


def test_the_category_is_what_the_record_says() -> None:
    lines = [
        _line("A?", category="delivery"),
        _line("B?", metadata={"category": "returns"}),
        _line("C?", categoria=" troca "),
        _line("D?", metadata={"category": 5}),
        _line("category?"),
    ]
    found = {row.line: row.category for row in _sampled(lines, [], SampleSettings())}
    assert found == {1: "delivery", 2: "returns", 3: "troca", 4: None, 5: None}


def test_turns_of_a_pair_have_both_answers() -> None:
    line = json.dumps({"prompt": "When?", "chosen": "At nine.", "rejected": "No."}).encode()
    [row] = _sampled([line], [], SampleSettings())
    assert row.turns == (("user", "When?"), ("assistant", "At nine."), ("assistant", "No."))


def test_an_interval_holds_the_share_in_nineteen_of_twenty_samples() -> None:
    dice = random.Random(5)
    held = 0
    for _each in range(2000):
        count = sum(dice.random() < 0.1 for _row in range(100))
        low, high = interval(count, 100)
        held += low <= 0.1 <= high
    assert 0.92 <= held / 2000 <= 0.98
