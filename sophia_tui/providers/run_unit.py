"""Becomes a run, in a unit of systemd's: `python3 -I -S run_unit.py INSTANCE`, as the account.

The unit is fixed text that root wrote; what to run stands in a file of the account's own below the
data folder, which is gone once it is read. It never imports anything of ours: only the standard
library is there. systemd is told READY just before the run begins; a reason why it could not
stands beside the file for whoever asked.
"""

import json
import os
import socket
import stat
import sys

SPEC_FOLDER = "run-units"
PROBLEM_SUFFIX = ".problem"
CREDENTIAL = "sophia.env"
#: The most that a file of what to run may hold, in bytes.
_MOST = 1 << 20


def _read(path: str) -> dict[str, object]:
    """What to run; nobody but the account may have written it. Raises OSError, ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ValueError("the file of what to run is not the account's own")
        if found.st_mode & 0o077:
            raise ValueError("the file of what to run is open to others")
        content = stream.read(_MOST + 1)
    os.unlink(path)  # it may hold a token
    spec = json.loads(content)
    if not isinstance(spec, dict):
        raise ValueError("the file of what to run can't be read")
    return spec


def _ready() -> None:
    """Tell systemd that the run begins; whoever started the unit waited for this."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.sendto(b"READY=1", address)


def _environment(spec: dict[str, object]) -> dict[str, str]:
    """What the run knows; one that has the settings reads them from this unit's own credential."""
    given = spec["environment"]
    if not isinstance(given, dict):
        raise ValueError("the environment can't be read")
    known = {str(key): str(value) for key, value in given.items()}
    own = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), CREDENTIAL)
    if "SOPHIA_ENV_FILE" in known and os.path.isabs(own) and os.path.exists(own):
        known["SOPHIA_ENV_FILE"] = own
    return known


def _become(spec: dict[str, object]) -> None:
    command = spec["command"]
    if not isinstance(command, list) or not command:
        raise ValueError("there is no command")
    words = [str(each) for each in command]
    environment = _environment(spec)
    if not os.access(words[0], os.X_OK):
        raise FileNotFoundError(2, os.strerror(2), words[0])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(str(spec["log"]), flags, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _ready()
    os.execve(words[0], words, environment)


def main() -> int:
    instance = sys.argv[1]
    if "/" in instance or instance.startswith("."):
        print("no such run", file=sys.stderr)
        return 2
    path = os.path.join(os.environ["SOPHIA_DATA_DIR"], SPEC_FOLDER, f"{instance}.json")
    asked = os.path.lexists(path)
    try:
        _become(_read(path))
    except (OSError, ValueError, KeyError) as problem:
        said = problem.strerror if isinstance(problem, OSError) else str(problem)
        print(f"the run can't begin: {said}", file=sys.stderr)
        if not asked:  # nobody waits for the reason
            return 1
        try:
            with open(path + PROBLEM_SUFFIX, "w", encoding="utf-8") as note:
                note.write(said or type(problem).__name__)
        except OSError as full:
            print(f"nor can that be noted: {full.strerror}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
