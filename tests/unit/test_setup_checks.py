"""The checks of the set-up: each condition by what this machine, or one made for the test, is."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sophia_tui.domain.protocols import StoreStatus
from sophia_tui.domain.setup import (
    Firewall,
    Gpu,
    Gpus,
    KeyAnswer,
    Listener,
    Memory,
    Synchronised,
    Unit,
    Volume,
)
from sophia_tui.errors import UnavailableError
from sophia_tui.providers.key_probe import probe_key
from sophia_tui.providers.surroundings import ThisServer
from sophia_tui.services.checks.database import backup_check, newest_backup
from sophia_tui.services.checks.environment import (
    EnvironmentChecks,
    ProviderKey,
    said,
    unknown_keys,
)
from sophia_tui.services.checks.machine import MachineChecks
from sophia_tui.services.checks.network import NetworkChecks
from sophia_tui.services.checks.program import ProgramChecks
from sophia_tui.services.checks.running import Check, Found, aside, run_checks
from sophia_tui.services.checks.views import CheckView, SetupReport
from sophia_tui.settings import load

GB = 1_000_000_000


class Machine:
    """A machine in whatever state a test wants."""

    def __init__(self, **given) -> None:
        self.installed = given.get("installed", True)
        self.given = given

    def volume(self, path: Path) -> Volume:
        free = self.given.get("free", 50 * GB)
        return Volume(path, 100 * GB, free, 1000, self.given.get("inodes", 900))

    def memory(self) -> Memory:
        return self.given.get("memory", Memory(8 * GB, 6 * GB, 0, 0))

    async def gpus(self) -> Gpus:
        return self.given.get("gpus", Gpus())

    def listeners(self) -> list[Listener]:
        return self.given.get("listeners", [])

    def ssh_ports(self) -> frozenset[int]:
        return frozenset({22})

    def firewall(self) -> Firewall:
        return self.given.get("firewall", Firewall(True, True, "deny", ("allow 22/tcp",)))

    async def units(self, names) -> list[Unit] | None:
        return self.given.get("units", [Unit(each, True, "active", "running") for each in names])

    async def clock(self) -> Synchronised:
        return Synchronised(self.given.get("clock", True), "timedatectl")

    def versions(self) -> dict[str, tuple[str, str]]:
        return {}


async def views(checks) -> dict[str, CheckView]:
    return {each.id: each for each in await run_checks(checks)}


async def machine_view(name: str, **given) -> CheckView:
    return (await views(MachineChecks(Machine(**given), Path("/")).all()))[name]


async def network_view(name: str, environment=None, **given) -> CheckView:
    checks = NetworkChecks(Machine(**given), load(environment or {})).all()
    return (await views(checks))[name]


async def test_a_check_that_breaks_or_hangs_is_unknown_and_disturbs_no_other() -> None:
    async def broken() -> Found:
        raise ValueError("a secret stands here")

    async def hanging() -> Found:
        return await aside(lambda: time.sleep(30) or Found("ok", ""))

    async def refused() -> Found:
        raise UnavailableError("S001", "The database does not answer.", "Refused.", "Start it.")

    async def good() -> Found:
        return Found("ok", "fine")

    begun = time.monotonic()
    found = await run_checks(
        [
            Check("broken", "Broken", broken),
            Check("hanging", "Hanging", hanging, 0.3),
            Check("refused", "Refused", refused),
            Check("good", "Good", good),
        ]
    )
    assert [each.state for each in found] == ["unknown", "unknown", "problem", "ok"]
    assert "ValueError" in found[0].found
    assert "secret" not in found[0].found
    assert found[2].found.startswith("SOPHIA-S001")
    assert found[2].remedy == "Start it."
    assert time.monotonic() - begun < 5


def test_the_program_ends_while_a_check_hangs() -> None:
    """A file system that is gone must not hold up `sophia setup check`."""

    async def main() -> list[CheckView]:
        async def hanging() -> Found:
            return await aside(lambda: time.sleep(60) or Found("ok", ""))

        return await run_checks([Check("hanging", "Hanging", hanging, 0.1)])

    begun = time.monotonic()
    assert [each.state for each in asyncio.run(main())] == ["unknown"]
    assert time.monotonic() - begun < 5


def test_ready_and_the_exit_code_mean_that_no_check_is_a_problem() -> None:
    def report(*states: str) -> SetupReport:
        items = [CheckView(id=each, name=each, state=each, found="") for each in states]
        return SetupReport(ready="problem" not in states, items=items)

    assert report("ok", "attention", "unknown").exit_code() == 0
    assert report("ok", "problem").exit_code() == 1


def test_people_read_each_remedy_with_the_command_for_it() -> None:
    items = [
        CheckView(id="a", name="A", state="problem", found="", remedy="Do.", remedy_step="units"),
        CheckView(
            id="b", name="B", state="attention", found="", remedy="Go.", remedy_step="sophia x y"
        ),
    ]
    told = SetupReport(ready=False, items=items).remarks()
    assert told == ["a: Do. (sophia setup apply units)", "b: Go. (sophia x y)"]


@pytest.mark.parametrize(
    ("free", "state"), [(50 * GB, "ok"), (3 * GB, "attention"), (GB // 2, "problem")]
)
async def test_disk(free: int, state: str) -> None:
    found = await machine_view("disk", free=free)
    assert found.state == state
    assert bool(found.remedy) == (state != "ok")


@pytest.mark.parametrize(("inodes", "state"), [(900, "ok"), (50, "attention"), (5, "problem")])
async def test_inodes(inodes: int, state: str) -> None:
    assert (await machine_view("inodes", inodes=inodes)).state == state


async def test_memory_and_swap() -> None:
    assert (await machine_view("memory", memory=Memory(8 * GB, GB // 8, 0, 0))).state == "problem"
    assert (await machine_view("swap")).state == "ok"
    full = Memory(8 * GB, 6 * GB, 2 * GB, GB // 100)
    assert (await machine_view("swap", memory=full)).state == "attention"


async def test_a_gpu_is_told_a_broken_driver_wants_attention_and_none_is_no_problem() -> None:
    assert (await machine_view("gpu")).state == "ok"
    found = await machine_view("gpu", gpus=Gpus((Gpu("L4", "555.1", 24 * GB),)))
    assert (found.state, found.found) == ("ok", "L4")
    assert "555.1" in found.detail[0]
    assert (await machine_view("gpu", gpus=Gpus(trouble="no driver"))).state == "attention"


async def test_the_clock() -> None:
    assert (await machine_view("clock")).state == "ok"
    assert (await machine_view("clock", clock=False)).state == "attention"
    assert (await machine_view("clock", clock=None)).state == "unknown"


async def test_services_that_are_down_name_the_step_that_mends_them() -> None:
    down = [Unit("sophia-api.service", True, "failed", "failed", "enabled", 3)]
    found = await network_view("services", units=down)
    assert (found.state, found.remedy_step) == ("problem", "units")
    assert "restarted 3 times" in found.detail[0]
    assert (await network_view("services")).state == "ok"
    assert (await network_view("services", units=None, installed=False)).state == "ok"


async def test_rules_that_only_root_may_read_are_said_to_be_unreadable() -> None:
    found = await network_view("firewall", firewall=Firewall(True, True, "deny", None))
    assert found.state == "ok"
    assert "can't be read without root" in found.found
    assert "sudo ufw status verbose" in "\n".join(found.detail)
    unknown = await network_view("firewall", firewall=Firewall(True, None, "", None))
    assert (unknown.state, unknown.found) == ("unknown", "can't be read without root")


async def test_a_firewall_that_is_off_names_its_step_only_on_a_server() -> None:
    off = Firewall(True, False, "deny", ())
    assert (await network_view("firewall", firewall=off)).remedy_step == "firewall"
    assert (await network_view("firewall", firewall=off, installed=False)).remedy_step == ""
    open_ = Firewall(True, True, "allow", ())
    assert (await network_view("firewall", firewall=open_)).state == "attention"


async def test_a_postgres_open_to_the_world_is_a_problem_unless_the_firewall_stands_before_it() -> (
    None
):
    open_ = [Listener("0.0.0.0", 5433, "postgres"), Listener("::", 22, "root")]
    environment = {"DATABASE_URL": "postgresql://sophia@127.0.0.1:5433/sophia"}
    off = Firewall(True, False, "deny", ())
    found = await network_view("ports", environment, listeners=open_, firewall=off)
    assert found.state == "problem"
    assert "Postgres (5433)" in found.found
    assert "account postgres" in found.detail[0]
    assert "sshd" in found.detail[1]
    behind = await network_view("ports", environment, listeners=open_)
    assert behind.state == "attention"
    ssh = await network_view("ports", environment, listeners=open_[1:])
    assert ssh.state == "ok"


def test_listening_sockets_are_read_from_the_kernels_tables(tmp_path: Path) -> None:
    """The addresses of /proc/net are words in the machine's byte order."""
    net = tmp_path / "proc" / "net"
    net.mkdir(parents=True)
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    row = " 0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1\n"
    rows = [
        row.format(local="0100007F:1F40", state="0A"),  # 127.0.0.1:8000
        row.format(local="00000000:1538", state="0A"),  # 0.0.0.0:5432
        row.format(local="0B00000A:0050", state="01"),  # established
    ]
    (net / "tcp").write_text(head + "".join(rows))
    six = "00000000000000000000000000000000:0016"
    loop = "00000000000000000000000001000000:0017"
    mapped = "0000000000000000FFFF00000100007F:0018"
    sixes = [row.format(local=each, state="0A") for each in (six, loop, mapped)]
    (net / "tcp6").write_text(head + "".join(sixes))
    found = ThisServer({}, tmp_path).listeners()
    assert [(each.address, each.port) for each in found] == [("::", 22), ("0.0.0.0", 5432)]


def test_a_real_listening_socket_is_found() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert port in {each.port for each in ThisServer({}).listeners()}


def test_ufw_is_read_as_far_as_this_account_may(tmp_path: Path) -> None:
    server = ThisServer({}, tmp_path)
    assert not server.firewall().installed
    (tmp_path / "etc" / "ufw").mkdir(parents=True)
    (tmp_path / "etc" / "default").mkdir()
    (tmp_path / "etc" / "ufw" / "ufw.conf").write_text("# ufw\nENABLED=yes\nLOGLEVEL=low\n")
    (tmp_path / "etc" / "default" / "ufw").write_text('DEFAULT_INPUT_POLICY="DROP"\n')
    rules = "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n"
    rules += "### tuple ### allow tcp 8000 0.0.0.0/0 any 10.0.0.0/8 in\n"
    (tmp_path / "etc" / "ufw" / "user.rules").write_text(rules)
    found = server.firewall()
    assert (found.enabled, found.incoming) == (True, "deny")
    assert found.rules == ("allow 22/tcp", "allow 8000/tcp from 10.0.0.0/8")
    (tmp_path / "etc" / "ufw" / "ufw.conf").write_text("ENABLED=no\n")
    (tmp_path / "etc" / "ufw" / "user.rules").unlink()
    (tmp_path / "etc" / "ufw" / "user.rules").mkdir()  # can't be read, as root's file for others
    off = server.firewall()
    assert (off.enabled, off.rules) == (False, None)


def test_ssh_ports_come_from_the_configuration_its_parts_the_socket_and_the_session(
    tmp_path: Path,
) -> None:
    ssh = tmp_path / "etc" / "ssh"
    (ssh / "sshd_config.d").mkdir(parents=True)
    (ssh / "sshd_config").write_text("#Port 22\nPort 2222\n")
    (ssh / "sshd_config.d" / "more.conf").write_text("port 2022\n")
    socket_ = tmp_path / "etc" / "systemd" / "system" / "ssh.socket.d"
    socket_.mkdir(parents=True)
    (socket_ / "listen.conf").write_text("[Socket]\nListenStream=\nListenStream=[::]:2322\n")
    found = ThisServer({"SSH_CONNECTION": "10.0.0.1 5000 10.0.0.2 2422"}, tmp_path).ssh_ports()
    assert found == {2222, 2022, 2322, 2422}
    assert ThisServer({}, tmp_path / "none").ssh_ports() == {22}


async def test_this_machine_answers_every_question() -> None:
    server = ThisServer({"PATH": "/usr/bin:/bin"})
    assert server.volume(Path("/nowhere/at/all")).total > 0
    assert server.memory().total > 0
    assert isinstance((await server.gpus()).found, tuple)
    assert (await server.clock()).clock in (True, False, None)
    assert not server.installed


def env_checks(path: Path, environment=None, installed: bool = False) -> EnvironmentChecks:
    settings = load({"SOPHIA_ENV_FILE": str(path)})
    return EnvironmentChecks(Machine(installed=installed), settings, environment or {})


async def test_the_env_file_is_told_by_keys_never_by_values(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "OPENAI_API_KEY=sk-very-secret\nSOPHIA_WINDOW_DAY=7\nHTTPS_PROXY=http://p\n"
        "FINETUNE_DIR=/a\nFINETUNE_DIR=/b\nnonsense here\n# a comment\n"
    )
    path.chmod(0o644)
    found = await views(env_checks(path).all())
    assert found["env_file"].state == "problem"
    assert "0644" in found["env_file"].detail[0]
    keys = found["env_keys"]
    text = "\n".join(keys.detail)
    assert keys.state == "attention"
    assert "SOPHIA_WINDOW_DAY; is SOPHIA_WINDOW_DAYS meant?" in text
    assert "the last one counts: FINETUNE_DIR" in text
    assert "Line 6 is no KEY=VALUE." in text
    assert "HTTPS_PROXY" in text
    assert "Not known to Sophia: HTTPS_PROXY" not in text
    assert "sk-very-secret" not in text + keys.found
    path.write_text("FINETUNE_DIR=/a\n")
    path.chmod(0o600)
    assert {each.state for each in (await views(env_checks(path).all())).values()} == {"ok"}


def test_unknown_keys_are_those_that_look_like_ours() -> None:
    assert unknown_keys(["SOPHIA_LANG", "DATABASE_URL", "PATH", "OPENAI_API_KEYS"]) == {
        "OPENAI_API_KEYS": "OPENAI_API_KEY"
    }


async def test_a_credential_of_systemd_is_not_blamed_for_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "sophia.env"
    path.write_text("FINETUNE_DIR=/a\n")
    path.chmod(0o444)
    checks = env_checks(path, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, installed=True)
    assert (await views(checks.all()))["env_file"].state == "ok"


# -- the provider's key


class Provider(BaseHTTPRequestHandler):
    status, body, asked = 200, b'{"data": [{"id": "m"}]}', 0
    seen = ""

    def do_GET(self) -> None:
        Provider.asked += 1
        Provider.seen = f"{self.path} {self.headers['authorization']}"
        self.send_response(Provider.status)
        if Provider.status == 302:
            self.send_header("location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()
        self.wfile.write(Provider.body)

    def log_message(self, *given) -> None:
        """Nobody reads it."""


@pytest.fixture
def provider() -> Iterator[str]:
    Provider.status, Provider.body, Provider.asked = 200, b'{"data": [{"id": "m"}]}', 0
    server = HTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (200, b'{"data": []}', "accepted"),
        (401, b'{"error": {"message": "Incorrect API key sk-x1"}}', "refused"),
        (403, b"no", "refused"),
        (429, b'{"error": {"message": "quota"}}', "limited"),
        (503, b"", "unreachable"),
        (404, b"", "strange"),
        (200, b"<html>", "strange"),
        (302, b"", "strange"),
    ],
)
async def test_what_a_provider_says_to_the_key(
    provider: str, status: int, body: bytes, state: str
) -> None:
    Provider.status, Provider.body = status, body
    found = await probe_key(provider, "sk-x1", 5.0)
    assert found.state == state
    assert "sk-x1" not in found.why + found.address
    assert Provider.seen == "/v1/models Bearer sk-x1"


async def test_a_provider_that_is_silent_or_gone_is_unreachable_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        begun = time.monotonic()
        found = await probe_key(f"http://127.0.0.1:{port}/v1", "k", 0.5)
        assert found.state == "unreachable"
        assert time.monotonic() - begun < 3
    assert (await probe_key("http://127.0.0.1:9/v1", "k", 2.0)).state == "unreachable"
    assert (await probe_key("ftp://host/v1", "k", 2.0)).state == "strange"


async def test_the_provider_is_asked_when_asked_for_and_not_again_within_minutes(
    provider: str,
) -> None:
    now = [0.0]
    key = ProviderKey(probe_key, lambda: now[0])
    settings = load({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": provider})

    async def look(ask: bool, of=settings) -> CheckView:
        return (await run_checks([key.check(of, ask)]))[0]

    assert (await look(False)).state == "unknown"
    assert Provider.asked == 0
    assert (await look(True)).state == "ok"
    assert (await look(True)).state == (await look(False)).state == "ok"
    assert Provider.asked == 1
    now[0] = 3600.0
    assert (await look(False)).state == "ok"
    assert (await look(True)).state == "ok"
    assert Provider.asked == 2
    other = load({"OPENAI_API_KEY": "other", "OPENAI_BASE_URL": provider})
    assert (await look(False, other)).state == "unknown"
    assert (await look(True, load({}))).state == "ok"  # no key: trainings run here


@pytest.mark.parametrize(
    ("state", "level"),
    [("refused", "problem"), ("limited", "attention"), ("unreachable", "attention")],
)
def test_refused_limited_and_unreachable_are_told_apart(state: str, level: str) -> None:
    found = said(KeyAnswer(state, "http://x/v1", "why"))
    assert found.state == level
    assert found.told not in {
        said(KeyAnswer(each, "http://x/v1")).told
        for each in ("accepted", "refused", "limited", "unreachable", "strange")
        if each != state
    }


# -- backups


async def test_the_newest_backup_has_its_age(tmp_path: Path) -> None:
    import os
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 11, 26, 12, tzinfo=UTC)
    [none] = await run_checks([backup_check(tmp_path / "none", lambda: now)])
    assert (none.state, none.remedy_step) == ("attention", "sophia setup backup")
    for name, days in (("sophia-a.tar.zst", 3), ("sophia-b.tar.zst", 12), (".left.tar.zst", 0)):
        (tmp_path / name).write_bytes(b"")
        moment = (now - timedelta(days=days)).timestamp()
        os.utime(tmp_path / name, (moment, moment))
    (tmp_path / "notes.txt").write_text("no backup")
    assert newest_backup(tmp_path) == now - timedelta(days=3)
    [young] = await run_checks([backup_check(tmp_path, lambda: now)])
    assert (young.state, young.found) == ("ok", "3 days old")
    (tmp_path / "sophia-a.tar.zst").unlink()
    [old] = await run_checks([backup_check(tmp_path, lambda: now)])
    assert (old.state, old.found) == ("attention", "12 days old")


async def test_missing_packages_are_added_by_a_command_since_no_step_adds_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"fastapi", "uvicorn", "httpx", "openai"}
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: object() if name in there else None
    )

    async def status() -> StoreStatus:
        raise UnavailableError("S001", "no store")

    checks = ProgramChecks(Machine(), load({}), status)  # type: ignore[arg-type]
    found = await views(each for each in checks.all() if each.id.startswith("packages_"))
    assert {each for each, view in found.items() if view.state == "ok"} == {
        "packages_api",
        "packages_hosted",
    }
    missing = found["packages_evaluation"]
    assert (missing.state, missing.remedy_step) == ("attention", "")
    assert missing.remedy == (
        "sudo SOPHIA_EXTRAS=api,hosted,evaluation /opt/sophia/current/src/install_sophia_llm.sh"
        " --auto --step application"
    )
    assert "SOPHIA_EXTRAS=training,api,hosted " in found["packages_training"].remedy


async def test_a_token_that_can_be_guessed_is_told_by_its_key_alone() -> None:
    async def nobody() -> StoreStatus:
        raise UnavailableError("S001", "The database does not answer.", "Refused.", "Start it.")

    long = "a-token-of-16-ch"
    for given, state in (
        ({"FINETUNE_TOKEN": long, "SOPHIA_MODEL_TOKEN": long}, "ok"),
        ({"FINETUNE_TOKEN": long[1:]}, "attention"),
        ({"FINETUNE_TOKEN": long, "SOPHIA_VIEWER_TOKEN": "guess-me"}, "attention"),
    ):
        checks = ProgramChecks(Machine(), load(given), nobody).all()
        found = (await views([each for each in checks if each.id == "api_token"]))["api_token"]
        assert found.state == state
        short = [key for key, value in given.items() if len(value) < 16]
        assert all(key in found.found + found.remedy for key in short)
        assert "guess-me" not in found.model_dump_json() and long[1:] not in found.model_dump_json()
