"""A GGUF file read by llama.cpp itself, in a process of its own: what it cannot read, it aborts at.

As a program (`python -m finetune.llama_cpp`) it takes a question as JSON on stdin and answers on
stdout; the rest of the weights' program asks it by the functions here.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from finetune.failures import WorkFailure
from finetune.runner import RunContext

#: Texts of which a tokenizer that is written wrongly cuts at least one otherwise.
TEXTS = (
    "Hello, world! It's 12345 o'clock; WE'RE late.",
    "Não há ação às três: coração, pão, e você?",
    "  two spaces,\n\n\ta tab\r\n and trailing  ",
    "def f(x):\n    return x**2  # 日本語 😀 Ελλάδα",
    "URL https://example.org/a?b=1&c=%20 (e.g. 3,14 €)",
)
_SECONDS = 900
_CONTEXT = 512


def program() -> str | None:
    """llama.cpp as it is installed here, with its version."""
    try:
        return f"llama.cpp (xllamacpp {version('xllamacpp')})"
    except PackageNotFoundError:
        return None


def reads_alike(context: RunContext, path: Path, tokenizer: Any) -> str | None:
    """Load the file and cut texts by it as the model's own tokenizer does; the program that did.

    None, and a warning, where llama.cpp is not installed. Raises WorkFailure 525.
    """
    if program() is None:
        context.journal.warning(
            "llama.cpp is not installed (xllamacpp), so nobody has loaded the file yet",
            reason="not_checked",
        )
        return None
    told = ask({"path": str(path), "texts": list(TEXTS)})
    for text, found in zip(TEXTS, told["tokens"], strict=True):
        wanted = tokenizer(text)["input_ids"]
        if found != wanted:
            raise WorkFailure(
                525,
                "llama.cpp cuts texts into other tokens than the model's tokenizer.",
                f"{text[:20]!r}: {found[:12]} and not {wanted[:12]}.",
                "Serve the merged model as it is, or convert it by llama.cpp's own program.",
            )
    return program()


def ask(question: dict[str, Any]) -> dict[str, Any]:
    """What llama.cpp says of a file: `path`, and `adapter` to lay on it; `texts` are cut into
    `tokens`, and each of `prompts` (lists of tokens) goes on for `count` likeliest tokens, the
    end counted: their `ids`, their `logprobs` (None for a part of a letter).

    Raises WorkFailure 525 where it can't be loaded.
    """
    done = subprocess.run(
        [sys.executable, "-m", "finetune.llama_cpp"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        told = done.stderr.strip().splitlines() or ["it said nothing"]
        raise WorkFailure(
            525,
            "llama.cpp can't load the file.",
            f"It ended with {done.returncode}: {told[-1][:300]}",
            "Serve the merged model as it is, or convert it by llama.cpp's own program.",
        )
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def main() -> int:
    """Answer one question."""
    question = json.loads(sys.stdin.read())
    key = secrets.token_urlsafe(16)
    server = _server(question, key)
    answer: dict[str, Any] = {"tokens": [], "ids": [], "logprobs": []}
    for text in question.get("texts", ()):
        body = {"content": text, "add_special": True, "parse_special": True}
        answer["tokens"].append(_post(server.listening_address, "tokenize", key, body)["tokens"])
    for prompt in question.get("prompts", ([0],)):
        body = {
            "prompt": prompt,
            "n_predict": question.get("count", 1),
            "temperature": 0,
            "n_probs": 1,
            "cache_prompt": False,
            "return_tokens": True,
        }
        told = _post(server.listening_address, "completion", key, body)
        shown = told.get("completion_probabilities", [])  # not there where it ends at once
        answer["ids"].append(told["tokens"])
        answer["logprobs"].append(_aligned(told["tokens"], shown))
    print(json.dumps(answer), flush=True)
    return 0


def _aligned(ids: list[int], shown: list[dict[str, Any]]) -> list[float | None]:
    """The log-probability of each token; one that is a part of a letter is not told alone."""
    rest = iter(shown)
    found: list[float | None] = []
    current = next(rest, None)
    for token in ids:
        same = current is not None and current["id"] == token
        found.append(current["logprob"] if same and current else None)
        if same:
            current = next(rest, None)
    return found


def _server(question: dict[str, Any], key: str) -> Any:
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = question["path"]
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = 0
    wanted.api_keys = [key]
    wanted.n_ctx = _CONTEXT
    wanted.n_gpu_layers = 0
    # As exact as it can: by default its cache has 16 bits, and its attention rounds likewise, which
    # moves a log-probability by 0.002 (measured; so it is 0.000002).
    wanted.cache_type_k = wanted.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    wanted.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    wanted.warmup = wanted.ui = False
    wanted.verbosity = 1
    if adapter := question.get("adapter"):
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = adapter, 1.0
        wanted.lora_adapters = [lora]
    return xllamacpp.Server(wanted)


def _post(address: str, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    from urllib.request import ProxyHandler, Request, build_opener

    request = Request(
        f"{address}/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with build_opener(ProxyHandler({})).open(request, timeout=_SECONDS) as answer:
        told: dict[str, Any] = json.load(answer)
    return told


if __name__ == "__main__":
    sys.exit(main())
