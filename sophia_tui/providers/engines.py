"""Programs that serve a model: started as nobody's child, asked by a tiny real request, stopped.

Each listens on loopback alone; names, keys and counting are the front's (sophia_tui.api).
"""

import asyncio
import http.client
import json
import os
import re
import secrets
import select
import signal
import socket
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from finetune.schema import (
    REFUSED_FILE,
    RETIRE_FILE,
    SERVE_FILE,
    SERVED_FILE,
    ContractError,
    Document,
    EngineRefusal,
    Served,
    ServedAdapter,
    ServeSpec,
    read_document,
    state_of,
    write_document,
)
from sophia_tui.domain.jobs import RunIdentity
from sophia_tui.domain.models import Model
from sophia_tui.domain.serving import Access, Engine, EngineLoad, EngineOptions, EngineProcess
from sophia_tui.files import write_whole
from sophia_tui.i18n import N_, _
from sophia_tui.providers.local import clean_environment, start_apart
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.processes import own_python
from sophia_tui.providers.run_folder import tail

D = TypeVar("D", bound=Document)

LOG_NAME = "log.txt"
_TEMPLATE_FILE = "template.jinja"
_VLLM_BASE = "base"
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
    ("libgomp.so.1", N_("the system's library libgomp is missing (Debian: libgomp1)")),
    ("Failed to init server", N_("llama.cpp could not load the weights or take its port")),
)


#: What each engine of ours does with a request beside what all do.
_LLAMA_HEEDS = frozenset(("logprobs", "top_logprobs", "response_format"))


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
    adapters = False

    def prepare(self, load: EngineLoad, options: EngineOptions, folder: Path) -> None:
        """All it reads stands in its command."""

    def command(self, load: EngineLoad, port: int, folder: Path) -> tuple[str, ...]:
        return (
            own_python(),
            "-m",
            "transformers.cli.transformers",
            "serve",
            load.base,
            "--host",
            LOOPBACK,
            "--port",
            str(port),
            "--dtype",
            self._dtype,
            "--log-level",
            "error",
        )

    @property
    def _dtype(self) -> str:
        return "auto" if has_accelerator() else "float32"

    def environment(self, folder: Path) -> dict[str, str]:
        return {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "TOKENIZERS_PARALLELISM": "false",
            # on busy cores threads that spin as long as they do by default wait for each other
            "GOMP_SPINCOUNT": "1000",
        }

    def access(self, model: Model, folder: Path) -> Access:
        path = model.path or ""
        precision = None if has_accelerator() else "f32"
        return Access(path, context=_context(path), precision=precision)


class LlamaServer:
    """llama.cpp's server by the package xllamacpp: a base and any number of adapters, several
    requests at once. The program is finetune's, for it may have to convert the weights first."""

    name = "llamacpp"
    packages: tuple[str, ...] = ("xllamacpp", "gguf")
    adapters = True

    def prepare(self, load: EngineLoad, options: EngineOptions, folder: Path) -> None:
        _write_spec(load, options, folder)

    def command(self, load: EngineLoad, port: int, folder: Path) -> tuple[str, ...]:
        return (own_python(), "-m", "finetune.serve_gguf", str(folder), str(port))

    def environment(self, folder: Path) -> dict[str, str]:
        return {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }

    def access(self, model: Model, folder: Path) -> Access:
        spec, served = _read(folder / SERVE_FILE, ServeSpec), _read(folder / SERVED_FILE, Served)
        if spec is None:
            return Access(model.id)
        scales = [
            {"id": place, "scale": 1.0 if each.model == model.id else 0.0}
            for place, each in enumerate(spec.adapters)
        ]
        return Access(
            model.id,
            body={"lora": scales},
            headers={"authorization": f"Bearer {spec.key}"},
            context=served.context if served else None,
            precision=served.precision if served else None,
            heeds=_LLAMA_HEEDS,
            strict=True,
        )


class VllmServe:
    """vLLM's server on a GPU, with adapters by name. Its command follows its documentation and was
    tried on no GPU."""

    name = "vllm"
    packages: tuple[str, ...] = ("vllm",)
    adapters = True

    def prepare(self, load: EngineLoad, options: EngineOptions, folder: Path) -> None:
        _write_spec(load, options, folder)
        if load.template is not None:
            write_whole(folder / _TEMPLATE_FILE, load.template.encode())

    def command(self, load: EngineLoad, port: int, folder: Path) -> tuple[str, ...]:
        words = [own_python(), "-m", "vllm.entrypoints.openai.api_server"]
        words += ["--model", load.base, "--served-model-name", _VLLM_BASE]
        words += ["--host", LOOPBACK, "--port", str(port), "--disable-log-requests"]
        if load.adapters:
            words += ["--enable-lora", "--max-loras", str(len(load.adapters)), "--lora-modules"]
            words += [f"{each.model}={each.path}" for each in load.adapters]
        if load.template is not None:
            words += ["--chat-template", str(folder / _TEMPLATE_FILE)]
        return tuple(words)

    def environment(self, folder: Path) -> dict[str, str]:
        spec = _read(folder / SERVE_FILE, ServeSpec)
        key = {"VLLM_API_KEY": spec.key} if spec else {}
        return {**key, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

    def access(self, model: Model, folder: Path) -> Access:
        spec = _read(folder / SERVE_FILE, ServeSpec)
        if spec is None:
            return Access(model.id)
        loaded = any(each.model == model.id for each in spec.adapters)
        return Access(
            model.id if loaded else _VLLM_BASE,
            headers={"authorization": f"Bearer {spec.key}"},
            context=_context(spec.base),
            heeds=_LLAMA_HEEDS,
            strict=True,
        )


ENGINES: dict[str, Engine] = {
    each.name: each for each in (TransformersServe(), LlamaServer(), VllmServe())
}


def has_accelerator() -> bool:
    return any(Path(each).exists() for each in _ACCELERATORS)


class LocalEngines:
    """Implements domain.protocols.EngineHost."""

    def __init__(self, machine: ThisMachine | None = None, model_cache: Path | None = None) -> None:
        self._machine = machine or ThisMachine.here()
        self._model_cache = model_cache

    @property
    def host(self) -> str:
        return self._machine.host

    def missing(self, engine: str) -> tuple[str, ...]:
        from importlib.util import find_spec

        return tuple(name for name in ENGINES[engine].packages if find_spec(name) is None)

    def chosen(self, wanted: str) -> str:
        if wanted != "auto":
            return wanted
        if has_accelerator() and not self.missing("vllm"):
            return "vllm"
        return "transformers" if self.missing("llamacpp") else "llamacpp"

    def holds_adapters(self, engine: str) -> bool:
        return ENGINES[engine].adapters

    async def start(
        self, engine: str, load: EngineLoad, options: EngineOptions, folder: str
    ) -> EngineProcess:
        chosen, place = ENGINES[engine], Path(folder)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        for earlier in (RETIRE_FILE, REFUSED_FILE):
            (place / earlier).unlink(missing_ok=True)
        port = _free_port()
        chosen.prepare(load, options, place)
        environment = {**clean_environment(os.environ), **chosen.environment(place)}
        if self._model_cache is not None:
            environment["SOPHIA_MODEL_CACHE"] = str(self._model_cache)
        command = chosen.command(load, port, place)
        label = f"serve-{place.name}"
        log = place / LOG_NAME
        pid, started = await start_apart(command, label, log, environment, background=False)
        return EngineProcess(self._machine.identity(pid, started), port)

    def loaded(self, folder: str) -> frozenset[str]:
        spec = _read(Path(folder) / SERVE_FILE, ServeSpec)
        adapters = spec.adapters if spec else []
        return frozenset(
            each.model for each in adapters if each.weights in ("", state_of(each.path))
        )

    def fresh(self, folder: str) -> bool:
        spec = _read(Path(folder) / SERVE_FILE, ServeSpec)
        return spec is None or spec.weights in ("", state_of(spec.base))

    def access(self, engine: str, model: Model, folder: str) -> Access:
        known = ENGINES.get(engine)  # another version of Sophia may have had others
        return Access(model.id) if known is None else known.access(model, Path(folder))

    async def answers(self, access: Access, port: int, seconds: float = _PROBE_SECONDS) -> bool:
        body = {
            **access.body,
            "model": access.model,
            "messages": [{"role": "user", "content": "."}],
            "max_tokens": 1,
        }
        answer = await asyncio.to_thread(
            _post, port, "/v1/chat/completions", body, access.headers, seconds
        )
        return isinstance(answer, dict) and bool(answer.get("choices"))

    def refusal(self, folder: str) -> dict[str, str] | None:
        found = _read(Path(folder) / REFUSED_FILE, EngineRefusal)
        return found.model_dump(exclude={"format_version"}) if found else None

    def retire(self, folder: str) -> None:
        (Path(folder) / RETIRE_FILE).touch()

    def orphans(self, root: str, living: Collection[str], seconds: float) -> list[str]:
        """Folders below `root` of engines that stand in no row since so long, not yet retired."""
        before = time.time() - seconds
        found = []
        for spec in Path(root).glob(f"*/{SERVE_FILE}"):
            folder = spec.parent
            known = str(folder) in living or (folder / RETIRE_FILE).exists()
            if not known and spec.stat().st_mtime < before:
                found.append(str(folder))
        return found

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


def _write_spec(load: EngineLoad, options: EngineOptions, folder: Path) -> None:
    (folder / SERVED_FILE).unlink(missing_ok=True)  # of an earlier start
    spec = ServeSpec.model_validate(
        {
            "base": load.base,
            "precision": options.precision,
            "weights": state_of(load.base),
            "adapters": [
                ServedAdapter(model=each.model, path=each.path, weights=state_of(each.path))
                for each in load.adapters
            ],
            "template": load.template,
            "context": options.context,
            "slots": options.slots,
            "key": secrets.token_urlsafe(24),
        }
    )
    write_document(folder / SERVE_FILE, spec)
    (folder / SERVE_FILE).chmod(0o600)


def _read(path: Path, model: type[D]) -> D | None:
    try:
        return read_document(path, model)
    except ContractError:
        return None


def _context(model_folder: str) -> int | None:
    """How many tokens the model's context holds, where its folder says so."""
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


def _post(
    port: int, path: str, body: Mapping[str, Any], headers: Mapping[str, str], seconds: float
) -> Any:
    """The JSON that an engine answers with status 200, else None."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        told = {"content-type": "application/json", **headers}
        connection.request("POST", path, json.dumps(body), told)
        response = connection.getresponse()
        content = response.read()
        return json.loads(content) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
