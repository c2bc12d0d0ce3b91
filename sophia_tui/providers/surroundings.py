"""This machine as the set-up looks at it: disks, memory, GPUs, sockets, firewall, units, clock.

Reads what this account may read, by /proc, /etc and a few programs with a time limit; changes
nothing.
"""

import asyncio
import contextlib
import ctypes
import os
import pwd
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import sophia_tui
from sophia_tui.domain.setup import (
    Firewall,
    Gpu,
    Gpus,
    Listener,
    Memory,
    Synchronised,
    Unit,
    Volume,
)
from sophia_tui.providers import resources
from sophia_tui.textsafe import visible

#: Where releases lie that the installer made.
PROGRAM = Path("/opt/sophia")
_SECONDS = 6.0
_GPU_SECONDS = 20.0
_LISTEN = "0A"
_NVIDIA = "0x10de"
_DISPLAY_CLASS = "0x03"
#: What adjtimex(2) answers where nobody keeps the clock.
_TIME_ERROR = 5
_RULE = re.compile(
    r"### tuple ### (?P<action>\S+) (?P<proto>\S+) (?P<port>\S+) \S+ \S+ (?P<of>\S+)"
)


class ThisServer:
    """Implements domain.setup.Machine. `root` is where the file system begins (for tests)."""

    def __init__(self, environment: Mapping[str, str], root: Path = Path("/")) -> None:
        self._environment = environment
        self._root = root
        self._versions: dict[str, tuple[str, str]] | None = None

    def _path(self, text: str) -> Path:
        return self._root / text.lstrip("/")

    @property
    def installed(self) -> bool:
        releases = self._path(str(PROGRAM / "releases"))
        return Path(sophia_tui.__file__).resolve().is_relative_to(releases)

    def volume(self, path: Path) -> Volume:
        while not path.exists() and path != path.parent:
            path = path.parent
        found = os.statvfs(path)
        return Volume(
            path,
            found.f_blocks * found.f_frsize,
            found.f_bavail * found.f_frsize,
            found.f_files,
            found.f_favail,
        )

    def memory(self) -> Memory:
        swap, free = resources.swap()
        return Memory(resources.all_memory(), resources.available_memory(), swap, free)

    async def gpus(self) -> Gpus:
        if shutil.which("nvidia-smi", path=self._environment.get("PATH")):
            code, told = await said(
                "nvidia-smi",
                "--query-gpu=name,driver_version,memory.total",
                "--format=csv,noheader,nounits",
                seconds=_GPU_SECONDS,
            )
            if code == 0:
                return Gpus(tuple(_gpu(line) for line in told.splitlines() if line.strip()))
            if self._devices():
                return Gpus(trouble=visible(told.strip())[:200] or f"nvidia-smi: {code}")
            return Gpus()
        with contextlib.suppress(OSError):
            version = self._path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
            driver = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", version)
            names = [_model(each) for each in self._path("/proc/driver/nvidia/gpus").iterdir()]
            return Gpus(tuple(Gpu(name, driver.group(1) if driver else "?") for name in names))
        if devices := self._devices():
            return Gpus(trouble=f"NVIDIA {', '.join(devices)}: nvidia-smi ?")
        return Gpus()

    def _devices(self) -> list[str]:
        """NVIDIA's display devices on the bus, whether or not a driver has them."""
        found = []
        with contextlib.suppress(OSError):
            for each in sorted(self._path("/sys/bus/pci/devices").iterdir()):
                vendor = (each / "vendor").read_text(encoding="ascii").strip()
                kind = (each / "class").read_text(encoding="ascii").strip()
                if vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASS):
                    found.append(each.name)
        return found

    def listeners(self) -> list[Listener]:
        found = {
            listener
            for name in ("tcp", "tcp6")
            for listener in _listening(self._path(f"/proc/net/{name}"))
        }
        return sorted(found, key=lambda each: (each.port, each.address))

    def ssh_ports(self) -> frozenset[int]:
        found = set()
        folder = self._path("/etc/ssh")
        named = [folder / "sshd_config", *_confs(folder / "sshd_config.d")]
        sockets = _confs(self._path("/etc/systemd/system/ssh.socket.d"))
        for path in named:
            found |= _numbers(path, r"(?im)^\s*Port\s+(\d+)")
        for path in sockets:
            found |= _numbers(path, r"(?m)^\s*ListenStream=(?:\S*:)?(\d+)\s*$")
        session = self._environment.get("SSH_CONNECTION", "").split()
        if len(session) == 4 and session[3].isdecimal():
            found.add(int(session[3]))
        return frozenset(found or {22})

    def firewall(self) -> Firewall:
        program, configuration = self._path("/usr/sbin/ufw"), self._path("/etc/ufw/ufw.conf")
        if not program.exists() and not configuration.exists():
            return Firewall(installed=False)
        enabled = _word(configuration, "ENABLED")
        incoming = _word(self._path("/etc/default/ufw"), "DEFAULT_INPUT_POLICY") or ""
        return Firewall(
            installed=True,
            enabled=None if enabled is None else enabled == "yes",
            incoming={"drop": "deny", "accept": "allow"}.get(incoming, incoming),
            rules=self._rules(),
        )

    def _rules(self) -> tuple[str, ...] | None:
        rules = []
        for name, mark in (("user.rules", ""), ("user6.rules", " (v6)")):
            try:
                content = self._path(f"/etc/ufw/{name}").read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except OSError:
                return None  # root alone may read them
            for found in _RULE.finditer(content):
                given = found.groupdict()
                of = "" if given["of"] in ("0.0.0.0/0", "::/0") else f" from {given['of']}"
                rules.append(f"{given['action']} {given['port']}/{given['proto']}{of}{mark}")
        return tuple(visible(each) for each in rules)

    async def units(self, names: Sequence[str]) -> list[Unit] | None:
        if not self._path("/run/systemd/system").is_dir() or not shutil.which("systemctl"):
            return None
        shown = "--property=Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts"
        code, told = await said("systemctl", "show", shown, *names)
        if code != 0:
            return None
        blocks = [_properties(block) for block in told.strip().split("\n\n") if block.strip()]
        by_name = {block.get("Id", ""): block for block in blocks}
        return [_unit(name, by_name.get(name, {})) for name in names]

    async def clock(self) -> Synchronised:
        if shutil.which("timedatectl") and self._path("/run/systemd/system").is_dir():
            code, told = await said("timedatectl", "show", "--property=NTPSynchronized", "--value")
            if code == 0 and told.strip() in ("yes", "no"):
                return Synchronised(told.strip() == "yes", "timedatectl")
        return _kernel_clock()

    def versions(self) -> Mapping[str, tuple[str, str]]:
        if self._versions is None:  # they don't change while a process lives
            self._versions = _differing(_lock_file())
        return self._versions


async def said(*words: str, seconds: float = _SECONDS) -> tuple[int, str]:
    """Exit code and output of a program, errors with it; 124 where it took too long, 127 where
    there is none."""
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": ""},
        )
    except OSError:
        return 127, ""
    try:
        told, _nothing = await asyncio.wait_for(process.communicate(), seconds)
    except (TimeoutError, asyncio.CancelledError) as problem:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if isinstance(problem, asyncio.CancelledError):
            raise
        return 124, ""
    return process.returncode or 0, told.decode("utf-8", errors="replace")


def _gpu(line: str) -> Gpu:
    parts = [visible(each.strip()) for each in line.split(",")] + ["", ""]
    memory = int(parts[2]) << 20 if parts[2].isdecimal() else 0
    return Gpu(parts[0], parts[1], memory)


def _model(folder: Path) -> str:
    with contextlib.suppress(OSError):
        text = (folder / "information").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"Model:\s*(.+)", text):
            return visible(found.group(1).strip())
    return folder.name


def _listening(path: Path) -> Iterator[Listener]:
    """Sockets in state LISTEN that are not on loopback. Raises OSError but for a missing file: a
    kernel without IPv6 has no tcp6."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()[1:]
    except FileNotFoundError:
        return
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[3] != _LISTEN:
            continue
        host, _sign, port = words[1].partition(":")
        address = _address(host)
        if not address.is_loopback:
            yield Listener(str(address), int(port, 16), _account(int(words[7])))


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address of /proc/net: 32-bit words in the machine's byte order."""
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[each : each + 4][::-1] for each in range(0, len(raw), 4))
    found = ip_address(raw)
    return getattr(found, "ipv4_mapped", None) or found


def _account(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _confs(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.glob("*.conf"))
    return []


def _numbers(path: Path, pattern: str) -> set[int]:
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8", errors="replace")
        return {int(each) for each in re.findall(pattern, text)}
    return set()


def _word(path: Path, key: str) -> str | None:
    """The value of KEY=VALUE in a small configuration, in lower case; None where it can't be
    read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.findall(rf'(?m)^\s*{key}="?([^"\n]*)"?', text)
    return str(found[-1]).strip().lower() if found else ""


def _properties(block: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line)


def _unit(name: str, told: Mapping[str, str]) -> Unit:
    restarts = told.get("NRestarts", "")
    return Unit(
        name,
        told.get("LoadState") == "loaded",
        told.get("ActiveState", ""),
        told.get("SubState", ""),
        told.get("UnitFileState", ""),
        int(restarts) if restarts.isdecimal() else 0,
    )


def _kernel_clock() -> Synchronised:
    """What the kernel says: adjtimex(2) with nothing to change."""
    with contextlib.suppress(OSError, AttributeError):
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
        if answer >= 0:
            return Synchronised(answer != _TIME_ERROR, "adjtimex")
    return Synchronised(None, "")


def _lock_file() -> Path:
    """Raises FileNotFoundError."""
    beside = Path(sophia_tui.__file__).resolve().parents[1] / "requirements.lock"
    release = Path(sys.prefix).resolve().parent / "src" / "requirements.lock"
    for each in (beside, release):
        if each.is_file():
            return each
    raise FileNotFoundError(beside)


def _differing(lock: Path) -> dict[str, tuple[str, str]]:
    wanted = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        name, sign, version = line.split("#")[0].strip().partition("==")
        if sign:
            wanted[_plain(name)] = version.split(";")[0].strip()
    found = {}
    for each in metadata.distributions():
        name = _plain(each.metadata["Name"] or "")
        # a local part names the kind of a build (torch 2.13.0+cpu)
        if name in wanted and each.version.partition("+")[0] != wanted[name].partition("+")[0]:
            found[name] = (each.version, wanted[name])
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
