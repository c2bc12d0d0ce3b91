"""Estimated against measured memory: peaks of real two-step trainings, in one table.

    python tests/benchmarks/memory_benchmark.py BASE [NAME …]

BASE is a small model's folder (the demo's, converted). Each point is a process of its own, and its
peak is what the kernel says of it (ru_maxrss). The longest training takes about a minute.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from finetune import estimates, schema  # noqa: E402
from tests.finetune.tiny_model import write_lines  # noqa: E402

TEXT = "the office opens at nine and closes in the evening when people come with letters"
PLAIN = {"lora": {"dropout": 0.0}}
#: Length of every example, batch size, and what else the recipe says.
POINTS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "1 x 512, dropout": (512, 1, {}),
    "2 x 1024, dropout": (1024, 2, {}),
    "4 x 256": (256, 4, PLAIN),
    "4 x 256, dropout": (256, 4, {}),
    "8 x 128, packed": (128, 8, {**PLAIN, "packing": True}),
    "8 x 128, packed, upper third": (
        128,
        8,
        {"lora": {"dropout": 0.0, "frozen_share": 0.667}, "packing": True},
    ),
    "4 x 256, q and v": (
        256,
        4,
        {"lora": {"dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}},
    ),
    "4 x 256, checkpointing": (256, 4, {**PLAIN, "activation_checkpointing": True}),
    "4 x 256, bf16": (256, 4, {**PLAIN, "precision": "bf16"}),
}


def rows(length: int) -> list[dict[str, Any]]:
    """Chats of which each is cut at `length` tokens, half of it the answer's."""
    choose = random.Random(3)

    def text(words: int) -> str:
        return " ".join(choose.choice(TEXT.split()) for _ in range(words))

    return [
        {
            "messages": [
                {"role": "user", "content": text(max(4, length // 2 - 20))},
                {"role": "assistant", "content": text(length)},
            ]
        }
        for _ in range(40)
    ]


def peak(base: str, recipe: schema.Recipe, length: int, place: Path) -> tuple[int, float]:
    """MiB that a training took at most, and its seconds."""
    write_lines(place / "data" / "train.jsonl", rows(length))
    write_lines(place / "data" / "valid.jsonl", [])
    spec = schema.RunSpec(
        job_id="ftjob-memory",
        base=base,
        dataset_path=str(place / "data"),
        threads=2,
        recipe=recipe,
    )
    (place / "run").mkdir()
    schema.write_run_spec(place / "run", spec)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "finetune", "train", str(place / "run")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    _pid, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the training ended with status {status}")
    return usage.ru_maxrss // 1024, time.monotonic() - started


def main() -> None:
    base, names = sys.argv[1], sys.argv[2:] or list(POINTS)
    shape = estimates.shape_of_folder(Path(base))
    print(f"{'setting':30} {'measured':>9} {'estimated':>9}  ratio  seconds   (MiB)")
    for name in names:
        length, size, more = POINTS[name]
        recipe = schema.Recipe.model_validate(
            {
                **more,
                "batch_size": size,
                "sequence_length": length,
                "gradient_accumulation": 1,
                "max_steps": 2,
                "save_steps": 1000,
            }
        )
        told = estimates.Lengths(40 * length, 20 * length, length, 40)
        guess = estimates.estimate_memory(shape, recipe, told, "cpu").total / estimates.MIB
        with tempfile.TemporaryDirectory() as place:
            measured, seconds = peak(base, recipe, length, Path(place))
        print(
            f"{name:30} {measured:9} {guess:9.0f}  {guess / measured:5.2f}  {seconds:7.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
