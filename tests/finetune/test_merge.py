"""Merging: one plain model in 16 bits that answers as base and adapter did, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from finetune import merge as merging
from finetune import schema
from finetune.files import sha256_of
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest, states
from tests.finetune.tiny_model import answer, pairs, question


def merged(folder: Path) -> Path:
    return folder / schema.MERGED_FOLDER


def answered(folder: Path, text: str) -> str:
    """What a merged model says to a question, loaded as any program would load it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**inputs, max_new_tokens=30, do_sample=False)
    new = output[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_merged_model_knows_what_was_learnt(
    make_run: MakeRun, trained: Path, dtype: str
) -> None:
    run = make_run(
        kind="merge", adapter_path=str(trained / "adapter"), merge=schema.MergeSettings(dtype=dtype)
    )
    assert finetune("merge", run) == 0
    assert answered(merged(run), question(pairs()[0][0])) == answer(*pairs()[0])
    config = json.loads((merged(run) / "config.json").read_text())
    assert config["dtype"] == dtype
    told = events(run, "result")[0].data
    assert told["dtype"] == dtype
    assert 0 <= told["logit_difference"] < (1e-4 if dtype == "float32" else 0.5)


def test_the_manifest_has_every_file_and_the_difference(make_run: MakeRun, trained: Path) -> None:
    run = make_run(kind="merge", adapter_path=str(trained / "adapter"))
    assert finetune("merge", run) == 0
    found = manifest(run)
    names = {path.name for path in merged(run).iterdir()}
    assert set(found.merged_files) == names
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    for name, record in found.merged_files.items():
        path = merged(run) / name
        assert (record.bytes, record.sha256) == (path.stat().st_size, sha256_of(path))
        assert path.stat().st_mode & 0o077 == 0  # weights may have learnt personal data
    assert found.logit_difference is not None
    assert found.merged_dtype == "bfloat16"


def test_a_server_ends_answers_where_the_training_did(make_run: MakeRun, trained: Path) -> None:
    run = make_run(kind="merge", adapter_path=str(trained / "adapter"))
    assert finetune("merge", run) == 0
    config = json.loads((merged(run) / "generation_config.json").read_text())
    assert config["eos_token_id"]  # a server ends answers by it
    assert config["do_sample"]  # and counts a client's temperature by that


def test_a_merge_that_went_wrong_leaves_nothing(
    make_run: MakeRun, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(kind="merge", adapter_path=str(trained / "adapter"))
    true_logits = merging._logits
    monkeypatch.setattr(
        merging,
        "_logits",
        lambda base, model: true_logits(base, model) + 9.0 * hasattr(model, "disable_adapter"),
    )
    assert finetune("merge", run) == 1
    assert events(run, "state")[-1].data["code"] == "FINETUNE-405"
    assert not merged(run).exists()
    assert not list(run.glob(".merged.*"))
    monkeypatch.undo()
    assert finetune("merge", run) == 0  # the same run again
    assert states(run)[-1] == "succeeded"


def test_without_an_adapter_there_is_nothing_to_merge(make_run: MakeRun) -> None:
    assert finetune("merge", make_run(kind="merge")) == 2


def test_half_a_merge_of_a_killed_attempt_is_replaced(make_run: MakeRun, trained: Path) -> None:
    run = make_run(kind="merge", adapter_path=str(trained / "adapter"))
    merged(run).mkdir()
    (merged(run) / "stray").touch()
    assert finetune("merge", run) == 0
    assert not (merged(run) / "stray").exists()


def test_what_killed_attempts_left_is_removed(make_run: MakeRun, trained: Path) -> None:
    run = make_run(kind="merge", adapter_path=str(trained / "adapter"))
    half = run / ".merged.a-killed-attempt"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half of it")
    assert finetune("merge", run) == 0
    assert not half.exists()


def test_an_adapter_trained_on_four_bits_is_merged_into_sixteen(
    make_run: MakeRun, trained: Path
) -> None:
    """QLoRA's base has 4 bits in memory alone: into those nothing is merged."""
    pytest.importorskip("bitsandbytes")
    run = make_run("qlora", recipe={"quantization": "nf4", "max_steps": 2, "save_steps": 2})
    assert finetune("train", run) == 0
    assert manifest(run).quantization == "nf4"
    merging_run = make_run("merge", kind="merge", adapter_path=str(run / "adapter"))
    assert finetune("merge", merging_run) == 0
    config = json.loads((merged(merging_run) / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and "quantization_config" not in config
    from safetensors import safe_open

    with safe_open(merged(merging_run) / "model.safetensors", framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {torch.bfloat16}
