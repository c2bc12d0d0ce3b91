"""Preference pairs: the loss is that of the paper, and a training tells the answers apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune import schema
from finetune.examples import Pair, load_examples
from finetune.objective import BatchLoss
from finetune.packing import Padded
from finetune.preference import Preference, figures, log_probabilities
from finetune.templates import set_template
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest
from tests.finetune.test_resume import ask, when_step
from tests.finetune.tiny_model import TOWNS, answer, pairs, question, write_lines

DPO = {"method": "dpo", "max_steps": 12, "dpo": {"beta": 0.1}, "learning_rate": 5e-3}


def pair(town: str, goods: str) -> dict[str, Any]:
    """A canonical line: the town's own goods against salt; answers of different lengths."""
    return {
        "messages": [{"role": "user", "content": question(town)}],
        "chosen": [{"role": "assistant", "content": answer(town, goods)}],
        "rejected": [{"role": "assistant", "content": "Salt, and nothing else but salt, I guess."}],
    }


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    rows = [pair(*each) for each in pairs()]
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "valid.jsonl", rows[:3])
    return folder


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> Any:
    """The tiny base under an adapter that changes something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    tuned = get_peft_model(base, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    tuned.eval()
    return tuned


@pytest.fixture(scope="module")
def examples(tiny_base: Path, preferences: Path) -> list[Pair]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    set_template(tokenizer, "chat_template")
    return load_examples(tokenizer, preferences / "train.jsonl", 128, takes="dpo").pairs


def plain_log_probability(model: Any, example: Any) -> float:
    """Sum of log softmax at the answer's tokens, one chat alone, nothing left out or padded."""
    ids = torch.tensor([list(example.ids)])
    with torch.no_grad():
        logs = model(input_ids=ids).logits[0].double().log_softmax(-1)
    learnt = [place for place in range(1, len(example.ids)) if example.mask[place]]
    return sum(float(logs[place - 1, example.ids[place]]) for place in learnt)


def plain_loss(policy: tuple[float, float], reference: tuple[float, float], beta: float) -> float:
    """Equation 7 of the paper for one pair, term by term."""
    ratio_chosen = policy[0] - reference[0]
    ratio_rejected = policy[1] - reference[1]
    return -math.log(1 / (1 + math.exp(-beta * (ratio_chosen - ratio_rejected))))


def loss_of(model: Any, some: list[Pair], beta: float) -> BatchLoss:
    return Preference(beta).loss(Padded(model, 2, torch.device("cpu")), some)


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_loss_and_rewards_are_those_of_the_papers_formula(
    model: Any, examples: list[Pair], beta: float
) -> None:
    some = examples[:3]
    policy = [tuple(plain_log_probability(model, x) for x in (p.chosen, p.rejected)) for p in some]
    with model.disable_adapter():
        reference = [
            tuple(plain_log_probability(model, x) for x in (p.chosen, p.rejected)) for p in some
        ]
    expected = [plain_loss(p, r, beta) for p, r in zip(policy, reference, strict=True)]
    rewards = [
        [beta * (p[side] - r[side]) for p, r in zip(policy, reference, strict=True)]
        for side in (0, 1)
    ]
    found = loss_of(model, some, beta)
    assert float(found.whole) == pytest.approx(sum(expected), rel=1e-4)
    more = {name: float(value) for name, value in found.more.items()}
    assert more == pytest.approx(
        {
            "reward_chosen": sum(rewards[0]),
            "reward_rejected": sum(rewards[1]),
            "reward_margin": sum(rewards[0]) - sum(rewards[1]),
            "reward_accuracy": sum(a > b for a, b in zip(*rewards, strict=True)),
        },
        rel=1e-3,
        abs=1e-4,
    )


def test_log_probabilities_are_those_of_the_answers_alone(model: Any, examples: list[Pair]) -> None:
    found = log_probabilities(Padded(model, 2, torch.device("cpu")), examples)
    for pair_, (chosen, rejected) in zip(examples, found.tolist(), strict=True):
        assert chosen == pytest.approx(plain_log_probability(model, pair_.chosen), rel=1e-4)
        assert rejected == pytest.approx(plain_log_probability(model, pair_.rejected), rel=1e-4)


def test_the_gradient_goes_the_way_of_the_formula() -> None:
    policy = torch.tensor([[-10.0, -12.0]], requires_grad=True)
    figures(policy, torch.tensor([[-11.0, -11.0]]), 0.5).loss.sum().backward()
    weight = 0.5 * (1 - 1 / (1 + math.exp(-0.5 * 2)))  # beta * sigmoid(-margin)
    assert policy.grad is not None
    assert policy.grad[0].tolist() == pytest.approx([-weight, weight])


def test_the_reference_is_computed_once_and_is_no_matter_of_the_batch(
    model: Any, examples: list[Pair]
) -> None:
    feed = Padded(model, 2, torch.device("cpu"))
    together, alone = Preference(0.1), Preference(0.1)
    together.loss(feed, examples)
    for each in examples:
        alone.loss(feed, [each])
    assert together._reference == alone._reference
    with model.disable_adapter():  # as if the adapter had become another: nothing is asked anew
        before = dict(together._reference)
        together.loss(feed, examples)
    assert together._reference == before


@pytest.fixture(scope="module")
def preferred(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, preferences: Path) -> Path:
    """A training on pairs; not to be written to."""
    from tests.finetune.helpers import write_run

    folder = tmp_path_factory.mktemp("preferred") / "run"
    write_run(folder, tiny_base, preferences, {**DPO, "eval_steps": 4, "packing": True})
    assert finetune("train", folder) == 0
    return folder


def test_a_training_begins_undecided_and_the_margin_grows(preferred: Path) -> None:
    told = [event.data for event in events(preferred, "metric") if "reward_margin" in event.data]
    assert told[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert told[0]["reward_margin"] == pytest.approx(0, abs=1e-3)
    assert told[-1]["reward_margin"] > 1
    assert told[-1]["reward_accuracy"] == 1
    assert told[-1]["loss"] < 0.3
    assert told[-1]["reward_chosen"] > told[-1]["reward_rejected"]


def test_held_out_pairs_are_looked_at(preferred: Path) -> None:
    looks = [event.data for event in events(preferred, "metric") if "eval_loss" in event.data]
    assert [look["step"] for look in looks] == [4, 8, 12]
    assert looks[0]["eval_reward_margin"] > 1
    assert looks[-1]["eval_reward_accuracy"] == 1
    assert manifest(preferred).eval_loss == looks[-1]["eval_loss"]
    assert manifest(preferred).examples == len(TOWNS)


def test_packing_is_not_done_and_that_is_said(preferred: Path) -> None:
    assert [event.data["reason"] for event in events(preferred, "warning")] == ["not_packed"]
    assert manifest(preferred).packed is False


def test_a_resume_has_the_losses_of_a_run_that_was_not_stopped(
    make_run: MakeRun, preferences: Path
) -> None:
    recipe = {**DPO, "max_steps": 30, "batch_size": 2, "gradient_accumulation": 2}
    run = make_run(recipe=recipe, dataset_path=str(preferences))
    other = make_run("other", recipe=recipe, dataset_path=str(preferences))
    when_step(run, 5, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert max(losses(run)) < 30
    assert finetune("train", run) == 0
    assert finetune("train", other) == 0
    assert losses(run) == losses(other)
    assert manifest(run).eval_loss == manifest(other).eval_loss


def test_an_evaluation_on_pairs_scores_the_chosen_answers(
    make_run: MakeRun, preferred: Path, preferences: Path
) -> None:
    run = make_run(
        kind="evaluate",
        adapter_path=str(preferred / "adapter"),
        dataset_path=str(preferences),
        evaluation=schema.EvaluationSettings(prompt_count=2, max_new_tokens=4, text_sample=1),
    )
    assert finetune("evaluate", run) == 0
    report = schema.read_document(run / "evaluation.json", schema.EvaluationReport)
    assert report.examples == 3
    assert [each.prompt for each in report.answers] == [question(town) for town in TOWNS[:2]]
    assert report.after is not None
    assert report.after.loss < report.before.loss
    assert report.preferences is not None
    assert (report.preferences.accuracy.right, report.preferences.pairs) == (3, 3)
    # The training's last look was at the same pairs through the same adapter.
    seen = [event.data for event in events(preferred, "metric")][-1]["eval_reward_margin"]
    assert report.preferences.margin == pytest.approx(seen, rel=1e-3)
    assert report.samples[0].reference in {answer(*each) for each in pairs()}


def test_pairs_and_rehearsal_do_not_go_together(make_run: MakeRun, preferences: Path) -> None:
    run = make_run(
        recipe={**DPO, "rehearsal": "samples/rehearsal.jsonl"}, dataset_path=str(preferences)
    )
    assert finetune("train", run) == schema.EXIT_USAGE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-214"
