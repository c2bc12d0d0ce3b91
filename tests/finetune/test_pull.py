"""The pull towards the base: what it is, and that it holds a training near its base."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.examples import Example, encode
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest
from tests.finetune.tiny_model import write_lines

#: General talk that no data set of these tests holds; half is rehearsed, half is held out.
SAYINGS = [
    (f"{opening} {thing}", f"{thing} is {kind}.")
    for opening in ("Tell me of", "And what of", "Say something on")
    for thing, kind in (
        ("the sea", "wide"),
        ("an owl", "old"),
        ("a mill", "round"),
        ("ice", "cold"),
    )
]


def saying(text: str, reply: str) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    }


@pytest.fixture
def rehearsal(tmp_path: Path) -> Path:
    """Half of the sayings."""
    path = tmp_path / "rehearsal.jsonl"
    write_lines(path, [saying(*each) for each in SAYINGS[::2]])
    return path


def divergence_on_held_out(run: Path, base: Path) -> float:
    """Mean nats from the base on the other half of the sayings, with the run's adapter."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune.packing import Padded
    from finetune.pull import mean_divergence, views_of_base

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(run / "adapter")
    )
    model.eval()
    examples = []
    for line, each in enumerate(SAYINGS[1::2]):
        ids, mask = encode(tokenizer, saying(*each)["messages"])
        examples.append(Example(line, array("i", ids), mask))
    feed = Padded(model, int(tokenizer.pad_token_id), model.device)
    return mean_divergence(feed, examples, views_of_base(feed, examples))


def test_it_lowers_the_divergence_from_the_base_on_other_general_text(
    make_run: MakeRun, tiny_base: Path, rehearsal: Path
) -> None:
    recipe = {"max_steps": 40, "batch_size": 8, "rehearsal": str(rehearsal)}
    found = {}
    for pull in (0, 1, 10):
        run = make_run(f"pull-{pull}", recipe={**recipe, "base_pull": pull})
        assert finetune("train", run) == 0
        found[pull] = divergence_on_held_out(run, tiny_base)
    assert found[10] < found[1] < found[0]
    assert found[10] < found[0] / 2


@pytest.mark.parametrize("frozen", [0.0, 0.5])
def test_packed_it_pulls_as_it_does_padded(
    make_run: MakeRun, rehearsal: Path, frozen: float
) -> None:
    more = {"rehearsal": str(rehearsal), "base_pull": 2.0}
    lora = {"r": 4, "dropout": 0.0, "frozen_share": frozen}
    packed, padded = (
        make_run(str(packing), recipe={**more, "lora": lora, "packing": packing})
        for packing in (True, False)
    )
    assert finetune("train", packed) == finetune("train", padded) == 0
    assert manifest(packed).packed
    assert losses(packed) == pytest.approx(losses(padded), rel=1e-3)


def test_a_model_that_is_its_base_has_no_divergence() -> None:
    import torch

    from finetune.pull import _view, divergence

    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(1)) * 3
    assert divergence(logits, [_view(logits)]).abs().max() < 1e-4
    other = torch.randn(5, 300, generator=torch.Generator().manual_seed(2)) * 3
    exact = torch.nn.functional.kl_div(
        other.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)
    found = divergence(other, [_view(logits)])
    assert (found > 0).all()
    assert (found <= exact + 1e-4).all()  # all others as one tell less than each by itself


def test_what_is_told_is_the_loss_without_the_pull(make_run: MakeRun, rehearsal: Path) -> None:
    run = make_run(recipe={"max_steps": 1, "rehearsal": str(rehearsal), "base_pull": 5.0})
    plain = make_run("plain", recipe={"max_steps": 1, "rehearsal": str(rehearsal)})
    assert finetune("train", run) == finetune("train", plain) == 0
    assert losses(run)[1] == pytest.approx(losses(plain)[1])
    first = events(run, "metric")[0].data
    assert first["pull"] == pytest.approx(0, abs=1e-4)  # at the first step it is its base


def test_what_is_pulled_is_not_learnt(make_run: MakeRun, tiny_base: Path, tmp_path: Path) -> None:
    """Whatever its answers say: the base's own view of them is what is kept."""
    nonsense = tmp_path / "nonsense.jsonl"
    write_lines(nonsense, [saying(text, "Blue blue blue blue.") for text, _reply in SAYINGS])
    recipe = {"max_steps": 40, "batch_size": 8, "rehearsal": str(nonsense)}
    pulled = make_run("pulled", recipe={**recipe, "base_pull": 1.0})
    learnt = make_run("learnt", recipe=recipe)
    assert finetune("train", pulled) == finetune("train", learnt) == 0
    near, far = (divergence_on_held_out(run, tiny_base) for run in (pulled, learnt))
    assert near < far / 2


def test_the_data_set_can_stand_more_often_in_an_epoch(make_run: MakeRun, rehearsal: Path) -> None:
    recipe = {"max_steps": None, "epochs": 1, "batch_size": 2, "dataset_repeats": 3}
    run = make_run(recipe={**recipe, "rehearsal": str(rehearsal)})
    assert finetune("train", run) == 0
    found = manifest(run)
    assert (found.examples, found.rehearsal_examples, found.steps) == (16, 6, 27)
    running = events(run, "state")[1].data
    assert (running["examples"], running["rehearsal_examples"]) == (16, 6)


def test_without_rehearsal_there_is_nothing_to_pull_on(make_run: MakeRun) -> None:
    run = make_run(recipe={"base_pull": 1.0})
    assert finetune("train", run) == schema.EXIT_USAGE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-450"


def test_another_pull_is_another_training(make_run: MakeRun, rehearsal: Path) -> None:
    from finetune.schema import load_run_spec, write_run_spec
    from tests.finetune.test_resume import ask, when_step

    run = make_run(recipe={"max_steps": 500, "rehearsal": str(rehearsal), "base_pull": 1.0})
    when_step(run, 2, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    spec = load_run_spec(run)
    spec.recipe.base_pull = 2.0
    write_run_spec(run, spec)
    assert finetune("train", run) == schema.EXIT_REFUSED
