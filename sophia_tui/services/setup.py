"""Set-up: what is there, what is missing, and what mends it; tries out answers before they are
written; runs single steps of the installer."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sophia_tui.domain.context import Context
from sophia_tui.domain.managed import RootHelper
from sophia_tui.domain.models import Promotion
from sophia_tui.domain.protocols import Clock, Source, Store, StoreStatus
from sophia_tui.domain.setup import KeyProber, Machine
from sophia_tui.errors import SophiaError, UsageError
from sophia_tui.i18n import N_, _
from sophia_tui.paths import Paths
from sophia_tui.services.calendar_views import CalendarView
from sophia_tui.services.checks.calendar import calendar_check
from sophia_tui.services.checks.database import DatabaseChecks, backup_check
from sophia_tui.services.checks.environment import EnvironmentChecks, ProviderKey
from sophia_tui.services.checks.machine import MachineChecks
from sophia_tui.services.checks.network import NetworkChecks
from sophia_tui.services.checks.program import ProgramChecks
from sophia_tui.services.checks.promotion import promotion_check
from sophia_tui.services.checks.running import Check, run_checks
from sophia_tui.services.checks.views import CheckRequest, CheckView, SetupReport
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    import asyncio

    from sophia_tui.settings import Settings

__all__ = ["CheckRequest", "CheckView", "SetupReport", "SetupService"]

#: What the installer writes by itself: no sign that a person has set anything.
_INSTALLED_KEYS = frozenset(
    {
        "DATABASE_URL",
        "DB_PASS",
        "SOPHIA_STORE_URL",
        "SOPHIA_STORE_PASS",
        "SOPHIA_NEXT_PASS",
        "FINETUNE_TOKEN",
        "FINETUNE_DIR",
        "ALLOW_FINETUNE",
        "API_URL",
        "SOPHIA_ENV_FILE",
        "SOPHIA_DATA_DIR",
        "SOPHIA_ROLES",
    }
)


class SetupService:
    """Looks at the installation; changes nothing."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        open_source: Callable[[], Awaitable[Source]],
        store_status: Callable[[], Awaitable[StoreStatus]],
        settings: "Settings",
        paths: Paths,
        environment: Mapping[str, str],
        machine: Machine,
        probe: KeyProber,
        clock: Clock,
        helper: RootHelper | None = None,
        calendar: Callable[[bool], Awaitable[CalendarView]] | None = None,
        half_done: Callable[[], Awaitable[Promotion | None]] | None = None,
    ) -> None:
        self._half_done = half_done
        self._helper = helper
        self._calendar = calendar
        self._open_store = open_store
        self._open_source = open_source
        self._store_status = store_status
        self._settings = settings
        self._paths = paths
        self._environment = environment
        self._machine = machine
        self._clock = clock
        self._provider_key = ProviderKey(probe)

    @operation("setup.check", N_("Check what is set up, what is missing, and what to do."))
    async def check(self, context: Context, request: CheckRequest) -> SetupReport:
        asked = request.ask_provider or "provider_key" in request.only
        checks = self._checks(asked)
        known = {each.id for each in checks}
        unknown = [each for each in request.only if each not in known]
        if unknown:
            raise UsageError(
                "S420",
                _("There is no check {names}.").format(names=", ".join(unknown)),
                _("The checks are {names}.").format(names=", ".join(each.id for each in checks)),
                _("Leave --only out to run them all."),
            )
        chosen = [each for each in checks if not request.only or each.id in request.only]
        items = await run_checks(chosen)
        return SetupReport(
            ready=all(each.state != "problem" for each in items),
            fresh=await self._fresh(items),
            items=items,
        )

    def _checks(self, ask_provider: bool) -> list[Check]:
        status = _once(self._status)
        machine, settings = self._machine, self._settings
        databases = DatabaseChecks(self._open_store, self._open_source, status, machine.installed)
        return [
            *databases.all(),
            *ProgramChecks(machine, settings, status, self._helper).all(),
            *EnvironmentChecks(machine, settings, self._environment).all(),
            self._provider_key.check(settings, ask_provider),
            *MachineChecks(machine, self._paths.data).all(),
            *NetworkChecks(machine, settings).all(),
            backup_check(settings.backups_folder(self._paths.data), self._clock.now),
            *([calendar_check(self._calendar, ask_provider)] if self._calendar else []),
            *([promotion_check(self._half_done)] if self._half_done else []),
        ]

    async def _status(self) -> StoreStatus:
        """Of the store once it was opened, where it can be: an embedded server starts with that."""
        with contextlib.suppress(SophiaError):
            await self._open_store()
        return await self._store_status()

    async def _fresh(self, items: list[CheckView]) -> bool:
        """Whether nobody has set anything yet: no key but the installer's own, nothing in the
        table of settings, and no source."""
        from sophia_tui import settings

        source = next((each for each in items if each.id == "source"), None)
        if source is None or source.state == "ok":
            return False
        known = set(settings.keys()) - {"SOPHIA_ENV_FILE"}
        if known & {key for key, value in self._environment.items() if value.strip()}:
            return False
        try:
            _file, merged = settings.read_sources(self._environment)
            if known & {key for key, value in merged.items() if value.strip()} - _INSTALLED_KEYS:
                return False
            return not await (await self._open_store()).settings.all()
        except SophiaError:
            return False  # why stands in its check: first that, then the wizard


def _once(ask: Callable[[], Awaitable[StoreStatus]]) -> Callable[[], Awaitable[StoreStatus]]:
    """The same answer for all who ask in one run."""
    asked: list[asyncio.Future[StoreStatus]] = []

    async def answer() -> StoreStatus:
        import asyncio

        if not asked:
            asked.append(asyncio.ensure_future(ask()))
        return await asyncio.shield(asked[0])

    return answer
