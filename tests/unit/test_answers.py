"""Training pairs of answer events in a file: which lines count, and what is kept of them."""

import json
from pathlib import Path
from typing import Any

from sophia_tui.datasets.answers import Built, build


def built(folder: Path, *events: Any) -> tuple[Built, list[dict[str, str]]]:
    """What came of these lines, and the pairs."""
    source, target = folder / "events.jsonl", folder / "train_data.jsonl"
    source.write_text("".join(json.dumps(each) + "\n" for each in events))
    told = build(source, target, 1000, None)
    return told, [json.loads(line) for line in target.read_text().splitlines()]


def test_prompt_and_reply_may_stand_beside_the_kind(tmp_path: Path) -> None:
    told, pairs = built(
        tmp_path,
        {"kind": "answer", "prompt": "Gate?", "reply": "North."},
        {"kind": "answer", "q": "Who?", "a": "Bia.", "meta": {"rank": 1}},
    )
    assert told.unusable == 0
    assert pairs == [
        {"instruction": "Gate?", "output": "North."},
        {"instruction": "Who?", "output": "Bia."},
    ]


def test_every_line_that_can_not_be_used_is_counted_and_a_hundred_are_named(
    tmp_path: Path,
) -> None:
    no_kind = {"meta": {"prompt": "Gate?", "reply": "North."}}
    told, pairs = built(tmp_path, *[no_kind] * 150, {"kind": "retrieval"}, {"kind": "answer"})
    assert (told.pairs, told.unusable, len(told.named), pairs) == (0, 151, 100, [])


def test_pairs_are_redacted_as_data_sets_are(tmp_path: Path) -> None:
    said = {"prompt": "I am ana@example.org, CPF 529.982.247-25.", "reply": "Hello ana@example.org"}
    _told, pairs = built(tmp_path, {"kind": "answer", "meta": said})
    assert pairs == [
        {"instruction": "I am [EMAIL_1], CPF [CPF_1].", "output": "Hello [EMAIL_1]"},
    ]
