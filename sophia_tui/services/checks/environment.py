"""Sophia's own env file: who may read it, its keys without their values; and the provider's key."""

import difflib
import grp
import pwd
import stat
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sophia_tui import envfile
from sophia_tui.domain.setup import KeyAnswer, KeyProber, Machine
from sophia_tui.i18n import N_, _, ngettext, number
from sophia_tui.paths import SERVER_ENV
from sophia_tui.services.checks.running import Check, Found, aside

if TYPE_CHECKING:
    from sophia_tui.settings import Settings

#: Keys that are no settings of the table, and are read all the same.
READ_ELSEWHERE = frozenset(
    {
        "SOPHIA_DATA_DIR",
        "SOPHIA_MODEL_CACHE",
        "SOPHIA_LANG",
        "SOPHIA_ASCII",
        "SOPHIA_KEYS",
        "SOPHIA_EXTRAS",
        "SOPHIA_WHEELS",
        "SOPHIA_UI_LANG",
    }
)
_SERVER_MODE = 0o640
_ASKING_SECONDS = 8.0
#: How long an answer of the provider counts, in seconds.
KEPT_SECONDS = 600.0


class EnvironmentChecks:
    def __init__(
        self, machine: Machine, settings: "Settings", environment: Mapping[str, str]
    ) -> None:
        self._machine = machine
        self._settings = settings
        self._environment = environment

    def all(self) -> list[Check]:
        return [
            Check("env_file", N_("Env file"), self._file),
            Check("env_keys", N_("Keys of the env file"), self._keys),
        ]

    async def _file(self) -> Found:
        path = self._settings.env_file
        step = "env" if self._machine.installed else ""
        if path is None:
            if self._machine.installed:
                remedy = _("The installer makes it.")
                return Found(
                    "problem", _("{path} is missing").format(path=SERVER_ENV), (), remedy, step
                )
            return Found("ok", _("none; settings come from the environment and the defaults"))
        found = await aside(path.stat)
        mode = stat.S_IMODE(found.st_mode)
        owner = f"{_user(found.st_uid)}:{_group(found.st_gid)}"
        lines = (_("Mode {mode}, owner {owner}").format(mode=f"{mode:04o}", owner=owner),)
        credentials = self._environment.get("CREDENTIALS_DIRECTORY")
        if credentials and path.is_relative_to(credentials):
            return Found("ok", _("{path}, handed over by systemd").format(path=path), lines)
        if mode & stat.S_IRWXO:
            told = _("{path} can be read by everybody").format(path=path)
            remedy = _("It holds secrets: `chmod o-rwx {path}`.").format(path=path)
            return Found("problem", told, lines, remedy, step)
        if path == SERVER_ENV and (mode, owner) != (_SERVER_MODE, "root:sophia"):
            told = _("{path} has another mode or owner than it should").format(path=path)
            remedy = _("It should be {mode}, owner {owner}.").format(
                mode=f"{_SERVER_MODE:04o}", owner="root:sophia"
            )
            return Found("attention", told, lines, remedy, step)
        return Found("ok", str(path), lines)

    async def _keys(self) -> Found:
        path = self._settings.env_file
        if path is None:
            return Found("ok", _("none"))
        content = await aside(lambda: path.read_text(encoding="utf-8"))
        lines = envfile.parse(content)
        present = [each.key for each in lines if each.key]
        unknown = unknown_keys(present)
        twice = sorted(key for key, count in Counter(present).items() if count > 1)
        strange = _strange_lines(lines)
        told = [_("Set: {keys}").format(keys=", ".join(sorted(set(present))) or "-")]
        for key, meant in unknown.items():
            hint = _("; is {key} meant?").format(key=meant) if meant else ""
            told.append(_("Not known to Sophia: {key}").format(key=key) + hint)
        told += [
            _("Set more than once, the last one counts: {key}").format(key=each) for each in twice
        ]
        told += [_("Line {line} is no KEY=VALUE.").format(line=each) for each in strange]
        wrong = len(unknown) + len(twice) + len(strange)
        if not wrong:
            count = len(set(present))
            summary = ngettext("{count} key is set", "{count} keys are set", count)
            return Found("ok", summary.format(count=number(count)), tuple(told))
        remedy = _("Correct the file: `e` on this screen, or `sophia env list`.")
        summary = ngettext("{count} line wants a look", "{count} lines want a look", wrong).format(
            count=number(wrong)
        )
        return Found("attention", summary, tuple(told), remedy, "sophia env list")


def unknown_keys(present: list[str]) -> dict[str, str]:
    """Keys that look like Sophia's and are not, each with the one that was probably meant. What
    belongs to other programs (proxies, the hub's mirror) is theirs."""
    from sophia_tui import settings

    known = {*settings.keys(), *READ_ELSEWHERE}
    found: dict[str, str] = {}
    for key in present:
        near = difflib.get_close_matches(key, known, 1, 0.86)
        if key not in known and (near or key.startswith(("SOPHIA_", "FINETUNE_", "AION_"))):
            found[key] = near[0] if near else ""
    return found


def _strange_lines(lines: list[envfile.EnvLine]) -> list[int]:
    """Numbers of lines that are neither assignment nor comment nor blank."""
    found, line = [], 1
    for each in lines:
        text = each.raw.strip().lstrip("\ufeff")
        if each.key is None and text and not text.startswith("#"):
            found.append(line)
        line += each.raw.count("\n") + 1
    return found


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


@dataclass(frozen=True)
class _Kept:
    """What was said to which address and key, and when."""

    of: tuple[str | None, str]
    at: float
    answer: KeyAnswer


class ProviderKey:
    """Asks the provider when asked to, and not again within some minutes for the same key; what it
    said last is told until then and afterwards."""

    def __init__(self, probe: KeyProber, now: Callable[[], float] = time.monotonic) -> None:
        self._probe = probe
        self._now = now
        self._kept: _Kept | None = None

    def check(self, settings: "Settings", ask: bool) -> Check:
        async def look() -> Found:
            return await self._look(settings, ask)

        return Check("provider_key", N_("Provider's key"), look, _ASKING_SECONDS + 2)

    async def _look(self, settings: "Settings", ask: bool) -> Found:
        secret = settings.openai_api_key
        key = secret.get_secret_value().strip() if secret else ""
        base = (settings.openai_base_url or "").strip() or None
        if not key and base is None:
            return Found("ok", _("none is set; trainings run on this machine"))
        kept = self._kept if self._kept and self._kept.of == (base, key) else None
        old = kept is None or self._now() - kept.at > KEPT_SECONDS
        if ask and old:
            answer = await self._probe(base, key, _ASKING_SECONDS)
            kept = self._kept = _Kept((base, key), self._now(), answer)
        if kept is None:
            remedy = _("Ask: r on this screen, or --ask-provider.")
            return Found("unknown", _("is set, not asked yet"), remedy=remedy)
        return said(kept.answer)


def said(answer: KeyAnswer) -> Found:
    """What a provider said, as a check."""
    lines: tuple[str, ...] = (_("Asked: {who}").format(who=answer.address),)
    if answer.state == "accepted":
        return Found("ok", _("accepted"), lines)
    lines += (answer.why,) if answer.why else ()
    if answer.state == "refused":
        remedy = _("Check OPENAI_API_KEY and OPENAI_BASE_URL in Sophia's .env.")
        return Found("problem", _("the provider refuses it"), lines, remedy, "sophia env set")
    if answer.state == "limited":
        remedy = _("Wait, or raise the limit at the provider; the key itself may be right.")
        return Found("attention", _("too many requests or no quota left"), lines, remedy)
    if answer.state == "unreachable":
        remedy = _("Check the network, proxies and OPENAI_BASE_URL.")
        return Found("attention", _("the provider can't be reached"), lines, remedy)
    remedy = _("Check OPENAI_BASE_URL: it usually ends in /v1.")
    return Found("attention", _("what answers there is no such provider"), lines, remedy)
