"""A step of the installer is run as root's process and as a unit, its output read line by line; and
from the set-up screen to its end, over a stand-in for the installer."""

import asyncio
import json
import stat
import sys
from pathlib import Path

import pytest

from sophia_tui.domain.context import CancelSignal, Context, Face, Role
from sophia_tui.errors import CancelledError, RefusedError, UnavailableError
from sophia_tui.providers.steps import InstalledSteps
from sophia_tui.services.catalogue import registry
from sophia_tui.services.checks.views import CheckView, SetupReport
from sophia_tui.services.operations import Dispatcher
from sophia_tui.services.setup_steps import EFFECTS, SetupStepsService, Step, StepLine
from sophia_tui.textsafe import HOSTILE
from sophia_tui.tui.screens.confirm import ConfirmScreen
from sophia_tui.tui.screens.setup import SetupScreen
from sophia_tui.tui.screens.step import StepScreen
from tests.tui import answers, stub
from tests.tui.test_console import screen_text, settled, until

INSTALLER = """#!{python}
import os, sys, time
from pathlib import Path
here = Path({folder!r})
(here / "asked").write_text(" ".join(sys.argv[1:]))
step = sys.argv[-1]
print("step 1 of 1: " + step, flush=True)
print("red \\x1b[31mESC\\x1b[0m", file=sys.stderr, flush=True)
while (here / "hold").exists():
    time.sleep(0.02)
print("last line", flush=True)
if step == "health":
    sys.exit(7)
changed = '"%s"' % step if step == "units" else ""
print('{{"result":"done","changed":[%s],"unchanged":[]}}' % changed, flush=True)
(here / "ended").write_text("yes")
"""
#: systemctl and journalctl over two files: what systemd says of the unit, and its journal.
SYSTEMCTL = """#!{python}
import json, subprocess, sys, time
from pathlib import Path
here = Path({folder!r})
state, journal = here / "state", here / "journal"
verb, unit = sys.argv[1], sys.argv[-1]
if verb == "show":
    print(state.read_text() if state.exists() else "ActiveState=inactive\\nInvocationID=")
    sys.exit()
step = unit.removeprefix("sophia-step@").removesuffix(".service")
if step == "account":
    print("Access denied")
    sys.exit(4)
invocation = "inv%d" % time.time_ns()
tell = lambda active, result="success", code=0: state.write_text(
    f"ActiveState={{active}}\\nResult={{result}}\\nExecMainStatus={{code}}\\nInvocationID={{invocation}}"
)
tell("activating")
run = subprocess.Popen([str(here / "current/src/install_sophia_llm.sh"), "--step", step],
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
for number, line in enumerate(run.stdout):
    text = line.rstrip(b"\\n")
    cursor = str(time.time_ns())
    entry = {{"__CURSOR": cursor, "unit": unit, "at": time.time(), "MESSAGE": text.decode()}}
    entry["_SYSTEMD_INVOCATION_ID"] = invocation
    if b"\\x1b" in text:
        entry["MESSAGE"] = list(text)  # as journald tells what is no plain text
    with journal.open("a") as stream:
        stream.write(json.dumps(entry) + "\\n")
code = run.wait()
if code:
    tell("failed", "exit-code", code)
else:
    state.unlink()  # systemd forgets at once a unit that ended well
sys.exit(1 if code else 0)
"""
JOURNALCTL = """#!{python}
import json, sys
from pathlib import Path
journal = Path({folder!r}) / "journal"
after = next((int(w.partition("=")[2]) for w in sys.argv if w.startswith("--after-cursor=")), -1)
since = next((float(w.partition("@")[2]) for w in sys.argv if w.startswith("--since=@")), 0)
wanted = sys.argv[-1].partition("=")[2]
for line in journal.read_text().splitlines() if journal.exists() else []:
    entry = json.loads(line)
    if entry["unit"] == wanted and int(entry["__CURSOR"]) > after and entry["at"] >= since:
        print(line)
"""


def script(path: Path, text: str, folder: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable, folder=str(folder)))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def steps(folder: Path, root: bool) -> InstalledSteps:
    script(folder / "current" / "src" / "install_sophia_llm.sh", INSTALLER, folder)
    return InstalledSteps(
        folder,
        root,
        script(folder / "systemctl", SYSTEMCTL, folder),
        script(folder / "journalctl", JOURNALCTL, folder),
    )


@pytest.fixture(params=[True, False], ids=["as root", "as a unit"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> InstalledSteps:
    return steps(tmp_path, request.param)


@pytest.mark.parametrize(
    ("step", "outcome", "code"),
    [("units", "changed", 0), ("env", "unchanged", 0), ("health", "failed", 7)],
)
async def test_a_step_tells_its_lines_and_ends_changed_unchanged_or_failed(
    runner: InstalledSteps, step: str, outcome: str, code: int
) -> None:
    lines: list[str] = []
    end = await runner.run(step, lines.append, CancelSignal())
    assert (end.outcome, end.code) == (outcome, code)
    assert end.log
    assert lines == [f"step 1 of 1: {step}", "red ␛[31mESC␛[0m", "last line"]
    again = await runner.run(step, lines.append, CancelSignal())
    assert again.outcome == outcome
    assert len(lines) == 6


async def test_only_the_firewall_brings_its_consent_along(tmp_path: Path) -> None:
    runner = steps(tmp_path, True)
    for step, consent in (("firewall", True), ("postgres", False)):
        await runner.run(step, lambda _line: None, CancelSignal())
        asked = (tmp_path / "asked").read_text().split()
        assert ("--auto-assume-yes" in asked) == consent
        assert {"--auto", "--json", "--step", step} <= set(asked)


async def test_who_stops_looking_leaves_the_step_running(
    runner: InstalledSteps, tmp_path: Path
) -> None:
    (tmp_path / "hold").touch()
    cancel, lines = CancelSignal(), []

    def tell(line: str) -> None:
        lines.append(line)
        cancel.request()

    with pytest.raises(CancelledError) as stopped:
        await runner.run("units", tell, cancel)
    assert "goes on" in stopped.value.why
    if runner._root:
        assert not (tmp_path / "ended").exists()
        (tmp_path / "hold").unlink()
        for _attempt in range(500):
            if (tmp_path / "ended").exists():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the step ended with who looked")


async def test_a_unit_that_may_not_be_started_says_why_and_the_command(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="S424") as refused:
        await steps(tmp_path, False).run("account", lambda _line: None, CancelSignal())
    assert refused.value.why == "Access denied"
    assert "--step account" in refused.value.remedy


async def test_in_a_checkout_the_command_is_named(tmp_path: Path) -> None:
    dispatcher = Dispatcher(registry(), House(InstalledSteps(tmp_path / "nowhere")))
    context = Context("ana", Face.CLI, Role.ADMIN, confirmed=True)
    with pytest.raises(UnavailableError, match="S421") as refused:
        await dispatcher.call("setup.apply", {"step": "units"}, context)
    assert "sudo ./install_sophia_llm.sh --step units" in refused.value.remedy
    with pytest.raises(RefusedError, match="R428"):
        unconfirmed = Context("ana", Face.CLI, Role.ADMIN)
        await dispatcher.call("setup.apply", {"step": "units"}, unconfirmed)


async def test_the_operation_tells_lines_and_where_the_log_is(tmp_path: Path) -> None:
    dispatcher = Dispatcher(registry(), House(steps(tmp_path, True)))
    told: list[StepLine] = []
    context = Context("ana", Face.CLI, Role.ADMIN, confirmed=True, tell=told.append)
    done = await dispatcher.call("setup.apply", {"step": "units"}, context)
    assert (done.outcome, done.log, done.exit_code()) == (
        "changed",
        "/var/log/sophia/install.log",
        0,
    )
    with pytest.raises(RefusedError, match="S454") as refused:
        afar = Context("api:admin", Face.API, Role.ADMIN, confirmed=True)
        await dispatcher.call("setup.apply", {"step": "units"}, afar)
    assert refused.value.http_status == 403 and "sudo" in refused.value.remedy
    assert [each.line for each in told] == done.lines
    failed = await dispatcher.call("setup.apply", {"step": "health"}, context)
    assert failed.exit_code() == 1


def test_every_step_has_its_effect_in_words() -> None:
    assert set(EFFECTS) == set(Step.__args__)


# -- from the screen to the end


class House(stub.StubHouse):
    """Stand-ins, but for the service that runs steps."""

    def __init__(self, runner: InstalledSteps, world: stub.World | None = None) -> None:
        super().__init__(world or stub.World())
        self._runner = runner

    async def service(self, kind: type):
        if kind is SetupStepsService:
            return SetupStepsService(self._runner)
        return await super().service(kind)


def console(runner: InstalledSteps, step: str):
    world = stub.full_world()
    items = [
        CheckView(
            id="services",
            name="Services",
            state="problem",
            found="sophia-api.service",
            remedy="Start them.",
            remedy_step=step,
        )
    ]
    world.answers = {**answers.full(), "setup.check": SetupReport(ready=False, items=items)}
    app = stub.make_app(world, whole=True)
    app.dispatcher = Dispatcher(registry(), House(runner, world))
    return app


async def confirm(pilot, name: str = "") -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmScreen), "the question")
    await until(pilot, lambda: bool(pilot.app.screen.query("#yes")), "its buttons")
    if name:
        assert pilot.app.screen.query_one("#yes").disabled
        pilot.app.screen.query_one("#name").value = name
        await until(pilot, lambda: not pilot.app.screen.query_one("#yes").disabled, "the right")
    pilot.app.screen.query_one("#yes").focus()
    await pilot.press("enter")


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_applies_the_remedy_and_its_output_survives_leaving_the_screen(
    runner: InstalledSteps, tmp_path: Path, size: tuple[int, int]
) -> None:
    (tmp_path / "hold").touch()
    app = console(runner, "units")
    async with app.run_test(size=size) as pilot:
        await settled(pilot)
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen), "the question")
        assert "Writes Sophia's services" in screen_text(app)
        assert app.focused.id == "cancel"
        await confirm(pilot)
        await until(pilot, lambda: isinstance(app.screen, StepScreen), "the pane")
        await until(pilot, lambda: "red ␛[31mESC␛[0m" in screen_text(app), "its lines")
        assert not any(HOSTILE.search(each) for each in app.step_run.lines)
        assert "Running; esc goes back" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, SetupScreen), "set-up")
        await pilot.press("4")  # to another screen altogether
        await settled(pilot)
        (tmp_path / "hold").unlink()
        await until(pilot, lambda: not app.step_run.running, "the end")
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("o")
        await until(pilot, lambda: "last line" in screen_text(app), "the output again")
        assert "changed" in screen_text(app)
        assert "The log: " in screen_text(app)


async def test_the_firewall_asks_for_its_name_and_a_failure_says_what_to_type(
    tmp_path: Path,
) -> None:
    app = console(steps(tmp_path, True), "firewall")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("a")
        await confirm(pilot, "firewall")
        await until(pilot, lambda: isinstance(app.screen, StepScreen), "the pane")
        await until(pilot, lambda: not app.step_run.running, "the end")
        assert app.step_run.result.outcome == "unchanged"
    failing = console(steps(tmp_path, True), "health")
    async with failing.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("a")
        await confirm(pilot)
        await until(pilot, lambda: "exit code 7" in screen_text(failing), "the failure")
        assert "--step health" in screen_text(failing)


async def test_the_remedy_of_a_checkout_is_the_command(tmp_path: Path) -> None:
    app = console(InstalledSteps(tmp_path), "units")
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("2")
        await settled(pilot)
        await pilot.press("a")
        await until(pilot, lambda: "install_sophia_llm.sh" in screen_text(app), "the command")
        assert app.step_run is None


def test_the_journal_is_told_by_lines_even_where_it_is_no_text() -> None:
    from sophia_tui.providers.steps import _message

    assert _message({"MESSAGE": [104, 105, 27]}) == "hi\x1b"
    assert _message(json.loads('{"MESSAGE": null}')) == ""
