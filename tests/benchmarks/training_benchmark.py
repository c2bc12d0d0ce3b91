"""Training beside TRL's SFTTrainer: useful tokens a second, held-out loss and memory, in one run.

python -m tests.benchmarks.training_benchmark BASE [--trl PYTHON] [--rows 192] [--repeats 3] …

BASE is a model's folder. TRL (the extra `benchmarks`) is looked for in this Python, or in the one
that --trl names. A short run of about four minutes: --rows 48 --repeats 1.

Three contenders, each a process of its own, in turns: TRL with its defaults (padded), TRL with its
packing, and ours with packing. They get the same rows as the same token ids with the same learnt
ones, so nothing is dropped; the same LoRA (r 16, all linear layers), rate, schedule, seed, maximum
length and batch. TRL packs rows full, so its batch is as many full rows as hold the same tokens.
Lengths are log-normal, from 20 to 1,000 tokens. One judge, in 32 bits, gives the loss of the
held-out rows under each adapter. Useful tokens are those of the rows, padding not; the time is that
of the steps alone, the whole process's stands beside it. On a machine with neighbours the seconds
of processor that the steps took say more than those of the clock: both are printed. Nothing is
asserted: figures are ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.speed import prepare_threads

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "finetune" / "samples" / "source"
SEQUENCE_LENGTH = 1024
SHORTEST, LONGEST, MEDIAN, SPREAD = 20, 1000, 150, 0.9
HELD_OUT = 32
LORA = {"r": 16, "alpha": 16, "target_modules": "all-linear"}
OURS, DEFAULTS, PACKED = "Sophia, packing", "TRL, defaults", "TRL, packing"


@dataclass(frozen=True)
class Measured:
    """One contender in one repeat: tokens by second of steps, and of processor; memory in MB."""

    useful: float
    by_processor: float
    seconds: float
    whole: float
    steps: int
    memory: float
    loss: float


def write_rows(folder: Path, rows: int, tokenizer: Any, seed: int) -> list[int]:
    """train.jsonl and valid.jsonl as chats, of the samples' sentences; returns all lengths."""
    chance = random.Random(seed)
    lines = (SAMPLES / "qa_cache.jsonl").read_text().splitlines()
    pairs = [json.loads(line) for line in lines]
    cached = [each for each in pairs if each["question"] and each["answer"]]  # some have none
    documents = [json.loads(line) for line in (SAMPLES / "docs.jsonl").read_text().splitlines()]
    sentences = [part.strip() for each in documents for part in each["content"].split(". ")]

    def passage(tokens: float) -> str:
        text = ""
        while len(tokenizer.encode(text)) < tokens:
            text += f"{chance.choice(sentences).rstrip('.')}. "
        return text.strip()

    lengths = []
    for name, count in ((schema.TRAIN_FILE, rows), (schema.VALID_FILE, HELD_OUT)):
        lines = []
        while len(lines) < count:
            wanted = chance.lognormvariate(math.log(MEDIAN), SPREAD)
            pair = chance.choice(cached)
            share = chance.uniform(0.3, 0.8)  # of the row, before the answer
            rest = wanted - len(tokenizer.encode(pair["question"] + pair["answer"]))
            asked = [pair["question"], *([passage(rest * share)] if rest > 20 else [])]
            said = [pair["answer"], *([passage(rest * (1 - share))] if rest > 20 else [])]
            messages = [
                {"role": "system", "content": "Answer."},
                {"role": "user", "content": "\n\n".join(asked)},
                {"role": "assistant", "content": "\n\n".join(said)},
            ]
            ids = tokenizer.apply_chat_template(messages, return_dict=False)
            if SHORTEST <= len(ids) <= LONGEST:
                lines.append(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
                lengths.append(len(ids))
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return lengths


def recipe_of(options: argparse.Namespace) -> schema.Recipe:
    """Ours: everything as TRL gets it, and packing."""
    return schema.Recipe.model_validate(
        {
            "lora": {**LORA, "dropout": options.dropout},
            "epochs": 1.0,
            "learning_rate": options.rate,
            "scheduler": "linear",
            "sequence_length": SEQUENCE_LENGTH,
            "batch_size": options.batch,
            "gradient_accumulation": 1,
            "packing": True,
            "save_steps": 100_000,
            "logging_steps": 1,
            "seed": options.seed,
        }
    )


@dataclass(frozen=True)
class Process:
    """A contender's process: seconds from start to end, and peak resident MB."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Steps:
    """A contender's steps: seconds of the clock, of processor, and how many."""

    seconds: float
    processor: float
    count: int


def measured_run(
    command: list[str], folder: Path, watch: Callable[[int], None] = lambda pid: None
) -> Process:
    """Run a contender to its end; `watch` is called ten times a second meanwhile."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    with open(folder / "output.txt", "wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        ended = 0
        while not ended:
            time.sleep(0.1)
            watch(process.pid)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = (folder / "output.txt").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{tail}\n{command} ended with {process.returncode}")
    return Process(time.monotonic() - started, usage.ru_maxrss / 1024)


def processor_seconds(pid: int) -> float:
    """Seconds of processor that a process has had so far, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_ours(folder: Path, data: Path, options: argparse.Namespace) -> tuple[Steps, Process]:
    """Train with this program."""
    recipe = recipe_of(options)
    spec = schema.RunSpec(
        job_id="ftjob-benchmark",
        base=str(options.base),
        dataset_path=str(data),
        recipe=recipe,
        threads=options.threads,
    )
    schema.write_run_spec(folder, spec)
    seen: dict[int, float] = {}  # processor seconds when the step's event was first seen

    def watch(pid: int) -> None:
        for event in schema.read_events(folder / schema.EVENTS_FILE).events:
            begun = event.data.get("state") == "running"
            if begun or (event.kind == "metric" and "eval_loss" not in event.data):
                seen.setdefault(0 if begun else event.data["step"], processor_seconds(pid))

    process = measured_run([sys.executable, "-m", "finetune", "train", str(folder)], folder, watch)
    events = schema.read_events(folder / schema.EVENTS_FILE).events
    running = next(event for event in events if event.data.get("state") == "running")
    last = [event for event in events if event.kind == "metric" and "eval_loss" not in event.data]
    steps = Steps(
        (last[-1].at - running.at).total_seconds(), seen[max(seen)] - seen[0], last[-1].data["step"]
    )
    return steps, process


def run_trl(
    folder: Path, data: Path, options: argparse.Namespace, *, packing: bool, batch: int
) -> tuple[Steps, Process]:
    """Train with TRL."""
    recipe = recipe_of(options)
    settings = {
        "base": str(options.base),
        "rows": str(data / "tokens.jsonl"),
        "packing": packing,
        "batch_size": batch,
        "sequence_length": recipe.sequence_length,
        "learning_rate": recipe.learning_rate,
        "scheduler": recipe.scheduler,
        "seed": recipe.seed,
        "lora": {
            "r": recipe.lora.r,
            "lora_alpha": recipe.lora.alpha,
            "lora_dropout": recipe.lora.dropout,
            "target_modules": recipe.lora.target_modules,
        },
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    module = "tests.benchmarks.trl_contender"
    process = measured_run([options.trl, "-m", module, str(folder / "settings.json")], folder)
    result = json.loads((folder / "result.json").read_text())
    options.trl_settings[packing] = result["settings"]
    return Steps(result["seconds"], result["processor"], result["steps"]), process


def judged(base: Path, adapter: Path, examples: list[Any]) -> float:
    """Nats by answer token of the held-out rows, in 32 bits, whoever trained the adapter."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from finetune.examples import IGNORED, collate
    from finetune.losses import answer_losses

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, adapter).eval()
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for example in examples:
            batch = collate([example], 0, torch.device("cpu"))
            nats += float(answer_losses(model, batch).sum())
            tokens += int((batch.targets != IGNORED).sum())
    return nats / tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("base", type=Path, help="folder of the base model")
    parser.add_argument("--trl", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="+", choices=(OURS, DEFAULTS, PACKED))
    options = parser.parse_args()
    options.trl_settings = {}
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    prepare_threads()  # for all: on busy cores unbounded spinning makes TRL ten times slower
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Make the rows, let the contenders run in turns, print the table."""
    from transformers import AutoTokenizer

    from finetune.examples import load_examples
    from finetune.templates import set_template

    data = folder / "data"
    data.mkdir()
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    lengths = write_rows(data, options.rows, tokenizer, options.seed)[: options.rows]
    set_template(tokenizer, "chat_template")
    train = load_examples(tokenizer, data / schema.TRAIN_FILE, SEQUENCE_LENGTH)
    valid = load_examples(tokenizer, data / schema.VALID_FILE, SEQUENCE_LENGTH)
    assert len(train.examples) == options.rows
    assert not (train.truncated or train.without_answer)
    with open(data / "tokens.jsonl", "w") as stream:
        for example in train.examples:
            row = {"input_ids": list(example.ids), "completion_mask": list(example.mask)}
            stream.write(json.dumps(row) + "\n")
    useful = sum(len(example.ids) for example in train.examples)
    marks = statistics.quantiles(lengths, n=20)
    print(
        f"{options.rows} rows, {useful:,} tokens, {train.answer_tokens:,} of them learnt; lengths "
        f"{min(lengths)} to {max(lengths)}, median {statistics.median(lengths):.0f}, "
        f"95th {marks[-1]:.0f}; {options.threads} threads, load {os.getloadavg()[0]:.1f}"
    )
    full_rows = max(1, round(options.batch * useful / options.rows / SEQUENCE_LENGTH))
    contenders = {
        DEFAULTS: lambda at: run_trl(at, data, options, packing=False, batch=options.batch),
        PACKED: lambda at: run_trl(at, data, options, packing=True, batch=full_rows),
        OURS: lambda at: run_ours(at, data, options),
    }
    found: dict[str, list[Measured]] = {
        name: [] for name in contenders if not options.only or name in options.only
    }
    for repeat in range(options.repeats):
        for name in found:
            at = folder / f"{name}-{repeat}".replace(", ", "-")
            at.mkdir()
            steps, process = contenders[name](at)
            result = Measured(
                useful=useful / steps.seconds,
                by_processor=useful / steps.processor,
                seconds=steps.seconds,
                whole=process.seconds,
                steps=steps.count,
                memory=process.memory,
                loss=judged(options.base, at / schema.ADAPTER_FOLDER, valid.examples),
            )
            found[name].append(result)
            print(f"  {repeat + 1}. {name}: {line_of(result)}", flush=True)
    print_table(found, options)


def line_of(result: Measured) -> str:
    """A measurement in words."""
    return (
        f"{result.useful:7.1f} useful tokens/s ({result.by_processor:.1f} by second of processor), "
        f"{result.steps} steps in {result.seconds:.1f} s "
        f"(whole process {result.whole:.1f} s), loss {result.loss:.4f}, {result.memory:,.0f} MB"
    )


def print_table(found: dict[str, list[Measured]], options: argparse.Namespace) -> None:
    """Medians of the repeats, and ours as a share of theirs."""
    print(f"\nmedians of {options.repeats}; TRL took:")
    for packing, settings in options.trl_settings.items():
        print(f"  packing={packing}: {settings}")
    fields = ("useful", "by_processor", "loss", "memory", "whole")
    medians = {
        name: {
            field: statistics.median(getattr(each, field) for each in results) for field in fields
        }
        for name, results in found.items()
    }
    print(
        f"\n{'':18}{'tokens/s':>10}{'Sophia is':>11}{'by cpu s':>10}{'Sophia is':>11}"
        f"{'loss':>9}{'peak MB':>9}{'process s':>11}"
    )
    for name, median in medians.items():
        ratio, by_processor = (
            medians[OURS][field] / median[field] if OURS in medians else math.nan
            for field in ("useful", "by_processor")
        )
        print(
            f"{name:18}{median['useful']:10.1f}{ratio:10.2f}x{median['by_processor']:10.1f}"
            f"{by_processor:10.2f}x{median['loss']:9.4f}{median['memory']:9,.0f}"
            f"{median['whole']:11.1f}"
        )


if __name__ == "__main__":
    main()
