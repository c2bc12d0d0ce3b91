"""Launching a run as nobody's child, and knowing later whether it is still the same process."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sophia_tui.errors import JobError
from sophia_tui.paths import Paths
from sophia_tui.providers.local import LocalLauncher, start_apart
from sophia_tui.providers.machine import ThisMachine
from sophia_tui.providers.processes import own_python
from sophia_tui.settings import Settings
from sophia_tui.worker.spawn import ensure_worker
from tests.integration.fake_systemctl import ENTRY

STAND_IN = Path(__file__).with_name("worker_stand_in.py")
SYSTEMCTL = Path(__file__).with_name("fake_systemctl.py")
SECRETS = {"DATABASE_URL": "postgres://u:pw@h/d", "DB_PASS": "pw", "FINETUNE_TOKEN": "t"}


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server: runs are units there. The folder is the stand-in's of systemd."""
    place, tools = tmp_path / "systemd", tmp_path / "tools"
    (place / "credentials").mkdir(parents=True)
    tools.mkdir()
    tool = tools / "systemctl"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {SYSTEMCTL} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SYSTEMD", str(place))
    monkeypatch.setenv("SOPHIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SOPHIA_RUN_UNIT", "sophia-run")
    return place


@pytest.fixture(params=["nobody's child", "a unit"])
def way(request: pytest.FixtureRequest) -> str:
    """How runs are started: every test that asks for it holds for each way."""
    if request.param == "a unit":
        request.getfixturevalue("units")
    return str(request.param)


def launcher_for(tmp_path: Path, machine: ThisMachine | None = None) -> LocalLauncher:
    launcher = LocalLauncher(Paths(tmp_path), Settings(), machine)
    launcher.program = (sys.executable, str(STAND_IN))
    return launcher


def wait_for(path: Path) -> dict[str, object]:
    for _each in range(500):
        if path.exists():
            return json.loads(path.read_text())  # type: ignore[no-any-return]
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


async def until_dead(launcher: LocalLauncher, identity: object) -> None:
    for _each in range(500):
        if not launcher.alive(identity):  # type: ignore[arg-type]
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the process lives on")


async def test_a_run_is_nobodys_child_and_knows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    for key, value in SECRETS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    launcher = launcher_for(tmp_path)
    identity = await launcher.launch("facts", str(tmp_path))
    try:
        facts = wait_for(tmp_path / "facts.json")
        assert launcher.alive(identity)
        assert facts["parent"] != os.getpid()
        # a process of no unit must not lead its session, so that no terminal comes back
        strange = (os.getsid(0), identity.pid) if way != "a unit" else (os.getsid(0),)
        assert facts["session"] not in strange
        assert facts["nice"] == os.nice(0) + 10
        assert facts["umask"] == 0o077
        assert facts["folder"] == "/"
        # stdin, stdout, stderr, and the one that lists them
        assert len(facts["descriptors"]) == 4  # type: ignore[arg-type]
        known = facts["environment"]
        assert isinstance(known, dict)
        assert not set(known) & {*SECRETS, "HF_TOKEN", "HUGGINGFACE_TOKEN"}
        assert not set(known.values()) & {*SECRETS.values(), "hf-secret"}
    finally:
        assert launcher.signal(identity, signal.SIGKILL)
    await until_dead(launcher, identity)
    assert not launcher.signal(identity, signal.SIGKILL)


async def test_the_hubs_token_goes_only_to_a_run_that_needs_the_hub(tmp_path: Path) -> None:
    from finetune.schema import RunSpec, write_run_spec

    launcher = LocalLauncher(Paths(tmp_path), Settings(HUGGINGFACE_TOKEN="hf-secret"))
    write_run_spec(tmp_path, RunSpec(job_id="ftjob-x", base="somebody/some-model"))
    assert launcher.environment(tmp_path)["HF_TOKEN"] == "hf-secret"
    write_run_spec(tmp_path, RunSpec(job_id="ftjob-x", base=str(tmp_path)))
    assert "HF_TOKEN" not in launcher.environment(tmp_path)


async def test_a_run_outlives_the_terminal_it_was_started_from(tmp_path: Path, way: str) -> None:
    """A process in a terminal of its own starts a run; the terminal goes away with SIGHUP."""
    code = (
        "import asyncio, fcntl, sys, termios\n"
        "from pathlib import Path\n"
        "from tests.integration.test_worker_launcher import launcher_for\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "launcher = launcher_for(Path(sys.argv[1]))\n"
        "found = asyncio.run(launcher.launch('facts', sys.argv[1]))\n"
        "print(found.pid, found.process_started, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    leader, follower = os.openpty()
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=follower,
        stdout=subprocess.PIPE,
        start_new_session=True,
        cwd=STAND_IN.parents[2],
    )
    os.close(follower)
    assert starter.stdout is not None
    pid, started = (int(part) for part in starter.stdout.readline().split())
    machine = ThisMachine.here()
    identity = machine.identity(pid, started)
    try:
        wait_for(tmp_path / "facts.json")
        os.close(leader)  # the terminal closes: the kernel sends SIGHUP to its session
        assert starter.wait(10) == -signal.SIGHUP
        assert machine.alive(identity)
    finally:
        starter.stdout.close()
        machine.signal(identity, signal.SIGKILL)


async def test_another_boot_host_or_start_time_is_another_process(tmp_path: Path) -> None:
    machine = ThisMachine.here()
    from sophia_tui.providers.machine import start_time

    mine = machine.identity(os.getpid(), start_time(os.getpid()) or 0)
    assert machine.alive(mine)
    assert not ThisMachine(machine.host, lambda: "another-boot").alive(mine)
    assert not ThisMachine("another-host").alive(mine)
    assert not machine.alive(replace(mine, process_started=mine.process_started + 1))


async def test_a_zombie_is_dead() -> None:
    from sophia_tui.providers.machine import start_time

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = start_time(child.pid)
    assert started is not None
    identity = ThisMachine.here().identity(child.pid, started)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped yet
    assert not ThisMachine.here().alive(identity)
    child.wait()


async def test_a_run_that_can_not_be_started_is_a_clear_error(tmp_path: Path, way: str) -> None:
    with pytest.raises(JobError) as caught:
        await launcher_for(tmp_path).launch("facts", str(tmp_path / "missing"))
    assert caught.value.code == "SOPHIA-J502"
    assert "No such file or directory" in caught.value.why


async def test_a_run_in_a_unit_leaves_no_file_of_what_it_was_told(
    tmp_path: Path, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what was to run, which may hold a token, nor why it could not."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/ours")
    launcher = launcher_for(tmp_path)
    identity = await launcher.launch("facts", str(tmp_path))
    facts = wait_for(tmp_path / "facts.json")
    assert launcher.signal(identity, signal.SIGKILL)
    assert "NOTIFY_SOCKET" not in facts["environment"]  # type: ignore[operator]
    launcher.program = ("/no/such/program",)
    with pytest.raises(JobError):
        await launcher.launch("facts", str(tmp_path))
    assert list((tmp_path / "run-units").iterdir()) == []
    assert (tmp_path / "run-units").stat().st_mode & 0o777 == 0o700


async def test_a_unit_that_may_not_start_says_systemds_reason(tmp_path: Path, units: Path) -> None:
    (units / "refuse").write_text("Access denied")
    with pytest.raises(JobError) as caught:
        await launcher_for(tmp_path).launch("facts", str(tmp_path))
    assert caught.value.code == "SOPHIA-J502"
    assert "Access denied" in caught.value.why
    assert list((tmp_path / "run-units").iterdir()) == []


async def test_without_systemctl_a_run_in_a_unit_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOPHIA_RUN_UNIT", "sophia-run")
    monkeypatch.setenv("SOPHIA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError) as caught:
        await launcher_for(tmp_path).launch("facts", str(tmp_path))
    assert "systemctl: No such file or directory" in caught.value.why


async def test_an_operation_in_a_unit_reads_the_settings_from_the_units_own_credential(
    tmp_path: Path, units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credential of the worker's unit goes with the worker."""
    monkeypatch.setenv("SOPHIA_ENV_FILE", "/run/credentials/sophia-worker.service/sophia.env")
    (units / "credentials" / "sophia.env").write_text("SOPHIA_WINDOW_DAYS=7\n")
    environment = {**os.environ, "PYTHONPATH": str(STAND_IN.parents[2])}
    command = (sys.executable, str(STAND_IN), "facts", str(tmp_path))
    pid, started = await start_apart(command, "run-x", tmp_path / "log.txt", environment, True)
    facts = wait_for(tmp_path / "facts.json")
    ThisMachine.here().signal(ThisMachine.here().identity(pid, started), signal.SIGKILL)
    known = facts["environment"]
    assert isinstance(known, dict)
    assert known["SOPHIA_ENV_FILE"] == str(units / "credentials" / "sophia.env")


def test_what_a_unit_runs_is_the_accounts_own_file_alone(tmp_path: Path) -> None:
    """A link, a file that others may read, and a name that leads elsewhere are refused."""
    folder = tmp_path / "run-units"
    folder.mkdir()
    proof = tmp_path / "proof"
    program = shutil.which("touch")
    spec = {"command": [program, str(proof)], "log": str(tmp_path / "log"), "environment": {}}
    (folder / "open.json").write_text(json.dumps(spec))
    (folder / "open.json").chmod(0o644)
    (tmp_path / "outside.json").write_text(json.dumps(spec))
    (tmp_path / "outside.json").chmod(0o600)
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    for instance in ("open", "link", "../outside", ".hidden", "missing"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(ENTRY), instance],
            env={"SOPHIA_DATA_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode in (1, 2) and done.stderr
        assert not proof.exists()
    # who asked reads why; where nobody asked, nothing is left
    assert {each.name for each in folder.glob("*.problem")} == {
        "open.json.problem",
        "link.json.problem",
    }
    (folder / "good.json").write_text(json.dumps(spec))
    (folder / "good.json").chmod(0o600)
    command = [sys.executable, "-I", "-S", str(ENTRY), "good"]
    subprocess.run(command, env={"SOPHIA_DATA_DIR": str(tmp_path)}, check=True)
    assert proof.exists() and not (folder / "good.json").exists()


async def test_where_runs_are_units_no_worker_but_systemds_is_started(
    tmp_path: Path, units: Path
) -> None:
    assert not ensure_worker(Paths(tmp_path), os.environ, command=("/no/such/program",))


def test_what_was_started_from_a_release_stays_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade turns the link to the next release while a run of the last one goes on."""
    (tmp_path / "releases" / "one" / "bin").mkdir(parents=True)
    (tmp_path / "releases" / "one" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "current").symlink_to(tmp_path / "releases" / "one")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "current" / "bin" / "python"))
    assert own_python() == str(tmp_path / "releases" / "one" / "bin" / "python")


async def test_with_lingering_a_run_is_a_user_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd's two programs are played by scripts: no user manager runs where tests run."""
    tools = tmp_path / "bin"
    tools.mkdir()
    told = tmp_path / "told"
    (tools / "systemd-run").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {told}\n')
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "MainPID={os.getpid()}"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    linger = tmp_path / "linger"
    linger.mkdir()
    (linger / "maria").touch()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("DB_PASS", "pw")
    monkeypatch.setattr("sophia_tui.providers.local.LINGER_FOLDER", linger)
    monkeypatch.setattr("sophia_tui.providers.local.user_name", lambda: "maria")
    launcher = launcher_for(tmp_path)
    identity = await launcher.launch("facts", str(tmp_path))
    assert launcher.alive(identity) and identity.pid == os.getpid()
    arguments = told.read_text().splitlines()
    assert "--user" in arguments and "--collect" in arguments
    assert "--setenv=PATH" in arguments  # by name alone: no value stands on a command line
    assert not any("DB_PASS" in each or "=pw" in each for each in arguments)
