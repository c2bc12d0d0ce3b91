"""A served model beside plain transformers generate: speed, first token and memory, in one run.

python -m tests.benchmarks.serving_benchmark BASE [--precisions q8_0,f16] [--tokens 64] …

BASE is a model's folder or .gguf file; the precision that Sophia ships with is the first one (see
SOPHIA_SERVING_PRECISION). Each contender is a process of its own on its own turn: plain generate in
32 bits, which is transformers at its quickest on a processor, one request after the other as its
pipeline answers them; and llama.cpp's server as Sophia starts it, asked over HTTP by streams, one
at a time and four at once. All get the same prompts, answer greedily and never end before the limit
(a token that ends an answer is ruled out), so that each makes the same number of tokens. Memory is
the most that the process held (VmHWM). Greedy answers are compared text by text with those of plain
generate: how many of the prompts are answered alike to the last character, and how far in the
mean. Nothing is asserted: figures are ratios. On a machine with neighbours the turns alternate, and
the medians of the repeats are told.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune import schema
from sophia_tui.domain.serving import EngineLoad, EngineOptions
from sophia_tui.providers.engines import ENGINES, LOOPBACK, _free_port

ROOT = Path(__file__).resolve().parents[2]
PROMPTS: tuple[str, ...] = (
    "What is the capital of France, and what is it known for?",
    "Write two sentences about the sea.",
    "How do I boil an egg so that the yolk stays soft?",
    "Name three planets and say which is the largest.",
    "Why is the sky blue?",
    "Explain in simple words what a database is.",
    "Give me a short recipe for a salad.",
    "What should I do when my computer does not start?",
    "Who wrote Romeo and Juliet?",
    "What is the difference between a lake and a river?",
    "Tell me how a bicycle works.",
    "Write a polite e-mail that asks for a meeting on Monday.",
)
AT_ONCE = 4


@dataclass
class Measured:
    """One contender in one repeat; tokens a second of the clock, seconds, MB."""

    speed: float
    first: float
    memory: float
    at_once: float | None = None
    answers: list[str] = field(default_factory=list)


# -- plain generate, in a process of its own -----------------------------------------------------


def plain(folder: str, tokens: int) -> None:
    """Answer the prompts one after the other; a line of JSON."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.generation.streamers import BaseStreamer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    firsts: list[float] = []

    class Clock(BaseStreamer):  # type: ignore[misc]
        """Sees the prompt first, then each token as it comes."""

        def __init__(self) -> None:
            self.begun, self.seen = time.perf_counter(), 0

        def put(self, _value: Any) -> None:
            self.seen += 1
            if self.seen == 2:
                firsts.append(time.perf_counter() - self.begun)

        def end(self) -> None:
            """Nothing is left to do."""

    def answer(prompt: str, most: int) -> str:
        messages = [{"role": "user", "content": prompt}]
        encoded = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            found = model.generate(
                **encoded,
                max_new_tokens=most,
                min_new_tokens=most,
                do_sample=False,
                streamer=Clock(),
            )
        return str(tokenizer.decode(found[0, encoded["input_ids"].shape[1] :]))

    answer(PROMPTS[0], 4)
    firsts.clear()
    begun = time.perf_counter()
    answers = [answer(each, tokens) for each in PROMPTS]
    took = time.perf_counter() - begun
    told = {
        "speed": len(PROMPTS) * tokens / took,
        "first": statistics.median(firsts),
        "memory": peak_of(os.getpid()),
        "answers": answers,
    }
    print(json.dumps(told))


# -- llama.cpp's server, as Sophia starts it -----------------------------------------------------


@contextmanager
def engine(base: str, precision: str) -> Iterator[tuple[int, int, str]]:
    """Its process, port and key, once it answers."""
    with tempfile.TemporaryDirectory(prefix="sophia-serving-") as place:
        folder, port, chosen = Path(place), _free_port(), ENGINES["llamacpp"]
        load = EngineLoad(base)
        chosen.prepare(load, EngineOptions(precision=precision), folder)
        key = schema.read_document(folder / schema.SERVE_FILE, schema.ServeSpec).key
        environment = {**os.environ, **chosen.environment(folder), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(chosen.command(load, port, folder), env=environment)
        try:
            while not ready(port):
                if process.poll() is not None:
                    raise SystemExit("the engine ended")
                time.sleep(0.2)
            yield process.pid, port, key
        finally:
            process.terminate()
            process.wait()


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def streamed(port: int, key: str, prompt: str, tokens: int) -> tuple[str, float]:
    """An answer, and the seconds until its first text."""
    body = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    address = f"http://{LOOPBACK}:{port}/v1/chat/completions"
    begun, first, texts = time.perf_counter(), 0.0, []
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:]).get("choices") or [{}]
            if text := (choices[0].get("delta") or {}).get("content"):
                first = first or time.perf_counter() - begun
                texts.append(text)
    return "".join(texts), first


def served(base: str, precision: str, tokens: int) -> Measured:
    with engine(base, precision) as (pid, port, key):
        streamed(port, key, PROMPTS[0], 4)
        begun = time.perf_counter()
        found = [streamed(port, key, each, tokens) for each in PROMPTS]
        speed = len(PROMPTS) * tokens / (time.perf_counter() - begun)
        memory = peak_of(pid)
        begun = time.perf_counter()
        in_threads(lambda prompt: streamed(port, key, prompt, tokens))
        at_once = len(PROMPTS) * tokens / (time.perf_counter() - begun)
        return Measured(
            speed,
            statistics.median(first for _text, first in found),
            max(memory, peak_of(pid)),
            at_once,
            [text for text, _first in found],
        )


def in_threads(ask: Callable[[str], object]) -> None:
    """All prompts, so many at once, each thread with every fourth of them."""
    threads = [
        threading.Thread(target=lambda part=part: [ask(each) for each in PROMPTS[part::AT_ONCE]])
        for part in range(AT_ONCE)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def peak_of(pid: int) -> float:
    """The most memory that a process held, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("VmHWM is not told")


# -- the run -------------------------------------------------------------------------------------


def main() -> None:
    global PROMPTS
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", help="model's folder or .gguf file")
    parser.add_argument("--precisions", default="q8_0,f16")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="the first so many")
    parser.add_argument("--plain", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    PROMPTS = PROMPTS[: options.prompts]
    if options.plain:
        return plain(options.plain, options.tokens)
    folder = _folder(options.base)
    names = options.precisions.split(",")
    kept: dict[str, list[Measured]] = {}
    for _repeat in range(options.repeats):
        kept.setdefault("generate", []).append(_plain(folder, options.tokens))
        for name in names:
            kept.setdefault(name, []).append(served(str(folder), name, options.tokens))
    _tell(kept, names)


def _folder(base: str) -> Path:
    if not base.endswith(".gguf"):
        return Path(base).absolute()
    from finetune.gguf_cache import model_folder_of

    return model_folder_of(Path(base), lambda: None)[0]


def _plain(folder: Path, tokens: int) -> Measured:
    words = [sys.executable, "-m", "tests.benchmarks.serving_benchmark", str(folder)]
    words += ["--plain", str(folder), "--tokens", str(tokens)]
    words += ["--prompts", str(len(PROMPTS))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _tell(kept: dict[str, list[Measured]], names: list[str]) -> None:
    def middle(name: str, what: str) -> float:
        return statistics.median(getattr(each, what) or 0.0 for each in kept[name])

    plain_speed = middle("generate", "speed")
    print(f"{'':24}tokens/s   ratio  4 at once   ratio  first token      MB  alike")
    for name in ("generate", *names):
        label = "transformers, f32" if name == "generate" else f"Sophia, llamacpp {name}"
        speed, four = middle(name, "speed"), middle(name, "at_once")
        line = f"{label:24}{speed:8.1f}{speed / plain_speed:8.2f}"
        line += f"{four:11.1f}{four / plain_speed:8.2f}" if four else " " * 19
        line += f"{middle(name, 'first') * 1000:10.0f} ms{middle(name, 'memory'):8.0f}"
        print(line + ("" if name == "generate" else f"  {_alike(kept, name)}"))


def _alike(kept: dict[str, list[Measured]], name: str) -> str:
    """Prompts with the same answer, and the mean share of an answer before the first difference."""
    pairs = list(zip(kept["generate"][0].answers, kept[name][0].answers, strict=True))
    same = sum(one == other for one, other in pairs)
    shares = [_common(one, other) / max(1, len(one)) for one, other in pairs]
    return f"{same}/{len(pairs)}, {statistics.mean(shares):.0%}"


def _common(one: str, other: str) -> int:
    """How many characters they begin with alike."""
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return place
    return min(len(one), len(other))


if __name__ == "__main__":
    main()
