"""Exports: a GGUF file that llama.cpp answers by as transformers does, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune import schema
from finetune.llama_cpp import ask
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import finetune, manifest
from tests.finetune.tiny_model import pairs, question

xllamacpp = pytest.importorskip("xllamacpp")


def exported(folder: Path, name: str = "model") -> Path:
    return folder / schema.EXPORTED_FOLDER / f"{name}.gguf"


def prompt_of(folder: Path, town: str) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": question(town)}]
    return list(tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])


def greedy(model: Any, prompts: list[list[int]], count: int) -> dict[str, Any]:
    """What transformers says, as `ask` tells it."""
    import torch

    told: dict[str, Any] = {"ids": [], "logprobs": []}
    for prompt in prompts:
        ids, found, logprobs = list(prompt), [], []
        for _each in range(count):
            with torch.no_grad():
                last = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            token = int(last.argmax())
            ids.append(token)
            found.append(token)
            logprobs.append(float(last[token]))
            if token == model.config.eos_token_id:
                break
        told["ids"].append(found)
        told["logprobs"].append(logprobs)
    return told


def loaded(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory, trained: Path, tiny_base: Path) -> Path:
    """The merged model in 32 bits."""
    folder = tmp_path_factory.mktemp("merged") / "run"
    folder.mkdir()
    schema.write_run_spec(
        folder,
        schema.RunSpec(
            job_id="ftjob-merge",
            kind="merge",
            base=str(tiny_base),
            adapter_path=str(trained / "adapter"),
            merge=schema.MergeSettings(dtype="float32"),
            threads=1,
        ),
    )
    assert finetune("merge", folder) == 0
    return folder / schema.MERGED_FOLDER


def test_llama_cpp_says_the_same_as_transformers(make_run: MakeRun, merged: Path) -> None:
    run = make_run(kind="export", base=merged, export=schema.ExportSettings(quantisation="f32"))
    assert finetune("export", run) == 0
    prompts = [prompt_of(merged, town) for town, _goods in pairs()[:4]]
    wanted = greedy(loaded(merged), prompts, 24)
    told = ask({"path": str(exported(run)), "prompts": prompts, "count": 24})
    assert told["ids"] == wanted["ids"]
    for found, expected in zip(told["logprobs"], wanted["logprobs"], strict=True):
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def prompts(merged: Path) -> list[list[int]]:
    return [prompt_of(merged, town) for town, _goods in pairs()[:3]]


def test_an_adapter_on_its_base_says_the_same_as_merged(
    make_run: MakeRun, merged: Path, trained: Path, prompts: list[list[int]]
) -> None:
    base = make_run("base", kind="export", export=schema.ExportSettings(quantisation="f32"))
    assert finetune("export", base) == 0
    run = make_run(
        "adapter",
        kind="export",
        adapter_path=str(trained / "adapter"),
        export=schema.ExportSettings(quantisation="f32", name="towns"),
    )
    assert finetune("export", run) == 0
    question = {"path": str(exported(base)), "prompts": prompts, "count": 8}
    told = ask({**question, "adapter": str(exported(run, "towns"))})
    wanted = greedy(loaded(merged), prompts, 8)
    assert told["ids"] == wanted["ids"]
    assert told["logprobs"][0] == pytest.approx(wanted["logprobs"][0], abs=1e-4)
    assert ask(question)["ids"] != wanted["ids"]  # the base alone knows nothing of it


@pytest.mark.parametrize(
    ("quantisation", "most"), [("f16", 0.02), ("bf16", 0.1), ("q8_0", 0.1), ("q4_0", 2.0)]
)
def test_fewer_bits_say_nearly_the_same(
    make_run: MakeRun, merged: Path, prompts: list[list[int]], quantisation: Any, most: float
) -> None:
    run = make_run(
        kind="export", base=merged, export=schema.ExportSettings(quantisation=quantisation)
    )
    assert finetune("export", run) == 0
    told = ask({"path": str(exported(run)), "prompts": prompts, "count": 1})
    wanted = greedy(loaded(merged), prompts, 1)
    for found, expected in zip(told["logprobs"], wanted["logprobs"], strict=True):
        assert found == pytest.approx(expected, abs=most)
    assert manifest(run).exported_quantisation == quantisation
