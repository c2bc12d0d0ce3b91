"""The HTTP API as a process of its own: started where none answers, found again, stopped."""

import asyncio
import http.client
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict
from urllib.parse import urlsplit

from pydantic import SecretStr

from sophia_tui.domain.jobs import RunIdentity
from sophia_tui.files import write_whole
from sophia_tui.paths import Paths
from sophia_tui.providers.engines import stop_group
from sophia_tui.providers.local import start_detached
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.units import run_template
from sophia_tui.settings import Settings, find_env_file

API_UNIT = "sophia-api.service"
LOG_NAME = "api.log"
_ANSWER_SECONDS = 3.0
_START_SECONDS = 30.0


class DetachedApi:
    """Implements domain.protocols.ApiProcess."""

    def __init__(
        self,
        paths: Paths,
        settings: Settings,
        environment: Mapping[str, str],
        machine: ThisMachine | None = None,
    ) -> None:
        self.address = settings.api_url.rstrip("/")
        self.unit = API_UNIT if run_template(environment) else None
        self._place = settings.api_place
        self._paths = paths
        self._environment = dict(environment)
        self._machine = machine or ThisMachine.here()
        self._record = paths.state / "api.json"
        tokens = (settings.model_token, settings.operator_token, settings.finetune_token)
        self._token = next(filter(None, tokens), None)

    async def answers(self) -> bool:
        status, body = await asyncio.to_thread(self._get, "/health", None)
        return status in (200, 503) and isinstance(body, dict) and "store" in body

    async def serves(self, name: str) -> int:
        status, _body = await asyncio.to_thread(self._get, f"/v1/models/{name}", self._token)
        return status

    def startable(self) -> bool:
        return self._place is not None

    async def taken(self) -> bool:
        if self.identity() is not None:
            return False
        return await asyncio.to_thread(self._listened)

    def make_key(self) -> str:
        path = self._paths.model_token
        self._token = SecretStr(f"sophia-{secrets.token_urlsafe(32)}")
        write_whole(path, self._token.get_secret_value().encode("ascii") + b"\n")
        return str(path)

    async def start(self) -> bool:
        assert self._place is not None  # it is startable
        host, port = self._place
        self._paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = (
            sys.executable,
            "-m",
            "sophia_tui.cli.main",
            "serve",
            "api",
            "--host",
            host,
            "--port",
            str(port),
        )
        log = self._paths.logs / LOG_NAME
        environment = self._own_environment()
        pid, started = await start_detached(command, log, environment, background=False)
        identity = self._machine.identity(pid, started)
        self._paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(self._record, json.dumps(asdict(identity)).encode())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while self._machine.alive(identity) and loop.time() < deadline:
            if await self.answers():
                return True
            await asyncio.sleep(0.2)
        return False

    def identity(self) -> RunIdentity | None:
        try:
            named = RunIdentity(**json.loads(self._record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return named if self._machine.alive(named) else None

    async def stop(self) -> bool:
        identity = self.identity()
        if identity is None:
            return False
        await stop_group(self._machine, identity)
        self._record.unlink(missing_ok=True)
        return True

    def _listened(self) -> bool:
        assert self._place is not None  # it is startable
        try:
            with socket.create_connection(self._place, timeout=_ANSWER_SECONDS):
                return True
        except OSError:
            return False

    def _own_environment(self) -> dict[str, str]:
        """Ours, with what a process that stands in / would not find by itself."""
        given = dict(self._environment)
        given.setdefault("PATH", os.defpath)
        given["PYTHONSAFEPATH"] = "1"
        given["SOPHIA_DATA_DIR"] = str(self._paths.data)
        env_file = find_env_file(self._environment)
        if env_file is not None:
            given["SOPHIA_ENV_FILE"] = str(env_file)
        return given

    def _get(self, path: str, token: SecretStr | None) -> tuple[int, object]:
        """Status and JSON of an answer; 0 for none."""
        parts = urlsplit(self.address)
        kinds = {"https": http.client.HTTPSConnection}
        kind = kinds.get(parts.scheme, http.client.HTTPConnection)
        headers = {}
        if token is not None:
            headers["authorization"] = f"Bearer {token.get_secret_value()}"
        try:
            connection = kind(parts.hostname or "", parts.port, timeout=_ANSWER_SECONDS)
        except (ValueError, http.client.HTTPException):
            return 0, None
        try:
            connection.request("GET", parts.path + path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()
