"""A strict stand-in for a provider on loopback, in the protocol's form: its list of models, and
answers to chats. Its faults are switched by the test; it shares no code with Sophia."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "sk-test-0123456789abcdef"
HTML = "<!DOCTYPE html><html><body>Welcome to the gateway</body></html>"


class ModelsServer:
    """`models` are those that it lists, each with its shutdown_date or None; `aliases` are answered
    to by their name and not listed. `mood` is well, html, endless, paged, hangs, elsewhere, an HTTP
    status, or a text sent with status 200. `asked` are the paths that came, with their queries."""

    def __init__(self, key: str | None = KEY, **models: str | None) -> None:
        self.key = key
        self.models: dict[str, str | None] = dict(models)
        self.aliases: set[str] = set()
        self.mood: str | int = "well"
        self.asked: list[str] = []
        self.chats: list[dict[str, Any]] = []
        self.answer: Callable[[str], str] = lambda question: f"It is so: {question}"
        self.refuse_chats: int | None = None
        self._held = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> "ModelsServer":
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._send(*server.told(self.path, self.headers, None))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self._send(*server.told(self.path, self.headers, body))

            def _send(self, status: int, told: Any, headers: dict[str, str]) -> None:
                data = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                kind = "text/html" if isinstance(told, str) else "application/json"
                self.send_response(status)
                for name, value in {"content-type": kind, **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_unused: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._held.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def told(self, path: str, headers: Any, body: bytes | None) -> tuple[int, Any, dict[str, str]]:
        with self._lock:
            self.asked.append(path)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return 401, _error("Incorrect API key provided", "invalid_api_key"), {}
        parts = urlsplit(path)
        if body is not None:
            return self._chat(parts.path, json.loads(body))
        if parts.path == "/v1/models":
            return self._list(parse_qs(parts.query))
        name = unquote(parts.path.removeprefix("/v1/models/"))
        if name in self.models or name in self.aliases:
            return 200, self._object(name), {}
        return 404, _error(f"The model '{name}' does not exist", "model_not_found"), {}

    def _object(self, name: str) -> dict[str, Any]:
        found = {"id": name, "object": "model", "created": 1686935002, "owned_by": "system"}
        ends = self.models.get(name)
        return {**found, "shutdown_date": ends} if ends else found

    def _list(self, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        every = [self._object(each) for each in self.models]
        if isinstance(self.mood, int):
            return self.mood, _error("no", None), {}
        if self.mood == "hangs":
            self._held.wait(30)
        if self.mood == "elsewhere":
            return 307, "", {"location": "http://127.0.0.1:9/v1/models"}
        if self.mood == "endless":
            return 200, {"object": "list", "data": every, "has_more": True}, {}
        if self.mood == "paged":
            after = query.get("after", [""])[0]
            names = list(self.models)
            at = names.index(after) + 1 if after else 0
            page = {"object": "list", "data": every[at : at + 1], "has_more": at + 1 < len(names)}
            return 200, page, {}
        if self.mood != "well":
            return 200, HTML if self.mood == "html" else str(self.mood), {}
        return 200, {"object": "list", "data": every}, {}

    def _chat(self, path: str, body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        if path != "/v1/chat/completions":
            return 404, _error("no such route", None), {}
        if self.refuse_chats is not None:
            return self.refuse_chats, _error("not now", None), {}
        if body.get("model") not in self.models:
            return 404, _error("The model does not exist", "model_not_found"), {}
        if set(body) != {"model", "messages", "max_tokens", "temperature"}:
            return 400, _error(f"not of this protocol: {sorted(body)}", None), {}
        with self._lock:
            self.chats.append(body)
        text = self.answer(body["messages"][-1]["content"])
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }, {}  # fmt: skip


def _error(message: str, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, "type": "invalid_request_error"}}
