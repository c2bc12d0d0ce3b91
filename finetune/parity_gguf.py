"""Asks a .gguf file by llama.cpp's own server, in a process of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.parity_compare import Reference, Tally
from finetune.parity_http import Client, Trouble
from finetune.templates import fingerprint_of

#: How many first choices are asked for at each place. A token of the reference that is not among
#: them counts as if it were as likely as the last of them, which it is at most.
_CHOICES = 64
_POLITE_SECONDS = 1.0
_POLL_SECONDS = 0.2
_LOG_NAME = "llama.log"
#: What is started, before the file and its context; tests put their own program here.
PROGRAM: tuple[str, ...] = (sys.executable, "-m", "finetune.gguf_server")
#: Names of `general.file_type` (llama.h, enum llama_ftype).
_PRECISIONS: Mapping[int, str] = {
    0: "float32",
    1: "float16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    32: "bfloat16",
}


def precision_of(path: Path) -> str:
    """What precision the file says of itself. Raises Trouble where it can't be read."""
    import gguf

    try:
        field = gguf.GGUFReader(path).get_field("general.file_type")
        number = None if field is None else int(field.contents())
    except Exception as error:  # its reader trips over a broken file in many ways
        raise Trouble(
            "broken", f"its file can't be read ({type(error).__name__})", kind=type(error).__name__
        ) from None
    return "unknown" if number is None else _PRECISIONS.get(number, f"type {number}")


@contextmanager
def served_alone(
    path: Path,
    context_tokens: int,
    folder: Path,
    ready_seconds: float,
    seconds: float,
    check: Callable[[], None],
) -> Iterator[Client]:
    """llama.cpp's server for that file while the block runs. Raises Trouble where none comes up.

    `check` is asked while it starts. Its log lies in `folder`.
    """
    command = [*PROGRAM, str(path), str(context_tokens)]
    # what it prints may hold what it was asked: like other logs it is for us alone
    descriptor = os.open(folder / _LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    try:
        yield Client(_address(process, ready_seconds, check), seconds)
    finally:
        _end(process)


def _address(process: subprocess.Popen[bytes], seconds: float, check: Callable[[], None]) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check()
        if select.select([process.stdout], [], [], _POLL_SECONDS)[0]:
            line = process.stdout.readline().decode("utf-8", "replace").strip()
            if line.startswith("http"):
                return line
            if not line:
                break
    status = process.poll()
    if status is None and time.monotonic() >= deadline:
        raise Trouble("silent", f"no answer came within {seconds:g} seconds", seconds=seconds)
    raise Trouble(
        "broken", "llama.cpp's server can't load it; its log lies in the run's folder", kind="load"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(_POLITE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def check_template(
    client: Client, references: Sequence[Reference], wanted: str, tally: Tally
) -> str | None:
    """What llama.cpp makes of chats: the template's fingerprint, and whether the text and the
    tokens of each prompt are those of the training. Raises Trouble."""
    told = client.get("/props").get("chat_template")
    found = fingerprint_of(told) if isinstance(told, str) and told else None
    if found != wanted:
        tally.object(
            "template",
            f"its chat template is {(found or 'none')[:12]}, the training's was {wanted[:12]}",
            found=found,
            wanted=wanted,
        )
    for asked in references:
        text = client.post("/apply-template", {"messages": list(asked.messages)}).get("prompt")
        body = {"content": text, "add_special": False, "parse_special": True}
        tokens = client.post("/tokenize", body).get("tokens") if isinstance(text, str) else None
        if text != asked.prompt_text or tokens != list(asked.prompt_ids):
            tally.read_otherwise = True
            count = len(tokens) if isinstance(tokens, list) else 0
            tally.object(
                "prompt",
                f"it reads prompt {asked.id} as {count} tokens, which are not the "
                f"{len(asked.prompt_ids)} in the form of the training",
                prompt=asked.id,
                tokens=count,
                wanted=len(asked.prompt_ids),
            )
            break
    return found


def along(client: Client, asked: Reference) -> tuple[list[float | None], list[int | None]]:
    """The log-probability of each token of the reference's answer, and its own first choice there.

    It answers by itself as long as it says what the reference says, and is put back on its way
    where it does not. Of a token that ends an answer, or that is a part of a character, it gives no
    figure. Raises Trouble.
    """
    values: list[float | None] = []
    tops: list[int | None] = []
    while (done := len(tops)) < len(asked.answer):
        told = client.post(
            "/completion",
            {
                "prompt": [*asked.prompt_ids, *asked.answer[:done]],
                "n_predict": len(asked.answer) - done,
                "n_probs": _CHOICES,
                "temperature": 0,
                "cache_prompt": True,
                "return_tokens": True,
            },
        )
        chosen, figures = told.get("tokens"), told.get("completion_probabilities") or []
        if not chosen or not isinstance(chosen, list) or not isinstance(figures, list):
            raise Trouble("nonsense", "its tokens can't be read")
        for top, token in zip(chosen, asked.answer[done:], strict=False):
            own = bool(figures) and isinstance(figures[0], dict) and figures[0].get("id") == top
            values.append(_value(figures.pop(0), token) if own else None)
            tops.append(top)
            if top != token:
                break
    return values, tops


def _value(entry: dict[str, Any], token: int) -> float:
    try:
        choices = {int(each["id"]): float(each["logprob"]) for each in entry["top_logprobs"]}
        return choices.get(token, min(choices.values()))
    except (LookupError, TypeError, ValueError):
        raise Trouble("nonsense", "its log-probabilities can't be read") from None
