"""Set-up: what is there, what is missing, and what to do about each."""

import importlib.util
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from sophia_tui.domain.context import Context
from sophia_tui.domain.operations import NoInput, Output
from sophia_tui.domain.protocols import Source, Store
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, number
from sophia_tui.paths import Paths
from sophia_tui.services.operations import operation

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

TRAINING_PACKAGES = ("torch", "transformers", "peft", "accelerate")
API_PACKAGES = ("fastapi", "uvicorn")
_GIGABYTE = 1_000_000_000


class CheckView(Output):
    """One check; `state` is ok, attention or problem."""

    name: str = Field(title=N_("Check"))
    state: str = Field(title=N_("State"))
    found: str = Field(title=N_("Found"))
    remedy: str = Field(default="", title=N_("What to do"))


class SetupReport(Output):
    ready: bool = Field(title=N_("Ready"))
    items: list[CheckView] = Field(title=N_("Checks"))


class SetupService:
    """Looks at the installation; changes nothing."""

    def __init__(
        self,
        open_store: Callable[[], Awaitable[Store]],
        open_source: Callable[[], Awaitable[Source]],
        settings: "Settings",
        paths: Paths,
    ) -> None:
        self._open_store = open_store
        self._open_source = open_source
        self._settings = settings
        self._paths = paths

    @operation("setup.check", N_("Check what is set up, what is missing, and what to do."))
    async def check(self, context: Context, request: NoInput) -> SetupReport:
        items = [
            await self._store(),
            await self._source(),
            _packages(
                _("Packages for training"),
                TRAINING_PACKAGES,
                'pip install -c requirements.lock torch ".[training]"',
            ),
            _packages(
                _("Packages for the API"), API_PACKAGES, 'pip install -c requirements.lock ".[api]"'
            ),
            self._base(),
            self._finetune_folder(),
            self._managed_files(),
            self._token(),
            self._disk(),
        ]
        return SetupReport(ready=all(each.state != "problem" for each in items), items=items)

    async def _store(self) -> CheckView:
        name = _("Sophia's store")
        try:
            milliseconds = await (await self._open_store()).ping()
        except SophiaError as problem:
            return _problem(name, problem)
        return CheckView(name=name, state="ok", found=_("{ms} ms").format(ms=round(milliseconds)))

    async def _source(self) -> CheckView:
        name = _("Source database")
        try:
            tables = await (await self._open_source()).inspect()
        except SophiaError as problem:
            return _problem(name, problem)
        usable = [each.table for each in tables if each.usable]
        return CheckView(
            name=name,
            state="ok" if usable else "attention",
            found=", ".join(usable) or _("no table that can be read"),
            remedy="" if usable else _("`sophia source inspect` says what is missing."),
        )

    def _base(self) -> CheckView:
        name = _("Base model")
        base = self._settings.finetune_base
        if not base:
            return CheckView(
                name=name,
                state="attention",
                found=_("none"),
                remedy=_("Set FINETUNE_BASE, or give --base to `sophia train start`."),
            )
        local = base.startswith(("/", ".", "~")) or base.endswith(".gguf")
        if local and not Path(base).expanduser().exists():
            return CheckView(
                name=name,
                state="problem",
                found=_("{base} does not exist").format(base=base),
                remedy=_("Correct FINETUNE_BASE."),
            )
        return CheckView(name=name, state="ok", found=base)

    def _finetune_folder(self) -> CheckView:
        folder = self._settings.finetune_folder
        name = "FINETUNE_DIR"
        if not folder.is_dir():
            return CheckView(
                name=name,
                state="attention",
                found=_("{path} does not exist yet").format(path=folder),
                remedy=_("`sophia collect` makes it."),
            )
        writable = os.access(folder, os.W_OK)
        return CheckView(
            name=name,
            state="ok" if writable else "problem",
            found=str(folder),
            remedy="" if writable else _("Give the user of Sophia the right to write there."),
        )

    def _managed_files(self) -> CheckView:
        name = _("Managed env files")
        files = self._settings.managed_files
        wrong = [str(each) for each in files if not os.access(each, os.R_OK | os.W_OK)]
        if not files:
            return CheckView(
                name=name,
                state="attention",
                found=_("none"),
                remedy=_("Name the env files of your services in SOPHIA_MANAGED_ENV_FILES."),
            )
        return CheckView(
            name=name,
            state="problem" if wrong else "ok",
            found=", ".join(wrong or map(str, files)),
            remedy=_("These can't be read and written.") if wrong else "",
        )

    def _token(self) -> CheckView:
        given = self._settings.finetune_token is not None
        return CheckView(
            name="FINETUNE_TOKEN",
            state="ok" if given else "attention",
            found=_("is set") if given else _("not set"),
            remedy="" if given else _("Without it the HTTP API answers only /health."),
        )

    def _disk(self) -> CheckView:
        folder = self._paths.data
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / _GIGABYTE
        return CheckView(
            name=_("Free disk space"),
            state="ok" if free > 5 else "attention" if free > 1 else "problem",
            found=f"{number(free, 1)} GB",
            remedy="" if free > 5 else _("Free space under {path}.").format(path=folder),
        )


def _problem(name: str, problem: SophiaError) -> CheckView:
    return CheckView(
        name=name,
        state="problem",
        found=f"{problem.code} {problem.what} {problem.why}".strip(),
        remedy=problem.remedy,
    )


def _packages(name: str, needed: tuple[str, ...], remedy: str) -> CheckView:
    missing = [each for each in needed if importlib.util.find_spec(each) is None]
    return CheckView(
        name=name,
        state="attention" if missing else "ok",
        found=_("missing: {names}").format(names=", ".join(missing)) if missing else _("installed"),
        remedy=remedy if missing else "",
    )
