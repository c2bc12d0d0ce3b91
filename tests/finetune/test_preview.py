"""The preview: what a training would learn, by the training's own code; no weights, no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest
from tests.finetune.tiny_model import TOWNS, answer, chat, pairs, question, write_lines


def report_of(run: Path) -> schema.PreviewReport:
    return schema.read_document(run / "preview.json", schema.PreviewReport)


def part_of(run: Path, name: str = "train.jsonl") -> schema.PartPreview:
    return next(part for part in report_of(run).parts if part.file == name)


@pytest.fixture
def rough(tmp_path: Path) -> Path:
    """Eight good rows, then one of each kind that isn't."""
    folder = tmp_path / "rough"
    long = {"messages": [{"role": "user", "content": "why? " * 200}, *chat("a", "b")["messages"]]}
    rows: list[dict[str, Any]] = [
        *(chat(*pair) for pair in pairs()),
        long,
        chat(TOWNS[0], "very long thing " * 40),
        chat("Brovik", "salt", weight=0),
        {"question": "SECRET", "answer": "SECRET"},
        {
            "messages": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "a"}],
            "rejected": [{"role": "assistant", "content": "b"}],
        },
    ]
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "valid.jsonl", rows[:2])
    return folder


def test_segments_are_the_whole_text_and_say_what_is_trained(make_run: MakeRun) -> None:
    run = make_run(kind="preview", preview=schema.PreviewSettings(count=2, valid_count=1))
    assert finetune("preview", run) == 0
    report = report_of(run)
    assert [(each.file, each.line) for each in report.examples] == [
        ("train.jsonl", 1),
        ("train.jsonl", 2),
        ("valid.jsonl", 1),
    ]
    first = report.examples[0]
    town, goods = pairs()[0]
    assert [(part.text, part.trained) for part in first.segments] == [
        (f"<|im_start|>user\n{question(town)}<|im_end|>\n<|im_start|>assistant\n", False),
        (f"{answer(town, goods)}<|im_end|>", True),
        ("\n", False),
    ]
    assert first.tokens == sum(part.tokens for part in first.segments)
    assert first.trained_tokens == first.segments[1].tokens


def test_a_preview_counts_what_the_training_counts(make_run: MakeRun) -> None:
    run = make_run(kind="preview")
    assert finetune("preview", run) == 0
    again = make_run("training", recipe={"max_steps": 1})
    assert finetune("train", again) == 0
    part = part_of(run)
    assert (part.examples, part.trained_tokens) == (16, manifest(again).answer_tokens)
    assert report_of(run).template_fingerprint == manifest(again).template_fingerprint
    assert part.lengths is not None
    assert part.lengths.p10 <= part.lengths.p50 <= part.lengths.p99 <= part.lengths.longest
    assert report_of(run).refused is None
    assert events(run, "result")[0].data["parts"][0]["tokens"] == part.tokens


def test_trained_tokens_are_those_of_the_file_times_the_epochs(make_run: MakeRun) -> None:
    """Also where an epoch's last step is a small one: 16 examples by 3 x 2."""
    run = make_run(kind="preview")
    assert finetune("preview", run) == 0
    recipe = {"epochs": 2, "max_steps": None, "batch_size": 3, "gradient_accumulation": 2}
    training = make_run("training", recipe=recipe)
    assert finetune("train", training) == 0
    assert manifest(training).trained_tokens == 2 * part_of(run).tokens
    assert events(training, "result")[0].data["trained_tokens"] == 2 * part_of(run).tokens


def test_every_row_that_is_not_trained_on_is_listed(make_run: MakeRun, rough: Path) -> None:
    run = make_run(
        kind="preview", dataset_path=str(rough), preview=schema.PreviewSettings(count=20)
    )
    assert finetune("preview", run) == 0
    part = part_of(run)
    listed = {each.reason: each.lines for each in part.listed}
    assert listed == {
        "unreadable": [12],
        "other_form": [13],
        "truncated": [9, 10],
        "no_answer_token": [9, 11],
    }
    assert (part.lines, part.examples) == (13, 9)
    assert part.count_of("no_answer_token") == 2
    assert all((run / str(each.path)).is_file() for each in part.listed)
    lost = next(each.trained_tokens_lost for each in part.listed if each.reason == "truncated")
    assert lost > 100
    problems = {each.line: each.problem for each in report_of(run).examples}
    assert problems[1] is None
    assert {line: problems[line] for line in range(9, 14)} == {
        9: "no_answer_token",
        10: "truncated",
        11: "no_answer_token",
        12: "unreadable",
        13: "other_form",
    }
    assert "SECRET" not in (run / "preview.json").read_text()


@pytest.mark.parametrize(
    ("rows", "recipe", "code"),
    [
        (8, {}, None),
        (11, {}, "FINETUNE-210"),
        (11, {"rows_without_answer": "leave_out"}, None),
        (12, {}, "FINETUNE-202"),
    ],
)
def test_the_refusal_is_the_one_that_the_training_gives(
    make_run: MakeRun, rough: Path, rows: int, recipe: Any, code: str | None
) -> None:
    lines = (rough / "train.jsonl").read_text().splitlines(keepends=True)
    (rough / "train.jsonl").write_text("".join(lines[:rows]))
    run = make_run(kind="preview", dataset_path=str(rough), recipe=recipe)
    assert finetune("preview", run) == 0
    refused = report_of(run).refused
    assert (refused["code"] if refused else None) == code
    training = make_run("training", dataset_path=str(rough), recipe={**recipe, "max_steps": 1})
    finetune("train", training)
    failed = events(training, "state")[-1].data
    assert (failed.get("code"), failed.get("what")) == (
        code,
        refused["what"] if refused else None,
    )


def test_chosen_lines_are_shown_beside_the_first(make_run: MakeRun) -> None:
    run = make_run(kind="preview", preview=schema.PreviewSettings(count=1, lines=[5, 99]))
    assert finetune("preview", run) == 0
    assert [each.line for each in report_of(run).examples] == [1, 5]


def test_a_pair_is_shown_with_both_answers(make_run: MakeRun, rough: Path) -> None:
    line = (rough / "train.jsonl").read_text().splitlines()[-1]
    (rough / "train.jsonl").write_text(line + "\n")
    (rough / "valid.jsonl").unlink()
    run = make_run(kind="preview", dataset_path=str(rough), recipe={"method": "dpo"})
    assert finetune("preview", run) == 0
    (example,) = report_of(run).examples
    assert example.rejected is not None
    for segments, told in ((example.segments, "a"), (example.rejected, "b")):
        assert [part.text for part in segments if part.trained] == [f"{told}<|im_end|>"]
    assert part_of(run).forms == {"preference": 1}


def test_a_preview_needs_neither_torch_nor_weights(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "weightless"
    base.mkdir()
    for path in tiny_base.iterdir():
        if path.suffix != ".safetensors":
            (base / path.name).write_bytes(path.read_bytes())
    run = make_run(kind="preview", base=base)
    code = (
        "import sys\n"
        "from finetune.cli import main\n"
        "done = main(sys.argv[1:], own_process=True)\n"
        "assert sys.modules.get('torch') is None and 'peft' not in sys.modules\n"
        "sys.exit(done)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "preview", str(run)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert report_of(run).parts[0].examples == 16
