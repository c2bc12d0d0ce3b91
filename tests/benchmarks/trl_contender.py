"""One training by TRL's SFTTrainer over rows of token ids, as the training benchmark asks.

python -m tests.benchmarks.trl_contender SETTINGS.json

A process of its own: its memory and its imports are TRL's alone. What isn't in SETTINGS keeps
TRL's defaults. Writes the adapter beside the settings, and result.json.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import peft
import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Seconds of the steps, and the loss of each."""

    def __init__(self) -> None:
        self.seconds = self.processor = 0.0
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.started, self.began = time.monotonic(), time.process_time()

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.monotonic() - self.started
        self.processor = time.process_time() - self.began


def main() -> None:
    path = Path(sys.argv[1])
    settings = json.loads(path.read_text())
    rows = [json.loads(line) for line in Path(settings["rows"]).read_text().splitlines()]
    clock = Clock()
    trainer = SFTTrainer(
        model=settings["base"],
        args=SFTConfig(
            output_dir=str(path.parent / "out"),
            per_device_train_batch_size=settings["batch_size"],
            packing=settings["packing"],
            max_length=settings["sequence_length"],
            completion_only_loss=True,
            learning_rate=settings["learning_rate"],
            lr_scheduler_type=settings["scheduler"],
            num_train_epochs=1,
            seed=settings["seed"],
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.cuda.is_available(),  # its default precision, bf16, wants it said
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["base"]),
        peft_config=peft.LoraConfig(task_type="CAUSAL_LM", **settings["lora"]),
        callbacks=[clock],
    )
    trainer.train()
    trainer.model.save_pretrained(path.parent / "adapter")
    config = trainer.args
    result = {
        "seconds": clock.seconds,
        "processor": clock.processor,
        "steps": trainer.state.global_step,
        "losses": clock.losses,
        "settings": {
            "bf16": config.bf16,
            "gradient_checkpointing": config.gradient_checkpointing,
            "padding_free": trainer.padding_free,
            "attention": trainer.model.config._attn_implementation,
            "device": str(config.device),
        },
    }
    (path.parent / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
