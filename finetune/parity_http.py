"""A small client for engines: each request has an end, however slowly it is answered."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from finetune.parity_documents import ParityCode, ParityReason

_MOST_BYTES = 1 << 24
_LONGEST_WORD = 200
_REFUSED, _NOT_FOUND = 400, 404


class Trouble(Exception):
    """An engine that gave no answer to compare; `reason` says why."""

    def __init__(self, code: ParityCode, what: str, **values: Any) -> None:
        super().__init__(what)
        self.reason = ParityReason(code=code, what=what, values=values)


class Refused(Trouble):
    """It answered that it does not take this request."""


class Client:
    """Asks one address over HTTP; `seconds` is all the time that an answer may take."""

    def __init__(self, address: str, seconds: float, key: str | None = None) -> None:
        parts = urlsplit(address)
        self.address = address
        self._host, self._path = parts.hostname or "127.0.0.1", parts.path.rstrip("/")
        self._port, self._tls = parts.port, parts.scheme == "https"
        self._seconds = seconds
        # our own front does not count these as the traffic of production
        self._headers = {"content-type": "application/json", "x-sophia-probe": "1"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Any:
        """The JSON there. Raises Trouble."""
        return self._asked("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON that it answers. Raises Trouble."""
        return self._asked("POST", path, json.dumps(body).encode())

    def _asked(self, method: str, path: str, body: bytes | None) -> Any:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._seconds)
        try:
            with self._ended_in_time(connection) as late:
                try:
                    connection.request(method, self._path + path, body, self._headers)
                    response = connection.getresponse()
                    status, content = response.status, response.read(_MOST_BYTES)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    if late.is_set() or isinstance(error, TimeoutError):
                        raise Trouble(
                            "silent",
                            f"no answer came within {self._seconds:g} seconds",
                            seconds=self._seconds,
                        ) from None
                    raise Trouble(
                        "unreachable",
                        f"nobody answers at {self.address} ({type(error).__name__})",
                        address=self.address,
                        kind=type(error).__name__,
                    ) from None
        finally:
            connection.close()
        return _read(status, content)

    @contextmanager
    def _ended_in_time(self, connection: http.client.HTTPConnection) -> Iterator[threading.Event]:
        """Cut the line off when the time is over: one that sends a byte now and then never times
        out by itself."""
        late = threading.Event()

        def cut() -> None:
            late.set()
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._seconds, cut)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()


def _read(status: int, content: bytes) -> Any:
    try:
        told: Any = json.loads(content)
    except (ValueError, RecursionError):
        told = None
    if status == _NOT_FOUND:
        raise Trouble("not_served", "it is not served under that name (HTTP 404)", status=status)
    if status != 200:
        raise Refused(
            "refused",
            f"it answered with HTTP {status}: {_word(told)}",
            status=status,
            told=_word(told),
        )
    if not isinstance(told, dict):
        raise Trouble("nonsense", "what it answered is no JSON object")
    return told


def _word(told: Any) -> str:
    """What an engine says of an error, in a few words."""
    for key in ("error", "detail", "message", "what"):
        if isinstance(told, dict) and key in told:
            return _word(told[key])
    return told[:_LONGEST_WORD] if isinstance(told, str) else ""
