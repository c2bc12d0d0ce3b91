"""Preference pairs: every form of them becomes one canonical line, in a data set of pairs alone."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.datasets.codes import REASONS, Unusable
from sophia_tui.datasets.formats import convert, encode
from sophia_tui.datasets.pipeline import Report, Request, prepare
from sophia_tui.domain.datasets import Pair
from sophia_tui.errors import DataError

USER = {"role": "user", "content": "Where is the office?"}
GOOD = {"role": "assistant", "content": "In Main Street 5."}
BAD = {"role": "assistant", "content": "I don't know."}
CANONICAL = {"messages": [USER], "chosen": [GOOD], "rejected": [BAD]}
HOSTED = {
    "input": {"messages": [USER], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [GOOD],
    "non_preferred_output": [BAD],
}


@pytest.mark.parametrize(
    "line",
    [
        CANONICAL,
        HOSTED,
        {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"messages": [USER], "chosen": GOOD, "rejected": BAD["content"], "score": 5},
    ],
)
def test_every_form_becomes_the_same_line(line: dict[str, Any]) -> None:
    pair = convert(line)
    assert isinstance(pair, Pair)
    assert json.loads(encode(pair)) == CANONICAL
    assert convert(json.loads(encode(pair))) == pair


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ({**CANONICAL, "chosen": None}, "no_chosen"),
        ({"prompt": "q", "chosen": "a"}, "no_rejected"),
        ({**CANONICAL, "rejected": " "}, "no_rejected"),
        ({**CANONICAL, "chosen": [GOOD, GOOD]}, "pair_answer"),
        ({**CANONICAL, "chosen": [USER]}, "pair_answer"),
        ({**CANONICAL, "chosen": 5}, "pair_answer"),
        ({**CANONICAL, "chosen": [{**GOOD, "weight": 0}]}, "pair_answer"),
        ({**CANONICAL, "rejected": [GOOD]}, "pair_same"),
        ({**CANONICAL, "messages": [USER, GOOD]}, "pair_prompt"),
        ({**CANONICAL, "messages": []}, "no_messages"),
        ({**HOSTED, "input": "q"}, "messages_type"),
        ({**HOSTED, "input": {"messages": [USER], "tools": [{"type": "function"}]}}, "tools_type"),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, "unknown_format"),
        ({**CANONICAL, "chosen": [{**GOOD, "content": "</s>"}]}, "special_token"),
    ],
)
def test_what_is_no_pair_is_refused_by_its_code(line: dict[str, Any], code: str) -> None:
    with pytest.raises(Unusable) as caught:
        convert(line)
    assert caught.value.problem.code == code and code in REASONS


def pair(number: int, **more: str) -> dict[str, Any]:
    return {
        "prompt": f"Where is room {number}?",
        "chosen": more.get("chosen", f"On floor {number}."),
        "rejected": "No idea.",
    }


def chat(number: int) -> dict[str, Any]:
    return {"question": f"What is room {number}?", "answer": f"It is {number}."}


def questions(path: Path) -> set[str]:
    lines = path.read_text().splitlines()
    return {json.loads(line)["messages"][0]["content"] for line in lines}


def made(folder: Path, *lines: Mapping[str, Any], **more: Any) -> Report:
    source, scratch = folder / "in", folder / f"scratch-{len(list(folder.iterdir()))}"
    source.mkdir(exist_ok=True)
    scratch.mkdir()
    (source / "lines.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    request = Request(
        str(source), str(scratch), "pairs", datetime.now(UTC), str(folder / "out"), **more
    )
    return prepare(request, lambda stage, done, total: None)


def test_a_version_of_pairs_says_so_and_holds_canonical_lines(tmp_path: Path) -> None:
    report = made(tmp_path, *map(pair, range(20)))
    assert report.manifest["form"] == "pairs" and report.folder is not None
    lines = (Path(report.folder) / "train.jsonl").read_text().splitlines()
    assert len(lines) == report.manifest["counts"]["train"] == 16
    assert set(json.loads(lines[0])) == {"messages", "chosen", "rejected"}


def test_personal_data_goes_out_of_all_three_texts_alike(tmp_path: Path) -> None:
    lines = [pair(n, chosen="Write to ana@example.com.") for n in range(3)]
    lines[0]["prompt"] = "Who is ana@example.com?"
    report = made(tmp_path, *lines)
    assert report.folder is not None
    kept = "".join(each.read_text() for each in Path(report.folder).glob("*.jsonl"))
    assert "ana@example.com" not in kept and "Who is [EMAIL_1]?" in kept
    assert "Write to [EMAIL_1]." in kept


def test_a_question_with_several_pairs_lies_on_one_side(tmp_path: Path) -> None:
    lines = [pair(n // 4, chosen=f"Answer {n}.") for n in range(40)]
    report = made(tmp_path, *lines)
    assert report.folder is not None
    sides = [questions(Path(report.folder) / name) for name in ("train.jsonl", "valid.jsonl")]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_chats_and_pairs_together_are_refused_until_one_is_named(tmp_path: Path) -> None:
    lines = [*map(pair, range(10)), *map(chat, range(5))]
    with pytest.raises(DataError) as caught:
        made(tmp_path, *lines)
    assert caught.value.code == "SOPHIA-D380"
    assert "5 lines are chats" in caught.value.why and "10" in caught.value.why
    chats, pairs = made(tmp_path, *lines, form="chat"), made(tmp_path, *lines, form="pairs")
    for report, kept, rejected in ((chats, 5, 10), (pairs, 10, 5)):
        counts = report.manifest["counts"]
        assert (counts["rows_kept"], counts["other_form"]) == (kept, rejected)
        assert report.manifest["sum"] == f"15 = {kept} + {rejected}"
    assert "form" not in chats.manifest and chats.manifest["hash"] != pairs.manifest["hash"]


def test_a_version_of_chats_is_the_same_with_its_form_named(tmp_path: Path) -> None:
    lines = list(map(chat, range(8)))
    assert (
        made(tmp_path, *lines).manifest["hash"]
        == made(tmp_path, *lines, form="chat").manifest["hash"]
    )
