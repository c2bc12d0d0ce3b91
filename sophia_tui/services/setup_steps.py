"""Runs one step of the installer that is installed here: what mends what a check found."""

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from sophia_tui.domain.context import Context, Role
from sophia_tui.domain.operations import Danger, Input, Output
from sophia_tui.domain.setup import StepRunner
from sophia_tui.errors import OutsideError, RefusedError
from sophia_tui.i18n import N_, _
from sophia_tui.services.operations import operation

Step = Literal[
    "server_packages",
    "account",
    "env",
    "postgres",
    "application",
    "migrate",
    "units",
    "firewall",
    "health",
]
#: What each step does to this machine, for who is asked to confirm it.
EFFECTS: dict[str, str] = {
    "server_packages": N_("Installs the system's packages that Sophia needs, by apt."),
    "account": N_("Makes the account sophia and its folders, and sets their owners and modes."),
    "env": N_("Adds what is missing to Sophia's env file; what is set stays as it is."),
    "postgres": N_(
        "Makes role and database of Sophia where they are missing; others' are left alone."
    ),
    "application": N_("Installs the release's packages again; services restart if they changed."),
    "migrate": N_("Brings Sophia's tables up to date; older programs then stop working."),
    "units": N_("Writes Sophia's services and starts them; running trainings go on."),
    "firewall": N_(
        "Allows SSH, then enables UFW: what no rule allows can't get in any more. It is disabled"
        " again unless a new connection by SSH is proved."
    ),
    "health": N_("Calls the API and the worker; changes nothing."),
}


class ApplyRequest(Input):
    step: Step = Field(description=N_("The step of the installer."))


class StepLine(Output):
    """A line that the step wrote."""

    line: str = Field(title=N_("Line"))


class ApplyView(Output):
    """`outcome` is changed, unchanged or failed; planned where nothing was to be done yet."""

    table_columns: ClassVar[tuple[str, ...]] = ("step", "outcome")

    step: str = Field(title=N_("Step"))
    outcome: str = Field(title=N_("Outcome"))
    effect: str = Field(title=N_("Effect"))
    command: str = Field(title=N_("The same by hand"))
    log: str = Field(default="", title=N_("Log"))
    code: int = Field(default=0, title=N_("Exit code"))
    lines: list[str] = Field(default_factory=list, title=N_("Its last lines"))

    def exit_code(self) -> int:
        return 1 if self.outcome == "failed" else 0


_LAST_LINES = 20


class SetupStepsService:
    """Knows no step itself: the installer's own are run, as they are."""

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner

    @operation(
        "setup.apply",
        N_("Run one step of the installer that is installed here."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        typed=frozenset({"firewall"}),
        dry_run=True,
        streams=True,
        target="step",
        positional=("step",),
    )
    async def apply(self, context: Context, request: ApplyRequest) -> ApplyView:
        step = request.step
        effect, command = _(EFFECTS[step]), self._runner.command(step)
        hindrance = self._runner.hindrance(step)
        if hindrance:
            raise OutsideError(
                "S421",
                _("No step of the installer can be run from here."),
                hindrance,
                _("Run it yourself: {command}").format(command=command),
            )
        if context.from_afar:
            raise RefusedError(
                "S454",
                _("Steps of the installer are not run over HTTP."),
                _("They have root's rights, which are for people on the server."),
                _("Run it yourself: {command}").format(command=command),
            )
        if context.dry_run:
            return ApplyView(step=step, outcome="planned", effect=effect, command=command)
        lines: list[str] = []
        end = await self._runner.run(step, _teller(context, lines), context.cancel)
        return ApplyView(
            step=step,
            outcome=end.outcome,
            effect=effect,
            command=command,
            log=end.log,
            code=end.code,
            lines=lines[-_LAST_LINES:],
        )


def _teller(context: Context, lines: list[str]) -> Callable[[str], None]:
    def tell(line: str) -> None:
        lines.append(line)
        del lines[:-_LAST_LINES]
        context.tell(StepLine(line=line))

    return tell
