"""llama.cpp's server for one .gguf file: `python -m finetune.gguf_server FILE TOKENS`.

Listens on loopback, says its address in one line, and ends when its standard input does: so it
never outlives who started it. Keys and values are kept in 32 bits, so that what differs is what
the file's weights make of it.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Serve until standard input ends; returns the exit code."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.n_ctx = int(sys.argv[2])
    params.n_parallel = 1
    params.warmup = False
    params.use_jinja = True
    params.endpoint_props = True
    params.flash_attn_type = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
