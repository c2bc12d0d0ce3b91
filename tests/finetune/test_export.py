"""Exports: a GGUF file that llama.cpp answers by as transformers does, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import export_gguf, gguf_types, gguf_vocabulary, llama_cpp, room, schema
from finetune.failures import Refused
from finetune.files import sha256_of
from finetune.llama_cpp import ask
from tests.finetune import tokenizer_families
from tests.finetune.conftest import MakeRun
from tests.finetune.helpers import events, finetune, manifest
from tests.finetune.tiny_model import build_tokenizer, pairs, question

pytest.importorskip("xllamacpp")

#: One of a kind is tried each time, the others where there is time.
LONG = pytest.mark.long
#: Dies while the tenth tensor is written.
KILLED_HALFWAY = """
import os, signal, sys
from finetune import export_gguf
true, count = export_gguf.quantised, iter(range(100))
def quantised(rows, kind):
    if next(count) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return true(rows, kind)
export_gguf.quantised = quantised
from finetune.cli import main
main(["export", sys.argv[1]])
"""


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


def alike(told: dict[str, Any], wanted: dict[str, Any], most: float) -> None:
    """Whether every log-probability is as transformers has it."""
    compared = 0
    for found, expected in zip(told["logprobs"], wanted["logprobs"], strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            if ours is not None:
                assert ours == pytest.approx(theirs, abs=most)
                compared += 1
    assert compared


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
    alike(told, wanted, 1e-4)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows K types fit."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
    return built(tmp_path_factory.mktemp("wide"), "Llama", build_tokenizer(), **sizes)


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
    ("quantisation", "most"),
    [
        pytest.param("f16", 0.02, marks=LONG),
        pytest.param("bf16", 0.1, marks=LONG),
        ("q8_0", 0.1),
        pytest.param("q4_0", 2.0, marks=LONG),
    ],
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
    alike(told, wanted, most)
    assert manifest(run).exported_quantisation == quantisation


def test_k_types_are_llama_cpps_own(make_run: MakeRun, wide: Path) -> None:
    """In the mixture that llama.cpp calls Q4_K_M, which it reads."""
    from gguf import GGUFReader

    run = make_run(
        kind="export", base=wide, export=schema.ExportSettings(quantisation="q4_k_m", check=False)
    )
    assert finetune("export", run) == 0
    kinds = {each.name: each.tensor_type.name for each in GGUFReader(exported(run)).tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q4_K"
    assert kinds["output.weight"] == "Q6_K"
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    assert "Q6_K" in {kinds[f"blk.{layer}.ffn_down.weight"] for layer in range(4)}
    assert "llama.cpp" in (manifest(run).exported_by or "")
    told = ask({"path": str(exported(run)), "prompts": [[5, 6, 7]], "count": 3})
    assert len(told["ids"][0]) == 3


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_the_simple_types_are_the_same_by_both_quantisers(kind: str) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    rows = np.random.default_rng(3).standard_normal((8, 256)).astype(np.float32)
    named = GGMLQuantizationType[kind]
    ours, theirs = gguf_types.quantised(rows, named), gguf_types.by_llama_cpp(rows, named)
    # scales that lie between two numbers of 16 bits may be rounded either way
    assert (ours == theirs).mean() > 0.99


def test_without_llama_cpp_k_types_are_refused_and_the_rest_is_written(
    make_run: MakeRun, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_types, "_library", lambda: None)
    monkeypatch.setattr(gguf_types, "quantize_program", lambda: None)
    monkeypatch.setattr(llama_cpp, "program", lambda: None)
    run = make_run(kind="export", base=merged, export=schema.ExportSettings(quantisation="q6_k"))
    assert finetune("export", run) == schema.EXIT_UNAVAILABLE
    assert events(run, "state")[-1].data["code"] == "FINETUNE-523"
    plain = make_run("plain", kind="export", base=merged)
    assert finetune("export", plain) == 0
    assert exported(plain).is_file()
    assert events(plain, "warning")[0].data["reason"] == "not_checked"


def test_llama_quantize_on_the_path_writes_k_types(
    make_run: MakeRun, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that copies shows how it is asked; nothing of its making is left."""
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\ntest "$3" = Q4_K_M && cp "$1" "$2"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(gguf_types, "_library", lambda: None)
    run = make_run(kind="export", base=merged, export=schema.ExportSettings(quantisation="q4_k_m"))
    assert finetune("export", run) == 0
    assert [each.name for each in exported(run).parent.iterdir()] == ["model.gguf"]
    assert str(program) in (manifest(run).exported_by or "")
    other = make_run(
        "other", kind="export", base=merged, export=schema.ExportSettings(quantisation="q6_k")
    )
    assert finetune("export", other) == schema.EXIT_FAILED  # it ended with 1
    assert list(exported(other).parent.iterdir()) == []


def test_the_manifest_has_the_file_and_only_its_owner_reads_it(
    make_run: MakeRun, merged: Path
) -> None:
    run = make_run(kind="export", base=merged, export=schema.ExportSettings(name="sophia-v1-f16"))
    assert finetune("export", run) == 0
    path = exported(run, "sophia-v1-f16")
    record = manifest(run).exported_files[path.name]
    assert (record.bytes, record.sha256) == (path.stat().st_size, sha256_of(path))
    assert path.stat().st_mode & 0o077 == 0  # weights may have learnt personal data
    assert manifest(run).exported_check == llama_cpp.program()
    told = events(run, "result")[0].data
    assert (told["exported"], told["sha256"]) == ("exported/sophia-v1-f16.gguf", record.sha256)


def test_a_killed_export_leaves_nothing_that_is_seen_and_begins_anew(
    make_run: MakeRun, merged: Path, tmp_path: Path
) -> None:
    run = make_run(kind="export", base=merged)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_HALFWAY, str(run)],
        cwd=Path(schema.__file__).parent.parent,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    half = [each.name for each in exported(run).parent.iterdir()]
    assert half == [".model.gguf.part"]
    assert finetune("export", run) == 0
    assert [each.name for each in exported(run).parent.iterdir()] == ["model.gguf"]


def test_it_stops_between_two_tensors_when_asked(make_run: MakeRun, merged: Path) -> None:
    run = make_run(kind="export", base=merged)
    schema.write_document(run / schema.CONTROL_FILE, schema.Control(action="stop"))
    assert finetune("export", run) == schema.EXIT_STOPPED
    assert not exported(run).exists()


@pytest.mark.parametrize("kind", ["merge", "export"])
def test_without_room_nothing_is_written(
    make_run: MakeRun, trained: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _folder: room.SPARE_BYTES + 1000)
    more = {"adapter_path": str(trained / "adapter")} if kind == "merge" else {}
    run = make_run(kind=kind, **more)
    assert finetune(kind, run) == schema.EXIT_FAILED
    told = events(run, "state")[-1].data
    assert told["code"] == "FINETUNE-524"
    assert str(room.SPARE_BYTES + 1000) in told["why"]
    assert "SOPHIA_DATA_DIR" in told["remedy"]
    assert not list(run.glob("*/*.gguf")) and not list(run.glob("*/*.safetensors"))


@pytest.mark.parametrize("kind", ["merge", "export"])
def test_weights_of_four_bits_are_no_base(
    make_run: MakeRun, tiny_base: Path, trained: Path, tmp_path: Path, kind: Any
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    more = {"adapter_path": str(trained / "adapter")} if kind == "merge" else {}
    run = make_run(kind=kind, base=base, **more)
    assert finetune(kind, run) == schema.EXIT_REFUSED
    told = events(run, "state")[-1].data
    assert told["code"] == "FINETUNE-526" and "bitsandbytes" in told["why"]


def test_an_unknown_architecture_is_refused_with_its_name(
    make_run: MakeRun, tiny_base: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "architectures": ["TownForCausalLM"]}))
    run = make_run(kind="export", base=base)
    assert finetune("export", run) == schema.EXIT_REFUSED
    told = events(run, "state")[-1].data
    assert told["code"] == "FINETUNE-521" and "TownForCausalLM" in told["what"]


# -- architectures and tokenizers ----------------------------------------------------------------


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def built(folder: Path, kind: str, tokenizer: Any, **more: Any) -> Path:
    """A random model of an architecture, its norms and biases random as well."""
    import torch
    import transformers

    torch.manual_seed(11)
    config = getattr(transformers, f"{kind}Config")(
        **{**SIZES, **more},
        vocab_size=len(tokenizer) + 8,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            else:
                parameter.mul_(1.0 if "embed" in name else 6.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Llama", {"rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True}),
        pytest.param("Llama", {"tie_word_embeddings": True, "head_dim": 32}, marks=LONG),
        pytest.param("Llama", {"rope_parameters": LINEAR}, marks=LONG),
        pytest.param("Mistral", {"sliding_window": None}, marks=LONG),
        pytest.param("Qwen2", {}, marks=LONG),
        ("Qwen3", {"head_dim": 32}),
    ],
)
def test_each_architecture_says_the_same_in_llama_cpp(
    tmp_path: Path, kind: str, more: dict[str, Any]
) -> None:
    folder = built(tmp_path / "model", kind, build_tokenizer(), **more)
    target = tmp_path / "model.gguf"
    export_gguf.write_model(folder, target, "f32", lambda _done, _all: None)
    prompts = [list(range(5, 105)), [7, 250, 31]]
    told = ask({"path": str(target), "prompts": prompts, "count": 4})
    wanted = greedy(loaded(folder), prompts, 4)
    assert told["ids"] == wanted["ids"]
    alike(told, wanted, 1e-3)


def gpt2_like() -> Any:
    return build_tokenizer()


def tokenizer_with(pattern: str) -> Any:
    """Byte level with the cuts of a family."""
    from tokenizers import Regex, pre_tokenizers

    made = tokenizer_families.byte_level(trims=False)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return made


def smollm_like() -> Any:
    from tokenizers import pre_tokenizers

    made = build_tokenizer()
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return made


def family(name: str) -> Any:
    cuts = next(cut for cut, known in gguf_vocabulary._CUTS.items() if known == name)
    return tokenizer_with(cuts[0])


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(gpt2_like, marks=LONG),
        pytest.param(smollm_like, marks=LONG),
        lambda: family("llama-bpe"),
        pytest.param(lambda: family("qwen2"), marks=LONG),
        pytest.param(lambda: family("tekken"), marks=LONG),
        tokenizer_families.sentencepiece_bpe,
    ],
    ids=["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "sentencepiece"],
)
def test_each_tokenizer_cuts_the_same_in_llama_cpp(tmp_path: Path, make: Any) -> None:
    tokenizer = make()
    folder = built(tmp_path / "model", "Llama", tokenizer)
    target = tmp_path / "model.gguf"
    export_gguf.write_model(folder, target, "f16", lambda _done, _all: None)
    texts = [*llama_cpp.TEXTS, "<|im_start|>user\\nOi!<|im_end|>\\n"]
    assert ask({"path": str(target), "texts": texts})["tokens"] == [
        tokenizer(each)["input_ids"] for each in texts
    ]


def test_an_unknown_tokenizer_is_refused(tmp_path: Path) -> None:
    for make in (tokenizer_families.metaspace_unigram, lambda: tokenizer_with("[a-z]+")):
        with pytest.raises(Refused) as caught:
            gguf_vocabulary.vocabulary_of(make(), 1000)
        assert caught.value.code == "FINETUNE-522"


def test_a_file_that_llama_cpp_cuts_otherwise_is_refused(
    make_run: MakeRun, merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_vocabulary = export_gguf.vocabulary_of

    def turned(tokenizer: Any, rows: int) -> gguf_vocabulary.Vocabulary:
        found = true_vocabulary(tokenizer, rows)
        found.merges.reverse()
        return found

    monkeypatch.setattr(export_gguf, "vocabulary_of", turned)
    run = make_run(kind="export", base=merged)
    assert finetune("export", run) == schema.EXIT_FAILED
    assert events(run, "state")[-1].data["code"] == "FINETUNE-525"
    assert not exported(run).exists()


# -- adapters of other kinds ---------------------------------------------------------------------


@pytest.mark.parametrize("lora", [{"rank_stabilized": True}, {}], ids=["stabilised", "plain"])
def test_scales_of_other_kinds_stand_in_the_matrices(
    tmp_path: Path, tiny_base: Path, lora: dict[str, Any]
) -> None:
    """Also alpha and rank by module, laid on the base and said alike."""
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=4,
        lora_alpha=12,
        target_modules=["q_proj", "k_proj", "down_proj"],
        use_rslora="rank_stabilized" in lora,
        rank_pattern={"down_proj": 8},
        alpha_pattern={"k_proj": 30},
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(loaded(tiny_base), config)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(tmp_path / "adapter")
    base, adapter = tmp_path / "base.gguf", tmp_path / "adapter.gguf"
    export_gguf.write_model(tiny_base, base, "f32", lambda _done, _all: None)
    export_gguf.write_adapter(
        tmp_path / "adapter", tiny_base, adapter, "f32", lambda _done, _all: None
    )
    prompts = [[5, 6, 7, 8], [250, 3]]
    wanted = greedy(model.merge_and_unload(), prompts, 4)
    told = ask({"path": str(base), "adapter": str(adapter), "prompts": prompts, "count": 4})
    assert told["ids"] == wanted["ids"]
    alike(told, wanted, 1e-3)


def test_an_adapter_that_is_more_than_pairs_is_refused(
    make_run: MakeRun, trained: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(trained / "adapter", adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    run = make_run(kind="export", adapter_path=str(adapter))
    assert finetune("export", run) == schema.EXIT_REFUSED
    assert "DoRA" in events(run, "state")[-1].data["why"]
