"""Sophia's services by a stand-in of systemd's programs: what is shown, and who restarts."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.operations import NoInput
from sophia_tui.errors import RefusedError, SetupError, SophiaError, UnavailableError, UsageError
from sophia_tui.providers.systemd import LocalServices
from sophia_tui.services.journal_lines import without_secrets
from sophia_tui.services.units import RestartRequest, UnitsService
from sophia_tui.settings import Settings

SECRET = "tok-4711-secret"
RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "UnitFileState": "enabled",
    "StateChangeTimestamp": "@1795000000",
    "NRestarts": "2",
    "MemoryCurrent": "73400320",
}


class Asked:
    """The root helper's part that restarts; it notes what it was asked."""

    def __init__(self) -> None:
        self.units: list[str] = []

    async def restart(self, unit: str) -> object:
        self.units.append(unit)
        return None


class Server:
    """A server whose systemd is two scripts that print files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.helper = Asked()
        tools = folder / "tools"
        tools.mkdir()
        self._script(tools / "systemctl", f'cat {folder}/shown; echo "$@" >>{folder}/calls')
        self._script(tools / "journalctl", f"cat {folder}/journal")
        (folder / "journal").touch()
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        (folder / "booted").mkdir()
        (folder / "units").mkdir()
        (folder / "units" / "sophia-api.service").touch()
        self.services = LocalServices(self.helper, folder / "booted", folder / "units")
        self.operations = UnitsService(self.services, Settings(FINETUNE_TOKEN=SECRET))

    def _script(self, path: Path, does: str) -> None:
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)

    def shows(self, units: Mapping[str, Mapping[str, str]]) -> None:
        blocks = [
            "\n".join(f"{key}={value}" for key, value in {"Id": unit, **told}.items())
            for unit, told in units.items()
        ]
        (self.folder / "shown").write_text("\n\n".join(blocks) + "\n")

    def says(self, *lines: object) -> None:
        text = "".join(json.dumps({"MESSAGE": each}) + "\n" for each in lines)
        (self.folder / "journal").write_text(text)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server(tmp_path, monkeypatch)
    found.shows(
        {each: RUNNING for each in ("sophia-api.service", "sophia-worker.service")}
        | {"sophia-helper.socket": {**RUNNING, "SubState": "listening"}}
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return found


def context(face: Face = Face.CLI) -> Context:
    return Context(actor="ana", face=face, role=Role.ADMIN, language="en", confirmed=True)


async def test_each_service_is_shown_with_what_it_does(server: Server) -> None:
    report = await server.operations.page(context(), NoInput())
    assert report.ready
    assert [each.unit for each in report.items] == [
        "sophia-api.service",
        "sophia-worker.service",
        "sophia-helper.socket",
    ]
    api = report.items[0]
    assert (api.state, api.found, api.remedy) == ("ok", "active (running)", "")
    assert api.restarts == 2 and api.memory_bytes == 70 * 1024 * 1024
    assert api.since is not None and api.since.timestamp() == 1795000000


@pytest.mark.parametrize(
    ("told", "state", "remedy"),
    [
        ({"LoadState": "not-found", "ActiveState": "inactive"}, "problem", "installer again"),
        ({"ActiveState": "failed", "SubState": "failed"}, "problem", "sophia setup restart"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"},
            "problem",
            "journalctl --unit sophia-api.service",
        ),
        ({"ActiveState": "activating", "SubState": "start"}, "attention", "in a moment"),
        ({"ActiveState": "inactive", "SubState": "dead"}, "problem", "systemctl enable --now"),
        ({"UnitFileState": "disabled"}, "attention", "start with the machine"),
        ({"MemoryCurrent": "[not set]", "StateChangeTimestamp": ""}, "ok", ""),
    ],
)
async def test_what_is_not_right_comes_with_a_remedy(
    server: Server, told: Mapping[str, str], state: str, remedy: str
) -> None:
    server.shows({"sophia-api.service": {**RUNNING, **told}})
    report = await server.operations.page(context(), NoInput())
    assert report.items[0].state == state and remedy in report.items[0].remedy
    assert not report.ready  # the others are unknown to this systemd


async def test_its_last_lines_hold_no_secret_and_no_control_signs(server: Server) -> None:
    bare = list(b"raw \xff")
    server.says(f"token was {SECRET}", "DB_PASS=hunter22 \x1b[2Jgone", bare)
    report = await server.operations.page(context(), NoInput())
    first, second, third = report.items[0].lines
    assert first == "token was ***"
    assert second == "DB_PASS=*** \u241b[2Jgone"
    assert third == "raw \ufffd"


@pytest.mark.parametrize(
    "line",
    [
        "postgresql://sophia:hunter22@127.0.0.1/sophia",
        "x-admin-token: hunter22",
        '{"password": "hunter22"}',
        "SOPHIA_SMTP_PASSWORD='hunter22'",
        "authorization: Bearer hunter22hunter22",
        "a word hunter22, known as a setting",
    ],
)
def test_what_looks_like_a_secret_is_taken_out(line: str) -> None:
    given = (
        Settings(DATABASE_URL="postgresql://u:hunter22@h/d") if "setting" in line else Settings()
    )
    shown = without_secrets(line, given)
    assert "hunter22" not in shown and "***" in shown


def test_an_ordinary_line_stays_as_it_is() -> None:
    line = "worker town:42:0a1b2c begins; 3 tokens per second passed"
    assert without_secrets(line, Settings(FINETUNE_TOKEN=SECRET)) == line


@pytest.mark.parametrize("name", ["sophia-worker", "worker", "sophia-worker.service"])
async def test_a_restart_goes_through_the_root_helper(server: Server, name: str) -> None:
    view = await server.operations.restart(context(), RestartRequest(unit=name))
    assert server.helper.units == ["sophia-worker.service"]
    assert view.state == "ok"


async def test_root_restarts_by_itself_one_that_failed_too_often_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    await server.operations.restart(context(), RestartRequest(unit="sophia-api"))
    calls = (server.folder / "calls").read_text().splitlines()
    assert [line.split()[1] for line in calls] == ["reset-failed", "restart", "show"]
    assert server.helper.units == []


async def test_a_service_that_does_not_stay_up_is_an_error_with_its_last_line(
    server: Server,
) -> None:
    server.shows({"sophia-api.service": {**RUNNING, "ActiveState": "failed", "SubState": "failed"}})
    server.says("Port 8000 on 127.0.0.1 is taken.")
    with pytest.raises(SetupError) as caught:
        await server.operations.restart(context(), RestartRequest(unit="sophia-api"))
    assert caught.value.code == "SOPHIA-S384"
    assert "Port 8000" in caught.value.why


async def test_other_units_are_refused(server: Server) -> None:
    with pytest.raises(UsageError) as caught:
        await server.operations.restart(context(), RestartRequest(unit="ssh"))
    assert caught.value.code == "SOPHIA-S390"
    assert server.helper.units == []


@pytest.mark.parametrize(
    ("face", "unit"), [(Face.API, "sophia-api"), (Face.WORKER, "sophia-worker")]
)
async def test_a_service_can_not_wait_for_its_own_end(
    server: Server, face: Face, unit: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        await server.operations.restart(context(face), RestartRequest(unit=unit))
    assert caught.value.code == "SOPHIA-S389"
    assert server.helper.units == []


@pytest.mark.parametrize("missing", ["booted", "units/sophia-api.service"])
async def test_where_there_are_no_services_it_is_said_plainly(server: Server, missing: str) -> None:
    gone = server.folder / missing
    gone.rmdir() if gone.is_dir() else gone.unlink()
    for asked in (
        server.operations.page(context(), NoInput()),
        server.operations.restart(context(), RestartRequest(unit="worker")),
    ):
        with pytest.raises(UnavailableError) as caught:
            await asked
        assert caught.value.code == "SOPHIA-S387" and caught.value.why


async def test_a_systemd_that_can_not_be_asked_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "shown").unlink()  # cat fails, and so does the script
    server._script(server.folder / "tools" / "systemctl", "echo bus is away >&2; exit 1")
    with pytest.raises(SophiaError) as caught:
        await server.operations.page(context(), NoInput())
    assert caught.value.code == "SOPHIA-S386" and "bus is away" in caught.value.why
