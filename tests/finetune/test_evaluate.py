"""Evaluation and answers, before and after."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from finetune import schema
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest, states
from tests.finetune.tiny_model import GOODS, TOWNS, answer, question


def test_evaluation_compares_the_base_with_its_adapter(make_run: MakeRun, trained: Path) -> None:
    run = make_run(kind="evaluate", adapter_path=str(trained / "adapter"))
    assert finetune("evaluate", run) == 0
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    assert report.after is not None and report.difference is not None
    assert report.after.loss < report.before.loss / 2
    assert report.before.loss_low <= report.before.loss <= report.before.loss_high
    assert report.after.perplexity == pytest.approx(math.exp(report.after.loss))
    assert report.difference.loss_high < 0
    assert report.examples == 4
    # Training looked at the same four examples at its end.
    assert report.after.loss == pytest.approx(manifest(trained).eval_loss, rel=1e-4)


def test_evaluation_counts_answer_tokens_only(make_run: MakeRun, tiny_base: Path) -> None:
    from transformers import AutoTokenizer

    run = make_run(kind="evaluate", evaluation=schema.EvaluationSettings(max_new_tokens=2))
    assert finetune("evaluate", run) == 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    texts = [answer(t, g) + "<|im_end|>" for t, g in zip(TOWNS[:4], GOODS[:4], strict=True)]
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    assert report.answer_tokens == sum(len(tokenizer(text)["input_ids"]) for text in texts)
    assert report.after is None


def test_questions_of_the_held_out_part_are_answered_by_both(
    make_run: MakeRun, trained: Path
) -> None:
    run = make_run(
        kind="evaluate",
        adapter_path=str(trained / "adapter"),
        evaluation=schema.EvaluationSettings(prompt_count=2, max_new_tokens=24),
    )
    assert finetune("evaluate", run) == 0
    given = [event.data for event in events(run, "answer")]
    assert [item["prompt"] for item in given] == [question(TOWNS[0]), question(TOWNS[1])]
    assert all(item["before"] != item["after"] for item in given)
    assert states(run) == ["starting", "running", "succeeded"]


def test_generate_answers_the_prompts_of_the_run(make_run: MakeRun, trained: Path) -> None:
    run = make_run(
        kind="generate",
        adapter_path=str(trained / "adapter"),
        dataset_path=None,
        evaluation=schema.EvaluationSettings(prompts=[question(TOWNS[2])], max_new_tokens=24),
    )
    assert finetune("generate", run) == 0
    (line,) = (run / "answers.jsonl").read_text().splitlines()
    assert "famous" in json.loads(line)["after"]


def test_an_adapter_that_is_not_there_is_unavailable(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(kind="evaluate", adapter_path=str(tmp_path / "nowhere"))
    assert finetune("evaluate", run) == schema.EXIT_UNAVAILABLE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-304"
