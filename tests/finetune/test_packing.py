"""Packed batches and frozen layers: less work, the same losses; where not, padded and said."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.examples import Example
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest
from tests.finetune.test_resume import ask, when_step
from tests.finetune.tiny_model import build_tokenizer, chat, pairs, write_lines

#: Examples that differ in length, so that padding would matter.
UNEVEN = {"batch_size": 3, "packing": True}


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of examples of different lengths."""
    folder = tmp_path_factory.mktemp("uneven")
    rows = [
        chat(town, f"{goods} and " * count + goods) for count, (town, goods) in enumerate(pairs())
    ]
    write_lines(folder / "train.jsonl", rows)
    write_lines(folder / "valid.jsonl", rows[:2])
    return folder


def example(ids: list[int], learnt: int) -> Example:
    return Example(1, array("i", ids), bytes([0] * learnt + [1] * (len(ids) - learnt)))


def test_what_all_begin_with_ends_before_the_first_learnt_token() -> None:
    from finetune.packing import shared_start

    assert shared_start([example([1, 2, 3, 4, 5], 3), example([1, 2, 9, 4], 3)]) == 2
    # The token before an answer foretells it, so it stays with its example.
    assert shared_start([example([1, 2, 3, 4, 5], 3), example([1, 2, 3, 7], 3)]) == 2
    assert shared_start([example([1, 2, 3], 1)]) == 0


@pytest.mark.parametrize("frozen", [0.0, 0.5])
def test_a_packed_training_has_the_losses_of_a_padded_one(
    make_run: MakeRun, uneven: Path, frozen: float
) -> None:
    lora = {"r": 4, "dropout": 0.0, "frozen_share": frozen}
    packed = make_run("packed", recipe={**UNEVEN, "lora": lora}, dataset_path=str(uneven))
    padded = make_run(
        "padded", recipe={**UNEVEN, "packing": False, "lora": lora}, dataset_path=str(uneven)
    )
    assert finetune("train", packed) == finetune("train", padded) == 0
    assert losses(packed) == pytest.approx(losses(padded), rel=1e-3)
    assert manifest(packed).eval_loss == pytest.approx(manifest(padded).eval_loss, rel=1e-3)
    assert (manifest(packed).packed, manifest(padded).packed) == (True, False)
    assert manifest(packed).kept_examples == (8 if frozen else 0)


def test_frozen_layers_have_no_adapter_nor_has_the_output_head(make_run: MakeRun) -> None:
    from safetensors.torch import load_file

    run = make_run(recipe={"max_steps": 1, "lora": {"r": 4, "frozen_share": 0.5}})
    assert finetune("train", run) == 0
    names = load_file(run / "adapter" / "adapter_model.safetensors")
    assert {name.split(".layers.")[1].split(".")[0] for name in names} == {"2", "3"}
    assert not any("lm_head" in name for name in names)
    assert {name.split(".")[-3] for name in names} == {
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    }


def test_a_packed_training_resumes_to_the_same_result(make_run: MakeRun, uneven: Path) -> None:
    recipe = {**UNEVEN, "max_steps": 60, "save_steps": 8, "lora": {"r": 4, "frozen_share": 0.5}}
    run = make_run(recipe=recipe, dataset_path=str(uneven))
    whole = make_run("whole", recipe=recipe, dataset_path=str(uneven))
    when_step(run, 11, lambda: ask(run, "pause"))
    assert finetune("train", run) == schema.EXIT_STOPPED
    assert finetune("train", run) == finetune("train", whole) == 0
    assert losses(run) == pytest.approx(losses(whole), rel=1e-6)
    assert manifest(run).eval_loss == pytest.approx(manifest(whole).eval_loss, rel=1e-6)


def test_a_base_that_cannot_be_packed_is_trained_padded_and_it_is_said(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """Its positions come out of the attention mask, which must be plain for that."""
    base = _bloom(tmp_path / "bloom")
    run = make_run(recipe={**UNEVEN, "max_steps": 2}, base=str(base))
    assert finetune("train", run) == 0
    reasons = [event.data["reason"] for event in events(run, "warning")]
    assert reasons == ["plain_template", "not_packed"]
    assert manifest(run).packed is False


def _bloom(folder: Path) -> Path:
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer: Any = build_tokenizer()
    tokenizer.chat_template = None
    config = BloomConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    BloomForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
