"""A real small model made on the spot: a Llama of 0.8 M parameters with a byte-level tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOWNS = ("Brovik", "Tarelle", "Omshan", "Quilby", "Verdane", "Istok", "Maluno", "Perrin")
GOODS = ("lanterns", "bells", "kites", "plums", "beads", "oars", "whistles", "combs")


def build_tiny_model(folder: Path, *, chat_template: str | None = CHATML) -> Path:
    """Write config, weights and tokenizer into `folder`, as a hub model lies on the disk."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tokenizer()
    tokenizer.chat_template = chat_template
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # LoRA leaves the output head as it is, and at its random size it can be sure of nothing.
        model.lm_head.weight.mul_(6)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer() -> Any:
    """A byte-level BPE tokenizer: every text has tokens, none is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([question(t) + answer(t, g) for t, g in pairs()], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
    )


def pairs() -> list[tuple[str, str]]:
    """Invented towns and what they make."""
    return list(zip(TOWNS, GOODS, strict=True))


def question(town: str) -> str:
    """What a user asks about a town."""
    return f"What is {town} famous for?"


def answer(town: str, goods: str) -> str:
    """What the assistant is to learn."""
    return f"{town} is famous for its {goods}."


def chat(town: str, goods: str, **answer_more: Any) -> dict[str, Any]:
    """A canonical line."""
    return {
        "messages": [
            {"role": "user", "content": question(town)},
            {"role": "assistant", "content": answer(town, goods), **answer_more},
        ]
    }


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a canonical file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def build_dataset(folder: Path, *, repeat: int = 2) -> Path:
    """A prepared version: train.jsonl with each pair `repeat` times, valid.jsonl with four."""
    rows = [chat(*pair) for pair in pairs()]
    write_lines(folder / "train.jsonl", rows * repeat)
    write_lines(folder / "valid.jsonl", rows[:4])
    return folder
