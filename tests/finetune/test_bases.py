"""A base by folder, hub id or GGUF file."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune import schema
from finetune.check_base import check_base
from finetune.failures import Stopped
from finetune.files import locked, sha256_of
from finetune.gguf_cache import model_folder_of
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, losses, manifest
from tests.finetune.tiny_gguf import write_gguf


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return write_gguf(tiny_base, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SOPHIA_MODEL_CACHE", str(folder))
    return folder


def test_a_gguf_base_is_converted_once_and_is_the_same_model(
    gguf: Path, tiny_base: Path, cache: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _digest = model_folder_of(gguf, lambda: None)
    written = (folder / "config.json").stat().st_mtime_ns
    assert model_folder_of(gguf, lambda: None)[0] == folder
    assert (folder / "config.json").stat().st_mtime_ns == written
    tokenizer = AutoTokenizer.from_pretrained(folder)
    original = AutoTokenizer.from_pretrained(tiny_base)
    text = original.apply_chat_template([{"role": "user", "content": "Olá!"}], tokenize=False)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Olá!"}], tokenize=False)
    ids = original(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        here = AutoModelForCausalLM.from_pretrained(folder)(ids).logits
        there = AutoModelForCausalLM.from_pretrained(tiny_base)(ids).logits
    assert torch.allclose(here, there, atol=1e-4)


def test_a_gguf_base_can_be_trained(make_run: MakeRun, gguf: Path) -> None:
    run = make_run(base=gguf)
    assert finetune("train", run) == 0
    assert losses(run)[12] < losses(run)[1]
    assert manifest(run).base_kind == "gguf"
    assert check_base(str(gguf))["parameters"] > 600_000


def test_the_wait_for_another_conversion_can_be_stopped(gguf: Path, cache: Path) -> None:
    calls = []

    def check_stop() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise Stopped("paused", "test")

    with locked(cache / f"tiny-{sha256_of(gguf)[:12]}.lock"), pytest.raises(Stopped):
        model_folder_of(gguf, check_stop)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_broken_gguf_file_is_named(make_run: MakeRun, tmp_path: Path, cache: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    run = make_run(base=broken)
    assert finetune("train", run) == schema.EXIT_FAILED
    assert events(run, "state")[-1].data["code"] == "FINETUNE-303"
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_hub_that_is_not_reached_is_unavailable(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def unreachable(*_arguments: object, **_more: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    run = make_run(base="nobody/nothing")
    assert finetune("train", run) == schema.EXIT_UNAVAILABLE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-302"


def test_a_base_of_another_make_than_the_adapters_is_a_warning(
    make_run: MakeRun, trained: Path, tmp_path: Path
) -> None:
    run = make_run(
        kind="generate",
        adapter_path=str(trained / "adapter"),
        recipe={"prompt_form": "alpaca"},
        evaluation=schema.EvaluationSettings(prompts=["Hi?"], max_new_tokens=2),
    )
    assert finetune("generate", run) == 0
    assert [event.data["reason"] for event in events(run, "warning")] == ["adapter_form"]
