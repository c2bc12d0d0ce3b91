"""Programs that serve a model: started as nobody's child, asked by a tiny real request, stopped.

Each listens on loopback alone; names, keys and counting are the front's (sophia_tui.api).
"""

import asyncio
import http.client
import json
import os
import re
import select
import signal
import socket
from pathlib import Path
from typing import Any

from sophia_tui.domain.jobs import RunIdentity
from sophia_tui.domain.serving import Engine, EngineProcess
from sophia_tui.i18n import N_, _
from sophia_tui.providers.local import clean_environment, start_apart
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.processes import own_python
from sophia_tui.providers.run_folder import tail

LOG_NAME = "log.txt"
LOOPBACK = "127.0.0.1"
#: Where one of these is, 16 bits are quick; on a processor 32 bits are, two to five times.
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd")
_PROBE_SECONDS = 60.0
_POLITE_SECONDS = 10.0
_FORCE_SECONDS = 5.0
_LARGE_LOG = 10_000_000
_LAST_LINES = 60
#: The line that ends a Python traceback: the kind of an error, then perhaps a text (never shown).
_ERROR_LINE = re.compile(r"^(?:[a-z_]\w*\.)*([A-Z]\w*(?:Error|Exception|Interrupt|Exit))\b")
#: What logs say in words of their own, and what it means.
_WORDS = (
    ("address already in use", N_("its port was taken")),
    ("out of memory", N_("memory ran out")),
    ("No module named", N_("a package is missing")),
    ("Cannot allocate memory", N_("memory ran out")),
)


class TransformersServe:
    """`transformers serve FOLDER`, pinned to that folder."""

    name = "transformers"
    packages: tuple[str, ...] = (
        "torch",
        "transformers",
        "accelerate",
        "fastapi",
        "uvicorn",
        "openai",
    )

    def command(self, model_folder: str, port: int) -> tuple[str, ...]:
        return (
            own_python(),
            "-m",
            "transformers.cli.transformers",
            "serve",
            model_folder,
            "--host",
            LOOPBACK,
            "--port",
            str(port),
            "--dtype",
            "auto" if any(Path(each).exists() for each in _ACCELERATORS) else "float32",
            "--log-level",
            "error",
        )

    def environment(self) -> dict[str, str]:
        return {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # on busy cores threads that spin as long as they do by default wait for each other
            "GOMP_SPINCOUNT": "1000",
        }

    def model_name(self, model_folder: str) -> str:
        return model_folder


ENGINES: dict[str, Engine] = {"transformers": TransformersServe()}


class LocalEngines:
    """Implements domain.protocols.EngineHost."""

    def __init__(self, machine: ThisMachine | None = None) -> None:
        self._machine = machine or ThisMachine.here()

    @property
    def host(self) -> str:
        return self._machine.host

    def missing(self, engine: str) -> tuple[str, ...]:
        from importlib.util import find_spec

        return tuple(name for name in ENGINES[engine].packages if find_spec(name) is None)

    async def start(self, engine: str, model_folder: str, folder: str) -> EngineProcess:
        chosen, place = ENGINES[engine], Path(folder)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        port = _free_port()
        environment = {**clean_environment(os.environ), **chosen.environment()}
        command = chosen.command(model_folder, port)
        label = f"serve-{place.name}"
        log = place / LOG_NAME
        pid, started = await start_apart(command, label, log, environment, background=False)
        return EngineProcess(self._machine.identity(pid, started), port)

    def model_name(self, engine: str, model_folder: str) -> str:
        return ENGINES[engine].model_name(model_folder)

    def context(self, model_folder: str) -> int | None:
        try:
            config = json.loads((Path(model_folder) / "config.json").read_bytes())
        except (OSError, ValueError):
            return None
        inner = config.get("text_config") if isinstance(config, dict) else None
        for each in (config, inner):
            size = each.get("max_position_embeddings") if isinstance(each, dict) else None
            if isinstance(size, int) and size > 0:
                return size
        return None

    async def answers(
        self, engine: str, model_folder: str, port: int, seconds: float = _PROBE_SECONDS
    ) -> bool:
        body = {
            "model": ENGINES[engine].model_name(model_folder),
            "messages": [{"role": "user", "content": "."}],
            "max_tokens": 1,
        }
        answer = await asyncio.to_thread(_post, port, "/v1/chat/completions", body, seconds)
        return isinstance(answer, dict) and bool(answer.get("choices"))

    def same_boot(self, identity: RunIdentity) -> bool:
        return self._machine.same_boot(identity)

    def alive(self, identity: RunIdentity) -> bool:
        return self._machine.alive(identity)

    async def stop(self, identity: RunIdentity) -> None:
        await stop_group(self._machine, identity)

    def last_cause(self, folder: str) -> str:
        try:
            lines = tail(Path(folder) / LOG_NAME, _LAST_LINES)
        except OSError:
            return ""
        for line in reversed(lines):
            for word, meaning in _WORDS:
                if word.lower() in line.lower():
                    return _(meaning)
            if found := _ERROR_LINE.match(line):
                return found.group(1)
        return ""

    def trim_log(self, folder: str) -> None:
        path = Path(folder) / LOG_NAME
        # the engine appends, so it goes on at the new end
        if path.exists() and path.stat().st_size > _LARGE_LOG:
            os.truncate(path, 0)


async def stop_group(machine: ThisMachine, identity: RunIdentity) -> None:
    """End a process and its group: SIGTERM, and SIGKILL for what does not heed it.

    The pidfd holds against a reused pid: while it says that the process lives, its number and that
    of its group are nobody else's.
    """
    try:
        handle = os.pidfd_open(identity.pid)
    except OSError:
        return
    try:
        if not machine.alive(identity):
            return
        for number, seconds in (
            (signal.SIGTERM, _POLITE_SECONDS),
            (signal.SIGKILL, _FORCE_SECONDS),
        ):
            _signal_group(handle, identity.pid, number)
            if await _ended(handle, seconds):
                return
    finally:
        os.close(handle)


def _signal_group(handle: int, pid: int, number: signal.Signals) -> None:
    if _is_over(handle):
        return
    try:
        group = os.getpgid(pid)
        if group == os.getpgid(0):  # never our own
            signal.pidfd_send_signal(handle, number)
        else:
            os.killpg(group, number)
    except ProcessLookupError:
        return


def _is_over(handle: int) -> bool:
    """A pidfd is readable once its process has ended."""
    return bool(select.select([handle], [], [], 0)[0])


async def _ended(handle: int, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not _is_over(handle):
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(0.05)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _post(port: int, path: str, body: dict[str, Any], seconds: float) -> Any:
    """The JSON that an engine answers with status 200, else None."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        return json.loads(content) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
