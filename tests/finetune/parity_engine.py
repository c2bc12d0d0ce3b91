"""An engine for tests of parity: a server on loopback that says what it is told to."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


class Engine:
    """A server on loopback that answers as it is told, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                body = json.loads(self.rfile.read(size))
                engine.asked.append(body)
                engine.keys.add(self.headers["authorization"])
                status, content = answer(body)
                with contextlib.suppress(ConnectionError):  # who asked may have given up
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_arguments: Any) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answering(folder: Path, name: str = "sophia-v1", figures: bool = False) -> Answer:
    """What an engine says that serves this folder, with or without log-probabilities."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def answer(body: dict[str, Any]) -> tuple[int, bytes]:
        inputs = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        size = inputs["input_ids"].shape[1]
        output = model.generate(
            **inputs,
            max_new_tokens=body["max_tokens"],
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        new = output.sequences[0, size:].tolist()
        ended = new[-1] == tokenizer.eos_token_id
        choice: dict[str, Any] = {
            "message": {"content": tokenizer.decode(new, skip_special_tokens=True)},
            "finish_reason": "stop" if ended else "length",
        }
        if figures:
            said = [each[0].log_softmax(-1) for each in output.logits]
            content = [
                {"id": token, "token": tokenizer.decode([token]), "logprob": float(each[token])}
                for token, each in zip(new, said, strict=True)
            ]
            choice["logprobs"] = {"content": content[:-1] if ended else content}
        told = {"model": name, "choices": [choice], "usage": {"prompt_tokens": size}}
        return 200, json.dumps(told).encode()

    return answer
