"""The ways to train: kinds of adapters, precision, optimizers, orders, noise."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from finetune import schema
from finetune.counters import Clock
from finetune.looks import Validation, looks_left
from finetune.neftune import noise_on
from finetune.order import Order
from finetune.session import Session
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest, write_run
from tests.finetune.tiny_model import TOWNS, chat, pairs, write_lines

#: No dropout, so that two ways to the same step can be compared.
PLAIN: dict[str, Any] = {"max_steps": 6, "save_steps": 100, "lora": {"r": 4, "dropout": 0.0}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, dataset: Path) -> Path:
    """The plain training that others are compared with."""
    folder = write_run(tmp_path_factory.mktemp("plain") / "run", tiny_base, dataset, PLAIN)
    assert finetune("train", folder) == 0
    return folder


def warnings(run: Path) -> list[str]:
    return [event.data["reason"] for event in events(run, "warning")]


def failed(run: Path) -> dict[str, Any]:
    data = events(run, "state")[-1].data
    assert data["state"] == "failed"
    return data


def adapter_config(run: Path) -> dict[str, Any]:
    import json

    found: dict[str, Any] = json.loads((run / "adapter" / "adapter_config.json").read_text())
    return found


def test_dora_trains_the_magnitudes_too(make_run: MakeRun, plain: Path) -> None:
    lora = {"r": 4, "dropout": 0.0, "weight_decomposed": True}
    run = make_run(recipe={**PLAIN, "lora": lora})
    assert finetune("train", run) == 0
    assert adapter_config(run)["use_dora"] is True
    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in weights)
    assert losses(run)[1] == pytest.approx(losses(plain)[1], rel=1e-4)  # it begins as the base
    assert losses(run)[6] < losses(run)[1]


def test_rank_stabilised_adapters_weigh_more(make_run: MakeRun, plain: Path) -> None:
    lora = {"r": 4, "dropout": 0.0, "rank_stabilized": True}
    run = make_run(recipe={**PLAIN, "lora": lora})
    assert finetune("train", run) == 0
    assert adapter_config(run)["use_rslora"] is True
    assert losses(run)[1] == losses(plain)[1]
    assert losses(run)[2] != losses(plain)[2]


def test_target_modules_by_name(make_run: MakeRun) -> None:
    lora = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
    run = make_run(recipe={**PLAIN, "lora": lora})
    assert finetune("train", run) == 0
    weights = load_file(run / "adapter" / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in weights} == {"q_proj", "v_proj"}


def test_unknown_target_modules_are_refused_with_those_there_are(make_run: MakeRun) -> None:
    run = make_run(recipe={"lora": {"target_modules": ["q_proj", "c_attn"]}})
    assert finetune("train", run) == schema.EXIT_USAGE
    said = failed(run)
    assert said["code"] == "FINETUNE-112"
    assert "c_attn" in said["why"] and "q_proj" not in said["why"].split("There are")[0]
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in said["why"]


def test_nf4_holds_the_frozen_base_in_four_bits(make_run: MakeRun, plain: Path) -> None:
    run = make_run(recipe={**PLAIN, "quantization": "nf4", "eval_steps": 2})
    assert finetune("train", run) == 0
    assert manifest(run).quantization == "nf4"
    assert losses(run)[1] != losses(plain)[1]
    assert losses(run)[1] == pytest.approx(losses(plain)[1], rel=0.1)
    assert losses(run)[6] < losses(run)[1]


def test_looking_at_a_quantised_model_does_not_change_what_is_learnt(make_run: MakeRun) -> None:
    often = make_run("often", recipe={**PLAIN, "quantization": "nf4", "eval_steps": 1})
    seldom = make_run("seldom", recipe={**PLAIN, "quantization": "nf4", "eval_steps": 100})
    assert finetune("train", often) == finetune("train", seldom) == 0
    assert losses(often) == losses(seldom)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_the_paged_optimizer_is_replaced_without_a_gpu_and_that_is_said(
    make_run: MakeRun, plain: Path
) -> None:
    run = make_run(recipe={**PLAIN, "optimizer": "paged_adamw_8bit"})
    assert finetune("train", run) == 0
    assert warnings(run) == ["optimizer_replaced"]
    assert manifest(run).optimizer == "adamw"
    assert losses(run) == losses(plain)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without a GPU")
def test_auto_means_plain_32_bits_without_a_gpu(make_run: MakeRun, plain: Path) -> None:
    run = make_run(recipe={**PLAIN, "quantization": "auto", "optimizer": "auto"})
    assert finetune("train", run) == 0
    found = manifest(run)
    assert (found.precision, found.quantization, found.optimizer) == ("fp32", "none", "adamw")
    assert warnings(run) == []
    assert losses(run) == losses(plain)


def test_bf16_is_the_same_training_with_fewer_digits(make_run: MakeRun, plain: Path) -> None:
    run = make_run(recipe={**PLAIN, "precision": "bf16"})
    assert finetune("train", run) == 0
    assert manifest(run).precision == "bf16"
    assert losses(run) != losses(plain)
    assert losses(run) == pytest.approx(losses(plain), rel=0.15)


def test_activation_checkpointing_gives_the_same_losses(make_run: MakeRun, plain: Path) -> None:
    run = make_run(recipe={**PLAIN, "activation_checkpointing": True})
    assert finetune("train", run) == 0
    assert losses(run) == pytest.approx(losses(plain), rel=1e-6)


@pytest.mark.parametrize("split", [(1, 4), (2, 2), (3, 2)], ids=str)
def test_a_step_is_a_mean_over_its_trained_tokens_however_it_is_split(
    make_run: MakeRun, tmp_path: Path, split: tuple[int, int]
) -> None:
    """Answers of very different lengths: a mean of micro-batches' means would differ."""
    rows = [
        chat(town, goods if index % 2 else f"{goods}, {' and '.join(TOWNS)}")
        for index, (town, goods) in enumerate(pairs())
    ]
    write_lines(tmp_path / "uneven" / "train.jsonl", rows)
    write_lines(tmp_path / "uneven" / "valid.jsonl", rows[:2])
    found = []
    size, times = split
    for name, batch_size, accumulation in (("split", size, times), ("whole", size * times, 1)):
        recipe = {
            **PLAIN,
            "batch_size": batch_size,
            "gradient_accumulation": accumulation,
            "max_steps": 3,
        }
        run = make_run(name, recipe=recipe, dataset_path=str(tmp_path / "uneven"))
        assert finetune("train", run) == 0
        found.append(losses(run))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_noise_on_embeddings_is_bounded_by_each_examples_own_length() -> None:
    model = torch.nn.Module()
    model.embed = torch.nn.Embedding(9, 16)  # type: ignore[assignment]
    model.get_input_embeddings = lambda: model.embed  # type: ignore[assignment]
    ids = torch.zeros((2, 50), dtype=torch.long)
    clean = model.embed(ids)
    torch.manual_seed(1)
    with noise_on(model, 5.0, [50, 2]):
        noise = (model.embed(ids) - clean).abs()
    for row, length in enumerate((50, 2)):
        bound = 5.0 / (length * 16) ** 0.5
        assert 0.9 * bound < float(noise[row].detach().max()) <= bound * 1.0001
    assert torch.equal(model.embed(ids), clean)


def test_noise_is_for_training_alone(make_run: MakeRun, plain: Path) -> None:
    noisy = {**PLAIN, "neftune_alpha": 5, "learning_rate": 1e-12, "eval_steps": 3}
    run = make_run(recipe=noisy)
    quiet = make_run("quiet", recipe={**noisy, "neftune_alpha": None})
    assert finetune("train", run) == finetune("train", quiet) == 0
    assert losses(run)[1] != losses(quiet)[1]
    assert manifest(run).eval_loss == pytest.approx(manifest(quiet).eval_loss, rel=1e-6)


def grouped(count: int = 1000, size: int = 4) -> Order:
    lengths = [random.Random(number).randint(5, 500) for number in range(count)]
    recipe = schema.Recipe(batch_size=size, gradient_accumulation=2, length_grouping=True)
    return Order(recipe, lengths)


def padding(order: Order) -> int:
    """Padded tokens of an epoch."""
    size = order.recipe.batch_size
    total = 0
    for step in range(125):
        numbers = order.of_step(step)
        for start in range(0, len(numbers), size):
            lengths = [order.lengths[number] for number in numbers[start : start + size]]
            total += sum(max(lengths) - each for each in lengths)
    return total


def test_length_grouping_takes_each_example_once_an_epoch_in_another_order() -> None:
    order = grouped()
    epochs = [[n for step in range(125) for n in order.of_step(step + 125 * e)] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(1000))
    assert epochs[0] != epochs[1]
    again = grouped()
    assert [n for step in range(125) for n in again.of_step(step)] == epochs[0]


def test_length_grouping_pads_far_less_and_does_not_sort_the_epoch() -> None:
    order = grouped()
    plain = Order(order.recipe.model_copy(update={"length_grouping": False}), order.lengths)
    assert padding(order) < padding(plain) / 10
    means = [sum(order.lengths[n] for n in order.of_step(step)) for step in range(125)]
    rises = sum(here < there for here, there in itertools.pairwise(means))
    assert 40 < rises < 85


def test_a_short_last_batch_comes_last() -> None:
    order = grouped(count=1001)
    sizes = [len(order.of_step(step)) for step in range(126)]
    assert sizes == [8] * 125 + [1]


def test_one_step_is_tried_and_nothing_is_kept(make_run: MakeRun) -> None:
    hook = {"command": ["false"], "name": "judge"}
    run = make_run(recipe={"try_one_step": True, "hooks": [hook], "keep_best": True})
    assert finetune("train", run) == 0
    (result,) = (event.data for event in events(run, "result"))
    assert result["try_one_step"] is True
    assert result["step_seconds"] > 0
    assert result["memory_bytes"] > 50e6
    assert result["train_loss"] > 0 and result["eval_loss"] > 0
    assert not (run / "adapter").exists() and not (run / "manifest.json").exists()
    assert list((run / "checkpoints").iterdir()) == []
    assert warnings(run) == []


def test_metrics_carry_the_signs_to_watch(plain: Path) -> None:
    for event in events(plain, "metric"):
        signs = {"step", "loss", "learning_rate", "tokens_per_second", "memory_bytes", "grad_norm"}
        assert signs <= event.data.keys()
    progress = [e.data for e in events(plain, "progress") if e.data["phase"] == "train"]
    assert all("seconds_left" in data for data in progress)


def test_the_time_left_counts_the_looks_to_come_from_the_first_step_on() -> None:
    each_third, each_epoch = Validation([None] * 8, 3), Validation([None] * 8, None)
    assert [looks_left(each_third, step, 4, 10) for step in (0, 3, 9, 10)] == [4, 3, 1, 0]
    assert [looks_left(each_epoch, step, 4, 8) for step in (0, 4, 8)] == [2, 1, 0]
    recipe = schema.Recipe(batch_size=2, gradient_accumulation=2)
    clock = Clock()
    clock.step_seconds = [1.0, 1.0]
    session: Any = SimpleNamespace(
        context=SimpleNamespace(spec=SimpleNamespace(recipe=recipe)),
        clock=clock,
        looks=[each_third],
        total=10,
        way=SimpleNamespace(feed=SimpleNamespace(once_left=0.0)),
        _look_seconds={},
        _epoch_steps=4,
    )
    session._bound = lambda look: Session._bound(session, look)
    assert Session._seconds_left(session, 4) == 6 * 1.0 + 3 * 2.0
    session._look_seconds[id(each_third)] = 20.0
    assert Session._seconds_left(session, 4) == 6 * 1.0 + 3 * 20.0
    session.way.feed.once_left = 5.0
    assert Session._seconds_left(session, 4) == 6 * 1.0 + 3 * 20.0 + 5.0


def test_validation_comes_each_eval_steps_else_at_each_epochs_end(make_run: MakeRun) -> None:
    def looked(run: Path) -> list[int]:
        return [e.data["step"] for e in events(run, "metric") if "eval_loss" in e.data]

    stepped = make_run("stepped", recipe={"max_steps": 10, "eval_steps": 3})
    epochs = make_run("epochs", recipe={"max_steps": 10})  # 16 examples, 4 at once
    assert finetune("train", stepped) == finetune("train", epochs) == 0
    assert looked(stepped) == [3, 6, 9, 10]
    assert looked(epochs) == [4, 8, 10]


def test_looks_change_nothing_of_the_training(make_run: MakeRun) -> None:
    recipe = {"max_steps": 6, "lora": {"dropout": 0.2}}
    often = make_run("often", recipe={**recipe, "eval_steps": 1})
    seldom = make_run("seldom", recipe={**recipe, "eval_steps": 6})
    assert finetune("train", often) == finetune("train", seldom) == 0
    assert losses(often) == losses(seldom)
