"""What is learnt against what is forgotten, beside TRL's SFTTrainer at equal time, in one run.

python -m tests.benchmarks.learning_benchmark BASE [--trl PYTHON] [--seconds 220] [--svg FILE] …

BASE is the demo's model, a folder. TRL (the extra `benchmarks`) is looked for in this Python, or in
the one that --trl names. It takes about ten minutes on two idle cores.

Three contenders learn the demo's pairs side by side, each a process with one thread: ours with the
recipe that Sophia chooses for the demo, TRL with its defaults, and TRL with its defaults at our
learning rate. Each gets the same seconds of the processor, imports and loading included: so
neighbours take nothing from one that the others keep. TRL's steps are fitted to the time by a
short run that does not count, in bf16 (its default) or in 32 bits, whichever is faster here. Its
LoRA has our recipe's rank, on all layers. The adapters at a quarter, half, three quarters and the
whole of the steps are asked the held-out questions, and the general ones that the base answers
rightly. Intervals are at 95 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune import schema
from finetune.grading import read_questions, wilson
from tests.finetune.test_learning import GENERAL, HELDOUT, demo_pairs, write_dataset

ROOT = Path(__file__).resolve().parents[2]
OURS, DEFAULTS, OUR_RATE = "Sophia", "TRL, defaults", "TRL, our rate"
COLOURS = {OURS: "#0b6e4f", DEFAULTS: "#b5651d", OUR_RATE: "#7b2d8b"}
#: The goal: points gained on held-out questions, and general questions kept.
GAIN, KEPT = 0.30, 0.85
#: Steps of the short run that tells TRL's speed; the first is not counted.
_PROBE_STEPS = 5
#: Steps between two of our checkpoints; a quarter's is the nearest one.
_SAVED_EACH = 5
#: Share of the time that our program keeps for its end, and that TRL is therefore spared as well.
_RESERVE = 0.05


@dataclass(frozen=True)
class Share:
    """Right answers of all."""

    right: int
    total: int

    @property
    def value(self) -> float:
        """From 0 to 1."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's."""
        return wilson(self.right, self.total)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.right:3}/{self.total:<3} {self.value:4.0%} ({low:.0%} to {high:.0%})"


@dataclass(frozen=True)
class Point:
    """An adapter's answers: held-out ones in all and by language, and general ones."""

    name: str
    quarter: int
    step: int
    learnt: Share
    by_language: dict[str, Share]
    kept: Share


def run(command: list[str], folder: Path) -> None:
    """Run a process to its end; what it says goes into the folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with open(folder / "output.txt", "wb") as output:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    if done.returncode:
        tail = (folder / "output.txt").read_text(errors="replace")[-3000:]
        raise SystemExit(f"{tail}\n{command} ended with {done.returncode}")


def train_ours(folder: Path, data: Path, options: argparse.Namespace) -> list[tuple[int, Path]]:
    """Train by the recipe; returns step and adapter of each quarter."""
    recipe = schema.load_recipe(options.recipe)
    recipe.time_budget_seconds = options.seconds
    recipe.save_steps, recipe.save_total_limit = _SAVED_EACH, 10_000
    spec = schema.RunSpec(
        job_id="ftjob-benchmark",
        base=str(options.base),
        dataset_path=str(data),
        recipe=recipe,
        threads=1,
    )
    schema.write_run_spec(folder, spec)
    run([sys.executable, "-m", "tests.benchmarks.our_learner", str(folder)], folder)
    manifest = schema.read_document(folder / schema.MANIFEST_FILE, schema.RunManifest)
    print(f"{OURS}: {manifest.steps} steps, {manifest.seconds:.0f} s", flush=True)
    marks = [manifest.steps * quarter / 4 for quarter in (1, 2, 3)]
    steps = [_SAVED_EACH * max(1, round(mark / _SAVED_EACH)) for mark in marks]
    checkpoints = folder / schema.CHECKPOINTS_FOLDER
    found = [(step, checkpoints / f"step-{step:08d}") for step in steps]
    return [*found, (manifest.steps, folder / schema.ADAPTER_FOLDER)]


def train_trl(
    folder: Path, data: Path, options: argparse.Namespace, more: dict[str, Any]
) -> list[tuple[int, Path]]:
    """Train by TRL for the same time; returns step and adapter of each quarter."""
    probes = {}
    for half in (True, False):
        probe = folder / f"probe-{half}"
        probe.mkdir()
        found = run_trl(probe, data, options, {**more, "bf16": half}, _PROBE_STEPS, keep=False)
        each = (found["ends"][-1] - found["ends"][0]) / (_PROBE_STEPS - 1)
        probes[half] = (each, found["begin"])
    half = min(probes, key=lambda key: probes[key])
    each, begin = probes[half]
    steps = max(4, int((options.seconds * (1 - _RESERVE) - begin) / each))
    found = run_trl(folder, data, options, {**more, "bf16": half}, steps, keep=True)
    print(
        f"{folder.name}: {found['steps']} steps, {found['ends'][-1]:.0f} s; a step in bf16 "
        f"{probes[True][0]:.2f} s, in 32 bits {probes[False][0]:.2f} s; {found['settings']}",
        flush=True,
    )
    return [(round(steps * quarter / 4), folder / f"adapter-{quarter}") for quarter in (1, 2, 3, 4)]


def run_trl(
    folder: Path,
    data: Path,
    options: argparse.Namespace,
    more: dict[str, Any],
    steps: int,
    *,
    keep: bool,
) -> dict[str, Any]:
    """One process of TRL; returns what it tells."""
    lora = schema.load_recipe(options.recipe).lora
    settings = {
        "base": str(options.base),
        "rows": str(data / schema.TRAIN_FILE),
        "steps": steps,
        "keep": keep,
        "more": more,
        "lora": {
            "r": lora.r,
            "lora_alpha": lora.alpha,
            "lora_dropout": lora.dropout,
            "target_modules": lora.target_modules,
        },
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    run([options.trl, "-m", "tests.benchmarks.trl_learner", str(path)], folder)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def judge(
    folder: Path,
    data: Path,
    options: argparse.Namespace,
    name: str,
    quarter: int,
    step: int,
    adapter: Path,
) -> Point:
    """Ask an adapter all questions, whoever trained it, through our program."""
    rows = [json.loads(line) for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
    held_out = [
        each for each, row in zip(read_questions(HELDOUT), rows, strict=True) if row["demo"]
    ]
    asked: dict[str, Any] = {"grade": "after", "stop": "answered"}
    sets = [
        schema.QuestionSet(name="held out", questions=held_out, max_new_tokens=40, **asked),
        schema.QuestionSet(name="general", path=str(GENERAL), max_new_tokens=48, **asked),
    ]
    spec = schema.RunSpec(
        job_id="ftjob-benchmark",
        kind="evaluate",
        base=str(options.base),
        dataset_path=str(data),
        adapter_path=str(adapter),
        threads=1,
        evaluation=schema.EvaluationSettings(
            question_sets=sets, prompt_count=0, text_measures=[], sample_limit=1
        ),
    )
    folder.mkdir()
    schema.write_run_spec(folder, spec)
    run([sys.executable, "-m", "finetune", "evaluate", str(folder)], folder)
    report = schema.read_document(folder / schema.EVALUATION_FILE, schema.EvaluationReport)
    found = {
        (each.set, each.language): Share(each.after.right, each.after.total)
        for each in report.graded
        if each.after is not None
    }
    languages = {each: share for (name, each), share in found.items() if each and name[0] == "h"}
    return Point(name, quarter, step, found["held out", None], languages, found["general", None])


def table(points: list[Point]) -> str:
    """All points as text."""
    lines = [
        f"{'':15}{'part':>5}{'step':>6}   {'held out, right':28}{'by language':28}general, kept"
    ]
    for each in points:
        languages = ", ".join(
            f"{name} {share.right}/{share.total}" for name, share in each.by_language.items()
        )
        lines.append(
            f"{each.name:15}{f'{each.quarter}/4':>5}{each.step:6}   {each.learnt!s:28}"
            f"{languages:28}{each.kept}"
        )
    return "\n".join(lines)


def learnt_at(line: list[Point], kept: float) -> float:
    """What a line has learnt where so much is kept: the best that is reached with it or between two
    neighbours. The line begins at the base, which knows nothing new and has lost nothing."""
    ends = [(1.0, 0.0), *((each.kept.value, each.learnt.value) for each in line)]
    best = max((learnt for at, learnt in ends if at >= kept), default=0.0)
    for (x1, y1), (x2, y2) in itertools.pairwise(ends):
        if x1 != x2 and min(x1, x2) <= kept <= max(x1, x2):
            best = max(best, y1 + (y2 - y1) * (kept - x1) / (x2 - x1))
    return best


def verdict(points: list[Point]) -> str:
    """Whether our line lies above theirs at each of their points, and reaches the goal."""
    ours = [each for each in points if each.name == OURS]
    lines = []
    for name in (DEFAULTS, OUR_RATE):
        theirs = [each for each in points if each.name == name]
        below = [each for each in theirs if each.learnt.value > learnt_at(ours, each.kept.value)]
        lines.append(
            f"Sophia's line lies above {name} everywhere: "
            + (f"no ({len(below)} of {len(theirs)} points are above it)" if below else "yes")
        )
    reached = [each for each in ours if each.learnt.value >= GAIN and each.kept.value >= KEPT]
    lines.append(
        f"{GAIN:.0%} gained and {KEPT:.0%} kept: "
        + (
            ", ".join(
                f"{each.quarter}/4 ({each.learnt.value:.0%}, {each.kept.value:.0%})"
                for each in reached
            )
            or "no point"
        )
    )
    return "\n".join(lines)


def plot(points: list[Point]) -> str:
    """Right against kept as SVG: a line for each contender, bars for the intervals."""
    width, height, left, bottom, top = 720, 480, 60, 50, 40
    plot_width, plot_height = width - left - 160, height - bottom - top

    def x(share: float) -> float:
        return round(left + share * plot_width, 1)

    def y(share: float) -> float:
        return round(top + (1 - share) * plot_height, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect x="{x(KEPT)}" y="{y(1)}" width="{x(1) - x(KEPT)}" height="{y(GAIN) - y(1)}" '
        'fill="#e8f4ee"/>',
        f'<text x="{x(0.5)}" y="{height - 12}" text-anchor="middle">general questions kept</text>',
        f'<text transform="translate(16 {y(0.5)}) rotate(-90)" text-anchor="middle">'
        "held-out questions right</text>",
    ]
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts += [
            f'<line x1="{x(0)}" x2="{x(1)}" y1="{y(share)}" y2="{y(share)}" stroke="#ddd"/>',
            f'<text x="{x(0) - 8}" y="{y(share) + 4}" text-anchor="end">{share:.0%}</text>',
            f'<line x1="{x(share)}" x2="{x(share)}" y1="{y(0)}" y2="{y(1)}" stroke="#ddd"/>',
            f'<text x="{x(share)}" y="{y(0) + 18}" text-anchor="middle">{share:.0%}</text>',
        ]
    for row, (name, colour) in enumerate(COLOURS.items()):
        line = [each for each in points if each.name == name]
        where = [(x(1), y(0)), *((x(each.kept.value), y(each.learnt.value)) for each in line)]
        track = " ".join(f"{px},{py}" for px, py in where)
        parts.append(f'<polyline points="{track}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for each, (px, py) in zip(line, where[1:], strict=True):
            (low, high), (worst, best) = each.kept.interval, each.learnt.interval
            parts += [
                f'<path d="M{x(low)} {py}H{x(high)}M{px} {y(worst)}V{y(best)}" '
                f'stroke="{colour}" stroke-opacity="0.35"/>',
                f'<circle cx="{px}" cy="{py}" r="4" fill="{colour}"/>',
                f'<text x="{px + 6}" y="{py - 6}" fill="{colour}">{each.quarter}/4</text>',
            ]
        at = top + 20 + 20 * row
        parts += [
            f'<circle cx="{x(1) + 24}" cy="{at - 4}" r="4" fill="{colour}"/>',
            f'<text x="{x(1) + 34}" y="{at}">{name}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("base", type=Path, help="folder of the base model")
    parser.add_argument("--trl", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--seconds", type=float, default=220)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--svg", type=Path, default=Path("learning.svg"))
    parser.add_argument(
        "--keep", type=Path, help="a new folder for the runs; default: none is kept"
    )
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if options.keep:
        options.keep.mkdir(parents=True)
        compare(options.keep, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Train, ask, print."""
    data = write_dataset(folder / "data", demo_pairs())
    rate = schema.load_recipe(options.recipe).learning_rate
    print(
        f"{options.seconds:.0f} s of the processor each, load {os.getloadavg()[0]:.1f}", flush=True
    )

    def contend(name: str) -> list[Point]:
        at = folder / name.replace(", ", "-")
        at.mkdir()
        if name == OURS:
            adapters = train_ours(at, data, options)
        else:
            more = {"learning_rate": rate} if name == OUR_RATE else {}
            adapters = train_trl(at, data, options, more)
        found = []
        for quarter, (step, adapter) in enumerate(adapters, start=1):
            asked = folder / f"{at.name}-asked-{quarter}"
            found.append(judge(asked, data, options, name, quarter, step, adapter))
            print(table(found[-1:]).splitlines()[1], flush=True)
        return found

    with ThreadPoolExecutor() as pool:
        points = [each for found in pool.map(contend, COLOURS) for each in found]
    options.svg.write_text(plot(points), encoding="utf-8")
    print(f"\n{table(points)}\n\n{verdict(points)}\n\nplot: {options.svg}")


if __name__ == "__main__":
    main()
