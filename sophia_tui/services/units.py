"""Sophia's services on a server: how each does, why one does not, and restarting it."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from sophia_tui.domain.context import Context, Face, Role
from sophia_tui.domain.operations import Danger, Input, NoInput, Output
from sophia_tui.domain.units import HELPER_UNIT, SERVICE_UNITS, Services, ServiceState
from sophia_tui.errors import OutsideError, RefusedError, SetupError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.services.journal_lines import without_secrets
from sophia_tui.services.operations import operation
from sophia_tui.textsafe import visible

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

_LINES = 3
#: The service that a face runs in: it can't wait for its own end.
_OWN = {Face.API: "sophia-api.service", Face.WORKER: "sophia-worker.service"}


class ServiceView(Output):
    """One service; `state` is ok, attention or problem."""

    table_columns: ClassVar[tuple[str, ...]] = ("unit", "state", "found", "since", "restarts")

    unit: str = Field(title=N_("Service"))
    state: str = Field(title=N_("State"))
    found: str = Field(title=N_("Found"))
    since: datetime | None = Field(default=None, title=N_("Since"))
    restarts: int = Field(default=0, title=N_("Restarts"))
    memory_bytes: int | None = Field(default=None, title=N_("Memory"))
    lines: list[str] = Field(default_factory=list, title=N_("Last lines of its log"))
    remedy: str = Field(default="", title=N_("What to do"))


class ServicesReport(Output):
    ready: bool = Field(title=N_("Ready"))
    items: list[ServiceView] = Field(title=N_("Services"))


class RestartRequest(Input):
    unit: str = Field(description=N_("The service: sophia-api or sophia-worker."))


class UnitsService:
    """Looks at the services by systemd, and restarts one on request."""

    def __init__(self, services: Services, settings: "Settings") -> None:
        self._services = services
        self._settings = settings

    @operation(
        "setup.services",
        N_("Show Sophia's services on this server: state, restarts, memory, last words, remedy."),
    )
    async def page(self, context: Context, request: NoInput) -> ServicesReport:
        self._require()
        states = await self._services.states((*SERVICE_UNITS, HELPER_UNIT))
        items = [await self._view(each) for each in states]
        return ServicesReport(ready=all(each.state == "ok" for each in items), items=items)

    @operation(
        "setup.restart",
        N_("Restart one of Sophia's services; runs that are under way go on."),
        role=Role.ADMIN,
        writes=True,
        danger=Danger.CONFIRM,
        target="unit",
        positional=("unit",),
    )
    async def restart(self, context: Context, request: RestartRequest) -> ServiceView:
        unit = _unit(request.unit)
        self._require()
        if _OWN.get(context.face) == unit:
            raise RefusedError(
                "S389",
                _("{unit} can't restart itself.").format(unit=unit),
                _("It would wait for its own end while it answers you."),
                _("On the server: sophia setup restart {unit} --yes").format(unit=unit),
            )
        await self._services.restart(unit)
        [found] = await self._services.states([unit])
        view = await self._view(found)
        if view.state == "problem":
            raise SetupError(
                "S384",
                _("{unit} was restarted and does not stay up.").format(unit=unit),
                " ".join([view.found, *view.lines[-1:]]),
                view.remedy,
            )
        return view

    def _require(self) -> None:
        """Raises UnavailableError S387 where there are no services."""
        if (why := self._services.hindrance()) is not None:
            raise OutsideError(
                "S387",
                _("Sophia has no services here."),
                why,
                _(
                    "`sophia serve api` and `sophia serve worker` run in the foreground; "
                    "install_sophia_llm.sh sets a server up."
                ),
            )

    async def _view(self, found: ServiceState) -> ServiceView:
        lines = await self._services.last_lines(found.unit, _LINES) if found.loaded else ()
        state, words, remedy = _judged(found)
        return ServiceView(
            unit=found.unit,
            state=state,
            found=words,
            since=found.since,
            restarts=found.restarts,
            memory_bytes=found.memory_bytes,
            lines=[visible(without_secrets(each, self._settings)) for each in lines],
            remedy=remedy,
        )


def _unit(text: str) -> str:
    """The unit's whole name. Raises UsageError S390."""
    name = text if text.endswith(".service") else f"{text}.service"
    for each in (name, f"sophia-{name}"):
        if each in SERVICE_UNITS:
            return each
    raise UsageError(
        "S390",
        _("{unit} is not one of Sophia's services.").format(unit=visible(text)),
        _("They are {units}.").format(units=", ".join(SERVICE_UNITS)),
        _("Other services restart by a promotion, or by systemctl."),
    )


def _judged(found: ServiceState) -> tuple[str, str, str]:
    """State, what is found, and what to do."""
    again = _("Run the installer again: its step units puts everything in place.")
    if not found.loaded:
        return "problem", _("not installed"), again
    words = f"{found.active} ({found.sub})" if found.sub else found.active
    if found.sub == "auto-restart" or found.active == "failed":
        return (
            "problem",
            f"{words}: {found.result}",
            _(
                "Its last lines say why; `journalctl --unit {unit}` has all. Then: "
                "sophia setup restart {unit} --yes"
            ).format(unit=found.unit),
        )
    if found.active != "active":
        stopped = _("It is stopped. As root: systemctl enable --now {unit}")
        waits = found.active in ("activating", "deactivating", "reloading")
        remedy = _("Look again in a moment.") if waits else stopped.format(unit=found.unit)
        return ("attention" if waits else "problem"), words, remedy
    if found.enabled not in ("enabled", "enabled-runtime"):
        remedy = _("It does not start with the machine. As root: systemctl enable {unit}")
        return "attention", words, remedy.format(unit=found.unit)
    return "ok", words, ""
