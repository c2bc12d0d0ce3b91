"""The shape of a base, from headers alone, is that of the model itself."""

from pathlib import Path

from finetune import estimates
from finetune.schema import Recipe
from tests.finetune.tiny_gguf import write_gguf


def test_folder_and_gguf_say_the_same(tiny_base: Path, tmp_path: Path) -> None:
    folder = estimates.shape_of_folder(tiny_base)
    gguf = estimates.shape_of_gguf(write_gguf(tiny_base, tmp_path / "tiny.gguf"))
    same = ("layers", "hidden", "intermediate", "heads", "kv_heads", "vocabulary", "head_width")
    assert [getattr(folder, name) for name in same] == [getattr(gguf, name) for name in same]
    assert gguf.origin == "gguf" and abs(gguf.parameters / folder.parameters - 1) < 0.02


def test_the_adapter_has_as_many_numbers_as_peft_makes(tiny_base: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    assert sum(each.numel() for each in model.parameters()) == (
        estimates.shape_of_folder(tiny_base).parameters
    )
    adapted = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=16, target_modules="all-linear")
    )
    trainable = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    assert estimates.adapter_parameters(estimates.shape_of_folder(tiny_base), Recipe()) == trainable
