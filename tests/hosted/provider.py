"""A stand-in for a fine-tuning provider: a real HTTP server on loopback, written from OpenAI's
OpenAPI description. Strict about what it is sent; its faults are switched by the test. It shares no
code with Sophia.

A job's status moves on each time that it is retrieved, so that no test waits for a clock.
"""

import email
import email.policy
import hashlib
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

KEY = "sk-test-0123456789abcdef"
STATUSES = ["validating_files", "queued", "running", "running", "succeeded"]
CREATE_FIELDS = {
    "model",
    "training_file",
    "validation_file",
    "suffix",
    "seed",
    "metadata",
    "integrations",
    "method",
    "hyperparameters",
}
HTML = "<!DOCTYPE html><html><head><title>Gateway</title></head><body>Hello</body></html>"


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


def error(status: int, message: str, code: str | None = None, kind: str = "invalid_request_error"):  # type: ignore[no-untyped-def]
    """The protocol's own form of an error."""
    return Refusal(
        status, {"error": {"message": message, "type": kind, "param": None, "code": code}}
    )


class Provider:
    """The server and all that it holds. Use as a context manager."""

    def __init__(self, key: str | None = KEY) -> None:
        self.key = key
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.scripts: dict[str, list[str]] = {}
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.checkpoints: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.uploads: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, bytes] = {}
        self.models: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        #: By route (e.g. "create"), what comes in place of the next answers, one for each request:
        #: a Refusal, a text (sent with 200), or a callable that gets the true answer.
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.statuses = list(STATUSES)
        self.file_status: str | None = "processed"
        self.file_problem: str | None = None
        self.trained_tokens = 12_345
        self.endless = False
        self.no_metadata = False
        self.gone: set[str] = set()  # routes that this server does not have
        self.failure: dict[str, Any] | None = None
        self.error_of_none: Any = None  # how "no error" is said
        self.held = threading.Event()  # set: jobs stand still
        self._lock = threading.RLock()
        self._serial = 0

    def __enter__(self) -> "Provider":
        provider = self

        class Handler(_Handler):
            owner = provider

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def count(self, route: str) -> int:
        """How many requests came for that route."""
        return sum(1 for name, _path, _headers in self.requests if name == route)

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
        """The answer to one request, after faults. Raises Refusal."""
        name, made = self._route(method, path)
        with self._lock:
            self.requests.append((name, path, {key.lower(): each for key, each in headers.items()}))
            if self.key is not None and headers.get("Authorization") != f"Bearer {self.key}":
                raise error(401, f"Incorrect API key provided: {headers.get('Authorization')}")
            if name in self.gone:
                raise Refusal(404, {"detail": "Not Found"})
            fault = self.faults[name].pop(0) if self.faults[name] else None
            if isinstance(fault, Refusal):
                raise fault
            if fault is not None and not callable(fault):
                return fault
            given = made(body, headers, query)
            return fault(given) if fault is not None else given

    def _route(self, method: str, path: str) -> tuple[str, Callable[[bytes, Any, str], Any]]:
        parts = path.strip("/").split("/")
        if parts[:1] != ["v1"]:
            raise Refusal(404, {"detail": "Not Found"})
        match (method, *parts[1:]):
            case ("POST", "files"):
                return "upload", self._upload
            case ("GET", "files"):
                return "files", lambda _body, _headers, query: self._list_files(query)
            case ("GET", "files", file_id):
                return "file", lambda *_rest: self._file(file_id)
            case ("DELETE", "files", file_id):
                return "delete_file", lambda *_rest: self._delete(self.files, "file", file_id)
            case ("POST", "uploads"):
                return "begin", self._begin
            case ("POST", "uploads", upload_id, "parts"):
                return "part", lambda body, headers, _q: self._part(upload_id, body, headers)
            case ("POST", "uploads", upload_id, "complete"):
                return "complete", lambda body, *_rest: self._complete(upload_id, body)
            case ("POST", "uploads", upload_id, "cancel"):
                return "cancel_upload", lambda *_rest: self._cancel_upload(upload_id)
            case ("GET", "models", model):
                return "model", lambda *_rest: self._model(model)
            case ("DELETE", "models", model):
                return "delete_model", lambda *_rest: self._delete(self.models, "model", model)
            case ("POST", "fine_tuning", "jobs"):
                return "create", self._create
            case ("GET", "fine_tuning", "jobs"):
                return "list", lambda _body, _headers, query: self._list(query)
            case ("GET", "fine_tuning", "jobs", job_id):
                return "show", lambda *_rest: self._show(job_id)
            case ("POST", "fine_tuning", "jobs", job_id, ("cancel" | "pause" | "resume") as verb):
                return verb, lambda *_rest: self._act(job_id, verb)
            case ("GET", "fine_tuning", "jobs", job_id, "events"):
                return "events", lambda _body, _headers, query: self._events(job_id, query)
            case ("GET", "fine_tuning", "jobs", job_id, "checkpoints"):
                return "checkpoints", lambda _b, _headers, query: self._checkpoints(job_id, query)
        raise Refusal(404, {"detail": "Not Found"})

    def _new_id(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}-{self._serial:06d}"

    def _upload(self, body: bytes, headers: Any, _query: str) -> Any:
        parts = _form(body, headers)
        if set(parts) != {"purpose", "file"}:
            raise error(400, f"unknown fields: {sorted(parts)}")
        if parts["purpose"].get_payload(decode=True).strip() != b"fine-tune":
            raise error(400, "purpose must be fine-tune")
        content = parts["file"].get_payload(decode=True)
        return self._keep(parts["file"].get_filename() or "", content)

    def _keep(self, name: str, content: bytes) -> Any:
        if not name.endswith(".jsonl"):
            raise error(400, "Invalid file format. Must be .jsonl")
        file_id = self._new_id("file")
        self.contents[file_id] = content
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": int(time.time()),
            "filename": name,
            "purpose": "fine-tune",
        }
        return self._file(file_id)

    def _begin(self, body: bytes, _headers: Any, _query: str) -> Any:
        asked = json.loads(body)
        if set(asked) != {"bytes", "filename", "mime_type", "purpose"}:
            raise error(400, f"unknown fields: {sorted(asked)}")
        if asked["mime_type"] != "text/jsonl" or asked["purpose"] != "fine-tune":
            raise error(400, "mime_type and purpose do not fit")
        upload_id = self._new_id("upload")
        more = {"id": upload_id, "object": "upload", "status": "pending", "file": None}
        self.uploads[upload_id] = {**asked, **more, "created_at": 1, "expires_at": 2}
        return self.uploads[upload_id]

    def _pending(self, upload_id: str) -> dict[str, Any]:
        found = self.uploads.get(upload_id)
        if found is None:
            raise error(404, "No such Upload")
        if found["status"] != "pending":
            raise error(400, f"The upload is {found['status']}")
        return found

    def _part(self, upload_id: str, body: bytes, headers: Any) -> Any:
        self._pending(upload_id)
        parts = _form(body, headers)
        if set(parts) != {"data"}:
            raise error(400, f"unknown fields: {sorted(parts)}")
        part_id = self._new_id("part")
        self.parts[part_id] = parts["data"].get_payload(decode=True)
        return {"id": part_id, "object": "upload.part", "created_at": 1, "upload_id": upload_id}

    def _complete(self, upload_id: str, body: bytes) -> Any:
        upload = self._pending(upload_id)
        asked = json.loads(body)
        content = b"".join(self.parts[each] for each in asked["part_ids"])
        if len(content) != upload["bytes"]:
            raise error(400, "The parts do not have the bytes that were announced")
        if asked.get("md5") != hashlib.md5(content).hexdigest():
            raise error(400, "md5")
        upload["status"], upload["file"] = "completed", self._keep(upload["filename"], content)
        return upload

    def _cancel_upload(self, upload_id: str) -> Any:
        self._pending(upload_id)["status"] = "cancelled"
        return self.uploads[upload_id]

    def _list_files(self, query: str) -> Any:
        rest = "&".join(each for each in query.split("&") if each != "purpose=fine-tune")
        return self._page([self._file(each) for each in reversed(self.files)], rest)

    def _delete(self, kept: dict[str, Any], kind: str, name: str) -> Any:
        if name not in kept:
            raise error(404, f"No such {kind} object")
        del kept[name]
        return {"id": name, "object": kind, "deleted": True}

    def _model(self, model: str) -> Any:
        if model not in self.models:
            raise error(404, f"The model '{model}' does not exist", "model_not_found")
        return self.models[model]

    def _file(self, file_id: str) -> Any:
        if file_id not in self.files:
            raise error(404, "No such File object")
        about = dict(self.files[file_id])
        if self.file_status is not None:
            about["status"] = self.file_status
        if self.file_problem:
            about["status_details"] = self.file_problem
        return about

    def _create(self, body: bytes, headers: Any, _query: str) -> Any:
        if headers.get("Content-Type") != "application/json":
            raise error(400, "application/json is wanted")
        asked = json.loads(body)
        _check_create(asked)
        for name in ("training_file", "validation_file"):
            if asked.get(name) is not None and asked[name] not in self.files:
                raise error(400, f"invalid {name}: {asked[name]}", "invalid_file")
        job_id = self._new_id("ftjob")
        self.jobs[job_id] = {
            "object": "fine_tuning.job",
            "id": job_id,
            "model": asked["model"],
            "created_at": int(time.time()),
            "finished_at": None,
            "fine_tuned_model": None,
            "organization_id": "org-test",
            "result_files": [],
            "status": self.statuses[0],
            "validation_file": asked.get("validation_file"),
            "training_file": asked["training_file"],
            # absent for everything but supervised
            "hyperparameters": asked["method"].get("supervised", {}).get("hyperparameters"),
            "trained_tokens": None,
            "error": self.error_of_none,
            "seed": asked.get("seed", 7),
            "method": asked["method"],
            "estimated_finish": None,
            "suffix": asked.get("suffix"),
            **({} if self.no_metadata else {"metadata": asked.get("metadata", {})}),
        }
        self.scripts[job_id] = list(self.statuses[1:])
        self._tell(job_id, f"Created fine-tuning job: {job_id}")
        return self.jobs[job_id]

    def _tell(self, job_id: str, message: str, data: Any = None, level: str = "info") -> None:
        self.events[job_id].append(
            {
                "object": "fine_tuning.job.event",
                "id": self._new_id("ftevent"),
                "created_at": int(time.time()),
                "level": level,
                "message": message,
                "data": data,
                "type": "metrics" if data else "message",
            }
        )

    def _get(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise error(404, f"Could not find fine tune: {job_id}", "fine_tune_not_found")
        return self.jobs[job_id]

    def _show(self, job_id: str) -> Any:
        job = self._get(job_id)
        if self.scripts[job_id] and not self.held.is_set():
            self._move(job, self.scripts[job_id].pop(0))
        return job

    def _move(self, job: dict[str, Any], status: str) -> None:
        job["status"] = status
        steps = sum(1 for each in self.events[job["id"]] if each["data"])
        if status == "running":
            job["estimated_finish"] = int(time.time()) + 60
            data = {"step": steps + 1, "total_steps": 2, "train_loss": 1.5 / (steps + 1)}
            self._tell(job["id"], f"Step {steps + 1}/2: training loss={data['train_loss']}", data)
            self.checkpoints[job["id"]].append(
                {
                    "id": self._new_id("ftckpt"),
                    "object": "fine_tuning.job.checkpoint",
                    "created_at": int(time.time()),
                    "fine_tuned_model_checkpoint": f"ft:{job['model']}:ckpt-step-{steps + 1}",
                    "fine_tuning_job_id": job["id"],
                    "step_number": steps + 1,
                    "metrics": {"step": steps + 1, "train_loss": data["train_loss"]},
                }
            )
        if status == "succeeded":
            suffix = job["suffix"] or ""
            job["fine_tuned_model"] = f"ft:{job['model']}:org-test:{suffix}:{job['id'][-6:]}"
            self.models[job["fine_tuned_model"]] = {"id": job["fine_tuned_model"]}
            job["trained_tokens"] = self.trained_tokens
            job["result_files"] = ["file-results"]
            self._tell(job["id"], "The job has successfully completed")
        if status == "failed":
            job["error"] = self.failure
        if status in ("succeeded", "failed", "cancelled"):
            job["finished_at"], job["estimated_finish"] = int(time.time()), None

    def _list(self, query: str) -> Any:
        return self._page(list(reversed(self.jobs.values())), query)

    def _events(self, job_id: str, query: str) -> Any:
        self._get(job_id)
        return self._page(list(reversed(self.events[job_id])), query)

    def _checkpoints(self, job_id: str, query: str) -> Any:
        self._get(job_id)
        return self._page(list(reversed(self.checkpoints[job_id])), query)

    def _page(self, entries: list[dict[str, Any]], query: str) -> Any:
        asked = dict(part.partition("=")[::2] for part in query.split("&") if part)
        limit = int(asked.pop("limit", 20))
        after = asked.pop("after", None)
        if asked or not 1 <= limit <= 100:
            raise error(400, f"unknown parameters: {asked}, limit {limit}")
        ids = [each["id"] for each in entries]
        start = ids.index(after) + 1 if after in ids and not self.endless else 0
        page = entries[start : start + limit]
        return {
            "object": "list",
            "data": page,
            "has_more": self.endless or start + limit < len(entries),
        }

    def _act(self, job_id: str, verb: str) -> Any:
        job = self._get(job_id)
        if job["status"] in ("succeeded", "failed", "cancelled"):
            raise error(400, f"Job has already completed: {job['status']}")
        if verb == "cancel":
            self.scripts[job_id] = []
            self._move(job, "cancelled")
        else:
            job["status"] = "paused" if verb == "pause" else "running"
        return job


def _form(body: bytes, headers: Any) -> dict[str, Any]:
    """The parts of a multipart body, by name."""
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        raise error(400, "multipart/form-data is wanted")
    message = email.message_from_bytes(
        b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
    )
    return {
        str(each.get_param("name", header="content-disposition")): each
        for each in message.iter_parts()  # type: ignore[attr-defined]
    }


def _check_create(asked: Any) -> None:
    if not isinstance(asked, dict) or not asked.keys() <= CREATE_FIELDS:
        raise error(400, f"Unrecognized request arguments: {sorted(set(asked) - CREATE_FIELDS)}")
    if "hyperparameters" in asked:
        raise error(400, "hyperparameters is deprecated: use method")
    for name in ("model", "training_file"):
        if not isinstance(asked.get(name), str) or not asked[name]:
            raise error(400, f"Missing required parameter: '{name}'.")
    method = asked.get("method")
    kind = method.get("type") if isinstance(method, dict) else None
    if kind not in ("supervised", "dpo") or set(method) != {"type", kind}:
        raise error(400, "method.type")
    chosen = method[kind].get("hyperparameters")
    if not isinstance(chosen, dict):
        raise error(400, f"method.{kind}.hyperparameters")
    bounds = {"n_epochs": (1, 50), "batch_size": (1, 256), "learning_rate_multiplier": (0, 1e9)}
    if kind == "dpo":
        bounds["beta"] = (1e-9, 2)
    for name, value in chosen.items():
        if name not in bounds:
            raise error(400, f"unknown hyperparameter {name}")
        low, high = bounds[name]
        if value != "auto" and not (isinstance(value, int | float) and low <= value <= high):
            raise error(400, f"{name} is out of bounds: {value}")
    suffix, seed = asked.get("suffix"), asked.get("seed")
    if suffix is not None and not (isinstance(suffix, str) and 1 <= len(suffix) <= 64):
        raise error(400, "suffix")
    if seed is not None and not (isinstance(seed, int) and 0 <= seed <= 2147483647):
        raise error(400, "seed")
    metadata = asked.get("metadata", {})
    if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
        raise error(400, "metadata")


class Dropped(Exception):
    """The connection is cut, and nobody is told what became of the request."""


def drop(_answer: Any) -> Any:
    """A fault: the request is carried out, and its answer never arrives."""
    raise Dropped


class _Handler(BaseHTTPRequestHandler):
    owner: Provider
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        path, _sign, query = unquote(self.path).partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self.owner.answer(self.command, path, query, self.headers, body)
        except Refusal as refusal:
            self._send(refusal.status, refusal.body, refusal.headers)
        except Dropped:
            self.close_connection = True
        else:
            self._send(200, answer, {})

    do_GET = do_POST = do_DELETE = _serve

    def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        content = text.encode()
        self.send_response(status)
        kind = "text/html" if text.startswith("<") else "application/json"
        for key, value in {"Content-Type": kind, **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
