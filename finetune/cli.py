"""The command line of the program; opens what works on weights only inside a run."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from finetune import schema
from finetune.runner import Work, run
from finetune.speed import leave_out, needs_bitsandbytes, prepare_threads

_KINDS: dict[schema.RunKind, str] = {
    "train": "train a LoRA adapter",
    "evaluate": "loss and perplexity on the held-out part and chosen questions, before and after",
    "generate": "answer the prompts of run.yaml into answers.jsonl",
    "preview": "what a training would learn, token by token, into preview.json",
    "merge": "the base with the adapter in it, in 16 or 32 bits, into merged/",
    "export": "a model, or an adapter, as one GGUF file for llama.cpp, into exported/",
    "upload": "a model's files into a repository of the hub",
    "parity": "whether merged, exported and served models answer as base and adapter do",
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m finetune", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for kind, summary in _KINDS.items():
        command = commands.add_parser(kind, help=summary, description=summary)
        command.add_argument("folder", metavar="RUN_FOLDER", type=Path)
    summary = "say as JSON how fast this machine computes a linear layer"
    commands.add_parser("probe", help=summary, description=summary)
    check = commands.add_parser("check-base", help="say as JSON whether a base can be loaded")
    check.add_argument("base", metavar="BASE", help="folder, hub id or .gguf file")
    check.add_argument("--revision", help="of a hub id")
    return parser


def _load_work(kind: schema.RunKind, folder: Path, own_process: bool) -> Work:
    if kind == "preview":
        from finetune.preview import preview

        return partial(preview, alone=own_process)
    if kind == "upload":
        # Read at import. By the hub's older way each file is stored by its hash, and asked for
        # before it is sent once more.
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
        from finetune.upload import upload

        return upload
    prepare_threads()  # before torch, which these imports bring
    if kind == "train":
        if own_process and not needs_bitsandbytes(schema.load_run_spec(folder)):
            leave_out("bitsandbytes")
        from finetune.train import train

        return train
    if kind == "evaluate":
        from finetune.evaluate import evaluate

        return evaluate
    if kind == "merge":
        from finetune.merge import merge

        return merge
    if kind == "parity":
        from finetune.parity import parity

        return parity
    if kind == "export":
        from finetune.export_gguf import export

        return export
    from finetune.generate import generate

    return generate


def _quiet_libraries() -> None:
    """Settings that the libraries read when they are first imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if token := os.environ.get("HUGGINGFACE_TOKEN"):
        os.environ.setdefault("HF_TOKEN", token)


def main(arguments: Sequence[str] | None = None, *, own_process: bool = False) -> int:
    """Run the command line; returns the exit code (see finetune.schema).

    `own_process`: the process ends with it, so it may be set up for this one run.
    """
    options = _parser().parse_args(arguments)
    _quiet_libraries()
    if options.command == "check-base":
        from finetune.check_base import check_base

        report = check_base(options.base, options.revision)
        print(json.dumps(report, ensure_ascii=False))
        return schema.EXIT_DONE if report["found"] else schema.EXIT_UNAVAILABLE
    if options.command == "probe":
        from finetune.probe import probe

        prepare_threads()
        print(json.dumps(probe()))
        return schema.EXIT_DONE
    kind: schema.RunKind = options.command
    return run(kind, options.folder, lambda: _load_work(kind, options.folder, own_process))
