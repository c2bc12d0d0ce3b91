"""systemctl as far as starting runs goes, where there is no systemd: it starts an instance as the
template of installer/units would (the same program, nice value, umask, folder, an environment of
its own), tells when it is ready, and knows its main process.

FAKE_SYSTEMD is its folder: a file for each unit, and `refuse`, which holds why nothing may start.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ENTRY = Path(__file__).parents[2] / "sophia_tui" / "providers" / "run_unit.py"
SECONDS = 20.0


def _prepare() -> None:
    os.nice(10)
    os.umask(0o077)


def start(place: Path, unit: str) -> int:
    if (place / "refuse").exists():
        print(f"Failed to start {unit}: {(place / 'refuse').read_text()}", file=sys.stderr)
        return 1
    found = re.fullmatch(r"sophia-(?:run|engine)@([A-Za-z0-9:_.-]+)\.service", unit)
    if found is None:
        print(f"Failed to start {unit}: Unit {unit} not found.", file=sys.stderr)
        return 5
    address = str(place / f"{os.getpid()}.notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(address)
        told.settimeout(0.05)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(ENTRY), found.group(1)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(place / "journal").open("ab"),
            cwd="/",
            env={
                "NOTIFY_SOCKET": address,
                "SOPHIA_DATA_DIR": os.environ["SOPHIA_DATA_DIR"],
                "CREDENTIALS_DIRECTORY": str(place / "credentials"),
            },
            start_new_session=True,
            preexec_fn=_prepare,
        )
        for _each in range(int(SECONDS / 0.05)):
            try:
                if told.recv(64) == b"READY=1":
                    (place / unit).write_text(str(process.pid))
                    return 0
            except TimeoutError:
                if process.poll() is not None:
                    break
    print(f"Job for {unit} failed because the control process exited.", file=sys.stderr)
    return 1


def main() -> int:
    place = Path(os.environ["FAKE_SYSTEMD"])
    words = [each for each in sys.argv[1:] if not each.startswith("--")]
    if words[0] == "start":
        return start(place, words[1])
    if words[0] == "show":
        pid = (place / words[1]).read_text() if (place / words[1]).exists() else "0"
        print(pid if Path(f"/proc/{pid}").exists() else "0")
        return 0
    print(f"Unknown command verb {words[0]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
