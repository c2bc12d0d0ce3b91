"""Memory, time and money of a training, by calculation alone: tables of bases and settings."""

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetune import estimates as model
from finetune.schema import Recipe, load_recipe
from sophia_tui.domain.jobs import Job, JobKind
from sophia_tui.providers.machine_memory import main_memory, read_gpus
from sophia_tui.services import estimates
from sophia_tui.services.plan_views import SegmentView
from sophia_tui.services.prices import OURS, Rented, _read
from sophia_tui.services.train_preview import MARKS, marked_text

GB = 1e9
TINY: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 400,
}
SMOL: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
LLAMA: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
LONG = model.Lengths(tokens=200_000, answer_tokens=100_000, longest=4096, examples=100)


def lengths(longest: int, examples: int = 40) -> model.Lengths:
    return model.Lengths(longest * examples, longest * examples // 2, longest, examples)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(TINY, 0.84e6), (SMOL, 134.5e6), (LLAMA, 8.03e9)],
    ids=["tiny", "135M", "8B"],
)
def test_a_config_alone_says_how_many_parameters_there_are(config, parameters: float) -> None:
    shape = model.shape_of_config(config)
    assert shape.parameters == pytest.approx(parameters, rel=0.02)


#: Peaks of real trainings on a processor, in MiB, by tests/benchmarks/memory_benchmark.py.
MEASURED = [
    (TINY, 64, {"batch_size": 4, "lora": {"dropout": 0.0}}, 447),
    (SMOL, 512, {"batch_size": 1}, 2712),
    (SMOL, 1024, {"batch_size": 2}, 7451),
    (SMOL, 256, {"batch_size": 4, "lora": {"dropout": 0.0}}, 3466),
    (SMOL, 256, {"batch_size": 4}, 4381),
    (SMOL, 128, {"batch_size": 8, "packing": True, "lora": {"dropout": 0.0}}, 3218),
    (
        SMOL,
        128,
        {"batch_size": 8, "packing": True, "lora": {"dropout": 0.0, "frozen_share": 0.667}},
        1923,
    ),
    (
        SMOL,
        256,
        {"batch_size": 4, "lora": {"dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}},
        2643,
    ),
]


@pytest.mark.parametrize(("config", "length", "recipe", "peak"), MEASURED)
def test_the_estimate_errs_on_the_safe_side_and_by_less_than_a_third(
    config, length: int, recipe, peak: int
) -> None:
    asked = Recipe.model_validate({"sequence_length": length, **recipe})
    found = model.estimate_memory(model.shape_of_config(config), asked, lengths(length), "cpu")
    assert 1.0 <= found.total / (peak * model.MIB) <= 1.3


def test_an_8b_base_in_4_bits_with_the_owners_settings_fits_into_48_gb_and_not_into_8() -> None:
    recipe = Recipe.model_validate(
        {
            "lora": {"r": 64, "alpha": 128, "dropout": 0.0},
            "quantization": "nf4",
            "optimizer": "paged_adamw_8bit",
            "activation_checkpointing": True,
            "sequence_length": 2048,
            "batch_size": 2,
            "gradient_accumulation": 4,
        }
    )
    found = model.estimate_memory(model.shape_of_config(LLAMA), recipe, LONG, "cuda")
    # 8.03e9 parameters, 6.98e9 of them in linear layers at 4.5 bits and the rest in 16
    assert found.weights == pytest.approx(6.3e9, rel=0.05)
    assert 8 * GB < found.total < 48 * GB
    whole = model.estimate_memory(
        model.shape_of_config(LLAMA),
        recipe.model_copy(update={"quantization": "none"}),
        LONG,
        "cuda",
    )
    assert whole.weights == pytest.approx(16.06e9, rel=0.01)


def test_rank_64_on_all_seven_projections_of_an_8b_base_has_168_million_numbers() -> None:
    recipe = Recipe.model_validate({"lora": {"r": 64}})
    assert model.adapter_parameters(model.shape_of_config(LLAMA), recipe) == 167_772_160


@pytest.mark.parametrize(
    "less",
    [
        {"batch_size": 1},
        {"activation_checkpointing": True},
        {"quantization": "nf4"},
        {"sequence_length": 512},
        {"lora": {"frozen_share": 0.5}},
        {"optimizer": "paged_adamw_8bit"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_each_gentler_setting_takes_less(less) -> None:
    shape = model.shape_of_config(LLAMA)
    before = model.estimate_memory(shape, Recipe(), LONG, "cuda").total
    after = model.estimate_memory(shape, Recipe.model_validate(less), LONG, "cuda").total
    assert after < before


def test_short_examples_take_no_more_than_they_are_long() -> None:
    shape = model.shape_of_config(SMOL)
    short = model.estimate_memory(shape, Recipe(), lengths(60), "cpu")
    long = model.estimate_memory(shape, Recipe(), lengths(1024), "cpu")
    assert short.activations < long.activations / 10


def test_the_nearest_setting_changes_the_least_harmful_first() -> None:
    shape = model.shape_of_config(SMOL)
    recipe = Recipe.model_validate({"batch_size": 8, "gradient_accumulation": 2})
    needed = model.estimate_memory(shape, recipe, LONG, "cpu").total
    one = estimates.nearest_that_fits(shape, recipe, LONG, "cpu", round(needed * 0.7))
    assert one is not None and one.changes == ("batch_size=4", "gradient_accumulation=4")
    two = estimates.nearest_that_fits(shape, recipe, LONG, "cpu", round(2.5 * GB))
    assert two is not None and set(two.changes) == {
        "batch_size=1",
        "gradient_accumulation=16",
        "activation_checkpointing=true",
    }
    assert two.memory.total <= 2.5 * GB
    assert estimates.nearest_that_fits(shape, recipe, LONG, "cpu", 100_000_000) is None


def test_a_smaller_batch_keeps_the_effective_one() -> None:
    recipe = Recipe.model_validate({"batch_size": 6, "gradient_accumulation": 2})
    found = estimates.nearest_that_fits(
        model.shape_of_config(SMOL), recipe, LONG, "cpu", 8_000_000_000
    )
    assert found is not None
    assert found.recipe.batch_size * found.recipe.gradient_accumulation >= 12


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9, 9e9),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7.2e9, 8e9),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 130e6, 150e6),
        ("Qwen/Qwen2.5-0.5B", 0.5e9, 0.6e9),
    ],
)
def test_a_base_that_is_not_here_is_guessed_from_the_size_in_its_name(
    name: str, least: float, most: float
) -> None:
    shape = model.shape_of_name(name)
    assert least <= shape.parameters <= most and shape.origin == "name"


@pytest.mark.parametrize("name", ["gpt2", "my/model", "x/v0.3-instruct"])
def test_a_name_without_a_size_says_nothing(name: str) -> None:
    with pytest.raises(model.UnknownShape):
        model.shape_of_name(name)


def test_headers_of_safetensors_count_what_the_config_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    header = json.dumps({"a": {"dtype": "F32", "shape": [10, 30], "data_offsets": [0, 1200]}})
    body = struct.pack("<Q", len(header)) + header.encode() + b"\0" * 1200
    (tmp_path / "model.safetensors").write_bytes(body)
    assert model.shape_of_folder(tmp_path).parameters == 300


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\3\0\0\0" + b"\xff" * 32, b"nonsense"])
def test_a_broken_gguf_file_is_told_apart(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(model.UnknownShape):
        model.shape_of_gguf(path)


def test_operations_of_a_token_follow_the_published_rule() -> None:
    """4 operations a weight for frozen weights, of the 6 that Kaplan et al. count."""
    shape = model.shape_of_config(LLAMA)
    found = model.operations_per_token(shape, Recipe(), 0)
    assert found == pytest.approx(4 * (shape.linear_parameters + 128256 * 4096), rel=0.02)
    half = Recipe.model_validate({"lora": {"frozen_share": 0.5}})
    assert model.operations_per_token(shape, half, 0) < 0.85 * found


def job(job_id: str, rate: float | None, recipe: dict[str, Any] | None = None) -> Job:
    return Job(
        id=job_id,
        kind=JobKind.TRAIN,
        state="succeeded",
        base="b",
        dataset="d",
        request={"run": {"recipe": recipe or {}}},
        created_by="ana",
        created_at=datetime.now(UTC),
        result={"tokens_per_second": rate},
    )


def test_the_speed_of_earlier_runs_is_taken_with_their_own_recipes() -> None:
    shape = model.shape_of_config(SMOL)
    frozen = {"lora": {"frozen_share": 0.667}, "packing": True}
    speed = estimates.speed_of_runs([job("a", 100.0), job("b", None)], shape, 100)
    faster = estimates.speed_of_runs([job("c", 100.0, frozen)], shape, 100)
    assert speed is not None and speed.runs == ("a",)
    assert faster is not None and faster.operations < speed.operations
    assert estimates.speed_of_runs([job("b", None)], shape, 100) is None


def rented() -> Rented:
    found = _read(OURS).rented["constitutional"]
    assert found is not None
    return found


def test_three_epochs_on_the_rented_gpu_cost_105_usd_and_the_documents_hours_are_not_the_sum() -> (
    None
):
    found = estimates.rented_estimate(rented(), 3)
    assert [(each.name, each.usd) for each in found.items] == [
        ("epoch", 90.0),
        ("evaluation", 5.0),
        ("merge", 10.0),
    ]
    assert found.usd == 105.0
    assert found.hours == pytest.approx(6.83, abs=0.01) and found.told_hours == 8.5


def test_one_epoch_costs_an_epoch_less() -> None:
    assert estimates.rented_estimate(rented(), 1).usd == 45.0


def test_lengths_guessed_from_bytes_lie_on_the_long_side(tmp_path: Path) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "uma frase em português " * 20}]})
    (tmp_path / "train.jsonl").write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    found = estimates.lengths_of_bytes(tmp_path / "train.jsonl")
    assert found.examples == 2 and found.longest > 20 * 5


MEMINFO = "MemTotal:       24684000 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\n"


def machine(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_without_a_limit_the_machine_has_what_is_available(tmp_path: Path) -> None:
    found = main_memory(machine(tmp_path, {"proc/self/cgroup": "0::/\n"}))
    assert (found.total, found.free) == (24684000 * 1024, 20000000 * 1024)


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/memory.max": "4000000000",
            "sys/fs/cgroup/a/memory.current": "3000000000",
            "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 500000000\n",
            "sys/fs/cgroup/a/b/memory.max": "max",
        },
        {
            "proc/self/cgroup": "4:memory:/a\n1:cpu:/\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000000000",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "3000000000",
            "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 500000000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_a_control_groups_limit_is_the_memory_there_is(files, tmp_path: Path) -> None:
    found = main_memory(machine(tmp_path, files))
    assert (found.total, found.free) == (4_000_000_000, 1_500_000_000)


def test_gpus_are_read_from_nvidia_smi() -> None:
    found = read_gpus("NVIDIA L40S, 46068, 45000\nA, B, 100, 50\n[N/A], [N/A], [N/A]\n")
    assert [(each.name, each.total >> 20, each.free >> 20) for each in found] == [
        ("NVIDIA L40S", 46068, 45000),
        ("A, B", 100, 50),
    ]


def test_marks_in_the_text_itself_and_control_signs_are_shown() -> None:
    segments = [
        SegmentView(text="say ⟦this⟧\x1b[2J\n", trained=False, tokens=4),
        SegmentView(text="yes", trained=True, tokens=1),
    ]
    assert marked_text(segments, MARKS) == "say \\⟦this\\⟧␛[2J\n⟦yes⟧"


def test_the_recipes_that_come_along_can_be_estimated() -> None:
    shape = model.shape_of_config(SMOL)
    for name in ("default", "demo", "small"):
        recipe = load_recipe(name)
        assert model.estimate_memory(shape, recipe, lengths(200), "cpu").total > GB
