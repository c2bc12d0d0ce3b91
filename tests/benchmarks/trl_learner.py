"""One training by TRL's SFTTrainer on chats, for as long as the learning benchmark says.

python -m tests.benchmarks.trl_learner SETTINGS.json

A process of its own, in the Python that has TRL. What isn't in SETTINGS keeps TRL's defaults. The
adapter is written at each quarter of the steps, beside the settings; result.json tells when each
step ended, in seconds of the processor since the process began, imports and loading included.
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


class Quarters(TrainerCallback):
    """Writes the adapter at each quarter, and keeps when each step ended."""

    def __init__(self, folder: Path, steps: int, kept: bool) -> None:
        self.marks = {round(steps * quarter / 4): quarter for quarter in (1, 2, 3, 4)}
        self.folder, self.kept = folder, kept
        self.ends: list[float] = []
        self.begin = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.begin = time.process_time()

    def on_step_end(self, _args: Any, state: Any, _control: Any, model: Any, **__: Any) -> None:
        self.ends.append(time.process_time())
        if self.kept and state.global_step in self.marks:
            model.save_pretrained(self.folder / f"adapter-{self.marks[state.global_step]}")


def main() -> None:
    path = Path(sys.argv[1])
    settings = json.loads(path.read_text())
    lines = Path(settings["rows"]).read_text(encoding="utf-8").splitlines()
    quarters = Quarters(path.parent, settings["steps"], settings["keep"])
    trainer = SFTTrainer(
        model=settings["base"],
        args=SFTConfig(
            output_dir=str(path.parent / "out"),
            max_steps=settings["steps"],
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            **settings["more"],
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in lines]),
        processing_class=AutoTokenizer.from_pretrained(settings["base"]),
        peft_config=peft.LoraConfig(task_type="CAUSAL_LM", **settings["lora"]),
        callbacks=[quarters],
    )
    trainer.train()
    config = trainer.args
    result = {
        "begin": quarters.begin,
        "ends": quarters.ends,
        "steps": trainer.state.global_step,
        "settings": {
            "learning_rate": config.learning_rate,
            "scheduler": str(config.lr_scheduler_type),
            "batch_size": config.per_device_train_batch_size,
            "bf16": config.bf16,
            "gradient_checkpointing": config.gradient_checkpointing,
        },
    }
    (path.parent / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
