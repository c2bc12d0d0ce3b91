"""A strict chat server on loopback, in the protocol's form: what a model might answer, on order."""

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "key-of-this-test"
Answer = dict[str, Any] | str


class ChatServer:
    """Writes a fitting variation to each question, unless `next_answers` holds something else:
    a text, or (status, body, headers). `requests` are the bodies it took, in order."""

    def __init__(self, delay: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.next_answers: list[Any] = []
        self.times: list[float] = []
        self.write: Callable[[dict[str, Any], int], Answer] = good_variation
        self.delay = delay
        self.usage = (400, 300)
        self._lock = threading.Lock()

    def __enter__(self) -> "ChatServer":
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, told, headers = server.answer(self.path, self.headers, body)
                data = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_unused: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, path: str, headers: Any, raw: bytes) -> tuple[int, Any, dict[str, str]]:
        time.sleep(self.delay)
        if path != "/v1/chat/completions":
            return 404, _error("no such route"), {}
        if headers.get("authorization") != f"Bearer {KEY}":
            return 401, _error("wrong key"), {}
        body = json.loads(raw)
        wrong = set(body) - {"model", "messages", "max_tokens", "temperature"}
        if wrong or [each["role"] for each in body["messages"]] != ["system", "user"]:
            return 400, _error(f"not of this protocol: {wrong}"), {}
        with self._lock:
            self.times.append(time.monotonic())
            ready = self.next_answers.pop(0) if self.next_answers else None
            if isinstance(ready, tuple):
                return ready
            self.requests.append(body)
            number = len(self.requests)
        told = self.write(body, number) if ready is None else ready
        content = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
        message = {"role": "assistant", "content": content}
        return 200, {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": dict(
                zip(("prompt_tokens", "completion_tokens"), self.usage, strict=True)
            ),
        }, {}  # fmt: skip


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": "x", "param": None}}


def refusal(
    status: int, code: str | None = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    return status, _error("no", code), {each.replace("_", "-"): v for each, v in headers.items()}


def asked_for(body: dict[str, Any]) -> tuple[str, str]:
    """The technique's word and the example's question, as the model reads them."""
    text = body["messages"][1]["content"]
    technique = re.search(r"^Technique: (.{12})", text)
    example = json.loads(text[text.index("{") :])
    assert technique is not None
    return technique.group(1), example["prompt"]


def good_variation(body: dict[str, Any], number: int) -> Answer:
    """A variation that passes the rules and has words of its own: each number says others."""
    words = " ".join(f"palavra{number}x{place}" for place in range(20))
    return {
        "prompt": f"Pergunta {number}: {words}?",
        "response_initial": f"Primeira resposta {number}.",
        "critique": "[VERITAS] falta a fonte\n[SOPHIA] falta contexto\n[DIKE] falta o outro lado",
        "response_revised": f"Resposta revista {number}. {words}. {words[::-1]}",
        "reasoning": "É mais completa.",
        "values_applied": ["verdade"],
        "difficulty": "hard",
    }
