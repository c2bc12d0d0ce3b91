"""Evaluation and answers, before and after."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from finetune import answers, schema
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


def test_answers_given_together_are_those_given_alone(
    make_run: MakeRun, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [question(town) for town in TOWNS] + ["?", "Tell me of kites and plums. " * 5]

    def asked(name: str) -> list[dict[str, Any]]:
        run = make_run(
            name,
            kind="generate",
            adapter_path=str(trained / "adapter"),
            evaluation=schema.EvaluationSettings(prompts=prompts, max_new_tokens=24),
        )
        assert finetune("generate", run) == 0
        return [json.loads(line) for line in (run / "answers.jsonl").read_text().splitlines()]

    together = asked("together")
    monkeypatch.setattr(answers, "MOST_PROMPTS", 1)
    assert together == asked("alone")
    assert [each["prompt"] for each in together] == prompts
    assert len({each["after"] for each in together}) > 4


def graded(*towns: str) -> list[schema.Question]:
    return [
        schema.Question(id=town, question=question(town), accepted=[goods], language="en")
        for town, goods in zip(TOWNS, GOODS, strict=True)
        if town in towns
    ]


def test_questions_are_graded_before_and_after(
    make_run: MakeRun, trained: Path, tmp_path: Path
) -> None:
    path = tmp_path / "general.jsonl"
    path.write_text('{"id": "g", "question": "Say it", "accepted": ["it"]}\n')
    run = make_run(
        kind="evaluate",
        adapter_path=str(trained / "adapter"),
        evaluation=schema.EvaluationSettings(
            prompt_count=0,
            max_new_tokens=24,
            question_sets=[
                schema.QuestionSet(name="learnt", questions=graded(*TOWNS)),
                schema.QuestionSet(name="general", path=str(path), grade="after"),
            ],
        ),
    )
    assert finetune("evaluate", run) == 0
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    learnt, general = report.graded
    assert learnt.before is not None and learnt.before.right == 0
    assert learnt.after is not None and learnt.after.right >= 6
    assert learnt.difference is not None and learnt.difference.low > 0
    assert general.before is None and general.after is not None and general.after.total == 1
    assert report.graded_answers[0].after == answer(TOWNS[0], GOODS[0])
    assert report.graded_answers[0].after_right is True


def test_an_answer_ends_once_it_is_answered(make_run: MakeRun, trained: Path) -> None:
    run = make_run(
        kind="evaluate",
        adapter_path=str(trained / "adapter"),
        evaluation=schema.EvaluationSettings(
            prompt_count=0,
            max_new_tokens=24,
            question_sets=[
                schema.QuestionSet(name="whole", questions=graded(TOWNS[0])),
                schema.QuestionSet(
                    name="short",
                    stop="answered",
                    questions=[
                        schema.Question(id="1", question=question(TOWNS[0]), accepted=["famous"])
                    ],
                ),
            ],
        ),
    )
    assert finetune("evaluate", run) == 0
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    whole, short = (each.after or "" for each in report.graded_answers)
    assert whole.startswith(short) and "famous" in short and len(short) < len(whole)


def test_an_evaluation_that_was_cut_off_goes_on_where_it_was(
    make_run: MakeRun, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_PROMPTS", 2)
    settings = schema.EvaluationSettings(
        prompt_count=2,
        max_new_tokens=24,
        question_sets=[schema.QuestionSet(name="learnt", questions=graded(*TOWNS))],
    )
    more: dict[str, Any] = {"adapter_path": str(trained / "adapter"), "evaluation": settings}
    whole = make_run("whole", kind="evaluate", **more)
    assert finetune("evaluate", whole) == 0

    class KilledError(BaseException):
        """As if the process had ended here: nothing more is written."""

    def reply_to(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 4:
            raise KilledError
        return real(*given)

    calls: list[Any] = []
    real = answers.reply_to
    monkeypatch.setattr(answers, "reply_to", reply_to)
    run = make_run("cut", kind="evaluate", **more)
    with pytest.raises(KilledError):
        finetune("evaluate", run)
    kept = [event.data["index"] for event in events(run, "answer")]
    assert kept
    assert finetune("evaluate", run) == 0
    given = [event.data["index"] for event in events(run, "answer")]
    assert given[: len(kept)] == kept
    assert sorted(given) == list(range(1, 11))
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    assert report == schema.read_document(whole / "evaluation.json", schema.EvaluationReport)


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
