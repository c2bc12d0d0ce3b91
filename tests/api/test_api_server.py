"""`sophia serve api` as a process: ports, signals, logs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sophia_tui.api.app import run_api, tell_systemd
from sophia_tui.errors import UnavailableError
from sophia_tui.wiring import House
from tests.api.throwaway import TOKEN

PROGRAM = """
import sys
from sophia_tui.services.operations import Registry
from sophia_tui import wiring
from sophia_tui.api.app import run_api
from tests.api.throwaway import ActsService, GreetingService

async def build(house):
    return ActsService()

wiring.FACTORIES["ActsService"] = build
house = wiring.House(operations=Registry([ActsService]))
sys.exit(run_api(house, "127.0.0.1", int(sys.argv[1])))
"""

READER = """
import sys, httpx
answer = httpx.get(sys.argv[1], headers={"x-admin-token": sys.argv[2]}, timeout=60)
print(answer.status_code)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    environment = {
        **os.environ,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "FINETUNE_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _await(process, address)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def _await(process: subprocess.Popen[str], address: str) -> None:
    for _attempt in range(600):
        try:
            httpx.get(f"{address}/openapi.json")
            return
        except httpx.ConnectError:
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
    raise AssertionError("the server does not answer")


@pytest.mark.parametrize("given", [False, True])
def test_it_listens_at_api_url_unless_told_otherwise_and_says_where(
    tmp_path: Path, given: bool
) -> None:
    port, other = free_port(), free_port()
    environment = {
        **os.environ,
        "SOPHIA_DATA_DIR": str(tmp_path / "data"),
        "API_URL": f"http://localhost:{port}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LANG": "C.UTF-8",
    }
    words = ["serve", "api", *(["--port", str(other)] if given else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "sophia_tui.cli.main", *words],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.kill()
        process.communicate()
    assert said == f"The HTTP API listens at http://127.0.0.1:{other if given else port}.\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_well(
    served: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    process, _address = served
    process.send_signal(number)
    _out, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in told


def test_told_to_stop_it_ends_long_reads(served: tuple[subprocess.Popen[str], str]) -> None:
    process, address = served
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, f"{address}/api/v1/acts/wait", TOKEN],
        stdout=subprocess.PIPE,
        text=True,
    )
    while not _connected(address):
        assert reader.poll() is None
        time.sleep(0.05)
    # the request follows its connection at once; were it not there yet, nothing would be asked to
    # stop and the answer would not be 499
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    answered, _err = reader.communicate(timeout=60)
    assert answered.strip() == "499"
    process.communicate(timeout=60)
    assert process.returncode == 0


def _connected(address: str) -> bool:
    """Whether anybody holds a connection to the server."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(port) and row[3] == "01" for row in rows)


def test_its_log_has_neither_token_nor_query(served: tuple[subprocess.Popen[str], str]) -> None:
    process, address = served
    for header in ({"x-admin-token": TOKEN}, {"x-admin-token": "not-the-token"}):
        httpx.get(f"{address}/api/v1/acts/unplug?question=PRIVATE", headers=header)
        httpx.get(f"{address}/%1b%5d52;c;x%0d%0aFORGED", headers=header)
    process.send_signal(signal.SIGTERM)
    _out, told = process.communicate(timeout=60)
    assert "GET /api/v1/acts/unplug 422" in told
    assert "PRIVATE" not in told and TOKEN not in told and "not-the-token" not in told
    assert "\x1b" not in told and "\nFORGED" not in told


def test_a_port_that_is_taken_is_a_clear_error(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match="SOPHIA-S051") as told:
            run_api(house, "127.0.0.1", port)
    assert str(port) in told.value.what and "--port" in told.value.remedy


@pytest.mark.parametrize(("host", "port"), [("203.0.113.7", 8000), ("127.0.0.1", 99999)])
def test_an_address_that_can_not_be_used_is_a_clear_error(
    house: House, host: str, port: int
) -> None:
    with pytest.raises(UnavailableError, match="SOPHIA-S052"):
        run_api(house, host, port)


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_once_requests_are_answered(tmp_path: Path, abstract: bool) -> None:
    where = f"@sophia-{os.getpid()}" if abstract else str(tmp_path / "notify")
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{where[1:]}" if abstract else where)
        manager.settimeout(60)
        environment = {
            **os.environ,
            "SOPHIA_DATA_DIR": str(tmp_path / "data"),
            "FINETUNE_TOKEN": TOKEN,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NOTIFY_SOCKET": where,
        }
        command = [sys.executable, "-c", PROGRAM, str(port)]
        with subprocess.Popen(command, env=environment, cwd=tmp_path) as process:
            try:
                assert manager.recv(100) == b"READY=1"
                answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/nothing", timeout=60)
                assert answer.status_code == 401
            finally:
                process.terminate()


def test_without_a_service_manager_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_systemd("READY=1")
    assert caplog.text == ""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    tell_systemd("READY=1")  # requests are answered all the same
    assert "systemd was not told" in caplog.text
