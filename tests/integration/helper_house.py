"""A root helper as systemd would run it: a socket, a process of its own for each connection, and a
systemctl that keeps the states of units in files."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sophia_tui.root.files import digest

PROGRAM = Path(__file__).parents[2] / "installer" / "libexec" / "sophia-helper"
ENV = "# the assistant\nDB_PASSWORD='s3cr3t # x'\nexport GEN_MODEL=old\nEXPANSION_MODEL=\"old\"\r\n"
#: The account and group that stand for `sophia`, who is in no test machine.
ACCOUNT = "games"

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="the root helper is attacked as root, in temporary folders"
)

_SYSTEMCTL = """#!/bin/sh
# systemctl [--no-ask-password] VERB [--property=…] -- UNIT
verb=$2 unit=
for unit; do :; done
echo "$verb $unit" >>"$(dirname "$0")/calls"
state=$(cat "$(dirname "$0")/states/$unit" 2>/dev/null || echo active)
[ "$verb" = show ] || exit 0
echo LoadState=loaded
echo "ActiveState=$state"
echo SubState=running
echo Result=success
echo InvocationID=1
"""


class HelperHouse:
    """`folder` is root's alone. `path` is the declared file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.srv = self.made("srv")
        self.path = self.env("rag.env")
        self.own = self.env("sophia.env", "API_URL=http://localhost:8000\n")
        self.conf = folder / "managed.conf"
        self.state = self.made("state")
        self.state.chmod(0o700)
        tools = self.made("tools")
        self.made("tools/states")
        self.systemctl = tools / "systemctl"
        self.systemctl.write_text(_SYSTEMCTL)
        self.systemctl.chmod(0o755)
        self.declare(f"[{self.path}]\nrestart = rag.service\nread-by = report.service\nwrite = yes")
        self.socket = folder / "helper.sock"
        self.log = folder / "journal"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket))
        self.socket.chmod(0o666)
        self._listener.listen(16)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._talks = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def made(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(mode=0o755)
        path.chmod(0o755)
        return path

    def env(self, name: str, content: str = ENV, folder: Path | None = None) -> Path:
        path = (folder or self.srv) / name
        path.write_text(content, newline="")
        path.chmod(0o640)
        return path

    def declare(self, text: str) -> None:
        self.conf.write_text(text + "\n")
        self.conf.chmod(0o640)

    def unit(self, name: str, state: str) -> None:
        """What systemctl says of the unit from now on."""
        (self.systemctl.parent / "states" / name).write_text(state)

    def calls(self, verb: str) -> list[str]:
        """The units that systemctl was given with that verb."""
        path = self.systemctl.parent / "calls"
        told = path.read_text().splitlines() if path.exists() else []
        return [line.split(" ", 1)[1] for line in told if line.startswith(f"{verb} ")]

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            with connection, self.log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-IS", str(PROGRAM), "--conf", str(self.conf)),
                            *("--state", str(self.state / "helper"), "--account", ACCOUNT),
                            *("--own-file", str(self.own), "--own-unit", "sophia-api.service"),
                            *("--systemctl", str(self.systemctl), "--settle", "0.05"),
                        ],
                        stdin=connection,
                        stdout=connection,
                        stderr=log,
                        env={},
                    )
                )

    def connect(self) -> socket.socket:
        talk = socket.socket(socket.AF_UNIX)
        talk.settimeout(60)
        talk.connect(str(self.socket))
        self._talks += 1
        return talk

    def ask(self, *messages: Any) -> list[dict[str, Any]]:
        """The answers to messages (objects, or bytes as they are) of one connection."""
        with self.connect() as talk:
            for each in messages:
                talk.sendall(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n")
            talk.shutdown(socket.SHUT_WR)
            with talk.makefile("rb") as answers:
                return [json.loads(line) for line in answers]

    def code(self, message: Any) -> str:
        """The code of the refusal."""
        [code] = self.codes(message)
        return code

    def codes(self, *messages: Any) -> list[str]:
        """The codes of refusals in one talk."""
        answers = self.ask(*messages)
        assert not any(each["ok"] for each in answers), answers
        return [each["error"]["code"].removeprefix("SOPHIA-") for each in answers]

    def replacing(self, content: str, path: Path | None = None) -> dict[str, Any]:
        path = path or self.path
        return {
            "verb": "replace",
            "file": str(path),
            "sha256": digest(path.read_bytes()),
            "content": content,
        }

    def journal(self) -> str:
        """What all helpers wrote, once they ended."""
        deadline = time.monotonic() + 60
        while len(self.processes) < self._talks:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for each in self.processes:
            each.wait(timeout=60)
        return self.log.read_text()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)
        for each in self.processes:
            each.kill()
            each.wait(timeout=10)
