"""The recipes that come along: each is whole, says how it is run, and trains."""

from __future__ import annotations

import pytest

from finetune import schema
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune

NAMES = schema.recipe_names()


def test_the_recipes_of_the_owners_documents_are_there() -> None:
    named = {"lora", "constitutional", "persona-small", "persona-large", "small", "middle", "large"}
    assert named | {"default", "demo"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_opens_with_the_command_that_runs_it(name: str) -> None:
    first = (schema.RECIPES_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# python -m finetune train RUN_FOLDER")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_one_step_on_this_machine(make_run: MakeRun, name: str) -> None:
    recipe = schema.load_recipe(name)
    small = {"try_one_step": True, "rehearsal": None, "base_pull": 0, "sequence_length": 256}
    run = make_run(recipe={**recipe.model_dump(), **small})
    assert finetune("train", run) == 0
    (result,) = (event.data for event in events(run, "result"))
    assert result["train_loss"] > 0


def test_the_adaptive_training_is_as_its_document_says() -> None:
    found = schema.load_recipe("lora")
    assert (found.lora.r, found.lora.alpha, found.lora.dropout) == (16, 16, 0.05)
    assert found.lora.target_modules == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (found.epochs, found.learning_rate, found.sequence_length) == (2, 2e-4, 1024)
    assert (found.batch_size, found.gradient_accumulation) == (2, 8)
    assert (found.save_steps, found.save_total_limit, found.logging_steps) == (200, 2, 20)
    assert (found.quantization, found.optimizer) == ("auto", "auto")
    assert found.prompt_form == "alpaca"


def test_the_constitutional_training_is_as_its_document_says() -> None:
    found = schema.load_recipe("constitutional")
    assert (found.lora.r, found.lora.alpha, found.lora.dropout) == (64, 128, 0)
    assert len(found.lora.target_modules) == 7
    assert (found.epochs, found.learning_rate, found.sequence_length) == (3, 2e-4, 2048)
    assert (found.batch_size, found.gradient_accumulation) == (2, 4)
    assert (found.scheduler, found.warmup_ratio, found.weight_decay) == ("cosine", 0.03, 0.01)
    assert (found.quantization, found.prompt_form) == ("nf4", "critique")


@pytest.mark.parametrize(("name", "rank"), [("persona-small", 8), ("persona-large", 16)])
def test_the_ranks_of_personas(name: str, rank: int) -> None:
    found = schema.load_recipe(name)
    assert (found.lora.r, found.lora.alpha) == (rank, 16)
