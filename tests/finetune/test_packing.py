"""Packed batches and frozen layers: less work, the same losses; where not, padded and said."""

from __future__ import annotations

from array import array
from pathlib import Path
from types import SimpleNamespace
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


def test_the_first_step_waits_for_its_own_neighbours_alone(
    make_run: MakeRun, uneven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What frozen layers make of an example is computed when it is first used, and once."""
    from finetune import packing
    from finetune.training import Trainer

    kept: list[int] = []
    keep, step = packing.Packed._keep, Trainer.step
    monkeypatch.setattr(packing, "_KEPT_TOGETHER", 2)
    monkeypatch.setattr(
        packing.Packed, "_keep", lambda self, some: (kept.append(len(some)), keep(self, some))[1]
    )
    steps: list[int] = []

    def counted(self: Trainer, total: int) -> float:
        if not steps:
            kept.clear()  # the proof's own
        loss = step(self, total)
        steps.append(sum(kept))
        return loss

    monkeypatch.setattr(Trainer, "step", counted)
    run = make_run(
        recipe={**UNEVEN, "max_steps": 6, "lora": {"r": 4, "frozen_share": 0.5}},
        dataset_path=str(uneven),
    )
    assert finetune("train", run) == 0
    assert steps[0] < 8
    assert steps[-1] == 8


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


def _adapted(base: Path, dropout: float = 0.0) -> Any:
    """The tiny model with an adapter that is not zero any more."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear")
    model = get_peft_model(plain, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def _feeds(model: Any) -> tuple[Any, Any]:
    """The same model padded, and packed in the quick way."""
    import torch

    from finetune.packing import Packed, Padded

    packed = Packed(model, 0, torch.device("cpu"), batch_size=4)
    packed.speed_up()
    return Padded(model, 0, torch.device("cpu")), packed


def _some(count: int = 4, begin: tuple[int, ...] = (5, 6, 7)) -> list[Example]:
    import random

    chance = random.Random(1)
    rows = [[*begin, *chance.choices(range(8, 200), k=6 + 9 * each)] for each in range(count)]
    return [example(row, len(begin) + 3) for row in rows]


@pytest.mark.parametrize("begin", [(), (5, 6, 7)])
def test_an_example_in_a_row_has_the_loss_it_has_alone(
    tiny_base: Path, begin: tuple[int, ...]
) -> None:
    """What stands before and behind it in the row, and in which order, is not seen."""
    padded, packed = _feeds(_adapted(tiny_base).eval())
    examples = _some(begin=begin)
    for order in (examples, examples[::-1]):
        found = packed.losses(order)[0].split([each.answer_tokens for each in order])
        for each, nats in zip(order, found, strict=True):
            alone = padded.losses([each])[0]
            assert nats.tolist() == pytest.approx(alone[alone != 0].tolist(), rel=1e-4)


def test_gradients_of_packed_rows_are_those_of_padded_ones(tiny_base: Path) -> None:
    """Attention by example, LoRA in one piece and the head in chunks change no derivative."""
    from finetune.quick_lora import unquicken

    model = _adapted(tiny_base)
    padded, packed = _feeds(model)

    def gradients(feed: Any) -> dict[str, Any]:
        model.zero_grad()
        (feed.losses(_some()).sum() / 10).backward()
        return {name: each.grad for name, each in model.named_parameters() if each.requires_grad}

    quick = gradients(packed)
    unquicken(model)  # peft's own arithmetic
    for name, gradient in gradients(padded).items():
        assert (quick[name] - gradient).norm() < 1e-4 * gradient.norm(), name


def test_dropout_in_one_piece_drops_as_many_and_keeps_the_mean(tiny_base: Path) -> None:
    import torch

    model = _adapted(tiny_base, dropout=0.25).train()
    _feeds(model)
    layer = next(each for each in model.modules() if hasattr(each, "lora_A"))
    rows = torch.randn(3, layer.base_layer.in_features)
    with torch.no_grad():
        found = torch.stack([layer(rows) for _ in range(4000)])
        assert found.std(dim=0).max() > 0
        model.eval()
        assert (found.mean(dim=0) - layer(rows)).abs().max() < 0.05


def test_a_step_goes_in_rows_of_a_bounded_size_and_a_lack_of_memory_makes_them_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from finetune import packing

    monkeypatch.setattr(packing, "PACKED_TOKENS", {"cpu": 100})
    model = SimpleNamespace(dtype=torch.bfloat16)
    feed = packing.Packed(model, 0, torch.device("cpu"), batch_size=4)
    lengths = [90, 10, 40, 50, 130, 20, 30, 60]
    for size, most in ((4, 100), (2, 50)):
        rows = feed.parts(range(len(lengths)), size, lambda place: lengths[place])
        assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
        assert all(len(row) == 1 or sum(lengths[place] for place in row) <= most for row in rows), (
            rows
        )
        assert len(rows) <= 2 * sum(lengths) / most


def test_frozen_weights_are_halved_where_asked_and_the_losses_hardly_move(tiny_base: Path) -> None:
    import torch

    from finetune.quick_lora import halve

    model = _adapted(tiny_base).eval()
    _, packed = _feeds(model)
    with torch.no_grad():
        whole = float(packed.losses(_some()).sum())
        halve(model)
        half = float(packed.losses(_some()).sum())
    assert half == pytest.approx(whole, rel=0.03)
    assert half != whole
    kinds = {each.requires_grad: each.dtype for each in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_a_training_without_quantisation_leaves_bitsandbytes_out(tmp_path: Path) -> None:
    from finetune.speed import needs_bitsandbytes

    def needed(recipe: dict[str, Any], base: str) -> bool:
        spec = schema.RunSpec(job_id="x", base=base, recipe=schema.Recipe.model_validate(recipe))
        return needs_bitsandbytes(spec)

    (tmp_path / "config.json").write_text("{}")
    assert not needed({}, str(tmp_path))
    assert not needed({}, "some.gguf")
    assert needed({"quantization": "nf4"}, str(tmp_path))
    assert needed({"optimizer": "paged_adamw_8bit"}, str(tmp_path))
    (tmp_path / "config.json").write_text('{"quantization_config": {}}')
    assert needed({}, str(tmp_path))
    assert needed({}, "org/model")  # what the hub has is not known before


def test_short_attention_in_bfloat16_is_that_of_torch() -> None:
    import torch

    from finetune import attention

    torch.manual_seed(0)
    plain = [torch.randn(1, 3, 20, 8) for _ in range(4)]

    def found(dtype: torch.dtype) -> list[torch.Tensor]:
        *inputs, gradient = [each.to(dtype).requires_grad_() for each in plain]
        output = attention._causal(inputs, 0, 20, None)
        output.backward(gradient.detach().transpose(1, 2))
        return [output.detach(), *(each.grad for each in inputs if each.grad is not None)]

    for short, exact in zip(found(torch.bfloat16), found(torch.float32), strict=True):
        assert (short - exact).norm() < 0.02 * exact.norm()


def test_a_validation_of_a_packed_training_has_the_losses_of_any_other(tiny_base: Path) -> None:
    import torch

    from finetune.scoring import score

    model = _adapted(tiny_base)
    base: Any = SimpleNamespace(
        tokenizer=SimpleNamespace(pad_token_id=0), device=torch.device("cpu")
    )
    before = score(base, model, _some(), lambda _: None)
    _feeds(model)
    after = score(base, model, _some(), lambda _: None)
    assert [each.nats for each in after] == pytest.approx([each.nats for each in before], rel=1e-4)
    assert [each.tokens for each in after] == [each.tokens for each in before]


def test_long_examples_are_scored_fewer_at_once() -> None:
    from finetune.scoring import _together

    assert _together([10] * 8) == 8
    assert _together([100, 200, 300, 400]) == 3
    assert _together([2000, 2000]) == 1


@pytest.mark.parametrize("bounds", [[0, 5, 6, 20], [3, 7, 20], [0, 20]])
def test_a_gpus_way_of_packed_attention_is_the_processors(bounds: list[int]) -> None:
    """One call for all examples, filled up to the longest: the same values, the same gradients."""
    import torch

    from finetune import attention

    module = torch.nn.Module()
    inputs = [torch.randn(1, 3, bounds[-1], 8, requires_grad=True) for _each in range(3)]
    one_by_one, _none = attention.packed_attention(module, *inputs, None, packed_bounds=bounds)
    gradient = torch.randn_like(one_by_one)
    expected = torch.autograd.grad(one_by_one, inputs, gradient)

    together = attention._side_by_side(inputs, tuple(bounds), None)

    torch.testing.assert_close(together, one_by_one)
    torch.testing.assert_close(torch.autograd.grad(together, inputs, gradient), expected)
