"""A slow line to a real sshd: a relay on the loopback that delays and limits what passes, for
kernels without netem (`tc qdisc add … netem delay 100ms rate 56kbit` does the same)."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

#: What TCP and IP add to each piece on the line, and the longest piece.
_HEADERS, _LONGEST = 52, 1448


class Line:
    """Passes connections on to a port: each byte `delay` seconds later, `rate` bits a second."""

    def __init__(self, target: int, delay: float, rate: float) -> None:
        self._target, self._delay, self._rate = target, delay, rate
        self.port = free_port()
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        def end() -> None:
            for each in asyncio.all_tasks(self._loop):
                each.cancel()
            self._loop.call_soon(self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join(5)

    def _run(self) -> None:
        self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._way(reader, back), self._way(there, writer))

    async def _way(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(self._arrive(under_way, sink))
        free = 0.0
        while True:
            part = await source.read(_LONGEST)
            free = max(free, time.monotonic()) + 8 * (len(part) + _HEADERS) / self._rate
            under_way.put_nowait((free + self._delay, part))
            if not part:
                break
            await asyncio.sleep(max(0.0, free - time.monotonic()))
        await arriving

    async def _arrive(
        self, under_way: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                at, part = await under_way.get()
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                if not part:
                    break
                sink.write(part)
                await sink.drain()
        sink.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def missing() -> list[str]:
    """Programs that are not here."""
    found = {name: shutil.which(name) for name in ("ssh", "ssh-keygen")}
    found["sshd"] = server_program()
    return [name for name, where in found.items() if where is None]


def server_program() -> str | None:
    """SSHD names one that is not in the usual places."""
    return os.environ.get("SSHD") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """An sshd of this user's own on the loopback; its port."""
    port = free_port()
    for name in ("host", "key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    settings = (
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder / 'host'}",
        f"AuthorizedKeysFile {folder / 'key.pub'}",
        "StrictModes no",
        "UsePAM no",
        "PidFile none",
        "PermitRootLogin yes",
        "PasswordAuthentication no",
    )
    (folder / "sshd_config").write_text("\n".join(settings) + "\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    command = [str(server_program()), "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        for _attempt in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError((folder / "sshd.log").read_text())
        yield port
    finally:
        process.terminate()
        process.wait(10)


def over(folder: Path, port: int, command: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """What runs a command at the other end of the line, in a terminal there."""
    given_there = " ".join(f"{name}={quote(value)}" for name, value in given.items())
    there = f"export {given_there}; exec {' '.join(map(quote, command))}"
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    told = [word for option in options for word in ("-o", option)]
    key = str(folder / "key")
    return ["ssh", "-tt", "-F", "none", "-i", key, "-p", str(port), *told, "127.0.0.1", there]
