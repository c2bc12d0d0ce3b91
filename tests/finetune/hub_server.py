"""A small hub on loopback, as strict as the real one where an upload could go wrong unseen.

It speaks what huggingface_hub 2.4 does without xet: repositories, upload modes, git-lfs's batch of
uploads by hash, storage that is another's (no token may reach it), and commits of all or nothing.
The real hub was never asked: what it does otherwise, these tests can't show.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_a-token-of-these-tests"
OWNER = "ana"
_LFS = "application/vnd.git-lfs+json"
_LARGE = (".safetensors", ".gguf")


@dataclass
class Repository:
    """Files by name, as they were committed."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@dataclass
class Hub:
    """What it holds, what it was asked wrongly, and how it is to fail."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)  # hashes that were put into the storage
    wrong: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    hold_at: int | None = None  # the upload that is never answered, counted from 0
    commit_status: int = 200
    address: str = ""


@contextmanager
def hub_server() -> Iterator[Hub]:
    """The hub, listening."""
    hub = Hub()
    handler = type("Bound", (_Handler,), {"hub": hub, "open": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        handler.open.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    open: threading.Event

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._answered()

    def do_POST(self) -> None:
        self._answered()

    def do_PUT(self) -> None:
        self._answered()

    def _answered(self) -> None:
        length = self.headers.get("Content-Length")
        if length is None and self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(length or 0))
        status, answer = self._route(body)
        if status == 400:
            self.hub.wrong.append(f"{self.command} {self.path}: {answer.get('error')}")
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("X-Error-Message", str(answer.get("error", "")))
        self.end_headers()
        with suppress(BrokenPipeError):  # who asked was killed
            self.wfile.write(content)

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _route(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if found := re.fullmatch(r"/storage/([0-9a-f]{64})\?signed=1", self.path):
            return self._store(found[1], body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid credentials"}
        asked = json.loads(body) if body and "ndjson" not in self._kind() else {}
        if (self.command, self.path) == ("POST", "/api/repos/create"):
            return self._create(asked)
        for pattern, act in (
            (r"/api/models/([\w.-]+/[\w.-]+)", self._info),
            (r"/api/models/([\w.-]+/[\w.-]+)/preupload/main", self._modes),
            (r"/([\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/([\w.-]+/[\w.-]+)\.git/info/lfs/verify", self._verify),
        ):
            if found := re.fullmatch(pattern, self.path):
                repository = self.hub.repositories.get(found[1])
                if repository is None:
                    return 404, {"error": "Repository not found"}
                return act(found[1], repository, asked)
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", self.path):
            return self._commit(found[1], body)
        return 400, {"error": "unknown path"}

    def _kind(self) -> str:
        return str(self.headers.get("Content-Type") or "")

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if asked.get("organization") != OWNER:
            return 403, {"error": "You don't have the rights to create a model there"}
        if asked.get("visibility") not in ("private", "public"):
            return 400, {"error": "visibility"}
        name = f"{OWNER}/{asked['name']}"
        url = f"{self.hub.address}/{name}"
        if name in self.hub.repositories:
            return 409, {"error": "You already created this model repo", "url": url}
        self.hub.repositories[name] = Repository(asked["visibility"] == "private")
        return 200, {"url": url}

    def _info(
        self, name: str, repository: Repository, _asked: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        return 200, {"id": name, "private": repository.private, "sha": self._head(repository)}

    def _head(self, repository: Repository) -> str:
        return repository.commits[-1] if repository.commits else "0" * 40

    def _modes(
        self, _name: str, repository: Repository, asked: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        files = []
        for each in asked["files"]:
            if set(each) != {"path", "sample", "size"}:
                return 400, {"error": "files"}
            mode = "lfs" if each["path"].endswith(_LARGE) else "regular"
            files.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False})
        return 200, {"files": files}

    def _batch(
        self, name: str, _repository: Repository, asked: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if self.headers.get("Accept") != _LFS or self._kind() != _LFS:
            return 400, {"error": "no git-lfs"}
        if asked["operation"] != "upload" or asked.get("hash_algo") != "sha256":
            return 400, {"error": "operation"}
        objects = []
        for each in asked["objects"]:
            found: dict[str, Any] = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.stored:
                there = {"href": f"{self.hub.address}/storage/{each['oid']}?signed=1"}
                verify = {"href": f"{self.hub.address}/{name}.git/info/lfs/verify"}
                found["actions"] = {"upload": there, "verify": verify}
            objects.append(found)
        return 200, {"transfer": "basic", "objects": objects}

    def _store(self, oid: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.command != "PUT" or "Authorization" in self.headers:
            return 400, {"error": "the storage is another's, and takes no token"}
        if len(self.hub.sent) == self.hub.hold_at:
            self.hub.held.set()
            self.open.wait()
        if hashlib.sha256(body).hexdigest() != oid:
            return 400, {"error": "another content than announced"}
        self.hub.sent.append(oid)
        self.hub.stored[oid] = body
        return 200, {}

    def _verify(
        self, _name: str, _repository: Repository, asked: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if len(self.hub.stored.get(asked["oid"], b"")) != asked["size"]:
            return 400, {"error": "not stored"}
        return 200, {}

    def _commit(self, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        repository = self.hub.repositories.get(name)
        if repository is None:
            return 404, {"error": "Repository not found"}
        if self.hub.commit_status != 200:
            return self.hub.commit_status, {"error": "quota of storage exceeded"}
        head, *lines = [json.loads(line) for line in body.splitlines()]
        if head["key"] != "header" or not head["value"].get("summary"):
            return 400, {"error": "header"}
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                content = self.hub.stored.get(value["oid"])
                if content is None or len(content) != value["size"]:
                    return 400, {"error": f"{value['path']} is not stored"}
            elif line["key"] == "file" and not value["path"].endswith(_LARGE):
                content = base64.b64decode(value["content"], validate=True)
            else:
                return 400, {"error": line["key"]}
            files[value["path"]] = content
        repository.files |= files
        repository.commits.append(hashlib.sha1(body).hexdigest())
        url = f"{self.hub.address}/{name}/commit/{repository.commits[-1]}"
        return 200, {"commitUrl": url, "commitOid": repository.commits[-1]}
