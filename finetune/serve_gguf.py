"""`python -m finetune.serve_gguf FOLDER PORT`: llama.cpp's server on loopback, as engine.json says.

Made for Sophia, which starts and watches it: whoever asks must bear the key of engine.json. It ends
on SIGTERM; where the file `retire` appears in its folder it answers what it was asked, then ends.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from finetune import schema

_LOOK_SECONDS = 0.5
#: For so long it must have been idle before it goes: who asks may still know it by its old address.
_QUIET_SECONDS = 3.0
_LONGEST_SECONDS = 900.0
_UNDER_WAY = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)
#: llama.cpp's log tells errors alone: more would be lines for each request.
_ERRORS_ONLY = 1


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; the exit code."""
    folder, port = (sys.argv[1:] if arguments is None else arguments)[:2]
    place = Path(folder)
    spec = schema.read_document(place / schema.SERVE_FILE, schema.ServeSpec)
    # in a process of its own: what converting needs would stay in memory as long as we serve
    made = subprocess.run([sys.executable, "-m", "finetune.served_files", folder], check=False)
    if made.returncode:
        return made.returncode
    served = schema.read_document(place / schema.SERVED_FILE, schema.Served)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_told: ending.set())
    server = _started(spec, served, int(port))
    # llama.cpp takes the signal for itself while it starts
    signal.signal(signal.SIGTERM, lambda *_told: ending.set())
    print(f"serving at {server.listening_address}", flush=True)
    _until(ending, server, place / schema.RETIRE_FILE)
    return schema.EXIT_DONE


def _bring_openmp() -> None:
    """llama.cpp needs the system's libgomp, which a bare server lacks; torch brings the same."""
    try:
        ctypes.CDLL("libgomp.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        torch = importlib.util.find_spec("torch")  # it is not imported: that takes seconds
        if torch is None or torch.origin is None:
            raise
        brought = Path(torch.origin).parent / "lib" / "libgomp.so.1"
        ctypes.CDLL(str(brought), mode=ctypes.RTLD_GLOBAL)


def _started(spec: schema.ServeSpec, served: schema.Served, port: int) -> Any:
    _bring_openmp()
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = served.base
    wanted.hostnames = ["127.0.0.1"]
    wanted.port = port
    wanted.api_keys = [spec.key]
    wanted.n_parallel = spec.slots
    wanted.n_ctx = served.context
    wanted.kv_unified = True  # one long request may have what the others leave
    wanted.cache_ram_mib = 0  # it would keep old prompts in gigabytes of memory
    wanted.ui = wanted.endpoint_slots = wanted.endpoint_props = False
    wanted.endpoint_metrics = True
    wanted.verbosity = _ERRORS_ONLY
    wanted.prefill_assistant = False
    wanted.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    if spec.threads is not None:
        wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = spec.threads
    if spec.template is not None:
        wanted.chat_template = spec.template
    adapters = []
    for path in served.adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0  # each request says which one counts
        adapters.append(adapter)
    wanted.lora_adapters = adapters
    return xllamacpp.Server(wanted)


def _until(ending: threading.Event, server: Any, retire: Path) -> None:
    """Wait for the end; once retired, until nothing was under way for a while."""
    idle_since = retired_at = None
    while not ending.wait(_LOOK_SECONDS):
        if not retire.exists():
            continue
        now = time.monotonic()
        retired_at = retired_at or now
        busy = sum(int(each) for each in _UNDER_WAY.findall(server.handle_metrics()))
        idle_since = None if busy else idle_since or now
        if idle_since is not None and now - idle_since >= _QUIET_SECONDS:
            return
        if now - retired_at >= _LONGEST_SECONDS:
            return


if __name__ == "__main__":
    sys.exit(main())
